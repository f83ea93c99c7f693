//! Which blocks of nodes are free.

use crate::FibError;
use crate::nodes::{BLOCK_WORDS, NO_NODE_BLOCKS, PLACES};

/// Words of the longest header.
const LONGEST_HEADER: usize = 8;
/// Blocks of the largest node.
const MOST: usize = (LONGEST_HEADER + PLACES).div_ceil(BLOCK_WORDS);

/// Hands out pieces of 1 to [`MOST`] blocks, used ones first. A piece of several blocks begins at an
/// even number, which is the begin of a cache line.
pub(crate) struct BlockArena {
    capacity: u32,
    /// Blocks from here on were never handed out.
    touched: u32,
    /// Free pieces by their size.
    free: [Vec<u32>; MOST + 1],
    in_use: usize,
}

impl BlockArena {
    /// `capacity` blocks after those of [`NO_NODE`](crate::nodes::NO_NODE).
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            capacity,
            touched: NO_NODE_BLOCKS,
            free: Default::default(),
            in_use: 0,
        }
    }

    /// The first block of a piece.
    pub(crate) fn allocate(&mut self, count: usize) -> Result<u32, FibError> {
        let first = self.find(count).ok_or(FibError::Full {
            what: "blocks of routes",
            capacity: self.capacity,
        })?;
        self.in_use += count;
        Ok(first)
    }

    /// A free piece of this size, one never used, or part of a larger one.
    fn find(&mut self, count: usize) -> Option<u32> {
        if let Some(first) = self.free[count].pop() {
            return Some(first);
        }
        if let Some(first) = self.touch(count) {
            return Some(first);
        }
        let larger = (count + 1..=MOST).find(|&size| !self.free[size].is_empty())?;
        let first = self.free[larger].pop()?;
        self.keep(first + count as u32, larger - count);
        Some(first)
    }

    fn touch(&mut self, count: usize) -> Option<u32> {
        let gap = if count > 1 { self.touched % 2 } else { 0 };
        let first = self.touched + gap;
        let next = first + count as u32;
        if next > self.capacity + NO_NODE_BLOCKS {
            return None;
        }
        if gap > 0 {
            self.free[1].push(self.touched);
        }
        self.touched = next;
        Some(first)
    }

    /// Takes back a piece no reader can reach any more.
    pub(crate) fn release(&mut self, first: u32, count: usize) {
        self.in_use -= count;
        self.keep(first, count);
    }

    fn keep(&mut self, mut first: u32, mut count: usize) {
        if count > 1 && !first.is_multiple_of(2) {
            self.free[1].push(first);
            (first, count) = (first + 1, count - 1);
        }
        self.free[count].push(first);
    }

    /// Blocks in use, those waiting for their reuse included.
    pub(crate) const fn in_use(&self) -> usize {
        self.in_use
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_never_overlap_and_large_ones_begin_on_a_line() {
        let mut arena = BlockArena::new(100);
        let mut held = Vec::new();
        for round in 0..10_000_usize {
            if let Ok(first) = arena.allocate(1 + round * 7 % MOST) {
                held.push((first, 1 + round * 7 % MOST));
            } else {
                let (first, count) = held.swap_remove(round * 31 % held.len());
                arena.release(first, count);
            }
            let mut owners = [false; 102];
            for &(first, count) in &held {
                assert!(count == 1 || first % 2 == 0);
                for owner in &mut owners[first as usize..first as usize + count] {
                    assert!(!std::mem::replace(owner, true));
                }
            }
            assert_eq!(
                arena.in_use(),
                held.iter().map(|held| held.1).sum::<usize>()
            );
            assert!(!owners[0] && !owners[1]);
        }
    }
}
