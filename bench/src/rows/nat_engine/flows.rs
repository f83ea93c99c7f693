//! The flows the engine is measured with.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sekisho_nat::{
    Allocation, DYNAMIC_PORTS, Engine, EngineConfig, Filtering, FlowKey, Generation, Limits,
    LogLevel, LogRules, OutsideOwners, Policy, PolicyInput, PoolId, PoolInput, PortForward, Seed,
    SnatRule, SnatTarget, Steering, Timers, VrfInput,
};
use sekisho_types::{IpProtocol, VrfId, WorkerId};

/// Tenants; their inside addresses overlap.
const TENANTS: u32 = 256;
/// Flows of an inside host, on average.
const FLOWS_PER_HOST: u32 = 48;

/// A port forward of the first tenant.
pub(super) const FORWARD: PortForward = PortForward {
    protocol: IpProtocol::UDP,
    outside: SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 443),
    inside: SocketAddrV4::new(Ipv4Addr::new(10, 255, 0, 1), 443),
};

/// A flow as it leaves its tenant.
#[derive(Clone, Copy)]
pub(super) struct Flow {
    pub(super) vrf: VrfId,
    pub(super) key: FlowKey,
}

/// Flows one after another: each from a random host, an inside port of its own (so a mapping of its
/// own), to a random remote.
pub(super) struct Flows {
    random: StdRng,
    /// The inside port next, by host.
    ports: Vec<u16>,
    /// One TCP flow in that many; 0: none.
    tcp: u32,
}

impl Flows {
    /// Flows of as many hosts as `live` of them take.
    pub(super) fn new(live: usize, tcp: u32) -> Self {
        let hosts = (live / FLOWS_PER_HOST as usize).max(1024);
        Self {
            random: StdRng::seed_from_u64(1),
            ports: vec![1024; hosts],
            tcp,
        }
    }

    pub(super) fn take(&mut self, count: usize) -> Vec<Flow> {
        (0..count).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> Flow {
        let host = self.random.random_range(0..self.ports.len());
        let port = &mut self.ports[host];
        *port = port.checked_add(1).unwrap_or(1024);
        let source = 0x0a00_0000 + host as u32 / TENANTS;
        let is_tcp = self.tcp != 0 && self.random.random_ratio(1, self.tcp);
        Flow {
            vrf: VrfId::new((host as u32 % TENANTS) as u16 + 1),
            key: FlowKey {
                src: SocketAddrV4::new(Ipv4Addr::from(source), *port),
                dst: SocketAddrV4::new(Ipv4Addr::from(self.random.random::<u32>()), 443),
                protocol: if is_tcp {
                    IpProtocol::TCP
                } else {
                    IpProtocol::UDP
                },
            },
        }
    }
}

/// An engine for `sessions`, with a pool that has ports for 16 M and more.
pub(super) fn engine(sessions: usize, timeout: Duration, filtering: Filtering) -> Result<Engine> {
    logged_engine(sessions, timeout, filtering, LogLevel::None)
}

/// The same with a translation log of all tenants.
pub(super) fn logged_engine(
    sessions: usize,
    timeout: Duration,
    filtering: Filtering,
    level: LogLevel,
) -> Result<Engine> {
    let pool = SnatTarget::Pool(PoolId::new(1));
    let rule = SnatRule {
        filtering,
        ..SnatRule::new("10.0.0.0/8".parse()?, pool)
    };
    let tenant = |number: u32| VrfInput {
        id: VrfId::new(number as u16 + 1),
        snat: vec![rule],
        floating_ips: Vec::new(),
        limits: Limits::NONE,
        port_forwards: if number == 0 {
            vec![FORWARD]
        } else {
            Vec::new()
        },
    };
    let input = PolicyInput {
        pools: vec![PoolInput {
            id: PoolId::new(1),
            addresses: vec!["100.64.0.0/22".parse()?],
            ports: DYNAMIC_PORTS,
            allocation: Allocation::default(),
        }],
        vrfs: (0..TENANTS).map(tenant).collect(),
        timers: Timers {
            udp: timeout,
            tcp_established: timeout,
            tcp_transitory: timeout,
            icmp: timeout,
            ..Timers::default()
        },
        ..PolicyInput::default()
    };
    let seed = Seed::new(rand::random());
    let owners = Arc::new(OutsideOwners::new(1024)?);
    let steering = Steering::new(seed, 1);
    let levels = input.vrfs.iter().map(|vrf| (vrf.id, level));
    let rules = LogRules::new(levels, false);
    let policy = Policy::build(&input, Generation::new(1), steering, &owners)?.with_log(rules);
    let config = EngineConfig {
        worker: WorkerId::new(0),
        max_sessions: u32::try_from(sessions)?,
        count_sessions: false,
        seed,
    };
    Ok(Engine::new(config, Arc::new(policy))?)
}
