//! The routes of one VRF as the writer knows them, and which of them the tree shows.
//!
//! A host prefix has two sources: a route, and a neighbour or endpoint known at that very address
//! (an *adj-fib* entry). A connected route, or none, yields to the neighbour; any other route wins.

use std::collections::BTreeMap;

use crate::address::TablePrefix;
use crate::trie_writer::TrieWriter;
use crate::{AdjacencyId, FibError, Leaf};

/// The routes of one family.
pub(crate) struct Routes<P: TablePrefix> {
    /// Packed leaves: a full Internet table is kept here.
    routes: BTreeMap<P, u32>,
    /// Neighbours and endpoints, by their host prefix.
    hosts: BTreeMap<P, AdjacencyId>,
}

impl<P: TablePrefix> Routes<P> {
    pub(crate) const fn new() -> Self {
        Self {
            routes: BTreeMap::new(),
            hosts: BTreeMap::new(),
        }
    }

    /// Puts a route in, replaces it, or takes it out (`Leaf::None`). Returns the one before.
    pub(crate) fn set_route(
        &mut self,
        trie: &mut TrieWriter<'_>,
        prefix: P,
        leaf: Leaf,
        freed: impl FnMut(u32),
    ) -> Result<Leaf, FibError> {
        let old = self.route(prefix);
        let host = self.hosts.get(&prefix).copied();
        self.show(
            trie,
            prefix,
            shown(old, host),
            shown(leaf, host),
            |routes| {
                if leaf == Leaf::None {
                    routes.routes.remove(&prefix);
                } else {
                    routes.routes.insert(prefix, leaf.pack());
                }
            },
            freed,
        )?;
        Ok(old)
    }

    /// Puts a neighbour in, replaces it, or takes it out. Returns the one before.
    pub(crate) fn set_host(
        &mut self,
        trie: &mut TrieWriter<'_>,
        host: P,
        adjacency: Option<AdjacencyId>,
        freed: impl FnMut(u32),
    ) -> Result<Option<AdjacencyId>, FibError> {
        let route = self.route(host);
        let old = self.hosts.get(&host).copied();
        self.show(
            trie,
            host,
            shown(route, old),
            shown(route, adjacency),
            |routes| {
                match adjacency {
                    Some(adjacency) => routes.hosts.insert(host, adjacency),
                    None => routes.hosts.remove(&host),
                };
            },
            freed,
        )?;
        Ok(old)
    }

    /// The neighbour the tree shows at this very prefix.
    pub(crate) fn shown_host(&self, host: P) -> Option<AdjacencyId> {
        let id = self.hosts.get(&host).copied()?;
        self.route(host).yields_to_host().then_some(id)
    }

    /// The route of exactly this prefix.
    pub(crate) fn route(&self, prefix: P) -> Leaf {
        self.routes
            .get(&prefix)
            .map_or(Leaf::None, |&word| Leaf::unpack(word))
    }

    pub(crate) fn routes(&self) -> impl Iterator<Item = (P, Leaf)> {
        self.routes
            .iter()
            .map(|(&prefix, &word)| (prefix, Leaf::unpack(word)))
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = (P, AdjacencyId)> {
        self.hosts
            .iter()
            .map(|(&host, &adjacency)| (host, adjacency))
    }

    pub(crate) fn route_count(&self) -> usize {
        self.routes.len()
    }

    pub(crate) fn host_count(&self) -> usize {
        self.hosts.len()
    }

    /// Octets of the books, about: a B-tree is two thirds full.
    pub(crate) fn book_bytes(&self) -> usize {
        let routes = self.routes.len() * size_of::<(P, u32)>();
        let hosts = self.hosts.len() * size_of::<(P, AdjacencyId)>();
        (routes + hosts) * 3 / 2
    }

    /// Changes the tree from `old` to `new` at `prefix`, and the books by `note` unless the tree
    /// refuses.
    fn show(
        &mut self,
        trie: &mut TrieWriter<'_>,
        prefix: P,
        old: Leaf,
        new: Leaf,
        note: impl FnOnce(&mut Self),
        freed: impl FnMut(u32),
    ) -> Result<(), FibError> {
        if new == Leaf::None {
            if old != Leaf::None {
                trie.take(prefix.key(), self.cover(prefix, trie.inherited()), freed)?;
            }
        } else if new != old {
            trie.put(prefix.key(), new, old == Leaf::None, freed)?;
        }
        note(self);
        Ok(())
    }

    /// The route of the longest shorter prefix, and its length; without one, no route of length 0.
    ///
    /// Prefixes are in order of address, then length. Whatever covers `prefix` comes before it; and
    /// if the last one before it does not, what covers it covers all that the two have in common.
    ///
    /// A longer prefix than `inherited` bits need not know which of the prefixes up to that length
    /// covers it: its addresses inherit from whichever does.
    fn cover(&self, prefix: P, inherited: u8) -> (Leaf, u8) {
        let least = match prefix.key().len() > inherited {
            true => inherited + 1,
            false => 0,
        };
        let mut before = self.routes.range(..prefix).next_back();
        while let Some((&other, &word)) = before {
            let common = prefix.key().common_len(other.key());
            if common == other.key().len() {
                return (Leaf::unpack(word), common);
            }
            if common < least {
                break;
            }
            before = self.routes.range(..=prefix.shortened(common)).next_back();
        }
        (Leaf::None, 0)
    }
}

/// What the tree shows for a prefix with this route and this neighbour.
fn shown(route: Leaf, host: Option<AdjacencyId>) -> Leaf {
    match host {
        Some(adjacency) if route.yields_to_host() => Leaf::Adjacency(adjacency),
        _ => route,
    }
}
