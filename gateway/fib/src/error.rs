//! Why a table cannot be changed or read.

use sekisho_mem::MapError;
use sekisho_types::{VrfId, WorkerId};

use crate::{AdjacencyId, PathListId};

/// Why a table cannot be changed or read. The tables are as they were before the call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FibError {
    /// A table has no room left.
    #[error("all {capacity} {what} are in use; create the tables with a larger `Capacity`")]
    Full {
        /// What has run out.
        what: &'static str,
        /// How many there are.
        capacity: u32,
    },
    /// Memory for the tables could not be had.
    #[error("no memory for the forwarding tables: {0}")]
    Memory(String),
    /// A capacity beyond what a leaf can name.
    #[error("a capacity of {capacity} {what} is too large; the most is {max}")]
    Capacity {
        /// Of what.
        what: &'static str,
        /// As asked for.
        capacity: u32,
        /// The most there can be.
        max: u32,
    },
    /// No such VRF.
    #[error("VRF {0} does not exist; add it first")]
    UnknownVrf(VrfId),
    /// The VRF is there already.
    #[error("VRF {0} exists already; remove it first or use another number")]
    VrfExists(VrfId),
    /// The provider VRF cannot be removed.
    #[error("the provider VRF always exists and cannot be removed; remove its routes instead")]
    ProviderVrf,
    /// No such adjacency.
    #[error("adjacency {0} does not exist; create it first")]
    UnknownAdjacency(AdjacencyId),
    /// A leaf or a path list names the adjacency.
    #[error("adjacency {id} is named by {uses} routes or path lists; remove those first")]
    AdjacencyInUse {
        /// The adjacency.
        id: AdjacencyId,
        /// How many name it.
        uses: u32,
    },
    /// No such path list.
    #[error("path list {0} does not exist; acquire it first")]
    UnknownPathList(PathListId),
    /// More members than buckets.
    #[error("{0} members are too many for a path list; the most is {max}", max = crate::path_list::MAX_MEMBERS)]
    TooManyMembers(usize),
    /// No such worker.
    #[error("there is no worker {worker}; the tables were created for workers 0 to {}", workers.saturating_sub(1))]
    NoSuchWorker {
        /// As asked for.
        worker: WorkerId,
        /// How many there are.
        workers: usize,
    },
    /// The worker has a reader already.
    #[error("worker {0} has a reader already; drop that one first")]
    WorkerBusy(WorkerId),
}

impl From<MapError> for FibError {
    fn from(error: MapError) -> Self {
        Self::Memory(error.to_string())
    }
}
