//! ICMP for IPv4 (RFC 792, RFC 1191).

use core::ops::Range;

use crate::bytes::be16;
use crate::checksum::Sum;
use crate::error::PacketError;
use crate::flow::{FlowKey, echo_ports, ports};
use crate::ipv4::Ipv4Header;
use sekisho_types::IpProtocol;

pub(crate) const TYPE: usize = 0;
pub(crate) const CODE: usize = 1;
pub(crate) const CHECKSUM: Range<usize> = 2..4;
pub(crate) const IDENTIFIER: Range<usize> = 4..6;
const SEQUENCE: Range<usize> = 6..8;
const POINTER: usize = 4;
const NEXT_HOP_MTU: Range<usize> = 6..8;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 8;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Icmpv4Type(pub u8);

impl Icmpv4Type {
    /// Answer to an echo request.
    pub const ECHO_REPLY: Self = Self(0);
    /// A destination cannot be reached, for the reason its code gives.
    pub const UNREACHABLE: Self = Self(3);
    /// Source quench (deprecated by RFC 6633).
    pub const SOURCE_QUENCH: Self = Self(4);
    /// A better first hop.
    pub const REDIRECT: Self = Self(5);
    /// Asks for an echo.
    pub const ECHO_REQUEST: Self = Self(8);
    /// Time to live or reassembly time used up.
    pub const TIME_EXCEEDED: Self = Self(11);
    /// A bad header.
    pub const PARAMETER_PROBLEM: Self = Self(12);

    /// Whether it reports an error, and so quotes a packet (RFC 1122 section 3.2.2).
    #[inline]
    pub const fn is_error(self) -> bool {
        matches!(
            self,
            Self::UNREACHABLE
                | Self::SOURCE_QUENCH
                | Self::REDIRECT
                | Self::TIME_EXCEEDED
                | Self::PARAMETER_PROBLEM
        )
    }

    /// Whether it is an echo request or reply, whose identifier serves as a port (RFC 5508).
    #[inline]
    pub const fn is_echo(self) -> bool {
        matches!(self, Self::ECHO_REQUEST | Self::ECHO_REPLY)
    }
}

/// Code of [`Icmpv4Type::UNREACHABLE`]: too large, and DF set.
pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;

/// A message, read. Getters never panic after [`Icmpv4::new`].
#[derive(Clone, Copy, Debug)]
pub struct Icmpv4<'a> {
    header: &'a [u8; HEADER_LEN],
    body: &'a [u8],
}

impl<'a> Icmpv4<'a> {
    /// The message that fills an IPv4 payload.
    ///
    /// # Errors
    /// [`PacketError::IcmpTruncated`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let (header, body) = bytes
            .split_first_chunk()
            .ok_or(PacketError::IcmpTruncated)?;
        Ok(Self { header, body })
    }

    /// What the message is.
    #[inline]
    pub fn message_type(&self) -> Icmpv4Type {
        Icmpv4Type(self.header[TYPE])
    }

    /// What it is more exactly.
    #[inline]
    pub fn code(&self) -> u8 {
        self.header[CODE]
    }

    /// The checksum as it stands.
    #[inline]
    pub fn checksum(&self) -> u16 {
        be16(self.header, CHECKSUM)
    }

    /// Whether the checksum verifies.
    #[inline]
    pub fn is_intact(&self) -> bool {
        Sum::new().bytes(self.header).bytes(self.body).is_intact()
    }

    /// The identifier of an echo.
    #[inline]
    pub fn identifier(&self) -> u16 {
        be16(self.header, IDENTIFIER)
    }

    /// The sequence number of an echo.
    #[inline]
    pub fn sequence(&self) -> u16 {
        be16(self.header, SEQUENCE)
    }

    /// The byte a parameter problem points at.
    #[inline]
    pub fn pointer(&self) -> u8 {
        self.header[POINTER]
    }

    /// The MTU, in bytes, that code [`CODE_FRAGMENTATION_NEEDED`] reports (RFC 1191); 0 from
    /// routers older than that.
    #[inline]
    pub fn next_hop_mtu(&self) -> u16 {
        be16(self.header, NEXT_HOP_MTU)
    }

    /// What follows the header: an echo's data or an error's quote.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The packet an error is about.
    ///
    /// # Errors
    /// [`PacketError::IcmpNotError`], [`PacketError::EmbeddedMalformed`].
    #[inline]
    pub fn embedded(&self) -> Result<EmbeddedIpv4<'a>, PacketError> {
        if self.message_type().is_error() {
            EmbeddedIpv4::new(self.body)
        } else {
            Err(PacketError::IcmpNotError)
        }
    }
}

/// The packet quoted in an ICMP error: a whole IPv4 header, and of what followed at least nothing.
/// Getters, the header's included, never panic after [`EmbeddedIpv4::new`].
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedIpv4<'a> {
    header: Ipv4Header<'a>,
    payload: &'a [u8],
}

impl<'a> EmbeddedIpv4<'a> {
    /// The packet at the start of a quote. Its header checksum must verify (RFC 5508 section 3.2);
    /// its total length may be beyond the quote.
    ///
    /// # Errors
    /// [`PacketError::EmbeddedMalformed`].
    #[inline]
    pub fn new(quote: &'a [u8]) -> Result<Self, PacketError> {
        let header = Ipv4Header::new(quote).map_err(|_| PacketError::EmbeddedMalformed)?;
        let end = header.total_len().min(quote.len());
        let payload = quote
            .get(header.len()..end)
            .filter(|_| header.is_intact())
            .ok_or(PacketError::EmbeddedMalformed)?;
        Ok(Self { header, payload })
    }

    /// What was quoted behind the header, without what does not belong to the packet, such as the
    /// extensions of RFC 4884.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The flow the packet belongs to, as its sender sent it.
    ///
    /// # Errors
    /// [`PacketError::NoTransport`] for a later fragment, [`PacketError::EmbeddedTruncated`] when
    /// the ports are not quoted, [`PacketError::EmbeddedMalformed`] when it is itself an ICMP
    /// error, about which none may be sent (RFC 1122 section 3.2.2).
    #[inline]
    pub fn flow_key(&self) -> Result<FlowKey, PacketError> {
        if !self.has_l4_header() {
            return Err(PacketError::NoTransport);
        }
        let truncated = PacketError::EmbeddedTruncated;
        let (sport, dport) = if self.protocol() == IpProtocol::ICMP {
            let icmp = Icmpv4::new(self.payload).map_err(|_| truncated)?;
            if icmp.message_type().is_error() {
                return Err(PacketError::EmbeddedMalformed);
            }
            echo_ports(&icmp)
        } else {
            ports(self.protocol(), self.payload).ok_or(truncated)?
        };
        Ok(FlowKey {
            src: self.src(),
            dst: self.dst(),
            sport,
            dport,
            proto: self.protocol(),
        })
    }
}

impl<'a> core::ops::Deref for EmbeddedIpv4<'a> {
    type Target = Ipv4Header<'a>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.header
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;
    use crate::ipv4::Ipv4Fields;

    const KEY: FlowKey = FlowKey {
        src: Ipv4Addr::new(192, 0, 2, 1),
        dst: Ipv4Addr::new(198, 51, 100, 2),
        sport: 1000,
        dport: 53,
        proto: IpProtocol::UDP,
    };

    /// An error that quotes a 1500-byte packet's header and `l4`.
    fn error(protocol: IpProtocol, l4: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN + 20];
        bytes[TYPE] = Icmpv4Type::TIME_EXCEEDED.0;
        Ipv4Fields {
            tos: 0,
            total_len: 1500,
            dont_fragment: true,
            ttl: 1,
            protocol,
            src: KEY.src,
            dst: KEY.dst,
        }
        .write(bytes[HEADER_LEN..].first_chunk_mut().unwrap());
        bytes.extend(l4);
        bytes
    }

    #[test]
    fn the_embedded_flow_is_read_from_eight_bytes_of_l4() {
        let bytes = error(IpProtocol::UDP, &[0x03, 0xe8, 0, 53, 0, 0, 0, 0]);
        let embedded = Icmpv4::new(&bytes).unwrap().embedded().unwrap();
        assert_eq!(embedded.flow_key(), Ok(KEY));
    }

    #[test]
    fn i04_a_truncated_or_corrupted_embedded_header_is_refused() {
        let bytes = error(IpProtocol::UDP, &[]);
        for end in HEADER_LEN..bytes.len() {
            let icmp = Icmpv4::new(&bytes[..end]).unwrap();
            assert_eq!(icmp.embedded().err(), Some(PacketError::EmbeddedMalformed));
        }
        for byte in HEADER_LEN..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[byte] ^= 0x10;
            let icmp = Icmpv4::new(&bytes).unwrap();
            assert_eq!(icmp.embedded().err(), Some(PacketError::EmbeddedMalformed));
        }
        let embedded = Icmpv4::new(&bytes).unwrap().embedded().unwrap();
        assert_eq!(embedded.flow_key(), Err(PacketError::EmbeddedTruncated));
    }

    #[test]
    fn i13_an_error_about_an_error_or_a_later_fragment_names_no_flow() {
        let bytes = error(IpProtocol::ICMP, &[3, 1, 0, 0, 0, 0, 0, 0]);
        let embedded = Icmpv4::new(&bytes).unwrap().embedded().unwrap();
        assert_eq!(embedded.flow_key(), Err(PacketError::EmbeddedMalformed));

        let mut bytes = error(IpProtocol::UDP, &[0; 8]);
        bytes[HEADER_LEN + 7] = 1;
        let checksum = u16::from_be_bytes([bytes[18], bytes[19]]) - 1;
        bytes[18..20].copy_from_slice(&checksum.to_be_bytes());
        let embedded = Icmpv4::new(&bytes).unwrap().embedded().unwrap();
        assert_eq!(embedded.flow_key(), Err(PacketError::NoTransport));
    }

    #[test]
    fn queries_embed_nothing() {
        let mut bytes = error(IpProtocol::UDP, &[0; 8]);
        bytes[TYPE] = Icmpv4Type::ECHO_REQUEST.0;
        let icmp = Icmpv4::new(&bytes).unwrap();
        assert_eq!(icmp.embedded().err(), Some(PacketError::IcmpNotError));
    }
}
