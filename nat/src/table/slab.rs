//! Records by number, allocated once.

use std::ops;

use sekisho_mem::{HugeSlice, MapError, Zeroable};

use super::vacancies::Vacancies;

/// A fixed number of records, numbered from 1 so that 0 can mean none. Recently freed numbers are
/// given out first: their lines are the likeliest to be in a cache.
pub(crate) struct Slab<T> {
    /// Record 0 is never given out.
    records: HugeSlice<T>,
    vacancies: Vacancies,
    /// Numbers from here on were never given out.
    fresh: u32,
}

impl<T: Zeroable + Default> Slab<T> {
    pub(crate) fn new(capacity: u32) -> Result<Self, MapError> {
        Ok(Self {
            records: HugeSlice::new(capacity as usize + 1)?,
            vacancies: Vacancies::new(capacity)?,
            fresh: 1,
        })
    }

    /// Gives out a number, whose record is clear; `None` when full.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<u32> {
        Some(match self.vacancies.take() {
            Some(number) => number,
            None if (self.fresh as usize) < self.records.len() => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return None,
        })
    }

    /// Stores a record and gives its number; `None` when full.
    pub(crate) fn insert(&mut self, record: T) -> Option<u32> {
        let number = self.take()?;
        self.records[number as usize] = record;
        Some(number)
    }

    /// Asks for the record to be brought close that will be given out after `ahead` others.
    #[inline]
    pub(crate) fn prefetch_vacant(&self, ahead: u32) {
        let number = self.vacancies.peek(ahead).unwrap_or_else(|excess| {
            let last = self.records.len() - 1;
            (self.fresh as usize + excess as usize).min(last) as u32
        });
        self.records.prefetch_write(number as usize);
    }

    /// Frees a number that was given out, and clears its record.
    #[inline]
    pub(crate) fn remove(&mut self, number: u32) {
        self.records[number as usize] = T::default();
        self.vacancies.put(number);
    }
}

impl<T> Slab<T> {
    /// One more than the largest number ever given out.
    pub(crate) const fn end(&self) -> u32 {
        self.fresh
    }

    /// Records stored now.
    pub(crate) const fn len(&self) -> usize {
        self.fresh as usize - 1 - self.vacancies.len()
    }

    /// Records that can still be stored.
    pub(crate) fn vacant(&self) -> usize {
        self.records.len() - 1 - self.len()
    }

    /// Octets of the records ever given out, with what is kept of free ones.
    pub(crate) const fn used_bytes(&self) -> usize {
        self.fresh as usize * size_of::<T>() + self.vacancies.used_bytes(self.fresh)
    }

    /// A record, if there can be one of this number.
    #[inline(always)]
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.records.get(number as usize)
    }

    /// [`Self::get`], to change it.
    #[inline(always)]
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.records.get_mut(number as usize)
    }

    /// Asks for a record to be brought close, for reading first.
    #[inline(always)]
    pub(crate) fn prefetch_read(&self, number: u32) {
        self.records.prefetch_read(number as usize);
    }

    /// Asks for a record to be brought close, to be written.
    #[inline]
    pub(crate) fn prefetch(&self, number: u32) {
        self.records.prefetch_write(number as usize);
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
        assert_eq!(slab.vacant(), 0);
        assert_eq!(slab.insert(13), None);
        slab.remove(2);
        assert_eq!((slab[1], slab[2], slab[3]), (10, 0, 12));
        assert_eq!(slab.len(), 2);
        slab.prefetch_vacant(0);
        slab.prefetch_vacant(100);
        assert_eq!(slab.insert(14), Some(2));
    }
}
