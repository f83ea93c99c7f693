//! Rows of `docs/conformance.md` that can be shown on one engine in virtual time.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use sekisho_types::{InterfaceId, IpProtocol, VrfId, WorkerId};

use super::*;
use crate::*;

const TCP: IpProtocol = IpProtocol::TCP;
const UDP: IpProtocol = IpProtocol::UDP;
const ICMP: IpProtocol = IpProtocol::ICMP;
const VRF: VrfId = VrfId::new(1);
const OTHER_VRF: VrfId = VrfId::new(2);
const UPLINK: InterfaceId = InterfaceId::new(0);
const NONE: TcpSegment = TcpSegment {
    flags: 0,
    seq: 0,
    ack: 0,
    len: 0,
};

fn tuple(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

fn segment(flags: u8, seq: u32, ack: u32) -> TcpSegment {
    let len = 0;
    TcpSegment {
        flags,
        seq,
        ack,
        len,
    }
}

fn pool(id: u16, addresses: &[&str]) -> PoolInput {
    PoolInput {
        id: PoolId::new(id),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ports: DYNAMIC_PORTS,
    }
}

fn vrf(id: VrfId, target: SnatTarget) -> VrfInput {
    VrfInput {
        id,
        snat: vec![SnatRule {
            source: "172.16.0.0/12".parse().unwrap(),
            target,
            filtering: Filtering::default(),
        }],
        floating_ips: Vec::new(),
        port_forwards: Vec::new(),
    }
}

/// Two tenants with the same addresses behind one pool, and an uplink.
fn input() -> PolicyInput {
    let pool_1 = SnatTarget::Pool(PoolId::new(1));
    PolicyInput {
        pools: vec![pool(1, &["203.0.113.64/28"])],
        uplinks: vec![UplinkInput {
            id: UPLINK,
            addresses: vec![Ipv4Addr::new(198, 51, 100, 1)],
        }],
        uplink_reserved: vec![32768..=60999],
        vrfs: vec![vrf(VRF, pool_1), vrf(OTHER_VRF, pool_1)],
        timers: Timers::default(),
    }
}

fn forward(protocol: IpProtocol, outside: &str, inside: &str) -> PortForward {
    PortForward {
        protocol,
        outside: tuple(outside),
        inside: tuple(inside),
    }
}

/// An engine and its clock.
struct Bench {
    engine: Engine,
    now: Time,
    owners: Arc<OutsideOwners>,
    steering: Steering,
}

impl Bench {
    fn new(input: &PolicyInput) -> Self {
        Self::with_sessions(input, 4096)
    }

    fn with_sessions(input: &PolicyInput, max_sessions: u32) -> Self {
        let seed = Seed::new([42; 32]);
        let steering = Steering::new(seed, 1);
        let owners = Arc::new(OutsideOwners::new(8192).unwrap());
        let policy = Policy::build(input, Generation::new(1), steering, &owners).unwrap();
        let config = EngineConfig {
            worker: WorkerId::new(0),
            max_sessions,
            seed,
        };
        Self {
            engine: Engine::new(config, Arc::new(policy)).unwrap(),
            now: Time::from_millis(u64::from(u32::MAX) - 1000),
            owners,
            steering,
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    fn apply(&mut self, input: &PolicyInput, generation: u64) {
        let generation = Generation::new(generation);
        let policy = Policy::build(input, generation, self.steering, &self.owners).unwrap();
        self.engine.set_policy(Arc::new(policy));
    }

    fn send(
        &mut self,
        vrf: VrfId,
        protocol: IpProtocol,
        src: SocketAddrV4,
        dst: SocketAddrV4,
        tcp: TcpSegment,
    ) -> Result<Outbound, Refusal> {
        let key = FlowKey { src, dst, protocol };
        self.engine.outbound(self.now, vrf, &key, &tcp, UPLINK)
    }

    /// Sends outbound and gives the outside tuple.
    fn out(&mut self, protocol: IpProtocol, src: &str, dst: &str) -> SocketAddrV4 {
        let syn = segment(TcpSegment::SYN, 1, 0);
        source(self.send(VRF, protocol, tuple(src), tuple(dst), syn))
    }

    fn receive(
        &mut self,
        protocol: IpProtocol,
        src: &str,
        dst: SocketAddrV4,
        tcp: TcpSegment,
    ) -> Result<Inbound, Refusal> {
        let src = tuple(src);
        let key = FlowKey { src, dst, protocol };
        self.engine.inbound(self.now, &key, &tcp)
    }

    /// Sends inbound and gives the inside tuple.
    fn back(
        &mut self,
        protocol: IpProtocol,
        src: &str,
        dst: SocketAddrV4,
    ) -> Result<SocketAddrV4, Refusal> {
        self.receive(protocol, src, dst, NONE)
            .map(|inbound| inbound.destination)
    }

    /// Opens a connection from `A` to `Y` and gives the outside tuple.
    fn connect(&mut self) -> SocketAddrV4 {
        let outside = source(self.send(
            VRF,
            TCP,
            tuple(A),
            tuple(Y),
            segment(TcpSegment::SYN, 100, 0),
        ));
        let syn_ack = segment(TcpSegment::SYN | TcpSegment::ACK, 500, 101);
        self.receive(TCP, Y, outside, syn_ack).unwrap();
        let ack = segment(TcpSegment::ACK, 101, 501);
        self.send(VRF, TCP, tuple(A), tuple(Y), ack).unwrap();
        outside
    }

    fn live(&self) -> usize {
        let mut views = Vec::new();
        let end = self.engine.snapshot(
            self.now,
            &SessionFilter::default(),
            Cursor::default(),
            u32::MAX,
            &mut views,
        );
        assert_eq!(end, None);
        views.len()
    }
}

fn source(outcome: Result<Outbound, Refusal>) -> SocketAddrV4 {
    match outcome.unwrap() {
        Outbound::Translated { source, .. } => source,
        Outbound::Untranslated => panic!("not translated"),
    }
}

const A: &str = "172.16.10.11:5000";
const B: &str = "172.16.10.12:5000";
const Y: &str = "192.0.2.1:80";
const Y_OTHER: &str = "192.0.2.1:8080";
const Z: &str = "192.0.2.2:80";

#[test]
fn u01_same_mapping_for_every_destination() {
    let mut bench = Bench::new(&input());
    let first = bench.out(UDP, A, Y);
    assert_eq!(bench.out(UDP, A, Y_OTHER), first);
    assert_eq!(bench.out(UDP, A, Z), first);
    assert_eq!(bench.engine.stats().mappings, 1);
    assert_eq!(bench.engine.stats().udp_sessions, 3);
}

#[test]
fn u02_all_flows_of_a_host_use_one_pool_address() {
    let mut bench = Bench::new(&input());
    let first = bench.out(UDP, A, Y);
    for flow in 0..500u16 {
        let src = format!("172.16.10.11:{}", 1024 + flow);
        let protocol = [TCP, UDP, ICMP][usize::from(flow) % 3];
        let outside = bench.out(protocol, &src, &format!("192.0.2.{}:80", flow % 250));
        assert_eq!(outside.ip(), first.ip());
    }
}

#[test]
fn u03_two_hosts_to_one_destination_keep_their_own_ports() {
    let mut bench = Bench::new(&input());
    let a = bench.out(UDP, A, Y);
    let b = bench.out(UDP, B, Y);
    assert_ne!(a, b);
    assert_eq!(bench.back(UDP, Y, a), Ok(tuple(A)));
    assert_eq!(bench.back(UDP, Y, b), Ok(tuple(B)));
}

#[test]
fn u04_ports_are_never_well_known_ones() {
    let mut bench = Bench::new(&input());
    for port in [1, 80, 1023, 1024, 65535] {
        let outside = bench.out(UDP, &format!("172.16.10.11:{port}"), Y);
        assert!(outside.port() >= 1024);
    }
}

#[test]
fn u06_an_idle_udp_mapping_lasts_its_time_out_and_no_longer() {
    let mut bench = Bench::new(&input());
    let outside = bench.out(UDP, A, Y);
    bench.wait(119);
    bench.engine.age(bench.now, 1000);
    assert_eq!(bench.back(UDP, Y, outside), Ok(tuple(A)));
    bench.wait(299);
    bench.engine.age(bench.now, 1000);
    assert_eq!(bench.back(UDP, Y, outside), Ok(tuple(A)));
    bench.wait(300);
    assert_eq!(bench.back(UDP, Y, outside), Err(Refusal::NoMapping));

    let mut short = input();
    short.timers.udp = Duration::from_secs(120);
    let mut bench = Bench::new(&short);
    let outside = bench.out(UDP, A, Y);
    bench.wait(120);
    assert_eq!(bench.back(UDP, Y, outside), Err(Refusal::NoMapping));
}

#[test]
fn u08_outbound_refreshes_always_and_inbound_by_option() {
    for inbound_refresh in [true, false] {
        let mut policy = input();
        policy.timers.inbound_refresh = inbound_refresh;
        let mut bench = Bench::new(&policy);
        let outside = bench.out(UDP, A, Y);
        for _ in 0..3 {
            bench.wait(200);
            assert_eq!(bench.out(UDP, A, Y), outside);
        }
        bench.wait(200);
        assert!(bench.back(UDP, Y, outside).is_ok());
        bench.wait(200);
        assert_eq!(bench.back(UDP, Y, outside).is_ok(), inbound_refresh);
    }
}

#[test]
fn u09_equal_inside_addresses_of_two_tenants_do_not_mix() {
    let mut bench = Bench::new(&input());
    let blue = bench.out(UDP, A, Y);
    let green = source(bench.send(OTHER_VRF, UDP, tuple(A), tuple(Y), NONE));
    assert_ne!(blue, green);
    let vrf = |inbound: Result<Inbound, Refusal>| inbound.unwrap().vrf;
    assert_eq!(vrf(bench.receive(UDP, Y, blue, NONE)), VRF);
    assert_eq!(vrf(bench.receive(UDP, Y, green, NONE)), OTHER_VRF);
}

#[test]
fn u10_filtering_lets_in_what_its_mode_says() {
    use Filtering::*;
    let modes = [
        (EndpointIndependent, true, true),
        (AddressDependent, true, false),
        (AddressAndPortDependent, false, false),
    ];
    for (filtering, other_port, other_address) in modes {
        let mut policy = input();
        policy.vrfs[0].snat[0].filtering = filtering;
        let mut bench = Bench::new(&policy);
        let outside = bench.out(UDP, A, Y);
        let expect = |admitted| {
            if admitted {
                Ok(tuple(A))
            } else {
                Err(Refusal::Filtered)
            }
        };
        assert_eq!(bench.back(UDP, Y, outside), Ok(tuple(A)));
        assert_eq!(bench.back(UDP, Y_OTHER, outside), expect(other_port));
        assert_eq!(bench.back(UDP, Z, outside), expect(other_address));
        let nobodys = SocketAddrV4::new(*outside.ip(), outside.port() ^ 1);
        assert_eq!(bench.back(UDP, Y, nobodys), Err(Refusal::NoMapping));
    }
}

#[test]
fn u10_the_filter_outlives_the_flow_that_opened_it_while_another_leads_there() {
    let mut bench = Bench::new(&input());
    let outside = bench.out(UDP, A, Y);
    for port in 1000..1010 {
        bench.wait(29);
        bench.out(UDP, A, &format!("192.0.2.1:{port}"));
    }
    // The first flow is 290 s old, the others younger: let it expire.
    bench.wait(10);
    assert_eq!(bench.back(UDP, "192.0.2.1:9", outside), Ok(tuple(A)));
    bench.engine.age(bench.now, 1000);
    assert_eq!(bench.live(), 11);
    for port in (1000..1010).chain([9]) {
        let src = format!("192.0.2.1:{port}");
        assert_eq!(bench.back(UDP, &src, outside), Ok(tuple(A)), "{src}");
    }
}

#[test]
fn u11_a_hairpin_shows_the_outside_tuple_of_its_sender() {
    let mut bench = Bench::new(&input());
    let b = bench.out(UDP, B, &Y.replace("192.0.2.1", "203.0.113.64"));
    let a = bench.out(UDP, A, &b.to_string());
    assert_eq!(bench.back(UDP, &a.to_string(), b), Err(Refusal::Filtered));
    // B sends to A's outside tuple first: then both ways are open.
    assert_eq!(bench.out(UDP, B, &a.to_string()), b);
    assert_eq!(bench.back(UDP, &a.to_string(), b), Ok(tuple(B)));
    assert_eq!(bench.back(UDP, &b.to_string(), a), Ok(tuple(A)));
}

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

#[test]
fn c01_protocols_without_ports_are_refused_but_pass_a_floating_ip() {
    let mut policy = input();
    policy.vrfs[0].floating_ips.push(FloatingIp {
        outside: Ipv4Addr::new(203, 0, 113, 10),
        inside: Ipv4Addr::new(172, 16, 10, 11),
    });
    let mut bench = Bench::new(&policy);
    let gre = IpProtocol(47);
    assert_eq!(bench.out(gre, A, Y).ip(), &Ipv4Addr::new(203, 0, 113, 10));
    let outcome = bench.send(VRF, gre, tuple(B), tuple(Y), NONE);
    assert_eq!(outcome, Err(Refusal::Protocol));
    assert_eq!(
        bench.back(gre, Y, tuple("203.0.113.10:0")),
        Ok(tuple("172.16.10.11:0"))
    );
}

#[test]
fn c03_scattered_addresses_and_a_large_prefix_are_all_used() {
    let mut policy = input();
    let scattered = (1..8).map(|n| format!("198.18.{n}.1/32"));
    let addresses: Vec<String> = scattered.chain(["100.64.0.0/20".to_owned()]).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    policy.pools[0] = pool(1, &addresses);
    // One block of ports on each address: each host takes one.
    policy.pools[0].ports = 2048..=2111;
    let mut bench = Bench::with_sessions(&policy, 8192);
    let hosts = 0xac10_0000..0xac10_0000 + 4096 + 7;
    let used: std::collections::HashSet<Ipv4Addr> = hosts
        .map(|host| {
            let src = SocketAddrV4::new(Ipv4Addr::from(host), 1000);
            let outside = source(bench.send(VRF, UDP, src, tuple(Y), NONE));
            assert!((2048..=2111).contains(&outside.port()));
            *outside.ip()
        })
        .collect();
    assert_eq!(used.len(), 4096 + 7);
}
