//! Longest-prefix match by a tree of blocks, the writer's side.
//!
//! Beside each word the writer keeps the length of the prefix its leaf comes from, so that a
//! prefix overwrites shorter ones only, and its removal restores the next shorter one exactly where
//! it was in force. A new block starts as 256 copies of the word it replaces and is published
//! before anything in it changes: no step of a change gives any address a leaf it should not have.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::FibError;
use crate::Leaf;
use crate::address::Key;
use crate::blocks::{Block, BlockWriter, FANOUT, STRIDE};
use crate::leaf::CHILD;

/// Blocks between the root and a host prefix of the longer family.
const MAX_DEPTH: usize = 128 / STRIDE as usize;

/// The tree of one VRF and family, as the writer sees it.
pub(crate) struct TrieWriter<'a> {
    pub(crate) root: &'a [AtomicU32],
    pub(crate) root_bits: u8,
    /// For each word of the root, the length of the prefix its leaf comes from.
    pub(crate) root_lengths: &'a mut [u8],
    pub(crate) shared: &'a [Block],
    pub(crate) blocks: &'a mut BlockWriter,
}

/// The root or a block.
#[derive(Clone, Copy)]
enum Node {
    Root,
    Block(u32),
}

/// Which words a prefix takes over, by the length of the prefix in force there.
#[derive(Clone, Copy)]
enum Where {
    /// At most this long: a prefix is put in.
    UpTo(u8),
    /// Exactly this long: a prefix is taken out.
    Exactly(u8),
}

/// The nodes from the root down to the one in which a prefix ends.
struct Path {
    nodes: [Node; MAX_DEPTH + 1],
    /// The last one's place in `nodes`.
    depth: usize,
}

impl TrieWriter<'_> {
    /// Gives the addresses of `key` to `leaf` where no longer prefix has them. `is_new` says that
    /// the prefix was not in the tree.
    ///
    /// # Errors
    /// Without enough free blocks; nothing has changed then.
    pub(crate) fn put(&mut self, key: Key, leaf: Leaf, is_new: bool) -> Result<(), FibError> {
        let path = self.open(key)?;
        if is_new {
            for node in &path.nodes[1..=path.depth] {
                if let Node::Block(block) = node {
                    *self.blocks.prefixes(*block) += 1;
                }
            }
        }
        let (first, count) = self.span(key, path.depth);
        let range = first..first + count;
        self.paint(
            path.nodes[path.depth],
            range,
            leaf.pack(),
            key.len(),
            Where::UpTo(key.len()),
        );
        Ok(())
    }

    /// Gives the addresses of `key`, which is in the tree, back to `cover`, the leaf of the next
    /// shorter prefix with its length. Blocks no longer needed are unlinked and given to `freed`.
    pub(crate) fn take(&mut self, key: Key, cover: (Leaf, u8), mut freed: impl FnMut(u32)) {
        let path = self.walk(key);
        let (first, count) = self.span(key, path.depth);
        let range = first..first + count;
        self.paint(
            path.nodes[path.depth],
            range,
            cover.0.pack(),
            cover.1,
            Where::Exactly(key.len()),
        );
        for level in (1..=path.depth).rev() {
            let Node::Block(block) = path.nodes[level] else {
                continue;
            };
            let prefixes = self.blocks.prefixes(block);
            *prefixes -= 1;
            if *prefixes > 0 {
                continue;
            }
            // Every word is the cover's: the word above can say so itself.
            let entry = self.shared[block as usize][0].load(Ordering::Relaxed);
            let length = *self.blocks.length(block, 0);
            let above = path.nodes[level - 1];
            let at = self.place(key, level - 1);
            *self.length(above, at) = length;
            self.word(above, at).store(entry, Ordering::Release);
            freed(block);
        }
    }

    /// Unlinks everything; every block is given to `freed`.
    pub(crate) fn clear(&mut self, mut freed: impl FnMut(u32)) {
        for at in 0..self.root.len() {
            let entry = self.root[at].load(Ordering::Relaxed);
            self.root_lengths[at] = 0;
            self.root[at].store(Leaf::None.pack(), Ordering::Release);
            if entry & CHILD != 0 {
                self.free_below(entry & !CHILD, &mut freed);
            }
        }
    }

    fn free_below(&self, block: u32, freed: &mut impl FnMut(u32)) {
        for word in &self.shared[block as usize] {
            let entry = word.load(Ordering::Relaxed);
            if entry & CHILD != 0 {
                self.free_below(entry & !CHILD, freed);
            }
        }
        freed(block);
    }

    /// The path to `key` as far as it exists; all of it if `key` is in the tree.
    fn walk(&self, key: Key) -> Path {
        let wanted = self.depth(key);
        let mut path = Path {
            nodes: [Node::Root; MAX_DEPTH + 1],
            depth: 0,
        };
        while path.depth < wanted {
            let at = self.place(key, path.depth);
            let entry = self
                .word(path.nodes[path.depth], at)
                .load(Ordering::Relaxed);
            if entry & CHILD == 0 {
                break;
            }
            path.depth += 1;
            path.nodes[path.depth] = Node::Block(entry & !CHILD);
        }
        path
    }

    /// The path to `key`, with the missing blocks put in.
    fn open(&mut self, key: Key) -> Result<Path, FibError> {
        let wanted = self.depth(key);
        let mut path = self.walk(key);
        self.blocks.ensure(wanted - path.depth)?;
        while path.depth < wanted {
            let node = path.nodes[path.depth];
            let at = self.place(key, path.depth);
            let entry = self.word(node, at).load(Ordering::Relaxed);
            let length = *self.length(node, at);
            let block = self.blocks.allocate(self.shared, entry, length)?;
            self.word(node, at).store(CHILD | block, Ordering::Release);
            path.depth += 1;
            path.nodes[path.depth] = Node::Block(block);
        }
        Ok(path)
    }

    /// Stores `entry`, from a prefix of `length` bits, in the words of `range` that `place` admits,
    /// and in those of the blocks below them.
    fn paint(
        &mut self,
        node: Node,
        range: std::ops::Range<usize>,
        entry: u32,
        length: u8,
        place: Where,
    ) {
        for at in range {
            let old = self.word(node, at).load(Ordering::Relaxed);
            if old & CHILD != 0 {
                let below = Node::Block(old & !CHILD);
                self.paint(below, 0..FANOUT, entry, length, place);
                continue;
            }
            let in_force = self.length(node, at);
            let admitted = match place {
                Where::UpTo(most) => *in_force <= most,
                Where::Exactly(wanted) => *in_force == wanted,
            };
            if admitted {
                *in_force = length;
                self.word(node, at).store(entry, Ordering::Release);
            }
        }
    }

    /// How many blocks lie between the root and the end of `key`.
    fn depth(&self, key: Key) -> usize {
        key.len()
            .saturating_sub(self.root_bits)
            .div_ceil(STRIDE)
            .into()
    }

    /// Bits decided above the node at `depth`.
    fn offset(&self, depth: usize) -> u8 {
        match depth {
            0 => 0,
            _ => self.root_bits + (depth as u8 - 1) * STRIDE,
        }
    }

    /// Bits the node at `depth` decides.
    fn width(&self, depth: usize) -> u8 {
        if depth == 0 { self.root_bits } else { STRIDE }
    }

    /// The word of `key` in the node at `depth`: the first if it has several there.
    fn place(&self, key: Key, depth: usize) -> usize {
        key.bits_at(self.offset(depth), self.width(depth))
    }

    /// The words of `key` in the node at `depth`, where it ends: the first, and how many.
    fn span(&self, key: Key, depth: usize) -> (usize, usize) {
        let spare = self.offset(depth) + self.width(depth) - key.len();
        (self.place(key, depth), 1 << spare)
    }

    fn word(&self, node: Node, at: usize) -> &AtomicU32 {
        match node {
            Node::Root => &self.root[at],
            Node::Block(block) => &self.shared[block as usize][at],
        }
    }

    fn length(&mut self, node: Node, at: usize) -> &mut u8 {
        match node {
            Node::Root => &mut self.root_lengths[at],
            Node::Block(block) => self.blocks.length(block, at),
        }
    }
}
