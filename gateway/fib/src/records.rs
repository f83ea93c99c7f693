//! Immutable records of a fixed number of 64-bit words behind stable indexes.
//!
//! A record is never edited: a new one is written elsewhere and the index is pointed at it by one
//! store, so that a reader gets all words of one record or of the other.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sekisho_mem::HugeSlice;

use crate::FibError;

/// Indexes below `capacity`, each naming no record or one of `WORDS` words.
pub(crate) struct Records<const WORDS: usize> {
    /// Slot + 1 of the index's record; 0: none.
    slots: HugeSlice<AtomicU32>,
    records: HugeSlice<[AtomicU64; WORDS]>,
}

/// One record, not to be kept past a burst boundary.
pub(crate) struct Record<'a, const WORDS: usize>(&'a [AtomicU64; WORDS]);

impl<const WORDS: usize> Records<WORDS> {
    /// Memory for `indexes` indexes and `slots` records.
    pub(crate) fn new(indexes: u32, slots: u32) -> Result<Self, FibError> {
        Ok(Self {
            slots: HugeSlice::new(indexes as usize)?,
            records: HugeSlice::new(slots as usize)?,
        })
    }

    /// The record `index` names.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<Record<'_, WORDS>> {
        let slot = self.slots.get(index as usize)?.load(Ordering::Acquire);
        self.records
            .get((slot as usize).checked_sub(1)?)
            .map(Record)
    }

    /// Writes a slot that no index names. Only the writer does.
    pub(crate) fn fill(&self, slot: u32, record: [u64; WORDS]) {
        for (word, value) in self.records[slot as usize].iter().zip(record) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Points `index` at a filled slot, or at nothing. Only the writer does.
    pub(crate) fn publish(&self, index: u32, slot: Option<u32>) {
        self.slots[index as usize].store(slot.map_or(0, |slot| slot + 1), Ordering::Release);
    }
}

impl<const WORDS: usize> Record<'_, WORDS> {
    #[inline]
    pub(crate) fn word(&self, at: usize) -> u64 {
        self.0[at].load(Ordering::Relaxed)
    }
}
