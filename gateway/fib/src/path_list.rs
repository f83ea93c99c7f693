//! Sets of next hops that routes share, and the reader's choice among them.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use sekisho_mem::{HugeSlice, prefetch_element};

use crate::adjacency_lines::Ahead;
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

const LOG2_SHIFT: u32 = 59;

impl Buckets {
    /// The low half is where an array starts, or the number of the only way plus one; beyond it, an
    /// array has the logarithm of its length. A list of which nothing is known yet is empty.
    const fn pack(self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Single(adjacency) => adjacency.value() as u64 + 1,
            Self::Array { start, log2 } => (log2 as u64) << LOG2_SHIFT | start as u64,
        }
    }
}

const _: () = assert!(MIN_BUCKETS > 1, "an array is told by its logarithm");

/// Words of lists, and buckets, in use up to which they are as good as always in the cache.
const NEAR_LISTS: usize = 1 << 10;
const NEAR_BUCKETS: usize = 1 << 12;

/// The path lists as readers see them.
pub(crate) struct PathLists {
    lists: HugeSlice<AtomicU64>,
    buckets: HugeSlice<AtomicU32>,
    /// Whether some list, or bucket, was ever used beyond those that are always in the cache.
    is_large: AtomicBool,
}

/// The path lists as a batch reads them: where they lie, in registers.
#[derive(Clone, Copy)]
pub(crate) struct ListReader<'a> {
    lists: &'a [AtomicU64],
    buckets: &'a [AtomicU32],
}

impl PathLists {
    pub(crate) fn new(lists: u32, buckets: u32) -> Result<Self, FibError> {
        Ok(Self {
            lists: HugeSlice::new(lists as usize)?,
            buckets: HugeSlice::new(buckets as usize)?,
            is_large: AtomicBool::new(false),
        })
    }

    #[inline(always)]
    fn read(&self) -> ListReader<'_> {
        ListReader {
            lists: &self.lists,
            buckets: &self.buckets,
        }
    }

    /// The way of the flow with this hash, if the list has a usable member.
    #[inline]
    pub(crate) fn select(&self, list: PathListId, flow_hash: u32) -> Option<AdjacencyId> {
        let tables = self.read();
        let way = tables.way(tables.word(list.index())?, flow_hash);
        (way != AdjacencyId::NONE).then_some(way)
    }

    /// The way of each flow, of a batch at most: the adjacency that is its leaf, or that its path
    /// list has for it, or [`AdjacencyId::NONE`]. Brings the lines of the ways close.
    #[inline(never)]
    pub(crate) fn select_lanes(
        &self,
        lines: Ahead<'_>,
        leaves: &[PackedLeaf],
        hashes: &[u32],
        ways: &mut [AdjacencyId],
    ) {
        let tables = self.read();
        let count = leaves.len().min(hashes.len()).min(ways.len());
        let (leaves, hashes, ways) = (&leaves[..count], &hashes[..count], &mut ways[..count]);
        if self.is_large.load(Ordering::Relaxed) {
            tables.approach(leaves, hashes);
        }
        for lane in 0..count {
            let way = match tables.word(leaves[lane].list_index()) {
                Some(word) => tables.way(word, hashes[lane]),
                None => leaves[lane].way(),
            };
            lines.prefetch(way);
            ways[lane] = way;
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
        let end = match buckets {
            Buckets::Array { start, log2 } => start as usize + (1 << log2),
            Buckets::Empty | Buckets::Single(_) => 0,
        };
        if list.index() >= NEAR_LISTS || end > NEAR_BUCKETS {
            self.is_large.store(true, Ordering::Relaxed);
        }
        self.lists[list.index()].store(buckets.pack(), Ordering::Release);
    }
}

impl ListReader<'_> {
    /// The word of a list, if there is one with that index.
    #[inline(always)]
    fn word(self, list: usize) -> Option<u64> {
        // Acquire: the buckets are complete before the word that names them is stored.
        Some(self.lists.get(list)?.load(Ordering::Acquire))
    }

    /// The way of the flow with this hash by the word of its list, or [`AdjacencyId::NONE`].
    #[inline(always)]
    fn way(self, word: u64, flow_hash: u32) -> AdjacencyId {
        let log2 = (word >> LOG2_SHIFT) as u32;
        if log2 == 0 {
            // No way is zero, and wraps.
            return AdjacencyId::new((word as u32).wrapping_sub(1));
        }
        match self.buckets.get(bucket(word, log2, flow_hash)) {
            Some(bucket) => AdjacencyId::new(bucket.load(Ordering::Relaxed)),
            None => AdjacencyId::NONE,
        }
    }

    /// Brings close what the ways of the leaves that are lists are read from, in two stages.
    #[inline(never)]
    fn approach(self, leaves: &[PackedLeaf], hashes: &[u32]) {
        for list in leaves.iter().filter_map(|leaf| leaf.path_list()) {
            prefetch_element(self.lists, list.index());
        }
        for (leaf, hash) in leaves.iter().zip(hashes) {
            let word = self.word(leaf.list_index()).unwrap_or(0);
            let log2 = (word >> LOG2_SHIFT) as u32;
            if log2 != 0 {
                prefetch_element(self.buckets, bucket(word, log2, *hash));
            }
        }
    }
}

/// The bucket of the flow with this hash, in an array.
#[inline(always)]
const fn bucket(word: u64, log2: u32, flow_hash: u32) -> usize {
    let mask = (1_u32 << log2) - 1;
    (word as u32 + (flow_hash & mask)) as usize
}
