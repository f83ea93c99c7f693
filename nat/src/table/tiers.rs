//! An index that costs little while it holds little.

use sekisho_mem::MapError;

use super::Index;
use super::index::Full;

/// How full each is with what it is made for.
const PERCENT: usize = 80;

/// Two indexes: the first takes an entry as long as it has room, then the second. Memory is
/// committed as it is used, so a second index that is not needed costs nothing.
pub(crate) struct Tiers {
    first: Index,
    second: Index,
}

impl Tiers {
    /// Room for `entries`, little memory up to `few` of them.
    pub(crate) fn new(few: usize, entries: usize) -> Result<Self, MapError> {
        Ok(Self {
            first: Index::new(few, PERCENT)?,
            second: Index::new(entries, PERCENT)?,
        })
    }

    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.first.prefetch(hash);
    }

    /// The first number that may be stored under `hash`, where the first look goes.
    #[inline(always)]
    pub(crate) fn candidate(&self, hash: u64) -> Option<u32> {
        self.first.first_candidate(hash)
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let found = self.first.find(hash, &mut is);
        if found.is_none() && self.second.len() > 0 {
            self.second.find(hash, is)
        } else {
            found
        }
    }

    pub(crate) fn insert(&mut self, hash: u64, item: u32) -> Result<(), Full> {
        if self.first.has_room() && self.first.insert(hash, item).is_ok() {
            Ok(())
        } else {
            self.second.insert(hash, item)
        }
    }

    pub(crate) fn remove(&mut self, hash: u64, item: u32) -> bool {
        self.first.remove(hash, item) || self.second.remove(hash, item)
    }

    pub(crate) fn used_bytes(&self) -> usize {
        self.first.used_bytes() + self.second.used_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    #[test]
    fn the_second_tier_takes_what_the_first_has_no_room_for() {
        let key = Seed::new([3; 32]).shared_key();
        let hash = |item: u32| key.hash(0, u64::from(item), 0);
        let mut tiers = Tiers::new(100, 1000).unwrap();
        for item in 1..=100 {
            tiers.insert(hash(item), item).unwrap();
        }
        assert_eq!(tiers.second.used_bytes(), 0);
        for item in 101..=900 {
            tiers.insert(hash(item), item).unwrap();
        }
        for item in 1..=900 {
            let found = tiers.find(hash(item), |found| found == item);
            assert_eq!(found, Some(item));
        }
        for item in 1..=900 {
            assert!(tiers.remove(hash(item), item));
            assert!(!tiers.remove(hash(item), item));
        }
        assert_eq!((tiers.first.len(), tiers.second.len()), (0, 0));
    }
}
