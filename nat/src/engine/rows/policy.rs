//! Port forwards, floating IPs, uplinks, and changes of policy.

use super::*;

fn floating_ip() -> FloatingIp {
    FloatingIp {
        outside: Ipv4Addr::new(203, 0, 113, 70),
        inside: Ipv4Addr::new(172, 16, 10, 11),
    }
}

/// Opens a connection from outside to a port forward.
#[test]
fn a_port_forward_admits_every_remote_and_answers_from_its_outside_tuple() {
    let mut bench = Bench::new(&with_forward(OUTSIDE));
    for remote in [Y, Y_OTHER, Z] {
        let inbound = connect_forward(&mut bench, remote).unwrap();
        assert_eq!((inbound.vrf, inbound.destination), (VRF, tuple(INSIDE)));
        let answer = segment(TcpSegment::SYN | TcpSegment::ACK, 1, 701);
        let sent = bench.send(VRF, TCP, tuple(INSIDE), tuple(remote), answer);
        assert_eq!(source(sent), tuple(OUTSIDE));
    }
    assert_eq!(bench.engine.stats().mappings, 0);
}

#[test]
fn a_port_forward_lends_its_outside_tuple_to_flows_from_its_inside_tuple() {
    let mut bench = Bench::new(&with_forward(OUTSIDE));
    assert_eq!(bench.out(TCP, INSIDE, Y), tuple(OUTSIDE));
    assert_ne!(bench.out(UDP, INSIDE, Y).ip(), tuple(OUTSIDE).ip());
}

#[test]
fn a_port_forward_on_a_pool_address_takes_its_port_from_the_pool() {
    let mut policy = with_forward("203.0.113.64:2050");
    policy.pools[0] = pool(1, &["203.0.113.64/32"]);
    policy.pools[0].ports = 2048..=2111;
    let mut bench = Bench::new(&policy);
    for port in 1..64 {
        let outside = bench.out(UDP, &format!("172.16.10.11:{port}"), Y);
        assert_ne!(outside.port(), 2050);
    }
    let one_more = bench.send(VRF, UDP, tuple(A), tuple(Y), NONE);
    assert_eq!(one_more, Err(Refusal::PortsExhausted));
}

#[test]
fn a_floating_ip_wins_over_snat_but_not_over_a_forwarded_connection() {
    let mut policy = with_forward(OUTSIDE);
    let inside = *tuple(INSIDE).ip();
    policy.vrfs[0].floating_ips.push(FloatingIp {
        inside,
        ..floating_ip()
    });
    let mut bench = Bench::new(&policy);
    connect_forward(&mut bench, Y).unwrap();
    let answer = segment(TcpSegment::SYN | TcpSegment::ACK, 1, 701);
    let sent = bench.send(VRF, TCP, tuple(INSIDE), tuple(Y), answer);
    assert_eq!(source(sent), tuple(OUTSIDE));
    assert_eq!(bench.out(TCP, INSIDE, Z), tuple("203.0.113.70:80"));
    assert_eq!(
        bench.back(UDP, Z, tuple("203.0.113.70:9")),
        Ok(tuple("172.16.10.12:9"))
    );
}

#[test]
fn snat_to_an_uplink_uses_its_address_and_none_of_its_own_ports() {
    let mut policy = input();
    policy.vrfs[0] = vrf(VRF, SnatTarget::Uplink);
    policy.uplink_reserved = vec![1024..=60999, 61100..=65535];
    let mut bench = Bench::new(&policy);
    for port in 1..=100 {
        let outside = bench.out(TCP, &format!("172.16.10.11:{port}"), Y);
        assert_eq!(outside.ip(), &Ipv4Addr::new(198, 51, 100, 1));
        assert!((61000..61100).contains(&outside.port()));
    }
    let one_more = bench.send(VRF, UDP, tuple(A), tuple(Y), NONE);
    assert!(one_more.is_ok(), "another protocol has its own ports");
    assert_eq!(bench.engine.uplink_usage(UPLINK).ports, 101);
}

#[test]
fn a_flow_that_moves_to_another_uplink_gets_its_address() {
    let mut policy = input();
    policy.vrfs[0] = vrf(VRF, SnatTarget::Uplink);
    let other = InterfaceId::new(7);
    policy.uplinks.push(UplinkInput {
        id: other,
        addresses: vec![Ipv4Addr::new(198, 51, 100, 3)],
    });
    let mut bench = Bench::new(&policy);
    bench.out(UDP, A, Y);
    let key = FlowKey {
        src: tuple(A),
        dst: tuple(Y),
        protocol: UDP,
    };
    let moved = bench.engine.outbound(bench.now, VRF, &key, &NONE, other);
    assert_eq!(source(moved).ip(), &Ipv4Addr::new(198, 51, 100, 3));
    assert_eq!(bench.live(), 1);
    let nowhere = InterfaceId::new(8);
    let moved = bench.engine.outbound(bench.now, VRF, &key, &NONE, nowhere);
    assert_eq!(moved, Err(Refusal::NoUplinkAddress));
}

#[test]
fn c06_what_no_rule_translates_goes_on_as_it_is() {
    let mut policy = input();
    policy.vrfs[0] = vrf(VRF, SnatTarget::NoNat);
    let mut bench = Bench::new(&policy);
    for (vrf, src) in [(VRF, A), (OTHER_VRF, "10.0.0.1:1"), (VrfId::new(99), A)] {
        let outcome = bench.send(vrf, UDP, tuple(src), tuple(Y), NONE);
        assert_eq!(outcome, Ok(Outbound::Untranslated));
    }
}

#[test]
fn an_unrelated_change_of_policy_leaves_sessions_alone() {
    let mut bench = Bench::new(&input());
    let outside = bench.out(UDP, A, Y);
    bench.apply(&with_forward(OUTSIDE), 2);
    assert_eq!(bench.engine.drained(), Generation::new(1));
    assert_eq!(bench.engine.age(bench.now, 1000), 0);
    assert_eq!(bench.engine.drained(), Generation::new(2));
    assert_eq!(bench.out(UDP, A, Y), outside);
}

#[test]
fn sessions_a_policy_does_not_allow_go_on_their_next_packet() {
    let changes: [fn(&mut PolicyInput); 5] = [
        |policy| policy.vrfs[0] = vrf(VRF, SnatTarget::NoNat),
        |policy| policy.vrfs[0].floating_ips.push(floating_ip()),
        |policy| policy.pools[0] = pool(1, &["100.64.0.0/24"]),
        |policy| {
            policy.vrfs.remove(0);
        },
        |policy| policy.pools[0].ports = 1024..=1024,
    ];
    for (generation, change) in (2..).zip(changes) {
        let mut bench = Bench::new(&input());
        let outside = bench.out(UDP, A, Y);
        let mut changed = input();
        change(&mut changed);
        bench.apply(&changed, generation);
        assert_eq!(bench.live(), 0);
        let embedded = FlowKey {
            src: outside,
            dst: tuple(Y),
            protocol: UDP,
        };
        let error = bench.engine.error_from_outside(bench.now, &embedded);
        assert!(error.is_none_or(|error| error.inside != tuple(A)));
        if !outside.ip().eq(&floating_ip().outside) {
            assert!(bench.back(UDP, Y, outside).is_err());
        }
        let again = bench.send(VRF, UDP, tuple(A), tuple(Y), NONE);
        if let Ok(Outbound::Translated { source, .. }) = again {
            assert_ne!(source, outside);
        }
        bench.engine.age(bench.now, 1000);
        assert_eq!(bench.engine.drained(), Generation::new(generation));
    }
}

#[test]
fn a_moved_port_forward_lets_go_of_its_old_sessions() {
    let mut bench = Bench::new(&with_forward(OUTSIDE));
    connect_forward(&mut bench, Y).unwrap();
    let mut moved = input();
    moved.vrfs[1]
        .port_forwards
        .push(forward(TCP, OUTSIDE, INSIDE));
    bench.apply(&moved, 2);
    assert_eq!(connect_forward(&mut bench, Y).unwrap().vrf, OTHER_VRF);
    // The new inside host answers although the old one's session was never swept.
    let mut bench = Bench::new(&with_forward(OUTSIDE));
    connect_forward(&mut bench, Y).unwrap();
    bench.apply(&moved, 2);
    let syn = segment(TcpSegment::SYN, 1, 0);
    let sent = bench.send(OTHER_VRF, TCP, tuple(INSIDE), tuple(Y), syn);
    assert_eq!(source(sent), tuple(OUTSIDE));
    assert_eq!(bench.engine.sessions_of_vrf(VRF), 0);
}

#[test]
fn a_removed_vrf_is_drained_when_the_sweep_has_passed_all_its_sessions() {
    let mut bench = Bench::new(&input());
    for port in 1..=1000 {
        bench.out(UDP, &format!("172.16.10.11:{port}"), Y);
    }
    // The sweep stands in the middle when the policy comes, and the table grows meanwhile.
    bench.engine.age(bench.now, 500);
    let mut without = input();
    without.vrfs.remove(0);
    bench.apply(&without, 2);
    for port in 1..=1000u16 {
        let src = SocketAddrV4::new(*tuple(A).ip(), port);
        bench.send(OTHER_VRF, UDP, src, tuple(Y), NONE).unwrap();
    }
    while bench.engine.drained() < Generation::new(2) {
        bench.engine.age(bench.now, 100);
    }
    assert_eq!(bench.engine.sessions_of_vrf(VRF), 0);
    assert_eq!(bench.engine.sessions_of_vrf(OTHER_VRF), 1000);
}

#[test]
fn an_inside_tuple_whose_mapping_is_disallowed_gets_another_before_its_sessions_are_gone() {
    let mut bench = Bench::new(&input());
    let before = bench.out(UDP, A, Y);
    bench.out(UDP, A, Z);
    let mut changed = input();
    changed.pools[0] = pool(1, &["100.64.0.0/24"]);
    bench.apply(&changed, 2);
    let after = bench.out(UDP, A, Y_OTHER);
    assert_ne!(before, after);
    assert_eq!(bench.out(UDP, A, Z), after);
    assert_eq!(bench.engine.age(bench.now, 1000), 1);
    assert_eq!(bench.engine.stats().mappings, 1);
}

#[test]
fn cleared_sessions_give_everything_back() {
    let mut bench = Bench::new(&with_forward(OUTSIDE));
    connect_forward(&mut bench, Y).unwrap();
    for port in 1..=300 {
        bench.out(UDP, &format!("172.16.10.11:{port}"), Y);
        bench.out(ICMP, &format!("172.16.10.12:{port}"), Y);
    }
    let icmp = SessionFilter {
        protocol: Some(ICMP),
        ..SessionFilter::default()
    };
    let (gone, next) = bench.engine.clear(&icmp, Cursor::default(), 10_000);
    assert_eq!((gone, next), (300, None));
    assert_eq!(bench.live(), 301);
    let mut cursor = Some(Cursor::default());
    while let Some(at) = cursor {
        cursor = bench.engine.clear(&SessionFilter::default(), at, 7).1;
    }
    let stats = bench.engine.stats();
    assert_eq!((stats.mappings, stats.hosts, stats.blocks), (0, 0, 0));
    assert_eq!(stats.created, stats.removed);
    assert_eq!(
        bench.engine.pool_usage(PoolId::new(1)),
        PoolUsage::default()
    );
    assert_eq!(bench.engine.sessions_of_vrf(VRF), 0);
}

#[test]
fn a_snapshot_in_slices_shows_every_session_once() {
    let mut bench = Bench::new(&input());
    for port in 1..=100 {
        bench.out(UDP, &format!("172.16.10.11:{port}"), Y);
    }
    let mut views = Vec::new();
    let mut cursor = Some(Cursor::default());
    while let Some(at) = cursor {
        let filter = SessionFilter::default();
        cursor = bench.engine.snapshot(bench.now, &filter, at, 7, &mut views);
    }
    assert_eq!(views.len(), 100);
    let ports: std::collections::HashSet<u16> = views.iter().map(|v| v.inside.port()).collect();
    assert_eq!(ports.len(), 100);
    assert_eq!(bench.engine.session(bench.now, views[3].id), Some(views[3]));
    assert_eq!(views[3].expires_in_ms, 300_000);
}

#[test]
fn a_full_table_refuses_until_something_expires() {
    let mut bench = Bench::with_sessions(&input(), 50);
    for port in 1..=50 {
        bench.out(UDP, &format!("172.16.10.11:{port}"), Y);
    }
    bench.wait(299);
    let outcome = bench.send(VRF, UDP, tuple(B), tuple(Y), NONE);
    assert_eq!(outcome, Err(Refusal::SessionsFull));
    assert_eq!(bench.live(), 50);
    assert_eq!(bench.engine.stats().mappings, 50);
    bench.wait(1);
    bench.out(UDP, B, Y);
    assert_eq!(bench.live(), 1);
}

#[test]
fn u13_a_filter_changes_with_the_policy_at_once_and_with_nothing_else() {
    let mut open = input();
    open.vrfs[0].snat[0].filtering = Filtering::EndpointIndependent;
    let mut bench = Bench::new(&open);
    let outside = bench.out(UDP, A, Y);
    assert_eq!(bench.back(UDP, Z, outside), Ok(tuple(A)));
    bench.apply(&input(), 2);
    assert_eq!(
        bench.back(UDP, "192.0.2.9:1", outside),
        Err(Refusal::Filtered)
    );
    assert_eq!(bench.back(UDP, Z, outside), Ok(tuple(A)));
}

#[test]
fn duty02_a_million_asks_never_give_a_port_of_the_gateways_own() {
    let mut policy = input();
    policy.vrfs[0] = vrf(VRF, SnatTarget::Uplink);
    let mut bench = Bench::with_sessions(&policy, 65_536);
    let taken = |port: u16| GATEWAY_PORTS.contains(&port) || (32768..=60999).contains(&port);
    let mut asked = 0;
    while asked < 1_000_000 {
        for number in 0..50_000u32 {
            let protocol = if number.is_multiple_of(2) { TCP } else { UDP };
            let host = Ipv4Addr::from_bits(0xac10_0000 + number / 1000);
            let src = SocketAddrV4::new(host, 1 + (number % 1000) as u16);
            let syn = segment(TcpSegment::SYN, 1, 0);
            let outside = source(bench.send(VRF, protocol, src, tuple(Y), syn));
            assert!(
                outside.port() >= 1024 && !taken(outside.port()),
                "{outside}"
            );
            asked += 1;
        }
        let (cleared, next) =
            bench
                .engine
                .clear(&SessionFilter::default(), Cursor::default(), u32::MAX);
        assert_eq!((cleared, next), (50_000, None));
        bench.wait(300);
    }
}
