//! From next hops to the neighbours that are reached directly.

use std::net::IpAddr;

use sekisho_types::{Prefix, VrfId};

use super::Rib;
use super::candidate::{Candidate, NextHop, Target, Via};
use crate::fib::{FibEntry, FibPath};
use crate::route::InterfaceRef;

/// How many routes a next hop may lead over before it reaches a connected one.
const DEPTH: usize = 8;

/// Most paths of one forwarding entry.
const PATHS: usize = 64;

impl Rib {
    /// How a candidate of `prefix` forwards, if it can.
    pub(super) fn forward(
        &self,
        vrf: VrfId,
        prefix: Prefix,
        candidate: &Candidate,
    ) -> Option<FibEntry> {
        match &candidate.target {
            Target::Connected(interface) => self.is_up(interface).then(|| FibEntry::Connected {
                interface: interface.clone(),
            }),
            Target::Local(_) => Some(FibEntry::Local),
            Target::Nat => Some(FibEntry::Nat),
            Target::Discard => Some(FibEntry::Discard),
            Target::LookupVrf(other) => Some(FibEntry::LookupVrf(*other)),
            Target::NextHops(next_hops) => {
                let mut paths = Vec::new();
                for next_hop in next_hops {
                    self.resolve(vrf, next_hop, &mut vec![prefix], &mut paths);
                }
                let paths = merged(paths);
                (!paths.is_empty()).then_some(FibEntry::Paths(paths))
            }
        }
    }

    /// The directly reached paths to one next hop of a route to `prefix`.
    pub(super) fn reach(&self, vrf: VrfId, prefix: Prefix, next_hop: &NextHop) -> Vec<FibPath> {
        let mut paths = Vec::new();
        self.resolve(vrf, next_hop, &mut vec![prefix], &mut paths);
        merged(paths)
    }

    /// The metric to a next hop, if it can be reached: that of the route that resolves it.
    pub fn metric_to(&self, vrf: VrfId, address: IpAddr, via: Via) -> Option<u32> {
        let next_hop = NextHop {
            address,
            weight: 1,
            via,
            interface: None,
        };
        self.resolve(vrf, &next_hop, &mut Vec::new(), &mut Vec::new())
    }

    pub(super) fn is_up(&self, interface: &InterfaceRef) -> bool {
        !self.down.contains(&interface.key)
    }

    /// Appends the paths to `next_hop`, not led over the prefixes of `visited`: a route never
    /// supports itself. Answers the metric of the route that resolved it.
    fn resolve(
        &self,
        vrf: VrfId,
        next_hop: &NextHop,
        visited: &mut Vec<Prefix>,
        paths: &mut Vec<FibPath>,
    ) -> Option<u32> {
        if let Some(interface) = &next_hop.interface {
            if !self.is_up(interface) {
                return None;
            }
            paths.push(FibPath {
                next_hop: next_hop.address,
                interface: interface.clone(),
                weight: next_hop.weight,
            });
            return Some(0);
        }
        let covering = self.tables.get(&vrf)?.covering(next_hop.address);
        let usable = covering.filter(|(prefix, _)| prefix.len() > 0);
        for (prefix, entry) in usable {
            let selected = entry
                .selected
                .and_then(|source| entry.candidates.get(&source));
            let Some(candidate) = selected.map(|held| &held.candidate) else {
                continue;
            };
            match &candidate.target {
                Target::Connected(interface) if self.is_up(interface) => {
                    paths.push(FibPath {
                        next_hop: next_hop.address,
                        interface: interface.clone(),
                        weight: next_hop.weight,
                    });
                    return Some(candidate.metric);
                }
                Target::Connected(_) => {}
                Target::NextHops(onward)
                    if next_hop.via == Via::Any
                        && visited.len() <= DEPTH
                        && !visited.contains(&prefix) =>
                {
                    let before = paths.len();
                    visited.push(prefix);
                    for onward in onward {
                        let onward = NextHop {
                            weight: onward.weight.saturating_mul(next_hop.weight),
                            ..onward.clone()
                        };
                        if paths.len() < PATHS {
                            self.resolve(vrf, &onward, visited, paths);
                        }
                    }
                    visited.pop();
                    if paths.len() > before {
                        return Some(candidate.metric);
                    }
                }
                Target::NextHops(_) => {}
                Target::Local(_) | Target::Nat | Target::Discard | Target::LookupVrf(_) => {
                    return None;
                }
            }
        }
        None
    }
}

/// Paths in order, those to one neighbour made one with the sum of their weights.
fn merged(mut paths: Vec<FibPath>) -> Vec<FibPath> {
    paths.sort();
    paths.dedup_by(|next, kept| {
        let same = next.next_hop == kept.next_hop && next.interface == kept.interface;
        if same {
            kept.weight = kept.weight.saturating_add(next.weight);
        }
        same
    });
    paths.truncate(PATHS);
    paths
}
