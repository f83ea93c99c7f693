//! Every rewrite against packets built from scratch with plainly computed checksums.

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::*;
use crate::ipv4::Ipv4Fields;

/// All that the checksums of a test packet depend on.
#[derive(Clone, Debug)]
struct Spec {
    transport: Transport,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    sport: u16,
    dport: u16,
    ttl: u8,
    tos: u8,
    /// Length of the IPv4 options in bytes; a multiple of four.
    options_len: usize,
    udp_checksum_off: bool,
    echo_type: u8,
    payload: Vec<u8>,
}

impl Spec {
    /// The packet, every checksum computed from scratch.
    fn packet(&self) -> Vec<u8> {
        let l4 = self.l4();
        let header_len = 20 + self.options_len;
        let mut packet = vec![1; header_len];
        let protocol = match self.transport {
            Transport::Tcp => IpProtocol::TCP,
            Transport::Udp => IpProtocol::UDP,
            Transport::IcmpEcho => IpProtocol::ICMP,
            Transport::None => IpProtocol(47),
        };
        Ipv4Fields {
            tos: self.tos,
            total_len: (header_len + l4.len()) as u16,
            dont_fragment: true,
            ttl: self.ttl,
            protocol,
            src: self.src,
            dst: self.dst,
        }
        .write(packet.first_chunk_mut().unwrap());
        packet[0] = 0x40 | (header_len / 4) as u8;
        packet[ipv4::CHECKSUM].fill(0);
        let checksum = plain_checksum(&packet);
        packet[ipv4::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        packet.extend(l4);
        packet
    }

    fn l4(&self) -> Vec<u8> {
        let mut l4 = Vec::new();
        match self.transport {
            Transport::Tcp | Transport::Udp => {
                l4.extend(self.sport.to_be_bytes());
                l4.extend(self.dport.to_be_bytes());
            }
            Transport::IcmpEcho => {
                l4.extend([self.echo_type, 0, 0, 0]);
                l4.extend(self.sport.to_be_bytes());
            }
            Transport::None => {}
        }
        match self.transport {
            Transport::Tcp => l4.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 9, 9, 0, 0, 0, 0]),
            Transport::Udp => l4.extend([0, 8 + self.payload.len() as u8, 0, 0]),
            Transport::IcmpEcho | Transport::None => {}
        }
        l4.extend(&self.payload);
        let mut covered = Vec::new();
        if matches!(self.transport, Transport::Tcp | Transport::Udp) {
            covered.extend(self.src.octets());
            covered.extend(self.dst.octets());
            let number = if self.transport == Transport::Tcp {
                6
            } else {
                17
            };
            covered.extend([0, number, 0, l4.len() as u8]);
        }
        covered.extend(&l4);
        let checksum = match (self.transport, plain_checksum(&covered)) {
            (Transport::Udp, _) if self.udp_checksum_off => 0,
            (Transport::Udp, 0) => 0xffff,
            (_, checksum) => checksum,
        };
        if let Some(field) = self.transport.checksum() {
            l4[field].copy_from_slice(&checksum.to_be_bytes());
        }
        l4
    }

    fn with(&self, side: Side, addr: Ipv4Addr, port: Option<u16>) -> Self {
        let mut changed = self.clone();
        match side {
            Side::Source => changed.src = addr,
            Side::Destination => changed.dst = addr,
        }
        if let Some(port) = port {
            match (self.transport, side) {
                (Transport::IcmpEcho, _) | (_, Side::Source) => changed.sport = port,
                (_, Side::Destination) => changed.dport = port,
            }
        }
        changed
    }

    /// An ICMP error about the first `quoted` bytes of the packet.
    fn error(&self, quoted: usize) -> Vec<u8> {
        let packet = self.packet();
        let quote = &packet[..quoted.min(packet.len())];
        let mut message = vec![11, 0, 0, 0, 0, 0, 0, 0];
        message.extend(quote);
        let checksum = plain_checksum(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        let mut error = vec![0; 20];
        Ipv4Fields {
            tos: 0,
            total_len: 20 + message.len() as u16,
            dont_fragment: false,
            ttl: 60,
            protocol: IpProtocol::ICMP,
            src: Ipv4Addr::new(192, 0, 2, 33),
            dst: self.src,
        }
        .write(error.first_chunk_mut().unwrap());
        error.extend(message);
        error
    }
}

/// RFC 1071 as plainly as possible.
fn plain_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![
        Just(Transport::Tcp),
        Just(Transport::Udp),
        Just(Transport::IcmpEcho),
        Just(Transport::None),
    ]
}

/// Mostly anything, often a value at which one's complement arithmetic turns.
fn word() -> impl Strategy<Value = u16> {
    prop_oneof![3 => any::<u16>(), 1 => Just(0), 1 => Just(0xffff), 1 => Just(1)]
}

prop_compose! {
    fn spec()(
        transport in transport(),
        src: u32,
        dst: u32,
        sport in word(),
        dport in word(),
        (ttl, tos) in any::<(u8, u8)>(),
        options_words in 0usize..4,
        udp_checksum_off: bool,
        echo_reply: bool,
        payload in prop_oneof![
            proptest::collection::vec(any::<u8>(), 2..60),
            proptest::collection::vec(Just(0), 2..12),
        ],
    ) -> Spec {
        Spec {
            transport,
            src: src.into(),
            dst: dst.into(),
            sport,
            dport,
            ttl,
            tos,
            options_len: options_words * 4,
            udp_checksum_off,
            echo_type: if echo_reply { 0 } else { 8 },
            payload,
        }
    }
}

fn sides() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Source), Just(Side::Destination)]
}

impl core::fmt::Debug for Side {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

fn rewrite(
    packet: &mut [u8],
    side: Side,
    addr: Ipv4Addr,
    port: Option<u16>,
) -> Result<(), PacketError> {
    let layout = Layout::of(&Ipv4::new(packet)?);
    match side {
        Side::Source => source(packet, layout, addr, port),
        Side::Destination => destination(packet, layout, addr, port),
    }
}

#[test]
fn u18_a_million_random_packets_have_the_checksums_of_packets_built_anew() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (specs, all_sides) = (spec(), sides());
    let mut random = 1u64;
    let mut draw = || {
        // Knuth's generator; its upper half is random enough for addresses and ports.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 32) as u32
    };
    for _ in 0..10_000 {
        let spec = specs.new_tree(&mut runner).unwrap().current();
        let side = all_sides.new_tree(&mut runner).unwrap().current();
        for _ in 0..100 {
            let (addr, port) = (draw().into(), draw() as u16);
            let port = (spec.transport != Transport::None).then_some(port);
            let mut packet = spec.packet();
            rewrite(&mut packet, side, addr, port).unwrap();
            assert_eq!(packet, spec.with(side, addr, port).packet());
        }
    }
}

type Operation<'a> = &'a dyn Fn(&mut [u8]) -> Result<(), PacketError>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn u18_a_rewritten_packet_is_the_packet_built_anew(
        spec in spec(), side in sides(), addr: u32, port in word(), with_port: bool, padding in 0usize..8,
    ) {
        let addr = addr.into();
        let port = (with_port && spec.transport != Transport::None).then_some(port);
        let mut packet = spec.packet();
        let length = packet.len();
        packet.resize(length + padding, 0xee);
        rewrite(&mut packet, side, addr, port).unwrap();
        prop_assert_eq!(&packet[..length], spec.with(side, addr, port).packet());
        prop_assert!(packet[length..].iter().all(|byte| *byte == 0xee));
    }

    #[test]
    fn i06_a_rewritten_quote_is_the_error_built_anew_however_much_is_quoted(
        spec in spec(), side in sides(), addr: u32, port in word(), quoted in 0usize..70,
    ) {
        let addr = addr.into();
        let port = (spec.transport != Transport::None).then_some(port);
        let quoted = 20 + spec.options_len + 8 + quoted;
        let mut error = spec.error(quoted);
        let outer: Vec<u8> = error[..20].to_vec();
        match side {
            Side::Source => embedded_source(&mut error, addr, port),
            Side::Destination => embedded_destination(&mut error, addr, port),
        }.unwrap();
        let expected = spec.with(side, addr, port).error(quoted);
        prop_assert_eq!(&error[..20], outer);
        let l4_len = error.len() - 20 - 8 - 20 - spec.options_len;
        let half_a_checksum = spec.transport == Transport::Tcp && l4_len == tcp::CHECKSUM.start + 1;
        if half_a_checksum {
            prop_assert!(Icmpv4::new(&error[20..]).unwrap().is_intact());
        } else {
            prop_assert_eq!(&error[20..], &expected[20..]);
        }
    }

    #[test]
    fn a_damaged_packet_stays_damaged(
        spec in spec(), side in sides(), addr: u32, byte: prop::sample::Index, bit in 0u8..8,
    ) {
        let mut packet = spec.packet();
        let at = 20 + spec.options_len + byte.index(packet.len() - 20 - spec.options_len);
        packet[at] ^= 1 << bit;
        if rewrite(&mut packet, side, addr.into(), None).is_ok() {
            prop_assert_ne!(packet, spec.with(side, addr.into(), None).packet());
        }
    }

    #[test]
    fn a_hop_and_a_new_service_class_leave_the_packet_built_anew(
        spec in spec(), tos: u8, identification: u16,
    ) {
        let mut packet = spec.packet();
        set_tos(&mut packet, tos).unwrap();
        let before = packet.clone();
        set_identification(&mut packet, identification).unwrap();
        let ip = Ipv4::new(&packet).unwrap();
        prop_assert_eq!((ip.identification(), ip.is_intact()), (identification, true));
        set_identification(&mut packet, Ipv4::new(&before).unwrap().identification()).unwrap();
        let mut expected = Spec { tos, ..spec.clone() };
        prop_assert_eq!(&packet, &expected.packet());
        let hop = decrement_ttl(&mut packet);
        if spec.ttl < 2 {
            prop_assert_eq!(hop, Err(PacketError::TtlExpired));
        } else {
            expected.ttl -= 1;
            prop_assert_eq!(hop, Ok(expected.ttl));
        }
        prop_assert_eq!(packet, expected.packet());
    }

    #[test]
    fn a_refused_rewrite_changes_nothing_and_nothing_panics(
        bytes: Vec<u8>, l4_offset in 0usize..80, transport in transport(), port: Option<u16>,
    ) {
        let layout = Layout { l4_offset, transport };
        let addr = Ipv4Addr::LOCALHOST;
        let operations: [Operation<'_>; 6] = [
            &|p| source(p, layout, addr, port),
            &|p| destination(p, layout, addr, port),
            &|p| embedded_source(p, addr, port),
            &|p| embedded_destination(p, addr, port),
            &|p| decrement_ttl(p).map(drop),
            &|p| set_tos(p, 1),
        ];
        for operation in operations {
            let mut packet = bytes.clone();
            if operation(&mut packet).is_err() {
                prop_assert_eq!(&packet, &bytes);
            }
        }
    }
}

const SPEC: Spec = Spec {
    transport: Transport::Udp,
    src: Ipv4Addr::new(10, 0, 0, 10),
    dst: Ipv4Addr::new(198, 51, 100, 80),
    sport: 5353,
    dport: 53,
    ttl: 64,
    tos: 0,
    options_len: 0,
    udp_checksum_off: false,
    echo_type: 0,
    payload: Vec::new(),
};

#[test]
fn u18_all_pairs_of_ports_that_turn_one_s_complement_arithmetic_agree_with_recomputing() {
    let turning = [0, 1, 2, 0x7fff, 0x8000, 0xfffe, 0xffff];
    for transport in [Transport::Tcp, Transport::Udp, Transport::IcmpEcho] {
        for sport in 0..=0xffff {
            for port in turning {
                let payload = vec![7, 7];
                let spec = Spec {
                    transport,
                    sport,
                    payload,
                    ..SPEC
                };
                let mut packet = spec.packet();
                rewrite(&mut packet, Side::Source, SPEC.dst, Some(port)).unwrap();
                let expected = spec.with(Side::Source, SPEC.dst, Some(port)).packet();
                assert_eq!(packet[..expected.len()], expected, "{sport} to {port}");
            }
        }
    }
}

#[test]
fn an_echo_reply_of_zeros_alone_gets_a_checksum_that_verifies() {
    let spec = Spec {
        transport: Transport::IcmpEcho,
        sport: 4000,
        payload: vec![0; 10],
        ..SPEC
    };
    let mut packet = spec.packet();
    rewrite(&mut packet, Side::Destination, SPEC.src, Some(0)).unwrap();
    let view = Ipv4::new(&packet).unwrap();
    assert!(Icmpv4::new(view.payload()).unwrap().is_intact());
}

#[test]
fn later_fragments_and_other_protocols_have_their_address_replaced_and_no_port() {
    let mut fragment = SPEC.packet();
    fragment[7] = 8;
    let before = fragment.clone();
    let refusal = Some(PacketError::NoTransport);
    assert_eq!(
        rewrite(&mut fragment, Side::Source, SPEC.dst, Some(1)).err(),
        refusal
    );
    assert_eq!(fragment, before);
    rewrite(&mut fragment, Side::Source, SPEC.dst, None).unwrap();
    assert_eq!(fragment[20..], before[20..]);
    assert_eq!(fragment[12..16], SPEC.dst.octets());
}

#[test]
fn a_transport_header_cut_before_its_checksum_is_refused() {
    let spec = Spec {
        transport: Transport::Tcp,
        ..SPEC
    };
    let mut packet = spec.packet();
    packet[3] = 37;
    let before = packet.clone();
    assert_eq!(
        rewrite(&mut packet, Side::Source, SPEC.dst, None),
        Err(PacketError::NoTransport)
    );
    assert_eq!(packet, before);
}

#[test]
fn i04_a_quote_that_ends_before_the_port_is_refused_only_if_the_port_is_to_change() {
    let mut error = SPEC.error(21);
    let refusal = Err(PacketError::EmbeddedTruncated);
    assert_eq!(embedded_source(&mut error, SPEC.dst, Some(1)), refusal);
    assert_eq!(embedded_source(&mut error, SPEC.dst, None), Ok(()));
    let expected = SPEC.with(Side::Source, SPEC.dst, None).error(21);
    assert_eq!(error[20..], expected[20..]);
}

#[test]
fn i12_only_errors_embed_a_packet() {
    let mut error = SPEC.error(28);
    error[20] = 13;
    let refusal = Err(PacketError::IcmpNotError);
    assert_eq!(embedded_source(&mut error, SPEC.dst, Some(1)), refusal);
    assert_eq!(embedded_source(&mut SPEC.packet(), SPEC.dst, None), refusal);
}
