//! What came out of a tunnel, from its tenant to wherever it goes.

use std::hint::select_unpredictable;
use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use sekisho_dpdk::Burst;
use sekisho_fib::{AdjacencyId, Leaf, PackedLeaf, Rewrite, RewriteKind};
use sekisho_nat::{Candidate, Departure, Outbound, Scope, SnatTarget, Time};
use sekisho_packet::regular::Side;
use sekisho_types::{InterfaceId, VrfId};

use super::{
    Change, ETHERNET, Exit, LANES, Lane, Lanes, Stage, nat_key, packet_of, segment_of, translation,
};
use crate::tunnel_table::TunnelSegment;
use crate::worker::Worker;

/// A packet that may go on.
#[derive(Clone, Copy, Debug)]
struct Checked {
    /// Its place among those that came out of tunnels.
    place: u8,
    index: u8,
    egress: InterfaceId,
}

/// The route of a tenant into the provider VRF.
pub(super) const CROSSING: PackedLeaf = Leaf::LookupVrf(VrfId::PROVIDER).packed();

impl Worker {
    /// Finds the ways of the packets that came out of tunnels, and what changes in them.
    pub(super) fn outward(&mut self, lanes: &mut Lanes, burst: &Burst) {
        self.look_up_outward(lanes);
        lanes.clocks.end(Stage::OutwardTables);
        let mut candidates = [Candidate::NONE; LANES];
        self.nat.prefetch_burst(&lanes.probes, &mut candidates);
        lanes.clocks.end(Stage::OutwardPrefetch);
        let checked = self.check_outward(lanes, burst);
        lanes.clocks.end(Stage::OutwardCheck);
        self.translate_outward(lanes, burst, &checked, &candidates);
        lanes.clocks.end(Stage::OutwardSessions);
    }

    /// Which packets come from where their source lives and have a way.
    fn check_outward(&self, lanes: &mut Lanes, burst: &Burst) -> ArrayVec<Checked, LANES> {
        let mut checked = ArrayVec::new();
        for (place, &index) in lanes.outward.iter().enumerate() {
            let at = usize::from(index) % LANES;
            let lane = &lanes.packets[at];
            let Some(id) = lanes.tables.ways[place] else {
                continue;
            };
            let Some(way) = self.reader.rewrite(id) else {
                continue;
            };
            if let Some(mbuf) = burst.get(at) {
                mbuf.prefetch_header();
                mbuf.prefetch_at((lane.at as usize - ETHERNET) as isize);
            }
            if self.lives_there(lane, lanes.tables.sources[place]) {
                lanes.ways[at] = id;
                let egress = egress(&way);
                let _ = checked.try_push(Checked {
                    place: place as u8,
                    index,
                    egress,
                });
            }
        }
        checked
    }

    /// What changes in packets that leave their tenant: by their session, or by a rule that needs
    /// none. Those that need a new session get one together.
    fn translate_outward(
        &mut self,
        lanes: &mut Lanes,
        burst: &Burst,
        checked: &[Checked],
        candidates: &[Candidate; LANES],
    ) {
        let now = self.nat_now();
        lanes.departing.clear();
        let mut departures = ArrayVec::<Departure, LANES>::new();
        for (number, packet) in checked.iter().enumerate() {
            let (place, at) = (usize::from(packet.place), usize::from(packet.index) % LANES);
            if let Some(later) = checked.get(number + AHEAD) {
                self.nat
                    .ask_again(candidates[usize::from(later.place) % LANES]);
            }
            let lane = &lanes.packets[at];
            let Some(segment) = self.snapshot.tunnels.at(lane.place) else {
                continue;
            };
            let probe = &lanes.probes[place];
            let tcp = lane
                .ip
                .is_tcp()
                .then(|| segment_of(&lane.ip, packet_of(burst, at, lane)));
            if lanes.tables.leaves[place] != CROSSING {
                lanes.changes[at] = Change::Nothing;
            } else if segment.nat.stateful
                && let Some(hit) = self.nat.hit_outbound(
                    now,
                    candidates[place % LANES],
                    probe,
                    tcp.as_ref(),
                    packet.egress,
                )
            {
                lanes.changes[at] = Change::Side(Side::Source, translation(&hit));
            } else {
                match self.without_session(segment, lane) {
                    Without::Change(change) => lanes.changes[at] = change,
                    Without::Session => {
                        // As many as there are packets.
                        let _ = lanes.departing.try_push(packet.index);
                        let _ = departures.try_push(Departure {
                            probe: *probe,
                            tcp: tcp.unwrap_or_default(),
                            egress: packet.egress,
                        });
                        continue;
                    }
                    Without::Special => continue,
                }
            }
            let _ = lanes.leaving.try_push(packet.index);
        }
        if !departures.is_empty() {
            self.open_sessions(lanes, now, &departures);
        }
    }

    /// New sessions, all of a burst together. What is refused is told to the sender later.
    #[inline(never)]
    fn open_sessions(&mut self, lanes: &mut Lanes, now: Time, departures: &[Departure]) {
        let (nat, own) = (&mut self.nat, &mut *lanes);
        nat.outbound_batch(now, departures, |number, outcome| {
            let Some(&index) = own.departing.get(number) else {
                return;
            };
            let at = usize::from(index) % LANES;
            match outcome {
                Ok(Outbound::Translated { source, .. }) => {
                    let address = source.ip().to_bits();
                    let ip = &own.packets[at].ip;
                    own.changes[at] = Change::of(Side::Source, ip, address, source.port());
                    let _ = own.leaving.try_push(index);
                }
                Ok(Outbound::Untranslated) => {}
                Err(refusal) => own.exits[at] = Exit::Refused(refusal),
            }
        });
    }

    /// Looks up each packet's source and destination in its tenant, and the destination in the
    /// provider VRF, where most go.
    fn look_up_outward(&self, lanes: &mut Lanes) {
        let count = lanes.outward.len();
        let tables = &mut lanes.tables;
        let mut sources = [Ipv4Addr::UNSPECIFIED; LANES];
        for (place, &index) in lanes.outward.iter().enumerate() {
            let lane = &lanes.packets[usize::from(index) % LANES];
            sources[place] = Ipv4Addr::from_bits(lane.ip.src);
            tables.vrfs[place] = lane.vrf;
            tables.addresses[place] = Ipv4Addr::from_bits(lane.ip.dst);
            tables.hashes[place] = lane.hash;
        }
        let (vrfs, addresses) = (&tables.vrfs[..count], &tables.addresses[..count]);
        self.reader
            .host_batch(vrfs, &sources[..count], &mut tables.sources[..count]);
        self.reader
            .lookup_batch_mixed(vrfs, addresses, &mut tables.leaves[..count]);
        self.reader
            .lookup_batch(VrfId::PROVIDER, addresses, &mut tables.provider[..count]);
        let mut leaves = [PackedLeaf::NONE; LANES];
        let ways = leaves.iter_mut().zip(&tables.leaves).zip(&tables.provider);
        for ((leaf, own), provider) in ways.take(count) {
            *leaf = select_unpredictable(*own == CROSSING, *provider, *own);
        }
        let (hashes, ways) = (&tables.hashes[..count], &mut tables.ways[..count]);
        self.reader.select_batch(&leaves[..count], hashes, ways);
    }

    /// Whether the source is the endpoint that is known to live where the packet came from (BCP 38).
    #[inline(always)]
    pub(super) fn lives_there(&self, lane: &Lane, source: Option<AdjacencyId>) -> bool {
        let Some(known) = source.and_then(|id| self.reader.rewrite(id)) else {
            return false;
        };
        (known.kind() == RewriteKind::Tunnel)
            & (known.segment() == lane.segment)
            & (known.destination_word() == lane.mac)
            & (known.address_v4().map(Ipv4Addr::to_bits) == Some(lane.vtep))
    }

    /// What becomes of a packet that has no session.
    #[inline(never)]
    fn without_session(&self, segment: &TunnelSegment, lane: &Lane) -> Without {
        let nat = segment.nat;
        let policy = &self.snapshot.nat;
        let source = Ipv4Addr::from_bits(lane.ip.src);
        if nat.stateful {
            let key = nat_key(&lane.ip);
            if policy.scope(lane.vrf, key.src, key.protocol) == Scope::Stateful {
                return if policy.inside_owner(lane.vrf, source) == self.id {
                    Without::Session
                } else {
                    Without::Special
                };
            }
        }
        if nat.floating
            && let Some(outside) = policy.floating_out(lane.vrf, source)
        {
            let change = Change::stateless(Side::Source, &lane.ip, outside.to_bits());
            return Without::Change(change);
        }
        let exempt = || {
            let rule = policy.snat(lane.vrf, source);
            rule.is_some_and(|rule| rule.target == SnatTarget::NoNat)
        };
        let advertised = segment.advertise && segment.prefix.contains(source);
        if advertised || nat.exempt && exempt() {
            Without::Change(Change::Nothing)
        } else {
            Without::Special
        }
    }
}

/// What becomes of a packet that has no session.
enum Without {
    /// It needs none.
    Change(Change),
    /// It gets one, here.
    Session,
    /// Somebody else decides.
    Special,
}

/// Packets between asking for a session's memory again and reading it: a CPU that has many such
/// requests under way drops some.
pub(super) const AHEAD: usize = 8;

/// The uplink a packet leaves by.
#[inline(always)]
fn egress(way: &Rewrite) -> InterfaceId {
    match way.kind() {
        RewriteKind::Ethernet => way.interface(),
        RewriteKind::Tunnel => InterfaceId::new(u16::MAX),
    }
}
