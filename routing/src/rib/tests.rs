use std::collections::BTreeMap;

use proptest::prelude::*;
use sekisho_types::InterfaceId;

use super::*;
use crate::fib::{FibChange, FibPath};
use crate::route::InterfaceRef;
use crate::view::RouteFilter;

const VRF: VrfId = VrfId::PROVIDER;
const CONNECTED: Source = Source::new(0, Protocol::Connected);
const STATIC: Source = Source::new(1, Protocol::Static);

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn interface(number: u16) -> InterfaceRef {
    InterfaceRef::uplink(InterfaceId::new(number), &format!("up{number}"))
}

fn connected(number: u16) -> Candidate {
    Candidate::new(Target::Connected(interface(number)))
}

fn over(next_hops: &[&str], via: Via) -> Candidate {
    let next_hops = next_hops.iter().map(|address| NextHop {
        address: address.parse().unwrap(),
        weight: 1,
        via,
        interface: None,
    });
    Candidate::new(Target::NextHops(next_hops.collect()))
}

/// A RIB whose forwarding table is applied and acknowledged at once.
struct Bench {
    rib: Rib,
    fib: BTreeMap<(VrfId, Prefix), FibEntry>,
}

impl Bench {
    /// With 10.0.0.0/24 on interface 0 and 10.0.1.0/24 on interface 1.
    fn new() -> Self {
        let mut bench = Self {
            rib: Rib::default(),
            fib: BTreeMap::new(),
        };
        bench.set("10.0.0.0/24", CONNECTED, connected(0));
        bench.set("10.0.1.0/24", CONNECTED, connected(1));
        bench
    }

    fn set(&mut self, text: &str, source: Source, candidate: Candidate) {
        self.rib
            .set((VRF, prefix(text), source), candidate, Instant::now());
        self.settle();
    }

    fn remove(&mut self, text: &str, source: Source) {
        self.rib.remove((VRF, prefix(text), source));
        self.settle();
    }

    fn settle(&mut self) {
        while self.rib.evaluate(3) {}
        while let Some(batch) = self.rib.drain(2) {
            assert!(batch.changes.len() <= 2);
            for change in batch.changes {
                match change {
                    FibChange::Set { vrf, prefix, entry } => self.fib.insert((vrf, prefix), entry),
                    FibChange::Remove { vrf, prefix } => self.fib.remove(&(vrf, prefix)),
                };
            }
            self.rib.acknowledge(batch.generation);
        }
        assert!(self.rib.is_settled());
    }

    /// The forwarding entry in words: `10.0.0.1@up0*1`.
    fn forwards(&self, text: &str) -> Vec<String> {
        match self.fib.get(&(VRF, prefix(text))) {
            Some(FibEntry::Paths(paths)) => paths.iter().map(word).collect(),
            Some(other) => vec![format!("{other:?}")],
            None => Vec::new(),
        }
    }

    fn selected(&self, text: &str) -> Vec<(Protocol, u8, bool)> {
        let views = self
            .rib
            .routes(VRF, RouteFilter::Exact(prefix(text)), Instant::now());
        views
            .iter()
            .map(|view| (view.protocol, view.distance, view.selected))
            .collect()
    }
}

fn word(path: &FibPath) -> String {
    format!("{}@{}*{}", path.next_hop, path.interface.name, path.weight)
}

#[test]
fn the_lowest_distance_is_selected_and_the_next_takes_over() {
    let mut bench = Bench::new();
    bench.set(
        "0.0.0.0/0",
        Source::EXTERNAL,
        over(&["10.0.0.1"], Via::Connected),
    );
    bench.set("0.0.0.0/0", STATIC, over(&["10.0.1.1"], Via::Any));
    assert_eq!(bench.forwards("0.0.0.0/0"), ["10.0.1.1@up1*1"]);
    let views = bench.selected("0.0.0.0/0");
    assert_eq!(
        views,
        [(Protocol::Static, 1, true), (Protocol::Bgp, 20, false)]
    );
    bench.remove("0.0.0.0/0", STATIC);
    assert_eq!(bench.forwards("0.0.0.0/0"), ["10.0.0.1@up0*1"]);
    bench.remove("0.0.0.0/0", Source::EXTERNAL);
    assert!(bench.forwards("0.0.0.0/0").is_empty());
    assert!(bench.selected("0.0.0.0/0").is_empty());
}

#[test]
fn protocols_of_equal_distance_do_not_overwrite_each_other() {
    let mut bench = Bench::new();
    let same = Source::new(1, Protocol::Bgp);
    bench.set("10.9.0.0/16", STATIC, over(&["10.0.0.1"], Via::Any));
    bench.set("10.9.0.0/16", same, over(&["10.0.1.1"], Via::Any));
    assert_eq!(bench.selected("10.9.0.0/16").len(), 2);
    bench.remove("10.9.0.0/16", STATIC);
    assert_eq!(bench.forwards("10.9.0.0/16"), ["10.0.1.1@up1*1"]);
}

#[test]
fn distance_255_is_never_used() {
    let mut bench = Bench::new();
    bench.set(
        "10.9.0.0/16",
        Source::new(255, Protocol::Static),
        over(&["10.0.0.1"], Via::Any),
    );
    assert!(bench.forwards("10.9.0.0/16").is_empty());
}

#[test]
fn b24_next_hops_are_resolved_several_levels_deep_and_follow_changes() {
    let mut bench = Bench::new();
    bench.set("4.0.0.0/8", Source::INTERNAL, over(&["3.0.0.1"], Via::Any));
    assert!(bench.forwards("4.0.0.0/8").is_empty());
    bench.set("3.0.0.0/8", STATIC, over(&["2.0.0.1"], Via::Any));
    bench.set(
        "2.0.0.0/8",
        STATIC,
        over(&["10.0.0.1", "10.0.1.1"], Via::Any),
    );
    assert_eq!(
        bench.forwards("4.0.0.0/8"),
        ["10.0.0.1@up0*1", "10.0.1.1@up1*1"]
    );
    bench.set("2.0.0.0/8", STATIC, over(&["10.0.1.9"], Via::Any));
    assert_eq!(bench.forwards("4.0.0.0/8"), ["10.0.1.9@up1*1"]);
    // A longer route to the next hop of the first level takes it over.
    bench.set("3.0.0.1/32", STATIC, over(&["10.0.0.7"], Via::Any));
    assert_eq!(bench.forwards("4.0.0.0/8"), ["10.0.0.7@up0*1"]);
    bench.remove("3.0.0.1/32", STATIC);
    bench.remove("2.0.0.0/8", STATIC);
    assert!(bench.forwards("4.0.0.0/8").is_empty());
}

#[test]
fn neither_the_default_route_nor_a_loop_resolves_a_next_hop() {
    let mut bench = Bench::new();
    bench.set("0.0.0.0/0", STATIC, over(&["10.0.0.1"], Via::Any));
    bench.set("4.0.0.0/8", STATIC, over(&["3.0.0.1"], Via::Any));
    assert!(bench.forwards("4.0.0.0/8").is_empty());
    bench.set("3.0.0.0/8", STATIC, over(&["4.0.0.1"], Via::Any));
    assert!(bench.forwards("4.0.0.0/8").is_empty() && bench.forwards("3.0.0.0/8").is_empty());
    // One way out of the loop serves both, and its end ends both.
    bench.set(
        "3.0.0.0/8",
        Source::EXTERNAL,
        over(&["10.0.1.1"], Via::Connected),
    );
    assert_eq!(bench.forwards("4.0.0.0/8"), ["10.0.1.1@up1*1"]);
    bench.remove("3.0.0.0/8", Source::EXTERNAL);
    assert!(bench.forwards("4.0.0.0/8").is_empty());
}

#[test]
fn a_next_hop_of_an_external_neighbour_must_be_connected() {
    let mut bench = Bench::new();
    bench.set("3.0.0.0/8", STATIC, over(&["10.0.0.1"], Via::Any));
    bench.set(
        "4.0.0.0/8",
        Source::EXTERNAL,
        over(&["3.0.0.1"], Via::Connected),
    );
    assert!(bench.forwards("4.0.0.0/8").is_empty());
}

#[test]
fn ecmp_loses_and_regains_the_paths_of_an_interface() {
    let mut bench = Bench::new();
    let both = over(&["10.0.0.1", "10.0.1.1"], Via::Connected);
    bench.set("0.0.0.0/0", Source::EXTERNAL, both);
    bench.rib.set_link(interface(1).key, LinkState::Down);
    bench.settle();
    assert_eq!(bench.forwards("0.0.0.0/0"), ["10.0.0.1@up0*1"]);
    assert!(bench.forwards("10.0.1.0/24").is_empty());
    bench.rib.set_link(interface(1).key, LinkState::Up);
    bench.settle();
    assert_eq!(bench.forwards("0.0.0.0/0").len(), 2);
    assert_eq!(bench.forwards("10.0.1.0/24").len(), 1);
}

#[test]
fn next_hops_that_meet_at_one_neighbour_add_their_weights() {
    let mut bench = Bench::new();
    bench.set("3.0.0.0/8", STATIC, over(&["10.0.0.1"], Via::Any));
    bench.set(
        "4.0.0.0/8",
        STATIC,
        over(&["3.0.0.1", "3.0.0.2", "10.0.1.1"], Via::Any),
    );
    assert_eq!(
        bench.forwards("4.0.0.0/8"),
        ["10.0.0.1@up0*2", "10.0.1.1@up1*1"]
    );
}

#[test]
fn a_route_is_installed_only_once_its_generation_is_acknowledged() {
    let mut rib = Rib::default();
    let key = (VRF, prefix("10.0.0.0/24"), CONNECTED);
    let installed = |rib: &Rib| {
        let views = rib.routes(VRF, RouteFilter::All, Instant::now());
        views
            .iter()
            .map(|view| (view.selected, view.installed))
            .collect::<Vec<_>>()
    };
    rib.set(key, connected(0), Instant::now());
    assert_eq!(installed(&rib), [(false, false)]);
    rib.evaluate(10);
    assert_eq!(installed(&rib), [(true, false)]);
    let first = rib.drain(10).unwrap();
    assert_eq!(installed(&rib), [(true, false)]);
    rib.acknowledge(first.generation + 5);
    assert_eq!(installed(&rib), [(true, false)], "a generation never sent");
    rib.acknowledge(first.generation);
    assert_eq!(installed(&rib), [(true, true)]);
    rib.set(key, connected(1), Instant::now());
    rib.evaluate(10);
    let second = rib.drain(10).unwrap();
    rib.acknowledge(first.generation);
    assert_eq!(installed(&rib), [(true, false)]);
    rib.acknowledge(second.generation);
    assert_eq!(installed(&rib), [(true, true)]);
    assert_eq!(rib.drain(10), None);
}

#[test]
fn what_changed_back_before_it_was_sent_is_not_sent() {
    let mut bench = Bench::new();
    let key = (VRF, prefix("3.0.0.0/8"), STATIC);
    bench
        .rib
        .set(key, Candidate::new(Target::Discard), Instant::now());
    bench.rib.evaluate(10);
    bench.rib.remove(key);
    bench.rib.evaluate(10);
    assert_eq!(bench.rib.drain(10), None);
}

#[test]
fn vrfs_do_not_resolve_each_others_next_hops() {
    let mut bench = Bench::new();
    let tenant = VrfId::new(7);
    let key = |text, source| (tenant, prefix(text), source);
    bench.rib.set(
        key("3.0.0.0/8", STATIC),
        over(&["10.0.0.1"], Via::Any),
        Instant::now(),
    );
    let lookup = Candidate::new(Target::LookupVrf(VRF));
    bench
        .rib
        .set(key("0.0.0.0/0", STATIC), lookup, Instant::now());
    bench.settle();
    assert_eq!(bench.fib.get(&(tenant, prefix("3.0.0.0/8"))), None);
    let entry = bench.fib.get(&(tenant, prefix("0.0.0.0/0")));
    assert_eq!(entry, Some(&FibEntry::LookupVrf(VRF)));
}

#[test]
fn replacing_a_source_touches_only_what_differs() {
    let mut bench = Bench::new();
    let routes = |texts: &[&str]| -> Routes {
        let keys = texts.iter().map(|text| (VRF, prefix(text), STATIC));
        keys.map(|key| (key, Candidate::new(Target::Discard)))
            .collect()
    };
    bench.rib.replace(
        Protocol::Static,
        routes(&["3.0.0.0/8", "4.0.0.0/8"]),
        Instant::now(),
    );
    bench.settle();
    bench.rib.replace(
        Protocol::Static,
        routes(&["4.0.0.0/8", "5.0.0.0/8"]),
        Instant::now(),
    );
    bench.rib.evaluate(10);
    let changes = bench.rib.drain(10).unwrap().changes;
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(bench.forwards("10.0.0.0/24").len(), 1);
}

#[test]
fn watched_next_hops_tell_when_they_come_and_go() {
    let mut bench = Bench::new();
    let address = "10.0.1.1".parse().unwrap();
    assert_eq!(bench.rib.watch(VRF, address, Via::Connected), Some(0));
    bench.remove("10.0.1.0/24", CONNECTED);
    assert!(bench.rib.take_changed().contains(&address));
    assert_eq!(bench.rib.watch(VRF, address, Via::Connected), None);
    bench.set("10.0.1.0/24", CONNECTED, connected(1));
    assert!(bench.rib.take_changed().contains(&address));
    bench.rib.retain_watches(|_| false);
    bench.remove("10.0.1.0/24", CONNECTED);
    assert!(bench.rib.take_changed().is_empty());
}

#[test]
fn three_routes_in_a_contradiction_come_to_rest() {
    // Each stands on its first choice only while its neighbour in the circle uses its second.
    let mut bench = Bench::new();
    let second = Source::new(5, Protocol::Static);
    for (route, other) in [
        ("1.0.0.0/8", "2.0.0.1"),
        ("2.0.0.0/8", "3.0.0.1"),
        ("3.0.0.0/8", "1.0.0.1"),
    ] {
        bench.rib.set(
            (VRF, prefix(route), STATIC),
            over(&[other], Via::Any),
            Instant::now(),
        );
        let fallback = Candidate::new(Target::Discard);
        bench
            .rib
            .set((VRF, prefix(route), second), fallback, Instant::now());
    }
    bench.settle();
    assert_eq!(bench.forwards("1.0.0.0/8").len(), 1);
}

/// A route of the property below: destination 1 to 6, and next hops that are either directly on an
/// interface (0, 1) or in a lower destination, so that there are no circles.
type Route = (u8, Vec<u8>);

fn candidate(destination: u8, next_hops: &[u8]) -> Candidate {
    let addresses: Vec<String> = next_hops
        .iter()
        .map(|&n| match destination {
            2.. if n > 1 => format!("{}.0.0.1", 1 + n % (destination - 1)),
            _ => format!("10.0.{}.1", n % 2),
        })
        .collect();
    over(
        &addresses.iter().map(String::as_str).collect::<Vec<_>>(),
        Via::Any,
    )
}

proptest! {
    #[test]
    fn the_dirty_set_ends_where_a_full_computation_does(
        steps in prop::collection::vec(
            (1u8..7, prop::collection::vec(0u8..8, 1..4), any::<bool>(), any::<bool>(), 0u16..2),
            1..60,
        ),
    ) {
        let mut bench = Bench::new();
        let mut routes: BTreeMap<(u8, Source), Route> = BTreeMap::new();
        let mut down = [false; 2];
        for (destination, next_hops, second, add, link) in steps {
            let source = if second { Source::EXTERNAL } else { STATIC };
            let text = format!("{destination}.0.0.0/8");
            if add {
                bench.set(&text, source, candidate(destination, &next_hops));
                routes.insert((destination, source), (destination, next_hops));
            } else if routes.remove(&(destination, source)).is_some() {
                bench.remove(&text, source);
            } else {
                let state = &mut down[usize::from(link)];
                *state = !*state;
                let state = if *state { LinkState::Down } else { LinkState::Up };
                bench.rib.set_link(interface(link).key, state);
                bench.settle();
            }
        }
        let mut fresh = Bench::new();
        for (number, down) in (0..).zip(down) {
            if down {
                fresh.rib.set_link(interface(number).key, LinkState::Down);
                fresh.settle();
            }
        }
        for ((destination, source), (_, next_hops)) in routes {
            fresh.set(&format!("{destination}.0.0.0/8"), source, candidate(destination, &next_hops));
        }
        prop_assert_eq!(bench.fib, fresh.fib);
    }
}

#[test]
fn a_link_local_next_hop_is_on_the_interface_it_names_and_goes_with_it() {
    let mut bench = Bench::new();
    let on = |number| NextHop {
        address: "fe80::1".parse().unwrap(),
        weight: 1,
        via: Via::Any,
        interface: Some(interface(number)),
    };
    let candidate = Candidate::new(Target::NextHops(vec![on(0), on(1)]));
    bench.set("::/0", STATIC, candidate);
    assert_eq!(bench.forwards("::/0"), ["fe80::1@up0*1", "fe80::1@up1*1"]);
    let uplink = interface(0).key;
    bench.rib.set_link(uplink, LinkState::Down);
    bench.settle();
    assert_eq!(bench.forwards("::/0"), ["fe80::1@up1*1"]);
    bench.rib.set_link(uplink, LinkState::Up);
    bench.settle();
    assert_eq!(bench.forwards("::/0"), ["fe80::1@up0*1", "fe80::1@up1*1"]);
}

#[test]
fn ipv6_next_hops_are_resolved_like_ipv4_ones_and_apart_from_them() {
    let mut bench = Bench::new();
    bench.set("2001:db8:a::/64", CONNECTED, connected(2));
    bench.set("::/0", STATIC, over(&["2001:db8:a::2"], Via::Any));
    assert_eq!(bench.forwards("::/0"), ["2001:db8:a::2@up2*1"]);
    assert!(bench.forwards("0.0.0.0/0").is_empty());
    let filter = RouteFilter::Longer(prefix("::/0"));
    assert_eq!(bench.rib.routes(VRF, filter, Instant::now()).len(), 2);
    let filter = RouteFilter::Longer(prefix("0.0.0.0/0"));
    assert_eq!(bench.rib.routes(VRF, filter, Instant::now()).len(), 2);
}
