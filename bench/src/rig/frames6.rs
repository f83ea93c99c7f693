//! The same frames with IPv6 in them.

use std::net::SocketAddrV6;

use sekisho_packet::checksum::{Sum, checksum};
use sekisho_packet::{Ipv6Fields, ipv6};
use sekisho_types::IpProtocol;

use super::flows::Flow;
use super::frames::{FrameWriter, OVERHEAD, Segment};

/// Longest inner frame: a UDP datagram of 16 octets.
pub(super) const INNER: usize = 14 + PACKET;
const PACKET: usize = ipv6::HEADER_LEN + L4;
const L4: usize = 24;
const ETHERTYPE: [u8; 2] = [0x86, 0xdd];

impl FrameWriter {
    /// A frame of a virtual machine, in its tunnel; gives its length.
    #[inline]
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) fn out6(&self, room: &mut [u8; Self::MAX], flow: &Flow, segment: Segment) -> usize {
        self.tunnel(room, flow);
        room[62..64].copy_from_slice(&ETHERTYPE);
        let source = SocketAddrV6::new(flow.host.address6, flow.sport, 0, 0);
        let peer = SocketAddrV6::new(flow.peer6(), flow.dport, 0, 0);
        packet(&mut room[64..], source, peer, flow.tcp.then_some(segment));
        room[16..18].copy_from_slice(&((36 + INNER) as u16).to_be_bytes());
        room[38..40].copy_from_slice(&((16 + INNER) as u16).to_be_bytes());
        room[24..26].fill(0);
        let sum = checksum(&room[14..34]);
        room[24..26].copy_from_slice(&sum.to_be_bytes());
        OVERHEAD + INNER
    }

    /// A frame of a server to a virtual machine; gives its length.
    #[inline]
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) fn back6(&self, room: &mut [u8; Self::MAX], flow: &Flow, segment: Segment) -> usize {
        let host = SocketAddrV6::new(flow.host.address6, flow.sport, 0, 0);
        let peer = SocketAddrV6::new(flow.peer6(), flow.dport, 0, 0);
        self.ethernet6(room);
        packet(&mut room[14..], peer, host, flow.tcp.then_some(segment));
        INNER
    }

    /// A frame of plain IPv6 between two outside addresses; gives its length.
    #[inline]
    pub(crate) fn plain6(
        &self,
        room: &mut [u8; Self::MAX],
        source: SocketAddrV6,
        destination: SocketAddrV6,
    ) -> usize {
        self.ethernet6(room);
        packet(&mut room[14..], source, destination, None);
        INNER
    }

    fn ethernet6(&self, room: &mut [u8; Self::MAX]) {
        room[..14].copy_from_slice(&self.plain);
        room[12..14].copy_from_slice(&ETHERTYPE);
    }
}

/// A TCP segment leaves some of the room to padding.
#[inline]
fn packet(room: &mut [u8], source: SocketAddrV6, destination: SocketAddrV6, tcp: Option<Segment>) {
    let (protocol, l4, at) = match tcp {
        Some(segment) => (IpProtocol::TCP, 20 + usize::from(segment.len.min(4)), 16),
        None => (IpProtocol::UDP, L4, 6),
    };
    let fields = Ipv6Fields {
        traffic_class: 0,
        payload_len: l4 as u16,
        next_header: protocol,
        hop_limit: 64,
        src: *source.ip(),
        dst: *destination.ip(),
    };
    let Some((header, room)) = room.split_first_chunk_mut() else {
        return;
    };
    fields.write(header);
    room[..L4].fill(0);
    room[0..2].copy_from_slice(&source.port().to_be_bytes());
    room[2..4].copy_from_slice(&destination.port().to_be_bytes());
    if let Some(segment) = tcp {
        room[4..8].copy_from_slice(&segment.seq.to_be_bytes());
        room[8..12].copy_from_slice(&segment.ack.to_be_bytes());
        room[12..16].copy_from_slice(&[5 << 4, segment.flags, 0xff, 0xff]);
    } else {
        room[4..6].copy_from_slice(&(l4 as u16).to_be_bytes());
    }
    let sum = Sum::pseudo_v6(*source.ip(), *destination.ip(), protocol, l4 as u32)
        .bytes(&room[..l4])
        .udp_checksum();
    room[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}
