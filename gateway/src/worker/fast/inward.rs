//! What came from an uplink as it is: routed on, or let in by a session or floating IP.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use sekisho_dpdk::Burst;
use sekisho_fib::{Leaf, PackedLeaf};
use sekisho_nat::Probe;
use sekisho_packet::regular::Side;
use sekisho_types::VrfId;

use super::{Change, LANES, Lanes, Stage, nat_key, segment_of, translation};
use crate::worker::Worker;

/// A packet with its way found so far: the table, the address to look up in it, and what changes.
#[derive(Clone, Copy, Debug)]
struct Entering {
    index: u8,
    leaf: PackedLeaf,
    change: Change,
}

impl Worker {
    /// Runs the packets that came from uplinks.
    pub(super) fn inward(&mut self, lanes: &mut Lanes, burst: &mut Burst) {
        self.look_up_inward(lanes);
        lanes.clocks.end(Stage::InwardTables);
        let entering = self.enter_burst(lanes);
        lanes.clocks.end(Stage::InwardSessions);
        self.leave_burst(&entering, lanes, burst);
        lanes.clocks.end(Stage::InwardLeave);
    }

    /// Looks up each packet's destination and source in the provider VRF.
    fn look_up_inward(&self, lanes: &mut Lanes) {
        let count = lanes.inward.len();
        let tables = &mut lanes.tables;
        for (place, &index) in lanes.inward.iter().enumerate() {
            let ip = &lanes.packets[usize::from(index)].ip;
            tables.addresses[place] = Ipv4Addr::from_bits(ip.dst);
            tables.addresses[count + place] = Ipv4Addr::from_bits(ip.src);
        }
        self.reader.lookup_batch(
            VrfId::PROVIDER,
            &tables.addresses[..2 * count],
            &mut tables.leaves[..2 * count],
        );
    }

    /// Finds the sessions of what is for an outside address, and the endpoints behind them.
    fn enter_burst(&mut self, lanes: &mut Lanes) -> ArrayVec<Entering, LANES> {
        let count = lanes.inward.len();
        let mut entering = ArrayVec::<Entering, LANES>::new();
        let mut ours = ArrayVec::<(u8, Probe), LANES>::new();
        for (place, &index) in lanes.inward.iter().enumerate() {
            let (leaf, source) = (
                lanes.tables.leaves[place],
                lanes.tables.leaves[count + place],
            );
            if matches!(source.unpack(), Leaf::Local | Leaf::Nat) {
                // Nobody out there has an address of ours.
                continue;
            }
            match leaf.unpack() {
                Leaf::PathList(_) | Leaf::Adjacency(_) => {
                    let change = Change::Nothing;
                    let _ = entering.try_push(Entering {
                        index,
                        leaf,
                        change,
                    });
                }
                Leaf::Nat | Leaf::Local => {
                    let key = nat_key(&lanes.packets[usize::from(index)].ip);
                    let _ = ours.try_push((index, self.nat.probe_inbound(&key)));
                }
                Leaf::LookupVrf(vrf) => {
                    let lane = &mut lanes.packets[usize::from(index)];
                    let leaf: Leaf = self.reader.lookup(vrf, Ipv4Addr::from_bits(lane.ip.dst));
                    let change = Change::Nothing;
                    if let Leaf::Adjacency(_) = leaf {
                        let leaf = leaf.into();
                        let _ = entering.try_push(Entering {
                            index,
                            leaf,
                            change,
                        });
                    }
                }
                Leaf::None | Leaf::Connected(_) | Leaf::Discard => {}
            }
        }
        if !ours.is_empty() {
            self.translate_burst(&ours, lanes, &mut entering);
        }
        entering
    }

    fn translate_burst(
        &mut self,
        ours: &[(u8, Probe)],
        lanes: &mut Lanes,
        entering: &mut ArrayVec<Entering, LANES>,
    ) {
        for (_, probe) in ours {
            self.nat.prefetch(probe);
        }
        let now = self.nat_now();
        let mut count = 0;
        let first = entering.len();
        for (index, probe) in ours {
            let ip = lanes.packets[usize::from(*index)].ip;
            let (vrf, address, change) =
                if let Some(hit) = self.nat.hit_inbound(now, probe, &segment_of(&ip)) {
                    let change = Change::Side(Side::Destination, translation(&hit));
                    (hit.vrf, Ipv4Addr::from_bits(hit.address), change)
                } else {
                    let outside = Ipv4Addr::from_bits(ip.dst);
                    let Some((vrf, inside)) = self.snapshot.nat.floating_in(outside) else {
                        continue;
                    };
                    let change = Change::stateless(Side::Destination, &ip, inside.to_bits());
                    (vrf, inside, change)
                };
            lanes.tables.vrfs[count] = vrf;
            lanes.tables.addresses[count] = address;
            count += 1;
            let _ = entering.try_push(Entering {
                index: *index,
                leaf: PackedLeaf::NONE,
                change,
            });
        }
        let tables = &mut lanes.tables;
        self.reader.lookup_batch_mixed(
            &tables.vrfs[..count],
            &tables.addresses[..count],
            &mut tables.leaves[..count],
        );
        for (entering, leaf) in entering[first..].iter_mut().zip(&tables.leaves) {
            entering.leaf = *leaf;
        }
    }

    /// Rewrites what has a way out.
    fn leave_burst(&mut self, entering: &[Entering], lanes: &mut Lanes, burst: &mut Burst) {
        let count = entering.len();
        let mut leaves = [PackedLeaf::NONE; LANES];
        for ((packet, leaf), hash) in entering
            .iter()
            .zip(&mut leaves)
            .zip(&mut lanes.tables.hashes)
        {
            *leaf = packet.leaf;
            *hash = lanes.packets[usize::from(packet.index)].hash;
            if let Some(mbuf) = burst.get(usize::from(packet.index)) {
                // Where the outer headers of a tunnel will go.
                mbuf.prefetch_write_at(-50);
            }
        }
        let tables = &mut lanes.tables;
        self.reader.select_batch(
            &leaves[..count],
            &tables.hashes[..count],
            &mut tables.ways[..count],
        );
        for (place, packet) in entering.iter().enumerate() {
            if let Some(id) = lanes.tables.ways[place]
                && let Some(way) = self.reader.rewrite(id)
            {
                self.leave(lanes, burst, packet.index, (id, &way), &packet.change);
            }
        }
    }
}
