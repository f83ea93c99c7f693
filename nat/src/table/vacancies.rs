//! Which numbers are free: a few recently freed ones at hand, the rest in a bitmap.
//!
//! A list through the free records would cost nothing but a cold line for each step; a separate
//! array costs four octets for each record. This costs a bit, and tells what comes next without a
//! look at any record.

use sekisho_mem::{HugeSlice, MapError};

/// Numbers at hand.
const AT_HAND: usize = 512;

/// A set of free numbers.
pub(super) struct Vacancies {
    /// The first `count` are free, the last one freed last.
    at_hand: [u32; AT_HAND],
    count: usize,
    /// The other free ones, a bit each.
    words: HugeSlice<u64>,
    /// Per word, whether it has a bit.
    summary: HugeSlice<u64>,
    /// Bits in `words`.
    stored: usize,
    /// Where the search for a bit in `summary` goes on.
    at: usize,
}

impl Vacancies {
    /// No free number below or at `last`.
    pub(super) fn new(last: u32) -> Result<Self, MapError> {
        let words = last as usize / 64 + 1;
        Ok(Self {
            at_hand: [0; AT_HAND],
            count: 0,
            words: HugeSlice::new(words)?,
            summary: HugeSlice::new(words / 64 + 1)?,
            stored: 0,
            at: 0,
        })
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.count + self.stored
    }

    /// Adds a number that is not in.
    #[inline]
    pub(super) fn put(&mut self, number: u32) {
        if self.count == AT_HAND {
            self.store();
        }
        self.at_hand[self.count] = number;
        self.count += 1;
    }

    /// Takes a number out: a recently freed one if there is one.
    #[inline]
    pub(super) fn take(&mut self) -> Option<u32> {
        if (self.count == 0) & (self.stored > 0) {
            self.fetch();
        }
        self.count = self.count.checked_sub(1)?;
        Some(self.at_hand[self.count])
    }

    /// The number at hand that will be taken after `ahead` others; an error tells how many too far
    /// that is.
    #[inline]
    pub(super) fn peek(&self, ahead: u32) -> Result<u32, u32> {
        let ahead = ahead as usize;
        if ahead < self.count {
            Ok(self.at_hand[self.count - 1 - ahead])
        } else {
            Err((ahead - self.count) as u32)
        }
    }

    /// Octets used while numbers stay below `end`.
    pub(super) const fn used_bytes(&self, end: u32) -> usize {
        end as usize / 8 + size_of::<Self>()
    }

    /// Moves the older half of the numbers at hand into the bitmap.
    #[cold]
    fn store(&mut self) {
        const HALF: usize = AT_HAND / 2;
        for place in 0..HALF {
            let number = self.at_hand[place] as usize;
            self.words[number / 64] |= 1 << (number % 64);
            self.summary[number / 4096] |= 1 << (number / 64 % 64);
        }
        self.at_hand.copy_within(HALF.., 0);
        self.count -= HALF;
        self.stored += HALF;
    }

    /// Fills half of what is at hand from the bitmap, going round.
    #[cold]
    fn fetch(&mut self) {
        while self.stored > 0 && self.count < AT_HAND / 2 {
            let summary = self.summary[self.at];
            if summary == 0 {
                self.at = (self.at + 1) % self.summary.len();
                continue;
            }
            let word = self.at * 64 + summary.trailing_zeros() as usize;
            let mut bits = self.words[word];
            while bits != 0 && self.count < AT_HAND / 2 {
                self.at_hand[self.count] = word as u32 * 64 + bits.trailing_zeros();
                bits &= bits - 1;
                self.count += 1;
                self.stored -= 1;
            }
            self.words[word] = bits;
            if bits == 0 {
                self.summary[self.at] = summary & summary.wrapping_sub(1);
            }
        }
        // Ascending numbers are taken from the end.
        self.at_hand[..self.count].reverse();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_in_comes_out_once(
            steps in prop::collection::vec((0u32..3, 1usize..900), 1..40),
        ) {
            let mut vacancies = Vacancies::new(20_000).unwrap();
            let (mut inside, mut outside): (BTreeSet<u32>, Vec<u32>) =
                (BTreeSet::new(), (1..=20_000).collect());
            for (what, count) in steps {
                for _ in 0..count {
                    if what > 0 {
                        let Some(number) = outside.pop() else { break };
                        vacancies.put(number);
                        prop_assert!(inside.insert(number));
                        prop_assert_eq!(vacancies.peek(0), Ok(number));
                    } else {
                        let taken = vacancies.take();
                        prop_assert_eq!(taken.is_none(), inside.is_empty());
                        let Some(number) = taken else { break };
                        prop_assert!(inside.remove(&number));
                        outside.insert(0, number);
                    }
                    prop_assert_eq!(vacancies.len(), inside.len());
                }
            }
        }
    }
}
