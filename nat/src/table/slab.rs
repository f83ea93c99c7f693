//! Records by number, allocated once.

use std::ops;

use sekisho_mem::{HugeSlice, MapError, Zeroable};

/// A fixed number of records, numbered from 1 so that 0 can mean none. The most recently freed
/// number is given out first: its line is the likeliest to be in a cache.
pub(crate) struct Slab<T> {
    /// Record 0 is never given out.
    records: HugeSlice<T>,
    /// Freed numbers; the first `freed` are valid.
    free: HugeSlice<u32>,
    freed: usize,
    /// Numbers from here on were never given out.
    fresh: u32,
}

impl<T: Zeroable + Default> Slab<T> {
    pub(crate) fn new(capacity: u32) -> Result<Self, MapError> {
        Ok(Self {
            records: HugeSlice::new(capacity as usize + 1)?,
            free: HugeSlice::new(capacity as usize)?,
            freed: 0,
            fresh: 1,
        })
    }

    /// Stores a record and gives its number; `None` when full.
    pub(crate) fn insert(&mut self, record: T) -> Option<u32> {
        let number = if self.freed > 0 {
            self.freed -= 1;
            self.free[self.freed]
        } else if (self.fresh as usize) < self.records.len() {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return None;
        };
        self.records[number as usize] = record;
        Some(number)
    }

    /// Frees a number that was given out, and clears its record.
    pub(crate) fn remove(&mut self, number: u32) {
        self.records[number as usize] = T::default();
        self.free[self.freed] = number;
        self.freed += 1;
    }

    /// One more than the largest number ever given out.
    pub(crate) const fn end(&self) -> u32 {
        self.fresh
    }

    /// Records stored now.
    pub(crate) const fn len(&self) -> usize {
        self.fresh as usize - 1 - self.freed
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() + 1 == self.records.len()
    }
}

impl<T> ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, number: u32) -> &T {
        &self.records[number as usize]
    }
}

impl<T> ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.records[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_out_once_and_come_back() {
        let mut slab = Slab::<u64>::new(3).unwrap();
        let numbers: Vec<u32> = (10..13).filter_map(|record| slab.insert(record)).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert!(slab.is_full());
        assert_eq!(slab.insert(13), None);
        slab.remove(2);
        assert_eq!((slab[1], slab[2], slab[3]), (10, 0, 12));
        assert_eq!(slab.len(), 2);
        assert_eq!(slab.insert(14), Some(2));
    }
}
