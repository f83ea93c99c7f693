//! IPv6 packets the gateway itself sends: ICMPv6 errors and echo replies (RFC 4443).
//! (Neighbour discovery is [`crate::ndp`]'s.)

use core::net::Ipv6Addr;

use sekisho_types::IpProtocol;

use crate::checksum::{Delta, Sum};
use crate::error::PacketError;
use crate::icmpv6::{self, Icmpv6, Icmpv6Type};
use crate::ipv6::{self, Ipv6, Ipv6Fields};

/// The smallest MTU a link with IPv6 may have (RFC 8200 section 5).
pub const MIN_MTU: u16 = 1280;

/// Type, code, checksum and the word that follows.
const ERROR_HEADER_LEN: usize = 8;

/// An ICMPv6 error to be sent (RFC 4443 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmpv6Error {
    /// 1/0: no route.
    NoRoute,
    /// 1/1: forbidden by policy.
    AdministrativelyProhibited,
    /// 1/3: a neighbour does not answer.
    AddressUnreachable,
    /// 1/4: the port is not served here.
    PortUnreachable,
    /// 2/0: too large for the way on.
    PacketTooBig {
        /// The largest packet that would pass, in bytes; told as at least [`MIN_MTU`].
        mtu: u16,
    },
    /// 3/0: hop limit used up on the way.
    HopLimitExceeded,
}

impl Icmpv6Error {
    /// Longest error that is sent, in bytes (RFC 4443 section 2.4 (c)).
    pub const MAX_LEN: usize = MIN_MTU as usize;

    /// Type, code and the second word of the header.
    const fn header(self) -> (Icmpv6Type, u8, u32) {
        match self {
            Self::NoRoute => (Icmpv6Type::UNREACHABLE, 0, 0),
            Self::AdministrativelyProhibited => (Icmpv6Type::UNREACHABLE, 1, 0),
            Self::AddressUnreachable => (Icmpv6Type::UNREACHABLE, 3, 0),
            Self::PortUnreachable => (Icmpv6Type::UNREACHABLE, 4, 0),
            Self::PacketTooBig { mtu } => {
                let mtu = if mtu < MIN_MTU { MIN_MTU } else { mtu };
                (Icmpv6Type::PACKET_TOO_BIG, 0, mtu as u32)
            }
            Self::HopLimitExceeded => (Icmpv6Type::TIME_EXCEEDED, 0, 0),
        }
    }

    /// Whether this error about `packet` may be sent at all (RFC 4443 section 2.4 (e)): not about
    /// an ICMPv6 error or redirect, or what may be one; nor about a packet to many, unless it is
    /// too big; nor about one from nobody in particular.
    pub fn is_allowed_about(self, packet: &Ipv6<'_>) -> bool {
        let too_big = matches!(self, Self::PacketTooBig { .. });
        let Ok(upper) = packet.upper_layer() else {
            return false;
        };
        let whole = upper.fragment.is_none_or(|fragment| fragment.offset == 0);
        let about_error = match Icmpv6::new(upper.payload) {
            _ if upper.protocol != IpProtocol::ICMPV6 => false,
            // Nobody sends errors in fragments that are themselves too big.
            _ if !whole => !too_big,
            Ok(icmp) => {
                let kind = icmp.message_type();
                kind.is_error() || kind == Icmpv6Type::REDIRECT
            }
            Err(_) => true,
        };
        let src = packet.src();
        let from_one = !(src.is_unspecified() || src.is_multicast() || src.is_loopback());
        from_one && !about_error && (too_big || !packet.dst().is_multicast())
    }

    /// Writes the error about the IPv6 packet at the start of `offending`, from `src` to the
    /// packet's source, and returns its length. As much is quoted as [`Icmpv6Error::MAX_LEN`] and
    /// `out` allow.
    ///
    /// # Errors
    /// Those of [`Ipv6::new`]; [`PacketError::BufferTooSmall`] when `out` cannot hold the
    /// offending header.
    pub fn write(
        self,
        out: &mut [u8],
        src: Ipv6Addr,
        hop_limit: u8,
        offending: &[u8],
    ) -> Result<usize, PacketError> {
        const OVERHEAD: usize = ipv6::HEADER_LEN + ERROR_HEADER_LEN;
        let packet = Ipv6::new(offending)?;
        let offending_len = ipv6::HEADER_LEN + packet.payload().len();
        let total_len = (OVERHEAD + offending_len).min(Self::MAX_LEN).min(out.len());
        if total_len < OVERHEAD + ipv6::HEADER_LEN {
            return Err(PacketError::BufferTooSmall);
        }
        let out = &mut out[..total_len];
        let Some((header, message)) = out.split_first_chunk_mut() else {
            return Err(PacketError::BufferTooSmall);
        };
        let length = message.len();
        Ipv6Fields {
            traffic_class: 0,
            payload_len: length as u16,
            next_header: IpProtocol::ICMPV6,
            hop_limit,
            src,
            dst: packet.src(),
        }
        .write(header);
        let Some((header, quote)) = message.split_first_chunk_mut::<ERROR_HEADER_LEN>() else {
            return Err(PacketError::BufferTooSmall);
        };
        quote.copy_from_slice(&offending[..quote.len()]);
        let (message_type, code, word) = self.header();
        header[icmpv6::TYPE] = message_type.0;
        header[icmpv6::CODE] = code;
        header[icmpv6::CHECKSUM].fill(0);
        header[4..].copy_from_slice(&word.to_be_bytes());
        let pseudo = Sum::pseudo_v6(src, packet.src(), IpProtocol::ICMPV6, length as u32);
        let checksum = pseudo.bytes(header).bytes(quote).checksum();
        header[icmpv6::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        Ok(total_len)
    }
}

/// Turns the ICMPv6 echo request `packet` into its reply, in place: addresses swapped, type and hop
/// limit set, the checksum incremental, so that a damaged request makes a damaged reply.
///
/// # Errors
/// Those of [`Ipv6::new`], and [`PacketError::IcmpNotEchoRequest`], also for a request behind
/// extension headers. The packet is then unchanged.
pub fn echo_reply(packet: &mut [u8], hop_limit: u8) -> Result<(), PacketError> {
    let view = Ipv6::new(packet)?;
    let (src, dst) = (view.src(), view.dst());
    let is_direct = view.next_header() == IpProtocol::ICMPV6;
    let request = Icmpv6::new(view.payload())
        .ok()
        .filter(|icmp| is_direct && icmp.message_type() == Icmpv6Type::ECHO_REQUEST)
        .filter(|icmp| icmp.code() == 0)
        .ok_or(PacketError::IcmpNotEchoRequest)?;
    let request_word = u16::from_be_bytes([Icmpv6Type::ECHO_REQUEST.0, 0]);
    let reply_word = u16::from_be_bytes([Icmpv6Type::ECHO_REPLY.0, 0]);
    // The pseudo header sums to the same both ways.
    let checksum = Delta::new()
        .u16(request_word, reply_word)
        .apply(request.checksum());
    let (header, message) = packet
        .split_first_chunk_mut::<{ ipv6::HEADER_LEN }>()
        .ok_or(PacketError::Ipv6Truncated)?;
    header[ipv6::SRC].copy_from_slice(&dst.octets());
    header[ipv6::DST].copy_from_slice(&src.octets());
    header[ipv6::HOP_LIMIT] = hop_limit;
    if let Some(message) = message.first_chunk_mut::<{ icmpv6::HEADER_LEN }>() {
        message[icmpv6::TYPE] = Icmpv6Type::ECHO_REPLY.0;
        message[icmpv6::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRC: &str = "2001:db8:10::11";
    const DST: &str = "2001:db8:99::80";

    fn packet(src: &str, dst: &str, next: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; ipv6::HEADER_LEN];
        Ipv6Fields {
            traffic_class: 0,
            payload_len: payload.len() as u16,
            next_header: IpProtocol(next),
            hop_limit: 64,
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
        }
        .write(bytes.first_chunk_mut().unwrap());
        bytes.extend(payload);
        bytes
    }

    fn is_intact(bytes: &[u8]) -> bool {
        let view = Ipv6::new(bytes).unwrap();
        let length = view.payload().len() as u32;
        let icmp = Icmpv6::new(view.payload()).unwrap();
        icmp.is_intact(view.pseudo_header(IpProtocol::ICMPV6, length))
    }

    fn is_allowed(error: Icmpv6Error, bytes: &[u8]) -> bool {
        error.is_allowed_about(&Ipv6::new(bytes).unwrap())
    }

    #[test]
    fn every_error_has_its_type_code_and_word() {
        let offending = packet(SRC, DST, 17, &[7; 8]);
        let cases = [
            (Icmpv6Error::NoRoute, 1, 0, 0),
            (Icmpv6Error::AdministrativelyProhibited, 1, 1, 0),
            (Icmpv6Error::AddressUnreachable, 1, 3, 0),
            (Icmpv6Error::PortUnreachable, 1, 4, 0),
            (Icmpv6Error::PacketTooBig { mtu: 1450 }, 2, 0, 1450),
            (Icmpv6Error::PacketTooBig { mtu: 600 }, 2, 0, 1280),
            (Icmpv6Error::HopLimitExceeded, 3, 0, 0),
        ];
        for (error, kind, code, word) in cases {
            let mut out = [0xff; 200];
            let length = error
                .write(&mut out, DST.parse().unwrap(), 64, &offending)
                .unwrap();
            let out = &out[..length];
            assert!(is_intact(out), "{error:?}");
            let view = Ipv6::new(out).unwrap();
            assert_eq!(
                (view.src(), view.dst()),
                (DST.parse().unwrap(), SRC.parse().unwrap())
            );
            let message = view.payload();
            assert_eq!((message[0], message[1]), (kind, code));
            assert_eq!(message[4..8], u32::to_be_bytes(word));
            assert_eq!(message[8..], offending);
        }
    }

    #[test]
    fn l07_an_error_is_at_most_1280_bytes_and_quotes_no_padding() {
        let write = |offending: &[u8], room: usize| {
            let mut out = vec![0; room];
            let src = DST.parse().unwrap();
            let length = Icmpv6Error::NoRoute.write(&mut out, src, 64, offending)?;
            assert!(is_intact(&out[..length]));
            Ok::<usize, PacketError>(length)
        };
        let long = packet(SRC, DST, 17, &[7; 1460]);
        assert_eq!(write(&long, 2000), Ok(1280));
        let mut padded = packet(SRC, DST, 17, &[7; 8]);
        padded.extend([0xee; 6]);
        assert_eq!(write(&padded, 2000), Ok(48 + 48));
        assert_eq!(write(&padded, 88), Ok(88));
        assert_eq!(write(&padded, 87), Err(PacketError::BufferTooSmall));
        assert_eq!(write(&padded, 0), Err(PacketError::BufferTooSmall));
    }

    #[test]
    fn l04_no_error_is_sent_about_an_error_or_a_redirect() {
        for kind in [1, 2, 3, 4, 100, 127, 137] {
            let error = packet(SRC, DST, 58, &[kind, 0, 0, 0, 0, 0, 0, 0]);
            assert!(!is_allowed(Icmpv6Error::HopLimitExceeded, &error), "{kind}");
        }
        assert!(!is_allowed(
            Icmpv6Error::NoRoute,
            &packet(SRC, DST, 58, &[128])
        ));
        let echo = packet(SRC, DST, 58, &[128, 0, 0, 0, 0, 0, 0, 0]);
        assert!(is_allowed(Icmpv6Error::HopLimitExceeded, &echo));
        let later = packet(SRC, DST, 44, &[58, 0, 0, 8, 0, 0, 0, 9, 1, 2, 3, 4]);
        assert!(!is_allowed(Icmpv6Error::HopLimitExceeded, &later));
        assert!(is_allowed(Icmpv6Error::PacketTooBig { mtu: 1400 }, &later));
    }

    #[test]
    fn l04_no_error_is_sent_to_nobody_nor_about_multicast_unless_it_is_too_big() {
        let too_big = Icmpv6Error::PacketTooBig { mtu: 1400 };
        for src in ["::", "::1", "ff02::1"] {
            assert!(
                !is_allowed(too_big, &packet(src, DST, 17, &[0; 8])),
                "{src}"
            );
        }
        let to_many = packet(SRC, "ff0e::1", 17, &[0; 8]);
        assert!(is_allowed(too_big, &to_many));
        assert!(!is_allowed(Icmpv6Error::NoRoute, &to_many));
    }

    #[test]
    fn only_plain_echo_requests_are_answered() {
        let mut request = packet(SRC, DST, 58, &[128, 0, 0, 0, 1, 2, 0, 3, 0xaa]);
        let view = Ipv6::new(&request).unwrap();
        let sum = view.pseudo_header(IpProtocol::ICMPV6, 9);
        let checksum = sum.bytes(view.payload()).checksum();
        request[42..44].copy_from_slice(&checksum.to_be_bytes());
        let refused = Err(PacketError::IcmpNotEchoRequest);
        for (at, value) in [(40, 129), (41, 1), (6, 17)] {
            let mut other = request.clone();
            other[at] = value;
            let before = other.clone();
            assert_eq!(echo_reply(&mut other, 64), refused, "byte {at}");
            assert_eq!(other, before);
        }
        echo_reply(&mut request, 64).unwrap();
        assert!(is_intact(&request));
        let view = Ipv6::new(&request).unwrap();
        assert_eq!(
            (view.src(), view.dst()),
            (DST.parse().unwrap(), SRC.parse().unwrap())
        );
        assert_eq!(view.payload()[4..], [1, 2, 0, 3, 0xaa]);
    }
}
