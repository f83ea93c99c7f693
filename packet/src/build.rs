//! Packets the gateway itself sends: encapsulation, ICMP errors, echo replies.
//! (ARP is [`crate::ArpFrame`]'s.)

use core::net::Ipv4Addr;

use sekisho_types::{IpProtocol, MacAddr, Vni};

use crate::bytes::{put16, put32};
use crate::checksum::{Delta, Sum};
use crate::error::PacketError;
use crate::ethernet::{self, EtherType};
use crate::icmpv4::{self, CODE_FRAGMENTATION_NEEDED, Icmpv4, Icmpv4Type};
use crate::ipv4::{self, Ipv4, Ipv4Fields};
use crate::{rewrite, udp, vxlan};

/// Length of the headers that VXLAN over IPv4 adds to a frame: Ethernet, IPv4, UDP, VXLAN.
pub const VXLAN_OVERHEAD: usize =
    ethernet::HEADER_LEN + ipv4::MIN_HEADER_LEN + udp::HEADER_LEN + vxlan::HEADER_LEN;

const UDP_OFFSET: usize = ethernet::HEADER_LEN + ipv4::MIN_HEADER_LEN;
const VXLAN_OFFSET: usize = UDP_OFFSET + udp::HEADER_LEN;

/// The outer headers of a frame in a VXLAN tunnel over IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VxlanEncap {
    /// The next hop's Ethernet address.
    pub dst_mac: MacAddr,
    /// Our Ethernet address.
    pub src_mac: MacAddr,
    /// Our underlay address.
    pub src: Ipv4Addr,
    /// The remote VTEP.
    pub dst: Ipv4Addr,
    /// UDP source port: see [`crate::flow::tunnel_source_port`].
    pub src_port: u16,
    /// UDP destination port, normally [`vxlan::UDP_PORT`].
    pub dst_port: u16,
    /// The segment.
    pub vni: Vni,
    /// Type of service: see [`crate::ecn::encapsulate`].
    pub tos: u8,
    /// Time to live.
    pub ttl: u8,
}

impl VxlanEncap {
    /// Writes the headers of a frame of `frame_len` bytes: DF set, UDP checksum 0 (RFC 7348
    /// section 5).
    ///
    /// # Errors
    /// [`PacketError::TooLong`] when an IPv4 packet cannot hold the frame.
    #[inline]
    pub fn write(
        &self,
        out: &mut [u8; VXLAN_OVERHEAD],
        frame_len: usize,
    ) -> Result<(), PacketError> {
        let total_len = frame_len.saturating_add(VXLAN_OVERHEAD - ethernet::HEADER_LEN);
        let total_len = u16::try_from(total_len).map_err(|_| PacketError::TooLong)?;
        let mut header = [0; ethernet::HEADER_LEN];
        ethernet::write_header(&mut header, self.dst_mac, self.src_mac, EtherType::IPV4);
        out[..ethernet::HEADER_LEN].copy_from_slice(&header);
        let mut header = [0; ipv4::MIN_HEADER_LEN];
        Ipv4Fields {
            tos: self.tos,
            total_len,
            dont_fragment: true,
            ttl: self.ttl,
            protocol: IpProtocol::UDP,
            src: self.src,
            dst: self.dst,
        }
        .write(&mut header);
        out[ethernet::HEADER_LEN..UDP_OFFSET].copy_from_slice(&header);
        let mut header = [0; udp::HEADER_LEN];
        let udp_len = total_len - ipv4::MIN_HEADER_LEN as u16;
        udp::write_header(&mut header, self.src_port, self.dst_port, udp_len);
        out[UDP_OFFSET..VXLAN_OFFSET].copy_from_slice(&header);
        let mut header = [0; vxlan::HEADER_LEN];
        vxlan::write_header(&mut header, self.vni);
        out[VXLAN_OFFSET..].copy_from_slice(&header);
        Ok(())
    }
}

/// An ICMP error to be sent (RFC 792, RFC 1812 section 5.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// 3/0: no route.
    NetworkUnreachable,
    /// 3/1: a neighbour does not answer.
    HostUnreachable,
    /// 3/2: the protocol is not served here.
    ProtocolUnreachable,
    /// 3/3: the port is not served here.
    PortUnreachable,
    /// 3/4: too large, and DF set (RFC 1191).
    FragmentationNeeded {
        /// The largest packet that would pass, in bytes.
        mtu: u16,
    },
    /// 3/13: forbidden by policy, or a limit reached.
    AdministrativelyProhibited,
    /// 11/0: time to live used up on the way.
    TtlExceeded,
    /// 11/1: fragments missing for too long.
    ReassemblyTimeExceeded,
    /// 12/0: a bad header field.
    ParameterProblem {
        /// The byte that is bad, counted from the start of the IPv4 header.
        pointer: u8,
    },
}

impl IcmpError {
    /// Longest error that is sent, in bytes (RFC 1812 section 4.3.2.3).
    pub const MAX_LEN: usize = 576;

    /// Type, code and the second word of the header.
    const fn header(self) -> (Icmpv4Type, u8, u32) {
        match self {
            Self::NetworkUnreachable => (Icmpv4Type::UNREACHABLE, 0, 0),
            Self::HostUnreachable => (Icmpv4Type::UNREACHABLE, 1, 0),
            Self::ProtocolUnreachable => (Icmpv4Type::UNREACHABLE, 2, 0),
            Self::PortUnreachable => (Icmpv4Type::UNREACHABLE, 3, 0),
            Self::FragmentationNeeded { mtu } => (
                Icmpv4Type::UNREACHABLE,
                CODE_FRAGMENTATION_NEEDED,
                mtu as u32,
            ),
            Self::AdministrativelyProhibited => (Icmpv4Type::UNREACHABLE, 13, 0),
            Self::TtlExceeded => (Icmpv4Type::TIME_EXCEEDED, 0, 0),
            Self::ReassemblyTimeExceeded => (Icmpv4Type::TIME_EXCEEDED, 1, 0),
            Self::ParameterProblem { pointer } => {
                (Icmpv4Type::PARAMETER_PROBLEM, 0, (pointer as u32) << 24)
            }
        }
    }

    /// Whether an error about `packet` may be sent at all (RFC 1812 section 4.3.2.7): not about an
    /// ICMP error, a later fragment, a packet to many or from nobody in particular. Whether it came
    /// as a link-layer broadcast is the caller's to know.
    pub fn is_allowed_about(packet: &Ipv4<'_>) -> bool {
        let about_error = packet.protocol() == IpProtocol::ICMP
            && !Icmpv4::new(packet.payload()).is_ok_and(|icmp| !icmp.message_type().is_error());
        let (src, dst) = (packet.src(), packet.dst());
        let from_one = !(src.is_multicast()
            || src.octets()[0] == 0
            || src.is_loopback()
            || src.octets()[0] >= 240);
        let to_one = !(dst.is_multicast() || dst.is_broadcast());
        packet.has_l4_header() && !about_error && from_one && to_one
    }

    /// Writes the error about the IPv4 packet at the start of `offending`, from `src` to the
    /// packet's source, and returns its length. As much is quoted as [`IcmpError::MAX_LEN`] and
    /// `out` allow; the precedence is internetwork control (RFC 1812 section 4.3.2.5).
    ///
    /// # Errors
    /// Those of [`Ipv4::new`]; [`PacketError::BufferTooSmall`] when `out` cannot hold the
    /// offending header and 8 bytes more (RFC 792).
    pub fn write(
        self,
        out: &mut [u8],
        src: Ipv4Addr,
        ttl: u8,
        offending: &[u8],
    ) -> Result<usize, PacketError> {
        const PRECEDENCE_INTERNETWORK_CONTROL: u8 = 0xc0;
        const OVERHEAD: usize = ipv4::MIN_HEADER_LEN + icmpv4::HEADER_LEN;
        let packet = Ipv4::new(offending)?;
        let total_len = (OVERHEAD + packet.total_len())
            .min(Self::MAX_LEN)
            .min(out.len());
        let needed = OVERHEAD + packet.total_len().min(packet.len() + 8);
        if total_len < needed {
            return Err(PacketError::BufferTooSmall);
        }
        let out = &mut out[..total_len];
        let Some((header, message)) = out.split_first_chunk_mut() else {
            return Err(PacketError::BufferTooSmall);
        };
        Ipv4Fields {
            tos: PRECEDENCE_INTERNETWORK_CONTROL,
            total_len: total_len as u16,
            dont_fragment: false,
            ttl,
            protocol: IpProtocol::ICMP,
            src,
            dst: packet.src(),
        }
        .write(header);
        let Some((header, quote)) = message.split_first_chunk_mut::<{ icmpv4::HEADER_LEN }>()
        else {
            return Err(PacketError::BufferTooSmall);
        };
        quote.copy_from_slice(&offending[..quote.len()]);
        let (message_type, code, word) = self.header();
        header[icmpv4::TYPE] = message_type.0;
        header[icmpv4::CODE] = code;
        put16(header, icmpv4::CHECKSUM, 0);
        put32(header, 4..8, word);
        let checksum = Sum::new().bytes(header).bytes(quote).checksum();
        put16(header, icmpv4::CHECKSUM, checksum);
        Ok(total_len)
    }
}

/// Turns the ICMP echo request `packet` into its reply, in place: addresses swapped, type and time
/// to live set, checksums incremental, so that a damaged request makes a damaged reply.
///
/// # Errors
/// Those of [`Ipv4::new`], and [`PacketError::IcmpNotEchoRequest`]. The packet is then unchanged.
pub fn echo_reply(packet: &mut [u8], ttl: u8) -> Result<(), PacketError> {
    let view = Ipv4::new(packet)?;
    let (src, dst) = (view.src(), view.dst());
    let message = view.len()..view.total_len();
    let is_whole = view.protocol() == IpProtocol::ICMP && !view.is_fragment();
    let request = Icmpv4::new(view.payload())
        .ok()
        .filter(|icmp| is_whole && icmp.message_type() == Icmpv4Type::ECHO_REQUEST)
        .filter(|icmp| icmp.code() == 0)
        .ok_or(PacketError::IcmpNotEchoRequest)?;
    let request_word = u16::from_be_bytes([Icmpv4Type::ECHO_REQUEST.0, 0]);
    let reply_word = u16::from_be_bytes([Icmpv4Type::ECHO_REPLY.0, 0]);
    let checksum = Delta::new()
        .u16(request_word, reply_word)
        .apply(request.checksum());

    let message = &mut packet[message];
    message[icmpv4::TYPE] = Icmpv4Type::ECHO_REPLY.0;
    let checksum = rewrite::icmp_checksum(checksum, message);
    message[icmpv4::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    let header = packet.first_chunk_mut().ok_or(PacketError::Ipv4Truncated)?;
    put32(header, ipv4::SRC, dst.to_bits());
    put32(header, ipv4::DST, src.to_bits());
    rewrite::put_byte(header, ipv4::TTL, ttl);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
    const DST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 80);

    fn packet(src: Ipv4Addr, dst: Ipv4Addr, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; ipv4::MIN_HEADER_LEN];
        Ipv4Fields {
            tos: 0,
            total_len: (ipv4::MIN_HEADER_LEN + payload.len()) as u16,
            dont_fragment: false,
            ttl: 64,
            protocol,
            src,
            dst,
        }
        .write(packet.first_chunk_mut().unwrap());
        packet.extend(payload);
        packet
    }

    fn is_allowed(packet: &[u8]) -> bool {
        IcmpError::is_allowed_about(&Ipv4::new(packet).unwrap())
    }

    #[test]
    fn l04_errors_are_sent_about_plain_packets_and_questions() {
        assert!(is_allowed(&packet(SRC, DST, IpProtocol::UDP, &[0; 8])));
        let echo = [8, 0, 0, 0, 0, 0, 0, 0];
        assert!(is_allowed(&packet(SRC, DST, IpProtocol::ICMP, &echo)));
        let mut first_fragment = packet(SRC, DST, IpProtocol::UDP, &[0; 8]);
        first_fragment[6] = 0x20;
        assert!(is_allowed(&first_fragment));
    }

    #[test]
    fn l04_no_error_is_sent_about_an_error_or_an_unreadable_message() {
        for kind in [3, 4, 5, 11, 12] {
            let error = [kind, 0, 0, 0, 0, 0, 0, 0];
            assert!(!is_allowed(&packet(SRC, DST, IpProtocol::ICMP, &error)));
        }
        assert!(!is_allowed(&packet(SRC, DST, IpProtocol::ICMP, &[8])));
    }

    #[test]
    fn l04_no_error_is_sent_about_later_fragments_many_receivers_or_no_sender() {
        let mut fragment = packet(SRC, DST, IpProtocol::UDP, &[0; 8]);
        fragment[7] = 1;
        assert!(!is_allowed(&fragment));
        for dst in ["224.0.0.5", "255.255.255.255"] {
            let dst = dst.parse().unwrap();
            assert!(!is_allowed(&packet(SRC, dst, IpProtocol::UDP, &[0; 8])));
        }
        for src in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "239.1.1.1", "240.0.0.1"] {
            let src = src.parse().unwrap();
            assert!(!is_allowed(&packet(src, DST, IpProtocol::UDP, &[0; 8])));
        }
    }

    #[test]
    fn every_error_has_its_type_code_and_word() {
        let offending = packet(SRC, DST, IpProtocol::UDP, &[7; 8]);
        let cases = [
            (IcmpError::NetworkUnreachable, 3, 0, [0, 0, 0, 0]),
            (IcmpError::HostUnreachable, 3, 1, [0, 0, 0, 0]),
            (IcmpError::ProtocolUnreachable, 3, 2, [0, 0, 0, 0]),
            (IcmpError::PortUnreachable, 3, 3, [0, 0, 0, 0]),
            (
                IcmpError::FragmentationNeeded { mtu: 1450 },
                3,
                4,
                [0, 0, 5, 0xaa],
            ),
            (IcmpError::AdministrativelyProhibited, 3, 13, [0, 0, 0, 0]),
            (IcmpError::TtlExceeded, 11, 0, [0, 0, 0, 0]),
            (IcmpError::ReassemblyTimeExceeded, 11, 1, [0, 0, 0, 0]),
            (
                IcmpError::ParameterProblem { pointer: 20 },
                12,
                0,
                [20, 0, 0, 0],
            ),
        ];
        for (error, kind, code, word) in cases {
            let mut out = [0xff; 64];
            let length = error.write(&mut out, DST, 64, &offending).unwrap();
            let view = Ipv4::new(&out[..length]).unwrap();
            assert!(view.is_intact());
            assert_eq!((view.src(), view.dst()), (DST, SRC));
            let icmp = Icmpv4::new(view.payload()).unwrap();
            assert!(icmp.is_intact(), "{error:?}");
            assert_eq!((icmp.message_type().0, icmp.code()), (kind, code));
            assert_eq!(view.payload()[4..8], word);
            assert_eq!(icmp.body(), offending);
        }
    }

    #[test]
    fn an_error_quotes_no_padding_and_fits_the_buffer_or_is_refused() {
        let mut offending = packet(SRC, DST, IpProtocol::UDP, &[7; 40]);
        offending.extend([0xee; 6]);
        let write =
            |room: usize| IcmpError::TtlExceeded.write(&mut vec![0; room], DST, 64, &offending);
        assert_eq!(write(576), Ok(28 + 60));
        assert_eq!(write(60), Ok(60));
        assert_eq!(write(56), Ok(56));
        assert_eq!(write(55), Err(PacketError::BufferTooSmall));
        assert_eq!(write(0), Err(PacketError::BufferTooSmall));
    }

    #[test]
    fn only_whole_echo_requests_are_answered() {
        let mut request = packet(SRC, DST, IpProtocol::ICMP, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
        let refused = Err(PacketError::IcmpNotEchoRequest);
        for (at, value) in [(20, 0), (21, 1), (9, 17), (6, 0x20), (7, 1)] {
            let mut other = request.clone();
            other[at] = value;
            let before = other.clone();
            assert_eq!(echo_reply(&mut other, 64), refused, "byte {at}");
            assert_eq!(other, before);
        }
        echo_reply(&mut request, 64).unwrap();
        let view = Ipv4::new(&request).unwrap();
        assert!(view.is_intact());
        assert!(Icmpv4::new(view.payload()).unwrap().is_intact());
    }

    #[test]
    fn a_frame_no_ipv4_packet_can_hold_is_refused() {
        let encap = VxlanEncap {
            dst_mac: MacAddr::ZERO,
            src_mac: MacAddr::ZERO,
            src: SRC,
            dst: DST,
            src_port: 50000,
            dst_port: vxlan::UDP_PORT,
            vni: Vni::MAX,
            tos: 0,
            ttl: 64,
        };
        let mut out = [0; VXLAN_OVERHEAD];
        assert_eq!(encap.write(&mut out, 65535 - 36), Ok(()));
        let refused = Err(PacketError::TooLong);
        assert_eq!(encap.write(&mut out, 65536 - 36), refused);
        assert_eq!(encap.write(&mut out, usize::MAX), refused);
    }
}
