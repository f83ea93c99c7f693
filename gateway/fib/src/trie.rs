//! Longest-prefix match by a tree of blocks, the reader's side.
//!
//! A root of `2^ROOT_BITS` words, then blocks of 256: a word is a packed leaf or names the block
//! that decides between addresses eight bits further. Prefixes are expanded down to the last word,
//! so each address has exactly one word that answers for it, and a change of that word is the
//! change of the answer. The provider VRF has a root of 16 bits (16-8-8 for IPv4: two loads for
//! most of the Internet); a tenant's root is one word and costs nothing until it has routes.

use std::sync::atomic::{AtomicU32, Ordering};

use sekisho_mem::prefetch_read;

use crate::blocks::{Block, STRIDE};
use crate::leaf::CHILD;
use crate::{Address, Leaf, PackedLeaf};

/// Longest-prefix match in one VRF.
pub trait Lookup<A: Address> {
    /// The leaf of the longest prefix that covers `address`.
    fn lookup(&self, address: A) -> Leaf;

    /// [`Self::lookup`] of each address into the leaf at the same place; what either slice has
    /// beyond the other's length is left alone.
    fn lookup_batch<L: From<PackedLeaf>>(&self, addresses: &[A], leaves: &mut [L]);
}

/// Bits of the provider's root.
pub(crate) const WIDE: u8 = 16;
/// Bits of a tenant's root.
pub(crate) const NARROW: u8 = 0;

/// The tree of one VRF and family, as readers see it.
pub(crate) struct Trie<'a, const ROOT_BITS: u8> {
    pub(crate) root: &'a [AtomicU32],
    pub(crate) blocks: &'a [Block],
}

/// Addresses walked together, so that their loads overlap.
const LANES: usize = 32;

impl<const ROOT_BITS: u8> Trie<'_, ROOT_BITS> {
    /// The word after `entry`, which names a block, for `address` beyond its first `offset` bits.
    #[inline]
    fn next<A: Address>(&self, entry: u32, address: A, offset: u8) -> &AtomicU32 {
        &self.blocks[(entry & !CHILD) as usize][address.bits_at(offset, STRIDE)]
    }
}

impl<A: Address, const ROOT_BITS: u8> Lookup<A> for Trie<'_, ROOT_BITS> {
    #[inline]
    fn lookup(&self, address: A) -> Leaf {
        // Acquire: a block is complete before the word that names it is stored.
        let mut entry = self.root[address.bits_at(0, ROOT_BITS)].load(Ordering::Acquire);
        let mut offset = ROOT_BITS;
        while entry & CHILD != 0 {
            entry = self.next(entry, address, offset).load(Ordering::Acquire);
            offset += STRIDE;
        }
        Leaf::unpack(entry)
    }

    #[inline]
    fn lookup_batch<L: From<PackedLeaf>>(&self, addresses: &[A], leaves: &mut [L]) {
        for (addresses, leaves) in addresses.chunks(LANES).zip(leaves.chunks_mut(LANES)) {
            let mut entries = [0; LANES];
            if ROOT_BITS > 0 {
                for address in addresses {
                    prefetch_read(&self.root[address.bits_at(0, ROOT_BITS)]);
                }
            }
            for (entry, address) in entries.iter_mut().zip(addresses) {
                *entry = self.root[address.bits_at(0, ROOT_BITS)].load(Ordering::Acquire);
            }
            let mut offset = ROOT_BITS;
            loop {
                let mut deeper = false;
                for (entry, address) in entries.iter().zip(addresses) {
                    if entry & CHILD != 0 {
                        prefetch_read(self.next(*entry, *address, offset));
                        deeper = true;
                    }
                }
                if !deeper {
                    break;
                }
                for (entry, address) in entries.iter_mut().zip(addresses) {
                    if *entry & CHILD != 0 {
                        *entry = self.next(*entry, *address, offset).load(Ordering::Acquire);
                    }
                }
                offset += STRIDE;
            }
            for (leaf, entry) in leaves.iter_mut().zip(entries) {
                *leaf = PackedLeaf::from_word(entry).into();
            }
        }
    }
}
