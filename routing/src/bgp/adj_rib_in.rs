//! What neighbours told us, before policy: one table for all of them, so that a prefix finds its
//! paths side by side. Each path carries the import verdict; a changed policy is applied by judging
//! again, without asking the neighbour.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use sekisho_types::{Asn, Prefix};

use super::attributes::{Attributes, PathAttributes};
use crate::policy::{Denial, Policy};

/// A neighbour, numbered by the speaker; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// Why a path is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The import policy denies it.
    Policy(Denial),
    /// Our own AS is in its path (RFC 4271 section 9.1.2).
    Loop,
    /// Its path does not begin with the neighbour's AS (RFC 4271 section 6.3).
    FirstAs,
    /// Its next hop is our own address (RFC 4271 section 5.1.3).
    OwnNextHop,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(denial) => denial.fmt(f),
            Self::Loop => f.write_str("our own AS is in the AS path"),
            Self::FirstAs => f.write_str("the AS path does not begin with the neighbor's AS"),
            Self::OwnNextHop => f.write_str("the next hop is our own address"),
        }
    }
}

/// Judges the paths of one neighbour.
#[derive(Clone, Debug)]
pub struct Import<'a> {
    /// Our AS.
    pub local_as: Asn,
    /// The neighbour's.
    pub remote_as: Asn,
    /// Our end of the session.
    pub local_address: Option<IpAddr>,
    /// The import policy.
    pub policy: &'a Policy,
}

impl Import<'_> {
    /// Whether a path is accepted, or why not.
    pub fn judge(&self, prefix: Prefix, path: &PathAttributes) -> Result<(), Rejection> {
        let internal = self.local_as == self.remote_as;
        if path.as_path.contains(self.local_as) {
            return Err(Rejection::Loop);
        }
        if !internal && path.as_path.first() != Some(self.remote_as.value()) {
            return Err(Rejection::FirstAs);
        }
        if Some(path.next_hop) == self.local_address {
            return Err(Rejection::OwnNextHop);
        }
        self.policy.permits(prefix).map_err(Rejection::Policy)
    }
}

/// One path as a neighbour told it.
#[derive(Clone, Debug)]
pub struct Received {
    /// Who told it.
    pub peer: PeerId,
    /// Its attributes.
    pub attributes: Attributes,
    /// Why it is not accepted, if it is not.
    pub rejected: Option<Box<Rejection>>,
    /// When it was told.
    pub since: Instant,
}

/// How many prefixes a neighbour told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub received: usize,
    /// Those accepted.
    pub accepted: usize,
}

/// What all neighbours told us.
#[derive(Debug, Default)]
pub struct AdjRibsIn {
    table: BTreeMap<Prefix, Vec<Received>>,
    counts: BTreeMap<PeerId, Count>,
}

impl AdjRibsIn {
    /// Takes a path in place of what the peer told before; whether that changes anything.
    pub fn announce(
        &mut self,
        prefix: Prefix,
        peer: PeerId,
        attributes: Attributes,
        verdict: Result<(), Rejection>,
        now: Instant,
    ) -> bool {
        let paths = self.table.entry(prefix).or_default();
        let count = self.counts.entry(peer).or_default();
        let path = Received {
            peer,
            attributes,
            rejected: verdict.err().map(Box::new),
            since: now,
        };
        count.accepted += usize::from(path.rejected.is_none());
        if let Some(before) = paths.iter_mut().find(|path| path.peer == peer) {
            count.accepted -= usize::from(before.rejected.is_none());
            let same = before.attributes == path.attributes && before.rejected == path.rejected;
            if !same {
                *before = path;
            }
            return !same;
        }
        count.received += 1;
        paths.push(path);
        true
    }

    /// Forgets the peer's path to a prefix; whether there was one.
    pub fn withdraw(&mut self, prefix: Prefix, peer: PeerId) -> bool {
        let Some(paths) = self.table.get_mut(&prefix) else {
            return false;
        };
        let Some(position) = paths.iter().position(|path| path.peer == peer) else {
            return false;
        };
        let gone = paths.swap_remove(position);
        if paths.is_empty() {
            self.table.remove(&prefix);
        }
        let count = self.counts.entry(peer).or_default();
        count.received -= 1;
        count.accepted -= usize::from(gone.rejected.is_none());
        true
    }

    /// Forgets all a peer told; the prefixes concerned.
    pub fn forget(&mut self, peer: PeerId) -> Vec<Prefix> {
        let told = |paths: &Vec<Received>| paths.iter().any(|path| path.peer == peer);
        let prefixes = self.table.iter().filter(|(_, paths)| told(paths));
        let prefixes: Vec<Prefix> = prefixes.map(|(prefix, _)| *prefix).collect();
        for prefix in &prefixes {
            self.withdraw(*prefix, peer);
        }
        self.counts.remove(&peer);
        prefixes
    }

    /// Judges all a peer told again; the prefixes whose verdict changed.
    pub fn judge(&mut self, peer: PeerId, import: &Import<'_>) -> Vec<Prefix> {
        let mut changed = Vec::new();
        let mut accepted = 0;
        for (prefix, paths) in &mut self.table {
            let Some(path) = paths.iter_mut().find(|path| path.peer == peer) else {
                continue;
            };
            let rejected = import.judge(*prefix, &path.attributes).err().map(Box::new);
            accepted += usize::from(rejected.is_none());
            if rejected.is_some() != path.rejected.is_some() {
                changed.push(*prefix);
            }
            path.rejected = rejected;
        }
        self.counts.entry(peer).or_default().accepted = accepted;
        changed
    }

    /// The prefixes that some accepted path reaches over `next_hop`.
    pub fn over(&self, next_hop: IpAddr) -> impl Iterator<Item = Prefix> + '_ {
        let uses = move |path: &Received| path.attributes.next_hop == next_hop;
        let prefixes = self.table.iter();
        prefixes
            .filter(move |(_, paths)| paths.iter().any(uses))
            .map(|(prefix, _)| *prefix)
    }

    /// The paths to a prefix.
    pub fn paths(&self, prefix: Prefix) -> &[Received] {
        self.table.get(&prefix).map_or(&[], Vec::as_slice)
    }

    /// All prefixes with their paths, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &[Received])> {
        let entries = self.table.iter();
        entries.map(|(prefix, paths)| (*prefix, paths.as_slice()))
    }

    /// How many prefixes a peer told.
    pub fn count(&self, peer: PeerId) -> Count {
        self.counts.get(&peer).copied().unwrap_or_default()
    }

    /// How many prefixes there are.
    pub fn prefixes(&self) -> usize {
        self.table.len()
    }

    /// How many paths there are.
    pub fn total_paths(&self) -> usize {
        self.counts.values().map(|count| count.received).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use sekisho_types::Name;

    use super::*;
    use crate::bgp::attributes::{AsPath, Origin};
    use crate::config::{PrefixList, PrefixRule};

    const PEER: PeerId = PeerId(1);

    fn asn(number: u32) -> Asn {
        Asn::new(number).unwrap()
    }

    fn path(asns: &[u32]) -> Attributes {
        let next_hop = Ipv4Addr::new(192, 0, 2, 1).into();
        let as_path = AsPath::new(asns.iter().copied());
        Arc::new(PathAttributes::new(Origin::Igp, as_path, next_hop))
    }

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn verdict(asns: &[u32], local_address: &str) -> Result<(), Rejection> {
        let import = Import {
            local_as: asn(65010),
            remote_as: asn(65001),
            local_address: local_address.parse().ok(),
            policy: &Policy::Accept,
        };
        import.judge(prefix("10.0.0.0/8"), &path(asns))
    }

    #[test]
    fn b26_paths_through_our_own_as_are_rejected() {
        assert_eq!(
            verdict(&[65001, 2, 65010, 3], "192.0.2.2"),
            Err(Rejection::Loop)
        );
        assert_eq!(verdict(&[65001, 2, 3], "192.0.2.2"), Ok(()));
    }

    #[test]
    fn a_path_must_begin_with_the_neighbours_as_and_not_end_at_us() {
        assert_eq!(
            verdict(&[65002, 65001], "192.0.2.2"),
            Err(Rejection::FirstAs)
        );
        assert_eq!(verdict(&[], "192.0.2.2"), Err(Rejection::FirstAs));
        assert_eq!(verdict(&[65001], "192.0.2.1"), Err(Rejection::OwnNextHop));
    }

    #[test]
    fn a_repeated_announcement_changes_nothing_and_a_different_one_replaces() {
        let (mut table, now) = (AdjRibsIn::default(), Instant::now());
        let p = prefix("10.0.0.0/8");
        assert!(table.announce(p, PEER, path(&[1]), Ok(()), now));
        assert!(!table.announce(p, PEER, path(&[1]), Ok(()), now));
        assert!(table.announce(p, PEER, path(&[2]), Err(Rejection::Loop), now));
        assert_eq!(table.paths(p).len(), 1);
        let count = Count {
            received: 1,
            accepted: 0,
        };
        assert_eq!(table.count(PEER), count);
        assert!(table.withdraw(p, PEER) && !table.withdraw(p, PEER));
        assert_eq!((table.prefixes(), table.total_paths()), (0, 0));
    }

    #[test]
    fn losing_a_peer_leaves_what_others_told() {
        let (mut table, now) = (AdjRibsIn::default(), Instant::now());
        let (p, q) = (prefix("10.0.0.0/8"), prefix("11.0.0.0/8"));
        table.announce(p, PEER, path(&[1]), Ok(()), now);
        table.announce(q, PEER, path(&[1]), Ok(()), now);
        table.announce(p, PeerId(2), path(&[2]), Ok(()), now);
        assert_eq!(table.forget(PEER), [p, q]);
        assert_eq!(table.paths(p).len(), 1);
        assert_eq!(table.paths(q).len(), 0);
    }

    #[test]
    fn b31_a_changed_policy_judges_what_is_there() {
        let (mut table, now) = (AdjRibsIn::default(), Instant::now());
        let (p, q) = (prefix("10.0.0.0/8"), prefix("11.0.0.0/8"));
        for prefix in [p, q] {
            table.announce(prefix, PEER, path(&[65001]), Ok(()), now);
        }
        let name = Name::new("x").unwrap();
        let rule = PrefixRule {
            permit: true,
            prefix: p,
            ge: 8,
            le: 8,
        };
        let lists = [PrefixList {
            name: name.clone(),
            rules: vec![rule],
        }];
        let policy = Policy::new(Some(&name), false, &lists);
        let import = Import {
            local_as: asn(65010),
            remote_as: asn(65001),
            local_address: None,
            policy: &policy,
        };
        assert_eq!(table.judge(PEER, &import), [q]);
        assert_eq!(table.count(PEER).accepted, 1);
        assert!(table.judge(PEER, &import).is_empty());
    }
}
