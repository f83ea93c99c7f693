//! Engines of several workers that share the table of owners.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use sekisho_types::{InterfaceId, IpProtocol, VrfId, WorkerId};

use super::{Cursor, Engine, EngineConfig, Outbound, SessionFilter};
use crate::*;

const VRF: VrfId = VrfId::new(1);
const WORKERS: u8 = 3;

/// One address and 64 blocks, too few for everybody.
fn policy_input() -> PolicyInput {
    PolicyInput {
        pools: vec![PoolInput {
            id: PoolId::new(1),
            addresses: vec!["203.0.113.7/32".parse().unwrap()],
            ports: 4096..=8191,
            allocation: Allocation::default(),
        }],
        vrfs: vec![VrfInput {
            id: VRF,
            snat: vec![SnatRule::new(
                "10.0.0.0/8".parse().unwrap(),
                SnatTarget::Pool(PoolId::new(1)),
            )],
            floating_ips: Vec::new(),
            port_forwards: Vec::new(),
            limits: Limits::NONE,
        }],
        ..PolicyInput::default()
    }
}

fn policy(owners: &Arc<OutsideOwners>) -> Arc<Policy> {
    let (input, steering) = (policy_input(), Steering::new(Seed::new([5; 32]), WORKERS));
    Arc::new(Policy::build(&input, Generation::new(1), steering, owners).unwrap())
}

/// Opens flows from 30 hosts, which leaves too few blocks for the last worker's hosts, gives all back,
/// and does so again. Every outside tuple must be in nobody else's hands meanwhile, and steer here.
fn take_and_give_back(
    worker: WorkerId,
    policy: &Arc<Policy>,
    taken: &Mutex<HashSet<SocketAddrV4>>,
    together: &Barrier,
) -> usize {
    let config = EngineConfig {
        worker,
        max_sessions: 10_000,
        count_sessions: false,
        seed: Seed::new([5; 32]),
    };
    let mut engine = Engine::new(config, Arc::clone(policy)).unwrap();
    let mut most = 0;
    for round in 0..50u32 {
        let now = Time::from_millis(u64::from(round) * 1000);
        let mut mine = Vec::new();
        together.wait();
        for host in 0..3000u32 {
            let key = FlowKey {
                src: SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 + host % 30), host as u16),
                dst: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 53),
                protocol: IpProtocol::UDP,
            };
            let (tcp, egress) = (TcpSegment::default(), InterfaceId::new(0));
            match engine.outbound(now, VRF, &key, &tcp, egress) {
                Ok(Outbound::Translated { source, .. }) => {
                    assert!(taken.lock().unwrap().insert(source), "{source} twice");
                    let owner = policy.outside_owner(key.protocol, *source.ip(), source.port());
                    assert_eq!(owner, Some(worker));
                    mine.push(source);
                }
                outcome => assert_eq!(outcome, Err(Refusal::PortsExhausted)),
            }
        }
        most = most.max(mine.len());
        together.wait();
        let mut taken = taken.lock().unwrap();
        for source in mine {
            taken.remove(&source);
        }
        drop(taken);
        engine.clear(&SessionFilter::default(), Cursor::default(), u32::MAX);
        assert_eq!(engine.stats().blocks, 0);
    }
    most
}

#[test]
fn workers_never_hold_the_same_outside_tuple() {
    let owners = Arc::new(OutsideOwners::new(4).unwrap());
    let policy = policy(&owners);
    let taken = Mutex::new(HashSet::new());
    let together = Barrier::new(usize::from(WORKERS));
    let most: Vec<usize> = thread::scope(|scope| {
        let run = |worker| {
            let (policy, taken, together) = (&policy, &taken, &together);
            scope.spawn(move || take_and_give_back(WorkerId::new(worker), policy, taken, together))
        };
        let threads: Vec<_> = (0..WORKERS).map(run).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(most.iter().all(|&most| most > 64), "{most:?}");
    assert_eq!(owners.claimed(1), 0);
}

#[test]
fn an_engine_that_ends_gives_its_blocks_back() {
    let owners = Arc::new(OutsideOwners::new(4).unwrap());
    let policy = policy(&owners);
    let config = EngineConfig {
        worker: WorkerId::new(2),
        max_sessions: 10,
        count_sessions: false,
        seed: Seed::new([5; 32]),
    };
    let mut engine = Engine::new(config, policy).unwrap();
    let key = FlowKey {
        src: "10.0.0.1:1".parse().unwrap(),
        dst: "192.0.2.1:53".parse().unwrap(),
        protocol: IpProtocol::UDP,
    };
    let (tcp, egress) = (TcpSegment::default(), InterfaceId::new(0));
    engine
        .outbound(Time::default(), VRF, &key, &tcp, egress)
        .unwrap();
    assert_eq!(owners.claimed(1), 1);
    drop(engine);
    assert_eq!(owners.claimed(1), 0);
}

#[test]
fn engines_move_to_their_workers_and_policies_are_shared() {
    fn moves<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    moves::<Engine>();
    is_shared::<Arc<Policy>>();
}

#[test]
fn c04_workers_together_give_a_tenant_no_more_sessions_and_ports_than_its_limits() {
    for ports in [false, true] {
        let owners = Arc::new(OutsideOwners::new(4).unwrap());
        let mut input = policy_input();
        if ports {
            input.vrfs[0].limits.ports = Some(100);
        } else {
            input.vrfs[0].limits.sessions = Some(100);
        }
        let steering = Steering::new(Seed::new([5; 32]), WORKERS);
        let policy = Policy::build(&input, Generation::new(1), steering, &owners).unwrap();
        let policy = Arc::new(policy);
        let mut engines = [0, 1].map(|worker| {
            let config = EngineConfig {
                worker: WorkerId::new(worker),
                max_sessions: 1000,
                count_sessions: false,
                seed: Seed::new([5; 32]),
            };
            Engine::new(config, Arc::clone(&policy)).unwrap()
        });
        let open = |engine: &mut Engine, port: u16| {
            let key = FlowKey {
                src: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), port),
                dst: "192.0.2.1:53".parse().unwrap(),
                protocol: IpProtocol::UDP,
            };
            let (tcp, egress) = (TcpSegment::default(), InterfaceId::new(0));
            engine
                .outbound(Time::default(), VRF, &key, &tcp, egress)
                .is_ok()
        };
        // One of them opens three times as many as the other.
        let opened = (0..400)
            .filter(|&n| open(&mut engines[usize::from(n % 4 == 0)], n))
            .count();
        assert_eq!(opened, 100);
        let (cleared, _) = engines[0].clear(&SessionFilter::default(), Cursor::default(), 10);
        let more = (1000..1100).filter(|&n| open(&mut engines[1], n)).count();
        assert_eq!(more, cleared as usize, "what one gives back another gets");
    }
}
