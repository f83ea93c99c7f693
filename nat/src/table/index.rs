//! From hashes to numbers: partial-key cuckoo hashing in cache lines.
//!
//! An entry lives in one of two buckets; the second follows from the first and the tag, so entries
//! move without a look at what they stand for. Keys are not stored: the caller compares.

use arrayvec::ArrayVec;
use sekisho_mem::{BUCKET_TAGS, HugeSlice, MapError, equal_tags, zeroable_struct};

/// Entries of a bucket.
const SLOTS: usize = BUCKET_TAGS;
/// Buckets looked at before an insertion gives up.
const SEARCH: usize = 128;

zeroable_struct! {
    /// One cache line. A tag of zero is an empty slot.
    #[derive(Clone, Copy)]
    #[repr(align(64))]
    struct Bucket {
        tags: [u16; SLOTS],
        /// Bit per slot: its entry's first bucket is the other one.
        guests: u16,
        /// Entries whose first bucket is this one but that live in their other. Sticks at the top.
        away: u8,
        /// A bit for each of their tags, by its lowest bits; all go when the last entry comes home.
        away_tags: u8,
        items: [u32; SLOTS],
    }
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    #[inline(always)]
    fn free_slot(&self) -> Option<usize> {
        let slot = equal_tags(&self.tags, 0).trailing_zeros() as usize;
        (slot < SLOTS).then_some(slot)
    }

    /// The slots with a tag.
    #[inline]
    fn slots_of(&self, tag: u16) -> impl Iterator<Item = usize> + use<> {
        let mut equal = equal_tags(&self.tags, tag);
        std::iter::from_fn(move || {
            let slot = equal.trailing_zeros() as usize;
            equal &= equal.wrapping_sub(1);
            (slot < SLOTS).then_some(slot)
        })
    }

    /// The item of the first slot with the tag.
    #[inline(always)]
    fn candidate(&self, tag: u16) -> Option<u32> {
        let slot = u64::from(equal_tags(&self.tags, tag)).trailing_zeros();
        self.items.get(slot as usize).copied()
    }

    #[inline(always)]
    fn find(&self, tag: u16, is: &mut impl FnMut(u32) -> bool) -> Option<u32> {
        self.slots_of(tag)
            .map(|slot| self.items[slot])
            .find(|&item| is(item))
    }

    #[inline(always)]
    fn slot_of(&self, tag: u16, item: u32, guest: bool) -> Option<usize> {
        self.slots_of(tag)
            .find(|&slot| self.items[slot] == item && self.is_guest(slot) == guest)
    }

    const fn is_guest(&self, slot: usize) -> bool {
        self.guests >> slot & 1 == 1
    }

    fn put(&mut self, slot: usize, tag: u16, item: u32, guest: bool) {
        self.tags[slot] = tag;
        self.items[slot] = item;
        self.guests = self.guests & !(1 << slot) | u16::from(guest) << slot;
    }

    /// Puts an entry into a slot of its first bucket, or nothing. A free slot is nobody's guest.
    #[inline(always)]
    fn settle(&mut self, slot: usize, tag: u16, item: u32) {
        self.tags[slot] = tag;
        self.items[slot] = item;
    }

    fn count_away(&mut self, tag: u16) {
        self.away = self.away.saturating_add(1);
        self.away_tags |= away_bit(tag);
    }

    fn count_home(&mut self) {
        if self.away < u8::MAX {
            self.away -= 1;
            if self.away == 0 {
                self.away_tags = 0;
            }
        }
    }

    /// Whether an entry with `tag` may live in its other bucket.
    #[inline(always)]
    const fn may_be_away(&self, tag: u16) -> bool {
        self.away_tags & away_bit(tag) != 0
    }
}

/// The bit for a tag among eight.
#[inline(always)]
const fn away_bit(tag: u16) -> u8 {
    1 << (tag & 7)
}

/// A bucket reached while looking for room, and the slot of the parent that leads to it.
#[derive(Clone, Copy)]
struct Step {
    bucket: usize,
    parent: usize,
    slot: usize,
}

/// No room was found for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// What a first look for a number tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// There is none.
    None,
    /// This one may be it.
    Likely(u32),
    /// It may be in its second bucket.
    Elsewhere,
}

/// Why an entry was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// This number is there already.
    Same(u32),
    /// No room was found.
    Full,
}

/// A multimap from 64-bit hashes to 32-bit numbers.
pub(crate) struct Index {
    buckets: HugeSlice<Bucket>,
    /// Entries it was made for.
    entries: usize,
    /// Entries stored.
    stored: usize,
    /// Whether one ever was.
    touched: bool,
}

impl Index {
    /// An index that holds `entries` in `percent` of its room: at 80, six entries in a hundred live
    /// in their second bucket.
    pub(crate) fn new(entries: usize, percent: usize) -> Result<Self, MapError> {
        let buckets = entries.saturating_mul(100).div_ceil(SLOTS * percent) + 2;
        Ok(Self {
            buckets: HugeSlice::new(buckets)?,
            entries,
            stored: 0,
            touched: false,
        })
    }

    /// Entries stored.
    pub(crate) const fn len(&self) -> usize {
        self.stored
    }

    /// Whether it holds fewer entries than it was made for.
    pub(crate) const fn has_room(&self) -> bool {
        self.stored < self.entries
    }

    /// Octets committed: all of it once there was an entry, as hashes spread.
    pub(crate) fn used_bytes(&self) -> usize {
        if self.touched {
            self.buckets.len() * size_of::<Bucket>()
        } else {
            0
        }
    }

    /// Asks for the first bucket of `hash` to be brought close.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.buckets.prefetch_read(self.first(hash));
    }

    /// The first number that may be stored under `hash` in its first bucket.
    #[inline(always)]
    pub(crate) fn first_candidate(&self, hash: u64) -> Option<u32> {
        self.buckets[self.first(hash)].candidate(tag_of(hash))
    }

    /// [`Self::first_candidate`] in the second bucket.
    #[inline(always)]
    pub(crate) fn second_candidate(&self, hash: u64) -> Option<u32> {
        let tag = tag_of(hash);
        self.buckets[self.other(self.first(hash), tag)].candidate(tag)
    }

    /// Asks for the second bucket of `hash` if an entry may be there; says whether.
    #[inline]
    pub(crate) fn approach_second(&self, hash: u64) -> bool {
        let (first, tag) = (self.first(hash), tag_of(hash));
        let may_be = self.buckets[first].may_be_away(tag);
        if may_be {
            self.buckets.prefetch_read(self.other(first, tag));
        }
        may_be
    }

    /// Asks for the second bucket of `hash`, too, if a search or an insertion will need it.
    #[inline]
    pub(crate) fn prefetch_second(&self, hash: u64) {
        let _ = self.approach(hash);
    }

    /// [`Self::first_candidate`]; if there is none, also [`Self::prefetch_second`].
    #[inline(always)]
    pub(crate) fn approach(&self, hash: u64) -> Candidate {
        let (first, tag) = (self.first(hash), tag_of(hash));
        let bucket = &self.buckets[first];
        if let Some(item) = bucket.candidate(tag) {
            return Candidate::Likely(item);
        }
        let elsewhere = bucket.may_be_away(tag);
        if elsewhere | bucket.free_slot().is_none() {
            self.buckets.prefetch_write(self.other(first, tag));
        }
        if elsewhere {
            Candidate::Elsewhere
        } else {
            Candidate::None
        }
    }

    /// The first number stored under `hash` that `is` the one looked for. `is` may also be asked
    /// about numbers stored under other hashes.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let (first, tag) = (self.first(hash), tag_of(hash));
        let bucket = &self.buckets[first];
        if let Some(item) = bucket.find(tag, &mut is) {
            return Some(item);
        }
        if !bucket.may_be_away(tag) {
            return None;
        }
        self.buckets[self.other(first, tag)].find(tag, &mut is)
    }

    /// Stores `item` under `hash`.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, item: u32) -> Result<(), Full> {
        let (first, tag) = (self.first(hash), tag_of(hash));
        let bucket = &mut self.buckets[first];
        let Some(slot) = bucket.free_slot() else {
            return self.insert_elsewhere(first, tag, item);
        };
        bucket.settle(slot, tag, item);
        self.stored += 1;
        self.touched = true;
        Ok(())
    }

    /// [`Self::insert`], unless a number stored under `hash` `is` the same as [`Self::find`] means it.
    #[inline(always)]
    pub(crate) fn insert_unless(
        &mut self,
        hash: u64,
        item: u32,
        is: impl FnMut(u32) -> bool,
    ) -> Result<(), Obstacle> {
        if let Some(same) = self.find(hash, is) {
            return Err(Obstacle::Same(same));
        }
        self.insert(hash, item).map_err(|Full| Obstacle::Full)
    }

    /// Stores an entry whose first bucket is full.
    #[cold]
    #[inline(never)]
    fn insert_elsewhere(&mut self, first: usize, tag: u16, item: u32) -> Result<(), Full> {
        let second = self.other(first, tag);
        let (bucket, slot) = match self.buckets[second].free_slot() {
            Some(slot) => (second, slot),
            None => self.make_room(first, second).ok_or(Full)?,
        };
        let guest = bucket != first;
        self.stored += 1;
        self.buckets[bucket].put(slot, tag, item, guest);
        if guest {
            self.buckets[first].count_away(tag);
        }
        Ok(())
    }

    /// Removes `item` stored under `hash`; whether it was there.
    #[inline]
    pub(crate) fn remove(&mut self, hash: u64, item: u32) -> bool {
        let (first, tag) = (self.first(hash), tag_of(hash));
        let bucket = &mut self.buckets[first];
        let Some(slot) = bucket.slot_of(tag, item, false) else {
            return self.remove_elsewhere(first, tag, item);
        };
        bucket.settle(slot, 0, 0);
        self.stored -= 1;
        true
    }

    /// Removes an entry that is not in its first bucket.
    #[cold]
    #[inline(never)]
    fn remove_elsewhere(&mut self, first: usize, tag: u16, item: u32) -> bool {
        let second = self.other(first, tag);
        let Some(slot) = self.buckets[second].slot_of(tag, item, true) else {
            return false;
        };
        self.buckets[second].put(slot, 0, 0, false);
        self.buckets[first].count_home();
        self.stored -= 1;
        true
    }

    /// Stores `new` in place of `old` under `hash`; whether `old` was there.
    pub(crate) fn replace(&mut self, hash: u64, old: u32, new: u32) -> bool {
        let Some((bucket, slot)) = self.locate(hash, old) else {
            return false;
        };
        self.buckets[bucket].items[slot] = new;
        true
    }

    fn locate(&self, hash: u64, item: u32) -> Option<(usize, usize)> {
        let (first, tag) = (self.first(hash), tag_of(hash));
        if let Some(slot) = self.buckets[first].slot_of(tag, item, false) {
            return Some((first, slot));
        }
        let second = self.other(first, tag);
        let slot = self.buckets[second].slot_of(tag, item, true)?;
        Some((second, slot))
    }

    /// Frees a slot of one of two full buckets by moving entries to their other buckets, breadth
    /// first, so that few move. A shortest path meets no bucket twice, so no move undoes another.
    fn make_room(&mut self, first: usize, second: usize) -> Option<(usize, usize)> {
        let mut steps = ArrayVec::<Step, SEARCH>::new();
        // The two roots are their own parents.
        for (parent, bucket) in [first, second].into_iter().enumerate() {
            let slot = 0;
            steps.push(Step {
                bucket,
                parent,
                slot,
            });
        }
        for slot in 0..SLOTS {
            let next = self.other(first, self.buckets[first].tags[slot]);
            self.buckets.prefetch_write(next);
        }
        let mut at = 0;
        while let Some(&Step { bucket, .. }) = steps.get(at) {
            for slot in 0..SLOTS {
                let next = self.other(bucket, self.buckets[bucket].tags[slot]);
                if next == bucket {
                    continue;
                }
                if let Some(free) = self.buckets[next].free_slot() {
                    return Some(self.shift(&steps, at, slot, next, free));
                }
                // As many as are looked at.
                let _ = steps.try_push(Step {
                    bucket: next,
                    parent: at,
                    slot,
                });
            }
            at += 1;
        }
        None
    }

    /// Moves the entries on the path to `steps[at]`, the last one first; gives the freed slot.
    fn shift(
        &mut self,
        steps: &[Step],
        mut at: usize,
        mut slot: usize,
        mut to: usize,
        mut free: usize,
    ) -> (usize, usize) {
        loop {
            let from = steps[at].bucket;
            self.move_entry(from, slot, to, free);
            if steps[at].parent == at {
                return (from, slot);
            }
            (to, free) = (from, slot);
            slot = steps[at].slot;
            at = steps[at].parent;
        }
    }

    fn move_entry(&mut self, from: usize, slot: usize, to: usize, free: usize) {
        let Bucket { tags, items, .. } = self.buckets[from];
        let guest = self.buckets[from].is_guest(slot);
        self.buckets[from].put(slot, 0, 0, false);
        self.buckets[to].put(free, tags[slot], items[slot], !guest);
        if guest {
            self.buckets[to].count_home();
        } else {
            self.buckets[from].count_away(tags[slot]);
        }
    }

    /// The first bucket: by the upper bits of the hash, spread over all by multiplication.
    #[inline]
    fn first(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.buckets.len() as u128) >> 64) as usize
    }

    /// The other bucket of an entry with `tag` in `bucket`; its own inverse.
    #[inline]
    fn other(&self, bucket: usize, tag: u16) -> usize {
        let spread = scale(u32::from(tag).wrapping_mul(0x9e37_79b1), self.buckets.len());
        if spread >= bucket {
            spread - bucket
        } else {
            spread + self.buckets.len() - bucket
        }
    }
}

/// Spreads 32 random bits over `0..size`.
#[inline]
fn scale(bits: u32, size: usize) -> usize {
    ((u64::from(bits) * size as u64) >> 32) as usize
}

/// The tag: the low bits of the hash, never zero.
#[inline]
const fn tag_of(hash: u64) -> u16 {
    hash as u16 | 1 << 15
}

#[cfg(test)]
mod tests;
