//! ICMP for IPv6 (RFC 4443), as far as it is read; neighbour discovery is [`crate::ndp`]'s.

use core::ops::Range;

use crate::bytes::be16;
use crate::checksum::Sum;
use crate::error::PacketError;

pub(crate) const TYPE: usize = 0;
pub(crate) const CODE: usize = 1;
pub(crate) const CHECKSUM: Range<usize> = 2..4;

/// Length of the header that all messages share, in bytes.
pub const HEADER_LEN: usize = 4;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Icmpv6Type(pub u8);

impl Icmpv6Type {
    /// A destination cannot be reached.
    pub const UNREACHABLE: Self = Self(1);
    /// Larger than the next hop's MTU.
    pub const PACKET_TOO_BIG: Self = Self(2);
    /// Hop limit or reassembly time used up.
    pub const TIME_EXCEEDED: Self = Self(3);
    /// A bad header.
    pub const PARAMETER_PROBLEM: Self = Self(4);
    /// Asks for an echo.
    pub const ECHO_REQUEST: Self = Self(128);
    /// Answer to an echo request.
    pub const ECHO_REPLY: Self = Self(129);
    /// Asks for the routers of a link.
    pub const ROUTER_SOLICITATION: Self = Self(133);
    /// Tells that one is a router, and what hosts of the link need to know.
    pub const ROUTER_ADVERTISEMENT: Self = Self(134);
    /// Asks for a neighbour's link-layer address.
    pub const NEIGHBOUR_SOLICITATION: Self = Self(135);
    /// Tells one's own link-layer address.
    pub const NEIGHBOUR_ADVERTISEMENT: Self = Self(136);
    /// Tells of a better first hop.
    pub const REDIRECT: Self = Self(137);

    /// Whether it reports an error, and so quotes a packet (RFC 4443 section 2.1).
    #[inline]
    pub const fn is_error(self) -> bool {
        self.0 < 128
    }

    /// Whether it is of neighbour discovery, and so never leaves its link (RFC 4861).
    #[inline]
    pub const fn is_discovery(self) -> bool {
        matches!(self.0, 133..=137)
    }
}

/// A message, read. Getters never panic after [`Icmpv6::new`].
#[derive(Clone, Copy, Debug)]
pub struct Icmpv6<'a> {
    header: &'a [u8; HEADER_LEN],
    body: &'a [u8],
}

impl<'a> Icmpv6<'a> {
    /// The message that fills an upper-layer payload.
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
    pub fn message_type(&self) -> Icmpv6Type {
        Icmpv6Type(self.header[TYPE])
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

    /// Whether the checksum verifies with the pseudo header over the whole message.
    #[inline]
    pub fn is_intact(&self, pseudo_header: Sum) -> bool {
        pseudo_header
            .bytes(self.header)
            .bytes(self.body)
            .is_intact()
    }

    /// The identifier of an echo request or reply; 0 if it is cut off.
    #[inline]
    pub fn identifier(&self) -> u16 {
        match self.body.first_chunk::<2>() {
            Some(identifier) => u16::from_be_bytes(*identifier),
            None => 0,
        }
    }

    /// What follows the checksum.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shorter_than_its_header_is_refused() {
        let error = Icmpv6::new(&[128, 0, 0]).err();
        assert_eq!(error, Some(PacketError::IcmpTruncated));
    }

    #[test]
    fn errors_are_told_from_questions() {
        assert!(Icmpv6Type::PACKET_TOO_BIG.is_error());
        assert!(!Icmpv6Type::NEIGHBOUR_SOLICITATION.is_error());
        assert!(Icmpv6Type::REDIRECT.is_discovery());
        assert!(!Icmpv6Type::ECHO_REPLY.is_discovery());
    }
}
