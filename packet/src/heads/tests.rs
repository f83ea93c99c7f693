use core::net::SocketAddrV4;

use proptest::prelude::*;

use super::*;
use crate::checksum::checksum;
use crate::flow::FlowKey;
use crate::rewrite::{self, Layout};
use crate::{Ipv4, Tcp, Udp};

/// What [`Heads`] say of a regular packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Read {
    src: SocketAddrV4,
    dst: SocketAddrV4,
    protocol: u8,
    total_len: u16,
    tos: u8,
    hash: u32,
    segment: Option<Segment>,
}

/// Puts a packet into a lane.
fn put(heads: &mut Heads, lane: usize, bytes: &[u8]) {
    let mut head = [0; HEAD];
    for (octet, given) in head.iter_mut().zip(bytes) {
        *octet = *given;
    }
    heads.set(lane, &head, bytes.len() as u32);
}

/// Reads a packet, alone in its burst.
fn read(bytes: &[u8]) -> Option<Read> {
    let mut heads = Heads::NONE;
    put(&mut heads, 9, bytes);
    let regular = heads.regular();
    assert_eq!(regular & !(1 << 9), 0);
    let tcp = heads.tcp() == 1 << 9;
    let syn = tcp && TcpFlags(heads.segment(9).flags).contains(TcpFlags::SYN);
    assert_eq!(heads.syns(), u64::from(syn) << 9);
    let end = |address: u32, port: u32| {
        let address = Ipv4Addr::from_octets(address.to_le_bytes());
        SocketAddrV4::new(address, (port as u16).swap_bytes())
    };
    let ports = heads.ports(9);
    let (mut lens, mut tos) = ([0; LANES], [0; LANES]);
    heads.outline(&mut lens, &mut tos);
    let mut hashes = [0; LANES];
    heads.hash(5, &mut hashes);
    (regular != 0).then(|| Read {
        src: end(heads.src(9), ports),
        dst: end(heads.dst(9), ports >> 16),
        protocol: heads.protocol(9),
        total_len: lens[9],
        tos: tos[9],
        hash: hashes[9],
        segment: tcp.then(|| heads.segment(9)),
    })
}

/// Makes a packet, regular unless the numbers make it otherwise.
fn made(tcp: bool, payload: &[u8], src: u32, dst: u32, fields: [u8; 8]) -> Vec<u8> {
    let l4 = if tcp { 20 } else { 8 };
    let mut bytes = vec![0; 20 + l4];
    bytes.extend(payload);
    let total = bytes.len() as u16;
    bytes[0] = 0x45;
    bytes[1] = fields[0];
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    bytes[4..6].copy_from_slice(&fields[1..3]);
    bytes[6] = fields[3] & 0x40;
    bytes[8] = fields[4];
    bytes[9] = if tcp { 6 } else { 17 };
    bytes[12..16].copy_from_slice(&src.to_be_bytes());
    bytes[16..20].copy_from_slice(&dst.to_be_bytes());
    bytes[20..24].copy_from_slice(&fields[4..8]);
    if tcp {
        bytes[32] = 5 << 4;
        bytes[33] = fields[5];
    } else {
        bytes[24..26].copy_from_slice(&(total - 20).to_be_bytes());
    }
    mend(&mut bytes);
    bytes
}

/// Makes both checksums right.
fn mend(bytes: &mut [u8]) {
    mend_header(bytes);
    let is_tcp = bytes[9] == 6;
    let at = if is_tcp { 36 } else { 26 };
    bytes[at..at + 2].fill(0);
    let ip = Ipv4::new(bytes).unwrap();
    let length = ip.payload().len() as u16;
    let sum = ip.pseudo_header(length).bytes(ip.payload());
    let sum = if is_tcp {
        sum.checksum()
    } else {
        sum.udp_checksum()
    };
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn mend_header(bytes: &mut [u8]) {
    bytes[10..12].fill(0);
    let sum = checksum(&bytes[..20]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Packets of all sorts, most of them regular.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 6..64);
    (
        any::<bool>(),
        payload,
        any::<u32>(),
        any::<u32>(),
        any::<[u8; 8]>(),
    )
        .prop_map(|(tcp, payload, src, dst, fields)| made(tcp, &payload, src, dst, fields))
}

/// What the views say of a regular packet; nothing if it is not one.
fn by_views(bytes: &[u8]) -> Option<Read> {
    let ip = Ipv4::new(bytes).ok()?;
    let routable = |address: Ipv4Addr| {
        let first = address.octets()[0];
        first != 0 && first != 127 && first < 224
    };
    let plain = ip.is_intact()
        && !ip.has_options()
        && !ip.is_fragment()
        && ip.ttl() >= 2
        && routable(ip.src())
        && routable(ip.dst())
        && ip.src() != ip.dst();
    let segment = match ip.protocol() {
        IpProtocol::TCP => {
            let tcp = Tcp::new(ip.payload()).ok()?;
            Some(Segment {
                seq: tcp.sequence(),
                ack: tcp.acknowledgement(),
                len: tcp.payload().len() as u16,
                flags: tcp.flags().0,
            })
        }
        IpProtocol::UDP => Udp::new(ip.payload()).ok().map(|_| None)?,
        _ => return None,
    };
    let flow = FlowKey::with_ports(&ip).ok()?;
    plain.then(|| Read {
        src: SocketAddrV4::new(flow.src, flow.sport),
        dst: SocketAddrV4::new(flow.dst, flow.dport),
        protocol: ip.protocol().0,
        total_len: ip.total_len() as u16,
        tos: ip.tos(),
        hash: flow.hash(5),
        segment,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_read_is_what_the_views_say(mut bytes in packets(), bit in any::<Option<u16>>(),
                                          mended: bool, cut in any::<Option<u8>>()) {
        if let Some(bit) = bit {
            let at = usize::from(bit / 8) % bytes.len().min(40);
            bytes[at] ^= 1 << (bit % 8);
            if mended && at != 0 {
                mend_header(&mut bytes);
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(usize::from(cut));
        }
        prop_assert_eq!(read(&bytes), by_views(&bytes));
    }

    #[test]
    fn every_lane_is_judged_by_itself(some in prop::collection::vec(packets(), 64), bits: u64) {
        let mut heads = Heads::NONE;
        let mut wanted = 0;
        for (lane, bytes) in some.iter().enumerate() {
            if bits >> lane & 1 == 1 {
                put(&mut heads, lane, bytes);
                wanted |= u64::from(read(bytes).is_some()) << lane;
            }
        }
        prop_assert_eq!(heads.regular(), wanted);
    }

    #[test]
    fn changes_are_what_rewriting_field_by_field_makes(
        some in prop::collection::vec(packets(), 64), source: u64, address: u32, port: u16,
        translated: u64, without_checksum: u64,
    ) {
        let is = |bits: u64, lane: usize| bits >> lane & 1 == 1;
        let mut some = some;
        let mut heads = Heads::NONE;
        for (lane, bytes) in some.iter_mut().enumerate() {
            if is(without_checksum, lane) && bytes[9] == 17 {
                bytes[26..28].fill(0);
            }
            put(&mut heads, lane, bytes);
        }
        let regular = heads.regular();
        let mut changes = Changes::NONE;
        heads.unchanged(&mut changes);
        let wire = (u32::from_le_bytes(address.to_be_bytes()), port.swap_bytes());
        for lane in (0..64).filter(|&lane| is(translated, lane)) {
            if is(source, lane) {
                changes.set_source(lane, wire.0, wire.1);
            } else {
                changes.set_destination(lane, wire.0, wire.1);
            }
        }
        heads.settle(&mut changes);
        for (lane, mut bytes) in some.into_iter().enumerate().filter(|(at, _)| is(regular, *at)) {
            let mut slow = bytes.clone();
            let layout = Layout::of(&Ipv4::new(&slow).unwrap());
            if is(translated, lane) {
                let end = if is(source, lane) { rewrite::source } else { rewrite::destination };
                end(&mut slow, layout, Ipv4Addr::from_bits(address), Some(port)).unwrap();
                prop_assert!(changes.write(lane, &mut bytes));
            } else {
                prop_assert!(changes.write_hop(lane, &mut bytes));
            }
            rewrite::decrement_ttl(&mut slow).unwrap();
            prop_assert_eq!(bytes, slow);
        }
    }

    #[test]
    fn what_is_cut_short_is_not_written(mut bytes in prop::collection::vec(any::<u8>(), 0..37)) {
        let mut changes = Changes::NONE;
        changes.third[3] = 6 << 8;
        prop_assert!(!changes.write(3, &mut bytes));
        bytes.truncate(11);
        prop_assert!(!changes.write_hop(3, &mut bytes));
    }

    #[test]
    fn octets_become_bits(wanted: u64) {
        let octets = core::array::from_fn(|lane| (wanted >> lane & 1) as u8);
        prop_assert_eq!(bits(&octets), wanted);
    }
}

#[test]
fn only_the_datagrams_of_a_tunnel_s_end_are_its() {
    let end = TunnelEnd::new(Ipv4Addr::new(10, 1, 0, 1), 4789);
    let judged = |bytes: &[u8]| {
        let mut heads = Heads::NONE;
        put(&mut heads, 63, bytes);
        let ours = heads.for_tunnels(end);
        (ours >> 63 == 1, (ours & heads.datagrams()) >> 63 == 1)
    };
    let mut bytes = made(false, &[0; 30], 0x0a01_000b, 0x0a01_0001, [0; 8]);
    bytes[22..24].copy_from_slice(&4789_u16.to_be_bytes());
    assert_eq!(judged(&bytes), (true, true));
    // Another port, protocol, address: not its. A damaged header, or more or fewer octets than the
    // packet says: its, but not well formed.
    for (at, value) in [(23, 0), (9, 6), (19, 2)] {
        let mut other = bytes.clone();
        other[at] = value;
        assert_eq!(judged(&other), (false, false), "octet {at}");
    }
    for (at, value) in [(1, 9), (6, 0x20), (25, 7)] {
        let mut other = bytes.clone();
        other[at] = value;
        assert_eq!(judged(&other), (true, false), "octet {at}");
    }
    assert_eq!(judged(&bytes[..57]), (true, false));
}
