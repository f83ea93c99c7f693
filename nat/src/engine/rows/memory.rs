//! What a session costs, all in.

use super::*;

/// 2^30 octets for 10 M sessions.
const EACH: f64 = 107.4;

#[test]
fn ten_million_sessions_with_their_own_mappings_fit_a_gibibyte() {
    let sessions = 400_000;
    let mut bench = Bench::with_sessions(&input(), sessions);
    for flow in 0..sessions {
        let src = SocketAddrV4::new(Ipv4Addr::from(0xac10_0000 + flow / 56), (flow % 56) as u16);
        bench.send(VRF, UDP, src, tuple(Y), NONE).unwrap();
    }
    let stats = bench.engine.stats();
    assert_eq!((stats.mappings, stats.udp_sessions), (400_000, 400_000));
    let memory = bench.engine.memory();
    let each = memory.total() as f64 / f64::from(sessions);
    assert!(each < EACH, "{each}: {memory:?}");
}

#[test]
fn sessions_without_mappings_take_no_memory_for_mappings() {
    let mut policy = input();
    let inside = "172.16.0.1:53";
    policy.vrfs[0]
        .port_forwards
        .push(forward(UDP, "203.0.113.99:53", inside));
    let mut bench = Bench::with_sessions(&policy, 100_000);
    for remote in 0..100_000u32 {
        let src = SocketAddrV4::new(Ipv4Addr::from(0x0800_0000 + remote), 1);
        let key = FlowKey {
            src,
            dst: tuple("203.0.113.99:53"),
            protocol: UDP,
        };
        bench.engine.inbound(bench.now, &key, &NONE).unwrap();
    }
    let memory = bench.engine.memory();
    assert_eq!(memory.mapping_index, 0);
    let each = memory.total() as f64 / 100_000.0;
    assert!(each < 89.0, "{each}: {memory:?}");
}
