//! The gateway's own routes as candidates for the RIB.

use std::collections::btree_map::Entry;

use sekisho_types::Prefix;

use crate::rib::{Candidate, NextHop, Routes, Source, Target, Via};
use crate::route::{ConnectedRoute, LocalRoute, NatRoute, Protocol, StaticRoute, StaticTarget};

/// What is nearest to us is preferred to whatever anyone tells.
const OURS: u8 = 0;

pub(super) fn connected(routes: Vec<ConnectedRoute>) -> Routes {
    let source = Source::new(OURS, Protocol::Connected);
    let routes = routes.into_iter().map(|route| {
        let target = Target::Connected(route.interface);
        ((route.vrf, route.prefix, source), Candidate::new(target))
    });
    routes.collect()
}

pub(super) fn local(routes: Vec<LocalRoute>) -> Routes {
    let source = Source::new(OURS, Protocol::Local);
    let routes = routes.into_iter().map(|route| {
        let prefix = Prefix::host(route.address);
        let target = Target::Local(route.interface);
        ((route.vrf, prefix, source), Candidate::new(target))
    });
    routes.collect()
}

pub(super) fn nat(routes: Vec<NatRoute>) -> Routes {
    let source = Source::new(OURS, Protocol::Nat);
    let routes = routes.into_iter().map(|route| {
        (
            (route.vrf, route.prefix, source),
            Candidate::new(Target::Nat),
        )
    });
    routes.collect()
}

/// Routes to one prefix with one distance share the traffic if they lead over next hops; otherwise
/// the first stands.
pub(super) fn configured(routes: Vec<StaticRoute>) -> Routes {
    let mut all = Routes::new();
    for route in routes {
        let source = Source::new(route.distance, Protocol::Static);
        let target = match route.target {
            StaticTarget::Discard => Target::Discard,
            StaticTarget::LookupVrf(vrf) => Target::LookupVrf(vrf),
            StaticTarget::NextHops(next_hops) => {
                let next_hops = next_hops.into_iter().map(|next_hop| NextHop {
                    address: next_hop.address,
                    weight: 1,
                    via: Via::Any,
                    interface: next_hop.interface,
                });
                Target::NextHops(next_hops.collect())
            }
        };
        match all.entry((route.vrf, route.prefix, source)) {
            Entry::Vacant(vacant) => {
                vacant.insert(Candidate::new(target));
            }
            Entry::Occupied(mut occupied) => {
                if let (Target::NextHops(all), Target::NextHops(more)) =
                    (&mut occupied.get_mut().target, target)
                {
                    all.extend(more);
                }
            }
        }
    }
    all
}
