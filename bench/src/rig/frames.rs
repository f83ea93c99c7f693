//! Frames as they arrive: a template, and what differs from flow to flow.

use std::net::{Ipv4Addr, SocketAddrV4};

use sekisho_packet::checksum::{Sum, checksum};
use sekisho_types::{IpProtocol, MacAddr};

use super::flows::Flow;
use super::world::{FABRIC_MAC, UNDERLAY, segment_mac, uplink_mac};

/// Inner frames, without check sequence: the smallest of Ethernet.
const INNER: usize = 60;
pub(super) const OVERHEAD: usize = 50;
/// Octets of an IP packet in such a frame.
const PACKET: usize = INNER - 14;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From a virtual machine through its tunnel.
    Out,
    /// From a server to an outside address.
    Back,
}

/// TCP flags and numbers of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    /// Octets of payload, at most 6.
    pub(crate) len: u16,
}

impl Segment {
    pub(crate) const SYN: Self = Self::of(2, 1000, 0, 0);
    pub(crate) const SYN_ACK: Self = Self::of(18, 5000, 1001, 0);
    pub(crate) const ACK: Self = Self::of(16, 1001, 5001, 0);
    pub(crate) const FIN_OUT: Self = Self::of(17, 1001, 5001, 0);
    pub(crate) const FIN_BACK: Self = Self::of(17, 5001, 1002, 0);
    pub(crate) const DATA_OUT: Self = Self::of(16, 1001, 5001, 6);
    pub(crate) const DATA_BACK: Self = Self::of(16, 5001, 1001, 6);

    const fn of(flags: u8, seq: u32, ack: u32, len: u16) -> Self {
        Self {
            flags,
            seq,
            ack,
            len,
        }
    }
}

/// Writes frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameWriter {
    /// The start of every tunnel frame: outer headers and the inner Ethernet header.
    pub(super) tunnel: [u8; OVERHEAD + 14],
    pub(super) plain: [u8; 14],
}

impl FrameWriter {
    /// Longest frame it writes.
    pub(crate) const MAX: usize = OVERHEAD + super::frames6::INNER;

    pub(crate) fn new() -> Self {
        let mut tunnel = [0; OVERHEAD + 14];
        tunnel[0..6].copy_from_slice(&FABRIC_MAC.octets());
        tunnel[6..12].copy_from_slice(&MacAddr::new([2, 0xee, 0, 0, 0, 1]).octets());
        tunnel[12..14].copy_from_slice(&[8, 0]);
        tunnel[14..34].copy_from_slice(&ip_header((20 + 16 + INNER) as u16, 17, 64));
        tunnel[30..34].copy_from_slice(&UNDERLAY.octets());
        tunnel[36..38].copy_from_slice(&4789_u16.to_be_bytes());
        tunnel[38..40].copy_from_slice(&((16 + INNER) as u16).to_be_bytes());
        tunnel[42] = 8;
        tunnel[62..64].copy_from_slice(&[8, 0]);
        let mut plain = [0; 14];
        plain[0..6].copy_from_slice(&uplink_mac(0).octets());
        plain[6..12].copy_from_slice(&MacAddr::new([2, 0xdd, 0, 0, 0, 1]).octets());
        plain[12..14].copy_from_slice(&[8, 0]);
        Self { tunnel, plain }
    }

    /// A frame of a virtual machine, in its tunnel; gives its length.
    #[inline]
    pub(crate) fn out(&self, room: &mut [u8; Self::MAX], flow: &Flow, segment: Segment) -> usize {
        self.tunnel(room, flow);
        let source = SocketAddrV4::new(flow.host.address, flow.sport);
        let peer = SocketAddrV4::new(flow.peer, flow.dport);
        packet(&mut room[64..], source, peer, flow.tcp.then_some(segment));
        OVERHEAD + INNER
    }

    /// The headers of a virtual machine's tunnel, around the smallest frame.
    #[inline]
    pub(super) fn tunnel(&self, room: &mut [u8; Self::MAX], flow: &Flow) {
        let host = &flow.host;
        room[..64].copy_from_slice(&self.tunnel);
        room[26..30].copy_from_slice(&super::Flows::vtep(host.vtep).octets());
        let sum = checksum(&room[14..34]);
        room[24..26].copy_from_slice(&sum.to_be_bytes());
        let entropy = 0xc000 | flow.sport;
        room[34..36].copy_from_slice(&entropy.to_be_bytes());
        let [_, a, b, c] = super::world::vni(host.tenant).to_be_bytes();
        room[46..49].copy_from_slice(&[a, b, c]);
        room[50..56].copy_from_slice(&segment_mac(host.tenant).octets());
        room[56..62].copy_from_slice(&host.mac.octets());
    }

    /// A frame of a server to an outside address; gives its length.
    #[inline]
    pub(crate) fn back(
        &self,
        room: &mut [u8; Self::MAX],
        flow: &Flow,
        outside: SocketAddrV4,
        segment: Segment,
    ) -> usize {
        room[..14].copy_from_slice(&self.plain);
        let peer = SocketAddrV4::new(flow.peer, flow.dport);
        packet(&mut room[14..], peer, outside, flow.tcp.then_some(segment));
        INNER
    }

    /// A frame of plain IPv4 between two outside addresses; gives its length.
    #[inline]
    pub(crate) fn plain(
        &self,
        room: &mut [u8; Self::MAX],
        source: SocketAddrV4,
        destination: SocketAddrV4,
    ) -> usize {
        room[..14].copy_from_slice(&self.plain);
        packet(&mut room[14..], source, destination, None);
        INNER
    }
}

/// A header without addresses and checksum.
fn ip_header(total_len: u16, protocol: u8, ttl: u8) -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[6] = 0x40;
    header[8] = ttl;
    header[9] = protocol;
    header
}

#[inline]
fn packet(room: &mut [u8], source: SocketAddrV4, destination: SocketAddrV4, tcp: Option<Segment>) {
    let protocol = if tcp.is_some() {
        IpProtocol::TCP
    } else {
        IpProtocol::UDP
    };
    let payload = tcp.map_or(PACKET - 28, |segment| usize::from(segment.len));
    let l4 = if tcp.is_some() { 20 } else { 8 } + payload;
    let header = ip_header((20 + l4) as u16, protocol.0, 64);
    room[..20].copy_from_slice(&header);
    room[12..16].copy_from_slice(&source.ip().octets());
    room[16..20].copy_from_slice(&destination.ip().octets());
    let sum = checksum(&room[..20]);
    room[10..12].copy_from_slice(&sum.to_be_bytes());
    room[20..22].copy_from_slice(&source.port().to_be_bytes());
    room[22..24].copy_from_slice(&destination.port().to_be_bytes());
    room[24..PACKET].fill(0);
    let at = if let Some(segment) = tcp {
        room[24..28].copy_from_slice(&segment.seq.to_be_bytes());
        room[28..32].copy_from_slice(&segment.ack.to_be_bytes());
        room[32] = 5 << 4;
        room[33] = segment.flags;
        room[34..36].copy_from_slice(&[0xff, 0xff]);
        36
    } else {
        room[24..26].copy_from_slice(&(l4 as u16).to_be_bytes());
        26
    };
    let sum = l4_sum(
        *source.ip(),
        *destination.ip(),
        protocol,
        &room[20..20 + l4],
    );
    room[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[inline]
fn l4_sum(source: Ipv4Addr, destination: Ipv4Addr, protocol: IpProtocol, l4: &[u8]) -> u16 {
    Sum::pseudo_v4(source, destination, protocol, l4.len() as u16)
        .bytes(l4)
        .udp_checksum()
}
