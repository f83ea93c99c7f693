//! UDP (RFC 768).

use core::ops::Range;

use crate::bytes::{be16, put16};
use crate::checksum::Sum;
use crate::error::PacketError;

pub(crate) const SRC_PORT: Range<usize> = 0..2;
pub(crate) const DST_PORT: Range<usize> = 2..4;
const LENGTH: Range<usize> = 4..6;
pub(crate) const CHECKSUM: Range<usize> = 6..8;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 8;

/// A datagram, read. Getters never panic after [`Udp::new`].
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Udp<'a> {
    /// The datagram in an unfragmented IP payload. What follows its length is cut off.
    ///
    /// # Errors
    /// [`PacketError::UdpTruncated`], [`PacketError::UdpLength`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(PacketError::UdpTruncated)?;
        let payload = bytes
            .get(HEADER_LEN..usize::from(be16(header, LENGTH)))
            .ok_or(PacketError::UdpLength)?;
        Ok(Self { header, payload })
    }

    /// The source port.
    #[inline]
    pub fn src_port(&self) -> u16 {
        be16(self.header, SRC_PORT)
    }

    /// The destination port.
    #[inline]
    pub fn dst_port(&self) -> u16 {
        be16(self.header, DST_PORT)
    }

    /// Length of header and payload in bytes, which the pseudo header holds too.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u16 {
        be16(self.header, LENGTH)
    }

    /// The checksum as it stands; 0 means none.
    #[inline]
    pub fn checksum(&self) -> u16 {
        be16(self.header, CHECKSUM)
    }

    /// Whether the checksum verifies with the pseudo header over [`Udp::len`] bytes. One of 0
    /// does not: whether none is allowed is the caller's to say (IPv4: RFC 768; IPv6: RFC 6935).
    #[inline]
    pub fn is_intact(&self, pseudo_header: Sum) -> bool {
        self.checksum() != 0
            && pseudo_header
                .bytes(self.header)
                .bytes(self.payload)
                .is_intact()
    }

    /// What follows the header.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Writes a header without checksum.
#[inline]
pub(crate) fn write_header(out: &mut [u8; HEADER_LEN], src_port: u16, dst_port: u16, len: u16) {
    put16(out, SRC_PORT, src_port);
    put16(out, DST_PORT, dst_port);
    put16(out, LENGTH, len);
    put16(out, CHECKSUM, 0);
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use sekisho_types::IpProtocol;

    use super::*;

    fn datagram() -> [u8; 11] {
        let mut bytes = *b"........abc";
        write_header(bytes.first_chunk_mut().unwrap(), 1000, 53, 11);
        bytes
    }

    fn pseudo() -> Sum {
        let (src, dst) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        Sum::pseudo_v4(src, dst, IpProtocol::UDP, 11)
    }

    #[test]
    fn a_checksum_verifies_until_a_bit_flips() {
        let mut bytes = datagram();
        assert!(!Udp::new(&bytes).unwrap().is_intact(pseudo()));
        let checksum = pseudo().bytes(&bytes).udp_checksum();
        bytes[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        assert!(Udp::new(&bytes).unwrap().is_intact(pseudo()));
        bytes[10] ^= 4;
        assert!(!Udp::new(&bytes).unwrap().is_intact(pseudo()));
    }

    #[test]
    fn a_length_below_the_header_or_beyond_the_ip_payload_is_refused() {
        for len in [0, 7, 12] {
            let mut bytes = datagram();
            bytes[5] = len;
            assert_eq!(Udp::new(&bytes).err(), Some(PacketError::UdpLength));
        }
        let bytes = datagram();
        assert_eq!(Udp::new(&bytes[..7]).err(), Some(PacketError::UdpTruncated));
    }

    #[test]
    fn a_length_below_the_ip_payload_cuts_the_rest_off() {
        let mut bytes = datagram();
        bytes[5] = 9;
        assert_eq!(Udp::new(&bytes).unwrap().payload(), b"a");
    }
}
