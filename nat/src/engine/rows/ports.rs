//! Which ports hosts get: blocks, parity, classes, quarantine.

use std::collections::{HashMap, HashSet};

use super::*;

fn with_allocation(change: impl FnOnce(&mut PoolInput)) -> Bench {
    let mut policy = input();
    change(&mut policy.pools[0]);
    Bench::with_sessions(&policy, 100_000)
}

/// Opens a UDP flow of a host.
fn host_port(bench: &mut Bench, host: u8, port: u16) -> Result<SocketAddrV4, Refusal> {
    let src = SocketAddrV4::new(Ipv4Addr::new(172, 16, 1, host), port);
    let outbound = bench.send(VRF, UDP, src, tuple(Y), NONE)?;
    Ok(source(Ok(outbound)))
}

#[test]
fn u04_inside_ports_below_1024_get_such_ports_where_the_pool_preserves_the_class() {
    let mut bench = with_allocation(|pool| {
        pool.allocation.preserve_class = true;
        pool.ports = 512..=2047;
        pool.addresses.truncate(1);
    });
    for port in 1..1500 {
        let outside = host_port(&mut bench, (port % 7) as u8, port)
            .unwrap()
            .port();
        assert_eq!(outside < 1024, port < 1024, "{port} became {outside}");
        assert!((512..=2047).contains(&outside));
    }
}

#[test]
fn u05_parity_is_preserved_where_the_pool_says_so_until_nothing_else_is_left() {
    let mut bench = with_allocation(|pool| {
        pool.allocation.preserve_parity = true;
        pool.addresses = vec!["203.0.113.64/32".parse().unwrap()];
        pool.ports = 2048..=4095;
    });
    for port in (5001..7048).step_by(2) {
        let outside = host_port(&mut bench, 1, port).unwrap().port();
        assert_eq!(outside % 2, 1, "{port} became {outside}");
    }
    assert_eq!(host_port(&mut bench, 1, 7050).unwrap().port() % 2, 0);
    assert_eq!(
        host_port(&mut bench, 1, 7051).unwrap().port() % 2,
        0,
        "none is left"
    );
    let mut plain = Bench::new(&input());
    let odd = (0..200).filter(|n| host_port(&mut plain, 1, 5000 + n * 2).unwrap().port() % 2 == 1);
    assert!(odd.count() > 50, "off by default");
}

#[test]
fn c14_a_host_has_blocks_of_the_size_and_number_the_pool_says() {
    for (size, most) in [(64, 4), (256, 2), (1024, 1)] {
        let mut bench = with_allocation(|pool| {
            pool.allocation.block_size = size;
            pool.allocation.blocks_per_host = Some(most);
        });
        let mut blocks: HashMap<u8, HashSet<(Ipv4Addr, u16)>> = HashMap::new();
        for host in 1..=3 {
            for n in 0..size * most {
                let outside = host_port(&mut bench, host, 10_000 + n).unwrap();
                let block = (*outside.ip(), outside.port() / size);
                blocks.entry(host).or_default().insert(block);
            }
            let further = host_port(&mut bench, host, 9_000);
            assert_eq!(further, Err(Refusal::HostLimit), "blocks of {size}");
        }
        let all: HashSet<_> = blocks.values().flatten().collect();
        assert_eq!(all.len(), usize::from(most) * 3, "no block is shared");
        assert!(
            blocks
                .values()
                .all(|of_host| of_host.len() == usize::from(most))
        );
        let usage = bench.engine.pool_usage(PoolId::new(1));
        assert_eq!(usage.blocks, u32::from(most) * 3 * u32::from(size) / 64);
        bench
            .engine
            .clear(&SessionFilter::default(), Cursor::default(), u32::MAX);
        assert_eq!(
            bench.engine.pool_usage(PoolId::new(1)),
            PoolUsage::default()
        );
        assert_eq!(bench.owners.claimed(1), 0);
    }
}

#[test]
fn c14_ports_of_a_large_block_do_not_follow_one_another() {
    let mut bench = with_allocation(|pool| pool.allocation.block_size = 1024);
    let ports: Vec<u16> = (0..64)
        .map(|n| host_port(&mut bench, 1, 10_000 + n).unwrap().port())
        .collect();
    let units: HashSet<u16> = ports.iter().map(|port| port / 64).collect();
    assert!(units.len() > 8, "{ports:?}");
}

#[test]
fn single_ports_of_hosts_are_mixed_and_all_are_used() {
    let mut bench = with_allocation(|pool| {
        pool.allocation.single_ports = true;
        pool.addresses = vec!["203.0.113.64/32".parse().unwrap()];
        pool.ports = 1024..=5119;
    });
    let mut hosts_of_unit: HashMap<u16, HashSet<u16>> = HashMap::new();
    for n in 0..4096 {
        let outside = host_port(&mut bench, (n % 64) as u8, 10_000 + n).unwrap();
        hosts_of_unit
            .entry(outside.port() / 64)
            .or_default()
            .insert(n % 64);
    }
    assert_eq!(
        host_port(&mut bench, 1, 9_000),
        Err(Refusal::PortsExhausted)
    );
    assert!(hosts_of_unit.values().all(|hosts| hosts.len() > 10));
}

fn open_policy(ports: std::ops::RangeInclusive<u16>) -> PolicyInput {
    let mut policy = input();
    policy.pools[0].addresses = vec!["203.0.113.64/32".parse().unwrap()];
    policy.pools[0].ports = ports;
    policy.vrfs[0].snat[0].filtering = Filtering::EndpointIndependent;
    policy
}

#[test]
fn c08_a_port_everybody_was_let_in_by_rests_for_120_seconds() {
    let mut bench = Bench::new(&open_policy(2000..=2000));
    let outside = host_port(&mut bench, 1, 5000).unwrap();
    bench.wait(300);
    let now = bench.now;
    bench.engine.age(now, 100);
    assert_eq!(bench.live(), 0);
    let usage = bench.engine.pool_usage(PoolId::new(1));
    assert_eq!((usage.ports, usage.quarantined, usage.blocks), (0, 1, 1));
    bench.wait(119);
    let now = bench.now;
    bench.engine.age(now, 100);
    assert_eq!(host_port(&mut bench, 2, 5000), Err(Refusal::PortsExhausted));
    assert_eq!(bench.back(UDP, Y, outside), Err(Refusal::Filtered));
    bench.wait(1);
    assert_eq!(host_port(&mut bench, 2, 5000), Ok(outside));
    let usage = bench.engine.pool_usage(PoolId::new(1));
    assert_eq!((usage.ports, usage.quarantined), (1, 0));
}

#[test]
fn c08_a_port_whose_filter_knows_its_remotes_is_free_at_once() {
    let mut policy = open_policy(2000..=2000);
    policy.vrfs[0].snat[0].filtering = Filtering::AddressDependent;
    let mut bench = Bench::new(&policy);
    let outside = host_port(&mut bench, 1, 5000).unwrap();
    bench.wait(300);
    let now = bench.now;
    bench.engine.age(now, 100);
    assert_eq!(host_port(&mut bench, 2, 5000), Ok(outside));
}

#[test]
fn c08_ports_at_rest_are_counted_where_they_belong_when_the_pool_changes() {
    let mut policy = open_policy(2048..=2111);
    let mut bench = Bench::new(&policy);
    for n in 0..10 {
        host_port(&mut bench, 1, 5000 + n).unwrap();
    }
    bench
        .engine
        .clear(&SessionFilter::default(), Cursor::default(), u32::MAX);
    policy.pools[0].id = PoolId::new(2);
    policy.vrfs[0].snat[0].target = SnatTarget::Pool(PoolId::new(2));
    policy.vrfs.pop();
    bench.apply(&policy, 2);
    // The block is this worker's still; the host gets a port of it.
    host_port(&mut bench, 1, 6000).unwrap();
    assert_eq!(
        bench.engine.pool_usage(PoolId::new(1)),
        PoolUsage::default()
    );
    let usage = bench.engine.pool_usage(PoolId::new(2));
    assert_eq!((usage.ports, usage.quarantined, usage.blocks), (1, 10, 1));
    bench.wait(301);
    let now = bench.now;
    bench.engine.age(now, 100);
    bench.wait(120);
    let now = bench.now;
    bench.engine.age(now, 100);
    assert_eq!(
        bench.engine.pool_usage(PoolId::new(2)),
        PoolUsage::default()
    );
}

/// Closes the connection of `A` to `Y` from the inside, with FINs on both sides.
fn close(bench: &mut Bench, outside: SocketAddrV4) {
    let fin = TcpSegment::FIN | TcpSegment::ACK;
    bench
        .send(VRF, TCP, tuple(A), tuple(Y), segment(fin, 101, 501))
        .unwrap();
    bench
        .receive(TCP, Y, outside, segment(fin, 501, 102))
        .unwrap();
    bench
        .send(
            VRF,
            TCP,
            tuple(A),
            tuple(Y),
            segment(TcpSegment::ACK, 102, 502),
        )
        .unwrap();
}

#[test]
fn c08_the_port_of_a_closed_connection_is_given_away_when_there_is_no_other() {
    let mut policy = input();
    policy.pools[0].addresses = vec!["203.0.113.64/32".parse().unwrap()];
    policy.pools[0].ports = 2000..=2000;
    let syn = segment(TcpSegment::SYN, 900, 0);
    for reset in [false, true] {
        let mut bench = Bench::new(&policy);
        let outside = bench.connect();
        let early = bench.send(VRF, TCP, tuple(B), tuple(Z), syn);
        assert_eq!(early, Err(Refusal::PortsExhausted), "it is open");
        if reset {
            let reset = segment(TcpSegment::RST, 501, 0);
            bench.receive(TCP, Y, outside, reset).unwrap();
        } else {
            close(&mut bench, outside);
        }
        let next = bench.send(VRF, TCP, tuple(B), tuple(Z), syn);
        assert_eq!(source(next), outside);
        assert_eq!(bench.live(), 1);
    }
}
