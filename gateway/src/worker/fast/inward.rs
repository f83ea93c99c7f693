//! What came from an uplink as it is: routed on, or let in by a session or floating IP.

use std::net::Ipv4Addr;

use sekisho_dpdk::Burst;
use sekisho_fib::{AdjacencyId, Leaf, PackedLeaf};
use sekisho_types::VrfId;

use super::mask::{Mask, Order};
use super::outward::AHEAD;
use super::{LANES, Lanes, Stage, segment_of, wire};
use crate::worker::Worker;
use crate::worker::forward::TUNNEL_OVERHEAD;

/// The route of a pool or floating IP.
const NAT: PackedLeaf = Leaf::Nat.packed();

/// Octets that a tunnel puts before a frame.
pub(super) const HEADROOM: isize = TUNNEL_OVERHEAD as isize;

impl Worker {
    /// Finds the ways of the packets that came from uplinks, and what changes in them.
    pub(super) fn inward(&mut self, lanes: &mut Lanes, burst: &Burst) {
        self.key_inward(lanes, burst);
        lanes.clocks.end(Stage::Keys);
        let (routed, count) = (lanes.routed, lanes.inward.len());
        let tables = &mut lanes.tables;
        let (addresses, leaves) = (&tables.addresses[..count], &mut tables.leaves[..count]);
        self.reader.lookup_batch(VrfId::PROVIDER, addresses, leaves);
        lanes.clocks.end(Stage::InwardTables);
        if routed < count {
            let probes = &lanes.probes[..count - routed];
            self.nat.prefetch_burst(probes, &mut lanes.candidates);
        }
        let entering = self.part_inward(lanes);
        lanes.clocks.end(Stage::InwardPrefetch);
        if !entering.ours.is_empty() {
            self.translate_inward(lanes, entering.ours);
        }
        lanes.clocks.end(Stage::InwardSessions);
        if !entering.routed.is_empty() {
            self.route_inward(lanes, entering.routed);
        }
        lanes.clocks.end(Stage::InwardEndpoints);
    }

    /// Parts packets that are routed on from those for an outside address of ours, as the tables say.
    #[inline(never)]
    fn part_inward(&self, lanes: &mut Lanes) -> Entering {
        let leaves = &mut lanes.tables.leaves;
        let all = Mask::first(lanes.inward.len());
        let ours = Mask::of(|place| leaves[place] == NAT) & !Mask::first(lanes.routed);
        let mut entering = Entering {
            routed: Mask::of(|place| leaves[place].is_way()) & all,
            ours: ours & all,
        };
        for place in all & !(entering.routed | entering.ours) {
            match leaves[place].unpack() {
                Leaf::Local => entering.ours.add(place, place >= lanes.routed),
                Leaf::LookupVrf(vrf) => {
                    let destination = lanes.tables.addresses[place];
                    leaves[place] = self.reader.lookup(vrf, destination).packed();
                    entering.routed.add(place, leaves[place].is_way());
                }
                _ => {}
            }
        }
        entering
    }

    /// Whether the forwarding table says that an address is the gateway's own.
    #[cold]
    pub(super) fn is_ours(&self, address: Ipv4Addr) -> bool {
        let leaf = self.reader.lookup(VrfId::PROVIDER, address);
        matches!(leaf, Leaf::Local | Leaf::Nat)
    }

    /// What changes in packets for an outside address: by their session, or by a floating IP. Those
    /// that may go on are looked up in their tenants.
    #[inline(never)]
    fn translate_inward(&mut self, lanes: &mut Lanes, places: Mask) {
        let now = self.nat_now();
        let (mut hits, mut rest) = (Mask::NONE, Mask::NONE);
        for place in places {
            let lane = lanes.inward.lane(place);
            // Keys begin where what is surely routed on ends.
            let probe = place.wrapping_sub(lanes.routed);
            self.nat
                .ask_again(lanes.candidates[(probe + AHEAD) % LANES]);
            let tcp = segment_of(&lanes.heads, lane);
            let (candidate, probe) = (
                lanes.candidates[probe % LANES],
                &lanes.probes[probe % LANES],
            );
            if let Some(hit) = self.nat.hit_inbound(now, candidate, probe, tcp.as_ref()) {
                let (address, port) = (hit.address_wire, hit.port_wire);
                let inside = Ipv4Addr::from_octets(address.to_le_bytes());
                lanes.changes.set_destination(lane, address, port);
                lanes.tables.vrfs[place] = hit.vrf;
                lanes.tables.addresses[place] = inside;
                hits.add(place, true);
            } else {
                rest.add(place, true);
            }
        }
        if self.nat.counts_sessions() {
            self.note_inward(lanes, hits);
        }
        if !rest.is_empty() {
            hits |= self.floating_inward(lanes, rest);
        }
        self.find_endpoints(lanes, hits);
    }

    /// Packets that no session knows: those to a floating IP may go on all the same.
    #[inline(never)]
    fn floating_inward(&self, lanes: &mut Lanes, places: Mask) -> Mask {
        let mut known = Mask::NONE;
        for place in places {
            let lane = lanes.inward.lane(place);
            let outside = Ipv4Addr::from_octets(lanes.heads.dst(lane).to_le_bytes());
            if let Some((vrf, inside)) = self.snapshot.nat.floating_in(outside) {
                // The port stays.
                let (address, _) = wire(inside, 0);
                let port = (lanes.heads.ports(lane) >> 16) as u16;
                lanes.changes.set_destination(lane, address, port);
                lanes.tables.vrfs[place] = vrf;
                lanes.tables.addresses[place] = inside;
                known.add(place, true);
            } else if !self.handover.is_alone()
                && let Some(owner) = self.steer_inward(lanes, lane)
            {
                lanes.owners[lane] = owner;
                lanes.others.add(lane, true);
            }
        }
        known
    }

    /// Finds the endpoints of what was let in.
    #[inline(never)]
    fn find_endpoints(&self, lanes: &mut Lanes, places: Mask) {
        let mut order = Order::NONE;
        order.set(&[places]);
        let tables = &mut lanes.tables;
        let (mut vrfs, mut addresses) = ([VrfId::PROVIDER; LANES], [Ipv4Addr::UNSPECIFIED; LANES]);
        order.gather(&tables.vrfs, &mut vrfs);
        order.gather(&tables.addresses, &mut addresses);
        let (count, mut ways) = (order.len(), [AdjacencyId::NONE; LANES]);
        self.reader
            .host_batch(&vrfs[..count], &addresses[..count], &mut ways[..count]);
        order.scatter(&ways, &mut tables.ways);
        let known = places & Mask::of(|place| tables.ways[place] != AdjacencyId::NONE);
        lanes.inward.scatter(&tables.ways, &mut lanes.ways);
        lanes.leaving.translated |= lanes.inward.packets(known);
    }

    /// Finds the next hops of what is routed on.
    #[inline(never)]
    fn route_inward(&self, lanes: &mut Lanes, places: Mask) {
        let mut order = Order::NONE;
        order.set(&[places]);
        let tables = &mut lanes.tables;
        let (mut leaves, mut hashes) = ([PackedLeaf::NONE; LANES], [0; LANES]);
        order.gather(&tables.leaves, &mut leaves);
        lanes.inward.gather(&lanes.hashes, &mut tables.hashes);
        order.gather(&tables.hashes, &mut hashes);
        let (count, mut ways) = (order.len(), [AdjacencyId::NONE; LANES]);
        self.reader
            .select_batch(&leaves[..count], &hashes[..count], &mut ways[..count]);
        order.scatter(&ways, &mut tables.ways);
        let known = places & Mask::of(|place| tables.ways[place] != AdjacencyId::NONE);
        lanes.inward.scatter(&tables.ways, &mut lanes.ways);
        lanes.leaving.hop |= lanes.inward.packets(known);
    }
}

/// The places of packets that may go on, as the tables say.
#[derive(Clone, Copy, Debug, Default)]
struct Entering {
    /// They are routed on.
    routed: Mask,
    /// They are for an outside address of ours.
    ours: Mask,
}
