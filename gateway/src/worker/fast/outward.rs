//! What came out of a tunnel, from its tenant to wherever it goes.

use std::hint::select_unpredictable;
use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use sekisho_dpdk::Burst;
use sekisho_fib::{AdjacencyId, Leaf, PackedLeaf, RewriteKind};
use sekisho_nat::{Departure, Outbound, Scope, SnatTarget, Time};
use sekisho_types::{InterfaceId, VrfId};

use super::mask::Mask;
use super::{ETHERNET, LANES, Lanes, Stage, nat_flow, segment_of, wire};
use crate::worker::Worker;

/// The route of a tenant into the provider VRF.
pub(super) const CROSSING: PackedLeaf = Leaf::LookupVrf(VrfId::PROVIDER).packed();

impl Worker {
    /// Finds the ways of the packets that came out of tunnels, and what changes in them.
    pub(super) fn outward(&mut self, lanes: &mut Lanes, burst: &Burst) {
        self.key_outward(lanes);
        lanes.clocks.end(Stage::Keys);
        self.look_up_outward(lanes);
        lanes.clocks.end(Stage::OutwardTables);
        if !(lanes.out & lanes.stateful).is_empty() {
            let probes = &lanes.probes[..lanes.outward.len()];
            self.nat.prefetch_burst(probes, &mut lanes.candidates);
        }
        lanes.clocks.end(Stage::OutwardPrefetch);
        let checked = self.check_outward(lanes, burst);
        lanes.clocks.end(Stage::OutwardCheck);
        self.translate_outward(lanes, checked);
        if self.nat.counts_sessions() {
            self.note_outward(lanes, checked);
        }
        lanes.clocks.end(Stage::OutwardSessions);
    }

    /// Looks up each packet's source and destination in its tenant, and the destination in the
    /// provider VRF, where most go.
    fn look_up_outward(&self, lanes: &mut Lanes) {
        let count = lanes.outward.len();
        let tables = &mut lanes.tables;
        let (vrfs, addresses) = (&tables.vrfs[..count], &tables.addresses[..count]);
        let (sources, endpoints) = (&tables.sources[..count], &mut tables.endpoints[..count]);
        self.reader.host_batch(vrfs, sources, endpoints);
        self.reader
            .lookup_batch_mixed(vrfs, addresses, &mut tables.leaves[..count]);
        self.reader
            .lookup_batch(VrfId::PROVIDER, addresses, &mut tables.provider[..count]);
        let ways = tables.provider.iter_mut().zip(&tables.leaves);
        for (way, own) in ways.take(count) {
            *way = select_unpredictable(*own == CROSSING, *way, *own);
        }
        let (leaves, hashes) = (&tables.provider[..count], &tables.hashes[..count]);
        self.reader
            .select_batch(leaves, hashes, &mut tables.ways[..count]);
    }

    /// Which places have packets that come from where their source lives and have a way.
    #[inline(never)]
    fn check_outward(&self, lanes: &mut Lanes, burst: &Burst) -> Mask {
        let mut checked = Mask::NONE;
        for (place, lane) in lanes.outward.places() {
            let way = lanes.tables.ways[place];
            let Some((kind, interface)) = self.reader.egress(way) else {
                continue;
            };
            if let Some(mbuf) = burst.get(lane) {
                mbuf.prefetch_header();
                mbuf.prefetch_at((lanes.at[lane] as usize - ETHERNET) as isize);
            }
            lanes.ways[lane] = way;
            lanes.tables.egresses[place] = match kind {
                RewriteKind::Ethernet => interface,
                RewriteKind::Tunnel => InterfaceId::new(u16::MAX),
            };
            let lives_there = self.lives_there(lanes, lane, lanes.tables.endpoints[place]);
            checked.add(place, lives_there);
        }
        checked
    }

    /// Whether the source is the endpoint that is known to live where the packet came from (BCP 38).
    #[inline(always)]
    pub(super) fn lives_there(&self, lanes: &Lanes, lane: usize, source: AdjacencyId) -> bool {
        let tunnel = &lanes.tunnel;
        self.reader.lives_at(
            source,
            tunnel.segment[lane],
            tunnel.mac[lane],
            tunnel.vtep[lane],
        )
    }

    /// What changes in packets that leave their tenant: by their session, or by a rule that needs
    /// none. Those that need a new session get one together.
    #[inline(never)]
    fn translate_outward(&mut self, lanes: &mut Lanes, checked: Mask) {
        let now = self.nat_now();
        let (mut source, mut rest) = (Mask::NONE, Mask::NONE);
        let leaving = checked & Mask::of(|place| lanes.tables.leaves[place] == CROSSING);
        lanes.leaving.hop |= lanes.outward.packets(checked & !leaving);
        for place in leaving {
            let lane = lanes.outward.lane(place);
            if !lanes.stateful.has(lane) {
                rest.add(place, true);
                continue;
            }
            self.nat
                .ask_again(lanes.candidates[(place + AHEAD) % LANES]);
            let tcp = segment_of(&lanes.heads, lane);
            let egress = lanes.tables.egresses[place];
            let (candidate, probe) = (lanes.candidates[place], &lanes.probes[place]);
            let hit = self
                .nat
                .hit_outbound(now, candidate, probe, tcp.as_ref(), egress);
            if let Some(hit) = hit {
                let (address, port) = (hit.address_wire, hit.port_wire);
                lanes.changes.set_source(lane, address, port);
                source.add(lane, true);
            } else {
                rest.add(place, true);
            }
        }
        lanes.leaving.translated |= source;
        if !rest.is_empty() {
            self.without_sessions(lanes, now, rest);
        }
    }

    /// What becomes of packets that have no session.
    #[inline(never)]
    fn without_sessions(&mut self, lanes: &mut Lanes, now: Time, places: Mask) {
        let mut departing = ArrayVec::<u8, LANES>::new();
        let mut departures = ArrayVec::<Departure, LANES>::new();
        for place in places {
            let lane = lanes.outward.lane(place);
            match self.without_session(lanes, lane) {
                Without::Floating(outside) => {
                    // The port stays.
                    let (address, _) = wire(outside, 0);
                    let port = lanes.heads.ports(lane) as u16;
                    lanes.changes.set_source(lane, address, port);
                    lanes.leaving.translated.add(lane, true);
                }
                Without::Nothing => lanes.leaving.hop.add(lane, true),
                Without::Session => {
                    // As many as there are packets.
                    let _ = departing.try_push(lane as u8);
                    let _ = departures.try_push(Departure {
                        probe: lanes.probes[place],
                        tcp: segment_of(&lanes.heads, lane).unwrap_or_default(),
                        egress: lanes.tables.egresses[place],
                    });
                }
                Without::Special => {}
            }
        }
        let new = departures.as_slice();
        if new.is_empty() {
            return;
        }
        self.nat.outbound_batch(now, new, |number, outcome| {
            let Some(&lane) = departing.get(number) else {
                return;
            };
            let lane = usize::from(lane) % LANES;
            match outcome {
                Ok(Outbound::Translated { source, .. }) => {
                    let (address, port) = wire(*source.ip(), source.port());
                    lanes.changes.set_source(lane, address, port);
                    lanes.leaving.translated.add(lane, true);
                }
                Ok(Outbound::Untranslated) => {}
                Err(refusal) => {
                    lanes.refusals[lane] = Some(refusal);
                    lanes.refused.add(lane, true);
                }
            }
        });
    }

    /// What becomes of a packet that has no session.
    #[inline(always)]
    fn without_session(&self, lanes: &Lanes, lane: usize) -> Without {
        let Some(segment) = self.snapshot.tunnels.at(lanes.tunnel.place[lane]) else {
            return Without::Special;
        };
        let (nat, policy) = (segment.nat, &self.snapshot.nat);
        let vrf = lanes.tunnel.vrf[lane];
        let source = Ipv4Addr::from_octets(lanes.heads.src(lane).to_le_bytes());
        if nat.stateful {
            let key = nat_flow(&lanes.heads, lane);
            if policy.scope(vrf, key.src, *key.dst.ip(), key.protocol) == Scope::Stateful {
                return if policy.inside_owner(vrf, source) == self.id {
                    Without::Session
                } else {
                    Without::Special
                };
            }
        }
        if nat.floating
            && let Some(outside) = policy.floating_out(vrf, source)
        {
            return Without::Floating(outside);
        }
        let exempt = || {
            let remote = Ipv4Addr::from_octets(lanes.heads.dst(lane).to_le_bytes());
            let rule = policy.snat(vrf, source, remote);
            rule.is_some_and(|rule| rule.target == SnatTarget::NoNat)
        };
        let advertised = segment.advertise && segment.prefix.contains(source);
        if advertised || nat.exempt && exempt() {
            Without::Nothing
        } else {
            Without::Special
        }
    }
}

/// What becomes of a packet that has no session.
enum Without {
    /// It needs none: its source gets this address.
    Floating(Ipv4Addr),
    /// It needs none, and goes on as it is.
    Nothing,
    /// It gets one, here.
    Session,
    /// Somebody else decides.
    Special,
}

/// Packets between asking for a session's memory again and reading it: a CPU that has many such
/// requests under way drops some.
pub(super) const AHEAD: usize = 8;
