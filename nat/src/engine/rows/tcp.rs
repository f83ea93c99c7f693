//! TCP time-outs and states (RFC 5382, RFC 7857).

use rand::Rng as _;

use super::*;

#[test]
fn t01_same_mapping_for_every_connection_of_a_port() {
    let mut bench = Bench::new(&input());
    assert_eq!(bench.out(TCP, A, Y), bench.out(TCP, A, Z));
}

#[test]
fn t06_an_established_connection_may_idle_for_7439_seconds() {
    let mut bench = Bench::new(&input());
    let outside = bench.connect();
    bench.wait(7439);
    bench.engine.age(bench.now, 1000);
    assert_eq!(bench.live(), 1);
    let data = segment(TcpSegment::ACK, 501, 101);
    assert!(bench.receive(TCP, Y, outside, data).is_ok());
    bench.wait(7440);
    assert_eq!(bench.engine.age(bench.now, 1000), 1);
}

#[test]
fn t07_a_half_open_or_closed_connection_may_idle_for_239_seconds() {
    let mut bench = Bench::new(&input());
    bench.out(TCP, A, Y);
    bench.wait(239);
    assert_eq!(bench.engine.age(bench.now, 1000), 0);
    bench.wait(1);
    assert_eq!(bench.engine.age(bench.now, 1000), 1);

    let mut bench = Bench::new(&input());
    let outside = bench.connect();
    let fin = TcpSegment::FIN | TcpSegment::ACK;
    bench
        .send(VRF, TCP, tuple(A), tuple(Y), segment(fin, 101, 501))
        .unwrap();
    bench
        .receive(TCP, Y, outside, segment(fin, 501, 102))
        .unwrap();
    bench.wait(239);
    assert_eq!(bench.engine.age(bench.now, 1000), 0);
    bench.wait(1);
    assert_eq!(bench.engine.age(bench.now, 1000), 1);
}

#[test]
fn t08_a_reset_leaves_four_minutes_in_which_data_revives() {
    let mut bench = Bench::new(&input());
    let outside = bench.connect();
    bench
        .receive(TCP, Y, outside, segment(TcpSegment::RST, 501, 0))
        .unwrap();
    bench.wait(239);
    let data = segment(TcpSegment::ACK, 101, 501);
    assert!(bench.send(VRF, TCP, tuple(A), tuple(Y), data).is_ok());
    bench.wait(7439);
    assert_eq!(bench.live(), 1);
}

#[test]
fn t09_resets_from_off_the_path_change_nothing() {
    let mut bench = Bench::new(&input());
    let outside = bench.connect();
    let sweep = 100_000u32;
    for guess in 0..sweep {
        let seq = guess.wrapping_mul(u32::MAX / sweep).wrapping_add(1000);
        let forged = segment(TcpSegment::RST, seq, 0);
        assert!(bench.receive(TCP, Y, outside, forged).is_ok());
    }
    assert_eq!(bench.engine.stats().tcp_ignored, u64::from(sweep));
    bench.wait(7439);
    assert_eq!(bench.live(), 1);
}

#[test]
fn t11_a_closed_tuple_may_be_used_again_at_once() {
    let mut bench = Bench::new(&input());
    let outside = bench.connect();
    bench
        .receive(TCP, Y, outside, segment(TcpSegment::RST, 501, 0))
        .unwrap();
    assert_eq!(bench.connect(), outside);
    bench.wait(7439);
    assert_eq!(bench.live(), 1);
}

#[test]
fn a_segment_that_opens_nothing_makes_no_session() {
    let mut bench = Bench::new(&input());
    for flags in [
        TcpSegment::ACK,
        TcpSegment::RST,
        TcpSegment::SYN | TcpSegment::ACK,
        0,
    ] {
        let outcome = bench.send(VRF, TCP, tuple(A), tuple(Y), segment(flags, 1, 1));
        assert_eq!(outcome, Err(Refusal::NotSyn));
    }
    assert_eq!(bench.engine.stats().mappings, 0);
    assert_eq!(bench.engine.stats().refusals[Refusal::NotSyn.index()], 4);
}

#[test]
fn duty01_a_million_spoofed_resets_and_errors_end_no_session() {
    let mut bench = Bench::new(&input());
    let outside = bench.connect();
    let mut random = Seed::new([3; 32]).generator(WorkerId::new(1));
    for _ in 0..1_000_000 {
        let guess: u64 = random.random();
        let flags = if guess >> 33 & 1 == 0 {
            TcpSegment::RST
        } else {
            TcpSegment::RST | TcpSegment::ACK
        };
        let forged = segment(flags, guess as u32, (guess >> 34) as u32);
        bench.receive(TCP, Y, outside, forged).unwrap();
        let embedded = FlowKey {
            src: SocketAddrV4::new(*outside.ip(), guess as u16),
            dst: tuple(Y),
            protocol: TCP,
        };
        let found = bench.engine.error_from_outside(bench.now, &embedded);
        assert_eq!(found.is_some(), embedded.src == outside);
    }
    bench.wait(7439);
    assert_eq!(bench.live(), 1);
}
