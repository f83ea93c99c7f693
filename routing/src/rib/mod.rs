//! The routing information base: candidates of every source, and which of them forwards.
//!
//! Changes mark prefixes *dirty*; [`Rib::evaluate`] selects among a dirty prefix's candidates,
//! resolves next hops, and marks what depends on them. What the forwarding tables should hold and
//! what they were sent are kept apart: [`Rib::drain`] sends the difference in bounded batches, and
//! [`Rib::acknowledge`] tells what every worker has.

mod candidate;
mod fib;
mod resolve;
mod show;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use sekisho_types::{Prefix, VrfId};

pub use self::candidate::{Candidate, NextHop, Source, Target, Via};
use self::table::{Held, Table};
use crate::fib::FibEntry;
use crate::route::{InterfaceKey, LinkState, Protocol};

/// A candidate with the place it belongs to.
pub type Routes = BTreeMap<(VrfId, Prefix, Source), Candidate>;

/// The routes of all tables.
#[derive(Debug, Default)]
pub struct Rib {
    tables: BTreeMap<VrfId, Table>,
    down: BTreeSet<InterfaceKey>,
    /// Prefixes to evaluate.
    dirty: BTreeSet<(VrfId, Prefix)>,
    /// How often a prefix was evaluated since `dirty` was last empty.
    rounds: BTreeMap<(VrfId, Prefix), u8>,
    /// Prefixes whose candidates use a next hop.
    users: BTreeMap<(VrfId, IpAddr), BTreeSet<Prefix>>,
    /// Next hops somebody outside waits for, with the metric to them.
    watches: BTreeMap<(VrfId, IpAddr, Via), Option<u32>>,
    changed: BTreeSet<IpAddr>,
    fib: fib::Progress,
}

/// Three routes can depend on each other in a circle such that none may stand while its neighbour
/// does. After that many rounds the circle is left as it is.
const ROUNDS: u8 = 32;

impl Rib {
    /// Takes a candidate in place of the one its source gave before.
    pub fn set(
        &mut self,
        (vrf, prefix, source): (VrfId, Prefix, Source),
        candidate: Candidate,
        now: Instant,
    ) {
        let entry = self.tables.entry(vrf).or_default().entry(prefix);
        if let Some(before) = entry.candidates.get(&source) {
            if before.candidate == candidate {
                return;
            }
            self.release(vrf, prefix, source);
        }
        for next_hop in candidate.next_hops() {
            let users = self.users.entry((vrf, next_hop.address)).or_default();
            users.insert(prefix);
        }
        let held = Held {
            candidate,
            since: now,
        };
        let entry = self.tables.entry(vrf).or_default().entry(prefix);
        entry.candidates.insert(source, held);
        self.dirty.insert((vrf, prefix));
    }

    /// Forgets the candidate of a source.
    pub fn remove(&mut self, (vrf, prefix, source): (VrfId, Prefix, Source)) {
        if self.release(vrf, prefix, source) {
            self.dirty.insert((vrf, prefix));
        }
    }

    /// Makes `routes` all there is of `protocol`.
    pub fn replace(&mut self, protocol: Protocol, routes: Routes, now: Instant) {
        let mut gone = Vec::new();
        for (vrf, table) in &self.tables {
            for (prefix, entry) in table.iter() {
                let sources = entry.candidates.keys().copied();
                let old = sources.filter(|source| source.protocol == protocol);
                let old = old.map(|source| (*vrf, prefix, source));
                gone.extend(old.filter(|key| !routes.contains_key(key)));
            }
        }
        for key in gone {
            self.remove(key);
        }
        for (key, candidate) in routes {
            self.set(key, candidate, now);
        }
    }

    /// Takes a candidate out and its next hops off the books, except those its prefix still uses.
    fn release(&mut self, vrf: VrfId, prefix: Prefix, source: Source) -> bool {
        let Some(entry) = self.tables.get_mut(&vrf).and_then(|t| t.get_mut(prefix)) else {
            return false;
        };
        let Some(held) = entry.candidates.remove(&source) else {
            return false;
        };
        let left: BTreeSet<IpAddr> = entry.next_hops().collect();
        for next_hop in held.candidate.next_hops() {
            let key = (vrf, next_hop.address);
            if left.contains(&next_hop.address) {
                continue;
            }
            if let Some(users) = self.users.get_mut(&key) {
                users.remove(&prefix);
                if users.is_empty() {
                    self.users.remove(&key);
                }
            }
        }
        true
    }

    /// An interface can carry packets, or no longer can.
    pub fn set_link(&mut self, interface: InterfaceKey, state: LinkState) {
        let changed = match state {
            LinkState::Up => self.down.remove(&interface),
            LinkState::Down => self.down.insert(interface),
        };
        if !changed {
            return;
        }
        for (vrf, table) in &self.tables {
            let concerned = table
                .iter()
                .filter(|(_, entry)| entry.depends_on(interface));
            self.dirty
                .extend(concerned.map(|(prefix, _)| (*vrf, prefix)));
        }
    }

    /// Evaluates at most `limit` dirty prefixes; whether any are left.
    pub fn evaluate(&mut self, limit: usize) -> bool {
        for _ in 0..limit {
            let Some((vrf, prefix)) = self.dirty.pop_first() else {
                break;
            };
            let rounds = self.rounds.entry((vrf, prefix)).or_default();
            *rounds = rounds.saturating_add(1);
            if *rounds <= ROUNDS && self.reselect(vrf, prefix) {
                self.propagate(vrf, prefix);
            }
        }
        if self.dirty.is_empty() {
            self.rounds.clear();
        }
        !self.dirty.is_empty()
    }

    /// Selects among a prefix's candidates; whether the outcome changed.
    fn reselect(&mut self, vrf: VrfId, prefix: Prefix) -> bool {
        let selection = self.select(vrf, prefix);
        let Some(entry) = self.tables.get_mut(&vrf).and_then(|t| t.get_mut(prefix)) else {
            return false;
        };
        let (selected, wanted) = selection.unzip();
        let metric = selected.and_then(|source| entry.candidates.get(&source));
        let metric = metric.map_or(0, |held| held.candidate.metric);
        let changed =
            entry.selected != selected || entry.metric != metric || entry.wanted != wanted;
        (entry.selected, entry.metric, entry.wanted) = (selected, metric, wanted);
        self.fib.mark(vrf, prefix);
        changed
    }

    /// The most preferred candidate that can forward, and how.
    fn select(&self, vrf: VrfId, prefix: Prefix) -> Option<(Source, FibEntry)> {
        let entry = self.tables.get(&vrf)?.get(prefix)?;
        let usable = entry.candidates.iter();
        let mut usable = usable.filter(|(source, _)| source.distance != Source::NEVER);
        usable.find_map(|(source, held)| {
            let forwards = self.forward(vrf, prefix, &held.candidate)?;
            Some((*source, forwards))
        })
    }

    /// A prefix changed: whatever has a next hop in it is dirty.
    fn propagate(&mut self, vrf: VrfId, prefix: Prefix) {
        let (first, last) = bounds(prefix);
        let users = self.users.range((vrf, first)..=(vrf, last));
        for prefix in users.flat_map(|(_, users)| users) {
            self.dirty.insert((vrf, *prefix));
        }
        let range = (vrf, first, Via::Connected)..=(vrf, last, Via::Any);
        let watches: Vec<_> = self.watches.range(range).map(|(key, _)| *key).collect();
        for (vrf, address, via) in watches {
            let metric = self.metric_to(vrf, address, via);
            if self.watches.insert((vrf, address, via), metric) != Some(metric) {
                self.changed.insert(address);
            }
        }
    }

    /// From now on, [`Rib::take_changed`] tells about this next hop. Answers the metric to it.
    pub fn watch(&mut self, vrf: VrfId, next_hop: IpAddr, via: Via) -> Option<u32> {
        if let Some(known) = self.watches.get(&(vrf, next_hop, via)) {
            return *known;
        }
        let metric = self.metric_to(vrf, next_hop, via);
        self.watches.insert((vrf, next_hop, via), metric);
        metric
    }

    /// Forgets the watched next hops that `used` does not know.
    pub fn retain_watches(&mut self, used: impl Fn(IpAddr) -> bool) {
        self.watches.retain(|(_, address, _), _| used(*address));
    }

    /// How many next hops are watched.
    pub fn watches(&self) -> usize {
        self.watches.len()
    }

    /// Watched next hops to which the metric changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.changed)
    }

    /// Whether the forwarding tables may have to be sent something.
    pub fn has_unsent(&self) -> bool {
        self.fib.has_unsent()
    }

    /// Whether everything known is evaluated, sent and acknowledged.
    pub fn is_settled(&self) -> bool {
        self.dirty.is_empty() && self.fib.is_settled()
    }
}

/// The first and the last address of a prefix.
fn bounds(prefix: Prefix) -> (IpAddr, IpAddr) {
    match prefix {
        Prefix::V4(prefix) => (prefix.addr().into(), prefix.last().into()),
        Prefix::V6(prefix) => (prefix.addr().into(), prefix.last().into()),
    }
}
