//! Regular packets: what nearly all traffic is, read and rewritten at fixed offsets.
//!
//! A regular packet is an IPv4 packet without options and not a fragment, carrying a whole TCP or
//! UDP header, with an intact header checksum, a time to live of at least 2, and addresses that may
//! be routed. Everything else is somebody else's to look at: what [`Regular::read`] refuses is not
//! necessarily wrong.
//!
//! There is no branch on what a packet holds but the one refusal: conditions are computed and joined.

use core::hint::select_unpredictable as select;

use sekisho_types::IpProtocol;

use crate::bytes::{be16, be32};
use crate::flow::FlowKey;

/// Octets that must be there: an IPv4 header and the TCP header up to its flags. (A UDP packet with
/// fewer than six octets of payload, and no padding, is not regular.)
const HEAD: usize = 34;
const IP: usize = 20;
const TCP: u8 = IpProtocol::TCP.0;
const UDP: u8 = IpProtocol::UDP.0;
/// What the header's checksum changes by when the time to live goes down by one (RFC 1624): the
/// complement of the old word plus the new one, whatever they are.
const TTL_DELTA: u32 = 0xfeff;

/// What the headers of a regular packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regular {
    /// The source address.
    pub src: u32,
    /// The destination address.
    pub dst: u32,
    /// The source port.
    pub sport: u16,
    /// The destination port.
    pub dport: u16,
    /// Octets of the packet.
    pub total_len: u16,
    /// Type of service.
    pub tos: u8,
    /// 6 or 17.
    pub protocol: u8,
    /// TCP sequence number; meaningless for UDP, like all of TCP's.
    pub seq: u32,
    /// TCP acknowledgment number.
    pub ack: u32,
    /// Octets of TCP's payload.
    pub tcp_len: u16,
    /// TCP flags.
    pub tcp_flags: u8,
}

impl Regular {
    /// No packet's.
    pub const NONE: Self = Self {
        src: 0,
        dst: 0,
        sport: 0,
        dport: 0,
        total_len: 0,
        tos: 0,
        protocol: 0,
        seq: 0,
        ack: 0,
        tcp_len: 0,
        tcp_flags: 0,
    };

    /// Reads the packet at the start of `bytes`, which may go on behind its end.
    #[inline(always)]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD] = bytes.first_chunk()?;
        let total_len = be16(head, 2..4);
        let (src, dst) = (be32(head, 12..16), be32(head, 16..20));
        let protocol = head[9];
        let (is_tcp, is_udp) = (protocol == TCP, protocol == UDP);
        let data_offset = u16::from(head[32] >> 4) * 4;
        let udp_len = be16(head, 24..26);
        let l4_len = total_len.wrapping_sub(IP as u16);
        let tcp_fits = (data_offset >= 20) & (data_offset <= l4_len);
        let udp_fits = (udp_len >= 8) & (udp_len <= l4_len) & is_udp;
        let plain = (head[0] == 0x45)
            & (usize::from(total_len) <= bytes.len())
            & (total_len >= 28)
            & (head[6] & 0x3f == 0)
            & (head[7] == 0)
            & (head[8] >= 2);
        let fits = select(is_tcp, tcp_fits, udp_fits);
        let routable = may_route(src) & may_route(dst) & (src != dst);
        if !(plain & fits & routable & is_intact(head)) {
            return None;
        }
        Some(Self {
            src,
            dst,
            sport: be16(head, 20..22),
            dport: be16(head, 22..24),
            total_len,
            tos: head[1],
            protocol,
            seq: be32(head, 24..28),
            ack: be32(head, 28..32),
            tcp_len: l4_len.wrapping_sub(data_offset),
            tcp_flags: head[33],
        })
    }

    /// Whether it is a UDP datagram.
    #[inline(always)]
    pub const fn is_udp(&self) -> bool {
        self.protocol == UDP
    }

    /// Its flow.
    #[inline(always)]
    pub const fn flow(&self) -> FlowKey {
        FlowKey {
            src: core::net::Ipv4Addr::from_bits(self.src),
            dst: core::net::Ipv4Addr::from_bits(self.dst),
            sport: self.sport,
            dport: self.dport,
            proto: IpProtocol(self.protocol),
        }
    }
}

/// RFC 1812 sections 5.3.7 and 4.2.2.11, RFC 6890: neither this network, nor loopback, nor
/// multicast, nor reserved.
#[inline(always)]
const fn may_route(address: u32) -> bool {
    let first = address >> 24;
    (first != 0) & (first != 127) & (first < 224)
}

/// Whether the header's checksum is right.
#[inline(always)]
fn is_intact(head: &[u8; HEAD]) -> bool {
    let word = |at: usize| {
        u64::from(u32::from_ne_bytes([
            head[at],
            head[at + 1],
            head[at + 2],
            head[at + 3],
        ]))
    };
    let sum = word(0) + word(4) + word(8) + word(12) + word(16);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    // All words being zero is the one other way to get there, and no header begins with 0x45 then.
    sum == 0xffff || (sum & 0xffff) + (sum >> 16) == 0xffff
}

/// What becomes of one side of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The new address.
    pub address: u32,
    /// The new port.
    pub port: u16,
    /// What the header's checksum changes by: complements of old 16-bit words plus new ones, not
    /// folded.
    pub ip_delta: u32,
    /// What the TCP or UDP checksum changes by.
    pub l4_delta: u32,
}

/// Which side of a packet a translation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// Takes one from the time to live of the regular packet at the start of `packet`; `false`, and
/// nothing happens, if it is cut short.
#[inline(always)]
pub fn forward(packet: &mut [u8]) -> bool {
    let Some(head) = packet.first_chunk_mut::<IP>() else {
        return false;
    };
    head[8] = head[8].wrapping_sub(1);
    let sum = adjusted(u16::from_be_bytes([head[10], head[11]]), TTL_DELTA);
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    true
}

/// Translates one side of the regular packet at the start of `packet` and takes one from its time to
/// live; `false`, and nothing happens, if it is cut short.
#[inline(always)]
pub fn translate(packet: &mut [u8], protocol: u8, side: Side, to: &Translation) -> bool {
    let is_udp = protocol == UDP;
    let checksum_at = select(is_udp, IP + 6, IP + 16);
    let Some(l4) = packet.get_mut(checksum_at..checksum_at + 2) else {
        return false;
    };
    let old = u16::from_be_bytes([l4[0], l4[1]]);
    let new = adjusted(old, to.l4_delta);
    // RFC 768: a checksum of zero means none, and stays; a computed one is sent as all ones.
    let new = select(is_udp & (new == 0), 0xffff, new);
    let new = select(is_udp & (old == 0), old, new);
    l4.copy_from_slice(&new.to_be_bytes());
    let Some(head) = packet.first_chunk_mut::<{ IP + 4 }>() else {
        return false;
    };
    let (address_at, port_at) = match side {
        Side::Source => (12, 20),
        Side::Destination => (16, 22),
    };
    head[address_at..address_at + 4].copy_from_slice(&to.address.to_be_bytes());
    head[port_at..port_at + 2].copy_from_slice(&to.port.to_be_bytes());
    head[8] = head[8].wrapping_sub(1);
    let sum = adjusted(
        u16::from_be_bytes([head[10], head[11]]),
        to.ip_delta + TTL_DELTA,
    );
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    true
}

/// RFC 1624 equation 3.
#[inline(always)]
const fn adjusted(checksum: u16, delta: u32) -> u16 {
    let sum = !checksum as u32 + delta;
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}
