//! Aging in turns, and filters that open.

use super::*;

/// Opens `count` UDP flows from as many hosts as they need.
fn fill(bench: &mut Bench, count: u32) {
    for flow in 0..count {
        let src = SocketAddrV4::new(
            Ipv4Addr::from(0xac10_0000 + flow / 48),
            1000 + flow as u16 % 48,
        );
        bench.send(VRF, UDP, src, tuple(Y), NONE).unwrap();
    }
}

#[test]
fn turns_meet_every_session_in_an_eighth_of_the_shortest_timeout() {
    let mut bench = Bench::with_sessions(&input(), 40_000);
    fill(&mut bench, 40_000);
    bench.wait(300);
    // The shortest time-out is that of ICMP, 60 s.
    let (mut gone, mut turns) = (0, 0);
    while gone < 40_000 {
        let before = bench.engine.stats().removed;
        bench.now = bench.now.after(Duration::from_millis(10));
        gone += bench.engine.age_in_turn(bench.now);
        turns += 1;
        let removed = bench.engine.stats().removed - before;
        assert!(removed < 256 + 32, "{removed} in one turn");
        assert!(turns < 760, "{gone} of 40000 after {turns} turns");
    }
    assert_eq!(bench.engine.stats().mappings, 0);
}

#[test]
fn a_long_silence_of_the_worker_is_made_up_for_in_bounded_turns() {
    let mut bench = Bench::with_sessions(&input(), 4_000);
    fill(&mut bench, 4_000);
    bench.wait(400);
    let mut turns = 0;
    while bench.engine.stats().udp_sessions > 0 {
        assert!(bench.engine.age_in_turn(bench.now) < 256 + 32);
        turns += 1;
        assert!(turns <= 20);
    }
}

#[test]
fn a_filter_that_opens_admits_strangers_once_the_sweep_has_come_by() {
    let mut bench = Bench::new(&input());
    let outside = bench.out(UDP, A, Y);
    assert_eq!(bench.back(UDP, Z, outside), Err(Refusal::Filtered));
    let mut open = input();
    open.vrfs[0].snat[0].filtering = Filtering::EndpointIndependent;
    bench.apply(&open, 2);
    bench.engine.age(bench.now, 1000);
    assert_eq!(bench.back(UDP, Z, outside), Ok(tuple(A)));
    bench.apply(&input(), 3);
    assert_eq!(
        bench.back(UDP, "192.0.2.77:1", outside),
        Err(Refusal::Filtered)
    );
    bench.engine.age(bench.now, 1000);
    bench.apply(&open, 4);
    bench.engine.age(bench.now, 1000);
    assert_eq!(bench.back(UDP, "192.0.2.78:1", outside), Ok(tuple(A)));
    bench
        .engine
        .clear(&SessionFilter::default(), Cursor::default(), u32::MAX);
    // The port is kept back for a while.
    assert_eq!(bench.back(UDP, Z, outside), Err(Refusal::Filtered));
    bench.wait(120);
    bench.engine.age(bench.now, 0);
    assert_eq!(bench.back(UDP, Z, outside), Err(Refusal::NoMapping));
}

#[test]
fn sessions_removed_together_hand_on_their_places() {
    let mut bench = Bench::new(&input());
    // Rings of eight sessions toward one address, on eight ports.
    for port in 1..=20 {
        for remote in 80..88 {
            bench.out(
                UDP,
                &format!("172.16.10.11:{port}"),
                &format!("192.0.2.1:{remote}"),
            );
        }
    }
    let outside = bench.out(UDP, "172.16.10.11:1", "192.0.2.1:80");
    bench.wait(299);
    // Every third stays.
    for port in (1..=20).step_by(3) {
        for remote in [81, 84, 87] {
            bench.out(
                UDP,
                &format!("172.16.10.11:{port}"),
                &format!("192.0.2.1:{remote}"),
            );
        }
    }
    bench.wait(2);
    bench.engine.age(bench.now, 1000);
    assert_eq!(bench.live(), 21);
    assert_eq!(
        bench.back(UDP, "192.0.2.1:84", outside),
        Ok(tuple("172.16.10.11:1"))
    );
    assert_eq!(
        bench.back(UDP, "192.0.2.1:99", outside),
        Ok(tuple("172.16.10.11:1"))
    );
    bench.wait(301);
    bench.engine.age(bench.now, 1000);
    let stats = bench.engine.stats();
    assert_eq!((stats.mappings, stats.hosts, stats.blocks), (0, 0, 0));
    assert_eq!(bench.engine.index.len(), 0);
    assert_eq!(bench.engine.mapping_index.len(), 0);
}
