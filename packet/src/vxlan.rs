//! VXLAN (RFC 7348 section 5).

use core::ops::Range;

use sekisho_types::Vni;

use crate::bytes::put32;
use crate::error::PacketError;

const FLAGS: usize = 0;
const FLAGS_WORD: Range<usize> = 0..4;
const VNI: Range<usize> = 4..7;
const VNI_WORD: Range<usize> = 4..8;
const FLAG_I: u8 = 0x08;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 8;
/// The UDP port assigned by IANA.
pub const UDP_PORT: u16 = 4789;

/// An encapsulated frame, read. Getters never panic after [`Vxlan::new`].
#[derive(Clone, Copy, Debug)]
pub struct Vxlan<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Vxlan<'a> {
    /// The header and frame in a UDP payload. Reserved bits are ignored.
    ///
    /// # Errors
    /// [`PacketError::VxlanTruncated`], [`PacketError::VxlanNoVni`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let (header, payload) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(PacketError::VxlanTruncated)?;
        if header[FLAGS] & FLAG_I == 0 {
            return Err(PacketError::VxlanNoVni);
        }
        Ok(Self { header, payload })
    }

    /// The segment's identifier.
    #[inline]
    pub fn vni(&self) -> Vni {
        let at = VNI.start;
        Vni::from_octets([self.header[at], self.header[at + 1], self.header[at + 2]])
    }

    /// The Ethernet frame inside.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Writes a header with all reserved bits 0.
#[inline]
pub(crate) fn write_header(out: &mut [u8; HEADER_LEN], vni: Vni) {
    put32(out, FLAGS_WORD, u32::from(FLAG_I) << 24);
    put32(out, VNI_WORD, vni.value() << 8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v01_a_header_without_the_i_flag_is_refused() {
        assert_eq!(
            Vxlan::new(&[0xf7, 0, 0, 0, 0, 0, 1, 0]).err(),
            Some(PacketError::VxlanNoVni)
        );
    }

    #[test]
    fn v02_reserved_bits_are_ignored_on_receipt_and_zero_when_sent() {
        let header = [0xff, 0xff, 0xff, 0xff, 0x12, 0x34, 0x56, 0xff];
        let vni = Vxlan::new(&header).unwrap().vni();
        assert_eq!(vni.value(), 0x12_3456);
        let mut sent = [0xff; HEADER_LEN];
        write_header(&mut sent, vni);
        assert_eq!(sent, [8, 0, 0, 0, 0x12, 0x34, 0x56, 0]);
    }
}
