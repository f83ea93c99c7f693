//! The translation log (RFC 6888 REQ-12, REQ-14; RFC 8158).

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

impl Bench {
    /// A bench whose tenants are both logged.
    fn logged(input: &PolicyInput, level: LogLevel, destinations: bool) -> Self {
        let mut bench = Self::with_sessions(input, 8192);
        bench.apply_logged(input, 2, level, destinations);
        bench
    }

    fn apply_logged(
        &mut self,
        input: &PolicyInput,
        generation: u64,
        level: LogLevel,
        destinations: bool,
    ) {
        let generation = Generation::new(generation);
        let policy = Policy::build(input, generation, self.steering, &self.owners).unwrap();
        let rules = LogRules::new([(VRF, level), (OTHER_VRF, level)], destinations);
        self.engine.set_policy(Arc::new(policy.with_log(rules)));
    }

    fn logs(&mut self) -> Vec<LogEvent> {
        let mut events = Vec::new();
        self.engine.drain_log(|event| events.push(event));
        events
    }

    fn send_from(&mut self, host: u32, port: u16, remote: &str) -> Result<Outbound, Refusal> {
        let src = SocketAddrV4::new(Ipv4Addr::from(0xac10_0000 + host), port);
        self.send(VRF, UDP, src, tuple(remote), NONE)
    }
}

fn kinds(events: &[LogEvent]) -> Vec<LogKind> {
    events.iter().map(|event| event.kind).collect()
}

#[test]
fn c12_no_destination_is_logged_unless_asked_for() {
    for level in [LogLevel::Blocks, LogLevel::Mappings, LogLevel::Sessions] {
        for destinations in [false, true] {
            let mut bench = Bench::logged(&input(), level, destinations);
            bench.out(UDP, A, Y);
            bench.connect();
            bench.wait(7500);
            bench.engine.age(bench.now, u32::MAX);
            let events = bench.logs();
            assert!(events.len() >= 2, "{level:?}");
            let wanted = destinations && level == LogLevel::Sessions;
            for event in events {
                assert_eq!(event.remote.is_some(), wanted, "{event:?}");
                assert!(!wanted || event.remote == Some(tuple(Y)));
            }
        }
    }
}

#[test]
fn c12_each_level_tells_who_had_a_port_and_when_it_ended() {
    use LogKind::*;
    let of = |level| {
        let mut bench = Bench::logged(&input(), level, false);
        let outside = bench.out(UDP, A, Y);
        bench.out(UDP, A, Z);
        bench.wait(301);
        bench.engine.age(bench.now, u32::MAX);
        let events = bench.logs();
        for event in &events {
            assert_eq!((event.vrf, event.inside.ip()), (VRF, tuple(A).ip()));
            assert_eq!(event.outside.ip(), outside.ip());
            assert_eq!(event.from, LogSource::Pool(PoolId::new(1)));
            let whole = (event.inside, event.outside) == (tuple(A), outside);
            let covers =
                event.outside.port() <= outside.port() && outside.port() <= event.last_port;
            assert!(whole || covers, "{event:?}");
        }
        kinds(&events)
    };
    assert_eq!(of(LogLevel::None), []);
    assert_eq!(of(LogLevel::Blocks), [BlockAllocated, BlockReleased]);
    assert_eq!(of(LogLevel::Mappings), [MappingCreated, MappingDeleted]);
    let sessions = [
        SessionCreated,
        SessionCreated,
        SessionDeleted,
        SessionDeleted,
    ];
    assert_eq!(of(LogLevel::Sessions), sessions);
}

#[test]
fn c12_a_connection_to_a_port_forward_is_a_session_in_the_log() {
    let mut policy = input();
    let to = forward(TCP, "203.0.113.20:8080", "172.16.10.12:80");
    policy.vrfs[0].port_forwards.push(to);
    let mut bench = Bench::logged(&policy, LogLevel::Sessions, true);
    let syn = segment(TcpSegment::SYN, 700, 0);
    bench.receive(TCP, Y, to.outside, syn).unwrap();
    let [event] = bench.logs()[..] else {
        panic!("one event");
    };
    assert_eq!((event.inside, event.outside), (to.inside, to.outside));
    assert_eq!(
        (event.from, event.remote),
        (LogSource::Other, Some(tuple(Y)))
    );
}

#[test]
fn c14_a_thousand_subscribers_give_one_event_for_each_block_they_get_and_give_back() {
    let mut bench = Bench::logged(&input(), LogLevel::Blocks, false);
    let mut blocks = std::collections::HashSet::new();
    for flow in 0..5 {
        for host in 0..1000 {
            let outside = source(bench.send_from(host, 5000 + flow, Y));
            blocks.insert((host, *outside.ip(), outside.port() / 64));
        }
    }
    assert_eq!(blocks.len(), 1000);
    let allocated = bench.logs();
    bench.wait(301);
    bench.engine.age(bench.now, u32::MAX);
    let released = bench.logs();
    for (events, kind) in [
        (allocated, LogKind::BlockAllocated),
        (released, LogKind::BlockReleased),
    ] {
        assert_eq!(events.len(), 1000);
        let told: std::collections::HashSet<_> = events
            .iter()
            .map(|event| {
                assert_eq!((event.kind, event.protocol.0), (kind, 0));
                assert_eq!(event.last_port, event.outside.port() + 63);
                let host = u32::from(*event.inside.ip()) - 0xac10_0000;
                (host, *event.outside.ip(), event.outside.port() / 64)
            })
            .collect();
        assert_eq!(told, blocks);
    }
    assert_eq!(bench.engine.stats().log_lost, 0);
}

#[test]
fn c14_a_port_of_a_block_of_another_host_is_logged_by_itself() {
    let mut policy = input();
    policy.pools[0] = pool(1, &["203.0.113.64/32"]);
    policy.pools[0].ports = 2048..=2111;
    let mut bench = Bench::logged(&policy, LogLevel::Blocks, false);
    bench.send_from(1, 5000, Y).unwrap();
    let shared = source(bench.send_from(2, 5000, Y));
    let events = bench.logs();
    let expected = [LogKind::BlockAllocated, LogKind::MappingCreated];
    assert_eq!(kinds(&events), expected);
    assert_eq!(events[1].inside, tuple("172.16.0.2:5000"));
    assert_eq!(events[1].outside, shared);

    // The block outlives its host's part in it.
    bench.wait(200);
    bench.send_from(2, 5000, Y).unwrap();
    bench.wait(200);
    bench.engine.age(bench.now, u32::MAX);
    assert_eq!(kinds(&bench.logs()), [LogKind::BlockReleased]);
    bench.wait(301);
    bench.engine.age(bench.now, u32::MAX);
    assert_eq!(kinds(&bench.logs()), [LogKind::MappingDeleted]);
}

#[test]
fn refusals_are_logged_with_who_was_refused() {
    let mut policy = input();
    policy.pools[0] = pool(1, &["203.0.113.64/32"]);
    policy.pools[0].ports = 2048..=2111;
    policy.vrfs[0].limits.host_ports = Some(60);
    policy.vrfs[1].limits.sessions = Some(1);
    let mut bench = Bench::logged(&policy, LogLevel::Blocks, false);
    for port in 1..=70 {
        let _ = bench.send_from(1, port, Y);
    }
    for port in 1..=6 {
        let _ = bench.send_from(2, port, Y);
    }
    for port in 1..=6 {
        let src = SocketAddrV4::new(*tuple(B).ip(), port);
        let _ = bench.send(
            OTHER_VRF,
            TCP,
            src,
            tuple(Y),
            segment(TcpSegment::SYN, 1, 0),
        );
    }
    let mut events = bench.logs();
    events.retain(|event| matches!(event.kind, LogKind::Refused(_)));
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.kind, event.vrf, *event.inside.ip()))
        .collect();
    let host = |host: u32| Ipv4Addr::from(0xac10_0000 + host);
    let expected = [
        (LogKind::Refused(Refusal::HostLimit), VRF, host(1)),
        (LogKind::Refused(Refusal::PortsExhausted), VRF, host(2)),
        (
            LogKind::Refused(Refusal::TenantLimit),
            OTHER_VRF,
            Ipv4Addr::UNSPECIFIED,
        ),
    ];
    assert_eq!(told, expected);
}

/// What a reader of the log knows: who has which ports at the moment.
#[derive(Default)]
struct Reader {
    blocks: HashMap<(Ipv4Addr, u16), (VrfId, Ipv4Addr)>,
    /// Sessions and mappings, counted.
    tuples: HashMap<(IpProtocol, SocketAddrV4), (VrfId, SocketAddrV4, u32)>,
}

impl Reader {
    fn read(&mut self, event: &LogEvent) {
        let block = (*event.outside.ip(), event.outside.port() / 64);
        let host = (event.vrf, *event.inside.ip());
        let tuple = (event.protocol, event.outside);
        match event.kind {
            LogKind::BlockAllocated => {
                assert_eq!(self.blocks.insert(block, host), None, "{event:?}");
            }
            LogKind::BlockReleased => {
                assert_eq!(self.blocks.remove(&block), Some(host), "{event:?}");
            }
            LogKind::MappingCreated | LogKind::SessionCreated => {
                let fresh = (event.vrf, event.inside, 0);
                let (vrf, inside, count) = self.tuples.entry(tuple).or_insert(fresh);
                assert_eq!((*vrf, *inside), (event.vrf, event.inside));
                *count += 1;
            }
            LogKind::MappingDeleted | LogKind::SessionDeleted => {
                let (vrf, inside, count) = self.tuples.get_mut(&tuple).unwrap();
                assert_eq!((*vrf, *inside), (event.vrf, event.inside));
                *count -= 1;
                if *count == 0 {
                    self.tuples.remove(&tuple);
                }
            }
            LogKind::Refused(_) => {}
        }
    }

    /// Who has an outside tuple. A mapping tells more than a block.
    fn who(&self, protocol: IpProtocol, outside: SocketAddrV4) -> Option<(VrfId, Ipv4Addr)> {
        let block = (*outside.ip(), outside.port() / 64);
        let tuple = self.tuples.get(&(protocol, outside));
        let by_tuple = tuple.map(|&(vrf, inside, _)| (vrf, *inside.ip()));
        by_tuple.or_else(|| self.blocks.get(&block).copied())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send {
        other: bool,
        host: u32,
        port: u16,
        remote: u8,
    },
    Wait(u64),
    Level(LogLevel),
}

fn level() -> impl Strategy<Value = LogLevel> {
    prop_oneof![
        3 => Just(LogLevel::Blocks),
        1 => Just(LogLevel::Mappings),
        1 => Just(LogLevel::Sessions),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (any::<bool>(), 0..6u32, 1..60u16, 1..4u8)
            .prop_map(|(other, host, port, remote)| Step::Send { other, host, port, remote }),
        2 => (1..320u64).prop_map(Step::Wait),
        1 => level().prop_map(Step::Level),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Three blocks for up to twelve hosts, so that they share; the level changes under traffic.
    #[test]
    fn c14_the_log_replayed_names_who_has_each_session_at_each_moment(
        first in level(),
        steps in proptest::collection::vec(step(), 1..400),
    ) {
        let mut policy = input();
        policy.pools[0] = pool(1, &["203.0.113.64/31"]);
        policy.pools[0].ports = 2048..=2160;
        let mut bench = Bench::logged(&policy, first, false);
        let mut reader = Reader::default();
        let mut generation = 3;
        let mut views = Vec::new();
        for step in steps {
            match step {
                Step::Send { other, host, port, remote } => {
                    let src = SocketAddrV4::new(Ipv4Addr::from(0xac10_0000 + host), port);
                    let dst = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, remote), 53);
                    let vrf = if other { OTHER_VRF } else { VRF };
                    let protocol = if port % 2 == 0 { UDP } else { TCP };
                    let _ = bench.send(vrf, protocol, src, dst, segment(TcpSegment::SYN, 1, 0));
                }
                Step::Wait(seconds) => {
                    bench.wait(seconds);
                    bench.engine.age(bench.now, u32::MAX);
                }
                Step::Level(level) => {
                    bench.apply_logged(&policy, generation, level, false);
                    generation += 1;
                }
            }
            for event in bench.logs() {
                reader.read(&event);
            }
            views.clear();
            let all = SessionFilter::default();
            bench.engine.snapshot(bench.now, &all, Cursor::default(), u32::MAX, &mut views);
            for view in &views {
                let found = reader.who(view.protocol, view.outside);
                prop_assert_eq!(found, Some((view.vrf, *view.inside.ip())), "{:?}", view);
            }
        }
        bench.wait(8000);
        bench.engine.age(bench.now, u32::MAX);
        for event in bench.logs() {
            reader.read(&event);
        }
        prop_assert!(reader.blocks.is_empty() && reader.tuples.is_empty());
    }
}
