//! The blocks all trees are made of, and what the writer knows about each.

use std::sync::atomic::{AtomicU32, Ordering};

use sekisho_mem::HugeSlice;

use crate::FibError;
use crate::arena::Arena;

/// Bits a block decides.
pub(crate) const STRIDE: u8 = 8;
/// Words of a block.
pub(crate) const FANOUT: usize = 1 << STRIDE;

/// One word for each value of the next [`STRIDE`] bits: a packed leaf or the name of a block.
pub(crate) type Block = [AtomicU32; FANOUT];

/// Octets of a block, with what the writer knows about it.
pub(crate) const BLOCK_BYTES: usize =
    size_of::<Block>() + size_of::<[u8; FANOUT]>() + size_of::<u32>();

/// The writer's side of the blocks.
pub(crate) struct BlockWriter {
    arena: Arena,
    /// For each word of each block, the length of the prefix its leaf comes from.
    lengths: HugeSlice<[u8; FANOUT]>,
    /// Prefixes that end in the block or below it: a block without any is not needed.
    prefixes: HugeSlice<u32>,
}

impl BlockWriter {
    pub(crate) fn new(capacity: u32) -> Result<Self, FibError> {
        Ok(Self {
            arena: Arena::new("blocks of routes", capacity),
            lengths: HugeSlice::new(capacity as usize)?,
            prefixes: HugeSlice::new(capacity as usize)?,
        })
    }

    /// A block in which every word is `entry`, from a prefix of `length` bits; not yet reachable.
    pub(crate) fn allocate(
        &mut self,
        shared: &[Block],
        entry: u32,
        length: u8,
    ) -> Result<u32, FibError> {
        let block = self.arena.allocate()?;
        for word in &shared[block as usize] {
            word.store(entry, Ordering::Relaxed);
        }
        self.lengths[block as usize] = [length; FANOUT];
        self.prefixes[block as usize] = 0;
        Ok(block)
    }

    /// Takes back a block no reader can reach any more.
    pub(crate) fn release(&mut self, block: u32) {
        self.arena.release(block);
    }

    /// Refuses if fewer than `count` blocks are free.
    pub(crate) fn ensure(&self, count: usize) -> Result<(), FibError> {
        if self.arena.available() < count {
            Err(self.arena.full())
        } else {
            Ok(())
        }
    }

    pub(crate) fn in_use(&self) -> usize {
        self.arena.in_use()
    }

    pub(crate) fn length(&mut self, block: u32, at: usize) -> &mut u8 {
        &mut self.lengths[block as usize][at]
    }

    pub(crate) fn prefixes(&mut self, block: u32) -> &mut u32 {
        &mut self.prefixes[block as usize]
    }
}
