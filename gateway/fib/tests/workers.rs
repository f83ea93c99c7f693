//! Readers in threads of their own while the writer changes everything.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sekisho_fib::{
    Adjacency, AdjacencyId, Capacity, Leaf, Link, NextHop, PackedLeaf, PathMember, Reader,
    RewriteKind, Tables, Writer,
};
use sekisho_types::{InterfaceId, MacAddr, Prefix, SegmentId, Vni, VrfId, WorkerId};

const CAPACITY: Capacity = Capacity {
    blocks: 1 << 13,
    adjacencies: 1 << 13,
    path_lists: 8,
    buckets: 1 << 18,
};
const READERS: u8 = 2;
const ROUNDS: u32 = 20_000;
/// Most things that may wait for a reader that is not scheduled.
const BACKLOG: usize = 4_000;
const TENANT: VrfId = VrfId::new(1);
const OTHER: VrfId = VrfId::new(2);

/// Sets the flag when the writer is done, also by a panic: readers end then.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `read` in bursts on every worker while `write` runs.
fn race(tables: &Arc<Tables>, read: impl Fn(&Reader) + Sync, write: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for worker in 0..READERS {
            let mut reader = tables.reader(WorkerId::new(worker)).unwrap();
            let (read, done) = (&read, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    read(&reader);
                    reader.quiesce();
                }
            });
        }
        let _done = Done(&done);
        write();
    });
}

/// Reclaims until little waits: a reader may not be scheduled for long.
fn reclaim(writer: &mut Writer) {
    writer.reclaim();
    while writer.stats().waiting > BACKLOG {
        thread::yield_now();
        writer.reclaim();
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// A mark that tells whose leaf it is.
fn leaf(mark: u16) -> Leaf {
    Leaf::LookupVrf(VrfId::new(mark))
}

#[test]
fn an_address_has_the_leaf_before_or_after_each_change_and_no_other() {
    let (tables, mut writer) = Tables::new(READERS, CAPACITY).unwrap();
    for vrf in [TENANT, OTHER] {
        writer.add_vrf(vrf).unwrap();
    }
    for vrf in [VrfId::PROVIDER, TENANT] {
        writer.insert(vrf, prefix("0.0.0.0/0"), leaf(1)).unwrap();
        writer.insert(vrf, prefix("10.0.0.0/9"), leaf(2)).unwrap();
    }
    let near = Ipv4Addr::new(10, 1, 2, 3);
    let sibling = Ipv4Addr::new(10, 1, 2, 4);
    let far = Ipv4Addr::new(192, 0, 2, 1);
    let read = |reader: &Reader| {
        for vrf in [VrfId::PROVIDER, TENANT] {
            let mut leaves = [PackedLeaf::NONE; 3];
            reader.lookup_batch(vrf, &[near, sibling, far], &mut leaves);
            for leaves in [
                leaves.map(Leaf::from),
                [near, sibling, far].map(|address| reader.lookup(vrf, address)),
            ] {
                assert!(
                    [leaf(2), leaf(3), leaf(4)].contains(&leaves[0]),
                    "{leaves:?}"
                );
                assert!([leaf(2), leaf(3)].contains(&leaves[1]), "{leaves:?}");
                assert!([leaf(1), leaf(5)].contains(&leaves[2]), "{leaves:?}");
            }
        }
    };
    race(&tables, read, || {
        for round in 0..ROUNDS {
            for vrf in [VrfId::PROVIDER, TENANT] {
                writer.insert(vrf, prefix("10.1.2.3/32"), leaf(4)).unwrap();
                writer.insert(vrf, prefix("10.1.2.0/25"), leaf(3)).unwrap();
                writer.remove(vrf, prefix("10.1.2.3/32")).unwrap();
                writer.remove(vrf, prefix("10.1.2.0/25")).unwrap();
            }
            let mark = if round.is_multiple_of(2) { 5 } else { 1 };
            writer
                .insert(TENANT, prefix("0.0.0.0/0"), leaf(mark))
                .unwrap();
            // Blocks that were just freed, filled with leaves of another VRF.
            writer
                .insert(OTHER, prefix("10.1.2.3/32"), leaf(99))
                .unwrap();
            writer.insert(OTHER, prefix("0.0.0.0/0"), leaf(98)).unwrap();
            writer.remove(OTHER, prefix("10.1.2.3/32")).unwrap();
            writer.remove(OTHER, prefix("0.0.0.0/0")).unwrap();
            reclaim(&mut writer);
        }
    });
}

/// An adjacency in which everything says `mark`.
fn adjacency(mark: u8) -> Adjacency {
    let mac = MacAddr::new([2, mark, mark, mark, mark, mark]);
    let address = address_of(mark);
    if mark.is_multiple_of(2) {
        Adjacency::Ethernet {
            port: mark.into(),
            interface: InterfaceId::new(mark.into()),
            mtu: mark.into(),
            source: mac,
            destination: mac,
            next_hop: address,
        }
    } else {
        Adjacency::Tunnel {
            segment: SegmentId::new(mark.into()),
            vni: Vni::new(mark.into()).unwrap(),
            vtep: address,
            mtu: mark.into(),
            inner_source: mac,
            inner_destination: mac,
        }
    }
}

fn address_of(mark: u8) -> IpAddr {
    Ipv4Addr::new(mark, mark, mark, mark).into()
}

fn kind_of(mark: u8) -> RewriteKind {
    if mark.is_multiple_of(2) {
        RewriteKind::Ethernet
    } else {
        RewriteKind::Tunnel
    }
}

fn mark_of(adjacency: &Adjacency) -> u8 {
    match adjacency {
        Adjacency::Ethernet { mtu, .. } | Adjacency::Tunnel { mtu, .. } => *mtu as u8,
        _ => 0,
    }
}

#[test]
fn an_adjacency_is_seen_whole_while_it_is_replaced() {
    let (tables, mut writer) = Tables::new(READERS, CAPACITY).unwrap();
    let id = writer.create_adjacency(&adjacency(1)).unwrap();
    let read = |reader: &Reader| {
        let seen = reader.adjacency(id);
        assert_eq!(seen, adjacency(mark_of(&seen)));
        let rewrite = reader.rewrite(id).unwrap();
        let mark = rewrite.mtu() as u8;
        assert_eq!(rewrite.kind(), kind_of(mark));
        assert_eq!(rewrite.address(), address_of(mark));
        assert_eq!(
            rewrite.header_v4()[1..12],
            [&[mark; 5][..], &[2], &[mark; 5]].concat()
        );
    };
    race(&tables, read, || {
        for round in 0..ROUNDS * 5 {
            let mark = 1 + (round % 250) as u8;
            writer.replace_adjacency(id, &adjacency(mark)).unwrap();
            reclaim(&mut writer);
        }
    });
}

#[test]
fn a_choice_is_always_a_member_of_its_list_while_lists_are_rebuilt() {
    let (tables, mut writer) = Tables::new(READERS, CAPACITY).unwrap();
    let ways: Vec<AdjacencyId> = (1..=6)
        .map(|mark| writer.create_adjacency(&adjacency(mark)).unwrap())
        .collect();
    let lists: Vec<_> = [&ways[..3], &ways[3..]]
        .iter()
        .map(|ways| list_of(&mut writer, ways))
        .collect();
    let read = |reader: &Reader| {
        for hash in 0..64 {
            let one = reader.select(lists[0], hash);
            assert!(one.is_some_and(|way| ways[..3].contains(&way)), "{one:?}");
            let two = reader.select(lists[1], hash);
            assert!(two.is_some_and(|way| ways[3..].contains(&way)), "{two:?}");
        }
    };
    race(&tables, read, || {
        for round in 0..ROUNDS as usize {
            for way in [ways[round % 3], ways[3 + round % 3]] {
                writer.set_member_state(way, false).unwrap();
                writer.set_member_state(way, true).unwrap();
            }
            reclaim(&mut writer);
        }
    });
}

fn list_of(writer: &mut Writer, ways: &[AdjacencyId]) -> sekisho_fib::PathListId {
    let weight = NonZeroU16::MIN;
    let next_hop = |way: &AdjacencyId| NextHop {
        address: Ipv4Addr::from(way.value()).into(),
        link: Some(Link::Segment(SegmentId::new(0))),
        weight,
    };
    let members: Vec<_> = ways
        .iter()
        .map(|&adjacency| PathMember { adjacency, weight })
        .collect();
    let next_hops: Vec<_> = ways.iter().map(next_hop).collect();
    let list = writer.acquire_path_list(&next_hops).unwrap().id;
    writer.resolve_path_list(list, &members).unwrap();
    list
}

#[test]
fn nothing_is_reused_while_a_worker_lags() {
    let (tables, mut writer) = Tables::new(READERS, CAPACITY).unwrap();
    let mut prompt = tables.reader(WorkerId::new(0)).unwrap();
    let mut lagging = tables.reader(WorkerId::new(1)).unwrap();
    writer.add_vrf(TENANT).unwrap();
    writer
        .insert(TENANT, prefix("10.1.2.3/32"), leaf(1))
        .unwrap();
    let id = writer.create_adjacency(&adjacency(1)).unwrap();
    writer.remove(TENANT, prefix("10.1.2.3/32")).unwrap();
    writer.replace_adjacency(id, &adjacency(2)).unwrap();
    writer.free_adjacency(id).unwrap();
    // A node, a line and an adjacency.
    assert_eq!(writer.stats().waiting, 3);
    for _ in 0..3 {
        prompt.quiesce();
        assert_eq!(writer.reclaim(), 0);
    }
    assert!(writer.stats().blocks > 0);
    assert_eq!(
        lagging.adjacency(id),
        adjacency(2),
        "freed, and still there"
    );
    assert_ne!(writer.create_adjacency(&adjacency(3)).unwrap(), id);
    lagging.quiesce();
    prompt.quiesce();
    assert_eq!(writer.reclaim(), 3);
    assert_eq!((writer.stats().blocks, writer.stats().waiting), (0, 0));
    assert_eq!(lagging.adjacency(id), Adjacency::Drop);
    assert_eq!(writer.create_adjacency(&adjacency(4)).unwrap(), id);
}

#[test]
fn a_change_is_acknowledged_when_every_running_worker_has_passed() {
    let (tables, mut writer) = Tables::new(READERS, CAPACITY).unwrap();
    let mut first = tables.reader(WorkerId::new(0)).unwrap();
    let second = tables.reader(WorkerId::new(1)).unwrap();
    writer
        .insert(VrfId::PROVIDER, prefix("10.0.0.0/8"), leaf(1))
        .unwrap();
    let mark = writer.mark();
    assert!(!writer.is_acknowledged(mark));
    first.quiesce();
    assert!(!writer.is_acknowledged(mark));
    drop(second);
    assert!(writer.is_acknowledged(mark));
    assert!(tables.reader(WorkerId::new(1)).is_ok(), "it may come back");
}

#[test]
fn batches_of_many_vrfs_say_what_single_lookups_say() {
    let (tables, mut writer) = Tables::new(1, CAPACITY).unwrap();
    let reader = tables.reader(WorkerId::new(0)).unwrap();
    let ways: Vec<AdjacencyId> = (1..=3)
        .map(|mark| writer.create_adjacency(&adjacency(mark)).unwrap())
        .collect();
    let list = list_of(&mut writer, &ways);
    for vrf in [TENANT, OTHER] {
        writer.add_vrf(vrf).unwrap();
        writer.insert(vrf, prefix("10.0.0.0/8"), leaf(1)).unwrap();
    }
    let routes = [
        (VrfId::PROVIDER, "0.0.0.0/0", Leaf::PathList(list)),
        (VrfId::PROVIDER, "10.1.2.0/24", Leaf::Adjacency(ways[2])),
        (TENANT, "10.1.2.3/32", Leaf::Local),
    ];
    for (vrf, route, leaf) in routes {
        writer.insert(vrf, prefix(route), leaf).unwrap();
    }
    let (mut vrfs, mut addresses) = (Vec::new(), Vec::new());
    for number in 0..400_u32 {
        // VRFs that alternate, then long runs of each, which begin in the middle of a batch.
        let turn = if number < 200 { number } else { number / 25 };
        vrfs.push(VrfId::new((turn % 4) as u16));
        addresses.push(Ipv4Addr::from(
            0x0a01_0200 + number % 7 + (number & 0x10 << 4),
        ));
    }
    let mut packed = vec![PackedLeaf::NONE; addresses.len()];
    reader.lookup_batch_mixed(&vrfs, &addresses, &mut packed);
    let hashes: Vec<u32> = (0..400).map(|n| n * 7919).collect();
    let mut chosen = vec![AdjacencyId::NONE; addresses.len()];
    reader.select_batch(&packed, &hashes, &mut chosen);
    for at in 0..addresses.len() {
        let expected = reader.lookup(vrfs[at], addresses[at]);
        assert_eq!(packed[at].unpack(), expected);
        let way = match expected {
            Leaf::PathList(list) => reader.select(list, hashes[at]),
            Leaf::Adjacency(way) => Some(way),
            _ => None,
        };
        assert_eq!(chosen[at], way.unwrap_or(AdjacencyId::NONE), "{expected:?}");
    }
    let chosen = chosen.iter().filter(|way| **way != AdjacencyId::NONE);
    assert!(chosen.count() > 40);
    // Lengths that differ: as many as the shortest, and the rest is left alone.
    let mut leaves = vec![Leaf::Nat.packed(); 4];
    reader.lookup_batch_mixed(&vrfs[..2], &addresses, &mut leaves);
    assert_eq!(leaves[2..], [Leaf::Nat.packed(); 2]);
}

#[test]
fn an_adjacency_replaced_again_before_it_settled_shows_the_last() {
    let (tables, mut writer) = Tables::new(READERS, CAPACITY).unwrap();
    let mut reader = tables.reader(WorkerId::new(0)).unwrap();
    let id = writer.create_adjacency(&adjacency(1)).unwrap();
    for mark in 2..=4 {
        writer.replace_adjacency(id, &adjacency(mark)).unwrap();
        assert_eq!(reader.adjacency(id), adjacency(mark));
        narrow_readings_agree(&reader, id, mark);
    }
    // The line itself and two spare ones.
    assert_eq!(writer.stats().waiting, 3);
    writer.reclaim();
    for left in [1, 1, 0] {
        reader.quiesce();
        writer.reclaim();
        assert_eq!(writer.stats().waiting, left);
        assert_eq!(reader.adjacency(id), adjacency(4));
        narrow_readings_agree(&reader, id, 4);
    }
    writer.replace_adjacency(id, &adjacency(5)).unwrap();
    narrow_readings_agree(&reader, id, 5);
    let glean = Adjacency::Glean {
        link: Link::Segment(SegmentId::new(5)),
    };
    writer.replace_adjacency(id, &glean).unwrap();
    for id in [id, AdjacencyId::NONE] {
        assert_eq!(reader.egress(id), None);
        assert!(reader.rewrite(id).is_none());
        assert!(!reader.lives_at(id, SegmentId::new(5), 0, 0));
    }
}

/// What is asked of an adjacency alone is what all of it says.
fn narrow_readings_agree(reader: &Reader, id: AdjacencyId, mark: u8) {
    let rewrite = reader.rewrite(id).unwrap();
    let egress = Some((kind_of(mark), InterfaceId::new(mark.into())));
    assert_eq!(reader.egress(id), egress);
    let (mac, vtep) = (rewrite.destination_word(), u32::from_ne_bytes([mark; 4]));
    assert_eq!(rewrite.address_word(), vtep);
    let lives_at = |segment, mac, vtep| reader.lives_at(id, SegmentId::new(segment), mac, vtep);
    let is_tunnel = kind_of(mark) == RewriteKind::Tunnel;
    assert_eq!(lives_at(mark.into(), mac, vtep), is_tunnel);
    assert!(!lives_at(u16::from(mark) + 1, mac, vtep));
    assert!(!lives_at(mark.into(), mac ^ 1 << 47, vtep));
    assert!(!lives_at(mark.into(), mac, vtep ^ 1 << 31));
}

/// Nodes come, part, join and go on the way to the address, and so do prefixes above and below it.
#[test]
fn while_nodes_come_and_go_an_address_keeps_its_route_in_both_families() {
    let (tables, mut writer) = Tables::new(READERS, CAPACITY).unwrap();
    for vrf in [TENANT, OTHER] {
        writer.add_vrf(vrf).unwrap();
    }
    let places = [
        [
            "10.1.2.0/24",
            "10.1.2.3/32",
            "10.1.2.64/26",
            "10.1.130.0/23",
            "10.0.0.0/8",
            "0.0.0.0/0",
        ],
        [
            "2001:db8:1:2::/64",
            "2001:db8:1:2::3/128",
            "2001:db8:1:2:8000::/66",
            "2001:db8:1:8000::/49",
            "2001:db8::/32",
            "::/0",
        ],
    ];
    for vrf in [VrfId::PROVIDER, TENANT] {
        for family in places {
            writer.insert(vrf, prefix(family[0]), leaf(7)).unwrap();
        }
    }
    let v4 = [Ipv4Addr::new(10, 1, 2, 200); 3];
    let v6: [Ipv6Addr; 3] = ["2001:db8:1:2::ffff".parse().unwrap(); 3];
    let read = |reader: &Reader| {
        for vrf in [VrfId::PROVIDER, TENANT] {
            let mut leaves = [PackedLeaf::NONE; 6];
            reader.lookup_batch(vrf, &v4, &mut leaves[..3]);
            reader.lookup_batch_mixed(&[vrf; 3], &v6, &mut leaves[3..]);
            assert_eq!(leaves, [leaf(7).packed(); 6]);
            assert_eq!(reader.lookup(vrf, v4[0]), leaf(7));
            assert_eq!(reader.lookup(vrf, v6[0]), leaf(7));
        }
    };
    race(&tables, read, || {
        for round in 0..ROUNDS as usize / 20 {
            for vrf in [VrfId::PROVIDER, TENANT, OTHER] {
                for [_, others @ ..] in places {
                    // In another order each time.
                    let turned = |at: usize| prefix(others[(at + round) % others.len()]);
                    for at in 0..others.len() {
                        writer.insert(vrf, turned(at), leaf(at as u16)).unwrap();
                    }
                    for at in 0..others.len() {
                        writer.remove(vrf, turned(at * 3)).unwrap();
                    }
                }
            }
            reclaim(&mut writer);
        }
    });
}
