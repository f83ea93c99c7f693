//! The tables as a worker reads them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use sekisho_types::{InterfaceId, SegmentId, VrfId, WorkerId};

use crate::address::Family;
use crate::host_table::Permuted;
use crate::{
    Address, Adjacency, AdjacencyId, Leaf, PackedLeaf, PathListId, Rewrite, RewriteKind, Tables,
};

/// Packets that pass the stages of a batch together, so that their loads overlap.
const LANES: usize = 64;

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

    /// Whether there are so many IPv4 routes that it pays to ask for what a lookup reads in good time:
    /// [`Self::prefetch_route`], then [`Self::prefetch_routes`], then, some work later, the lookup.
    #[inline(always)]
    pub fn has_many_routes(&self) -> bool {
        self.tables.trees(Family::V4).nodes.are_many()
    }

    /// Brings close what a lookup of `address` in the provider VRF reads first.
    #[inline(always)]
    pub fn prefetch_route(&self, address: Ipv4Addr) {
        self.tables.trees(Family::V4).prefetch_root(address);
    }

    /// Brings close what lookups of these addresses in the provider VRF read next.
    #[inline]
    pub fn prefetch_routes(&self, addresses: &[Ipv4Addr]) {
        self.tables.trees(Family::V4).prefetch_nodes(addresses);
    }

    /// [`Self::lookup`] of each address into the leaf at the same place, loads overlapped; what
    /// either slice has beyond the other's length is left alone.
    #[inline]
    pub fn lookup_batch<A: Address>(&self, vrf: VrfId, addresses: &[A], leaves: &mut [PackedLeaf]) {
        self.tables.lookup_batch(vrf, addresses, leaves);
    }

    /// [`Self::lookup_batch`] with each address in the VRF at the same place: as many as the
    /// shortest of the slices has.
    #[inline]
    pub fn lookup_batch_mixed<A: Address>(
        &self,
        vrfs: &[VrfId],
        addresses: &[A],
        leaves: &mut [PackedLeaf],
    ) {
        self.tables.lookup_batch_mixed(vrfs, addresses, leaves);
    }

    /// Brings close what [`Self::host`] reads: one cache line.
    #[inline(always)]
    pub fn prefetch_host(&self, vrf: VrfId, address: Ipv4Addr) {
        let hosts = self.tables.hosts.hosts();
        hosts.prefetch(hosts.permute(vrf, address));
    }

    /// The neighbour or endpoint known at this very address, from one cache line. `None` says
    /// nothing: [`Self::lookup`] has what there is no room for here, and whatever else there is.
    #[inline(always)]
    pub fn host(&self, vrf: VrfId, address: Ipv4Addr) -> Option<AdjacencyId> {
        let hosts = self.tables.hosts.hosts();
        hosts.get(hosts.permute(vrf, address))
    }

    /// The neighbour or endpoint each address leads to in the VRF at the same place, loads
    /// overlapped: what [`Self::lookup`] says if it is an adjacency, or [`AdjacencyId::NONE`]. For
    /// addresses of which most have one; the others are looked up one by one. What
    /// [`Self::rewrite`] reads of each way is on its way into the cache when this returns. As many
    /// as the shortest of the slices has.
    #[inline]
    pub fn host_batch(&self, vrfs: &[VrfId], addresses: &[Ipv4Addr], ways: &mut [AdjacencyId]) {
        let lanes = vrfs.chunks(LANES).zip(addresses.chunks(LANES));
        for ((vrfs, addresses), ways) in lanes.zip(ways.chunks_mut(LANES)) {
            self.host_lanes(vrfs, addresses, ways);
        }
    }

    /// [`Self::host_batch`] of as many as pass the stages together.
    #[inline(never)]
    fn host_lanes(&self, vrfs: &[VrfId], addresses: &[Ipv4Addr], ways: &mut [AdjacencyId]) {
        let (hosts, lines) = (self.tables.hosts.hosts(), self.tables.adjacencies.ahead());
        let count = vrfs.len().min(addresses.len()).min(ways.len()).min(LANES);
        let (vrfs, addresses) = (&vrfs[..count], &addresses[..count]);
        let ways = &mut ways[..count];
        let mut keys = [Permuted::default(); LANES];
        // Nothing but arithmetic, for several at once.
        for lane in 0..count {
            keys[lane] = hosts.permute(vrfs[lane], addresses[lane]);
        }
        for key in &keys[..count] {
            hosts.prefetch(*key);
        }
        for lane in 0..count {
            ways[lane] = hosts.get_preferred(keys[lane]);
            lines.prefetch(ways[lane]);
        }
        let missed = |missed, way: &AdjacencyId| missed | (*way == AdjacencyId::NONE);
        if ways.iter().fold(false, missed) {
            self.find_missed(vrfs, addresses, &keys, ways);
        }
    }

    /// Looks up the hosts that were not where they are looked for first.
    #[cold]
    #[inline(never)]
    fn find_missed(
        &self,
        vrfs: &[VrfId],
        addresses: &[Ipv4Addr],
        keys: &[Permuted; LANES],
        ways: &mut [AdjacencyId],
    ) {
        let lanes = vrfs.iter().zip(addresses).zip(keys).zip(ways);
        for (((&vrf, &address), &key), way) in lanes.filter(|(_, way)| **way == AdjacencyId::NONE) {
            let found = self.tables.hosts.hosts().search(key);
            let found = found.or_else(|| self.lookup(vrf, address).packed().adjacency());
            *way = found.unwrap_or(AdjacencyId::NONE);
            self.prefetch_adjacency(*way);
        }
    }

    /// The way of the flow with this hash, or `None` while the list has no usable member. The low
    /// bits decide: they must be well mixed, and the same for each packet of a flow.
    #[inline]
    pub fn select(&self, list: PathListId, flow_hash: u32) -> Option<AdjacencyId> {
        self.tables.select(list, flow_hash)
    }

    /// The way of each flow, at the same place: a leaf that is an adjacency is its own way, one that
    /// is a path list is [`Self::select`]ed from, any other kind has [`AdjacencyId::NONE`]. What
    /// [`Self::rewrite`] reads of each way is on its way into the cache when this returns. As many
    /// as the shortest of the slices has.
    #[inline]
    pub fn select_batch(
        &self,
        leaves: &[PackedLeaf],
        flow_hashes: &[u32],
        ways: &mut [AdjacencyId],
    ) {
        let (lists, lines) = (&self.tables.path_lists, self.tables.adjacencies.ahead());
        let lanes = leaves.chunks(LANES).zip(flow_hashes.chunks(LANES));
        for ((leaves, hashes), ways) in lanes.zip(ways.chunks_mut(LANES)) {
            lists.select_lanes(lines, leaves, hashes, ways);
        }
    }

    /// Brings close what [`Self::rewrite`] and [`Self::adjacency`] read.
    #[inline(always)]
    pub fn prefetch_adjacency(&self, id: AdjacencyId) {
        self.tables.adjacencies.ahead().prefetch(id);
    }

    /// What to put before a packet that leaves this way, from one cache line; `None` unless the
    /// adjacency is resolved, as [`AdjacencyId::NONE`] never is. All of it is of one moment, also
    /// while the adjacency is replaced.
    #[inline(always)]
    pub fn rewrite(&self, id: AdjacencyId) -> Option<Rewrite<'_>> {
        self.tables.rewrite(id)
    }

    /// How a packet that leaves this way does so, and the uplink (of a tunnel, no uplink's number);
    /// `None` unless the adjacency is resolved.
    #[inline(always)]
    pub fn egress(&self, id: AdjacencyId) -> Option<(RewriteKind, InterfaceId)> {
        let way = self.rewrite(id)?;
        Some((way.kind(), way.interface()))
    }

    /// Whether this is the way to the endpoint in `segment` with this Ethernet address (as
    /// [`Rewrite::destination_word`] has it) behind the IPv4 `vtep`.
    #[inline(always)]
    pub fn lives_at(&self, id: AdjacencyId, segment: SegmentId, mac_word: u64, vtep: u32) -> bool {
        let record = self.tables.adjacencies.get(id);
        record.is_some_and(|record| record.is_endpoint(segment, mac_word, vtep))
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
