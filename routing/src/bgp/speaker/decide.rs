//! From paths to candidates for the RIB.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::Instant;

use sekisho_types::{Prefix, VrfId};

use super::Speaker;
use crate::bgp::adj_rib_in::{PeerId, Received};
use crate::bgp::decision::{self, Selection};
use crate::bgp::peer::Peer;
use crate::rib::{self, NextHop, Rib, Source, Target, Via};

/// BGP serves the provider VRF.
const VRF: VrfId = VrfId::PROVIDER;

impl Speaker {
    /// Decides about at most `limit` prefixes; whether any are left.
    pub(crate) fn decide(&mut self, rib: &mut Rib, limit: usize, now: Instant) -> bool {
        for _ in 0..limit {
            let Some(prefix) = self.dirty.pop_first() else {
                break;
            };
            self.decide_one(rib, prefix, now);
        }
        if self.dirty.is_empty() && std::mem::take(&mut self.sweep) {
            let paths = self.table.iter().flat_map(|(_, paths)| paths);
            let used: HashSet<IpAddr> = paths.map(|path| path.attributes.next_hop).collect();
            rib.retain_watches(|next_hop| used.contains(&next_hop));
            self.interner.sweep();
        }
        !self.dirty.is_empty()
    }

    /// These next hops became reachable, unreachable, nearer or farther.
    pub(crate) fn next_hops_changed(&mut self, next_hops: &BTreeSet<IpAddr>) {
        for next_hop in next_hops {
            self.dirty.extend(self.table.over(*next_hop));
        }
    }

    fn decide_one(&mut self, rib: &mut Rib, prefix: Prefix, now: Instant) {
        self.version += 1;
        let paths = self.table.paths(prefix);
        let usable: Vec<&Received> = paths
            .iter()
            .filter(|path| path.rejected.is_none())
            .collect();
        for path in &usable {
            if let Some(peer) = self.peers.get(&path.peer) {
                rib.watch(VRF, path.attributes.next_hop, via(peer));
            }
        }
        let (usable, selection) = rank(&self.peers, self.maximum_paths(), &usable, rib);
        let chosen: Vec<_> = selection.ranking[..selection.multipath]
            .iter()
            .map(|&position| usable[position])
            .collect();
        let source = chosen.first().map(|(_, peer)| source(peer));
        for other in [Source::EXTERNAL, Source::INTERNAL] {
            if source != Some(other) {
                rib.remove((VRF, prefix, other));
            }
        }
        if let (Some(source), Some((best, _))) = (source, chosen.first()) {
            let next_hops: BTreeMap<_, _> = chosen
                .iter()
                .map(|(path, peer)| (path.attributes.next_hop, via(peer)))
                .collect();
            let next_hops = next_hops.into_iter().map(|(address, via)| NextHop {
                address,
                weight: 1,
                via,
                interface: None,
            });
            let candidate = rib::Candidate {
                target: Target::NextHops(next_hops.collect()),
                metric: best.attributes.med.unwrap_or(0),
            };
            rib.set((VRF, prefix, source), candidate, now);
        }
    }

    pub(super) fn maximum_paths(&self) -> usize {
        self.config
            .as_ref()
            .map_or(1, |bgp| bgp.maximum_paths.into())
    }

    /// A prefix's usable paths with their neighbours, and how they rank.
    pub(super) fn ranked<'a>(
        &'a self,
        rib: &Rib,
        prefix: Prefix,
    ) -> (Vec<(&'a Received, &'a Peer)>, Selection) {
        let paths = self.table.paths(prefix).iter();
        let usable: Vec<_> = paths.filter(|path| path.rejected.is_none()).collect();
        rank(&self.peers, self.maximum_paths(), &usable, rib)
    }
}

/// What may resolve the next hop of a neighbour's paths: one of another AS is a hop away, and so is
/// what it names.
fn via(peer: &Peer) -> Via {
    if peer.internal() {
        Via::Any
    } else {
        Via::Connected
    }
}

fn source(peer: &Peer) -> Source {
    if peer.internal() {
        Source::INTERNAL
    } else {
        Source::EXTERNAL
    }
}

fn rank<'a>(
    peers: &'a BTreeMap<PeerId, Peer>,
    maximum_paths: usize,
    paths: &[&'a Received],
    rib: &Rib,
) -> (Vec<(&'a Received, &'a Peer)>, Selection) {
    let mut usable = Vec::new();
    let mut candidates = Vec::new();
    for path in paths {
        let Some(peer) = peers.get(&path.peer) else {
            continue;
        };
        let Some(session) = &peer.session else {
            continue;
        };
        let next_hop = path.attributes.next_hop;
        let Some(next_hop_metric) = rib.metric_to(VRF, next_hop, via(peer)) else {
            continue;
        };
        usable.push((*path, peer));
        candidates.push(decision::Candidate {
            attributes: &path.attributes,
            internal: peer.internal(),
            router_id: session.negotiated.router_id,
            peer: peer.config.address,
            next_hop_metric,
        });
    }
    let selection = decision::select(&candidates, maximum_paths);
    (usable, selection)
}
