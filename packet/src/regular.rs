//! Regular packets: what nearly all traffic is, read and rewritten at fixed offsets.
//!
//! A regular packet is an IPv4 packet without options and not a fragment, carrying a whole TCP or
//! UDP header, with an intact header checksum, a time to live of at least 2, and addresses that may
//! be routed. Everything else is somebody else's to look at: what [`Regular::read`] refuses is not
//! necessarily wrong.
//!
//! Headers are read in words of eight octets, compared under a mask, and there is no branch on what a
//! packet holds but the one refusal.

use core::hint::select_unpredictable as select;
use core::net::Ipv4Addr;

use sekisho_types::IpProtocol;

use crate::flow::FlowKey;

const IP: usize = 20;
const TCP: u8 = IpProtocol::TCP.0;
const UDP: u8 = IpProtocol::UDP.0;
/// What the header's checksum changes by when the time to live goes down by one (RFC 1624): the
/// complement of the old word plus the new one, whatever they are. The time to live is the low octet of
/// its word as it is in memory.
const TTL_DELTA: u32 = 0xfffe;
/// Of the first word as it is in memory: version and header length, more-fragments and offset.
const SHAPE_MASK: u64 = u64::from_le_bytes([0xff, 0, 0, 0, 0, 0, 0x3f, 0xff]);
const SHAPE: u64 = 0x45;

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
}

/// What a TCP header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Octets of payload.
    pub len: u16,
    /// Flags.
    pub flags: u8,
}

/// An IPv4 header without options in words as they are in memory, and the first word behind it.
#[derive(Clone, Copy)]
struct Words {
    first: u64,
    second: u64,
    dst: u32,
    l4: u64,
}

impl Words {
    #[inline(always)]
    fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; 28] = bytes.first_chunk()?;
        let (first, rest) = head.split_first_chunk::<8>()?;
        let (second, rest) = rest.split_first_chunk::<8>()?;
        let (dst, rest) = rest.split_first_chunk::<4>()?;
        let (l4, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            first: u64::from_le_bytes(*first),
            second: u64::from_le_bytes(*second),
            dst: u32::from_le_bytes(*dst),
            l4: u64::from_le_bytes(*l4),
        })
    }

    /// Version 4, no options, no fragment.
    #[inline(always)]
    const fn is_plain(&self) -> bool {
        self.first & SHAPE_MASK == SHAPE
    }

    /// Whether the checksum is right. A sum of 16-bit words is all ones exactly if it is a multiple
    /// of 65535, in either byte order (RFC 1071 section 2), and this one is never zero.
    #[inline(always)]
    const fn is_intact(&self) -> bool {
        let (low, high) = (self.first as u32 as u64, self.first >> 32);
        let sum = low + high + self.second as u32 as u64 + (self.second >> 32) + self.dst as u64;
        sum.is_multiple_of(0xffff)
    }

    #[inline(always)]
    const fn total_len(&self) -> u16 {
        ((self.first >> 16) as u16).swap_bytes()
    }

    #[inline(always)]
    const fn ttl(&self) -> u8 {
        self.second as u8
    }

    #[inline(always)]
    const fn protocol(&self) -> u8 {
        (self.second >> 8) as u8
    }

    #[inline(always)]
    const fn src(&self) -> u32 {
        (self.second >> 32) as u32
    }

    /// Octet 4 of the L4 header on: UDP's length.
    #[inline(always)]
    const fn udp_len(&self) -> u16 {
        ((self.l4 >> 32) as u16).swap_bytes()
    }
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
    };

    /// Reads the packet at the start of `bytes`, which may go on behind its end.
    #[inline(always)]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let words = Words::read(bytes)?;
        let protocol = words.protocol();
        let (is_tcp, is_udp) = (protocol == TCP, protocol == UDP);
        // For UDP any octet will do.
        let offset = bytes.get(select(is_tcp, IP + 12, 0))? >> 4 << 2;
        let total_len = words.total_len();
        let l4_len = total_len.wrapping_sub(IP as u16);
        let header_len = select(is_tcp, u16::from(offset), 8);
        let udp_len = select(is_udp, words.udp_len(), 8);
        let fits = (usize::from(total_len) <= bytes.len())
            & (total_len >= 28)
            & (header_len >= select(is_tcp, 20, 8))
            & (header_len <= l4_len)
            & (udp_len >= 8)
            & (udp_len <= l4_len)
            & (is_tcp | is_udp);
        let routable = may_route(words.src()) & may_route(words.dst) & (words.src() != words.dst);
        let sound = words.is_plain() & words.is_intact() & (words.ttl() >= 2);
        (sound & fits & routable).then(|| Self {
            src: words.src().swap_bytes(),
            dst: words.dst.swap_bytes(),
            sport: (words.l4 as u16).swap_bytes(),
            dport: ((words.l4 >> 16) as u16).swap_bytes(),
            total_len,
            tos: (words.first >> 8) as u8,
            protocol,
        })
    }

    /// Whether it is a TCP segment; else it is a UDP datagram.
    #[inline(always)]
    pub const fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    /// What the TCP header of `packet`, which this was read from, says; nothing if it is none.
    #[inline(always)]
    pub fn segment(&self, packet: &[u8]) -> Segment {
        let Some(tcp) = packet.get(IP..IP + 14).filter(|_| self.is_tcp()) else {
            return Segment::default();
        };
        let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
        let headers = IP as u16 + u16::from(tcp[12] >> 4) * 4;
        Segment {
            seq: word(4),
            ack: word(8),
            len: self.total_len.saturating_sub(headers),
            flags: tcp[13],
        }
    }

    /// Its flow.
    #[inline(always)]
    pub const fn flow(&self) -> FlowKey {
        FlowKey {
            src: Ipv4Addr::from_bits(self.src),
            dst: Ipv4Addr::from_bits(self.dst),
            sport: self.sport,
            dport: self.dport,
            proto: IpProtocol(self.protocol),
        }
    }
}

/// RFC 1812 sections 5.3.7 and 4.2.2.11, RFC 6890: neither this network, nor loopback, nor
/// multicast, nor reserved. The address is as it is in memory.
#[inline(always)]
const fn may_route(address: u32) -> bool {
    let first = address as u8;
    (first.wrapping_sub(1) < 223) & (first != 127)
}

/// The outer headers of a tunnel packet: UDP to one address and port, whatever the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// The source address.
    pub src: u32,
    /// Octets of the packet.
    pub total_len: u16,
    /// Type of service.
    pub tos: u8,
}

/// What tunnel packets are told by.
#[derive(Clone, Copy, Debug)]
pub struct TunnelEnd {
    dst: u32,
    port: u16,
}

impl TunnelEnd {
    /// Tunnels end at this address and UDP port.
    pub const fn new(dst: Ipv4Addr, port: u16) -> Self {
        Self {
            dst: dst.to_bits().swap_bytes(),
            port: port.swap_bytes(),
        }
    }

    /// Whether the packet at the start of `bytes` is for this end, if it is well formed.
    #[inline(always)]
    pub fn is_for(&self, bytes: &[u8]) -> bool {
        Words::read(bytes).is_some_and(|words| {
            (words.dst == self.dst)
                & ((words.l4 >> 16) as u16 == self.port)
                & (words.protocol() == UDP)
        })
    }

    /// The outer headers of the packet at the start of `bytes`, if it is one of this end, without
    /// options and not a fragment, with an intact header checksum, and its datagram goes to its end.
    /// The UDP checksum is not looked at.
    #[inline(always)]
    pub fn read(&self, bytes: &[u8]) -> Option<Outer> {
        let words = Words::read(bytes)?;
        let total_len = words.total_len();
        let fits = (usize::from(total_len) <= bytes.len())
            & (words.udp_len() == total_len.wrapping_sub(IP as u16))
            & (words.udp_len() >= 8);
        (fits & words.is_plain() & words.is_intact() & self.is_for(bytes)).then(|| Outer {
            src: words.src().swap_bytes(),
            total_len,
            tos: (words.first >> 8) as u8,
        })
    }
}

/// What becomes of one side of a packet, in words as a little-endian load takes them from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The new address.
    pub address_wire: u32,
    /// The new port.
    pub port_wire: u16,
    /// What the header's checksum changes by: complements of old 16-bit words plus new ones, not
    /// folded, less than 2^31. The order of octets does not matter (RFC 1071 section 2).
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
    let sum = adjusted(u16::from_le_bytes([head[10], head[11]]), TTL_DELTA);
    head[10..12].copy_from_slice(&sum.to_le_bytes());
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
    let old = u16::from_le_bytes([l4[0], l4[1]]);
    let new = adjusted(old, to.l4_delta);
    // RFC 768: a checksum of zero means none, and stays; a computed one is sent as all ones.
    let new = select(is_udp & (new == 0), 0xffff, new);
    let new = select(is_udp & (old == 0), old, new);
    l4.copy_from_slice(&new.to_le_bytes());
    let Some(head) = packet.first_chunk_mut::<{ IP + 4 }>() else {
        return false;
    };
    let (address_at, port_at) = match side {
        Side::Source => (12, 20),
        Side::Destination => (16, 22),
    };
    head[address_at..address_at + 4].copy_from_slice(&to.address_wire.to_le_bytes());
    head[port_at..port_at + 2].copy_from_slice(&to.port_wire.to_le_bytes());
    head[8] = head[8].wrapping_sub(1);
    let sum = adjusted(
        u16::from_le_bytes([head[10], head[11]]),
        to.ip_delta + TTL_DELTA,
    );
    head[10..12].copy_from_slice(&sum.to_le_bytes());
    true
}

/// RFC 1624 equation 3.
#[inline(always)]
const fn adjusted(checksum: u16, delta: u32) -> u16 {
    let sum = !checksum as u32 + delta;
    // The upper half of this is the sum of the halves, with its carry added back.
    !(sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checksum::checksum;
    use crate::rewrite::{self, Layout};
    use crate::{Ipv4, Tcp, Udp};

    /// A packet that is regular unless the numbers make it otherwise.
    #[derive(Clone, Debug)]
    struct Made {
        bytes: Vec<u8>,
    }

    fn made(tcp: bool, payload: &[u8], src: u32, dst: u32, fields: [u8; 8]) -> Made {
        let l4 = if tcp { 20 } else { 8 };
        let mut bytes = vec![0; IP + l4];
        bytes.extend(payload);
        let total = bytes.len() as u16;
        bytes[0] = 0x45;
        bytes[1] = fields[0];
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        bytes[4..6].copy_from_slice(&fields[1..3]);
        bytes[6] = fields[3] & 0x40;
        bytes[8] = fields[4];
        bytes[9] = if tcp { TCP } else { UDP };
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
        Made { bytes }
    }

    fn mend(bytes: &mut [u8]) {
        bytes[10..12].fill(0);
        let sum = checksum(&bytes[..IP]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        let is_tcp = bytes[9] == TCP;
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

    fn packets() -> impl Strategy<Value = Made> {
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
    fn by_views(bytes: &[u8]) -> Option<Regular> {
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
        let l4 = match ip.protocol() {
            IpProtocol::TCP => Tcp::new(ip.payload()).is_ok(),
            IpProtocol::UDP => Udp::new(ip.payload()).is_ok(),
            _ => false,
        };
        let flow = FlowKey::with_ports(&ip).ok()?;
        (plain && l4).then(|| Regular {
            src: ip.src().to_bits(),
            dst: ip.dst().to_bits(),
            sport: flow.sport,
            dport: flow.dport,
            total_len: ip.total_len() as u16,
            tos: ip.tos(),
            protocol: ip.protocol().0,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_read_is_what_the_views_say(mut packet in packets(), bit in any::<Option<u16>>(),
                                              mended: bool, cut in any::<Option<u8>>()) {
            if let Some(bit) = bit {
                let at = usize::from(bit / 8) % packet.bytes.len().min(40);
                packet.bytes[at] ^= 1 << (bit % 8);
                if mended && at != 0 {
                    packet.bytes[10..12].fill(0);
                    let sum = checksum(&packet.bytes[..IP]);
                    packet.bytes[10..12].copy_from_slice(&sum.to_be_bytes());
                }
            }
            if let Some(cut) = cut {
                packet.bytes.truncate(usize::from(cut));
            }
            prop_assert_eq!(Regular::read(&packet.bytes), by_views(&packet.bytes));
        }

        #[test]
        fn a_translation_is_what_rewriting_field_by_field_makes(
            packet in packets(), address: u32, port: u16, source: bool, without_checksum: bool,
        ) {
            let mut bytes = packet.bytes;
            let Some(read) = Regular::read(&bytes) else { return Ok(()) };
            if without_checksum && !read.is_tcp() {
                bytes[26..28].fill(0);
            }
            let halves = |address: u32| (address >> 16) + (address & 0xffff);
            let (old, old_port) = if source { (read.src, read.sport) } else { (read.dst, read.dport) };
            let (address_wire, port_wire) = (address.swap_bytes(), port.swap_bytes());
            let ip_delta = halves(!old.swap_bytes()) + halves(address_wire);
            let to = Translation {
                address_wire,
                port_wire,
                ip_delta,
                l4_delta: ip_delta + u32::from(!old_port.swap_bytes()) + u32::from(port_wire),
            };
            let mut slow = bytes.clone();
            let layout = Layout::of(&Ipv4::new(&slow).unwrap());
            let new = Ipv4Addr::from_bits(address);
            let rewrite = if source { rewrite::source } else { rewrite::destination };
            rewrite(&mut slow, layout, new, Some(port)).unwrap();
            rewrite::decrement_ttl(&mut slow).unwrap();
            let side = if source { Side::Source } else { Side::Destination };
            prop_assert!(translate(&mut bytes, read.protocol, side, &to));
            prop_assert_eq!(bytes, slow);
        }

        #[test]
        fn forwarding_takes_one_from_the_time_to_live(packet in packets()) {
            let mut bytes = packet.bytes;
            if Regular::read(&bytes).is_none() { return Ok(()) }
            let mut slow = bytes.clone();
            rewrite::decrement_ttl(&mut slow).unwrap();
            prop_assert!(forward(&mut bytes));
            prop_assert_eq!(bytes, slow);
        }

        #[test]
        fn any_octets_do_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Regular::read(&bytes);
            let _ = TunnelEnd::new(Ipv4Addr::LOCALHOST, 4789).read(&bytes);
            let to = Translation { address_wire: 1, port_wire: 2, ip_delta: 3, l4_delta: 4 };
            translate(&mut bytes, UDP, Side::Source, &to);
            forward(&mut bytes);
        }
    }

    #[test]
    fn only_the_datagrams_of_a_tunnel_s_end_are_its() {
        let end = TunnelEnd::new(Ipv4Addr::new(10, 1, 0, 1), 4789);
        let right = made(false, &[0; 30], 0x0a01_000b, 0x0a01_0001, [0; 8]);
        let mut bytes = right.bytes;
        bytes[22..24].copy_from_slice(&4789_u16.to_be_bytes());
        let outer = Outer {
            src: 0x0a01_000b,
            total_len: 58,
            tos: 0,
        };
        assert_eq!(end.read(&bytes), Some(outer));
        assert!(end.is_for(&bytes));
        // Another port, protocol, address: not its. A damaged header, or more or fewer octets than the
        // packet says: its, but not well formed.
        for (at, value) in [(23, 0), (9, TCP), (19, 2)] {
            let mut other = bytes.clone();
            other[at] = value;
            assert!(!end.is_for(&other), "octet {at}");
        }
        for (at, value) in [(1, 9), (6, 0x20), (25, 7)] {
            let mut other = bytes.clone();
            other[at] = value;
            assert!(
                end.is_for(&other) && end.read(&other).is_none(),
                "octet {at}"
            );
        }
        assert_eq!(end.read(&bytes[..57]), None);
    }
}
