//! What the writer knows of each node, and how it changes one.

use std::sync::atomic::Ordering;

use sekisho_mem::HugeSlice;

use crate::FibError;
use crate::block_arena::BlockArena;
use crate::nodes::{
    Block, DENSE_END, DENSE_HEADER, Header, INHERIT, Layout, NO_NODE_BLOCKS, Nodes, PLACES,
    is_child,
};
use crate::trie::WIDE;

sekisho_mem::zeroable_struct! {
    /// What the writer knows of a node, at the number of its first block.
    #[derive(Clone, Copy)]
    struct Notes {
        /// For each place, half an octet: of how many bits beyond the node's first the prefix is
        /// that its leaf comes from; 0 if it comes from the cover's.
        lengths: [u8; PLACES / 2],
        /// The length of the prefix the cover comes from.
        cover_length: u8,
        /// Prefixes that end in the node.
        own: u8,
        /// Blocks it takes.
        blocks: u8,
    }
}

/// Octets of a block, with what the writer knows of it.
pub(crate) const BLOCK_BYTES: usize = size_of::<Block>() + size_of::<Notes>();

/// A node laid open: every place for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) is_dense: bool,
    pub(crate) end: u8,
    pub(crate) start: u8,
    pub(crate) key: u128,
    pub(crate) cover: u32,
    pub(crate) cover_length: u8,
    pub(crate) own: u8,
    pub(crate) words: [u32; PLACES],
    /// For each place, the length of the prefix its leaf comes from; for a place that leads to
    /// another node, of the one that covers that node.
    pub(crate) lengths: [u8; PLACES],
}

impl Draft {
    /// A node in which everything leads to `cover`, from a prefix of `length` bits.
    pub(crate) const fn covered(start: u8, end: u8, key: u128, (cover, length): (u32, u8)) -> Self {
        Self {
            is_dense: false,
            end,
            start,
            key,
            cover,
            cover_length: length,
            own: 0,
            words: [cover; PLACES],
            lengths: [length; PLACES],
        }
    }

    /// A dense node in which everything inherits what the root says.
    pub(crate) const fn dense(key: u128) -> Self {
        let draft = Self::covered(WIDE, DENSE_END, key, (INHERIT, 0));
        Self {
            is_dense: true,
            ..draft
        }
    }

    /// The place of the address that begins with these bits.
    pub(crate) const fn place(&self, bits: u128) -> usize {
        (bits >> (128 - self.end)) as usize & (PLACES - 1)
    }

    /// The places that lead to nodes below.
    pub(crate) fn children(&self) -> impl Iterator<Item = usize> {
        (0..PLACES).filter(|&place| is_child(self.words[place]))
    }

    fn bitmap(&self) -> u64 {
        let mut bitmap = 1;
        for place in 1..PLACES {
            bitmap |= u64::from(self.words[place] != self.words[place - 1]) << place;
        }
        bitmap
    }

    fn header(&self) -> Option<Header> {
        (!self.is_dense).then_some(Header {
            cover: self.cover,
            end: self.end,
            start: self.start,
            key: self.key,
        })
    }

    fn notes(&self, blocks: u8) -> Notes {
        let mut lengths = [0; PLACES / 2];
        for (octet, pair) in lengths.iter_mut().zip(self.lengths.as_chunks::<2>().0) {
            let [low, high] = pair.map(|length| length.saturating_sub(self.start));
            *octet = low | high << 4;
        }
        Notes {
            lengths,
            cover_length: self.cover_length,
            own: self.own,
            blocks,
        }
    }

    /// Takes over what is noted of the node.
    fn read(&mut self, notes: &Notes) {
        let length = |beyond: u8| match beyond {
            0 => notes.cover_length,
            _ => self.start + beyond,
        };
        for (pair, octet) in self
            .lengths
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .zip(notes.lengths)
        {
            *pair = [octet & 15, octet >> 4].map(length);
        }
        self.cover_length = notes.cover_length;
        self.own = notes.own;
    }
}

/// A change that is complete but not yet seen.
#[derive(Default)]
struct Plan {
    stores: Vec<Replacement>,
    notes: Vec<(u32, Notes)>,
    fresh: Vec<u32>,
    freed: Vec<u32>,
}

/// A word of a node that changes in place.
struct Replacement {
    node: u32,
    layout: Layout,
    /// The first place of the run; the cover's word has none.
    place: Option<u8>,
    word: u32,
}

/// The writer's side of one family's nodes.
pub(crate) struct NodeWriter {
    arena: BlockArena,
    notes: HugeSlice<Notes>,
    layout: Layout,
    plan: Plan,
}

impl NodeWriter {
    pub(crate) fn new(capacity: u32, layout: Layout) -> Result<Self, FibError> {
        Ok(Self {
            arena: BlockArena::new(capacity),
            notes: HugeSlice::new((capacity + NO_NODE_BLOCKS) as usize)?,
            layout,
            plan: Plan::default(),
        })
    }

    const fn layout(&self, is_dense: bool) -> Layout {
        if is_dense {
            Layout {
                header: DENSE_HEADER,
            }
        } else {
            self.layout
        }
    }

    /// A dense node laid open, to which these bits lead.
    pub(crate) fn open_dense(&self, shared: &Nodes, node: u32, key: u128) -> Draft {
        self.fill(shared, node, Draft::dense(key))
    }

    /// A node that is not dense, laid open.
    pub(crate) fn open(&self, shared: &Nodes, node: u32) -> Draft {
        let Header {
            cover,
            end,
            start,
            key,
        } = shared.header(node, self.layout);
        self.fill(shared, node, Draft::covered(start, end, key, (cover, 0)))
    }

    fn fill(&self, shared: &Nodes, node: u32, mut draft: Draft) -> Draft {
        draft.read(&self.notes[node as usize]);
        let mut bounds = shared.bitmap(node);
        let count = bounds.count_ones() as usize;
        for run in shared.runs(node, count, self.layout(draft.is_dense)) {
            let first = bounds.trailing_zeros() as usize;
            bounds &= bounds.wrapping_sub(1);
            let next = bounds.trailing_zeros().min(PLACES as u32) as usize;
            draft.words[first..next].fill(run.load(Ordering::Relaxed));
        }
        draft
    }

    /// The node of a draft: the `old` one, with words to be replaced one by one, or a new one.
    ///
    /// # Errors
    /// Without free lines.
    pub(crate) fn close(
        &mut self,
        shared: &Nodes,
        draft: &Draft,
        old: Option<u32>,
    ) -> Result<u32, FibError> {
        let layout = self.layout(draft.is_dense);
        let mut bounds = draft.bitmap();
        if let Some(old) = old
            && shared.bitmap(old) == bounds
        {
            self.replace_words(shared, old, draft, bounds);
            return Ok(old);
        }
        let runs = bounds.count_ones() as usize;
        let count = layout.blocks(runs);
        let node = self.arena.allocate(count)?;
        self.plan.fresh.push(node);
        self.plan.freed.extend(old);
        shared.write(node, bounds, draft.header().as_ref(), layout);
        for run in shared.runs(node, runs, layout) {
            let word = draft.words[bounds.trailing_zeros() as usize];
            run.store(word, Ordering::Relaxed);
            bounds &= bounds.wrapping_sub(1);
        }
        self.notes[node as usize] = draft.notes(count as u8);
        Ok(node)
    }

    /// Plans the words in which `draft` differs from the node `old`, whose runs are the same.
    fn replace_words(&mut self, shared: &Nodes, node: u32, draft: &Draft, mut bounds: u64) {
        let layout = self.layout(draft.is_dense);
        for run in shared.runs(node, bounds.count_ones() as usize, layout) {
            let place = bounds.trailing_zeros();
            bounds &= bounds.wrapping_sub(1);
            let word = draft.words[place as usize];
            if run.load(Ordering::Relaxed) != word {
                self.plan.stores.push(Replacement {
                    node,
                    layout,
                    place: Some(place as u8),
                    word,
                });
            }
        }
        if !draft.is_dense && shared.cover(node).load(Ordering::Relaxed) != draft.cover {
            self.plan.stores.push(Replacement {
                node,
                layout,
                place: None,
                word: draft.cover,
            });
        }
        let blocks = self.notes[node as usize].blocks;
        self.plan.notes.push((node, draft.notes(blocks)));
    }

    /// Plans to let go of a node.
    pub(crate) fn drop_node(&mut self, node: u32) {
        self.plan.freed.push(node);
    }

    /// Makes what was planned seen, each word by one store, after `publish`, which makes the new
    /// nodes reachable. The nodes nobody comes to any more are given to `freed`.
    pub(crate) fn commit(
        &mut self,
        shared: &Nodes,
        publish: impl FnOnce(),
        freed: impl FnMut(u32),
    ) {
        publish();
        for change in self.plan.stores.drain(..) {
            let target = match change.place {
                Some(place) => shared.word(change.node, place.into(), change.layout),
                None => shared.cover(change.node),
            };
            target.store(change.word, Ordering::Release);
        }
        for (node, notes) in self.plan.notes.drain(..) {
            self.notes[node as usize] = notes;
        }
        self.plan.fresh.clear();
        self.plan.freed.drain(..).for_each(freed);
    }

    /// Forgets what was planned.
    pub(crate) fn abandon(&mut self) {
        self.plan.stores.clear();
        self.plan.notes.clear();
        self.plan.freed.clear();
        while let Some(node) = self.plan.fresh.pop() {
            self.release(node);
        }
    }

    /// Takes back a node no reader can reach any more.
    pub(crate) fn release(&mut self, node: u32) {
        let count = self.notes[node as usize].blocks;
        self.arena.release(node, count.into());
    }

    /// Blocks of a node.
    pub(crate) fn size(&self, node: u32) -> usize {
        self.notes[node as usize].blocks.into()
    }

    /// Blocks in use, those waiting for their reuse included.
    pub(crate) const fn in_use(&self) -> usize {
        self.arena.in_use()
    }
}
