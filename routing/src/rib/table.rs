//! One routing table.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use sekisho_types::{Ipv4Prefix, Ipv6Prefix, Prefix};

use super::candidate::{Candidate, Source, Target};
use crate::fib::FibEntry;
use crate::route::{InterfaceKey, InterfaceRef};

#[derive(Debug)]
pub(super) struct Held {
    pub(super) candidate: Candidate,
    pub(super) since: Instant,
}

/// All that is known of one prefix.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) candidates: BTreeMap<Source, Held>,
    pub(super) selected: Option<Source>,
    /// The selected candidate's metric.
    pub(super) metric: u32,
    /// What the forwarding tables should hold.
    pub(super) wanted: Option<FibEntry>,
    /// What they were last sent, in which batch.
    pub(super) sent: Option<FibEntry>,
    pub(super) generation: u64,
}

impl Entry {
    pub(super) fn next_hops(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let candidates = self.candidates.values();
        let next_hops = candidates.flat_map(|held| held.candidate.next_hops());
        next_hops.map(|next_hop| next_hop.address)
    }

    /// Whether a candidate is the connected prefix of `interface`, or names it with a next hop.
    pub(super) fn depends_on(&self, interface: InterfaceKey) -> bool {
        let named = |on: &InterfaceRef| on.key == interface;
        self.candidates
            .values()
            .any(|held| match &held.candidate.target {
                Target::Connected(on) => named(on),
                Target::NextHops(next_hops) => next_hops
                    .iter()
                    .any(|next_hop| next_hop.interface.as_ref().is_some_and(named)),
                _ => false,
            })
    }

    fn is_empty(&self) -> bool {
        self.candidates.is_empty() && self.wanted.is_none() && self.sent.is_none()
    }
}

/// Prefixes with their entries, and how many there are of each length.
#[derive(Debug)]
pub(super) struct Table {
    entries: BTreeMap<Prefix, Entry>,
    lengths_v4: [u32; Ipv4Prefix::MAX_LEN as usize + 1],
    lengths_v6: [u32; Ipv6Prefix::MAX_LEN as usize + 1],
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            lengths_v4: [0; _],
            lengths_v6: [0; _],
        }
    }
}

impl Table {
    pub(super) fn get(&self, prefix: Prefix) -> Option<&Entry> {
        self.entries.get(&prefix)
    }

    pub(super) fn get_mut(&mut self, prefix: Prefix) -> Option<&mut Entry> {
        self.entries.get_mut(&prefix)
    }

    /// The entry of a prefix, made if need be.
    pub(super) fn entry(&mut self, prefix: Prefix) -> &mut Entry {
        if !self.entries.contains_key(&prefix) {
            self.lengths(prefix)[usize::from(prefix.len())] += 1;
        }
        self.entries.entry(prefix).or_default()
    }

    /// Forgets a prefix of which nothing is left.
    pub(super) fn prune(&mut self, prefix: Prefix) {
        if self.entries.get(&prefix).is_some_and(Entry::is_empty) {
            self.entries.remove(&prefix);
            self.lengths(prefix)[usize::from(prefix.len())] -= 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Prefix, &Entry)> {
        self.entries.iter().map(|(prefix, entry)| (*prefix, entry))
    }

    /// Prefixes from `prefix` on that lie inside it.
    pub(super) fn inside(&self, prefix: Prefix) -> impl Iterator<Item = (Prefix, &Entry)> {
        let from = self.entries.range(prefix..);
        from.map(|(prefix, entry)| (*prefix, entry))
            .take_while(move |(other, _)| prefix.contains(other.addr()))
            .filter(move |(other, _)| prefix.covers(*other))
    }

    /// Entries of prefixes that contain an address, the longest first.
    pub(super) fn covering(&self, address: IpAddr) -> impl Iterator<Item = (Prefix, &Entry)> {
        let lengths: &[u32] = match address {
            IpAddr::V4(_) => &self.lengths_v4,
            IpAddr::V6(_) => &self.lengths_v6,
        };
        let present = (0..=u8::MAX).take(lengths.len()).rev();
        let present = present.filter(|length| lengths[usize::from(*length)] > 0);
        present.filter_map(move |length| {
            let prefix = Prefix::truncated(address, length);
            Some((prefix, self.entries.get(&prefix)?))
        })
    }

    fn lengths(&mut self, prefix: Prefix) -> &mut [u32] {
        match prefix {
            Prefix::V4(_) => &mut self.lengths_v4,
            Prefix::V6(_) => &mut self.lengths_v6,
        }
    }
}
