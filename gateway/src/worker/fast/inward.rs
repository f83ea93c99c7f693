//! What came from an uplink as it is: routed on, or let in by a session or floating IP.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use sekisho_dpdk::Burst;
use sekisho_fib::{Leaf, PackedLeaf};
use sekisho_nat::Candidate;
use sekisho_packet::regular::Side;
use sekisho_types::VrfId;

use super::{Change, LANES, Lanes, Stage, packet_of, segment_of, translation};
use crate::worker::Worker;
use crate::worker::forward::TUNNEL_OVERHEAD;

impl Worker {
    /// Finds the ways of the packets that came from uplinks, and what changes in them.
    pub(super) fn inward(&mut self, lanes: &mut Lanes, burst: &Burst) {
        self.look_up_inward(lanes);
        lanes.clocks.end(Stage::InwardTables);
        let mut ours = ArrayVec::new();
        let mut entering = ArrayVec::new();
        self.part_inward(lanes, &mut entering, &mut ours);
        let mut candidates = [Candidate::NONE; LANES];
        self.nat
            .prefetch_burst(&lanes.inward_probes, &mut candidates);
        lanes.clocks.end(Stage::InwardPrefetch);
        self.translate_inward(lanes, burst, &ours, &candidates, &mut entering);
        lanes.clocks.end(Stage::InwardSessions);
        self.find_endpoints(lanes, &entering, burst);
        lanes.clocks.end(Stage::InwardEndpoints);
    }

    /// Looks up each packet's destination in the provider VRF.
    fn look_up_inward(&self, lanes: &mut Lanes) {
        let count = lanes.inward.len();
        let tables = &mut lanes.tables;
        for (place, &index) in lanes.inward.iter().enumerate() {
            let ip = &lanes.packets[usize::from(index) % LANES].ip;
            tables.addresses[place] = Ipv4Addr::from_bits(ip.dst);
        }
        self.reader.lookup_batch(
            VrfId::PROVIDER,
            &tables.addresses[..count],
            &mut tables.leaves[..count],
        );
    }

    /// Parts packets that are routed on from those for an outside address of ours, as the tables say.
    fn part_inward(
        &self,
        lanes: &mut Lanes,
        entering: &mut ArrayVec<Entering, LANES>,
        ours: &mut ArrayVec<Ours, LANES>,
    ) {
        for (place, (&index, &leaf)) in lanes.inward.iter().zip(&lanes.tables.leaves).enumerate() {
            let at = usize::from(index) % LANES;
            let ip = &lanes.packets[at].ip;
            if self.snapshot.own.may_hold(ip.src) && self.is_ours(ip.src) {
                // Nobody out there has an address of ours.
                continue;
            }
            let leaf = match leaf.unpack() {
                Leaf::PathList(_) | Leaf::Adjacency(_) => leaf,
                Leaf::Nat | Leaf::Local => {
                    if let Some(probe) = place.checked_sub(lanes.routed) {
                        let probe = probe as u8;
                        let _ = ours.try_push(Ours { index, probe });
                    }
                    continue;
                }
                Leaf::LookupVrf(vrf) => {
                    let destination = Ipv4Addr::from_bits(ip.dst);
                    self.reader.lookup(vrf, destination).packed()
                }
                Leaf::None | Leaf::Connected(_) | Leaf::Discard => continue,
            };
            lanes.changes[at] = Change::Nothing;
            let _ = entering.try_push(Entering { index, leaf });
        }
    }

    #[cold]
    fn is_ours(&self, source: u32) -> bool {
        let leaf = self
            .reader
            .lookup(VrfId::PROVIDER, Ipv4Addr::from_bits(source));
        matches!(leaf, Leaf::Local | Leaf::Nat)
    }

    /// What changes in packets for an outside address: by their session, or by a floating IP. Those
    /// that may go on are looked up in their tenants.
    fn translate_inward(
        &mut self,
        lanes: &mut Lanes,
        burst: &Burst,
        ours: &[Ours],
        candidates: &[Candidate; LANES],
        entering: &mut ArrayVec<Entering, LANES>,
    ) {
        let now = self.nat_now();
        let first = entering.len();
        let tables = &mut lanes.tables;
        let mut count = 0;
        for (place, &Ours { index, probe }) in ours.iter().enumerate() {
            if let Some(later) = ours.get(place + AHEAD) {
                self.nat
                    .ask_again(candidates[usize::from(later.probe) % LANES]);
            }
            let candidate = candidates[usize::from(probe) % LANES];
            let probe = &lanes.inward_probes[usize::from(probe)];
            let at = usize::from(index) % LANES;
            let lane = &lanes.packets[at];
            let ip = &lane.ip;
            let tcp = ip
                .is_tcp()
                .then(|| segment_of(ip, packet_of(burst, at, lane)));
            if let Some(hit) = self.nat.hit_inbound(now, candidate, probe, tcp.as_ref()) {
                lanes.changes[at] = Change::Side(Side::Destination, translation(&hit));
                tables.vrfs[count] = hit.vrf;
                tables.addresses[count] = Ipv4Addr::from_bits(hit.address_wire.swap_bytes());
            } else {
                let outside = Ipv4Addr::from_bits(ip.dst);
                let Some((vrf, inside)) = self.snapshot.nat.floating_in(outside) else {
                    if !self.handover.is_alone() {
                        lanes.exits[at] = self.steer_inward(lane);
                    }
                    continue;
                };
                lanes.changes[at] = Change::stateless(Side::Destination, ip, inside.to_bits());
                tables.vrfs[count] = vrf;
                tables.addresses[count] = inside;
            }
            count += 1;
            let leaf = PackedLeaf::NONE;
            let _ = entering.try_push(Entering { index, leaf });
        }
        let (vrfs, addresses) = (&tables.vrfs[..count], &tables.addresses[..count]);
        self.reader
            .host_batch(vrfs, addresses, &mut tables.ways[..count]);
        for (entering, way) in entering[first..].iter_mut().zip(&tables.ways) {
            let leaf = way.map_or(Leaf::None, Leaf::Adjacency);
            entering.leaf = leaf.packed();
        }
    }

    /// Finds the neighbours and endpoints the packets leave to.
    fn find_endpoints(&self, lanes: &mut Lanes, entering: &[Entering], burst: &Burst) {
        let count = entering.len();
        let mut leaves = [PackedLeaf::NONE; LANES];
        let tables = &mut lanes.tables;
        for ((packet, leaf), hash) in entering.iter().zip(&mut leaves).zip(&mut tables.hashes) {
            let at = usize::from(packet.index) % LANES;
            *leaf = packet.leaf;
            *hash = lanes.packets[at].hash;
            if let Some(mbuf) = burst.get(at) {
                // Where the outer headers of a tunnel will go.
                mbuf.prefetch_write_at(-HEADROOM);
            }
        }
        let (hashes, ways) = (&tables.hashes[..count], &mut tables.ways[..count]);
        self.reader.select_batch(&leaves[..count], hashes, ways);
        for (packet, way) in entering.iter().zip(&tables.ways) {
            if let Some(way) = way {
                lanes.ways[usize::from(packet.index) % LANES] = *way;
                let _ = lanes.leaving.try_push(packet.index);
            }
        }
    }
}

/// A packet for an outside address of ours, and where its key is.
#[derive(Clone, Copy, Debug)]
struct Ours {
    index: u8,
    probe: u8,
}

/// A packet that may go on, and what the last table said.
#[derive(Clone, Copy, Debug)]
struct Entering {
    index: u8,
    leaf: PackedLeaf,
}

/// As for what leaves tenants.
const AHEAD: usize = super::outward::AHEAD;

/// Octets that a tunnel puts before a frame.
pub(super) const HEADROOM: isize = TUNNEL_OVERHEAD as isize;
