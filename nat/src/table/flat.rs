//! A map that is built once and then only read.

use crate::seed::HashKey;

/// An open-addressed map from 128-bit keys, at most half full.
#[derive(Debug)]
pub(crate) struct FlatMap<V> {
    hash: HashKey,
    slots: Box<[Option<(u128, V)>]>,
    /// The number of slots less one; a power of two less one.
    mask: usize,
    is_empty: bool,
}

impl<V: Copy> FlatMap<V> {
    /// Builds the map; of entries with equal keys the first stays.
    pub(crate) fn new(hash: HashKey, entries: &[(u128, V)]) -> Self {
        let size = (entries.len() * 2).next_power_of_two().max(2);
        let mut map = Self {
            hash,
            slots: vec![None; size].into(),
            mask: size - 1,
            is_empty: entries.is_empty(),
        };
        for &(key, value) in entries {
            let mut slot = map.first_slot(key);
            while map.slots[slot].is_some_and(|(other, _)| other != key) {
                slot = (slot + 1) & map.mask;
            }
            map.slots[slot].get_or_insert((key, value));
        }
        map
    }

    #[inline]
    pub(crate) fn get(&self, key: u128) -> Option<V> {
        if self.is_empty {
            return None;
        }
        let mut slot = self.first_slot(key);
        // Ends: at least half of the slots are empty.
        while let Some((other, value)) = self.slots[slot] {
            if other == key {
                return Some(value);
            }
            slot = (slot + 1) & self.mask;
        }
        None
    }

    fn first_slot(&self, key: u128) -> usize {
        self.hash.hash(0, key as u64, (key >> 64) as u64) as usize & self.mask
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::Seed;

    proptest! {
        #[test]
        fn it_answers_as_a_hash_map(entries: Vec<(u8, u32)>, absent: Vec<u128>) {
            let hash = Seed::new([1; 32]).shared_key();
            let entries: Vec<(u128, u32)> = entries
                .iter()
                .map(|&(key, value)| (u128::from(key) << 60, value))
                .collect();
            let map = FlatMap::new(hash, &entries);
            let mut truth = HashMap::new();
            for &(key, value) in &entries {
                truth.entry(key).or_insert(value);
            }
            for key in entries.iter().map(|entry| entry.0).chain(absent) {
                prop_assert_eq!(map.get(key), truth.get(&key).copied());
            }
        }
    }
}
