//! What tenants and hosts may have, and what happens when something is used up.

use super::*;

/// Tenants that may have so many sessions each.
fn limited(sessions: u32) -> PolicyInput {
    let mut policy = input();
    for vrf in &mut policy.vrfs {
        vrf.limits.sessions = Some(sessions);
    }
    policy
}

/// Opens flows of a tenant, one by one or together, and counts those that are refused.
fn open(bench: &mut Bench, vrf: VrfId, ports: std::ops::Range<u16>, together: bool) -> usize {
    let key = |port: u16| FlowKey {
        src: SocketAddrV4::new(Ipv4Addr::new(172, 16, 10, 11), port),
        dst: tuple(Y),
        protocol: UDP,
    };
    let mut refused = 0;
    let mut note = |outcome: Result<Outbound, Refusal>| match outcome {
        Ok(Outbound::Translated { .. }) => {}
        Err(refusal) if refusal.is_exhaustion() => refused += 1,
        other => panic!("{other:?}"),
    };
    if together {
        let departure = |port| Departure {
            probe: bench.engine.probe_outbound(vrf, &key(port)),
            tcp: NONE,
            egress: UPLINK,
        };
        let departures: Vec<Departure> = ports.map(departure).collect();
        let now = bench.now;
        bench
            .engine
            .outbound_batch(now, &departures, |_, outcome| note(outcome));
    } else {
        for port in ports {
            let key = key(port);
            note(bench.send(vrf, UDP, key.src, key.dst, NONE));
        }
    }
    refused
}

#[test]
fn c04_a_tenant_has_no_more_sessions_than_its_limit_and_others_go_on() {
    for together in [false, true] {
        let mut bench = Bench::new(&limited(100));
        assert_eq!(open(&mut bench, VRF, 1000..1150, together), 50);
        assert_eq!(bench.engine.sessions_of_vrf(VRF), 100);
        // Nothing is left of what was refused; what is there goes on.
        assert_eq!(bench.engine.stats().mappings, 100);
        assert_eq!(open(&mut bench, VRF, 1000..1100, together), 0);
        assert_eq!(open(&mut bench, OTHER_VRF, 1000..1100, together), 0);
        let refused = bench.engine.stats().refusals[Refusal::TenantLimit.index()];
        assert_eq!(refused, 50);
        // Room again once they expired.
        bench.wait(301);
        let now = bench.now;
        while bench.engine.age(now, 4096) > 0 {}
        assert_eq!(open(&mut bench, VRF, 2000..2150, together), 50);
    }
}

#[test]
fn c04_a_lower_limit_ends_no_session_and_a_higher_one_counts_at_once() {
    let mut bench = Bench::new(&input());
    assert_eq!(open(&mut bench, VRF, 1000..1100, false), 0);
    bench.apply(&limited(10), 2);
    assert_eq!(open(&mut bench, VRF, 1000..1100, false), 0);
    assert_eq!(open(&mut bench, VRF, 2000..2001, false), 1);
    bench.apply(&limited(101), 3);
    assert_eq!(open(&mut bench, VRF, 2000..2002, false), 1);
}

#[test]
fn c04_connections_to_a_port_forward_count() {
    let mut policy = with_forward(OUTSIDE);
    policy.vrfs[0].limits.sessions = Some(2);
    let mut bench = Bench::new(&policy);
    for remote in [Y, Z] {
        let inside = connect_forward(&mut bench, remote).unwrap().destination;
        let answer = segment(TcpSegment::SYN | TcpSegment::ACK, 500, 701);
        bench.send(VRF, TCP, inside, tuple(remote), answer).unwrap();
        let data = segment(TcpSegment::ACK, 701, 501);
        bench.receive(TCP, remote, tuple(OUTSIDE), data).unwrap();
    }
    let third = connect_forward(&mut bench, Y_OTHER);
    assert_eq!(third.unwrap_err(), Refusal::TenantLimit);
}

#[test]
fn c05_a_tenant_opens_no_more_sessions_in_a_second_than_its_rate() {
    for together in [false, true] {
        let mut policy = input();
        policy.vrfs[0].limits.new_sessions = Some(20);
        let mut bench = Bench::new(&policy);
        assert_eq!(open(&mut bench, VRF, 1000..1050, together), 30);
        assert_eq!(bench.engine.stats().mappings, 20);
        // What is there goes on, and other tenants have no such limit.
        assert_eq!(open(&mut bench, VRF, 1000..1020, together), 0);
        assert_eq!(open(&mut bench, OTHER_VRF, 1000..1050, together), 0);
        bench.wait(1);
        assert_eq!(open(&mut bench, VRF, 2000..2050, together), 30);
        let refused = bench.engine.stats().refusals[Refusal::TenantRate.index()];
        assert_eq!(refused, 60);
    }
}

#[test]
fn c02_all_protocols_of_a_host_use_one_pool_address() {
    let mut bench = Bench::new(&input());
    for host in 1..=40 {
        let inside = format!("172.16.10.{host}:1000");
        let addresses = [TCP, UDP, ICMP].map(|protocol| *bench.out(protocol, &inside, Y).ip());
        assert_eq!(addresses, [addresses[0]; 3], "{inside}");
    }
}

#[test]
fn c04_a_host_has_no_more_ports_than_its_limit_and_others_go_on() {
    for together in [false, true] {
        let mut policy = input();
        policy.vrfs[0].limits.host_ports = Some(100);
        let mut bench = Bench::new(&policy);
        assert_eq!(open(&mut bench, VRF, 1000..1150, together), 50);
        assert_eq!(bench.engine.stats().mappings, 100);
        // A port it has serves further flows; another host and another tenant have their own.
        bench.out(UDP, "172.16.10.11:1000", Z);
        bench.out(UDP, "172.16.10.77:1000", Y);
        assert_eq!(open(&mut bench, OTHER_VRF, 1000..1150, together), 0);
        let refused = bench.engine.stats().refusals[Refusal::HostLimit.index()];
        assert_eq!(refused, 50);
        bench.wait(301);
        let now = bench.now;
        while bench.engine.age(now, 4096) > 0 {}
        assert_eq!(open(&mut bench, VRF, 3000..3100, together), 0);
    }
}

#[test]
fn c04_a_tenant_has_no_more_ports_than_its_limit_and_gets_them_back() {
    for together in [false, true] {
        let mut policy = input();
        policy.vrfs[0].limits.ports = Some(100);
        let mut bench = Bench::new(&policy);
        assert_eq!(open(&mut bench, VRF, 1000..1150, together), 50);
        assert_eq!(open(&mut bench, OTHER_VRF, 1000..1150, together), 0);
        let refused = bench.engine.stats().refusals[Refusal::TenantPorts.index()];
        assert_eq!(refused, 50);
        // A mapping has one port, however many sessions.
        assert!(bench.out(UDP, "172.16.10.11:1000", Z).port() > 0);
        bench.wait(301);
        let now = bench.now;
        while bench.engine.age(now, 4096) > 0 {}
        assert_eq!(open(&mut bench, VRF, 2000..2150, together), 50);
    }
}

/// Opens flows of a host to as many remotes, from one port, and counts those that are refused.
fn visit(bench: &mut Bench, host: &str, remotes: std::ops::Range<u8>) -> usize {
    let visit = |remote: u8| {
        let remote = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, remote), 53);
        bench.send(VRF, UDP, tuple(host), remote, NONE).is_err()
    };
    remotes.map(visit).filter(|refused| *refused).count()
}

#[test]
fn c05_a_host_has_no_more_sessions_than_its_limit_and_others_go_on() {
    let mut policy = input();
    policy.vrfs[0].limits.host_sessions = Some(30);
    policy.vrfs[0].snat[0].filtering = Filtering::EndpointIndependent;
    let mut bench = Bench::new(&policy);
    assert_eq!(visit(&mut bench, A, 0..40), 10);
    assert_eq!(visit(&mut bench, B, 0..30), 0);
    let refused = bench.engine.stats().refusals[Refusal::HostSessions.index()];
    assert_eq!(refused, 10);
    // Nor may others open more toward it.
    let outside = bench.out(UDP, A, "192.0.2.0:53");
    let stranger = bench.back(UDP, "198.51.100.77:1", outside);
    assert_eq!(stranger, Err(Refusal::HostSessions));
    bench.wait(301);
    let now = bench.now;
    while bench.engine.age(now, 4096) > 0 {}
    assert_eq!(visit(&mut bench, A, 0..40), 10);
}

#[test]
fn c05_a_host_opens_no_more_sessions_in_a_second_than_its_rate() {
    let mut policy = input();
    policy.vrfs[0].limits.host_new_sessions = Some(5);
    let mut bench = Bench::new(&policy);
    // The first session finds no host to count for yet.
    assert!(visit(&mut bench, A, 0..20) >= 14);
    assert!(visit(&mut bench, B, 0..20) >= 14);
    bench.wait(1);
    assert_eq!(visit(&mut bench, A, 100..120), 15);
    assert_eq!(visit(&mut bench, A, 100..105), 0, "what is there goes on");
}

#[test]
fn c05_room_that_is_reserved_is_left_to_its_tenant_whatever_another_does() {
    for together in [false, true] {
        let mut policy = input();
        policy.vrfs[1].limits.reserved_sessions = 300;
        let mut bench = Bench::with_sessions(&policy, 1000);
        assert_eq!(open(&mut bench, VRF, 1000..11_000, together), 9300);
        assert_eq!(open(&mut bench, OTHER_VRF, 1000..1300, together), 0);
        assert_eq!(open(&mut bench, OTHER_VRF, 2000..2001, together), 1);
        let refused = bench.engine.stats().refusals[Refusal::SessionsFull.index()];
        assert_eq!(refused, 9301);
        // Once its sessions are gone, the room is kept again.
        let of_other = SessionFilter {
            vrf: Some(OTHER_VRF),
            ..SessionFilter::default()
        };
        bench.engine.clear(&of_other, Cursor::default(), u32::MAX);
        assert_eq!(open(&mut bench, VRF, 20_000..20_100, together), 100);
        policy.vrfs[1].limits.reserved_sessions = 0;
        bench.apply(&policy, 2);
        assert_eq!(open(&mut bench, VRF, 20_000..20_100, together), 0);
        policy.vrfs[1].limits.reserved_sessions = 300;
        bench.apply(&policy, 3);
        assert_eq!(open(&mut bench, VRF, 30_000..30_001, together), 1);
        assert_eq!(open(&mut bench, OTHER_VRF, 1000..1200, together), 0);
        assert_eq!(
            open(&mut bench, OTHER_VRF, 1200..1201, together),
            1,
            "all is used"
        );
    }
}

/// Sends SYNs of a host to as many remotes and counts those that are refused.
fn flood(bench: &mut Bench, vrf: VrfId, count: u32) -> usize {
    let syn = |n: u32| {
        let src = SocketAddrV4::new(Ipv4Addr::new(172, 16, 10, 66), (n % 50_000) as u16 + 1024);
        let dst = SocketAddrV4::new(Ipv4Addr::from(0x0b00_0000 + n), 80);
        let syn = segment(TcpSegment::SYN, n, 0);
        bench.send(vrf, TCP, src, dst, syn).is_err()
    };
    (0..count).map(syn).filter(|refused| *refused).count()
}

#[test]
fn duty05_a_flood_of_half_open_connections_replaces_itself_and_no_open_one() {
    let mut bench = Bench::with_sessions(&input(), 1000);
    let outside = bench.connect();
    let other = bench.send(OTHER_VRF, UDP, tuple(A), tuple(Y), NONE);
    assert!(other.is_ok());
    assert_eq!(flood(&mut bench, VRF, 20_000), 0);
    assert_eq!(bench.engine.sessions_of_vrf(OTHER_VRF), 1);
    let data = segment(TcpSegment::ACK, 501, 101);
    assert!(bench.receive(TCP, Y, outside, data).is_ok());
    assert_eq!(bench.engine.stats().evicted, 20_000 - 998);
    // Who has nothing half open replaces nothing.
    let refused = bench.send(OTHER_VRF, UDP, tuple(B), tuple(Y), NONE);
    assert_eq!(refused, Err(Refusal::SessionsFull));
}

#[test]
fn duty05_half_open_connections_make_room_within_a_tenants_limit() {
    let mut bench = Bench::new(&limited(50));
    bench.connect();
    assert_eq!(flood(&mut bench, VRF, 500), 0);
    assert_eq!(bench.engine.sessions_of_vrf(VRF), 50);
    assert!(bench.send(VRF, UDP, tuple(B), tuple(Z), NONE).is_ok());
}
