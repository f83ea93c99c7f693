//! The tables as the control thread changes them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use sekisho_types::{Ipv4Prefix, Ipv6Prefix, Prefix, VrfId};

use crate::address::{Family, TablePrefix};
use crate::adjacency_table::AdjacencyWriter;
use crate::node_writer::{BLOCK_BYTES, NodeWriter};
use crate::path_list::Buckets;
use crate::path_list_table::PathListWriter;
use crate::quiescent::{Deferred, Epoch};
use crate::resilient::Change;
use crate::trie::WIDE;
use crate::trie_writer::TrieWriter;
use crate::vrf::Routes;
use crate::{
    Address, Adjacency, AdjacencyId, Capacity, FibError, Interned, Leaf, NextHop, PathListId,
    PathMember, Stats, Tables, VrfStats,
};

/// The only one who changes the tables.
///
/// Routes count what they name: an adjacency cannot be freed, and a path list is not, while a leaf
/// names it. A path list is acquired, resolved if new, put in routes, and released:
///
/// ```
/// # use std::num::NonZeroU16;
/// # use sekisho_fib::{Adjacency, Capacity, Leaf, Link, NextHop, PathMember, Tables};
/// # use sekisho_types::{InterfaceId, VrfId};
/// # let (_tables, mut writer) = Tables::new(1, Capacity::default())?;
/// let link = Link::Interface(InterfaceId::new(0));
/// let next_hop = NextHop {
///     address: "198.51.100.0".parse()?,
///     link: Some(link),
///     weight: NonZeroU16::MIN,
/// };
/// let neighbour = writer.create_adjacency(&Adjacency::Incomplete {
///     link,
///     next_hop: next_hop.address,
/// })?;
/// let list = writer.acquire_path_list(&[next_hop])?;
/// if list.is_new {
///     let weight = next_hop.weight;
///     writer.resolve_path_list(list.id, &[PathMember { adjacency: neighbour, weight }])?;
/// }
/// writer.insert(VrfId::PROVIDER, "0.0.0.0/0".parse()?, Leaf::PathList(list.id))?;
/// writer.release_path_list(list.id)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Writer {
    tables: Arc<Tables>,
    nodes: Families<NodeWriter>,
    adjacencies: AdjacencyWriter,
    path_lists: PathListWriter,
    provider_lengths: Families<Box<[u8]>>,
    vrfs: BTreeMap<VrfId, Vrf>,
    deferred: Deferred<Unlinked>,
}

/// One of each for the two families.
struct Families<T> {
    v4: T,
    v6: T,
}

impl<T> Families<T> {
    fn new<E>(mut make: impl FnMut(Family) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self {
            v4: make(Family::V4)?,
            v6: make(Family::V6)?,
        })
    }

    const fn of(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

struct Vrf {
    v4: Routes<Ipv4Prefix>,
    v6: Routes<Ipv6Prefix>,
    /// Blocks of its trees.
    blocks: usize,
}

/// So many changes put aside what they unlinked until some of it is looked through for reuse.
const TIDY_EVERY: usize = 1024;

/// What no new reader can reach, and a slow one still may.
#[derive(Clone, Copy, Debug)]
enum Unlinked {
    Node {
        family: Family,
        node: u32,
    },
    /// An adjacency's own line, whose content is in a spare one now.
    Line(AdjacencyId),
    Spare(u32),
    Adjacency {
        id: AdjacencyId,
        spare: Option<u32>,
    },
    Buckets(Buckets),
    PathList {
        id: PathListId,
        buckets: Buckets,
    },
}

impl Writer {
    /// Spare lines: how many adjacencies can be replaced while no worker passes.
    pub(crate) const fn spares(capacity: Capacity) -> u32 {
        capacity.adjacencies.saturating_add(64)
    }

    pub(crate) fn new(tables: Arc<Tables>, capacity: Capacity) -> Result<Self, FibError> {
        let mut writer = Self {
            tables,
            nodes: Families::new(|family| NodeWriter::new(capacity.blocks, family.layout()))?,
            adjacencies: AdjacencyWriter::new(capacity.adjacencies, Self::spares(capacity)),
            path_lists: PathListWriter::new(capacity.path_lists, capacity.buckets),
            provider_lengths: Families::new(|_| Ok::<_, FibError>(vec![0; 1 << WIDE].into()))?,
            vrfs: BTreeMap::new(),
            deferred: Deferred::new(),
        };
        writer.add_vrf(VrfId::PROVIDER)?;
        Ok(writer)
    }

    /// Adds an empty VRF. The provider's is there from the start.
    ///
    /// # Errors
    /// If it exists.
    pub fn add_vrf(&mut self, vrf: VrfId) -> Result<(), FibError> {
        if self.vrfs.contains_key(&vrf) {
            return Err(FibError::VrfExists(vrf));
        }
        self.vrfs.insert(
            vrf,
            Vrf {
                v4: Routes::new(),
                v6: Routes::new(),
                blocks: 0,
            },
        );
        Ok(())
    }

    /// Removes a VRF with its routes and hosts: from now on it has no route to anywhere.
    ///
    /// # Errors
    /// If it does not exist or is the provider's.
    pub fn remove_vrf(&mut self, vrf: VrfId) -> Result<(), FibError> {
        if vrf == VrfId::PROVIDER {
            return Err(FibError::ProviderVrf);
        }
        let removed = self.vrfs.remove(&vrf).ok_or(FibError::UnknownVrf(vrf))?;
        for (host, _) in removed.v4.hosts() {
            let hosts = self.tables.hosts.hosts();
            hosts.remove(hosts.permute(vrf, host.addr()));
        }
        let now = self.tables.epochs.current();
        for family in [Family::V4, Family::V6] {
            let mut lengths = [0];
            let nodes = self.nodes.of(family);
            TrieWriter::new(&self.tables, nodes, &mut lengths, family, vrf).clear(|node| {
                self.deferred.push(now, Unlinked::Node { family, node });
            });
        }
        let leaves = removed.v4.routes().map(|(_, leaf)| leaf);
        let leaves = leaves.chain(removed.v6.routes().map(|(_, leaf)| leaf));
        let hosts = removed.v4.hosts().map(|(_, id)| id);
        let hosts = hosts.chain(removed.v6.hosts().map(|(_, id)| id));
        for leaf in leaves.chain(hosts.map(Leaf::Adjacency)) {
            self.unhold(leaf);
        }
        Ok(())
    }

    /// Puts a route in or replaces it; `Leaf::None` takes it out. Returns the one before.
    ///
    /// # Errors
    /// If the VRF, or what the leaf names, does not exist, or the blocks are used up.
    pub fn insert(&mut self, vrf: VrfId, prefix: Prefix, leaf: Leaf) -> Result<Leaf, FibError> {
        self.hold(leaf)?;
        let result = match prefix {
            Prefix::V4(prefix) if prefix.len() == 32 => {
                self.beside_hosts(vrf, prefix, |writer| writer.set_route(vrf, prefix, leaf))
            }
            Prefix::V4(prefix) => self.set_route(vrf, prefix, leaf),
            Prefix::V6(prefix) => self.set_route(vrf, prefix, leaf),
        };
        match result {
            Ok(old) => {
                self.unhold(old);
                Ok(old)
            }
            Err(error) => {
                self.unhold(leaf);
                Err(error)
            }
        }
    }

    /// Takes a route out. Returns it; `Leaf::None` if there was none.
    ///
    /// # Errors
    /// If the VRF does not exist.
    pub fn remove(&mut self, vrf: VrfId, prefix: Prefix) -> Result<Leaf, FibError> {
        self.insert(vrf, prefix, Leaf::None)
    }

    /// Leads the one address `host` to a neighbour or endpoint (an adj-fib entry), or replaces
    /// where it leads. A route of exactly this address that is not connected stays in force, and
    /// uncovers the host when it is removed.
    ///
    /// # Errors
    /// If the VRF or the adjacency does not exist, or the blocks are used up.
    pub fn set_host(
        &mut self,
        vrf: VrfId,
        host: IpAddr,
        adjacency: AdjacencyId,
    ) -> Result<(), FibError> {
        self.adjacencies.hold(adjacency)?;
        match self.change_host(vrf, host, Some(adjacency)) {
            Ok(old) => {
                old.into_iter().for_each(|old| self.adjacencies.unhold(old));
                Ok(())
            }
            Err(error) => {
                self.adjacencies.unhold(adjacency);
                Err(error)
            }
        }
    }

    /// Takes the host entry of an address out, if there is one, and returns where it led.
    ///
    /// # Errors
    /// If the VRF does not exist.
    pub fn clear_host(
        &mut self,
        vrf: VrfId,
        host: IpAddr,
    ) -> Result<Option<AdjacencyId>, FibError> {
        let old = self.change_host(vrf, host, None)?;
        old.into_iter().for_each(|old| self.adjacencies.unhold(old));
        Ok(old)
    }

    /// A new adjacency. Resolved ones are usable in path lists at once.
    ///
    /// # Errors
    /// If all are in use.
    pub fn create_adjacency(&mut self, adjacency: &Adjacency) -> Result<AdjacencyId, FibError> {
        self.retry(|writer| {
            writer
                .adjacencies
                .create(&writer.tables.adjacencies, adjacency)
        })
    }

    /// Replaces what an adjacency's number stands for, by one store. If it becomes resolved or
    /// ceases to be, the path lists that hold it are rebuilt.
    ///
    /// # Errors
    /// If it does not exist, or there is no spare line left for the new content.
    pub fn replace_adjacency(
        &mut self,
        id: AdjacencyId,
        adjacency: &Adjacency,
    ) -> Result<(), FibError> {
        self.adjacencies.check(id)?;
        let spare = self.retry(|writer| {
            writer
                .adjacencies
                .prepare(&writer.tables.adjacencies, adjacency)
        })?;
        let resolved = adjacency.is_resolved();
        let changed = self.adjacencies.set_resolved(id, resolved)?;
        // No path list may choose it while it is unresolved: rebuilt before, or after.
        if changed && !resolved {
            self.rebuild_lists_of(id, Change::Loss);
        }
        let old = self
            .adjacencies
            .replace(&self.tables.adjacencies, id, spare)?;
        self.defer(match old {
            Some(old) => Unlinked::Spare(old),
            None => Unlinked::Line(id),
        });
        if changed && resolved {
            self.rebuild_lists_of(id, Change::Gain);
        }
        Ok(())
    }

    /// Frees an adjacency nobody names. Its number is reused after every worker has passed.
    ///
    /// # Errors
    /// If it does not exist, or a route or path list names it.
    pub fn free_adjacency(&mut self, id: AdjacencyId) -> Result<(), FibError> {
        let spare = self.adjacencies.retire(id)?;
        self.defer(Unlinked::Adjacency { id, spare });
        Ok(())
    }

    /// Says whether the way beyond an adjacency is up (link, BFD; up at first), and rebuilds the
    /// path lists that hold it if that makes it usable or unusable. Returns how many.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn set_member_state(&mut self, id: AdjacencyId, up: bool) -> Result<usize, FibError> {
        if self.adjacencies.set_up(id, up)? {
            let change = if up { Change::Gain } else { Change::Loss };
            Ok(self.rebuild_lists_of(id, change))
        } else {
            Ok(0)
        }
    }

    /// The path list of these next hops, in any order, held once more. A new one has no members:
    /// resolve it before a route names it.
    ///
    /// # Errors
    /// If there are too many next hops, or all path lists are in use.
    pub fn acquire_path_list(&mut self, next_hops: &[NextHop]) -> Result<Interned, FibError> {
        self.retry(|writer| writer.path_lists.acquire(next_hops))
    }

    /// Replaces what the next hops of a list resolve to, by one store. Flows of members that stay
    /// move only as far as the shares require.
    ///
    /// # Errors
    /// If the list or a member does not exist, there are too many members, or no room for the
    /// buckets.
    pub fn resolve_path_list(
        &mut self,
        id: PathListId,
        members: &[PathMember],
    ) -> Result<(), FibError> {
        for member in members {
            self.adjacencies.check(member.adjacency)?;
        }
        let (before, change) = self.retry(|writer| writer.path_lists.resolve(id, members))?;
        for member in self.path_lists.members(id) {
            self.adjacencies.hold(member)?;
        }
        self.rebuild(id, change);
        for member in before {
            self.adjacencies.unhold(member);
        }
        Ok(())
    }

    /// Gives an acquisition back. A list that neither a holder nor a route refers to any more
    /// ceases to exist.
    ///
    /// # Errors
    /// If the list does not exist.
    pub fn release_path_list(&mut self, id: PathListId) -> Result<(), FibError> {
        if self.path_lists.unhold(id)?
            && let Some((buckets, members)) = self.path_lists.retire(id)
        {
            self.defer(Unlinked::PathList { id, buckets });
            for member in members {
                self.adjacencies.unhold(member);
            }
        }
        Ok(())
    }

    /// Makes what was unlinked available again as far as every worker has passed since. Returns how
    /// many things that were. To be called after a batch of changes and now and then.
    pub fn reclaim(&mut self) -> usize {
        if self.deferred.youngest() == Some(self.tables.epochs.current()) {
            self.tables.epochs.advance();
        }
        let oldest = self.tables.epochs.oldest();
        let mut count = 0;
        while let Some(unlinked) = self.deferred.pop_before(oldest) {
            count += 1;
            let tables = &*self.tables;
            match unlinked {
                Unlinked::Node { family, node } => self.nodes.of(family).release(node),
                Unlinked::Line(id) => {
                    if let Some(spare) = self.adjacencies.settle(&tables.adjacencies, id) {
                        self.defer(Unlinked::Spare(spare));
                    }
                }
                Unlinked::Spare(spare) => self.adjacencies.release_spare(spare),
                Unlinked::Adjacency { id, spare } => {
                    self.adjacencies.release(&tables.adjacencies, id, spare);
                }
                Unlinked::Buckets(buckets) => self.path_lists.release_buckets(buckets),
                Unlinked::PathList { id, buckets } => {
                    self.path_lists.release(&tables.path_lists, id, buckets);
                }
            }
        }
        count
    }

    /// Marks the changes so far: once [`Self::is_acknowledged`] says so, every worker forwards by
    /// them.
    pub fn mark(&mut self) -> Epoch {
        self.tables.epochs.advance()
    }

    /// Whether every running worker has passed a burst boundary since the mark was made.
    pub fn is_acknowledged(&self, mark: Epoch) -> bool {
        self.tables.epochs.oldest() > mark
    }

    /// As [`Reader::lookup`](crate::Reader::lookup).
    pub fn lookup<A: Address>(&self, vrf: VrfId, address: A) -> Leaf {
        self.tables.lookup(vrf, address)
    }

    /// As [`Reader::select`](crate::Reader::select).
    pub fn select(&self, list: PathListId, flow_hash: u32) -> Option<AdjacencyId> {
        self.tables.select(list, flow_hash)
    }

    /// As [`Reader::adjacency`](crate::Reader::adjacency).
    pub fn adjacency(&self, id: AdjacencyId) -> Adjacency {
        self.tables.adjacency(id)
    }

    /// What the tables hold.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            vrfs: self.vrfs.len(),
            blocks: self.nodes.v4.in_use() + self.nodes.v6.in_use(),
            path_lists: self.path_lists.count(),
            adjacencies: self.adjacencies.count(),
            waiting: self.deferred.len(),
            ..Stats::default()
        };
        for vrf in self.vrfs.values() {
            stats.routes += vrf.v4.route_count() + vrf.v6.route_count();
            stats.hosts += vrf.v4.host_count() + vrf.v6.host_count();
        }
        stats
    }

    /// What a VRF holds, if it exists.
    pub fn vrf_stats(&self, id: VrfId) -> Option<VrfStats> {
        let vrf = self.vrfs.get(&id)?;
        // Of both families; the provider's with a length each.
        let roots = match id {
            VrfId::PROVIDER => (size_of::<u64>() + 1) << WIDE,
            _ => size_of::<u64>(),
        };
        Some(VrfStats {
            routes: vrf.v4.route_count() + vrf.v6.route_count(),
            hosts: vrf.v4.host_count() + vrf.v6.host_count(),
            bytes: size_of::<Vrf>()
                + 2 * roots
                + vrf.blocks * BLOCK_BYTES
                + vrf.v4.book_bytes()
                + vrf.v6.book_bytes(),
        })
    }

    fn change_host(
        &mut self,
        vrf: VrfId,
        host: IpAddr,
        adjacency: Option<AdjacencyId>,
    ) -> Result<Option<AdjacencyId>, FibError> {
        match host {
            IpAddr::V4(host) => self.beside_hosts(vrf, Ipv4Prefix::host(host), |writer| {
                writer.edit(vrf, |routes, trie, freed| {
                    routes.set_host(trie, Ipv4Prefix::host(host), adjacency, freed)
                })
            }),
            IpAddr::V6(host) => self.edit(vrf, |routes, trie, freed| {
                routes.set_host(trie, Ipv6Prefix::host(host), adjacency, freed)
            }),
        }
    }

    /// Lets `change` at what the tree shows at a host's address. What the table of hosts has is taken
    /// out before, and put back as it is afterwards: it never says what the tree does not.
    fn beside_hosts<T>(
        &mut self,
        vrf: VrfId,
        host: Ipv4Prefix,
        change: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let key = self.tables.hosts.hosts().permute(vrf, host.addr());
        self.tables.hosts.hosts().remove(key);
        let result = change(self);
        let shown = self
            .vrfs
            .get(&vrf)
            .and_then(|book| book.v4.shown_host(host));
        if let Some(id) = shown {
            // Without room in its bucket the tree alone has it.
            self.tables.hosts.hosts().insert(key, id);
        }
        result
    }

    fn set_route<P: FamilyPrefix>(
        &mut self,
        vrf: VrfId,
        prefix: P,
        leaf: Leaf,
    ) -> Result<Leaf, FibError> {
        self.edit(vrf, |routes: &mut Routes<P>, trie, freed| {
            routes.set_route(trie, prefix, leaf, freed)
        })
    }

    /// Lets `change` at the routes and the tree of a VRF. It is tried again after reclaiming if
    /// there is no room at first. A caller that never reclaims does not fill the memory with what
    /// it replaced.
    fn edit<P: FamilyPrefix, T>(
        &mut self,
        vrf: VrfId,
        mut change: impl FnMut(
            &mut Routes<P>,
            &mut TrieWriter<'_>,
            &mut dyn FnMut(u32),
        ) -> Result<T, FibError>,
    ) -> Result<T, FibError> {
        if self.deferred.len() >= TIDY_EVERY && self.deferred.len().is_multiple_of(TIDY_EVERY) {
            self.reclaim();
        }
        self.retry(|writer| {
            let book = writer.vrfs.get_mut(&vrf).ok_or(FibError::UnknownVrf(vrf))?;
            let now = writer.tables.epochs.current();
            let family = P::Addr::FAMILY;
            let nodes = writer.nodes.of(family);
            let blocks_before = nodes.in_use();
            let mut freed = Vec::new();
            // A tenant's root is the default route's, of length 0.
            let mut tenant_length = [0];
            let lengths = match vrf {
                VrfId::PROVIDER => writer.provider_lengths.of(family),
                _ => &mut tenant_length[..],
            };
            let mut trie = TrieWriter::new(&writer.tables, nodes, lengths, family, vrf);
            let result = change(P::routes(book), &mut trie, &mut |node| freed.push(node));
            let nodes = writer.nodes.of(family);
            let freed_blocks: usize = freed.iter().map(|&node| nodes.size(node)).sum();
            book.blocks = book.blocks + nodes.in_use() - blocks_before - freed_blocks;
            for node in freed {
                writer.deferred.push(now, Unlinked::Node { family, node });
            }
            result
        })
    }

    /// `attempt`, and once more if a table was full and something could be reclaimed.
    fn retry<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, FibError>,
    ) -> Result<T, FibError> {
        match attempt(self) {
            Err(FibError::Full { .. }) if self.reclaim() > 0 => attempt(self),
            result => result,
        }
    }

    fn rebuild_lists_of(&mut self, member: AdjacencyId, change: Change) -> usize {
        let lists = self.path_lists.lists_of(member);
        for &list in &lists {
            self.rebuild(list, change);
        }
        lists.len()
    }

    fn rebuild(&mut self, list: PathListId, change: Change) {
        let adjacencies = &self.adjacencies;
        let replaced = self.path_lists.rebuild(
            &self.tables.path_lists,
            list,
            |id| adjacencies.is_usable(id),
            change,
        );
        if let Some(buckets @ Buckets::Array { .. }) = replaced {
            self.defer(Unlinked::Buckets(buckets));
        }
    }

    /// Counts one more leaf that names what `leaf` names.
    fn hold(&mut self, leaf: Leaf) -> Result<(), FibError> {
        match leaf {
            Leaf::PathList(id) => self.path_lists.hold(id),
            Leaf::Adjacency(id) => self.adjacencies.hold(id),
            _ => Ok(()),
        }
    }

    fn unhold(&mut self, leaf: Leaf) {
        match leaf {
            // A leaf that was held names a list that exists.
            Leaf::PathList(id) => drop(self.release_path_list(id)),
            Leaf::Adjacency(id) => self.adjacencies.unhold(id),
            _ => {}
        }
    }

    fn defer(&mut self, unlinked: Unlinked) {
        self.deferred.push(self.tables.epochs.current(), unlinked);
    }
}

/// A prefix type with its family's part of the writer's books.
trait FamilyPrefix: TablePrefix {
    fn routes(vrf: &mut Vrf) -> &mut Routes<Self>;
}

impl FamilyPrefix for Ipv4Prefix {
    fn routes(vrf: &mut Vrf) -> &mut Routes<Self> {
        &mut vrf.v4
    }
}

impl FamilyPrefix for Ipv6Prefix {
    fn routes(vrf: &mut Vrf) -> &mut Routes<Self> {
        &mut vrf.v6
    }
}
