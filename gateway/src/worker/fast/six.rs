//! What carries IPv6, in either direction: headers, endpoint check, tables. Nothing is translated, so
//! there are no sessions; rewrite and outer headers are as for IPv4.

use std::hint::select_unpredictable;
use std::net::Ipv6Addr;

use sekisho_dpdk::{Burst, Mbuf};
use sekisho_fib::{AdjacencyId, Leaf, PackedLeaf};
use sekisho_packet::Regular6;
use sekisho_types::VrfId;

use super::classify::ECN;
use super::inward::HEADROOM;
use super::mask::{Mask, Order};
use super::outward::CROSSING;
use super::{ETHERNET, LANES, Lanes, Stage};
use crate::worker::Worker;

/// What is known of packets with IPv6 beside what their lanes say. The masks are of what the frames
/// may hold at first, of what they do hold in the end.
pub(super) struct Six {
    packets: [Regular6; LANES],
    /// Which came from an uplink as they are.
    pub(super) plain: Mask,
    /// Which came out of a tunnel, of a configured one, for the gateway's Ethernet address.
    pub(super) inner: Mask,
    addresses: [Ipv6Addr; 3 * LANES],
    vrfs: [VrfId; 3 * LANES],
    leaves: [PackedLeaf; 3 * LANES],
}

impl Six {
    pub(super) const fn new() -> Self {
        Self {
            packets: [Regular6::NONE; LANES],
            plain: Mask::NONE,
            inner: Mask::NONE,
            addresses: [Ipv6Addr::UNSPECIFIED; 3 * LANES],
            vrfs: [VrfId::PROVIDER; 3 * LANES],
            leaves: [PackedLeaf::NONE; 3 * LANES],
        }
    }

    #[inline(always)]
    pub(super) const fn clear(&mut self) {
        self.plain = Mask::NONE;
        self.inner = Mask::NONE;
    }

    #[inline(always)]
    pub(super) const fn is_empty(&self) -> bool {
        self.plain.is_empty() & self.inner.is_empty()
    }
}

impl Worker {
    /// Finds the ways of the packets that carry IPv6.
    #[inline(never)]
    pub(super) fn six(&self, lanes: &mut Lanes, burst: &Burst, port: u16) {
        self.read_plain6(lanes, burst, port);
        self.read_inner6(lanes, burst);
        lanes.clocks.end(Stage::SixFrames);
        if !lanes.six.inner.is_empty() {
            self.outward6(lanes, burst);
        }
        if !lanes.six.plain.is_empty() {
            self.inward6(lanes, burst);
        }
        lanes.clocks.end(Stage::SixWays);
    }

    /// Reads what came from an uplink as it is.
    fn read_plain6(&self, lanes: &mut Lanes, burst: &Burst, port: u16) {
        let offered = std::mem::take(&mut lanes.six.plain);
        let uplink = self.snapshot.uplink_of_port(port);
        let uplink = uplink.and_then(|id| self.snapshot.uplink(id));
        if uplink.is_none_or(|uplink| uplink.ipv6.is_none()) {
            return;
        }
        for lane in offered {
            let Some(ip) = lanes.read6(lane, burst, self.seed) else {
                continue;
            };
            lanes.received[lane] = ip.total_len;
            // Nobody out there has an address of ours.
            let suspect = self.snapshot.own.may_hold6(ip.src) && self.is_ours_outside(ip.src);
            lanes.six.plain.add(lane, !suspect);
        }
    }

    #[cold]
    fn is_ours_outside(&self, source: Ipv6Addr) -> bool {
        self.reader.lookup(VrfId::PROVIDER, source) == Leaf::Local
    }

    /// Reads what came out of tunnels of segments with IPv6.
    fn read_inner6(&self, lanes: &mut Lanes, burst: &Burst) {
        for lane in std::mem::take(&mut lanes.six.inner) {
            let place = lanes.tunnel.place[lane];
            if self.snapshot.tunnels.ipv6_at(place).is_none() {
                continue;
            }
            if let Some(ip) = lanes.read6(lane, burst, self.seed) {
                // RFC 6040: the outer mark changes nothing if it says nothing, or the same.
                let mark = lanes.tunnel.tos[lane] & ECN;
                let unmarked = (mark == 0) | (mark == ip.class & ECN);
                lanes.six.inner.add(lane, unmarked);
            }
        }
    }

    /// The ways of what came out of tunnels: by its source and destination in its tenant, and by its
    /// destination in the provider VRF if the source's prefix is advertised there.
    fn outward6(&self, lanes: &mut Lanes, burst: &Burst) {
        let (six, tables) = (&mut lanes.six, &mut lanes.tables);
        let mut order = Order::NONE;
        order.set(&[six.inner]);
        let count = order.len();
        for (place, lane) in order.places() {
            let (ip, vrf) = (&six.packets[lane], lanes.tunnel.vrf[lane]);
            six.vrfs[place] = vrf;
            six.addresses[place] = ip.src;
            six.vrfs[count + place] = vrf;
            six.addresses[count + place] = ip.dst;
            six.vrfs[2 * count + place] = VrfId::PROVIDER;
            six.addresses[2 * count + place] = ip.dst;
            tables.hashes[place] = lanes.hashes[lane];
        }
        let all = 3 * count;
        self.reader.lookup_batch_mixed(
            &six.vrfs[..all],
            &six.addresses[..all],
            &mut six.leaves[..all],
        );
        let (sources, destinations) = six.leaves.split_at(count);
        let (own, provider) = destinations.split_at(count);
        let mut leaves = [PackedLeaf::NONE; LANES];
        let ways = leaves.iter_mut().zip(sources).zip(own).zip(provider);
        for (((leaf, source), own), provider) in ways.take(count) {
            *leaf = select_unpredictable(*own == CROSSING, *provider, *own);
            if let Some(source) = source.adjacency() {
                self.reader.prefetch_adjacency(source);
            }
        }
        let (hashes, ways) = (&tables.hashes[..count], &mut tables.ways[..count]);
        self.reader.select_batch(&leaves[..count], hashes, ways);
        for (place, lane) in order.places() {
            let way = lanes.tables.ways[place];
            let segment = self.snapshot.tunnels.ipv6_at(lanes.tunnel.place[lane]);
            let Some(segment) = segment.filter(|_| way != AdjacencyId::NONE) else {
                continue;
            };
            if let Some(mbuf) = burst.get(lane) {
                mbuf.prefetch_header();
            }
            let source = lanes.six.packets[lane].src;
            let crosses = lanes.six.leaves[count + place] == CROSSING;
            let allowed = segment.prefix.contains(source) & (!crosses | segment.advertise);
            let endpoint = lanes.six.leaves[place].adjacency();
            let endpoint = endpoint.unwrap_or(AdjacencyId::NONE);
            let goes = allowed && self.lives_there(lanes, lane, endpoint);
            lanes.ways[lane] = way;
            lanes.leaving.hop6.add(lane, goes);
        }
    }

    /// The ways of what came from an uplink: by its destination in the provider VRF, and in the tenant
    /// that leads to.
    fn inward6(&self, lanes: &mut Lanes, burst: &Burst) {
        let (six, tables) = (&mut lanes.six, &mut lanes.tables);
        let mut order = Order::NONE;
        order.set(&[six.plain]);
        let count = order.len();
        for (place, lane) in order.places() {
            six.addresses[place] = six.packets[lane].dst;
            tables.hashes[place] = lanes.hashes[lane];
        }
        self.reader.lookup_batch(
            VrfId::PROVIDER,
            &six.addresses[..count],
            &mut six.leaves[..count],
        );
        let mut entering = Mask::NONE;
        for (place, lane) in order.places() {
            let Leaf::LookupVrf(vrf) = six.leaves[place].unpack() else {
                continue;
            };
            six.vrfs[count + entering.len()] = vrf;
            six.addresses[count + entering.len()] = six.addresses[place];
            entering.add(place, true);
            if let Some(mbuf) = burst.get(lane) {
                // Where the outer headers of a tunnel will go.
                mbuf.prefetch_write_at(-HEADROOM);
            }
        }
        let inside = count..count + entering.len();
        self.reader.lookup_batch_mixed(
            &six.vrfs[inside.clone()],
            &six.addresses[inside.clone()],
            &mut six.leaves[inside],
        );
        for (number, place) in entering.enumerate() {
            six.leaves[place] = six.leaves[count + number];
        }
        let (leaves, hashes) = (&six.leaves[..count], &tables.hashes[..count]);
        self.reader
            .select_batch(leaves, hashes, &mut tables.ways[..count]);
        for (place, lane) in order.places() {
            let way = tables.ways[place];
            lanes.ways[lane] = way;
            lanes.leaving.hop6.add(lane, way != AdjacencyId::NONE);
        }
    }
}

impl Lanes {
    /// Reads the IPv6 packet of a lane, within what the uplink saw.
    fn read6(&mut self, lane: usize, burst: &Burst, seed: u64) -> Option<Regular6> {
        let frame = burst.get(lane).map_or(&[][..], Mbuf::data);
        let at = usize::from(self.at[lane]);
        let end = if at > ETHERNET {
            ETHERNET + usize::from(self.received[lane])
        } else {
            frame.len()
        };
        let ip = Regular6::read(frame.get(at..end)?)?;
        self.total[lane] = ip.total_len;
        self.tos[lane] = ip.class;
        self.hashes[lane] = ip.flow().hash(seed);
        self.six.packets[lane] = ip;
        Some(ip)
    }
}
