//! Packets through the NAT engine and the rewriting of headers.
#![expect(clippy::expect_used, reason = "what a fuzzer looks for is a panic")]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use sekisho_nat::{
    Engine, EngineConfig, Filtering, FloatingIp, FlowKey, Generation, Limits, MappingMode,
    Outbound, OutsideOwners, Policy, PolicyInput, PoolId, PoolInput, PortForward, Seed, SnatRule,
    SnatTarget, Steering, TcpSegment, Time, VrfInput,
};
use sekisho_packet::rewrite::{self, Layout};
use sekisho_packet::{Icmpv4, Icmpv4Type, Ipv4, Tcp, Udp, checksum};
use sekisho_types::{InterfaceId, IpProtocol, Ipv4Prefix, VrfId, WorkerId};

const VRF: VrfId = VrfId::new(1);
const POOL: PoolId = PoolId::new(1);
const UPLINK: InterfaceId = InterfaceId::new(0);
/// Sessions of the engine: few, so that it is full now and then.
const SESSIONS: u32 = 32;

/// Runs what the octets say: after one octet that chooses the policy, pieces of an octet that says what
/// to do (below 128: with the packet mended), one that says how much time passes, one for the length, and so many octets of a packet.
///
/// # Panics
/// When a translated packet is not what it should be: that is what a fuzzer looks for.
pub fn translate(data: &[u8]) {
    let Some((&kind, mut rest)) = data.split_first() else {
        return;
    };
    let mut gateway = Gateway::new(kind);
    while let [what, time, length, more @ ..] = rest {
        let (packet, next) = more.split_at(usize::from(*length).min(more.len()));
        rest = next;
        gateway.wait(*time);
        let mut packet = packet.to_vec();
        if what >> 7 == 0 {
            mend(&mut packet, what % 8 < 3);
        }
        gateway.step(*what, &packet);
    }
    gateway.finish();
}

/// Makes octets a packet of a host behind the gateway, or for one of its outside addresses, that gets
/// beyond the first checks.
fn mend(packet: &mut [u8], outbound: bool) {
    if packet.len() < 20 {
        return;
    }
    packet[0] = 0x45;
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[6..8].fill(0);
    packet[9] = [6, 17, 1, packet[9]][usize::from(packet[9] % 4)];
    let (at, network) = if outbound {
        (12, [10, 0, 0])
    } else {
        (16, [203, 0, 113])
    };
    packet[at..at + 3].copy_from_slice(&network);
    packet[at + 3] %= 10;
    packet[10..12].fill(0);
    let sum = checksum::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

struct Gateway {
    engine: Engine,
    owners: Arc<OutsideOwners>,
    steering: Steering,
    generation: u64,
    now: Time,
}

impl Gateway {
    fn new(kind: u8) -> Self {
        let seed = Seed::new([7; 32]);
        let steering = Steering::new(seed, 1);
        let owners = Arc::new(OutsideOwners::new(16).expect("room for owners"));
        let policy = build(kind, 1, steering, &owners);
        let config = EngineConfig {
            worker: WorkerId::new(0),
            max_sessions: SESSIONS,
            count_sessions: true,
            seed,
        };
        Self {
            engine: Engine::new(config, policy).expect("room for sessions"),
            owners,
            steering,
            generation: 1,
            now: Time::default(),
        }
    }

    /// Up to two hours, mostly short times.
    fn wait(&mut self, time: u8) {
        let seconds = u64::from(time & 31) << (time >> 5);
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    fn step(&mut self, what: u8, packet: &[u8]) {
        match what % 8 {
            0..=2 => self.outbound(packet),
            3..=5 => self.inbound(packet),
            6 => {
                self.engine.age(self.now, u32::from(what));
            }
            _ => {
                self.generation += 1;
                let policy = build(what >> 3, self.generation, self.steering, &self.owners);
                self.engine.set_policy(policy);
            }
        }
    }

    fn outbound(&mut self, octets: &[u8]) {
        let Some(Read { key, tcp, error }) = Read::of(octets) else {
            return;
        };
        let mut packet = octets.to_vec();
        let before = Health::of(&packet);
        if error {
            let Some(outside) = self.engine.error_from_inside(self.now, VRF, &key) else {
                return;
            };
            let port = Some(outside.port());
            if rewrite::embedded_destination(&mut packet, *outside.ip(), port).is_ok() {
                Health::of(&packet).is_no_worse_than(&before);
            }
            return;
        }
        let sent = self.engine.outbound(self.now, VRF, &key, &tcp, UPLINK);
        let Ok(Outbound::Translated { source, session }) = sent else {
            return;
        };
        let Ok(ip) = Ipv4::new(&packet) else { return };
        let layout = Layout::of(&ip);
        let port = session.map(|_| source.port());
        if rewrite::source(&mut packet, layout, *source.ip(), port).is_ok() {
            Health::of(&packet).is_no_worse_than(&before);
            self.comes_back(&key, source, session.is_some());
        }
    }

    /// The answer to a packet that was translated reaches its sender.
    fn comes_back(&mut self, key: &FlowKey, source: SocketAddrV4, has_session: bool) {
        let answer = FlowKey {
            src: key.dst,
            dst: source,
            protocol: key.protocol,
        };
        let data = TcpSegment {
            flags: TcpSegment::ACK,
            ..TcpSegment::default()
        };
        let inbound = self
            .engine
            .inbound(self.now, &answer, &data)
            .expect("an answer comes in");
        assert_eq!(inbound.destination.ip(), key.src.ip());
        if has_session {
            assert_eq!(inbound.destination, key.src);
        }
    }

    fn inbound(&mut self, octets: &[u8]) {
        let Some(Read { key, tcp, error }) = Read::of(octets) else {
            return;
        };
        let mut packet = octets.to_vec();
        let before = Health::of(&packet);
        if error {
            let Some(target) = self.engine.error_from_outside(self.now, &key) else {
                return;
            };
            let port = Some(target.inside.port());
            if rewrite::embedded_source(&mut packet, *target.inside.ip(), port).is_ok() {
                Health::of(&packet).is_no_worse_than(&before);
            }
            return;
        }
        let Ok(inbound) = self.engine.inbound(self.now, &key, &tcp) else {
            return;
        };
        let Ok(ip) = Ipv4::new(&packet) else { return };
        let layout = Layout::of(&ip);
        let port = inbound.session.map(|_| inbound.destination.port());
        if rewrite::destination(&mut packet, layout, *inbound.destination.ip(), port).is_ok() {
            Health::of(&packet).is_no_worse_than(&before);
        }
    }

    /// When all time-outs are over nothing is left.
    fn finish(mut self) {
        for _ in 0..2 {
            self.now = self.now.after(Duration::from_secs(10_000));
            self.engine.age(self.now, 4 * SESSIONS);
        }
        let stats = self.engine.stats();
        assert_eq!((stats.mappings, stats.hosts, stats.blocks), (0, 0, 0));
        assert_eq!(stats.created, stats.removed);
    }
}

/// What the engine is told of a packet; of an ICMP error, of what it quotes.
struct Read {
    key: FlowKey,
    tcp: TcpSegment,
    error: bool,
}

impl Read {
    fn of(octets: &[u8]) -> Option<Self> {
        let ip = Ipv4::new(octets).ok()?;
        if ip.is_fragment() {
            return None;
        }
        let mut tcp = TcpSegment::default();
        if ip.protocol() == IpProtocol::TCP {
            let segment = Tcp::new(ip.payload()).ok()?;
            tcp = TcpSegment {
                flags: segment.flags().0,
                seq: segment.sequence(),
                ack: segment.acknowledgement(),
                len: segment.payload().len() as u16,
            };
        }
        let mut flow = sekisho_packet::FlowKey::with_ports(&ip).ok()?;
        let mut error = false;
        if ip.protocol() == IpProtocol::ICMP {
            let icmp = Icmpv4::new(ip.payload()).ok()?;
            let kind = icmp.message_type();
            error = kind.is_error();
            if error {
                flow = icmp.embedded().ok()?.flow_key().ok()?;
            } else if kind != Icmpv4Type::ECHO_REQUEST && kind != Icmpv4Type::ECHO_REPLY {
                return None;
            }
        }
        let key = FlowKey {
            src: SocketAddrV4::new(flow.src, flow.sport),
            dst: SocketAddrV4::new(flow.dst, flow.dport),
            protocol: flow.proto,
        };
        Some(Self { key, tcp, error })
    }
}

/// Which checksums of a packet are right.
#[derive(Debug, PartialEq)]
struct Health {
    header: bool,
    /// Of TCP, UDP or ICMP.
    transport: bool,
}

impl Health {
    fn of(octets: &[u8]) -> Self {
        let Ok(ip) = Ipv4::new(octets) else {
            return Self {
                header: false,
                transport: false,
            };
        };
        let length = u16::try_from(ip.payload().len()).unwrap_or(0);
        let pseudo = checksum::Sum::pseudo_v4(ip.src(), ip.dst(), ip.protocol(), length);
        let transport = match ip.protocol() {
            IpProtocol::TCP => Tcp::new(ip.payload()).is_ok_and(|tcp| tcp.is_intact(pseudo)),
            IpProtocol::UDP => Udp::new(ip.payload()).is_ok_and(|udp| udp.is_intact(pseudo)),
            IpProtocol::ICMP => Icmpv4::new(ip.payload()).is_ok_and(|icmp| icmp.is_intact()),
            _ => false,
        };
        Self {
            header: ip.is_intact(),
            transport,
        }
    }

    fn is_no_worse_than(&self, before: &Self) {
        assert!(self.header || !before.header, "the header's checksum");
        assert!(
            self.transport || !before.transport,
            "the transport's checksum"
        );
    }
}

fn prefix(text: &str) -> Ipv4Prefix {
    text.parse().expect("a prefix")
}

/// One of several policies: a bit each for what differs.
fn build(
    kind: u8,
    generation: u64,
    steering: Steering,
    owners: &Arc<OutsideOwners>,
) -> Arc<Policy> {
    let has = |bit: u8| kind >> bit & 1 == 1;
    let mut rule = SnatRule::new(prefix("10.0.0.0/8"), SnatTarget::Pool(POOL));
    if has(0) {
        rule.filtering = Filtering::EndpointIndependent;
    }
    if has(1) {
        rule.mapping = MappingMode::EndpointDependent;
    }
    let mut vrf = VrfInput {
        snat: vec![rule],
        ..VrfInput::new(VRF)
    };
    if has(2) {
        vrf.limits = Limits {
            sessions: Some(8),
            host_ports: Some(3),
            ..Limits::NONE
        };
    }
    if has(3) {
        vrf.floating_ips = vec![FloatingIp {
            outside: Ipv4Addr::new(203, 0, 113, 9),
            inside: Ipv4Addr::new(10, 0, 0, 9),
        }];
    }
    if has(4) {
        vrf.port_forwards = vec![PortForward {
            protocol: IpProtocol::TCP,
            outside: SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 80),
            inside: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 80),
        }];
    }
    let input = PolicyInput {
        pools: vec![PoolInput {
            id: POOL,
            addresses: vec![prefix("203.0.113.0/31")],
            ports: 1024..=1151,
            allocation: Default::default(),
        }],
        vrfs: vec![vrf],
        ..PolicyInput::default()
    };
    let policy = Policy::build(&input, Generation::new(generation), steering, owners);
    Arc::new(policy.expect("a policy"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet of few hosts and ports, with right checksums.
    fn packet(
        (protocol, inside, port): (u8, u8, u8),
        (remote, flags): (u8, u8),
        outbound: bool,
    ) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 0, 0, 0];
        let inner = [10, 0, 0, inside % 4];
        let outer = [192, 0, 2, remote % 3];
        let shared = [203, 0, 113, inside % 2];
        let (src, dst) = if outbound {
            (inner, outer)
        } else {
            (outer, shared)
        };
        packet.extend(src.into_iter().chain(dst));
        let local = if outbound {
            [16, port % 4]
        } else {
            [4, port % 128]
        };
        let (from, to) = if outbound {
            (local, [0, 80])
        } else {
            ([0, 80], local)
        };
        let number = [6, 17, 1][usize::from(protocol % 3)];
        packet[9] = number;
        let mut body = vec![0; 20];
        match number {
            1 => {
                body[0] = if outbound { 8 } else { 0 };
                body[4..6].copy_from_slice(&local);
            }
            _ => {
                body[..2].copy_from_slice(&from);
                body[2..4].copy_from_slice(&to);
            }
        }
        if number == 6 {
            (body[12], body[13]) = (0x50, flags & 0x3f);
        } else if number == 17 {
            body[5] = 20;
        }
        packet.extend(body);
        packet
    }

    fn piece(what: u8, time: u8, octets: &[u8]) -> Vec<u8> {
        let mut piece = vec![what, time, octets.len() as u8];
        piece.extend(octets);
        piece
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn arbitrary_octets_are_translated_or_not_and_harm_nobody(
            data in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            translate(&data);
        }

        #[test]
        fn whole_packets_come_back_to_whom_they_are_for(
            kind: u8,
            steps in prop::collection::vec(
                (any::<u8>(), 0u8..80, any::<(u8, u8, u8)>(), any::<(u8, u8)>()), 1..200,
            ),
        ) {
            let mut data = vec![kind];
            for (what, time, who, how) in steps {
                let outbound = what % 8 < 3;
                data.extend(piece(what, time, &packet(who, how, outbound)));
            }
            translate(&data);
        }
    }
}
