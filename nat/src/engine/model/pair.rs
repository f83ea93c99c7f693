//! The engine and the model side by side, under random packets.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use sekisho_types::{InterfaceId, IpProtocol, VrfId, WorkerId};

use super::inputs::{RICH, RICH_VARIANTS};
use super::{Expected, Flow, Model, Origin, VARIANTS, first_segment, policy_input, remote};
use crate::engine::{Departure, Engine, EngineConfig, Inbound, Outbound};
use crate::tcp::Side;
use crate::*;

/// Records among which a half-open connection is always found.
const SEARCHED: usize = 64;

struct Pair {
    engine: Engine,
    model: Model,
    random: StdRng,
    owners: Arc<OutsideOwners>,
    steering: Steering,
    /// Whether policies have limits and open filters. Then the sweep goes round before each packet:
    /// limits count what it has not met.
    rich: bool,
    /// Outside tuples seen so far.
    outsides: Vec<SocketAddrV4>,
    /// Connections given up for others so far.
    evicted: u64,
    /// Packets that went through, and that were refused for limits.
    passed: u64,
    refused: u64,
}

impl Pair {
    fn new(seed: u8, rich: bool, capacity: u32) -> Self {
        let seed = Seed::new([seed; 32]);
        let steering = Steering::new(seed, 1);
        let owners = Arc::new(OutsideOwners::new(64).unwrap());
        let first = if rich { RICH } else { 0 };
        let policy = Policy::build(&policy_input(first), Generation::new(1), steering, &owners);
        let policy = Arc::new(policy.unwrap());
        let config = EngineConfig {
            worker: WorkerId::new(0),
            max_sessions: capacity,
            count_sessions: false,
            seed,
        };
        Self {
            engine: Engine::new(config, Arc::clone(&policy)).unwrap(),
            model: Model {
                policy,
                capacity: capacity as usize,
                flows: Vec::new(),
                now: 1_000_000,
                rested: Default::default(),
            },
            random: seed.generator(WorkerId::new(9)),
            owners,
            steering,
            rich,
            outsides: vec![
                "203.0.113.1:2000".parse().unwrap(),
                "203.0.113.99:53".parse().unwrap(),
                "203.0.113.2:7".parse().unwrap(),
            ],
            evicted: 0,
            passed: 0,
            refused: 0,
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
        if self.rich {
            self.settle();
        }
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

    /// Lets both forget what is over.
    fn settle(&mut self) {
        self.engine.age(self.now(), u32::MAX);
        self.model.forget_dead();
    }

    fn change_policy(&mut self) {
        // A session disallowed and allowed again before anybody met it is allowed: settle first.
        while self.engine.drained() < self.model.policy.generation() {
            self.engine.age(self.now(), 1000);
        }
        self.model.forget_dead();
        let variant = if self.rich {
            RICH + self.random.random_range(0..RICH_VARIANTS)
        } else {
            self.random.random_range(0..VARIANTS)
        };
        self.apply(variant);
    }

    fn apply(&mut self, variant: u8) {
        let generation = Generation::new(self.model.policy.generation().value() + 1);
        let input = policy_input(variant);
        let policy = Policy::build(&input, generation, self.steering, &self.owners).unwrap();
        self.model.policy = Arc::new(policy);
        self.engine.set_policy(Arc::clone(&self.model.policy));
        if self.rich {
            self.settle();
        }
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
        // Whose connection made room is asked for after each packet.
        let count = if self.rich { 1 } else { count };
        let now = self.now();
        let packets: Vec<(VrfId, FlowKey, Departure)> =
            (0..count).map(|_| self.departure()).collect();
        let mut outcomes = Vec::new();
        if count == 1 && self.random.random() {
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
        if let Expected::Crowded(refusal, origin, mode) = &expected {
            let half_open = self.model.has_half_open(vrf);
            self.note_evictions(vrf);
            if let Err(got) = got {
                let later = self.model.refused(vrf, &key, *origin, *mode);
                assert!(
                    got == *refusal || Some(got) == later,
                    "{got:?}, not {expected:?}"
                );
                let found = self.model.capacity <= SEARCHED && half_open;
                assert!(
                    !(found && got == *refusal),
                    "a half-open connection was there"
                );
            } else {
                assert!(half_open, "nobody made room");
            }
        }
        let Ok(Outbound::Translated { source, session }) = got else {
            self.refused += u64::from(matches!(got, Err(refusal) if refusal.is_exhaustion()));
            let right = match expected {
                Expected::Exactly(exactly) => exactly == got,
                Expected::Crowded(..) => true,
                _ => false,
            };
            assert!(right, "{got:?}, not {expected:?} for {key:?}");
            return;
        };
        let is_known = |flow: &Flow| {
            (flow.protocol, flow.vrf, flow.inside, flow.remote)
                == (key.protocol, vrf, key.src, remote(key.dst, key.protocol))
        };
        let own = |mode: MappingMode| mode == MappingMode::EndpointDependent;
        let new = match expected {
            Expected::Exactly(exactly) => panic!("{exactly:?} expected, got {got:?}"),
            Expected::Source(wanted) => {
                assert_eq!(source, wanted);
                (Origin::Forward, false)
            }
            Expected::New(origin, mode) | Expected::Crowded(_, origin, mode) => {
                (origin, origin != Origin::Forward && own(mode))
            }
        };
        if session.is_some() && !self.model.flows.iter().any(is_known) {
            self.model.add(vrf, &key, source, new);
            if let Some(flow) = self.model.flows.last_mut() {
                flow.tcp = first_segment(Side::Inside, &tcp);
            }
            self.outsides.push(source);
        }
        self.passed += 1;
    }

    /// Tells the model which connections the engine gave up for a packet of a tenant.
    fn note_evictions(&mut self, vrf: VrfId) {
        let evicted = self.engine.stats().evicted;
        if evicted == std::mem::replace(&mut self.evicted, evicted) {
            return;
        }
        let held: HashSet<_> = self
            .views()
            .iter()
            .map(|view| (view.protocol, view.vrf, view.inside, view.remote))
            .collect();
        self.model.give_up(vrf, |flow| {
            !held.contains(&(flow.protocol, flow.vrf, flow.inside, flow.remote))
        });
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
        self.receive(key, tcp);
    }

    /// A packet from outside, for both.
    fn receive(&mut self, key: FlowKey, tcp: TcpSegment) {
        let (expected, later) = self.model.inbound(&key, &tcp);
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
        if let Some(later) = later {
            self.note_evictions(later.vrf);
            if got.is_ok() {
                self.model.flows.push(later);
            }
        }
        self.passed += u64::from(got.is_ok());
        self.refused += u64::from(matches!(got, Err(refusal) if refusal.is_exhaustion()));
    }

    fn views(&self) -> Vec<SessionView> {
        let mut views = Vec::new();
        let (filter, start) = (SessionFilter::default(), Cursor::default());
        self.engine
            .snapshot(self.now(), &filter, start, u32::MAX, &mut views);
        views
    }

    /// Compares the sessions the engine shows with the model's flows.
    fn compare_sessions(&mut self) {
        self.model.forget_dead();
        let line = |protocol, vrf, inside, outside, remote, state| {
            format!("{protocol} {vrf} {inside} {outside} {remote} {state:?}")
        };
        let mut got: Vec<String> = self
            .views()
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

    /// Runs so many steps, then lets everything end and checks that nothing is left.
    fn run(mut self, steps: u32) -> Self {
        for step in 0..steps {
            self.step();
            if step % 500 == 0 {
                self.compare_sessions();
            }
        }
        self.model.now += 8_000_000;
        self.engine.age(self.now(), u32::MAX);
        self.model.now += 120_000;
        self.engine.age(self.now(), u32::MAX);
        let stats = self.engine.stats();
        assert_eq!((stats.mappings, stats.hosts, stats.blocks), (0, 0, 0));
        assert_eq!(stats.created, stats.removed);
        self
    }
}

/// Runs pairs of all kinds, and returns how many packets they saw.
fn run_pairs(seeds: std::ops::Range<u8>, steps: u32) -> u64 {
    let mut packets = 0;
    for seed in seeds {
        let plain = Pair::new(seed, false, 10_000).run(steps);
        assert!(plain.passed > u64::from(steps), "{} passed", plain.passed);
        packets += plain.passed + plain.refused;
        for capacity in [10_000, 48] {
            let rich = Pair::new(seed, true, capacity).run(steps);
            assert!(rich.passed > u64::from(steps) / 4, "{} passed", rich.passed);
            assert!(
                rich.refused > u64::from(steps) / 200,
                "{} refused",
                rich.refused
            );
            let small = capacity <= SEARCHED as u32;
            assert!(!small || rich.evicted > 0, "no connection made room");
            packets += rich.passed + rich.refused;
        }
    }
    packets
}

/// What happens in short histories.
const EVENTS: u32 = 9;

impl Pair {
    /// One of [`EVENTS`] things that can happen.
    fn happen(&mut self, event: u32) {
        self.settle();
        let (here, there) = ("10.0.0.3:3000", "10.0.0.2:3000");
        let (near, far) = ("192.0.2.0:80", "192.0.2.1:81");
        match event {
            0 => self.send(1, IpProtocol::TCP, here, near),
            1 => self.send(1, IpProtocol::TCP, here, far),
            2 => self.send(1, IpProtocol::TCP, there, near),
            3 => self.send(2, IpProtocol::TCP, here, near),
            4 => self.answer(near, TcpSegment::SYN | TcpSegment::ACK),
            5 => self.answer(far, TcpSegment::SYN),
            6 => self.answer(near, TcpSegment::RST),
            7 => self.model.now += 239_000,
            _ => self.apply(
                if self.model.policy.generation().value().is_multiple_of(2) {
                    RICH
                } else {
                    RICH + 3
                },
            ),
        }
    }

    fn send(&mut self, vrf: u16, protocol: IpProtocol, src: &str, dst: &str) {
        let key = FlowKey {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            protocol,
        };
        let tcp = TcpSegment {
            flags: TcpSegment::SYN,
            seq: 100,
            ack: 0,
            len: 0,
        };
        let (vrf, egress) = (VrfId::new(vrf), InterfaceId::new(0));
        let got = self.engine.outbound(self.now(), vrf, &key, &tcp, egress);
        self.compare_outbound(vrf, key, tcp, egress, got);
    }

    /// A segment to the newest outside tuple.
    fn answer(&mut self, src: &str, flags: u8) {
        let key = FlowKey {
            src: src.parse().unwrap(),
            dst: *self.outsides.last().unwrap(),
            protocol: IpProtocol::TCP,
        };
        let tcp = TcpSegment {
            flags,
            seq: 500,
            ack: 101,
            len: 0,
        };
        self.receive(key, tcp);
    }
}

#[test]
fn every_history_of_four_events_is_that_of_the_model() {
    for history in 0..EVENTS.pow(4) {
        let mut pair = Pair::new(1, true, 48);
        let mut rest = history;
        for _ in 0..4 {
            pair.happen(rest % EVENTS);
            rest /= EVENTS;
        }
        pair.compare_sessions();
    }
}

#[test]
fn the_engine_does_what_the_model_does_with_random_packets() {
    let packets = run_pairs(1..5, 12_000);
    assert!(packets > 100_000, "{packets}");
}

#[cfg(feature = "long")]
#[test]
fn the_engine_does_what_the_model_does_with_ten_million_random_packets() {
    let packets: u64 = std::thread::scope(|scope| {
        let run = |first: u8| scope.spawn(move || run_pairs(first..first + 8, 400_000));
        let threads: Vec<_> = [10, 20].into_iter().map(run).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert!(packets >= 10_000_000, "{packets}");
}
