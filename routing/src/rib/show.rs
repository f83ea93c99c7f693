//! Routes as operators read them.

use std::time::Instant;

use sekisho_types::{Prefix, VrfId};

use super::Rib;
use super::candidate::{Candidate, Source, Target};
use super::table::{Entry, Held};
use crate::route::InterfaceRef;
use crate::view::{PathView, RouteFilter, RouteKind, RouteView};

impl Rib {
    /// The routes of a table by prefix, the selected candidate of each first.
    pub fn routes(&self, vrf: VrfId, filter: RouteFilter, now: Instant) -> Vec<RouteView> {
        let Some(table) = self.tables.get(&vrf) else {
            return Vec::new();
        };
        let mut views = Vec::new();
        let mut show = |(prefix, entry): (Prefix, &Entry)| {
            let mut candidates: Vec<_> = entry.candidates.iter().collect();
            candidates.sort_by_key(|(source, _)| entry.selected != Some(**source));
            for (source, held) in candidates {
                views.push(self.view(vrf, prefix, entry, (*source, held), now));
            }
        };
        match filter {
            RouteFilter::All => table.iter().for_each(&mut show),
            RouteFilter::Exact(prefix) => {
                if let Some(entry) = table.get(prefix) {
                    show((prefix, entry));
                }
            }
            RouteFilter::Longer(prefix) => table.inside(prefix).for_each(&mut show),
            RouteFilter::Lookup(address) => {
                let mut covering = table.covering(address);
                if let Some(found) = covering.find(|(_, entry)| entry.selected.is_some()) {
                    show(found);
                }
            }
        }
        views
    }

    fn view(
        &self,
        vrf: VrfId,
        prefix: Prefix,
        entry: &Entry,
        (source, held): (Source, &Held),
        now: Instant,
    ) -> RouteView {
        let selected = entry.selected == Some(source);
        let kind = match held.candidate.target {
            Target::Connected(_) => RouteKind::Connected,
            Target::Local(_) => RouteKind::Local,
            Target::Nat => RouteKind::Nat,
            Target::Discard => RouteKind::Discard,
            Target::LookupVrf(other) => RouteKind::LookupVrf(other),
            Target::NextHops(_) => RouteKind::Paths,
        };
        RouteView {
            vrf,
            prefix,
            protocol: source.protocol,
            distance: source.distance,
            metric: held.candidate.metric,
            selected,
            installed: selected && self.fib.has(entry),
            age: now.saturating_duration_since(held.since),
            kind,
            paths: self.paths(vrf, prefix, &held.candidate),
        }
    }

    fn paths(&self, vrf: VrfId, prefix: Prefix, candidate: &Candidate) -> Vec<PathView> {
        match &candidate.target {
            Target::Connected(interface) => vec![self.on(interface)],
            Target::Local(interface) => interface.iter().map(|i| self.on(i)).collect(),
            Target::NextHops(next_hops) => {
                let next_hops = next_hops.iter();
                next_hops
                    .map(|next_hop| {
                        let reached = self.reach(vrf, prefix, next_hop);
                        let mut view = PathView {
                            next_hop: Some(next_hop.address),
                            interface: None,
                            weight: next_hop.weight,
                            active: !reached.is_empty(),
                            recursive_via: Vec::new(),
                        };
                        match reached.as_slice() {
                            [only] if only.next_hop == next_hop.address => {
                                view.interface = Some(only.interface.clone());
                            }
                            _ => {
                                view.recursive_via = reached
                                    .into_iter()
                                    .map(|path| PathView {
                                        next_hop: Some(path.next_hop),
                                        interface: Some(path.interface),
                                        weight: path.weight,
                                        active: true,
                                        recursive_via: Vec::new(),
                                    })
                                    .collect();
                            }
                        }
                        view
                    })
                    .collect()
            }
            Target::Nat | Target::Discard | Target::LookupVrf(_) => Vec::new(),
        }
    }

    fn on(&self, interface: &InterfaceRef) -> PathView {
        PathView {
            next_hop: None,
            interface: Some(interface.clone()),
            weight: 1,
            active: self.is_up(interface),
            recursive_via: Vec::new(),
        }
    }
}
