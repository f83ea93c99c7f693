//! Which tunnels are ours: segments by VNI, VTEPs by address, and who may send for what. Three small
//! tables that stay in the first-level cache while the flows change.

use std::net::Ipv4Addr;
use std::sync::Arc;

use sekisho_mem::prefetch_read;
use sekisho_types::{Ipv4Prefix, Ipv6Prefix, MacAddr, SegmentId, VrfId};

use crate::counters::TrafficCounters;
use crate::snapshot::Segment;

/// Segments whose lines, and those of their places, fill half of a first-level cache.
const LARGE: usize = 256;

/// What the tenant of a segment asks of NAT, so that packets need not ask the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantNat {
    /// Some of its packets need a session: it has SNAT rules or port forwards.
    pub stateful: bool,
    /// Some of its addresses have a floating IP.
    pub floating: bool,
    /// Some of its addresses are exempt by a rule.
    pub exempt: bool,
}

/// A segment, as far as each of its packets needs it: one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub struct TunnelSegment {
    /// The gateway's Ethernet address, as [`mac_word`] has it.
    pub mac: u64,
    /// Its tenant's VRF.
    pub vrf: VrfId,
    /// Which segment it is.
    pub id: SegmentId,
    /// What its tenant asks of NAT.
    pub nat: TenantNat,
    /// Whether its prefix is reachable without NAT.
    pub advertise: bool,
    /// Its prefix.
    pub prefix: Ipv4Prefix,
    /// Per worker.
    pub traffic: Arc<[TrafficCounters]>,
    /// Where its row of members begins.
    row: u32,
}

const _: () = assert!(size_of::<TunnelSegment>() == 64);

/// The IPv6 side of a segment, as far as each of its packets needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelSegment6 {
    /// Its prefix.
    pub prefix: Ipv6Prefix,
    /// Whether its prefix is reachable from the provider VRF.
    pub advertise: bool,
}

/// All tunnels of one configuration.
#[derive(Debug, Default)]
pub struct TunnelTable {
    segments: Vec<TunnelSegment>,
    /// In the same order.
    ipv6: Vec<Option<TunnelSegment6>>,
    by_vni: SmallMap,
    by_id: Vec<u32>,
    vteps: SmallMap,
    /// A bit per VTEP in a row per segment: it may send for the segment.
    members: Vec<u64>,
}

impl TunnelTable {
    /// The table of the segments of a configuration; `nat` tells what a tenant asks of NAT.
    pub fn new(segments: &[Option<Segment>], nat: impl Fn(VrfId) -> TenantNat) -> Self {
        let mut vteps: Vec<Ipv4Addr> = Vec::new();
        for segment in segments.iter().flatten() {
            vteps.extend(&segment.vteps);
        }
        vteps.sort_unstable();
        vteps.dedup();
        let words = vteps.len().div_ceil(64);
        let numbered = |vtep: &Ipv4Addr| vteps.binary_search(vtep).unwrap_or(usize::MAX);
        let mut table = Self::default();
        let mut keys = Vec::new();
        for (index, segment) in segments.iter().enumerate() {
            table.by_id.push(u32::MAX);
            let Some(segment) = segment else { continue };
            let row = table.members.len();
            table.members.resize(row + words, 0);
            for vtep in segment.vteps.iter().map(numbered) {
                table.members[row + vtep / 64] |= 1 << (vtep % 64);
            }
            keys.push(segment.vni.value());
            table.by_id[index] = table.segments.len() as u32;
            let ipv6 = segment.ipv6.as_ref();
            table.ipv6.push(ipv6.map(|ipv6| TunnelSegment6 {
                prefix: ipv6.prefix,
                advertise: ipv6.advertise,
            }));
            table.segments.push(TunnelSegment {
                mac: mac_word(segment.mac),
                vrf: segment.vrf,
                id: SegmentId::new(index as u16),
                nat: nat(segment.vrf),
                advertise: segment.advertise,
                prefix: segment.prefix,
                traffic: Arc::clone(&segment.traffic),
                row: row as u32,
            });
        }
        table.by_vni = SmallMap::new(&keys);
        let addresses: Vec<u32> = vteps.iter().copied().map(u32::from).collect();
        table.vteps = SmallMap::new(&addresses);
        table
    }

    /// The segment with that VNI, if that VTEP may send for it, and its place in the table.
    #[inline(always)]
    pub fn find(&self, vni: u32, vtep: u32) -> Option<(u16, &TunnelSegment)> {
        let place = self.by_vni.get(vni)?;
        let segment = self.segments.get(place)?;
        let vtep = self.vteps.get(vtep)?;
        let word = self.members.get(segment.row as usize + vtep / 64)?;
        (word >> (vtep % 64) & 1 == 1).then_some((place as u16, segment))
    }

    /// Whether there are so many segments that their lines are not close by themselves.
    #[inline(always)]
    pub const fn is_large(&self) -> bool {
        self.segments.len() > LARGE
    }

    /// Brings the place of a VNI close.
    #[inline(always)]
    pub fn prefetch_vni(&self, vni: u32) {
        if let Some(slot) = self.by_vni.slots.get(self.by_vni.home(vni)) {
            prefetch_read(slot);
        }
    }

    /// Brings the segment of a VNI close, once its place is.
    #[inline(always)]
    pub fn prefetch_segment(&self, vni: u32) {
        if let Some(segment) = self.by_vni.get(vni).and_then(|at| self.segments.get(at)) {
            prefetch_read(segment);
        }
    }

    /// The segment at a place [`Self::find`] told of the same table.
    #[inline(always)]
    pub fn at(&self, place: u16) -> Option<&TunnelSegment> {
        self.segments.get(usize::from(place))
    }

    /// The IPv6 side of the segment at that place, if it has one.
    #[inline(always)]
    pub fn ipv6_at(&self, place: u16) -> Option<&TunnelSegment6> {
        self.ipv6.get(usize::from(place))?.as_ref()
    }

    /// The segment with that number.
    #[inline]
    pub fn segment(&self, id: SegmentId) -> Option<&TunnelSegment> {
        self.segments.get(*self.by_id.get(id.index())? as usize)
    }
}

/// An Ethernet address in the low 48 bits, as it is read from a frame in one load.
#[inline(always)]
pub const fn mac_word(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.octets();
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// From 32-bit keys to their places in the list it was made of. Half empty, so that most keys are
/// found at once.
#[derive(Debug, Default)]
struct SmallMap {
    /// Key, and place + 1; 0 is empty.
    slots: Vec<(u32, u32)>,
    shift: u32,
}

impl SmallMap {
    /// A map of distinct keys.
    fn new(keys: &[u32]) -> Self {
        let size = (keys.len() * 2 + 2).next_power_of_two();
        let mut map = Self {
            slots: vec![(0, 0); size],
            shift: 32 - size.trailing_zeros(),
        };
        for (place, &key) in keys.iter().enumerate() {
            let mut slot = map.home(key);
            while map.slots[slot].1 != 0 {
                slot = (slot + 1) % size;
            }
            map.slots[slot] = (key, place as u32 + 1);
        }
        map
    }

    #[inline(always)]
    const fn home(&self, key: u32) -> usize {
        (key.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }

    #[inline(always)]
    fn get(&self, key: u32) -> Option<usize> {
        let mut slot = self.home(key);
        // Half of the slots are empty, so this ends.
        while let Some(&(found, place)) = self.slots.get(slot) {
            if place == 0 {
                return None;
            }
            if found == key {
                return Some(place as usize - 1);
            }
            slot = (slot + 1) % self.slots.len();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use sekisho_types::{Name, Vni};

    use super::*;

    fn segment(vni: u32, vteps: &[u32]) -> Segment {
        let mut vteps: Vec<Ipv4Addr> = vteps.iter().copied().map(Ipv4Addr::from).collect();
        vteps.sort_unstable();
        vteps.dedup();
        Segment {
            name: "web".parse::<Name>().unwrap(),
            vrf: VrfId::new(1),
            vni: Vni::new(vni).unwrap(),
            gateway: Ipv4Addr::new(172, 16, 0, 1),
            prefix: "172.16.0.0/24".parse().unwrap(),
            mac: MacAddr::ZERO,
            mtu: 1450,
            vteps,
            learning: true,
            advertise: false,
            ipv6: None,
            static_endpoints: HashMap::new(),
            icmp_errors: true,
            mss_clamp: None,
            traffic: Arc::new([]),
        }
    }

    #[test]
    fn v03_a_vtep_sends_only_for_segments_it_takes_part_in() {
        let many: Vec<u32> = (100..300).collect();
        let segments = [
            Some(segment(5, &[1, 2, 299])),
            None,
            Some(segment(6, &many)),
        ];
        let table = TunnelTable::new(&segments, |_| TenantNat::default());
        assert_eq!(table.find(5, 2).unwrap().1.id, SegmentId::new(0));
        assert_eq!(table.find(6, 299).unwrap().1.id, SegmentId::new(2));
        assert!(table.find(5, 299).is_some());
        assert!(table.find(6, 2).is_none());
        assert!(table.find(5, 100).is_none());
        assert!(table.find(7, 1).is_none());
        assert!(table.find(5, 3).is_none());
        assert!(table.segment(SegmentId::new(1)).is_none());
        assert_eq!(table.segment(SegmentId::new(2)).unwrap().row, 4);
    }

    #[test]
    fn an_empty_table_knows_nobody() {
        let table = TunnelTable::new(&[], |_| TenantNat::default());
        assert!(table.find(0, 0).is_none());
        assert!(TunnelTable::default().find(0, 0).is_none());
    }

    proptest! {
        #[test]
        fn a_small_map_answers_as_a_list(keys: std::collections::HashSet<u32>, absent: Vec<u32>) {
            let keys: Vec<u32> = keys.into_iter().collect();
            let map = SmallMap::new(&keys);
            for key in keys.iter().chain(&absent) {
                prop_assert_eq!(map.get(*key), keys.iter().position(|known| known == key));
            }
        }
    }
}
