//! What the tables hold and what it costs.

/// What the tables hold and what it costs, all VRFs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// VRFs, the provider's included.
    pub vrfs: usize,
    /// Routes.
    pub routes: usize,
    /// Neighbours and endpoints with an entry of their own.
    pub hosts: usize,
    /// Blocks of routes, those waiting for their reuse included.
    pub blocks: usize,
    /// Path lists.
    pub path_lists: usize,
    /// Adjacencies.
    pub adjacencies: usize,
    /// Unlinked things some worker may still be reading.
    pub waiting: usize,
}

/// What one VRF holds and what it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VrfStats {
    /// Routes.
    pub routes: usize,
    /// Neighbours and endpoints with an entry of their own.
    pub hosts: usize,
    /// Memory of the trees and of the writer's books, in octets.
    pub bytes: usize,
}
