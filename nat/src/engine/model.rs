//! A slow, obvious model of the same rules, and random packets to compare the engine with it.
//!
//! The model knows flows only: a list that is searched from end to end. Which port a new mapping gets
//! is the engine's choice; the model checks that it was free to choose it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use sekisho_types::{InterfaceId, IpProtocol, VrfId, WorkerId};

use super::{Departure, Engine, EngineConfig, Inbound, Outbound};
use crate::tcp::{Effect, Side, TcpState, Tracker};
use crate::*;

/// What a flow's outside tuple comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    Pool(PoolId),
    Uplink(InterfaceId),
    Forward,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    protocol: IpProtocol,
    vrf: VrfId,
    inside: SocketAddrV4,
    outside: SocketAddrV4,
    remote: SocketAddrV4,
    origin: Origin,
    last_seen: u64,
    tcp: Tracker,
}

/// What the model lets the engine answer to an outbound packet.
#[derive(Debug)]
enum Expected {
    Exactly(Result<Outbound, Refusal>),
    Source(SocketAddrV4),
    NewSource(Origin),
}

struct Model {
    policy: Arc<Policy>,
    flows: Vec<Flow>,
    now: u64,
}

impl Model {
    fn is_live(&self, flow: &Flow) -> bool {
        let timers = self.policy.timers();
        let timeout = match flow.protocol {
            IpProtocol::UDP => timers.udp,
            IpProtocol::ICMP => timers.icmp,
            _ if flow.tcp.state() == TcpState::Established => timers.tcp_established,
            _ => timers.tcp_transitory,
        };
        self.now - flow.last_seen < timeout.as_millis() as u64
    }

    /// Whether the policy would give the flow its outside tuple now.
    fn is_allowed(&self, flow: &Flow) -> bool {
        let policy = &self.policy;
        if flow.origin == Origin::Forward {
            let (vrf, inside) = (flow.vrf, flow.inside);
            return policy.forward(flow.protocol, flow.outside) == Some(Forward { vrf, inside });
        }
        let used_for = policy.outside_use(*flow.outside.ip());
        let target = policy.snat(flow.vrf, *flow.inside.ip()).map(|r| r.target);
        let by_rule = match flow.origin {
            Origin::Pool(pool) => {
                target == Some(SnatTarget::Pool(pool)) && used_for == Some(OutsideUse::Pool(pool))
            }
            Origin::Uplink(uplink) => {
                target == Some(SnatTarget::Uplink) && used_for == Some(OutsideUse::Uplink(uplink))
            }
            Origin::Forward => false,
        };
        let forwarded = [IpProtocol::TCP, IpProtocol::UDP]
            .iter()
            .any(|&protocol| policy.forward(protocol, flow.outside).is_some());
        let own_forward = policy.forward_back(flow.vrf, flow.protocol, flow.inside);
        by_rule
            && !forwarded
            && own_forward.is_none()
            && policy.floating_out(flow.vrf, *flow.inside.ip()).is_none()
    }

    fn forget_dead(&mut self) {
        let flows = std::mem::take(&mut self.flows);
        let live = |flow: &Flow| self.is_live(flow) && self.is_allowed(flow);
        self.flows = flows.into_iter().filter(live).collect();
    }

    fn outbound(
        &mut self,
        vrf: VrfId,
        key: &FlowKey,
        tcp: &TcpSegment,
        egress: InterfaceId,
    ) -> Expected {
        self.forget_dead();
        let remote = remote(key.dst, key.protocol);
        let same = |flow: &Flow| {
            (flow.protocol, flow.vrf, flow.inside, flow.remote)
                == (key.protocol, vrf, key.src, remote)
        };
        self.flows.retain(|flow| {
            !same(flow) || !matches!(flow.origin, Origin::Uplink(uplink) if uplink != egress)
        });
        let now = self.now;
        if let Some(flow) = self.flows.iter_mut().find(|flow| same(flow)) {
            flow.tcp.segment(Side::Inside, tcp);
            flow.last_seen = now;
            return Expected::Source(flow.outside);
        }
        if let Some(outside) = self.policy.floating_out(vrf, *key.src.ip()) {
            return Expected::Source(SocketAddrV4::new(outside, key.src.port()));
        }
        let forward = self.policy.forward_back(vrf, key.protocol, key.src);
        let target = self.policy.snat(vrf, *key.src.ip()).map(|rule| rule.target);
        let origin = match (forward, target) {
            (Some(_), _) => Origin::Forward,
            (None, Some(SnatTarget::Pool(pool))) => Origin::Pool(pool),
            (None, Some(SnatTarget::Uplink)) => Origin::Uplink(egress),
            (None, _) => return Expected::Exactly(Ok(Outbound::Untranslated)),
        };
        if key.protocol == IpProtocol::TCP && !tcp.opens() {
            return Expected::Exactly(Err(Refusal::NotSyn));
        }
        match forward {
            Some(outside) => Expected::Source(outside),
            None => Expected::NewSource(origin),
        }
    }

    /// Takes note of the outside tuple a new flow got.
    fn add(&mut self, vrf: VrfId, key: &FlowKey, outside: SocketAddrV4, origin: Origin) {
        let flow = Flow {
            protocol: key.protocol,
            vrf,
            inside: key.src,
            outside,
            remote: remote(key.dst, key.protocol),
            origin,
            last_seen: self.now,
            tcp: Tracker::default(),
        };
        if origin != Origin::Forward {
            assert!(
                self.is_allowed(&flow),
                "{flow:?} is not what the policy says"
            );
            assert!(outside.port() >= 1024);
        }
        for other in &self.flows {
            let same_inside = (other.vrf, other.inside) == (vrf, key.src);
            let same_mapping =
                same_inside && other.protocol == key.protocol && other.origin == origin;
            let same_outside = (other.outside, other.protocol) == (outside, key.protocol);
            assert_eq!(same_mapping, same_outside, "{flow:?} beside {other:?}");
            let same_host = (other.vrf, other.inside.ip()) == (vrf, key.src.ip());
            if same_host && other.origin == origin && origin != Origin::Forward {
                assert_eq!(other.outside.ip(), outside.ip(), "paired pooling");
            }
        }
        self.flows.push(flow);
    }

    /// What the engine may answer to an inbound packet: one of these.
    fn inbound(
        &mut self,
        key: &FlowKey,
        tcp: &TcpSegment,
    ) -> Vec<Result<(VrfId, SocketAddrV4), Refusal>> {
        self.forget_dead();
        let remote = remote(key.src, key.protocol);
        let mine = |flow: &&mut Flow| (flow.protocol, flow.outside) == (key.protocol, key.dst);
        let now = self.now;
        if let Some(flow) = self
            .flows
            .iter_mut()
            .filter(mine)
            .find(|f| f.remote == remote)
        {
            if key.protocol != IpProtocol::TCP
                || flow.tcp.segment(Side::Outside, tcp) == Effect::Fits
            {
                flow.last_seen = now;
            }
            return vec![Ok((flow.vrf, flow.inside))];
        }
        if let Some((vrf, inside)) = self.policy.floating_in(*key.dst.ip()) {
            return vec![Ok((vrf, SocketAddrV4::new(inside, key.dst.port())))];
        }
        let not_syn = key.protocol == IpProtocol::TCP && !tcp.opens();
        let forward = self.policy.forward(key.protocol, key.dst);
        let mut flows = self.flows.iter_mut().filter(mine).peekable();
        let (vrf, inside, origin) = if let Some(Forward { vrf, inside }) = forward {
            (vrf, inside, Origin::Forward)
        } else if flows.peek().is_none() {
            // An expired mapping may or may not have been met by the sweep.
            return vec![Err(Refusal::NoMapping), Err(Refusal::Filtered)];
        } else if let Some(flow) = flows.find(|flow| {
            let rule = self.policy.snat(flow.vrf, *flow.inside.ip());
            let by_address = rule.is_some_and(|r| r.filtering == Filtering::AddressDependent);
            by_address && flow.remote.ip() == remote.ip()
        }) {
            (flow.vrf, flow.inside, flow.origin)
        } else {
            return vec![Err(Refusal::Filtered)];
        };
        if not_syn {
            return vec![Err(Refusal::NotSyn)];
        }
        let rival = |flow: &Flow| {
            (flow.protocol, flow.vrf, flow.inside, flow.remote)
                == (key.protocol, vrf, inside, remote)
        };
        if self.flows.iter().any(rival) {
            return vec![Err(Refusal::Conflict)];
        }
        self.flows.push(Flow {
            protocol: key.protocol,
            vrf,
            inside,
            outside: key.dst,
            remote,
            origin,
            last_seen: now,
            tcp: first_segment(Side::Outside, tcp),
        });
        vec![Ok((vrf, inside))]
    }
}

/// ICMP has no remote port.
fn remote(tuple: SocketAddrV4, protocol: IpProtocol) -> SocketAddrV4 {
    if protocol == IpProtocol::ICMP {
        SocketAddrV4::new(*tuple.ip(), 0)
    } else {
        tuple
    }
}

fn first_segment(from: Side, tcp: &TcpSegment) -> Tracker {
    let mut tracker = Tracker::default();
    tracker.segment(from, tcp);
    tracker
}

/// Variants of a policy: each differs from the others in what it allows.
pub(super) fn policy_input(variant: u8) -> PolicyInput {
    let rule = |source: &str, target, filtering| SnatRule {
        source: source.parse().unwrap(),
        target,
        filtering,
    };
    let pool_target = SnatTarget::Pool(PoolId::new(3));
    let by_port = Filtering::AddressAndPortDependent;
    let mut blue = VrfInput {
        id: VrfId::new(1),
        snat: vec![
            rule("10.0.0.1/32", pool_target, by_port),
            rule("10.0.0.0/29", pool_target, Filtering::default()),
        ],
        floating_ips: Vec::new(),
        max_sessions: None,
        max_new_sessions: None,
        max_host_ports: None,
        port_forwards: vec![PortForward {
            protocol: IpProtocol::TCP,
            outside: "203.0.113.1:2000".parse().unwrap(),
            inside: "10.0.0.2:3001".parse().unwrap(),
        }],
    };
    let mut green = VrfInput {
        id: VrfId::new(2),
        snat: vec![rule("10.0.0.0/8", SnatTarget::Uplink, Filtering::default())],
        floating_ips: Vec::new(),
        max_sessions: None,
        max_new_sessions: None,
        max_host_ports: None,
        port_forwards: vec![PortForward {
            protocol: IpProtocol::UDP,
            outside: "203.0.113.99:53".parse().unwrap(),
            inside: "10.0.0.2:3001".parse().unwrap(),
        }],
    };
    let mut addresses = vec!["203.0.113.0/30"];
    match variant {
        1 => blue.floating_ips.push(FloatingIp {
            outside: Ipv4Addr::new(203, 0, 113, 2),
            inside: Ipv4Addr::new(10, 0, 0, 3),
        }),
        2 => addresses = vec!["203.0.113.0/31", "100.64.0.0/31"],
        3 => std::mem::swap(&mut blue.port_forwards, &mut green.port_forwards),
        4 => green.snat[0].target = pool_target,
        _ => {}
    }
    PolicyInput {
        pools: vec![PoolInput {
            id: PoolId::new(3),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ports: 1100..=9000,
        }],
        uplinks: (0..2)
            .map(|n| UplinkInput {
                id: InterfaceId::new(n),
                addresses: vec![Ipv4Addr::new(198, 51, 100, n as u8)],
            })
            .collect(),
        uplink_reserved: vec![32768..=60999],
        vrfs: vec![blue, green],
        timers: Timers::default(),
    }
}

/// The engine and the model side by side.
struct Pair {
    engine: Engine,
    model: Model,
    random: StdRng,
    owners: Arc<OutsideOwners>,
    steering: Steering,
    /// Outside tuples seen so far.
    outsides: Vec<SocketAddrV4>,
    /// Packets that went through.
    passed: u32,
}

impl Pair {
    fn new(seed: u8) -> Self {
        let seed = Seed::new([seed; 32]);
        let steering = Steering::new(seed, 1);
        let owners = Arc::new(OutsideOwners::new(64).unwrap());
        let policy = Policy::build(&policy_input(0), Generation::new(1), steering, &owners);
        let policy = Arc::new(policy.unwrap());
        let config = EngineConfig {
            worker: WorkerId::new(0),
            max_sessions: 10_000,
            count_sessions: false,
            seed,
        };
        Self {
            engine: Engine::new(config, Arc::clone(&policy)).unwrap(),
            model: Model {
                policy,
                flows: Vec::new(),
                now: 1_000_000,
            },
            random: seed.generator(WorkerId::new(9)),
            owners,
            steering,
            outsides: vec![
                "203.0.113.1:2000".parse().unwrap(),
                "203.0.113.99:53".parse().unwrap(),
                "203.0.113.2:7".parse().unwrap(),
            ],
            passed: 0,
        }
    }

    fn now(&self) -> Time {
        Time::from_millis(self.model.now)
    }

    fn step(&mut self) {
        self.model.now += match self.random.random_range(0..200) {
            0 => self.random.random_range(0..400_000),
            n => n * 5,
        };
        match self.random.random_range(0..1000) {
            0 => self.change_policy(),
            1..50 => {
                let budget = self.random.random_range(0..300);
                self.engine.age(self.now(), budget);
            }
            50..550 => self.outbound(),
            _ => self.inbound(),
        }
    }

    fn change_policy(&mut self) {
        // A session disallowed and allowed again before anybody met it is allowed: settle first.
        while self.engine.drained() < self.model.policy.generation() {
            self.engine.age(self.now(), 1000);
        }
        let input = policy_input(self.random.random_range(0..5));
        let generation = Generation::new(self.model.policy.generation().value() + 1);
        let policy = Policy::build(&input, generation, self.steering, &self.owners).unwrap();
        self.model.policy = Arc::new(policy);
        self.engine.set_policy(Arc::clone(&self.model.policy));
    }

    fn protocol(&mut self) -> IpProtocol {
        [IpProtocol::TCP, IpProtocol::UDP, IpProtocol::ICMP][self.random.random_range(0..3)]
    }

    fn remote(&mut self) -> SocketAddrV4 {
        let address = Ipv4Addr::new(192, 0, 2, self.random.random_range(0..3));
        SocketAddrV4::new(address, self.random.random_range(80..83))
    }

    fn segment(&mut self) -> TcpSegment {
        let flags = [2, 2, 18, 16, 16, 17, 4][self.random.random_range(0..7)];
        TcpSegment {
            flags,
            seq: self.random.random_range(100..103),
            ack: self.random.random_range(100..103),
            len: self.random.random_range(0..2),
        }
    }

    /// One packet, or several at the same time in a batch.
    fn outbound(&mut self) {
        let count = if self.random.random_ratio(1, 4) {
            self.random.random_range(2..50)
        } else {
            1
        };
        let now = self.now();
        let packets: Vec<(VrfId, FlowKey, Departure)> =
            (0..count).map(|_| self.departure()).collect();
        let mut outcomes = Vec::new();
        if count == 1 {
            let (vrf, key, Departure { tcp, egress, .. }) = packets[0];
            outcomes.push(self.engine.outbound(now, vrf, &key, &tcp, egress));
        } else {
            let departures: Vec<Departure> = packets.iter().map(|packet| packet.2).collect();
            self.engine
                .outbound_batch(now, &departures, |place, outcome| {
                    assert_eq!(place, outcomes.len());
                    outcomes.push(outcome);
                });
        }
        assert_eq!(outcomes.len(), packets.len());
        for ((vrf, key, Departure { tcp, egress, .. }), got) in packets.into_iter().zip(outcomes) {
            self.compare_outbound(vrf, key, tcp, egress, got);
        }
    }

    fn departure(&mut self) -> (VrfId, FlowKey, Departure) {
        let vrf = VrfId::new(self.random.random_range(1..3));
        let address = Ipv4Addr::new(10, 0, 0, self.random.random_range(1..10));
        let egress = InterfaceId::new(u16::from(self.random.random_ratio(1, 20)));
        let key = FlowKey {
            src: SocketAddrV4::new(address, self.random.random_range(3000..3003)),
            dst: self.remote(),
            protocol: self.protocol(),
        };
        let probe = self.engine.probe_outbound(vrf, &key);
        let tcp = self.segment();
        (vrf, key, Departure { probe, tcp, egress })
    }

    fn compare_outbound(
        &mut self,
        vrf: VrfId,
        key: FlowKey,
        tcp: TcpSegment,
        egress: InterfaceId,
        got: Result<Outbound, Refusal>,
    ) {
        let expected = self.model.outbound(vrf, &key, &tcp, egress);
        let Ok(Outbound::Translated { source, session }) = got else {
            assert!(
                matches!(expected, Expected::Exactly(e) if e == got),
                "{got:?}"
            );
            return;
        };
        let is_known = |flow: &Flow| {
            (flow.protocol, flow.vrf, flow.inside, flow.remote)
                == (key.protocol, vrf, key.src, remote(key.dst, key.protocol))
        };
        let origin = match expected {
            Expected::Exactly(exactly) => panic!("{exactly:?} expected, got {got:?}"),
            Expected::Source(wanted) => {
                assert_eq!(source, wanted);
                Origin::Forward
            }
            Expected::NewSource(origin) => origin,
        };
        if session.is_some() && !self.model.flows.iter().any(is_known) {
            self.model.add(vrf, &key, source, origin);
            if let Some(flow) = self.model.flows.last_mut() {
                flow.tcp = first_segment(Side::Inside, &tcp);
            }
            self.outsides.push(source);
        }
        self.passed += 1;
    }

    fn inbound(&mut self) {
        let last = self.outsides.len();
        let recent = self.random.random_range(0..last.min(60));
        let any = self.random.random_range(0..last);
        let old = self.random.random_ratio(1, 4);
        let key = FlowKey {
            src: self.remote(),
            dst: self.outsides[if old { any } else { last - 1 - recent }],
            protocol: self.protocol(),
        };
        let tcp = self.segment();
        let expected = self.model.inbound(&key, &tcp);
        let got = self.engine.inbound(self.now(), &key, &tcp);
        let got = got.map(
            |Inbound {
                 vrf, destination, ..
             }| (vrf, destination),
        );
        assert!(
            expected.contains(&got),
            "{got:?}, not {expected:?}, for {key:?} {tcp:?}"
        );
        self.passed += u32::from(got.is_ok());
    }

    /// Compares the sessions the engine shows with the model's flows.
    fn compare_sessions(&mut self) {
        self.model.forget_dead();
        let mut views = Vec::new();
        let (filter, start) = (SessionFilter::default(), Cursor::default());
        self.engine
            .snapshot(self.now(), &filter, start, u32::MAX, &mut views);
        let line = |protocol, vrf, inside, outside, remote, state| {
            format!("{protocol} {vrf} {inside} {outside} {remote} {state:?}")
        };
        let mut got: Vec<String> = views
            .iter()
            .map(|v| line(v.protocol, v.vrf, v.inside, v.outside, v.remote, v.tcp))
            .collect();
        let state = |f: &Flow| (f.protocol == IpProtocol::TCP).then(|| f.tcp.state());
        let flows = &self.model.flows;
        let mut expected: Vec<String> = flows
            .iter()
            .map(|f| line(f.protocol, f.vrf, f.inside, f.outside, f.remote, state(f)))
            .collect();
        got.sort();
        expected.sort();
        assert_eq!(got, expected);
    }
}

#[test]
fn the_engine_does_what_the_model_does_with_random_packets() {
    for seed in 1..=4 {
        let mut pair = Pair::new(seed);
        for step in 0..12_000 {
            pair.step();
            if step % 500 == 0 {
                pair.compare_sessions();
            }
        }
        assert!(pair.passed > 15_000, "{} packets passed", pair.passed);
        pair.model.now += 8_000_000;
        pair.engine.age(pair.now(), u32::MAX);
        let stats = pair.engine.stats();
        assert_eq!((stats.mappings, stats.hosts, stats.blocks), (0, 0, 0));
        assert_eq!(stats.created, stats.removed);
    }
}
