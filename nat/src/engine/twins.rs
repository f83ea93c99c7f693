//! Two ways to ask the same engine the same thing: twins that get the same packets must agree.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use sekisho_types::{InterfaceId, IpProtocol, VrfId, WorkerId};

use super::model::policy_input;
use super::{Candidate, Cursor, Engine, EngineConfig, Hit, Outbound, Probe, SessionFilter};
use crate::*;

/// An engine with a table of owners of its own: two of the same seed choose the same ports.
struct Twin {
    engine: Engine,
    owners: Arc<OutsideOwners>,
    steering: Steering,
}

impl Twin {
    fn new(seed: u8) -> Self {
        let seed = Seed::new([seed; 32]);
        let steering = Steering::new(seed, 1);
        let owners = Arc::new(OutsideOwners::new(64).unwrap());
        let policy = Policy::build(&policy_input(0), Generation::new(1), steering, &owners);
        let config = EngineConfig {
            worker: WorkerId::new(0),
            max_sessions: 10_000,
            count_sessions: false,
            seed,
        };
        Self {
            engine: Engine::new(config, Arc::new(policy.unwrap())).unwrap(),
            owners,
            steering,
        }
    }

    fn apply(&mut self, variant: u8, generation: u64) {
        let (input, generation) = (policy_input(variant), Generation::new(generation));
        let policy = Policy::build(&input, generation, self.steering, &self.owners);
        self.engine.set_policy(Arc::new(policy.unwrap()));
    }

    fn sessions(&self, now: Time) -> Vec<SessionView> {
        let mut views = Vec::new();
        let (filter, start) = (SessionFilter::default(), Cursor::default());
        self.engine
            .snapshot(now, &filter, start, u32::MAX, &mut views);
        views
    }
}

/// Random packets of few flows.
struct Traffic {
    random: StdRng,
    outsides: Vec<SocketAddrV4>,
}

impl Traffic {
    fn new(seed: u8) -> Self {
        Self {
            random: Seed::new([seed; 32]).generator(WorkerId::new(77)),
            outsides: vec![
                "203.0.113.1:2000".parse().unwrap(),
                "203.0.113.99:53".parse().unwrap(),
            ],
        }
    }

    fn key(&mut self, outbound: bool) -> FlowKey {
        let random = &mut self.random;
        let protocols = [
            IpProtocol::TCP,
            IpProtocol::TCP,
            IpProtocol::UDP,
            IpProtocol::ICMP,
            IpProtocol(47),
        ];
        let protocol = protocols[random.random_range(0..5)];
        let remote = SocketAddrV4::new(
            Ipv4Addr::new(192, 0, 2, random.random_range(0..3)),
            random.random_range(80..83),
        );
        let inside = SocketAddrV4::new(
            Ipv4Addr::new(10, 0, 0, random.random_range(1..6)),
            random.random_range(3000..3003),
        );
        let last = self.outsides.len();
        let outside = self.outsides[random.random_range(last.saturating_sub(60)..last)];
        let (src, dst) = if outbound {
            (inside, remote)
        } else {
            (remote, outside)
        };
        FlowKey { src, dst, protocol }
    }

    /// Mostly what an open connection carries.
    fn segment(&mut self) -> TcpSegment {
        let random = &mut self.random;
        TcpSegment {
            flags: [2, 18, 16, 16, 16, 16, 24, 17, 4][random.random_range(0..9)],
            seq: random.random_range(100..103),
            ack: random.random_range(100..103),
            len: random.random_range(0..2),
        }
    }
}

/// The same key as a load takes it from a packet.
fn wire(key: &FlowKey) -> WireFlow {
    let address = |tuple: SocketAddrV4| u32::from_le_bytes(tuple.ip().octets());
    let port = |tuple: SocketAddrV4| tuple.port().to_be_bytes();
    let ([a, b], [c, d]) = (port(key.src), port(key.dst));
    WireFlow {
        src: address(key.src),
        dst: address(key.dst),
        ports: u32::from_le_bytes([a, b, c, d]),
        protocol: key.protocol.0,
    }
}

/// What the stage before a hit says of a packet.
fn candidate(engine: &Engine, probe: &Probe) -> Candidate {
    let mut candidates = [Candidate::NONE; 64];
    engine.prefetch_burst(&[*probe], &mut candidates);
    engine.ask_again(candidates[0]);
    assert_eq!(candidates[1], Candidate::NONE);
    candidates[0]
}

/// A hit says the same as the address and port, in other words.
fn check_hit(hit: &Hit, new: SocketAddrV4) {
    let address = u32::from_le_bytes(new.ip().octets());
    let port = u16::from_le_bytes(new.port().to_be_bytes());
    assert_eq!((hit.address_wire, hit.port_wire), (address, port));
}

#[test]
fn a_hit_is_what_the_long_way_answers_and_a_miss_changes_nothing() {
    for seed in 1..=4 {
        let (mut long, mut short) = (Twin::new(seed), Twin::new(seed));
        let mut traffic = Traffic::new(seed);
        let (mut millis, mut generation, mut hits) = (0u64, 1, 0);
        let mut believed = Candidate::NONE;
        for step in 0..25_000 {
            millis += match traffic.random.random_range(0..2000) {
                0 => traffic.random.random_range(0..400_000),
                n => n % 8,
            };
            let now = Time::from_millis(millis);
            if traffic.random.random_ratio(1, 500) {
                generation += 1;
                let variant = traffic.random.random_range(0..5);
                long.apply(variant, generation);
                short.apply(variant, generation);
            }
            let budget = traffic.random.random_range(0..10);
            assert_eq!(long.engine.age(now, budget), short.engine.age(now, budget));
            let outbound = traffic.random.random();
            let (key, tcp) = (traffic.key(outbound), traffic.segment());
            let egress = InterfaceId::new(u16::from(traffic.random.random_ratio(1, 50)));
            let look = step % 16 == 0;
            let is_tcp = key.protocol == IpProtocol::TCP;
            let has_ports = matches!(key.protocol, IpProtocol::TCP | IpProtocol::UDP);
            let shown = |twin: &Twin| look.then(|| twin.sessions(now));
            let before = (short.engine.stats(), shown(&short));
            if outbound {
                let vrf = VrfId::new(traffic.random.random_range(1..3));
                let expected = long.engine.outbound(now, vrf, &key, &tcp, egress);
                let probe = short.engine.probe_outbound(vrf, &key);
                if has_ports {
                    let same = short.engine.probe_outbound_wire(vrf, &wire(&key));
                    assert_eq!(same, probe);
                }
                // Now and then, what was said of another packet.
                if !traffic.random.random_ratio(1, 8) {
                    believed = candidate(&short.engine, &probe);
                }
                let hit = short.engine.hit_outbound(
                    now,
                    believed,
                    &probe,
                    is_tcp.then_some(&tcp),
                    egress,
                );
                if let Some(hit) = hit {
                    let Ok(Outbound::Translated { source, session }) = expected else {
                        panic!("{hit:?}, not {expected:?}");
                    };
                    check_hit(&hit, source);
                    assert_eq!((Some(hit.session), hit.vrf), (session, vrf));
                    hits += 1;
                } else {
                    assert_eq!((short.engine.stats(), shown(&short)), before);
                    let got = short.engine.outbound_probed(now, &probe, &tcp, egress);
                    assert_eq!(got, expected);
                }
                if let Ok(Outbound::Translated { source, .. }) = expected {
                    traffic.outsides.push(source);
                }
            } else {
                let expected = long.engine.inbound(now, &key, &tcp);
                let probe = short.engine.probe_inbound(&key);
                if has_ports {
                    let same = short.engine.probe_inbound_wire(&wire(&key));
                    assert_eq!(same, probe);
                }
                // Now and then, what was said of another packet.
                if !traffic.random.random_ratio(1, 8) {
                    believed = candidate(&short.engine, &probe);
                }
                let hit = short
                    .engine
                    .hit_inbound(now, believed, &probe, is_tcp.then_some(&tcp));
                if let Some(hit) = hit {
                    let expected = expected.unwrap();
                    check_hit(&hit, expected.destination);
                    let named = (Some(hit.session), hit.vrf);
                    assert_eq!(named, (expected.session, expected.vrf));
                    hits += 1;
                } else {
                    assert_eq!((short.engine.stats(), shown(&short)), before);
                    let got = short.engine.inbound_probed(now, &probe, &tcp);
                    assert_eq!(got, expected);
                }
            }
            assert_eq!(long.engine.stats(), short.engine.stats());
            if step % 100 == 0 {
                assert_eq!(long.sessions(now), short.sessions(now));
            }
        }
        assert!(hits > 3_000, "{hits} hits");
    }
}
