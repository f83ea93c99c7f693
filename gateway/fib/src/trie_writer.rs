//! Longest-prefix match, the writer's side.
//!
//! For each place of a node the writer notes the length of the prefix its leaf comes from, so that
//! a prefix overwrites shorter ones only, and its removal restores the next shorter one exactly
//! where it was in force. What changes is first made beside what readers see, then published from
//! the top by single stores: no step of a change gives any address a leaf it should not have.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use sekisho_types::VrfId;

use crate::address::{Family, Key};
use crate::leaf::CHILD;
use crate::node_writer::{Draft, NodeWriter};
use crate::nodes::{INHERIT, NO_NODE, Nodes, PLACES, STRIDE, is_child};
use crate::trie::Root;
use crate::{FibError, Leaf, Tables};

/// A leaf's word with the length of the prefix it comes from.
type Covered = (u32, u8);

/// The tree of one VRF and family, as the writer sees it.
pub(crate) struct TrieWriter<'a> {
    shape: Shape,
    roots: &'a [AtomicU64],
    /// For each root, the length of the prefix its leaf comes from.
    root_lengths: &'a mut [u8],
    shared: &'a Nodes,
    nodes: &'a mut NodeWriter,
}

/// At which depths nodes stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Bits of an address.
    pub(crate) bits: u8,
    /// Bits the roots decide.
    pub(crate) root_bits: u8,
    /// Nodes end at depths that leave this remainder when divided by [`STRIDE`], and at the last bit.
    pub(crate) phase: u8,
    /// Whether the nodes directly below roots are dense.
    pub(crate) dense: bool,
}

impl Shape {
    /// The least depth from `len` on at which a node may end.
    fn end(self, len: u8) -> u8 {
        let spare = (self.phase + STRIDE - len % STRIDE) % STRIDE;
        (len + spare).min(self.bits)
    }

    /// The depth at which a node begins that ends there.
    fn start(self, end: u8) -> u8 {
        let width = (end + STRIDE - self.phase) % STRIDE;
        end.saturating_sub(if width == 0 { STRIDE } else { width })
    }
}

/// Which places a prefix takes over, by the length of the prefix in force there.
#[derive(Clone, Copy)]
enum Where {
    /// At most this long: a prefix is put in.
    UpTo(u8),
    /// Exactly this long: a prefix is taken out.
    Exactly(u8),
}

impl Where {
    const fn admits(self, length: u8) -> bool {
        match self {
            Self::UpTo(most) => length <= most,
            Self::Exactly(wanted) => length == wanted,
        }
    }
}

/// What a prefix paints, and over what.
#[derive(Clone, Copy)]
struct Brush {
    colour: Covered,
    over: Where,
}

impl<'a> TrieWriter<'a> {
    pub(crate) fn new(
        tables: &'a Tables,
        nodes: &'a mut NodeWriter,
        root_lengths: &'a mut [u8],
        family: Family,
        vrf: VrfId,
    ) -> Self {
        let trees = tables.trees(family);
        Self {
            shape: family.shape(vrf == VrfId::PROVIDER),
            roots: trees.roots(vrf),
            root_lengths,
            shared: &trees.nodes,
            nodes,
        }
    }

    /// Up to which length prefixes are in force in the roots alone.
    pub(crate) const fn inherited(&self) -> u8 {
        self.shape.root_bits
    }

    /// Gives the addresses of `key` to `leaf` where no longer prefix has them. `is_new` says that
    /// the prefix was not in the tree.
    ///
    /// # Errors
    /// Without enough free blocks; nothing has changed then.
    pub(crate) fn put(
        &mut self,
        key: Key,
        leaf: Leaf,
        is_new: bool,
        freed: impl FnMut(u32),
    ) -> Result<(), FibError> {
        let brush = Brush {
            colour: (leaf.pack(), key.len()),
            over: Where::UpTo(key.len()),
        };
        if key.len() <= self.shape.root_bits {
            self.paint_roots(key, brush);
            return Ok(());
        }
        let at = self.root_of(key);
        let root = self.root(at);
        let top = match root.node {
            NO_NODE => INHERIT,
            node => CHILD | node,
        };
        let (root_bits, background) = (self.shape.root_bits, (INHERIT, 0));
        let result = self.put_below(root_bits, top, background, key, brush, is_new);
        self.finish(at, result, freed)
    }

    /// Gives the addresses of `key`, which is in the tree, back to `cover`, the leaf of the next
    /// shorter prefix with its length. Nodes no longer needed are unlinked and given to `freed`.
    ///
    /// # Errors
    /// Without enough free blocks; nothing has changed then.
    pub(crate) fn take(
        &mut self,
        key: Key,
        (cover, length): (Leaf, u8),
        freed: impl FnMut(u32),
    ) -> Result<(), FibError> {
        let is_inherited = key.len() > self.shape.root_bits && length <= self.shape.root_bits;
        let brush = Brush {
            colour: if is_inherited {
                (INHERIT, 0)
            } else {
                (cover.pack(), length)
            },
            over: Where::Exactly(key.len()),
        };
        if key.len() <= self.shape.root_bits {
            self.paint_roots(key, brush);
            return Ok(());
        }
        let at = self.root_of(key);
        let root = self.root(at);
        if root.node == NO_NODE {
            return Ok(());
        }
        let result = self.take_below(self.shape.root_bits, root.node, key, brush);
        self.finish(at, result.map(|(word, _)| word), freed)
    }

    /// Unlinks everything in a tenant's tree; every node is given to `freed`.
    pub(crate) fn clear(&mut self, mut freed: impl FnMut(u32)) {
        for at in 0..self.roots.len() {
            let root = self.root(at);
            self.root_lengths[at] = 0;
            self.roots[at].store(0, Ordering::Release);
            if root.node != NO_NODE {
                self.free_below(root.node, &mut freed);
            }
        }
    }

    fn free_below(&self, node: u32, freed: &mut impl FnMut(u32)) {
        let draft = self.nodes.open(self.shared, node);
        for place in draft.children() {
            self.free_below(draft.words[place] & !CHILD, freed);
        }
        freed(node);
    }

    fn root_of(&self, key: Key) -> usize {
        key.bits_at(0, self.shape.root_bits)
    }

    fn root(&self, at: usize) -> Root {
        Root::unpack(self.roots[at].load(Ordering::Relaxed))
    }

    fn paint_roots(&mut self, key: Key, brush: Brush) {
        let first = self.root_of(key);
        let (word, length) = brush.colour;
        for at in first..first + (1 << (self.shape.root_bits - key.len())) {
            if brush.over.admits(self.root_lengths[at]) {
                self.root_lengths[at] = length;
                let cover = word;
                let root = Root {
                    cover,
                    ..self.root(at)
                };
                self.roots[at].store(root.pack(), Ordering::Release);
            }
        }
    }

    /// Publishes what was planned if the root leads to `top` from now on, or forgets it.
    fn finish(
        &mut self,
        at: usize,
        top: Result<u32, FibError>,
        freed: impl FnMut(u32),
    ) -> Result<(), FibError> {
        let top = top.inspect_err(|_| self.nodes.abandon())?;
        let before = self.root(at);
        let node = if is_child(top) { top & !CHILD } else { NO_NODE };
        let root = &self.roots[at];
        let publish = || {
            if before.node != node {
                root.store(Root { node, ..before }.pack(), Ordering::Release);
            }
        };
        self.nodes.commit(self.shared, publish, freed);
        Ok(())
    }

    /// What stands in place of `word`, `from` bits deep and covered by `background`, when `key` is
    /// put in below it.
    fn put_below(
        &mut self,
        from: u8,
        word: u32,
        background: Covered,
        key: Key,
        brush: Brush,
        is_new: bool,
    ) -> Result<u32, FibError> {
        let dense = self.dense(from, key);
        if !is_child(word) {
            let draft = match dense {
                Some(bits) => Draft::dense(bits),
                None => self.covered(self.shape.end(key.len()), key, background),
            };
            return self.put_in(draft, None, key, brush, is_new);
        }
        let node = word & !CHILD;
        let draft = self.open(node, dense);
        let common = key.common_bits(draft.key).min(draft.start);
        if common == draft.start && key.len() > draft.start {
            return self.put_in(draft, Some(node), key, brush, is_new);
        }
        // The key parts from the way to the node, or ends on it: a node above the node.
        let end = self.shape.end(key.len().min(common + 1));
        let mut above = self.covered(end, key, (draft.cover, draft.cover_length));
        above.words[above.place(draft.key)] = word;
        self.put_in(above, None, key, brush, is_new)
    }

    /// The bits that lead to the node `from` bits deep on the way to `key`, if that is a dense one.
    fn dense(&self, from: u8, key: Key) -> Option<u128> {
        let is_dense = self.shape.dense && from == self.shape.root_bits;
        is_dense.then(|| key.bits() & !(u128::MAX >> from))
    }

    fn open(&self, node: u32, dense: Option<u128>) -> Draft {
        match dense {
            Some(key) => self.nodes.open_dense(self.shared, node, key),
            None => self.nodes.open(self.shared, node),
        }
    }

    fn covered(&self, end: u8, key: Key, cover: Covered) -> Draft {
        let start = self.shape.start(end);
        let key = key.bits() & !(u128::MAX >> start);
        Draft::covered(start, end, key, cover)
    }

    /// The word of the node of `draft` with `key` in it or below it.
    fn put_in(
        &mut self,
        mut draft: Draft,
        old: Option<u32>,
        key: Key,
        brush: Brush,
        is_new: bool,
    ) -> Result<u32, FibError> {
        let place = draft.place(key.bits());
        if key.len() <= draft.end {
            draft.own += u8::from(is_new);
            let count = 1 << (draft.end - key.len());
            self.paint(&mut draft, place..place + count, brush)?;
        } else {
            let background = (draft.words[place], draft.lengths[place]);
            let (from, word) = (draft.end, draft.words[place]);
            draft.words[place] = self.put_below(from, word, background, key, brush, is_new)?;
        }
        Ok(CHILD | self.nodes.close(self.shared, &draft, old)?)
    }

    /// What stands in place of `node`, `from` bits deep, when `key` is taken out of it, with its
    /// length if it is a leaf.
    fn take_below(
        &mut self,
        from: u8,
        node: u32,
        key: Key,
        brush: Brush,
    ) -> Result<Covered, FibError> {
        let mut draft = self.open(node, self.dense(from, key));
        let place = draft.place(key.bits());
        if key.len() <= draft.end {
            draft.own -= 1;
            let count = 1 << (draft.end - key.len());
            self.paint(&mut draft, place..place + count, brush)?;
        } else if is_child(draft.words[place]) {
            let below = draft.words[place] & !CHILD;
            let (word, length) = self.take_below(draft.end, below, key, brush)?;
            draft.words[place] = word;
            draft.lengths[place] = length;
        }
        if draft.own == 0 {
            // Everything here is the cover's but what is below.
            let mut children = draft.children();
            let stands_instead = match (children.next(), children.next()) {
                (None, _) => Some(draft.cover),
                (Some(only), None) if !draft.is_dense => Some(draft.words[only]),
                _ => None,
            };
            if let Some(word) = stands_instead {
                self.nodes.drop_node(node);
                return Ok((word, draft.cover_length));
            }
        }
        let cover_length = draft.cover_length;
        let node = self.nodes.close(self.shared, &draft, Some(node))?;
        Ok((CHILD | node, cover_length))
    }

    /// Paints the places of `range` that the brush admits, and what lies below them.
    fn paint(
        &mut self,
        draft: &mut Draft,
        range: Range<usize>,
        brush: Brush,
    ) -> Result<(), FibError> {
        let (word, length) = brush.colour;
        for place in range {
            if is_child(draft.words[place]) {
                let below = draft.words[place] & !CHILD;
                draft.words[place] = CHILD | self.paint_node(below, brush)?;
            }
            if brush.over.admits(draft.lengths[place]) {
                draft.lengths[place] = length;
                if !is_child(draft.words[place]) {
                    draft.words[place] = word;
                }
            }
        }
        Ok(())
    }

    fn paint_node(&mut self, node: u32, brush: Brush) -> Result<u32, FibError> {
        let mut draft = self.nodes.open(self.shared, node);
        if !brush.over.admits(draft.cover_length) {
            // A prefix between the two covers all of it.
            return Ok(node);
        }
        (draft.cover, draft.cover_length) = brush.colour;
        self.paint(&mut draft, 0..PLACES, brush)?;
        self.nodes.close(self.shared, &draft, Some(node))
    }
}
