//! IPv4 neighbours and endpoints by their exact address, beside the trees.
//!
//! What is looked up most often is found by one load: a slot is one 64-bit word that holds both the
//! key and the adjacency, so that no reader sees the one without the other, and a slot can hold
//! another entry at once. The key fits because the hash is a permutation of the 48 bits of VRF and
//! address: the bucket gives some of them, and the slot the rest.
//!
//! | bits of a slot, from the highest | |
//! |---|---|
//! | 48 less those that number the buckets | rest of the permuted key |
//! | 27 lowest | number of the adjacency plus one; a slot of zero is empty |
//!
//! A bucket is a cache line of eight slots. An entry is in the slot its key prefers if that is free,
//! as good as always in a table that is mostly empty, or in another of its bucket, or not in the
//! table at all: readers ask the tree for what they do not find.
//!
//! An entry is in the table only while the tree says the same: the writer takes it out before it
//! changes the tree, and puts it in afterwards.

use std::hash::{BuildHasher, RandomState};
use std::hint::select_unpredictable;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use sekisho_mem::{HugeSlice, prefetch_element};
use sekisho_types::VrfId;

use crate::leaf::INDEX_BITS;
use crate::{AdjacencyId, FibError};

/// Slots of a bucket, as a power of two.
const WAYS: u32 = 3;
const SLOTS: usize = 1 << WAYS;
/// Bits of a key.
const KEY_BITS: u32 = 48;
/// As few bits as can number the buckets: the rest of a key and an adjacency fill a slot.
const MIN_BUCKET_BITS: u32 = KEY_BITS + INDEX_BITS - u64::BITS;

/// The memory of the table, and how keys are found in it.
pub(crate) struct HostTable {
    slots: HugeSlice<AtomicU64>,
    layout: Layout,
}

/// The table as readers and the writer use it: all that stays as it is, in registers.
#[derive(Clone, Copy)]
pub(crate) struct Hosts<'a> {
    /// A bucket is a cache line: the memory begins on a page.
    slots: &'a [AtomicU64],
    layout: Layout,
}

#[derive(Clone, Copy)]
struct Layout {
    multipliers: [u64; 2],
    bucket_bits: u32,
    /// How far a key is shifted to number a slot.
    to_slot: u32,
}

/// A key, permuted: left-aligned 48 bits, of which the first number the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permuted(u64);

impl HostTable {
    /// A table with two slots for each adjacency, under a secret key of its own.
    pub(crate) fn new(adjacencies: u32) -> Result<Self, FibError> {
        let random = RandomState::new();
        Self::with_key(adjacencies, [1, 2].map(|half: u64| random.hash_one(half)))
    }

    fn with_key(adjacencies: u32, key: [u64; 2]) -> Result<Self, FibError> {
        let slots = 2 * u64::from(adjacencies.max(1)).next_power_of_two();
        let bucket_bits = slots.trailing_zeros().max(MIN_BUCKET_BITS + WAYS) - WAYS;
        Ok(Self {
            slots: HugeSlice::new(SLOTS << bucket_bits)?,
            layout: Layout {
                // Odd, or multiplying would not be a permutation; the second leaves 48 bits
                // aligned left.
                multipliers: [key[0] | 1, (key[1] | 1) << (u64::BITS - KEY_BITS)],
                bucket_bits,
                to_slot: u64::BITS - WAYS - bucket_bits,
            },
        })
    }

    #[inline(always)]
    pub(crate) fn hosts(&self) -> Hosts<'_> {
        Hosts {
            slots: &self.slots,
            layout: self.layout,
        }
    }
}

impl<'a> Hosts<'a> {
    /// A product carries bits up only: the octets are turned round between two. Multiples of evenly
    /// spaced addresses are evenly spaced, and pile up where that is nearly a few buckets; so the
    /// bits that number the bucket are combined with others, which pile up elsewhere.
    #[inline(always)]
    pub(crate) fn permute(self, vrf: VrfId, address: Ipv4Addr) -> Permuted {
        let address = u32::from_ne_bytes(address.octets());
        let key = u64::from(address) << 32 | u64::from(vrf.value()) << 16;
        let [first, second] = self.layout.multipliers;
        let product = key.wrapping_mul(first).swap_bytes().wrapping_mul(second);
        Permuted(product ^ product << 17)
    }

    /// The number of the slot an entry is put in if it is free.
    #[inline(always)]
    const fn preferred(self, key: Permuted) -> usize {
        (key.0 >> (self.layout.to_slot & 63)) as usize
    }

    /// What a slot has above the adjacency.
    #[inline(always)]
    const fn rest(self, key: Permuted) -> u64 {
        key.0 << (self.layout.bucket_bits & 63)
    }

    /// Brings the bucket of a key close.
    #[inline(always)]
    pub(crate) fn prefetch(self, key: Permuted) {
        prefetch_element(self.slots, self.preferred(key));
    }

    /// The adjacency of a key if it is in the slot it prefers, or [`AdjacencyId::NONE`].
    #[inline(always)]
    pub(crate) fn get_preferred(self, key: Permuted) -> AdjacencyId {
        // Acquire: the adjacency is complete before its number is stored.
        let slot = self.slots[self.preferred(key)].load(Ordering::Acquire);
        entry(slot, self.rest(key))
    }

    /// The adjacency of a key, if it is in the table.
    #[inline(always)]
    pub(crate) fn get(self, key: Permuted) -> Option<AdjacencyId> {
        match self.get_preferred(key) {
            AdjacencyId::NONE => self.search(key),
            found => Some(found),
        }
    }

    /// The adjacency of a key, in whichever slot of its bucket.
    #[cold]
    #[inline(never)]
    pub(crate) fn search(self, key: Permuted) -> Option<AdjacencyId> {
        self.bucket(key)
            .map(|slot| entry(slot.load(Ordering::Acquire), self.rest(key)))
            .find(|found| *found != AdjacencyId::NONE)
    }

    /// The slots of the bucket of a key, first the one it prefers.
    fn bucket(self, key: Permuted) -> impl Iterator<Item = &'a AtomicU64> {
        let first = self.preferred(key);
        (0..SLOTS).filter_map(move |turn| self.slots.get(first ^ turn))
    }

    /// Puts an entry in that is not there, if its bucket has room. Only the writer does, here and
    /// below. Returns whether it had.
    pub(crate) fn insert(self, key: Permuted, adjacency: AdjacencyId) -> bool {
        let free = self
            .bucket(key)
            .find(|slot| slot.load(Ordering::Relaxed) == 0);
        if let Some(slot) = free {
            let word = self.rest(key) | u64::from(adjacency.value() + 1);
            slot.store(word, Ordering::Release);
        }
        free.is_some()
    }

    /// Takes the entry of a key out, if there is one.
    pub(crate) fn remove(self, key: Permuted) {
        for slot in self.bucket(key) {
            let found = entry(slot.load(Ordering::Relaxed), self.rest(key));
            if found != AdjacencyId::NONE {
                slot.store(0, Ordering::Release);
            }
        }
    }
}

/// The adjacency in a slot if the slot's key is the one with this rest, or [`AdjacencyId::NONE`].
#[inline(always)]
fn entry(slot: u64, rest: u64) -> AdjacencyId {
    // Whatever differs in the key is beyond an adjacency's number, and an empty slot wraps.
    let number = (slot ^ rest).wrapping_sub(1);
    let known = number < (1 << INDEX_BITS) - 1;
    select_unpredictable(known, AdjacencyId::new(number as u32), AdjacencyId::NONE)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::leaf::MAX_INDEX;

    const KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

    fn key(table: Hosts<'_>, number: u32) -> Permuted {
        // Neighbours in two tenants, and in addresses that differ in one octet each.
        let address = number.rotate_right(number & 24);
        table.permute(VrfId::new((number & 1) as u16), Ipv4Addr::from(address))
    }

    #[test]
    fn every_key_has_a_place_and_a_rest_of_its_own() {
        let memory = HostTable::with_key(1, KEY).unwrap();
        let table = memory.hosts();
        let mut keys = BTreeSet::new();
        for bit in 0..48 {
            for other in 0..48 {
                let bits: u64 = 1 << bit | 1 << other;
                let address = Ipv4Addr::from((bits >> 16) as u32);
                let key = table.permute(VrfId::new(bits as u16), address);
                assert_eq!(key.0 << KEY_BITS, 0);
                keys.insert(key.0);
            }
        }
        assert_eq!(keys.len(), 48 * 49 / 2);
    }

    #[test]
    fn the_first_and_the_last_adjacency_and_the_rest_zero_are_told_from_an_empty_slot() {
        for rest in [0, 1 << INDEX_BITS, u64::MAX << INDEX_BITS] {
            assert_eq!(entry(0, rest), AdjacencyId::NONE);
            for value in [0, MAX_INDEX - 1] {
                let slot = rest | u64::from(value + 1);
                assert_eq!(entry(slot, rest), AdjacencyId::new(value));
                assert_eq!(entry(slot, rest ^ 1 << INDEX_BITS), AdjacencyId::NONE);
                assert_eq!(entry(slot, rest ^ 1 << 63), AdjacencyId::NONE);
            }
        }
    }

    #[test]
    fn neighbouring_addresses_are_spread_over_the_buckets() {
        for seed in 1..20_u64 {
            let halves = KEY.map(|half| (half + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let memory = HostTable::with_key(1 << 15, halves).unwrap();
            let table = memory.hosts();
            let count = (0..1 << 15).filter(|&number| {
                let (tenant, host) = ((number >> 11) as u16, number & 0x7ff);
                let key = table.permute(VrfId::new(tenant), Ipv4Addr::from(0x0a00_0000 + host));
                table.insert(key, AdjacencyId::new(number))
            });
            // Four of eight slots are taken in the mean: one entry in forty finds none.
            let count = count.count();
            assert!(count > (1 << 15) * 95 / 100, "{count} with {halves:x?}");
        }
    }

    proptest! {
           #[test]
           fn what_is_found_is_what_was_put_in(
               steps in prop::collection::vec((0..40_000_u32, 0..MAX_INDEX, any::<bool>()), 1..400),
               seeds: [u64; 2],
           ) {
               let memory = HostTable::with_key(1, seeds).unwrap();
    let table = memory.hosts();
               let mut model = BTreeMap::new();
               for (number, adjacency, put) in steps {
                   let (key, id) = (key(table, number), AdjacencyId::new(adjacency));
                   table.remove(key);
                   model.remove(&key.0);
                   prop_assert_eq!(table.get(key), None);
                   if put && table.insert(key, id) {
                       model.insert(key.0, id);
                   }
               }
               for (&key, &id) in &model {
                   prop_assert_eq!(table.get(Permuted(key)), Some(id));
               }
           }
       }

    #[test]
    fn a_bucket_takes_what_it_has_slots_for_and_gives_them_back() {
        let memory = HostTable::with_key(1, KEY).unwrap();
        let table = memory.hosts();
        let keys: Vec<_> = (1..=9).map(|rest| Permuted(rest << 16)).collect();
        for (number, &key) in keys.iter().enumerate() {
            assert_eq!(
                table.insert(key, AdjacencyId::new(number as u32)),
                number < 8
            );
        }
        assert_eq!(table.get(keys[8]), None);
        table.remove(keys[3]);
        assert!(table.insert(keys[8], AdjacencyId::new(8)));
        let found: Vec<_> = keys
            .iter()
            .map(|&key| table.get(key).map(AdjacencyId::value))
            .collect();
        let without_fourth = |number: u32| (number != 3).then_some(number);
        assert_eq!(found, (0..9).map(without_fourth).collect::<Vec<_>>());
    }
}
