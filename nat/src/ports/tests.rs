//! What the allocator promises, whatever is asked of it in what order.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use proptest::prelude::*;
use sekisho_types::{IpProtocol, VrfId, WorkerId};

use super::*;
use crate::steering::Steering;
use crate::{
    Allocation, Generation, Limits, PolicyInput, PoolId, PoolInput, PortForward, Refusal, Seed,
    VrfInput,
};

const POOL: PoolId = PoolId::new(9);

/// Two addresses with ports that begin and end inside a block, one of them taken by a forward.
fn policy(last_port: u16) -> Policy {
    let input = PolicyInput {
        pools: vec![PoolInput {
            id: POOL,
            addresses: vec!["203.0.113.0/31".parse().unwrap()],
            ports: 1030..=last_port,
            allocation: Allocation::default(),
        }],
        vrfs: vec![VrfInput {
            id: VrfId::new(1),
            snat: Vec::new(),
            floating_ips: Vec::new(),
            limits: Limits::NONE,
            port_forwards: vec![PortForward {
                protocol: IpProtocol::TCP,
                outside: "203.0.113.1:1100".parse().unwrap(),
                inside: "10.0.0.1:80".parse().unwrap(),
            }],
        }],
        ..PolicyInput::default()
    };
    let owners = Arc::new(OutsideOwners::new(8).unwrap());
    let steering = Steering::new(Seed::new([0; 32]), 1);
    Policy::build(&input, Generation::new(1), steering, &owners).unwrap()
}

fn ports(policy: &Policy, seed: u8) -> Ports {
    let worker = WorkerId::new(0);
    let random = Seed::new([seed; 32]).generator(worker);
    Ports::new(worker, Arc::clone(policy.owners()), 1000, random).unwrap()
}

fn allocate(
    ports: &mut Ports,
    policy: &Policy,
    host: u8,
    transport: Transport,
    step: usize,
) -> Result<Lease, Refusal> {
    // Beyond the pause after exhaustion.
    let now = Time::from_millis(step as u64 * 200);
    let inside = Ipv4Addr::new(10, 0, 0, host);
    let inside = Word::inside(VrfId::new(1), SocketAddrV4::new(inside, 0));
    let target = Target::pool(POOL);
    let key = MappingKey {
        inside,
        transport,
        target,
        host_hash: ports.host_hash(inside, target),
        hash: 0,
    };
    let host = ports.find_host(&key);
    ports.allocate(now, policy, &key, host)
}

/// Every block with a host is in that host's list, once, and no other is.
fn check_lists(ports: &Ports) {
    let blocks = 1..ports.blocks.end();
    for block in blocks.filter(|&block| ports.blocks[block].slot != 0) {
        let host = ports.blocks[block].host;
        if host == 0 {
            continue;
        }
        assert!(ports.hosts[host].mappings > 0, "host {host} is gone");
        let next = |&block: &u32| Some(ports.blocks[block].host_next);
        let list = std::iter::successors(Some(ports.hosts[host].first_block), next)
            .take_while(|&block| block != 0);
        assert_eq!(list.filter(|&listed| listed == block).count(), 1);
    }
}

proptest! {
    #[test]
    fn every_port_is_handed_out_once_and_none_is_lost(
        seed: u8,
        steps in prop::collection::vec((0u8..6, 0u8..3, 0usize..400, 0u8..4), 1..1500),
    ) {
        let policy = policy(1200);
        let mut ports = ports(&policy, seed);
        let per_transport = 2 * (1200 - 1030 + 1) - 1;
        let mut leases: Vec<(Transport, Lease)> = Vec::new();
        for (step, (host, transport, which, what)) in steps.into_iter().enumerate() {
            let transport = [Transport::Tcp, Transport::Udp, Transport::Icmp][usize::from(transport)];
            let held = leases.iter().filter(|(other, _)| *other == transport).count();
            if what == 0 && !leases.is_empty() {
                let (transport, lease) = leases.swap_remove(which % leases.len());
                ports.free(lease.host, lease.place(transport));
            } else if let Ok(lease) = allocate(&mut ports, &policy, host, transport, step) {
                prop_assert!(policy.may_hand_out(lease.outside.tuple(), Target::pool(POOL)));
                prop_assert!((1030..=1200).contains(&lease.outside.port()));
                let twice = leases
                    .iter()
                    .any(|(other, held)| *other == transport && held.outside == lease.outside);
                prop_assert!(!twice);
                leases.push((transport, lease));
            } else {
                prop_assert_eq!(held, per_transport);
            }
            prop_assert_eq!(ports.usage(Target::pool(POOL)).ports as usize, leases.len());
            check_lists(&ports);
        }
        for (transport, lease) in leases {
            ports.free(lease.host, lease.place(transport));
        }
        prop_assert_eq!((ports.host_count(), ports.block_count()), (0, 0));
        prop_assert_eq!(ports.usage(Target::pool(POOL)), PoolUsage::default());
        for address in policy.addresses(Target::pool(POOL)) {
            prop_assert_eq!(policy.owners().claimed(address.slot), 0);
        }
    }
}

#[test]
fn one_host_can_use_up_the_pool() {
    let policy = policy(1200);
    let mut ports = ports(&policy, 1);
    let all = (0..1000)
        .take_while(|&step| allocate(&mut ports, &policy, 1, Transport::Udp, step).is_ok())
        .count();
    assert_eq!(all, 2 * 171 - 1);
}

#[test]
fn a_block_outlives_the_host_that_took_it_while_others_share_it() {
    let policy = policy(1087);
    let mut ports = ports(&policy, 4);
    let all: Vec<Lease> = (0..116)
        .map(|step| allocate(&mut ports, &policy, 1, Transport::Tcp, step).unwrap())
        .collect();
    let shared = allocate(&mut ports, &policy, 2, Transport::Udp, 1000).unwrap();
    for lease in all {
        ports.free(lease.host, lease.place(Transport::Tcp));
    }
    assert_eq!((ports.host_count(), ports.block_count()), (1, 1));
    check_lists(&ports);
    ports.free(shared.host, shared.place(Transport::Udp));
    assert_eq!((ports.host_count(), ports.block_count()), (0, 0));
}

#[test]
fn a_host_keeps_to_its_address_while_that_has_ports() {
    let policy = policy(8000);
    let mut ports = ports(&policy, 2);
    let mut paired = HashMap::new();
    for step in 0..900 {
        let host = (step % 3) as u8;
        let lease = allocate(&mut ports, &policy, host, Transport::Tcp, step).unwrap();
        assert_eq!(
            paired.entry(host).or_insert(lease.outside.address()),
            &lease.outside.address()
        );
    }
}

#[test]
fn c15_ports_do_not_follow_one_another() {
    let policy = policy(65535);
    let mut ports = ports(&policy, 3);
    let numbers: Vec<u16> = (0..640)
        .map(|step| allocate(&mut ports, &policy, 1, Transport::Udp, step).unwrap())
        .map(|lease| lease.outside.port())
        .collect();
    let neighbours = numbers
        .windows(2)
        .filter(|w| w[0].abs_diff(w[1]) == 1)
        .count();
    // Of 63 pairs in a block of 64 in random order, about 2 are neighbours.
    assert!(neighbours < 60, "{neighbours} of 640");
    let blocks: Vec<u16> = numbers.chunks(64).map(|chunk| chunk[0] / 64).collect();
    let following = blocks
        .windows(2)
        .filter(|w| w[0].abs_diff(w[1]) == 1)
        .count();
    assert!(following < 3, "{blocks:?}");
}
