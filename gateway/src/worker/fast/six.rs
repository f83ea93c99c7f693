//! What carries IPv6, in either direction: headers, endpoint check, tables. Nothing is translated, so
//! there are no sessions; rewrite and outer headers are as for IPv4.

use std::hint::select_unpredictable;
use std::net::Ipv6Addr;

use arrayvec::ArrayVec;
use sekisho_dpdk::{Burst, Mbuf};
use sekisho_fib::{AdjacencyId, Leaf, PackedLeaf};
use sekisho_packet::{EtherType, Regular, Regular6};
use sekisho_types::VrfId;

use super::classify::{ECN, INNER, MAC, VNI_VALID, is_intact, word_at};
use super::inward::HEADROOM;
use super::outward::CROSSING;
use super::{Change, ETHERNET, LANES, Lane, Lanes, Stage};
use crate::worker::Worker;

/// What is known of packets with IPv6 beside what their lanes say. Lists of indices are of what the
/// frames may hold at first, of what they do hold in the end.
pub(super) struct Six {
    packets: [Regular6; LANES],
    /// Which came from an uplink as they are.
    plain: ArrayVec<u8, LANES>,
    /// Which came out of a tunnel.
    inner: ArrayVec<u8, LANES>,
    addresses: [Ipv6Addr; 3 * LANES],
    vrfs: [VrfId; 3 * LANES],
    leaves: [PackedLeaf; 3 * LANES],
}

impl Six {
    pub(super) const fn new() -> Self {
        Self {
            packets: [Regular6::NONE; LANES],
            plain: ArrayVec::new_const(),
            inner: ArrayVec::new_const(),
            addresses: [Ipv6Addr::UNSPECIFIED; 3 * LANES],
            vrfs: [VrfId::PROVIDER; 3 * LANES],
            leaves: [PackedLeaf::NONE; 3 * LANES],
        }
    }

    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.plain.clear();
        self.inner.clear();
    }

    #[inline(always)]
    pub(super) const fn is_empty(&self) -> bool {
        self.plain.is_empty() & self.inner.is_empty()
    }

    /// A frame of an uplink that is not IPv4's.
    #[inline(always)]
    pub(super) fn offer(&mut self, index: usize, header: &[u8; ETHERNET], mac: u64, mbuf: &Mbuf) {
        if is_ipv6_for(header, mac) & mbuf.is_contiguous() {
            let _ = self.plain.try_push(index as u8);
        }
    }

    /// A frame of a tunnel that holds no regular IPv4.
    #[inline(always)]
    pub(super) fn offer_inner(&mut self, index: u8) {
        let _ = self.inner.try_push(index);
    }
}

impl Worker {
    /// Finds the ways of the packets that carry IPv6.
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
        for index in offered {
            let at = usize::from(index) % LANES;
            let frame = burst.get(at).map_or(&[][..], Mbuf::data);
            let Some(ip) = frame.get(ETHERNET..).and_then(Regular6::read) else {
                continue;
            };
            // Nobody out there has an address of ours.
            if self.snapshot.own.may_hold6(ip.src) && self.is_ours_outside(ip.src) {
                continue;
            }
            lanes.packets[at] = Lane::plain(summary(&ip));
            lanes.packets[at].hash = ip.flow().hash(self.seed);
            lanes.six.packets[at] = ip;
            let _ = lanes.six.plain.try_push(index);
        }
    }

    #[cold]
    fn is_ours_outside(&self, source: Ipv6Addr) -> bool {
        self.reader.lookup(VrfId::PROVIDER, source) == Leaf::Local
    }

    /// Reads what came out of tunnels.
    fn read_inner6(&self, lanes: &mut Lanes, burst: &Burst) {
        for index in std::mem::take(&mut lanes.six.inner) {
            let at = usize::from(index) % LANES;
            let frame = burst.get(at).map_or(&[][..], Mbuf::data);
            let lane = &mut lanes.packets[at];
            if let Some(ip) = self.open_tunnel6(frame, lane) {
                lane.hash = ip.flow().hash(self.seed);
                lanes.six.packets[at] = ip;
                let _ = lanes.six.inner.try_push(index);
            }
        }
    }

    /// Only what is exactly a configured tunnel, of a segment with IPv6, is taken for one.
    #[inline(always)]
    fn open_tunnel6(&self, frame: &[u8], lane: &mut Lane) -> Option<Regular6> {
        let frame = frame.get(..ETHERNET + usize::from(lane.received))?;
        let (headers, inner) = frame.split_first_chunk::<{ INNER + ETHERNET }>()?;
        let (_, header) = headers.split_last_chunk::<ETHERNET>()?;
        let checksum = u16::from_be_bytes([headers[40], headers[41]]);
        let vni = u32::from_be_bytes([0, headers[46], headers[47], headers[48]]);
        let valid = headers[42] & VNI_VALID != 0;
        let (place, segment) = self.snapshot.tunnels.find(vni, lane.vtep)?;
        let ip = Regular6::read(inner)?;
        let enabled = self.snapshot.tunnels.ipv6_at(place).is_some();
        // RFC 6040: the outer mark changes nothing if it says nothing, or the same.
        let mark = lane.outer_tos & ECN;
        let unmarked = (mark == 0) | (mark == ip.class & ECN);
        let sound = valid & is_ipv6_for(header, segment.mac) & unmarked & enabled;
        if !sound || (checksum != 0 && !is_intact(frame)) {
            return None;
        }
        lane.ip = summary(&ip);
        lane.at = (INNER + ETHERNET) as u16;
        lane.vrf = segment.vrf;
        lane.segment = segment.id;
        lane.place = place;
        lane.mac = word_at::<6>(header) & MAC;
        Some(ip)
    }

    /// The ways of what came out of tunnels: by its source and destination in its tenant, and by its
    /// destination in the provider VRF if the source's prefix is advertised there.
    fn outward6(&self, lanes: &mut Lanes, burst: &Burst) {
        let (six, tables) = (&mut lanes.six, &mut lanes.tables);
        let count = six.inner.len();
        for (place, &index) in six.inner.iter().enumerate() {
            let at = usize::from(index) % LANES;
            let (lane, ip) = (&lanes.packets[at], &six.packets[at]);
            six.vrfs[place] = lane.vrf;
            six.addresses[place] = ip.src;
            six.vrfs[count + place] = lane.vrf;
            six.addresses[count + place] = ip.dst;
            six.vrfs[2 * count + place] = VrfId::PROVIDER;
            six.addresses[2 * count + place] = ip.dst;
            tables.hashes[place] = lane.hash;
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
        for (place, &index) in six.inner.iter().enumerate() {
            let at = usize::from(index) % LANES;
            let (lane, ip) = (&lanes.packets[at], &six.packets[at]);
            let way = tables.ways[place];
            let Some(segment) = self.snapshot.tunnels.ipv6_at(lane.place) else {
                continue;
            };
            if way == AdjacencyId::NONE {
                continue;
            }
            if let Some(mbuf) = burst.get(at) {
                mbuf.prefetch_header();
            }
            let crosses = six.leaves[count + place] == CROSSING;
            let source = six.leaves[place].adjacency().unwrap_or(AdjacencyId::NONE);
            let allowed = segment.prefix.contains(ip.src) & (!crosses | segment.advertise);
            if allowed && self.lives_there(lane, source) {
                lanes.ways[at] = way;
                lanes.changes[at] = Change::HopLimit;
                let _ = lanes.leaving.try_push(index);
            }
        }
    }

    /// The ways of what came from an uplink: by its destination in the provider VRF, and in the tenant
    /// that leads to.
    fn inward6(&self, lanes: &mut Lanes, burst: &Burst) {
        let (six, tables) = (&mut lanes.six, &mut lanes.tables);
        let count = six.plain.len();
        for (place, &index) in six.plain.iter().enumerate() {
            let at = usize::from(index) % LANES;
            six.addresses[place] = six.packets[at].dst;
            tables.hashes[place] = lanes.packets[at].hash;
        }
        self.reader.lookup_batch(
            VrfId::PROVIDER,
            &six.addresses[..count],
            &mut six.leaves[..count],
        );
        let mut entering = ArrayVec::<u8, LANES>::new();
        for (place, &index) in six.plain.iter().enumerate() {
            let Leaf::LookupVrf(vrf) = six.leaves[place].unpack() else {
                continue;
            };
            six.vrfs[count + entering.len()] = vrf;
            six.addresses[count + entering.len()] = six.addresses[place];
            let _ = entering.try_push(place as u8);
            if let Some(mbuf) = burst.get(usize::from(index) % LANES) {
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
        for (number, &place) in entering.iter().enumerate() {
            six.leaves[usize::from(place)] = six.leaves[count + number];
        }
        self.reader.select_batch(
            &six.leaves[..count],
            &tables.hashes[..count],
            &mut tables.ways[..count],
        );
        for (&index, way) in six.plain.iter().zip(&tables.ways) {
            if *way != AdjacencyId::NONE {
                let at = usize::from(index) % LANES;
                lanes.ways[at] = *way;
                lanes.changes[at] = Change::HopLimit;
                let _ = lanes.leaving.try_push(index);
            }
        }
    }
}

/// What the stages that both families share need to know.
#[inline(always)]
const fn summary(ip: &Regular6) -> Regular {
    Regular {
        sport: ip.sport,
        dport: ip.dport,
        total_len: ip.total_len,
        tos: ip.class,
        protocol: ip.protocol,
        ..Regular::NONE
    }
}

/// Whether an Ethernet header is of an IPv6 packet to `mac`, without a VLAN tag.
#[inline(always)]
fn is_ipv6_for(header: &[u8; ETHERNET], mac: u64) -> bool {
    let ethertype = u16::from_be_bytes([header[12], header[13]]);
    (word_at::<0>(header) & MAC == mac) & (ethertype == EtherType::IPV6.0)
}
