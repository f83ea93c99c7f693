//! What a lookup ends in, as one 32-bit word.

use std::hint::select_unpredictable;

use sekisho_types::{InterfaceId, SegmentId, VrfId};

use crate::{AdjacencyId, Link, PathListId};

/// What becomes of packets to a prefix.
///
/// Indexes stay meaningful until the reader that got them passes its next burst boundary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaf {
    /// No route.
    #[default]
    None,
    /// Through one of several next hops: [`Reader::select`](crate::Reader::select).
    PathList(PathListId),
    /// On the link itself: the destination is its own next hop.
    Connected(Link),
    /// An address of the gateway.
    Local,
    /// A pool or floating address: only a session or mapping may let the packet in.
    Nat,
    /// As another VRF says (route leaking). The caller bounds the depth.
    LookupVrf(VrfId),
    /// Dropped on purpose.
    Discard,
    /// One known neighbour or endpoint: [`Reader::adjacency`](crate::Reader::adjacency).
    Adjacency(AdjacencyId),
}

/// A [`Leaf`] as the tables keep it, in 32 bits: what batches are looked up into, so that the common
/// kinds cost one predictable branch each and the rest is unpacked where it is rare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct PackedLeaf(u32);

const _: () = assert!(size_of::<PackedLeaf>() == 4);

impl PackedLeaf {
    /// No route.
    pub const NONE: Self = Self(Leaf::None.pack());

    /// A word of a tree that names no block.
    #[inline]
    pub(crate) const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// What it was made from.
    #[inline(always)]
    pub(crate) const fn word(self) -> u32 {
        self.0
    }

    /// The path list, if this is one.
    #[inline]
    pub const fn path_list(self) -> Option<PathListId> {
        if self.0 >> KIND_SHIFT == PATH_LIST {
            Some(PathListId::new(self.0 & INDEX_MASK))
        } else {
            None
        }
    }

    /// The index of the path list; beyond every list's, if this is none.
    #[inline(always)]
    pub(crate) const fn list_index(self) -> usize {
        (self.0 ^ PATH_LIST << KIND_SHIFT) as usize
    }

    /// The adjacency if this is one, or [`AdjacencyId::NONE`].
    #[inline(always)]
    pub(crate) fn way(self) -> AdjacencyId {
        let number = self.0 ^ ADJACENCY << KIND_SHIFT;
        let is_one = number <= INDEX_MASK;
        select_unpredictable(is_one, AdjacencyId::new(number), AdjacencyId::NONE)
    }

    /// The adjacency, if this is one.
    #[inline]
    pub const fn adjacency(self) -> Option<AdjacencyId> {
        if self.0 >> KIND_SHIFT == ADJACENCY {
            Some(AdjacencyId::new(self.0 & INDEX_MASK))
        } else {
            None
        }
    }

    /// Whether packets leave by it: it is a path list or an adjacency.
    #[inline]
    pub const fn is_way(self) -> bool {
        let kind = self.0 >> KIND_SHIFT;
        (kind == PATH_LIST) | (kind == ADJACENCY)
    }

    /// The leaf, to match on.
    #[inline]
    pub const fn unpack(self) -> Leaf {
        Leaf::unpack(self.0)
    }
}

impl From<PackedLeaf> for Leaf {
    #[inline]
    fn from(packed: PackedLeaf) -> Self {
        packed.unpack()
    }
}

impl Leaf {
    /// As batches have it.
    pub const fn packed(self) -> PackedLeaf {
        PackedLeaf(self.pack())
    }
}

impl From<Leaf> for PackedLeaf {
    #[inline]
    fn from(leaf: Leaf) -> Self {
        Self(leaf.pack())
    }
}

/// Set in a tree's word that names a block rather than being a leaf.
pub(crate) const CHILD: u32 = 1 << 31;

/// Bits of an index.
pub(crate) const INDEX_BITS: u32 = 27;
const KIND_SHIFT: u32 = INDEX_BITS;
const PATH_LIST: u32 = 1;
const ADJACENCY: u32 = 8;
const INDEX_MASK: u32 = (1 << KIND_SHIFT) - 1;
/// Indexes of path lists and adjacencies lie below this.
pub(crate) const MAX_INDEX: u32 = INDEX_MASK;

impl Leaf {
    /// The leaf as a word without [`CHILD`]. No route is zero, as in untouched memory.
    pub(crate) const fn pack(self) -> u32 {
        let (kind, index) = match self {
            Self::None => (0, 0),
            Self::PathList(id) => (PATH_LIST, id.value()),
            Self::Connected(Link::Interface(id)) => (2, id.value() as u32),
            Self::Connected(Link::Segment(id)) => (3, id.value() as u32),
            Self::Local => (4, 0),
            Self::Nat => (5, 0),
            Self::LookupVrf(id) => (6, id.value() as u32),
            Self::Discard => (7, 0),
            Self::Adjacency(id) => (ADJACENCY, id.value()),
        };
        kind << KIND_SHIFT | index & INDEX_MASK
    }

    /// The leaf a word without [`CHILD`] stands for.
    #[inline]
    pub(crate) const fn unpack(word: u32) -> Self {
        let index = word & INDEX_MASK;
        match word >> KIND_SHIFT {
            PATH_LIST => Self::PathList(PathListId::new(index)),
            2 => Self::Connected(Link::Interface(InterfaceId::new(index as u16))),
            3 => Self::Connected(Link::Segment(SegmentId::new(index as u16))),
            4 => Self::Local,
            5 => Self::Nat,
            6 => Self::LookupVrf(VrfId::new(index as u16)),
            7 => Self::Discard,
            ADJACENCY => Self::Adjacency(AdjacencyId::new(index)),
            _ => Self::None,
        }
    }

    /// Whether a known neighbour at the same address is better than this route.
    pub(crate) const fn yields_to_host(self) -> bool {
        matches!(self, Self::None | Self::Connected(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_leaf_survives_packing() {
        for leaf in [
            Leaf::None,
            Leaf::PathList(PathListId::new(MAX_INDEX)),
            Leaf::Connected(Link::Interface(InterfaceId::new(u16::MAX))),
            Leaf::Connected(Link::Segment(SegmentId::new(7))),
            Leaf::Local,
            Leaf::Nat,
            Leaf::LookupVrf(VrfId::new(u16::MAX)),
            Leaf::Discard,
            Leaf::Adjacency(AdjacencyId::new(MAX_INDEX)),
        ] {
            assert_eq!(Leaf::unpack(leaf.pack()), leaf);
            assert_eq!(leaf.pack() & CHILD, 0);
            let packed = PackedLeaf::from(leaf);
            assert_eq!(Leaf::from(packed), leaf);
            assert_eq!(packed.path_list().map(Leaf::PathList), is_list(leaf));
            assert_eq!(packed.adjacency().map(Leaf::Adjacency), is_adjacency(leaf));
            let index = packed.path_list().map(PathListId::index);
            let found = Some(packed.list_index()).filter(|index| *index <= MAX_INDEX as usize);
            assert_eq!(found, index);
            let way = packed.adjacency().unwrap_or(AdjacencyId::NONE);
            assert_eq!(packed.way(), way);
        }
    }

    fn is_list(leaf: Leaf) -> Option<Leaf> {
        matches!(leaf, Leaf::PathList(_)).then_some(leaf)
    }

    fn is_adjacency(leaf: Leaf) -> Option<Leaf> {
        matches!(leaf, Leaf::Adjacency(_)).then_some(leaf)
    }

    #[test]
    fn untouched_memory_is_no_route() {
        assert_eq!(Leaf::unpack(0), Leaf::None);
    }
}
