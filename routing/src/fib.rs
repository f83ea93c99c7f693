//! What the forwarding tables are told.

use std::net::IpAddr;

use sekisho_types::{Prefix, VrfId};

use crate::route::InterfaceRef;

/// Changes to apply together, in order of generation. To be acknowledged by
/// [`RoutingHandle::fib_acknowledged`](crate::RoutingHandle::fib_acknowledged) once every worker
/// forwards by it; an acknowledgement covers all earlier generations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibBatch {
    /// Counts batches from 1.
    pub generation: u64,
    /// The changes; a prefix appears at most once.
    pub changes: Vec<FibChange>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FibChange {
    /// The prefix now leads to `entry`, whatever it led to before.
    Set {
        /// The routing table.
        vrf: VrfId,
        /// The prefix.
        prefix: Prefix,
        /// Where it leads.
        entry: FibEntry,
    },
    /// The prefix is gone.
    Remove {
        /// The routing table.
        vrf: VrfId,
        /// The prefix.
        prefix: Prefix,
    },
}

/// Where a prefix leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FibEntry {
    /// To neighbours on an interface.
    Connected {
        /// The interface.
        interface: InterfaceRef,
    },
    /// To the gateway itself.
    Local,
    /// To NAT, and nowhere else.
    Nat,
    /// Over next hops, each on a connected prefix; never empty, ordered, without repetition.
    Paths(Vec<FibPath>),
    /// Nowhere.
    Discard,
    /// To another table.
    LookupVrf(VrfId),
}

/// One way to forward.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FibPath {
    /// The neighbour, on a connected prefix of `interface`.
    pub next_hop: IpAddr,
    /// The interface to leave by.
    pub interface: InterfaceRef,
    /// Its share of the traffic relative to the other paths, at least 1.
    pub weight: u16,
}
