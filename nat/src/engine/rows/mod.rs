//! Rows of `docs/conformance.md` that can be shown on one engine in virtual time, and the bench they
//! are shown on.

mod aging;
mod dependent;
mod icmp;
mod limits;
mod log;
mod memory;
mod policy;
mod pools;
mod ports;
mod show;
mod tcp;
mod udp;

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
        allocation: Allocation::default(),
    }
}

fn vrf(id: VrfId, target: SnatTarget) -> VrfInput {
    VrfInput {
        id,
        snat: vec![SnatRule::new("172.16.0.0/12".parse().unwrap(), target)],
        floating_ips: Vec::new(),
        port_forwards: Vec::new(),
        limits: Limits::NONE,
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
        Self::made(input, max_sessions, false)
    }

    /// A bench whose engine counts what sessions carry.
    fn counting(input: &PolicyInput) -> Self {
        Self::made(input, 4096, true)
    }

    fn made(input: &PolicyInput, max_sessions: u32, count_sessions: bool) -> Self {
        let seed = Seed::new([42; 32]);
        let steering = Steering::new(seed, 1);
        let owners = Arc::new(OutsideOwners::new(8192).unwrap());
        let policy = Policy::build(input, Generation::new(1), steering, &owners).unwrap();
        let config = EngineConfig {
            worker: WorkerId::new(0),
            max_sessions,
            count_sessions,
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
        self.matching(&SessionFilter::default()).len()
    }

    /// The sessions that match.
    fn matching(&self, filter: &SessionFilter) -> Vec<SessionView> {
        let mut views = Vec::new();
        let end = self
            .engine
            .snapshot(self.now, filter, Cursor::default(), u32::MAX, &mut views);
        assert_eq!(end, None);
        views
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

const INSIDE: &str = "172.16.10.12:80";
const OUTSIDE: &str = "203.0.113.20:8080";

fn with_forward(outside: &str) -> PolicyInput {
    let mut policy = input();
    policy.vrfs[0]
        .port_forwards
        .push(forward(TCP, outside, INSIDE));
    policy
}

fn connect_forward(bench: &mut Bench, remote: &str) -> Result<Inbound, Refusal> {
    let syn = segment(TcpSegment::SYN, 700, 0);
    bench.receive(TCP, remote, tuple(OUTSIDE), syn)
}
