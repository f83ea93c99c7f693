//! The table of hosts against the tree it stands beside.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use sekisho_fib::{Adjacency, AdjacencyId, Capacity, Leaf, Link, Reader, Tables, Writer};
use sekisho_types::{InterfaceId, Ipv4Prefix, Prefix, SegmentId, VrfId, WorkerId};

const CAPACITY: Capacity = Capacity {
    blocks: 1 << 12,
    adjacencies: 1 << 12,
    path_lists: 8,
    buckets: 256,
};
const VRFS: [VrfId; 3] = [VrfId::PROVIDER, VrfId::new(1), VrfId::new(2)];
const ADJACENCIES: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    SetHost(VrfId, Ipv4Addr, usize),
    ClearHost(VrfId, Ipv4Addr),
    Insert(VrfId, Prefix, Route),
    /// Removed and added again, empty.
    Renew(VrfId),
}

#[derive(Clone, Copy, Debug)]
enum Route {
    None,
    Connected,
    Discard,
    Adjacency(usize),
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    (0..2_u8, 0..4_u8).prop_map(|(third, last)| Ipv4Addr::new(10, 0, third, last))
}

fn step() -> impl Strategy<Value = Step> {
    let vrf = || prop::sample::select(&VRFS[..]);
    let host = |address| Prefix::V4(Ipv4Prefix::host(address));
    let prefix = prop_oneof![
        3 => address().prop_map(host),
        1 => (address(), 0..32_u8).prop_map(|(at, len)| Prefix::truncated(at.into(), len)),
    ];
    let route = prop_oneof![
        Just(Route::None),
        Just(Route::Connected),
        Just(Route::Discard),
        (0..ADJACENCIES).prop_map(Route::Adjacency),
    ];
    prop_oneof![
        6 => (vrf(), address(), 0..ADJACENCIES).prop_map(|(v, a, id)| Step::SetHost(v, a, id)),
        3 => (vrf(), address()).prop_map(|(v, a)| Step::ClearHost(v, a)),
        6 => (vrf(), prefix, route).prop_map(|(v, p, r)| Step::Insert(v, p, r)),
        1 => prop::sample::select(&VRFS[1..]).prop_map(Step::Renew),
    ]
}

fn adjacencies(writer: &mut Writer) -> Vec<AdjacencyId> {
    let glean = |number| Adjacency::Glean {
        link: Link::Segment(SegmentId::new(number)),
    };
    (0..ADJACENCIES as u16)
        .map(|number| writer.create_adjacency(&glean(number)).unwrap())
        .collect()
}

fn apply(writer: &mut Writer, ids: &[AdjacencyId], step: &Step) {
    match *step {
        Step::SetHost(vrf, host, id) => writer.set_host(vrf, host.into(), ids[id]).unwrap(),
        Step::ClearHost(vrf, host) => drop(writer.clear_host(vrf, host.into()).unwrap()),
        Step::Insert(vrf, prefix, route) => {
            let leaf = match route {
                Route::None => Leaf::None,
                Route::Connected => Leaf::Connected(Link::Interface(InterfaceId::new(0))),
                Route::Discard => Leaf::Discard,
                Route::Adjacency(id) => Leaf::Adjacency(ids[id]),
            };
            writer.insert(vrf, prefix, leaf).unwrap();
        }
        Step::Renew(vrf) => {
            writer.remove_vrf(vrf).unwrap();
            writer.add_vrf(vrf).unwrap();
        }
    }
}

/// All addresses the steps name, in every VRF.
fn places() -> (Vec<VrfId>, Vec<Ipv4Addr>) {
    let addresses = (0..8_u8).map(|at| Ipv4Addr::new(10, 0, at / 4, at % 4));
    addresses
        .flat_map(|address| VRFS.map(|vrf| (vrf, address)))
        .unzip()
}

/// How many of the places the table of hosts knows; all it knows is what the tree says.
fn compare(reader: &Reader) -> usize {
    let (vrfs, addresses) = places();
    let mut ways = vec![AdjacencyId::NONE; vrfs.len()];
    reader.host_batch(&vrfs, &addresses, &mut ways);
    let mut hits = 0;
    for ((&vrf, &address), &way) in vrfs.iter().zip(&addresses).zip(&ways) {
        let leaf = reader.lookup(vrf, address);
        let expected = leaf.packed().adjacency().unwrap_or(AdjacencyId::NONE);
        assert_eq!(way, expected, "{vrf} {address}");
        if let Some(id) = reader.host(vrf, address) {
            assert_eq!(leaf, Leaf::Adjacency(id), "{vrf} {address}");
            hits += 1;
        }
    }
    hits
}

proptest! {
    #[test]
    fn a_hit_is_what_the_tree_says_after_every_change(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let (tables, mut writer) = Tables::new(1, CAPACITY).unwrap();
        let mut reader = tables.reader(WorkerId::new(0)).unwrap();
        for vrf in &VRFS[1..] {
            writer.add_vrf(*vrf).unwrap();
        }
        let ids = adjacencies(&mut writer);
        let mut hosts = std::collections::BTreeMap::new();
        for step in &steps {
            apply(&mut writer, &ids, step);
            match *step {
                Step::SetHost(vrf, host, id) => drop(hosts.insert((vrf, host), ids[id])),
                Step::ClearHost(vrf, host) => drop(hosts.remove(&(vrf, host))),
                Step::Insert(..) => {}
                Step::Renew(vrf) => hosts.retain(|(of, _), _| *of != vrf),
            }
            // A host the tree shows is found, but for the rare one its bucket has no room for.
            let shown = hosts
                .iter()
                .filter(|((vrf, host), id)| reader.host(*vrf, *host) == Some(**id))
                .count();
            prop_assert_eq!(compare(&reader), shown);
            reader.quiesce();
            writer.reclaim();
        }
        for ((vrf, host), id) in &hosts {
            writer.insert(*vrf, Prefix::V4(Ipv4Prefix::host(*host)), Leaf::None).unwrap();
            prop_assert_eq!(reader.host(*vrf, *host), Some(*id));
        }
    }
}

#[test]
fn a_route_to_the_very_address_hides_the_host_unless_it_is_connected() {
    let (tables, mut writer) = Tables::new(1, CAPACITY).unwrap();
    let reader = tables.reader(WorkerId::new(0)).unwrap();
    let ids = adjacencies(&mut writer);
    let host = Ipv4Addr::new(10, 0, 0, 1);
    let route = Prefix::V4(Ipv4Prefix::host(host));
    writer
        .set_host(VrfId::PROVIDER, host.into(), ids[0])
        .unwrap();
    assert_eq!(reader.host(VrfId::PROVIDER, host), Some(ids[0]));
    for (leaf, seen) in [
        (Leaf::Discard, None),
        (Leaf::Adjacency(ids[1]), None),
        (
            Leaf::Connected(Link::Interface(InterfaceId::new(0))),
            Some(ids[0]),
        ),
        (Leaf::None, Some(ids[0])),
    ] {
        writer.insert(VrfId::PROVIDER, route, leaf).unwrap();
        assert_eq!(reader.host(VrfId::PROVIDER, host), seen, "{leaf:?}");
    }
}

#[test]
fn a_host_the_tree_has_no_room_for_is_not_in_the_table_either() {
    let (tables, mut writer) = Tables::new(
        1,
        Capacity {
            blocks: 1,
            ..CAPACITY
        },
    )
    .unwrap();
    let reader = tables.reader(WorkerId::new(0)).unwrap();
    writer.add_vrf(VRFS[1]).unwrap();
    let ids = adjacencies(&mut writer);
    let host = |last| Ipv4Addr::new(10, 0, last, last);
    let put = (0..8).filter(|&last| {
        let put = writer.set_host(VRFS[1], host(last).into(), ids[0]).is_ok();
        assert_eq!(reader.host(VRFS[1], host(last)).is_some(), put);
        put
    });
    assert!(put.count() < 8);
}

/// Two adjacencies for each host, and hosts that come, move, are hidden and go.
#[test]
fn a_hit_never_names_anyone_elses_adjacency_while_hosts_come_and_go() {
    const HOSTS: usize = 3000;
    let (tables, mut writer) = Tables::new(
        2,
        Capacity {
            blocks: 1 << 16,
            ..CAPACITY
        },
    )
    .unwrap();
    writer.add_vrf(VRFS[1]).unwrap();
    let place = |host: usize| {
        let address = Ipv4Addr::from(0x0a00_0000 + (host as u32 / 2) * 7);
        (VRFS[host % 2], address)
    };
    let ids: Vec<_> = (0..CAPACITY.adjacencies - 100)
        .map(|_| {
            let link = Link::Interface(InterfaceId::new(0));
            writer.create_adjacency(&Adjacency::Glean { link }).unwrap()
        })
        .collect();
    // Which host an adjacency belongs to is its number modulo theirs.
    let owner = |id: AdjacencyId| id.index() % HOSTS;
    let id_of = |host: usize, turn: usize| {
        let second = host + HOSTS;
        ids[if turn % 2 == 1 && second < ids.len() {
            second
        } else {
            host
        }]
    };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for worker in 0..2 {
            let mut reader = tables.reader(WorkerId::new(worker)).unwrap();
            let done = &done;
            scope.spawn(move || {
                let (mut hits, mut ways) = (0_usize, [AdjacencyId::NONE; 64]);
                while !done.load(Ordering::Relaxed) {
                    for first in (0..HOSTS - 64).step_by(61) {
                        let (vrfs, addresses): (Vec<_>, Vec<_>) =
                            (first..first + 64).map(place).unzip();
                        reader.host_batch(&vrfs, &addresses, &mut ways);
                        for (at, way) in ways.iter().enumerate() {
                            let (vrf, address) = place(first + at);
                            let batch = Some(*way).filter(|way| *way != AdjacencyId::NONE);
                            for id in [batch, reader.host(vrf, address)].into_iter().flatten() {
                                assert_eq!(owner(id), first + at);
                                hits += 1;
                            }
                        }
                        reader.quiesce();
                    }
                }
                hits
            });
        }
        let _done = Done(&done);
        for turn in 0..12 {
            for host in 0..HOSTS {
                let (vrf, address) = place(host * 7 % HOSTS);
                let id = id_of(host * 7 % HOSTS, turn);
                writer.set_host(vrf, IpAddr::V4(address), id).unwrap();
                let (vrf, address) = place(host * 11 % HOSTS);
                match (host + turn) % 5 {
                    0 => drop(writer.clear_host(vrf, address.into()).unwrap()),
                    1 => hide(&mut writer, vrf, address),
                    _ => {}
                }
                // A reader may not be scheduled for long.
                while writer.stats().waiting > 4_000 {
                    thread::yield_now();
                    writer.reclaim();
                }
            }
        }
    });
}

/// Sets the flag when the writer is done, also by a panic: readers end then.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn hide(writer: &mut Writer, vrf: VrfId, address: Ipv4Addr) {
    let route = Prefix::V4(Ipv4Prefix::host(address));
    writer.insert(vrf, route, Leaf::Discard).unwrap();
    writer.insert(vrf, route, Leaf::None).unwrap();
}
