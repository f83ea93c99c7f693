//! What the writer and the readers share.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use sekisho_mem::HugeSlice;
use sekisho_types::{VrfId, WorkerId};

use crate::address::Family;
use crate::adjacency_lines::AdjacencyLines;
use crate::blocks::Block;
use crate::leaf::MAX_INDEX;
use crate::path_list::PathLists;
use crate::quiescent::Epochs;
use crate::trie::{NARROW, Trie, WIDE};
use crate::{
    Address, Adjacency, AdjacencyId, FibError, Leaf, Lookup, PackedLeaf, PathListId, Reader,
    Rewrite, Writer,
};

/// How much the tables can hold. It is address space: memory is used as the tables fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Blocks of routes, 1 KiB each: one for each /16 of the provider VRF that has longer prefixes,
    /// up to four for a tenant's segment.
    pub blocks: u32,
    /// Adjacencies, 64 octets each: neighbours and endpoints.
    pub adjacencies: u32,
    /// Path lists.
    pub path_lists: u32,
    /// Buckets of path lists in all, 4 octets each: 16 to 256 for a list of several members.
    pub buckets: u32,
}

impl Default for Capacity {
    /// A full Internet table and ten thousand tenants.
    fn default() -> Self {
        Self {
            blocks: 1 << 19,
            adjacencies: 1 << 20,
            path_lists: 1 << 16,
            buckets: 1 << 22,
        }
    }
}

/// VRFs there can be.
const VRFS: usize = 1 << 16;

/// The forwarding tables of all VRFs: one [`Writer`], and one [`Reader`] for each worker.
pub struct Tables {
    pub(crate) epochs: Epochs,
    pub(crate) blocks: HugeSlice<Block>,
    pub(crate) adjacencies: AdjacencyLines,
    pub(crate) path_lists: PathLists,
    v4: Roots,
    v6: Roots,
}

/// The roots of one family's trees.
struct Roots {
    provider: HugeSlice<AtomicU32>,
    /// One word for each VRF.
    tenants: HugeSlice<AtomicU32>,
}

impl Roots {
    fn new() -> Result<Self, FibError> {
        Ok(Self {
            provider: HugeSlice::new(1 << WIDE)?,
            tenants: HugeSlice::new(VRFS << NARROW)?,
        })
    }
}

impl Tables {
    /// Empty tables for workers 0 to `workers - 1`, with the provider VRF in them, and their only
    /// writer.
    ///
    /// # Errors
    /// If the capacity is more than leaves can name, or the kernel refuses the address space.
    pub fn new(workers: u8, capacity: Capacity) -> Result<(Arc<Self>, Writer), FibError> {
        for (what, asked, max) in [
            ("blocks", capacity.blocks, i32::MAX as u32),
            ("adjacencies", capacity.adjacencies, MAX_INDEX),
            ("path lists", capacity.path_lists, MAX_INDEX),
            ("buckets", capacity.buckets, i32::MAX as u32),
        ] {
            if asked > max {
                return Err(FibError::Capacity {
                    what,
                    capacity: asked,
                    max,
                });
            }
        }
        let tables = Arc::new(Self {
            epochs: Epochs::new(workers),
            blocks: HugeSlice::new(capacity.blocks as usize)?,
            adjacencies: AdjacencyLines::new(capacity.adjacencies, Writer::spares(capacity))?,
            path_lists: PathLists::new(capacity.path_lists, capacity.buckets)?,
            v4: Roots::new()?,
            v6: Roots::new()?,
        });
        let writer = Writer::new(Arc::clone(&tables), capacity)?;
        Ok((tables, writer))
    }

    /// The reader of `worker`. Until it is dropped, nothing is reused before it passes a burst
    /// boundary.
    ///
    /// # Errors
    /// If there is no such worker or it has a reader already.
    pub fn reader(self: &Arc<Self>, worker: WorkerId) -> Result<Reader, FibError> {
        self.epochs.enter(worker)?;
        Ok(Reader::new(Arc::clone(self), worker))
    }

    /// The root of a VRF's tree.
    #[inline]
    pub(crate) fn root(&self, family: Family, vrf: VrfId) -> &[AtomicU32] {
        let roots = match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        if vrf == VrfId::PROVIDER {
            &roots.provider
        } else {
            &roots.tenants[vrf.index()..=vrf.index()]
        }
    }

    #[inline]
    pub(crate) fn lookup<A: Address>(&self, vrf: VrfId, address: A) -> Leaf {
        let (root, blocks) = (self.root(A::FAMILY, vrf), &*self.blocks);
        if vrf == VrfId::PROVIDER {
            Trie::<WIDE> { root, blocks }.lookup(address)
        } else {
            Trie::<NARROW> { root, blocks }.lookup(address)
        }
    }

    #[inline]
    pub(crate) fn lookup_batch<A: Address, L: From<PackedLeaf>>(
        &self,
        vrf: VrfId,
        addresses: &[A],
        leaves: &mut [L],
    ) {
        let (root, blocks) = (self.root(A::FAMILY, vrf), &*self.blocks);
        if vrf == VrfId::PROVIDER {
            Trie::<WIDE> { root, blocks }.lookup_batch(addresses, leaves);
        } else {
            Trie::<NARROW> { root, blocks }.lookup_batch(addresses, leaves);
        }
    }

    #[inline]
    pub(crate) fn lookup_batch_mixed<A: Address, L: From<PackedLeaf>>(
        &self,
        vrfs: &[VrfId],
        addresses: &[A],
        leaves: &mut [L],
    ) {
        for ((vrf, address), leaf) in vrfs.iter().zip(addresses).zip(leaves) {
            *leaf = L::from(self.lookup(*vrf, *address).into());
        }
    }

    #[inline]
    pub(crate) fn select(&self, list: PathListId, flow_hash: u32) -> Option<AdjacencyId> {
        self.path_lists.select(list, flow_hash)
    }

    #[inline]
    pub(crate) fn adjacency(&self, id: AdjacencyId) -> Adjacency {
        self.adjacencies
            .get(id)
            .map_or(Adjacency::Drop, |fields| Adjacency::decode(&fields))
    }

    #[inline]
    pub(crate) fn rewrite(&self, id: AdjacencyId) -> Option<Rewrite> {
        Rewrite::of(self.adjacencies.get(id)?)
    }
}
