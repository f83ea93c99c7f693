//! What the writer and the readers share.

use std::sync::Arc;

use sekisho_types::{VrfId, WorkerId};

use crate::address::Family;
use crate::adjacency_lines::AdjacencyLines;
use crate::host_table::HostTable;
use crate::leaf::MAX_INDEX;
use crate::path_list::PathLists;
use crate::quiescent::Epochs;
use crate::trie::Trees;
use crate::{
    Address, Adjacency, AdjacencyId, FibError, Leaf, PackedLeaf, PathListId, Reader, Rewrite,
    Writer,
};

/// How much the tables can hold. It is address space: memory is used as the tables fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Blocks of routes, 32 octets each, in each family: one or two for every /18 of the provider
    /// VRF that has longer prefixes (a full table has some 200,000), and as many for every 64
    /// addresses of a segment that are in use.
    pub blocks: u32,
    /// Adjacencies, 64 octets each: neighbours and endpoints. The table that finds those in IPv4 by
    /// their exact address has 16 octets for each, at least 128 KiB.
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
            blocks: 1 << 23,
            adjacencies: 1 << 20,
            path_lists: 1 << 16,
            buckets: 1 << 22,
        }
    }
}

/// The forwarding tables of all VRFs: one [`Writer`], and one [`Reader`] for each worker.
pub struct Tables {
    pub(crate) epochs: Epochs,
    pub(crate) adjacencies: AdjacencyLines,
    pub(crate) path_lists: PathLists,
    pub(crate) hosts: HostTable,
    v4: Trees,
    v6: Trees,
}

impl Tables {
    /// Empty tables for workers 0 to `workers - 1`, with the provider VRF in them, and their only
    /// writer.
    ///
    /// # Errors
    /// If the capacity is more than leaves can name, or the kernel refuses the address space.
    pub fn new(workers: u8, capacity: Capacity) -> Result<(Arc<Self>, Writer), FibError> {
        for (what, asked, max) in [
            ("blocks", capacity.blocks, i32::MAX as u32 - 2),
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
            adjacencies: AdjacencyLines::new(capacity.adjacencies, Writer::spares(capacity))?,
            path_lists: PathLists::new(capacity.path_lists, capacity.buckets)?,
            hosts: HostTable::new(capacity.adjacencies)?,
            v4: Trees::new(capacity.blocks)?,
            v6: Trees::new(capacity.blocks)?,
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

    /// The trees of a family.
    #[inline]
    pub(crate) fn trees(&self, family: Family) -> &Trees {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    #[inline]
    pub(crate) fn lookup<A: Address>(&self, vrf: VrfId, address: A) -> Leaf {
        self.trees(A::FAMILY).lookup(vrf, address).unpack()
    }

    #[inline]
    pub(crate) fn lookup_batch<A: Address>(
        &self,
        vrf: VrfId,
        addresses: &[A],
        leaves: &mut [PackedLeaf],
    ) {
        let trees = self.trees(A::FAMILY);
        trees.lookup_batch(vrf, addresses, leaves);
    }

    #[inline]
    pub(crate) fn lookup_batch_mixed<A: Address>(
        &self,
        vrfs: &[VrfId],
        addresses: &[A],
        leaves: &mut [PackedLeaf],
    ) {
        let trees = self.trees(A::FAMILY);
        trees.lookup_batch_mixed(vrfs, addresses, leaves);
    }

    #[inline]
    pub(crate) fn select(&self, list: PathListId, flow_hash: u32) -> Option<AdjacencyId> {
        self.path_lists.select(list, flow_hash)
    }

    #[inline]
    pub(crate) fn adjacency(&self, id: AdjacencyId) -> Adjacency {
        self.adjacencies
            .get(id)
            .map_or(Adjacency::Drop, Adjacency::decode)
    }

    #[inline(always)]
    pub(crate) fn rewrite(&self, id: AdjacencyId) -> Option<Rewrite<'_>> {
        Rewrite::of(self.adjacencies.get(id)?)
    }
}
