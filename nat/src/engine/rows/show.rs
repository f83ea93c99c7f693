//! What people are shown: filters, what sessions carry, counters of pools and tenants.

use super::*;

fn filter(change: impl FnOnce(&mut SessionFilter)) -> SessionFilter {
    let mut filter = SessionFilter::default();
    change(&mut filter);
    filter
}

fn at(prefix: &str, port: Option<u16>) -> Option<TupleFilter> {
    let prefix = prefix.parse().unwrap();
    Some(TupleFilter { prefix, port })
}

fn carried(view: &SessionView) -> (Traffic, Traffic) {
    let counts = view.counts.unwrap();
    (counts.outbound, counts.inbound)
}

fn traffic(packets: u64, octets: u64) -> Traffic {
    Traffic { packets, octets }
}

/// Established TCP from A to Y, half-open TCP from A to Z, a datagram from B to Y, and a ping of the other
/// tenant. Gives the outside tuple of the first.
fn four_kinds(bench: &mut Bench) -> SocketAddrV4 {
    let outside = bench.connect();
    bench.out(TCP, A, Z);
    bench.out(UDP, B, Y);
    bench
        .send(OTHER_VRF, ICMP, tuple(A), tuple("192.0.2.1:0"), NONE)
        .unwrap();
    outside
}

#[test]
fn every_part_of_a_filter_selects_what_it_says() {
    let mut bench = Bench::new(&input());
    let outside = four_kinds(&mut bench);
    let count = |change: fn(&mut SessionFilter)| bench.matching(&filter(change)).len();
    assert_eq!(count(|_| ()), 4);
    assert_eq!(count(|f| f.vrf = Some(VRF)), 3);
    assert_eq!(count(|f| f.protocol = Some(TCP)), 2);
    assert_eq!(count(|f| f.inside = at("172.16.10.11/32", None)), 3);
    assert_eq!(count(|f| f.inside = at("172.16.10.8/29", Some(5000))), 4);
    assert_eq!(count(|f| f.inside = at("172.16.10.8/29", Some(5001))), 0);
    assert_eq!(count(|f| f.inside = at("172.16.11.0/24", None)), 0);
    assert_eq!(count(|f| f.outside = at("203.0.113.64/28", None)), 4);
    assert_eq!(count(|f| f.remote = at("192.0.2.1/32", None)), 3);
    assert_eq!(count(|f| f.remote = at("192.0.2.1/32", Some(80))), 2);
    let states = |state| bench.matching(&filter(|f| f.state = Some(state))).len();
    assert_eq!(states(StateFilter::Tcp(TcpState::Established)), 1);
    assert_eq!(states(StateFilter::Tcp(TcpState::Opening)), 1);
    assert_eq!(states(StateFilter::Tcp(TcpState::Closing)), 0);
    assert_eq!(states(StateFilter::Transitory), 1);
    assert_eq!(states(StateFilter::Active), 2);
    let host = format!("{}/32", outside.ip());
    let one = filter(|f| {
        f.outside = at(&host, Some(outside.port()));
        f.state = Some(StateFilter::Tcp(TcpState::Established));
    });
    assert_eq!(bench.matching(&one)[0].outside, outside);
}

#[test]
fn a_cleared_session_is_gone_and_the_others_go_on() {
    let mut bench = Bench::new(&input());
    let outside = four_kinds(&mut bench);
    let opening = filter(|f| f.state = Some(StateFilter::Transitory));
    let (gone, _) = bench.engine.clear(&opening, Cursor::default(), u32::MAX);
    assert_eq!((gone, bench.live()), (1, 3));
    let data = segment(TcpSegment::ACK, 501, 101);
    bench.receive(TCP, Y, outside, data).unwrap();
}

#[test]
fn a_session_says_what_it_carried_and_how_old_it_is() {
    let mut bench = Bench::counting(&input());
    assert!(bench.engine.counts_sessions());
    bench.out(UDP, A, Y);
    let id = bench.matching(&SessionFilter::default())[0].id;
    bench.engine.count_outbound(id, 1500);
    bench.engine.count_outbound(id, 40);
    bench.engine.count_inbound(id, 60);
    bench.wait(90);
    let view = bench.engine.session(bench.now, id).unwrap();
    assert_eq!(carried(&view), (traffic(2, 1540), traffic(1, 60)));
    assert_eq!(view.counts.unwrap().age_ms, 90_000);
    // The next session in its place begins anew.
    let all = SessionFilter::default();
    bench.engine.clear(&all, Cursor::default(), u32::MAX);
    bench.out(UDP, B, Y);
    let view = bench.engine.session(bench.now, id).unwrap();
    assert_eq!(carried(&view), (traffic(0, 0), traffic(0, 0)));
    assert_eq!(view.counts.unwrap().age_ms, 0);
}

#[test]
fn a_session_is_found_by_its_key_whatever_the_guess() {
    let mut bench = Bench::counting(&input());
    let outside = bench.out(UDP, A, Y);
    let id = bench.matching(&SessionFilter::default())[0].id;
    let key = FlowKey {
        src: tuple(A),
        dst: tuple(Y),
        protocol: UDP,
    };
    let probe = bench.engine.probe_outbound(VRF, &key);
    let found = bench.engine.session_outbound(Candidate::NONE, &probe);
    assert_eq!(found, Some(id));
    let back = FlowKey {
        src: tuple(Y),
        dst: outside,
        protocol: UDP,
    };
    let probe = bench.engine.probe_inbound(&back);
    let found = bench.engine.session_inbound(Candidate::NONE, &probe);
    assert_eq!(found, Some(id));
}

#[test]
fn what_sessions_carry_takes_memory_only_where_it_is_counted() {
    let mut bench = Bench::new(&input());
    bench.out(UDP, A, Y);
    assert!(!bench.engine.counts_sessions());
    assert_eq!(bench.matching(&SessionFilter::default())[0].counts, None);
    assert_eq!(bench.engine.memory().tallies, 0);
    let mut bench = Bench::counting(&input());
    bench.out(UDP, A, Y);
    assert_eq!(bench.engine.memory().tallies, 2 * 32);
}

fn census(bench: &Bench, step: u32) -> Vec<VrfStats> {
    let mut vrfs = vec![VrfStats::default(); 3];
    let mut at = Some(Census::default());
    while let Some(place) = at {
        at = bench.engine.take_census(place, step, &mut vrfs);
    }
    vrfs
}

#[test]
fn c10_what_a_tenant_has_had_and_was_refused_is_counted_for_it_alone() {
    let mut policy = input();
    policy.vrfs[0].limits.ports = Some(2);
    let mut bench = Bench::new(&policy);
    four_kinds(&mut bench);
    let more = bench.send(VRF, UDP, tuple("172.16.10.12:5001"), tuple(Z), NONE);
    assert_eq!(more, Err(Refusal::TenantPorts));
    let ack = segment(TcpSegment::ACK, 1, 1);
    let unopened = bench.send(OTHER_VRF, TCP, tuple(B), tuple(Z), ack);
    assert_eq!(unopened, Err(Refusal::NotSyn));
    let half_open = filter(|f| f.state = Some(StateFilter::Transitory));
    bench.engine.clear(&half_open, Cursor::default(), u32::MAX);
    let vrfs = census(&bench, u32::MAX);
    let mut first = VrfStats {
        tcp_established: 1,
        udp: 1,
        mappings: 2,
        hosts: 2,
        created: 3,
        removed: 1,
        ..VrfStats::default()
    };
    first.refusals[Refusal::TenantPorts.index()] = 1;
    let mut other = VrfStats {
        icmp: 1,
        mappings: 1,
        hosts: 1,
        created: 1,
        ..VrfStats::default()
    };
    other.refusals[Refusal::NotSyn.index()] = 1;
    assert_eq!(vrfs, [VrfStats::default(), first, other]);
    assert_eq!(census(&bench, 1), vrfs);
}

#[test]
fn c10_what_comes_from_outside_is_refused_in_the_name_of_whom_it_was_for() {
    let mut policy = input();
    let inside = "172.16.10.11:80";
    policy.vrfs[0]
        .port_forwards
        .push(forward(TCP, "203.0.113.99:80", inside));
    let mut bench = Bench::new(&policy);
    let ack = segment(TcpSegment::ACK, 1, 1);
    let unopened = bench.receive(TCP, Y, tuple("203.0.113.99:80"), ack);
    assert_eq!(unopened, Err(Refusal::NotSyn));
    let unknown = bench.receive(UDP, Y, tuple("203.0.113.70:2000"), NONE);
    assert_eq!(unknown, Err(Refusal::NoMapping));
    let vrfs = census(&bench, 7);
    assert_eq!(vrfs[1].refusals[Refusal::NotSyn.index()], 1);
    let refused: u64 = vrfs.iter().flat_map(|vrf| vrf.refusals).sum();
    assert_eq!(refused, 1);
    let all = bench.engine.stats().refusals;
    assert_eq!(all[Refusal::NoMapping.index()], 1);
    assert_eq!(all[Refusal::NotSyn.index()], 1);
}

#[test]
fn c10_a_pool_says_what_it_may_hand_out_and_what_each_address_has() {
    let mut policy = input();
    policy.vrfs[0]
        .port_forwards
        .push(forward(TCP, "203.0.113.66:2000", "172.16.10.11:80"));
    let mut bench = Bench::new(&policy);
    let pool = PoolId::new(1);
    let capacity = PoolCapacity {
        addresses: 16,
        blocks: 16 * 1008,
        ports: 16 * 64_512 - 1,
    };
    assert_eq!(bench.engine.policy().pool_capacity(pool), capacity);
    let outside = four_kinds(&mut bench);
    let of_uplink = bench.engine.policy().uplink_capacity(UPLINK);
    assert_eq!(of_uplink.addresses, 1);
    let addresses = bench.engine.policy().pool_addresses(pool);
    let mut usage: Vec<_> = addresses.into_iter().map(AddressUsage::none).collect();
    let mut cursor = Some(Cursor::default());
    while let Some(at) = cursor {
        cursor = bench.engine.address_usage(pool, at, 1, &mut usage);
    }
    let sum = |of: fn(&AddressUsage) -> u32| usage.iter().map(of).sum::<u32>();
    assert_eq!((sum(|u| u.tcp), sum(|u| u.udp), sum(|u| u.icmp)), (1, 1, 1));
    let used = bench.engine.pool_usage(pool);
    assert_eq!((sum(|u| u.blocks), 3), (used.blocks, used.ports));
    let first = usage.iter().find(|usage| usage.address == *outside.ip());
    assert_eq!(first.unwrap().tcp, 1);
}
