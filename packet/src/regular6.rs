//! Regular IPv6 packets, read and rewritten at fixed offsets: see [`crate::heads`].
//!
//! A regular packet has no extension headers, carries a whole TCP or UDP header with ports, has a hop
//! limit of at least 2, and addresses of global unicast scope. What [`Regular6::read`] refuses is not
//! necessarily wrong.

use core::hint::select_unpredictable as select;
use core::net::Ipv6Addr;

use sekisho_types::IpProtocol;

use crate::flow6::FlowKey6;
use crate::ipv6::{HEADER_LEN, HOP_LIMIT, NEXT_HEADER};
use crate::tcp::{self, TcpFlags};

const TCP: u8 = IpProtocol::TCP.0;
const UDP: u8 = IpProtocol::UDP.0;
/// The first half of the first link-local address, fe80::/10: unique local and global unicast
/// addresses are below, multicast is above.
const LINK_LOCAL: u64 = 0xfe80 << 48;

/// What the headers of a regular packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regular6 {
    /// The source address.
    pub src: Ipv6Addr,
    /// The destination address.
    pub dst: Ipv6Addr,
    /// The source port.
    pub sport: u16,
    /// The destination port.
    pub dport: u16,
    /// Octets of the packet.
    pub total_len: u16,
    /// Traffic class.
    pub class: u8,
    /// 6 or 17.
    pub protocol: u8,
}

impl Regular6 {
    /// No packet's.
    pub const NONE: Self = Self {
        src: Ipv6Addr::UNSPECIFIED,
        dst: Ipv6Addr::UNSPECIFIED,
        sport: 0,
        dport: 0,
        total_len: 0,
        class: 0,
        protocol: 0,
    };

    /// Reads the packet at the start of `bytes`, which may go on behind its end.
    #[inline(always)]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEADER_LEN + 8] = bytes.first_chunk()?;
        let (first, rest) = head.split_first_chunk::<8>()?;
        let (src, rest) = rest.split_first_chunk::<16>()?;
        let (dst, l4) = rest.split_first_chunk::<16>()?;
        let first = u64::from_be_bytes(*first);
        let l4 = u64::from_be_bytes(*l4.first_chunk()?);
        let (hop_limit, protocol) = (first as u8, (first >> 8) as u8);
        let payload_len = (first >> 16) as u16;
        let (is_tcp, is_udp) = (protocol == TCP, protocol == UDP);
        // For UDP any octet will do.
        let offset = bytes.get(select(is_tcp, HEADER_LEN + 12, 0))? >> 4 << 2;
        let header_len = select(is_tcp, u16::from(offset), 8);
        let udp_len = select(is_udp, (l4 >> 16) as u16, 8);
        let total_len = payload_len.wrapping_add(HEADER_LEN as u16);
        let fits = (usize::from(total_len) <= bytes.len())
            & (total_len > payload_len)
            & (header_len >= select(is_tcp, 20, 8))
            & (header_len <= payload_len)
            & (udp_len >= 8)
            & (udp_len <= payload_len)
            & (is_tcp | is_udp);
        // Without ports, other things tell flows apart.
        let sound = (first >> 60 == 6) & (hop_limit >= 2) & (l4 >> 32 != 0);
        let routable = may_route(src) & may_route(dst) & (src != dst);
        (sound & fits & routable).then(|| Self {
            src: Ipv6Addr::from(*src),
            dst: Ipv6Addr::from(*dst),
            sport: (l4 >> 48) as u16,
            dport: (l4 >> 32) as u16,
            total_len,
            class: (first >> 52) as u8,
            protocol,
        })
    }

    /// Whether it is a TCP segment; else it is a UDP datagram.
    #[inline(always)]
    pub const fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    /// Its flow.
    #[inline(always)]
    pub const fn flow(&self) -> FlowKey6 {
        FlowKey6 {
            src: self.src,
            dst: self.dst,
            sport: self.sport,
            dport: self.dport,
            proto: IpProtocol(self.protocol),
            label: 0,
        }
    }
}

/// Whether a regular packet is a TCP segment with SYN.
pub fn is_syn(packet: &[u8]) -> bool {
    let flags = packet.get(HEADER_LEN + tcp::FLAGS).copied().map(TcpFlags);
    packet.get(NEXT_HEADER) == Some(&TCP)
        && flags.is_some_and(|flags| flags.contains(TcpFlags::SYN))
}

/// RFC 4291 section 2, RFC 6890: not in ::/64, where the unspecified, loopback and IPv4-mapped
/// addresses are; neither link-local nor multicast.
#[inline(always)]
fn may_route(address: &[u8; 16]) -> bool {
    let [a, b, c, d, e, f, g, h, ..] = *address;
    u64::from_be_bytes([a, b, c, d, e, f, g, h]).wrapping_sub(1) < LINK_LOCAL - 1
}

/// Takes one from the hop limit of the regular packet at the start of `packet`; `false`, and nothing
/// happens, if it is cut short.
#[inline(always)]
pub fn forward6(packet: &mut [u8]) -> bool {
    match packet.get_mut(HOP_LIMIT) {
        Some(hop_limit) => {
            *hop_limit = hop_limit.wrapping_sub(1);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ipv6::{Ipv6, Ipv6Fields};
    use crate::rewrite6::decrement_hop_limit;
    use crate::{Tcp, Udp};

    const HERE: &str = "2001:db8::1";
    const THERE: &str = "2001:db8::2";

    fn packet(src: &str, dst: &str, protocol: IpProtocol, l4: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        Ipv6Fields {
            traffic_class: 0xb9,
            payload_len: l4.len() as u16,
            next_header: protocol,
            hop_limit: 64,
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
        }
        .write(bytes.first_chunk_mut().unwrap());
        bytes.extend(l4);
        bytes
    }

    fn udp() -> Vec<u8> {
        let l4 = [0x9c, 0x40, 0, 53, 0, 12, 1, 2, b'a', b'b', b'c', b'd'];
        packet(HERE, THERE, IpProtocol::UDP, &l4)
    }

    fn tcp() -> Vec<u8> {
        let mut l4 = [0; 26];
        l4[..4].copy_from_slice(&[0x9c, 0x40, 1, 187]);
        l4[12] = 6 << 4;
        packet(HERE, THERE, IpProtocol::TCP, &l4)
    }

    /// What the views say of a regular packet.
    fn by_views(bytes: &[u8]) -> Option<Regular6> {
        let ip = Ipv6::new(bytes).ok()?;
        let upper = ip.upper_layer().ok()?;
        let whole = match ip.next_header() {
            IpProtocol::TCP => Tcp::new(upper.payload).is_ok(),
            IpProtocol::UDP => Udp::new(upper.payload).is_ok(),
            _ => false,
        };
        let special = |address: Ipv6Addr| {
            address.segments()[..4] == [0; 4] || address.segments()[0] >= 0xfe80
        };
        let flow = FlowKey6::of(&ip, &upper);
        let regular = whole
            && ip.hop_limit() >= 2
            && !special(ip.src())
            && !special(ip.dst())
            && ip.src() != ip.dst()
            && (flow.sport, flow.dport) != (0, 0);
        let total_len = u16::try_from(HEADER_LEN + ip.payload().len()).ok()?;
        regular.then(|| {
            let read = Regular6 {
                src: ip.src(),
                dst: ip.dst(),
                sport: flow.sport,
                dport: flow.dport,
                total_len,
                class: ip.traffic_class(),
                protocol: ip.next_header().0,
            };
            assert_eq!(read.flow(), flow);
            read
        })
    }

    #[test]
    fn a_syn_is_told_by_protocol_and_flag() {
        let mut syn = tcp();
        syn[HEADER_LEN + tcp::FLAGS] = 0x12;
        assert!(is_syn(&syn));
        syn[HEADER_LEN + tcp::FLAGS] = 0x10;
        assert!(!is_syn(&syn));
        assert!(!is_syn(&udp()) && !is_syn(&syn[..HEADER_LEN]));
    }

    #[test]
    fn tcp_and_udp_are_regular_with_padding_and_not_cut_short() {
        for whole in [udp(), tcp()] {
            let read = Regular6::read(&whole).unwrap();
            assert_eq!(Some(read), by_views(&whole));
            assert_eq!(usize::from(read.total_len), whole.len());
            assert_eq!((read.class, read.sport), (0xb9, 40_000));
            assert_eq!(read.is_tcp(), whole[6] == TCP);
            let padded = [&whole[..], &[0xee; 9]].concat();
            assert_eq!(Regular6::read(&padded), Some(read));
            for cut in 0..whole.len() {
                assert_eq!(Regular6::read(&whole[..cut]), None, "{cut}");
            }
        }
    }

    #[test]
    fn special_addresses_and_other_headers_are_somebody_elses() {
        let l4 = &udp()[HEADER_LEN..];
        let special = [
            "::",
            "::1",
            "::ffff:192.0.2.1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "ff0e::1",
        ];
        for address in special {
            for (src, dst) in [(address, THERE), (HERE, address)] {
                let packet = packet(src, dst, IpProtocol::UDP, l4);
                assert_eq!(Regular6::read(&packet), None, "{src} {dst}");
            }
        }
        assert!(Regular6::read(&packet("fd00::1", THERE, IpProtocol::UDP, l4)).is_some());
        assert_eq!(
            Regular6::read(&packet(HERE, HERE, IpProtocol::UDP, l4)),
            None
        );
        for other in [0, 43, 44, 58, 59, 60, 132] {
            let packet = packet(HERE, THERE, IpProtocol(other), l4);
            assert_eq!(Regular6::read(&packet), None, "{other}");
        }
        for hop_limit in [0, 1] {
            let mut packet = udp();
            packet[HOP_LIMIT] = hop_limit;
            assert_eq!(Regular6::read(&packet), None);
        }
    }

    #[test]
    fn a_payload_beyond_what_lengths_hold_is_refused() {
        let mut packet = udp();
        packet[4..6].copy_from_slice(&0xffff_u16.to_be_bytes());
        packet.resize(HEADER_LEN + 0xffff, 0);
        assert!(Ipv6::new(&packet).is_ok());
        assert_eq!(Regular6::read(&packet), None);
    }

    proptest! {
        #[test]
        fn a_mutated_packet_is_read_as_the_views_read_it(
            is_tcp: bool, changes in prop::collection::vec((0_usize..64, any::<u8>()), 0..4),
            padding in 0_usize..8,
        ) {
            let mut bytes = if is_tcp { tcp() } else { udp() };
            bytes.extend(vec![0xee; padding]);
            for (at, octet) in changes {
                if let Some(place) = bytes.get_mut(at) {
                    *place = octet;
                }
            }
            prop_assert_eq!(Regular6::read(&bytes), by_views(&bytes));
        }

        #[test]
        fn a_packet_is_forwarded_as_the_rewrite_does(hop_limit in 2_u8.., cut in 0_usize..52) {
            let mut bytes = udp();
            bytes[HOP_LIMIT] = hop_limit;
            let mut right = bytes.clone();
            decrement_hop_limit(&mut right).unwrap();
            prop_assert!(forward6(&mut bytes));
            prop_assert_eq!(&bytes, &right);
            prop_assert_eq!(forward6(&mut bytes[..cut]), cut > HOP_LIMIT);
        }
    }
}
