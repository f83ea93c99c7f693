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
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use sekisho_mem::{HugeSlice, prefetch_read};
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

sekisho_mem::zeroable_struct! {
    /// One cache line.
    #[repr(align(64))]
    struct Bucket {
        slots: [AtomicU64; SLOTS],
    }
}

const _: () = assert!(size_of::<Bucket>() == 64 && align_of::<Bucket>() == 64);

/// The table as readers and the writer see it.
pub(crate) struct HostTable {
    buckets: HugeSlice<Bucket>,
    bucket_bits: u32,
    multipliers: [u64; 2],
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
        let slots = u64::from(adjacencies.max(1)).next_power_of_two() * 2;
        let bucket_bits =
            (slots.trailing_zeros() - WAYS.min(slots.trailing_zeros())).max(MIN_BUCKET_BITS);
        Ok(Self {
            buckets: HugeSlice::new(1 << bucket_bits)?,
            bucket_bits,
            // Odd, or multiplying would not be a permutation; the second leaves 48 bits aligned left.
            multipliers: [key[0] | 1, (key[1] | 1) << (u64::BITS - KEY_BITS)],
        })
    }

    /// A product carries bits up only: the octets are turned round between two. Multiples of evenly
    /// spaced addresses are evenly spaced, and pile up where that is nearly a few buckets; so the
    /// bits that number the bucket are combined with others, which pile up elsewhere.
    #[inline(always)]
    pub(crate) fn permute(&self, vrf: VrfId, address: Ipv4Addr) -> Permuted {
        let address = u32::from_ne_bytes(address.octets());
        let key = u64::from(address) << 32 | u64::from(vrf.value()) << 16;
        let [first, second] = self.multipliers;
        let turned = key.wrapping_mul(first).swap_bytes();
        let product = turned.wrapping_mul(second);
        Permuted(product ^ product << 17)
    }

    #[inline(always)]
    fn bucket(&self, key: Permuted) -> Option<&Bucket> {
        // The writer numbers no bucket beyond: 11 to 25 bits.
        self.buckets
            .get((key.0 >> (u64::BITS - self.bucket_bits)) as usize)
    }

    /// What a slot has above the adjacency.
    #[inline(always)]
    const fn rest(&self, key: Permuted) -> u64 {
        key.0 << self.bucket_bits
    }

    /// Brings the bucket of a key close.
    #[inline(always)]
    pub(crate) fn prefetch(&self, key: Permuted) {
        if let Some(bucket) = self.bucket(key) {
            prefetch_read(bucket);
        }
    }

    /// The adjacency of a key, if it is in the table.
    #[inline(always)]
    pub(crate) fn get(&self, key: Permuted) -> Option<AdjacencyId> {
        let rest = self.rest(key);
        let slots = &self.bucket(key)?.slots;
        // Acquire: the adjacency is complete before its number is stored.
        match entry(slots[preferred(rest)].load(Ordering::Acquire), rest) {
            None => search(slots, rest),
            found => found,
        }
    }

    /// Puts an entry in that is not there, if its bucket has room. Only the writer does, here and
    /// below. Returns whether it had.
    pub(crate) fn insert(&self, key: Permuted, adjacency: AdjacencyId) -> bool {
        let Some(bucket) = self.bucket(key) else {
            return false;
        };
        let rest = self.rest(key);
        let free = (0..SLOTS)
            .map(|turn| &bucket.slots[preferred(rest) ^ turn])
            .find(|slot| slot.load(Ordering::Relaxed) == 0);
        if let Some(slot) = free {
            slot.store(rest | u64::from(adjacency.value() + 1), Ordering::Release);
        }
        free.is_some()
    }

    /// Takes the entry of a key out, if there is one.
    pub(crate) fn remove(&self, key: Permuted) {
        let rest = self.rest(key);
        let slots = self.bucket(key).map_or(&[][..], |bucket| &bucket.slots);
        for slot in slots {
            if entry(slot.load(Ordering::Relaxed), rest).is_some() {
                slot.store(0, Ordering::Release);
            }
        }
    }
}

/// The slot an entry is put in if it is free.
#[inline(always)]
const fn preferred(rest: u64) -> usize {
    (rest >> (u64::BITS - WAYS)) as usize
}

/// The adjacency in a slot, if the slot's key is the one with this rest.
#[inline(always)]
fn entry(slot: u64, rest: u64) -> Option<AdjacencyId> {
    // Whatever differs in the key is beyond an adjacency's number, and an empty slot wraps.
    let number = (slot ^ rest).wrapping_sub(1);
    (number < (1 << INDEX_BITS) - 1).then(|| AdjacencyId::new(number as u32))
}

/// The other slots of a bucket.
#[cold]
#[inline(never)]
fn search(slots: &[AtomicU64; SLOTS], rest: u64) -> Option<AdjacencyId> {
    slots
        .iter()
        .find_map(|slot| entry(slot.load(Ordering::Acquire), rest))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::leaf::MAX_INDEX;

    const KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

    fn key(table: &HostTable, number: u32) -> Permuted {
        // Neighbours in two tenants, and in addresses that differ in one octet each.
        let address = number.rotate_right(number & 24);
        table.permute(VrfId::new((number & 1) as u16), Ipv4Addr::from(address))
    }

    #[test]
    fn every_key_has_a_place_and_a_rest_of_its_own() {
        let table = HostTable::with_key(1, KEY).unwrap();
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
            assert_eq!(entry(0, rest), None);
            for value in [0, MAX_INDEX - 1] {
                let slot = rest | u64::from(value + 1);
                assert_eq!(entry(slot, rest), Some(AdjacencyId::new(value)));
                assert_eq!(entry(slot, rest ^ 1 << INDEX_BITS), None);
                assert_eq!(entry(slot, rest ^ 1 << 63), None);
            }
        }
    }

    #[test]
    fn neighbouring_addresses_are_spread_over_the_buckets() {
        for seed in 1..20_u64 {
            let halves = KEY.map(|half| (half + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let table = HostTable::with_key(1 << 15, halves).unwrap();
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
            let table = HostTable::with_key(1, seeds).unwrap();
            let mut model = BTreeMap::new();
            for (number, adjacency, put) in steps {
                let (key, id) = (key(&table, number), AdjacencyId::new(adjacency));
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
        let table = HostTable::with_key(1, KEY).unwrap();
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
