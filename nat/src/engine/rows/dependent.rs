//! Endpoint-dependent mapping and port overloading; rules by destination; time-outs of rules.

use std::collections::{HashMap, HashSet};

use super::*;

fn dependent(addresses: &[&str], ports: std::ops::RangeInclusive<u16>) -> PolicyInput {
    let mut policy = input();
    policy.pools[0] = pool(1, addresses);
    policy.pools[0].ports = ports;
    for vrf in &mut policy.vrfs {
        vrf.snat[0].mapping = MappingMode::EndpointDependent;
    }
    policy
}

/// A flow of a host to the remote of a number.
fn flow(bench: &mut Bench, host: u8, port: u16, remote: u32) -> Result<SocketAddrV4, Refusal> {
    let src = SocketAddrV4::new(Ipv4Addr::new(172, 16, 1, host), port);
    let dst = SocketAddrV4::new(Ipv4Addr::from(0x0b00_0000 + remote), 443);
    let outbound = bench.send(VRF, UDP, src, dst, NONE)?;
    Ok(source(Ok(outbound)))
}

#[test]
fn an_endpoint_dependent_mapping_differs_by_remote_and_lets_in_exactly_that() {
    let mut bench = Bench::new(&dependent(&["203.0.113.64/28"], DYNAMIC_PORTS));
    let outsides: HashSet<SocketAddrV4> = (0..20)
        .map(|remote| flow(&mut bench, 1, 5000, remote).unwrap())
        .collect();
    assert_eq!(outsides.len(), 20);
    let addresses: HashSet<&Ipv4Addr> = outsides.iter().map(SocketAddrV4::ip).collect();
    assert_eq!(addresses.len(), 1, "paired");
    let outside = bench.out(UDP, A, Y);
    assert_eq!(bench.out(UDP, A, Y), outside);
    assert_eq!(bench.back(UDP, Y, outside), Ok(tuple(A)));
    assert_eq!(bench.back(UDP, Y_OTHER, outside), Err(Refusal::Filtered));
    assert_eq!(bench.back(UDP, Z, outside), Err(Refusal::Filtered));
}

#[test]
fn c13_ports_are_all_used_then_overloaded_and_never_toward_one_remote_twice() {
    let policy = dependent(&["203.0.113.64/32"], DYNAMIC_PORTS);
    let mut bench = Bench::with_sessions(&policy, 200_000);
    let mut used: HashMap<SocketAddrV4, HashSet<u32>> = HashMap::new();
    let mut first_shared = None;
    for n in 0..150_000u32 {
        let (host, port) = ((n % 50) as u8, 1024 + (n / 50) as u16);
        let outside = flow(&mut bench, host, port, n).unwrap();
        let remotes = used.entry(outside).or_default();
        if !remotes.is_empty() && first_shared.is_none() {
            first_shared = Some(n);
        }
        assert!(remotes.insert(n));
    }
    let first_shared = f64::from(first_shared.unwrap());
    let utilisation = first_shared / f64::from(65536 - 1024);
    assert!(utilisation >= 0.98, "{utilisation}");
    let now = bench.now;
    for n in [0, 70_000, 149_999u32] {
        let remote = SocketAddrV4::new(Ipv4Addr::from(0x0b00_0000 + n), 443);
        let outside = *used
            .iter()
            .find(|(_, remotes)| remotes.contains(&n))
            .unwrap()
            .0;
        let key = FlowKey {
            src: remote,
            dst: outside,
            protocol: UDP,
        };
        let inside = bench.engine.inbound(now, &key, &NONE).unwrap().destination;
        assert_eq!(inside.ip().octets()[3], (n % 50) as u8);
        assert_eq!(inside.port(), 1024 + (n / 50) as u16);
    }
    bench
        .engine
        .clear(&SessionFilter::default(), Cursor::default(), u32::MAX);
    assert_eq!(
        bench.engine.pool_usage(PoolId::new(1)),
        PoolUsage::default()
    );
    assert_eq!(bench.owners.claimed(1), 0);
}

#[test]
fn c13_toward_one_remote_each_port_serves_once() {
    let mut bench = Bench::new(&dependent(&["203.0.113.64/32"], 2048..=2111));
    let mut used = HashSet::new();
    for port in 1000..1064 {
        assert!(used.insert(flow(&mut bench, 1, port, 7).unwrap()));
    }
    assert_eq!(flow(&mut bench, 1, 1064, 7), Err(Refusal::PortsExhausted));
    assert_eq!(flow(&mut bench, 2, 1064, 7), Err(Refusal::PortsExhausted));
    assert!(used.contains(&flow(&mut bench, 2, 1064, 8).unwrap()));
}

#[test]
fn u13_mappings_that_are_there_keep_their_kind_when_the_rule_changes() {
    let mut policy = input();
    let mut bench = Bench::new(&policy);
    let kept = bench.out(UDP, A, Y);
    policy.vrfs[0].snat[0].mapping = MappingMode::EndpointDependent;
    bench.apply(&policy, 2);
    assert_eq!(bench.out(UDP, A, Y), kept);
    let own = bench.out(UDP, A, Z);
    assert_ne!(own, kept);
    bench.apply(&input(), 3);
    assert_eq!(bench.out(UDP, A, Z), own);
    assert_eq!(bench.out(UDP, A, "192.0.2.3:80"), kept);
    assert_eq!(bench.back(UDP, "192.0.2.2:81", own), Err(Refusal::Filtered));
}

/// The tenant's rule, with one before it that leaves a destination alone.
fn with_exception() -> PolicyInput {
    let mut policy = input();
    let exception = SnatRule {
        destination: Some("192.0.2.2/32".parse().unwrap()),
        ..SnatRule::new("172.16.0.0/12".parse().unwrap(), SnatTarget::NoNat)
    };
    policy.vrfs[0].snat.insert(0, exception);
    policy
}

#[test]
fn c06_a_destination_may_be_exempt_from_translation() {
    let mut bench = Bench::new(&with_exception());
    let outside = bench.out(UDP, A, Y);
    let exempt = bench.send(VRF, UDP, tuple(A), tuple(Z), NONE);
    assert_eq!(exempt, Ok(Outbound::Untranslated));
    let policy = bench.engine.policy();
    let scope = |remote: &str| policy.scope(VRF, tuple(A), *tuple(remote).ip(), UDP);
    assert_eq!((scope(Y), scope(Z)), (Scope::Stateful, Scope::Untranslated));
    // What is not translated outbound is not let in by another's mapping.
    assert_eq!(bench.back(UDP, Z, outside), Err(Refusal::Filtered));
}

#[test]
fn c06_an_exception_made_later_ends_the_sessions_it_is_about_and_no_others() {
    let mut bench = Bench::new(&input());
    let (outside, other) = (bench.out(UDP, A, Y), bench.out(UDP, A, Z));
    assert_eq!(outside, other);
    bench.apply(&with_exception(), 2);
    assert_eq!(bench.back(UDP, Z, outside), Err(Refusal::Filtered));
    let exempt = bench.send(VRF, UDP, tuple(A), tuple(Z), NONE);
    assert_eq!(exempt, Ok(Outbound::Untranslated));
    assert_eq!(bench.back(UDP, Y, outside), Ok(tuple(A)));
    bench.engine.age(bench.now, 100);
    assert_eq!(bench.live(), 1);
}

#[test]
fn u07_well_known_ports_may_have_a_shorter_time_out_and_others_keep_theirs() {
    let mut policy = input();
    policy.timers.udp_short = Duration::from_secs(20);
    policy.timers.udp_short_ports = vec![53];
    let mut bench = Bench::new(&policy);
    let outside = bench.out(UDP, A, "192.0.2.1:53");
    bench.out(UDP, B, "192.0.2.1:5353");
    bench.wait(19);
    assert_eq!(bench.live(), 2);
    assert_eq!(bench.back(UDP, "192.0.2.1:53", outside), Ok(tuple(A)));
    bench.wait(20);
    assert_eq!(bench.live(), 1);
    assert!(bench.back(UDP, "192.0.2.1:53", outside).is_err());
}

#[test]
fn time_outs_of_a_rule_count_for_its_sessions_from_the_next_look_on() {
    let mut policy = input();
    policy.vrfs[0].snat[0].timeouts = RuleTimeouts {
        udp: Some(Duration::from_secs(150)),
        tcp_established: Some(Duration::from_secs(8000)),
        ..RuleTimeouts::default()
    };
    let mut bench = Bench::new(&policy);
    bench.out(UDP, A, Y);
    let other = bench.send(OTHER_VRF, UDP, tuple(A), tuple(Y), NONE);
    assert!(other.is_ok());
    let outside = bench.connect();
    bench.wait(150);
    assert_eq!(bench.live(), 2);
    let data = segment(TcpSegment::ACK, 501, 101);
    bench.wait(7_849);
    assert!(bench.receive(TCP, Y, outside, data).is_ok());
    bench.apply(&input(), 2);
    bench.wait(7_440);
    assert!(bench.receive(TCP, Y, outside, data).is_err());
}

#[test]
fn more_sets_of_time_outs_than_a_session_can_name_are_refused() {
    let build = |rules: u64| {
        let mut policy = input();
        policy.vrfs[0].snat = (0..rules)
            .map(|n| {
                let mut rule = policy.vrfs[0].snat[0];
                rule.timeouts.udp = Some(Duration::from_secs(200 + n));
                rule
            })
            .collect();
        let owners = Arc::new(OutsideOwners::new(64).unwrap());
        let steering = Steering::new(Seed::new([1; 32]), 1);
        Policy::build(&policy, Generation::new(1), steering, &owners).map(|_| ())
    };
    assert_eq!(build(31), Ok(()));
    assert_eq!(build(32), Err(PolicyError::TooManyTimeouts { most: 32 }));
}
