//! The nodes all trees are made of, as they lie in memory.
//!
//! A node decides up to [`STRIDE`] bits: 64 places, each of which leads to a leaf or to another
//! node. Neighbouring places that lead to the same are one *run*, and only runs are stored: a
//! bitmap says where runs begin, and the number of bits set up to a place finds its run. A node
//! stands where prefixes end or part, not at every level, so it also says which bits lead to it.
//!
//! | words of a node | IPv4 | IPv6 | dense |
//! |---|---|---|---|
//! | bitmap: where runs begin | 0, 1 | 0, 1 | 0, 1 |
//! | cover: what addresses that do not belong here lead to | 2 | 2 | |
//! | bits decided here and above, and bits to compare | 3 | 3 | |
//! | key: the bits to compare | 4 | 4-7 | |
//! | one word for each run | 5-68 | 8-71 | 2-65 |
//!
//! A *dense* node stands directly below one of the provider's IPv4 roots and skips no bits: where it
//! begins and ends goes without saying, and its cover is the root's.
//!
//! Nodes are made of blocks of half a cache line. One of a single block lies within a line, larger
//! ones begin on a line: bitmap and runs of a typical node come by one load.

use std::hint::select_unpredictable;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sekisho_mem::{HugeSlice, Windows, load_pair, prefetch_element};

use crate::leaf::CHILD;
use crate::trie::WIDE;
use crate::{Address, FibError};

/// Bits a node decides at most.
pub(crate) const STRIDE: u8 = 6;
/// Places of a node.
pub(crate) const PLACES: usize = 1 << STRIDE;

/// Words of a block.
pub(crate) const BLOCK_WORDS: usize = 8;
/// Half a cache line.
pub(crate) type Block = [AtomicU32; BLOCK_WORDS];
const _: () = assert!(size_of::<Block>() == 32);

/// Where the words of a header are, the same in both families.
const COVER: usize = 2;
const SHAPE: usize = 3;
pub(crate) const KEY: usize = 4;

/// Blocks the largest node takes.
const MAX_BLOCKS: usize = (KEY + 4 + PLACES).div_ceil(BLOCK_WORDS);
/// A node, and what follows it up to the length of the largest.
pub(crate) type Node = [AtomicU32; MAX_BLOCKS * BLOCK_WORDS];

/// Words before the runs of a dense node.
pub(crate) const DENSE_HEADER: usize = 2;
/// Where dense nodes end.
pub(crate) const DENSE_END: u8 = WIDE + STRIDE;

/// The node of a root that has none: every address inherits what the root says.
pub(crate) const NO_NODE: u32 = 0;
/// Blocks it takes: the longest header, and a run.
pub(crate) const NO_NODE_BLOCKS: u32 = 2;
/// The word of a run that leads where the root says.
pub(crate) const INHERIT: u32 = 15 << 27;

/// What a node that is not dense holds apart from its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) cover: u32,
    /// Bits decided when the node is left: its place is the last six of them.
    pub(crate) end: u8,
    /// Bits compared with the key.
    pub(crate) start: u8,
    /// Left-aligned.
    pub(crate) key: u128,
}

/// The nodes of one family's trees as readers see them.
pub(crate) struct Nodes {
    blocks: HugeSlice<Block>,
    /// Whether there ever were more nodes than stay in a second-level cache beside all else.
    are_many: AtomicBool,
}

/// Blocks of many nodes: half a megabyte.
const MANY: u32 = 1 << 14;

/// The nodes as a lookup reads them: where they lie, in registers.
#[derive(Clone, Copy)]
pub(crate) struct NodeReader<'a> {
    blocks: &'a [Block],
    /// A node may end anywhere in its window.
    nodes: Windows<'a, Block, MAX_BLOCKS>,
}

impl Nodes {
    /// Memory for `capacity` blocks.
    pub(crate) fn new(capacity: u32) -> Result<Self, FibError> {
        let nodes = Self {
            // Every node can be read as if it were of the largest.
            blocks: HugeSlice::new((capacity + NO_NODE_BLOCKS) as usize + MAX_BLOCKS)?,
            are_many: AtomicBool::new(false),
        };
        // Whichever kind of node it is read as, it has one run, and that inherits.
        for word in nodes.blocks[..NO_NODE_BLOCKS as usize].as_flattened() {
            word.store(INHERIT, Ordering::Relaxed);
        }
        let bitmap = [1, 0];
        let shape = DENSE_END.into();
        for (at, word) in [(0, bitmap[0]), (1, bitmap[1]), (SHAPE, shape)] {
            nodes.block(NO_NODE)[at].store(word, Ordering::Relaxed);
        }
        Ok(nodes)
    }

    /// The nodes as a lookup reads them.
    #[inline(always)]
    pub(crate) fn read(&self) -> NodeReader<'_> {
        NodeReader {
            blocks: &self.blocks,
            nodes: Windows::new(&self.blocks),
        }
    }

    /// Whether nodes are best asked for long before they are read.
    #[inline(always)]
    pub(crate) fn are_many(&self) -> bool {
        self.are_many.load(Ordering::Relaxed)
    }

    /// The first block of a node.
    #[inline]
    pub(crate) fn block(&self, node: u32) -> &Block {
        &self.blocks[node as usize]
    }

    /// The word of the run of `place`. Only the writer uses it, here and below.
    pub(crate) fn word(&self, node: u32, place: usize, layout: Layout) -> &AtomicU32 {
        let runs = runs_to(bitmap(self.block(node)), place as u32);
        &self.blocks.as_flattened()[node as usize * BLOCK_WORDS + layout.header + runs - 1]
    }

    pub(crate) fn cover(&self, node: u32) -> &AtomicU32 {
        &self.block(node)[COVER]
    }

    pub(crate) fn bitmap(&self, node: u32) -> u64 {
        bitmap(self.block(node))
    }

    /// The words of the runs of a node, in order.
    pub(crate) fn runs(&self, node: u32, count: usize, layout: Layout) -> &[AtomicU32] {
        let first = node as usize * BLOCK_WORDS + layout.header;
        &self.blocks.as_flattened()[first..first + count]
    }

    /// What a node that is not dense says of itself.
    pub(crate) fn header(&self, node: u32, layout: Layout) -> Header {
        let block = self.block(node);
        let shape = block[SHAPE].load(Ordering::Relaxed);
        let mut key = 0;
        for word in &block[KEY..layout.header] {
            key = key << 32 | u128::from(word.load(Ordering::Relaxed));
        }
        Header {
            cover: block[COVER].load(Ordering::Relaxed),
            end: shape as u8,
            start: (shape >> 8) as u8,
            key: key << (128 - 32 * (layout.header - KEY)),
        }
    }

    /// Writes the words before the runs of a node no reader can reach; a dense one has no header.
    pub(crate) fn write(&self, node: u32, bitmap: u64, header: Option<&Header>, layout: Layout) {
        if node > MANY {
            self.are_many.store(true, Ordering::Relaxed);
        }
        let block = self.block(node);
        let store = |at: usize, word: u32| block[at].store(word, Ordering::Relaxed);
        store(0, bitmap as u32);
        store(1, (bitmap >> 32) as u32);
        if let Some(header) = header {
            store(COVER, header.cover);
            store(SHAPE, u32::from(header.end) | u32::from(header.start) << 8);
            for at in KEY..layout.header {
                store(at, (header.key >> (96 - 32 * (at - KEY))) as u32);
            }
        }
    }
}

impl<'a> NodeReader<'a> {
    #[inline(always)]
    fn node(self, node: u32) -> &'a Node {
        &self.nodes.at(node as usize).as_flattened().as_chunks().0[0]
    }

    /// Brings the first words of a node close.
    #[inline(always)]
    pub(crate) fn prefetch(self, node: u32) {
        prefetch_element(self.blocks, node as usize);
    }

    /// What `address` leads to at this node: a leaf, [`INHERIT`], or [`CHILD`] and a node.
    #[inline(always)]
    pub(crate) fn step<A: Address>(self, kind: NodeKind, node: u32, address: A) -> u32 {
        let words = self.node(node);
        // Acquire: a node is complete before the word that names it is stored.
        words[find(words, kind, address)].load(Ordering::Acquire)
    }

    /// Where the word is that [`Self::step`] reads, which may be on another line than the node's
    /// first.
    #[inline(always)]
    pub(crate) fn find<A: Address>(self, kind: NodeKind, node: u32, address: A) -> usize {
        node as usize * BLOCK_WORDS + find(self.node(node), kind, address)
    }

    /// Brings a word that was found close.
    #[inline(always)]
    pub(crate) fn prefetch_at(self, at: usize) {
        prefetch_element(self.blocks.as_flattened(), at);
    }

    /// The word at a place that was found.
    #[inline(always)]
    pub(crate) fn word_at(self, at: usize) -> u32 {
        // Acquire: as in `step`.
        self.blocks.as_flattened()[at].load(Ordering::Acquire)
    }
}

/// Which word of a node `address` leads to.
#[inline(always)]
fn find<A: Address>(words: &Node, kind: NodeKind, address: A) -> usize {
    let shape = || words[SHAPE].load(Ordering::Relaxed);
    match kind {
        NodeKind::Dense => run(words, DENSE_HEADER, address.place(DENSE_END)),
        NodeKind::NotDense => find_in(words, A::HEADER, shape(), address),
        NodeKind::Either { dense } => {
            let shape = select_unpredictable(dense, DENSE_END.into(), shape());
            let header = select_unpredictable(dense, DENSE_HEADER, A::HEADER);
            find_in(words, header, shape, address)
        }
    }
}

#[inline(always)]
fn find_in<A: Address>(words: &Node, header: usize, shape: u32, address: A) -> usize {
    let run = run(words, header, address.place(shape as u8));
    let belongs = address.matches(words, (shape >> 8) as u8);
    select_unpredictable(belongs, run, COVER)
}

/// Where the run of `place` is behind a header. The first place always begins a run.
#[inline(always)]
fn run(words: &Node, header: usize, place: u32) -> usize {
    header - 1 + runs_to(load_pair(&words.as_chunks().0[0]), place)
}

/// What is known of a node before it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NodeKind {
    Dense,
    NotDense,
    /// Dense or not, decided without a branch.
    Either {
        dense: bool,
    },
}

/// How the words of a node are laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Words before the runs.
    pub(crate) header: usize,
}

impl Layout {
    /// Blocks a node of so many runs takes.
    pub(crate) const fn blocks(self, runs: usize) -> usize {
        (self.header + runs).div_ceil(BLOCK_WORDS)
    }
}

/// Whether a word names a node.
#[inline]
pub(crate) const fn is_child(word: u32) -> bool {
    word & CHILD != 0
}

#[inline]
fn bitmap(block: &Block) -> u64 {
    load_pair(&block.as_chunks().0[0])
}

/// How many runs begin up to `place`.
#[inline(always)]
const fn runs_to(bitmap: u64, place: u32) -> usize {
    (bitmap << ((63 - place) & 63)).count_ones() as usize
}
