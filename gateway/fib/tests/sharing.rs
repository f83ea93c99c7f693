//! What routes share: path lists and adjacencies, who wins at a host address, and what is counted.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;

use sekisho_fib::{
    Adjacency, AdjacencyId, Capacity, FibError, Leaf, Link, NextHop, PathListId, PathMember,
    Tables, Writer,
};
use sekisho_types::{InterfaceId, MacAddr, Prefix, VrfId, WorkerId};

const CAPACITY: Capacity = Capacity {
    blocks: 64,
    adjacencies: 16,
    path_lists: 8,
    buckets: 1024,
};
const UPLINK: Link = Link::Interface(InterfaceId::new(0));
const TENANT: VrfId = VrfId::new(1);
const FLOWS: u32 = 4096;

fn writer() -> Writer {
    let (_, mut writer) = Tables::new(1, CAPACITY).unwrap();
    writer.add_vrf(TENANT).unwrap();
    writer
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, last).into()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn resolved(last: u8) -> Adjacency {
    Adjacency::Ethernet {
        port: 0,
        interface: InterfaceId::new(0),
        mtu: 1500,
        source: MacAddr::new([2, 0, 0, 0, 0, 0]),
        destination: MacAddr::new([2, 0, 0, 0, 0, last]),
        next_hop: address(last),
    }
}

fn unresolved(last: u8) -> Adjacency {
    Adjacency::Incomplete {
        link: UPLINK,
        next_hop: address(last),
    }
}

fn next_hops(lasts: &[u8]) -> Vec<NextHop> {
    let next_hop = |&last| NextHop {
        address: address(last),
        link: Some(UPLINK),
        weight: NonZeroU16::MIN,
    };
    lasts.iter().map(next_hop).collect()
}

fn members(weights: &[(AdjacencyId, u16)]) -> Vec<PathMember> {
    let member = |&(adjacency, weight)| PathMember {
        adjacency,
        weight: NonZeroU16::new(weight).unwrap(),
    };
    weights.iter().map(member).collect()
}

fn equal(adjacencies: &[AdjacencyId]) -> Vec<PathMember> {
    let weights: Vec<_> = adjacencies.iter().map(|&id| (id, 1)).collect();
    members(&weights)
}

/// `count` resolved neighbours and a list of them.
fn group(writer: &mut Writer, count: u8) -> (PathListId, Vec<AdjacencyId>) {
    let lasts: Vec<u8> = (1..=count).collect();
    let neighbours: Vec<_> = lasts
        .iter()
        .map(|&last| writer.create_adjacency(&resolved(last)).unwrap())
        .collect();
    let list = writer.acquire_path_list(&next_hops(&lasts)).unwrap().id;
    writer.resolve_path_list(list, &equal(&neighbours)).unwrap();
    (list, neighbours)
}

fn choices(writer: &Writer, list: PathListId) -> Vec<Option<AdjacencyId>> {
    (0..FLOWS).map(|flow| writer.select(list, flow)).collect()
}

/// The share of flows that go to `member`.
fn share(choices: &[Option<AdjacencyId>], member: AdjacencyId) -> f64 {
    let count = choices.iter().filter(|&&way| way == Some(member)).count();
    count as f64 / choices.len() as f64
}

#[test]
fn a_batch_chooses_as_one_flow_does_from_few_lists_and_from_many() {
    let capacity = Capacity {
        adjacencies: 256,
        path_lists: 4096,
        buckets: 1 << 16,
        ..CAPACITY
    };
    let (tables, mut writer) = Tables::new(1, capacity).unwrap();
    let reader = tables.reader(WorkerId::new(0)).unwrap();
    let ways: Vec<_> = (0..=255)
        .map(|last| writer.create_adjacency(&resolved(last)).unwrap())
        .collect();
    let mut leaves = vec![Leaf::Local.packed(), Leaf::Adjacency(ways[9]).packed()];
    for number in 0..3000_u32 {
        // None, one or two members.
        let members = equal(&ways[number as usize % 200..][..number as usize % 3]);
        let hops = next_hops(&[(number >> 8) as u8, number as u8]);
        let list = writer.acquire_path_list(&hops).unwrap().id;
        writer.resolve_path_list(list, &members).unwrap();
        leaves.push(Leaf::PathList(list).packed());
        if ![20, 1500, 2999].contains(&number) {
            continue;
        }
        let hashes: Vec<u32> = (1..=leaves.len() as u32)
            .map(|flow| flow.wrapping_mul(0x9e37_79b9))
            .collect();
        let mut chosen = vec![AdjacencyId::NONE; leaves.len()];
        reader.select_batch(&leaves, &hashes, &mut chosen);
        for ((leaf, hash), chosen) in leaves.iter().zip(hashes).zip(chosen) {
            let way = match leaf.unpack() {
                Leaf::PathList(list) => reader.select(list, hash),
                leaf => leaf.packed().adjacency(),
            };
            assert_eq!(chosen, way.unwrap_or(AdjacencyId::NONE));
        }
    }
}

#[test]
fn flows_spread_by_weight() {
    let mut writer = writer();
    let (list, ways) = group(&mut writer, 3);
    writer
        .resolve_path_list(list, &members(&[(ways[0], 1), (ways[1], 2), (ways[2], 5)]))
        .unwrap();
    let choices = choices(&writer, list);
    for (way, due) in ways.iter().zip([1.0 / 8.0, 2.0 / 8.0, 5.0 / 8.0]) {
        assert!((share(&choices, *way) - due).abs() < 0.03);
    }
}

#[test]
fn losing_a_member_moves_only_its_flows_and_its_return_takes_back_its_share() {
    for count in 2..=8 {
        let mut writer = writer();
        let (list, ways) = group(&mut writer, count);
        let before = choices(&writer, list);
        assert_eq!(writer.set_member_state(ways[0], false), Ok(1));
        let without = choices(&writer, list);
        for (old, new) in before.iter().zip(&without) {
            assert!(new.is_some_and(|way| way != ways[0]));
            assert!(old == new || *old == Some(ways[0]), "{count} members");
        }
        assert_eq!(writer.set_member_state(ways[0], true), Ok(1));
        let again = choices(&writer, list);
        let due = 1.0 / f64::from(count);
        for way in &ways {
            assert!((share(&again, *way) - due).abs() < 0.07, "{count} members");
        }
        let moved = without.iter().zip(&again).filter(|(a, b)| a != b).count();
        assert!(moved as f64 / f64::from(FLOWS) < due + 0.07);
    }
}

#[test]
fn a_failed_neighbour_is_never_chosen_and_no_usable_member_is_no_way() {
    let mut writer = writer();
    let (list, ways) = group(&mut writer, 2);
    writer.replace_adjacency(ways[0], &unresolved(1)).unwrap();
    assert_eq!(share(&choices(&writer, list), ways[1]), 1.0);
    writer.set_member_state(ways[1], false).unwrap();
    assert_eq!(writer.select(list, 0), None);
    // Up is not enough while the neighbour is unresolved.
    writer.set_member_state(ways[0], true).unwrap();
    assert_eq!(writer.select(list, 0), None);
    writer.replace_adjacency(ways[0], &resolved(1)).unwrap();
    assert_eq!(share(&choices(&writer, list), ways[0]), 1.0);
}

#[test]
fn a_neighbour_that_moves_changes_no_choice() {
    let mut writer = writer();
    let (list, ways) = group(&mut writer, 2);
    let before = choices(&writer, list);
    writer.replace_adjacency(ways[0], &resolved(77)).unwrap();
    assert_eq!(choices(&writer, list), before);
    assert_eq!(writer.adjacency(ways[0]), resolved(77));
}

#[test]
fn a_route_that_loses_a_next_hop_for_good_keeps_the_flows_of_the_others() {
    let mut writer = writer();
    let (list, ways) = group(&mut writer, 3);
    let before = choices(&writer, list);
    let rest = writer.acquire_path_list(&next_hops(&[1, 2])).unwrap();
    assert!(rest.is_new);
    writer
        .resolve_path_list(rest.id, &equal(&ways[..2]))
        .unwrap();
    for (old, new) in before.iter().zip(choices(&writer, rest.id)) {
        assert!(*old == new || *old == Some(ways[2]));
    }
}

#[test]
fn a_list_is_known_by_its_next_hops_in_any_order() {
    let mut writer = writer();
    let one = writer.acquire_path_list(&next_hops(&[1, 2])).unwrap();
    let other = writer.acquire_path_list(&next_hops(&[2, 1])).unwrap();
    assert_eq!((one.id, one.is_new), (other.id, true));
    assert!(!other.is_new);
    let third = writer.acquire_path_list(&next_hops(&[1, 3])).unwrap();
    assert!(third.is_new && third.id != one.id);
}

#[test]
fn a_list_lives_as_long_as_a_route_or_a_holder_refers_to_it() {
    let mut writer = writer();
    let (list, ways) = group(&mut writer, 2);
    let route = prefix("203.0.113.0/24");
    writer
        .insert(VrfId::PROVIDER, route, Leaf::PathList(list))
        .unwrap();
    writer.release_path_list(list).unwrap();
    assert!(writer.select(list, 0).is_some());
    assert_eq!(
        writer.free_adjacency(ways[0]),
        Err(FibError::AdjacencyInUse {
            id: ways[0],
            uses: 1
        })
    );
    writer.remove(VrfId::PROVIDER, route).unwrap();
    assert_eq!(writer.stats().path_lists, 0);
    writer.free_adjacency(ways[0]).unwrap();
    let gone = writer.insert(VrfId::PROVIDER, route, Leaf::PathList(list));
    assert_eq!(gone, Err(FibError::UnknownPathList(list)));
    assert_eq!(
        writer.lookup(VrfId::PROVIDER, Ipv4Addr::new(203, 0, 113, 1)),
        Leaf::None
    );
}

#[test]
fn without_room_for_buckets_a_loss_still_finds_a_way() {
    let (tables, mut writer) = Tables::new(
        1,
        Capacity {
            buckets: 64,
            ..CAPACITY
        },
    )
    .unwrap();
    // It never passes a burst boundary: replaced buckets cannot be reused.
    let reader = tables.reader(WorkerId::new(0)).unwrap();
    let (list, ways) = group(&mut writer, 3);
    writer.set_member_state(ways[0], false).unwrap();
    for flow in 0..FLOWS {
        assert!(reader.select(list, flow).is_some_and(|way| way != ways[0]));
    }
}

#[test]
fn replaced_buckets_wait_for_a_lagging_worker() {
    // Room for two arrays of a list of two members.
    let buckets = 64;
    let (tables, mut writer) = Tables::new(
        1,
        Capacity {
            buckets,
            ..CAPACITY
        },
    )
    .unwrap();
    let mut lagging = tables.reader(WorkerId::new(0)).unwrap();
    let (list, ways) = group(&mut writer, 2);
    let flap = |writer: &mut Writer| {
        writer.set_member_state(ways[0], false).unwrap();
        writer.set_member_state(ways[0], true).unwrap();
        writer.reclaim();
        share(&choices(writer, list), ways[0])
    };
    assert_eq!(flap(&mut writer), 0.5);
    assert_eq!(flap(&mut writer), 1.0, "both arrays may still be read");
    lagging.quiesce();
    writer.reclaim();
    assert_eq!(flap(&mut writer), 0.5);
}

#[test]
fn a_neighbour_yields_to_every_route_of_its_own_address_but_a_connected_one() {
    let host: IpAddr = Ipv4Addr::new(172, 16, 10, 11).into();
    let route = Prefix::host(host);
    for (leaf, wins) in [
        (Leaf::Local, true),
        (Leaf::Nat, true),
        (Leaf::Discard, true),
        (Leaf::LookupVrf(VrfId::PROVIDER), true),
        (Leaf::Connected(UPLINK), false),
    ] {
        // In either order.
        for host_first in [true, false] {
            let mut writer = writer();
            let neighbour = writer.create_adjacency(&resolved(1)).unwrap();
            let look = |writer: &Writer| writer.lookup(TENANT, Ipv4Addr::new(172, 16, 10, 11));
            if host_first {
                writer.set_host(TENANT, host, neighbour).unwrap();
                assert_eq!(look(&writer), Leaf::Adjacency(neighbour));
                writer.insert(TENANT, route, leaf).unwrap();
            } else {
                writer.insert(TENANT, route, leaf).unwrap();
                writer.set_host(TENANT, host, neighbour).unwrap();
            }
            let expected = if wins {
                leaf
            } else {
                Leaf::Adjacency(neighbour)
            };
            assert_eq!(look(&writer), expected);
            writer.remove(TENANT, route).unwrap();
            assert_eq!(look(&writer), Leaf::Adjacency(neighbour), "uncovered");
            assert_eq!(writer.clear_host(TENANT, host), Ok(Some(neighbour)));
            assert_eq!(look(&writer), Leaf::None);
            writer.free_adjacency(neighbour).unwrap();
        }
    }
}

#[test]
fn a_full_table_refuses_and_stays_as_it_was() {
    // Room for two of the three smallest nodes that part the routes.
    let (_, mut writer) = Tables::new(
        1,
        Capacity {
            blocks: 2,
            ..CAPACITY
        },
    )
    .unwrap();
    writer.add_vrf(TENANT).unwrap();
    writer
        .insert(TENANT, prefix("10.0.0.1/32"), Leaf::Local)
        .unwrap();
    let before = (writer.stats(), writer.vrf_stats(TENANT));
    let refused = writer.insert(TENANT, prefix("10.1.0.1/32"), Leaf::Nat);
    assert_eq!(
        refused,
        Err(FibError::Full {
            what: "blocks of routes",
            capacity: 2
        })
    );
    assert_eq!((writer.stats(), writer.vrf_stats(TENANT)), before);
    assert_eq!(
        writer.lookup(TENANT, Ipv4Addr::new(10, 1, 0, 1)),
        Leaf::None
    );
    assert_eq!(
        writer.lookup(TENANT, Ipv4Addr::new(10, 0, 0, 1)),
        Leaf::Local
    );
    writer.remove(TENANT, prefix("10.0.0.1/32")).unwrap();
    // What was freed is reclaimed when it is needed.
    writer
        .insert(TENANT, prefix("10.1.0.1/32"), Leaf::Nat)
        .unwrap();
    assert_eq!(writer.lookup(TENANT, Ipv4Addr::new(10, 1, 0, 1)), Leaf::Nat);
}

#[test]
fn an_empty_tenant_costs_less_than_4_kib_and_one_with_a_segment_little_more() {
    let mut writer = writer();
    assert!(writer.vrf_stats(TENANT).unwrap().bytes <= 1024);
    writer
        .insert(
            TENANT,
            Prefix::V4(sekisho_types::Ipv4Prefix::DEFAULT),
            Leaf::LookupVrf(VrfId::PROVIDER),
        )
        .unwrap();
    assert!(writer.vrf_stats(TENANT).unwrap().bytes <= 1024);
    writer
        .insert(TENANT, prefix("172.16.10.0/24"), Leaf::Connected(UPLINK))
        .unwrap();
    let stats = writer.vrf_stats(TENANT).unwrap();
    assert_eq!(stats.routes, 2);
    assert!(stats.bytes <= 1024);
}

#[test]
fn a_removed_vrf_has_no_routes_holds_nothing_and_can_come_back() {
    let mut writer = writer();
    let (list, ways) = group(&mut writer, 2);
    writer
        .insert(TENANT, prefix("10.0.0.0/9"), Leaf::PathList(list))
        .unwrap();
    writer.set_host(TENANT, address(1), ways[0]).unwrap();
    writer.release_path_list(list).unwrap();
    writer.remove_vrf(TENANT).unwrap();
    assert_eq!(
        writer.lookup(TENANT, Ipv4Addr::new(10, 0, 0, 1)),
        Leaf::None
    );
    assert_eq!(
        writer.insert(TENANT, prefix("10.0.0.0/9"), Leaf::Local),
        Err(FibError::UnknownVrf(TENANT))
    );
    writer.reclaim();
    for way in ways {
        writer.free_adjacency(way).unwrap();
    }
    let stats = writer.stats();
    assert_eq!((stats.blocks, stats.path_lists, stats.vrfs), (0, 0, 1));
    writer.add_vrf(TENANT).unwrap();
    assert_eq!(
        writer.remove_vrf(VrfId::PROVIDER),
        Err(FibError::ProviderVrf)
    );
}

#[test]
fn every_choice_is_a_member_whatever_the_hash() {
    let mut writer = writer();
    let (list, ways) = group(&mut writer, 5);
    let ways: HashSet<_> = ways.into_iter().collect();
    for hash in (0..u32::MAX).step_by(1_000_003).chain([u32::MAX]) {
        assert!(
            writer
                .select(list, hash)
                .is_some_and(|way| ways.contains(&way))
        );
    }
}
