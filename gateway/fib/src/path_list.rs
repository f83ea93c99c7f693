//! Sets of next hops that routes share, and the reader's choice among them.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sekisho_mem::{HugeSlice, prefetch_read};

use crate::{AdjacencyId, FibError, Link, PackedLeaf};

/// The stable number of a path list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathListId(u32);

impl PathListId {
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The number as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PathListId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A next hop as a route names it, before it is resolved: what path lists are known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// Its address.
    pub address: IpAddr,
    /// Where it is, if the route says so.
    pub link: Option<Link>,
    /// Its share of the flows, relative to the other next hops'.
    pub weight: NonZeroU16,
}

/// What a next hop resolves to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMember {
    /// The way.
    pub adjacency: AdjacencyId,
    /// Its share of the flows, relative to the other members'.
    pub weight: NonZeroU16,
}

/// An acquired path list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interned {
    /// The list.
    pub id: PathListId,
    /// Whether nobody had it before: then it has no members until it is resolved.
    pub is_new: bool,
}

/// Most members of a path list.
pub(crate) const MAX_MEMBERS: usize = 128;
/// Fewest buckets of a list with several members; arrays are multiples of it.
pub(crate) const MIN_BUCKETS: usize = 16;
/// Most buckets of a list.
pub(crate) const MAX_BUCKETS: usize = 256;

/// Where the buckets of a list are, in the word its index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buckets {
    /// No usable member.
    Empty,
    /// One member takes everything.
    Single(AdjacencyId),
    /// `1 << log2` words from `start`.
    Array { start: u32, log2: u8 },
}

const SINGLE: u64 = 1 << 32;
const ARRAY: u64 = 2 << 32;
const LOG2_SHIFT: u32 = 40;

impl Buckets {
    const fn pack(self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Single(adjacency) => SINGLE | adjacency.value() as u64,
            Self::Array { start, log2 } => ARRAY | (log2 as u64) << LOG2_SHIFT | start as u64,
        }
    }
}

/// The path lists as readers see them.
pub(crate) struct PathLists {
    lists: HugeSlice<AtomicU64>,
    buckets: HugeSlice<AtomicU32>,
}

impl PathLists {
    pub(crate) fn new(lists: u32, buckets: u32) -> Result<Self, FibError> {
        Ok(Self {
            lists: HugeSlice::new(lists as usize)?,
            buckets: HugeSlice::new(buckets as usize)?,
        })
    }

    /// The way of the flow with this hash, if the list has a usable member.
    #[inline]
    pub(crate) fn select(&self, list: PathListId, flow_hash: u32) -> Option<AdjacencyId> {
        // Acquire: the buckets are complete before the word that names them is stored.
        let word = self.lists.get(list.index())?.load(Ordering::Acquire);
        self.select_in(word, flow_hash)
    }

    /// Brings what [`Self::select`] reads first close.
    #[inline]
    pub(crate) fn prefetch(&self, list: PathListId) {
        if let Some(word) = self.lists.get(list.index()) {
            prefetch_read(word);
        }
    }

    /// What a leaf names: the word of its path list, or one that says the same of its adjacency.
    #[inline]
    pub(crate) fn word(&self, leaf: PackedLeaf) -> u64 {
        if let Some(list) = leaf.path_list() {
            self.lists
                .get(list.index())
                .map_or(0, |word| word.load(Ordering::Acquire))
        } else if let Some(adjacency) = leaf.adjacency() {
            Buckets::Single(adjacency).pack()
        } else {
            Buckets::Empty.pack()
        }
    }

    /// The bucket of the flow with this hash, if the list of that word has several.
    #[inline]
    fn bucket(&self, word: u64, flow_hash: u32) -> Option<&AtomicU32> {
        let mask = (1_u32 << (word >> LOG2_SHIFT & 31)) - 1;
        let at = word as u32 + (flow_hash & mask);
        self.buckets.get(at as usize)
    }

    /// Brings close what [`Self::select_in`] reads.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, word: u64, flow_hash: u32) {
        if word & ARRAY != 0
            && let Some(bucket) = self.bucket(word, flow_hash)
        {
            prefetch_read(bucket);
        }
    }

    /// The way of the flow with this hash, by the word of its list.
    #[inline]
    pub(crate) fn select_in(&self, word: u64, flow_hash: u32) -> Option<AdjacencyId> {
        if word & ARRAY != 0 {
            let bucket = self.bucket(word, flow_hash)?.load(Ordering::Relaxed);
            Some(AdjacencyId::new(bucket))
        } else if word & SINGLE != 0 {
            Some(AdjacencyId::new(word as u32))
        } else {
            None
        }
    }

    /// Writes buckets no list names. Only the writer does.
    pub(crate) fn fill(&self, start: u32, owners: impl Iterator<Item = AdjacencyId>) {
        for (word, owner) in self.buckets[start as usize..].iter().zip(owners) {
            word.store(owner.value(), Ordering::Relaxed);
        }
    }

    /// Points `list` at its buckets. Only the writer does.
    pub(crate) fn publish(&self, list: PathListId, buckets: Buckets) {
        self.lists[list.index()].store(buckets.pack(), Ordering::Release);
    }
}
