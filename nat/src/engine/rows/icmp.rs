//! ICMP queries and errors (RFC 5508).

use super::*;

#[test]
fn u14_icmp_errors_neither_end_nor_refresh_a_mapping() {
    let mut bench = Bench::new(&input());
    let outside = bench.out(UDP, A, Y);
    bench.wait(200);
    let embedded = FlowKey {
        src: outside,
        dst: tuple(Y),
        protocol: UDP,
    };
    let found = bench.engine.error_from_outside(bench.now, &embedded);
    let (vrf, inside) = (VRF, tuple(A));
    assert_eq!(found, Some(ErrorTarget { vrf, inside }));
    assert_eq!(bench.back(UDP, Y, outside), Ok(tuple(A)));
    bench.wait(299);
    assert!(
        bench
            .engine
            .error_from_outside(bench.now, &embedded)
            .is_some()
    );
    bench.wait(1);
    assert_eq!(bench.engine.error_from_outside(bench.now, &embedded), None);
    assert_eq!(bench.back(UDP, Y, outside), Err(Refusal::NoMapping));
}

#[test]
fn i01_pings_with_one_identifier_do_not_collide() {
    let mut bench = Bench::new(&input());
    let a = bench.out(ICMP, "172.16.10.11:7", "192.0.2.1:7");
    let b = bench.out(ICMP, "172.16.10.12:7", "192.0.2.1:7");
    assert_ne!(a, b);
    let reply = |outside: SocketAddrV4| format!("192.0.2.1:{}", outside.port());
    assert_eq!(bench.back(ICMP, &reply(a), a), Ok(tuple("172.16.10.11:7")));
    assert_eq!(bench.back(ICMP, &reply(b), b), Ok(tuple("172.16.10.12:7")));
    assert_eq!(bench.out(ICMP, "172.16.10.11:7", "192.0.2.9:7"), a);
}

#[test]
fn i02_an_icmp_query_is_remembered_for_a_minute() {
    let mut bench = Bench::new(&input());
    let outside = bench.out(ICMP, "172.16.10.11:7", Y);
    bench.wait(59);
    assert!(bench.back(ICMP, Y, outside).is_ok());
    bench.wait(60);
    assert!(bench.back(ICMP, Y, outside).is_err());
}

#[test]
fn i08_an_error_about_a_ping_neither_ends_nor_refreshes_its_session() {
    let mut bench = Bench::new(&input());
    let outside = bench.out(ICMP, "172.16.10.11:7", Y);
    let embedded = FlowKey {
        src: outside,
        dst: tuple("192.0.2.1:0"),
        protocol: ICMP,
    };
    bench.wait(59);
    let now = bench.now;
    assert!(bench.engine.error_from_outside(now, &embedded).is_some());
    bench.wait(1);
    let now = bench.now;
    assert_eq!(bench.engine.error_from_outside(now, &embedded), None);
}

#[test]
fn i07_an_error_from_inside_finds_the_outside_tuple() {
    let mut bench = Bench::new(&input());
    let outside = bench.out(UDP, A, Y);
    let embedded = FlowKey {
        src: tuple(Y),
        dst: tuple(A),
        protocol: UDP,
    };
    let now = bench.now;
    assert_eq!(
        bench.engine.error_from_inside(now, VRF, &embedded),
        Some(outside)
    );
    assert_eq!(
        bench.engine.error_from_inside(now, OTHER_VRF, &embedded),
        None
    );
    assert_eq!(
        bench
            .engine
            .error_from_inside(now, VRF, &embedded.reversed()),
        None
    );
}
