//! The tables as a worker reads them.

use std::sync::Arc;

use sekisho_types::{VrfId, WorkerId};

use crate::{Address, Adjacency, AdjacencyId, Leaf, PathListId, Tables};

/// One worker's view of the tables: wait-free, and up to date with each call.
///
/// What it returns (a leaf, the number of an adjacency) is good until the next [`Self::quiesce`]:
/// after that the number may be another's.
pub struct Reader {
    tables: Arc<Tables>,
    worker: WorkerId,
}

impl Reader {
    pub(crate) const fn new(tables: Arc<Tables>, worker: WorkerId) -> Self {
        Self { tables, worker }
    }

    /// The leaf of the longest prefix in `vrf` that covers `address`. A VRF that does not exist
    /// has no routes.
    #[inline]
    pub fn lookup<A: Address>(&self, vrf: VrfId, address: A) -> Leaf {
        self.tables.lookup(vrf, address)
    }

    /// [`Self::lookup`] of each address into the leaf at the same place, loads overlapped; what
    /// either slice has beyond the other's length is left alone.
    #[inline]
    pub fn lookup_batch<A: Address>(&self, vrf: VrfId, addresses: &[A], leaves: &mut [Leaf]) {
        self.tables.lookup_batch(vrf, addresses, leaves);
    }

    /// The way of the flow with this hash, or `None` while the list has no usable member. The low
    /// bits decide: they must be well mixed, and the same for each packet of a flow.
    #[inline]
    pub fn select(&self, list: PathListId, flow_hash: u32) -> Option<AdjacencyId> {
        self.tables.select(list, flow_hash)
    }

    /// What the number stands for now; [`Adjacency::Drop`] if for nothing.
    #[inline]
    pub fn adjacency(&self, id: AdjacencyId) -> Adjacency {
        self.tables.adjacency(id)
    }

    /// A burst boundary: this worker holds nothing it read from the tables before. To be called
    /// between any two bursts and at least every few milliseconds by an idle worker, for until then
    /// nothing the writer unlinked is reused.
    #[inline]
    pub fn quiesce(&mut self) {
        self.tables.epochs.pass(self.worker);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.tables.epochs.leave(self.worker);
    }
}
