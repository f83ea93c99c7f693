//! TCP (RFC 9293).

use core::ops::Range;

use crate::bytes::{be16, be32, put16};
use crate::checksum::{Delta, Sum};
use crate::error::PacketError;
use crate::options::HeaderOptions;

pub(crate) const SRC_PORT: Range<usize> = 0..2;
pub(crate) const DST_PORT: Range<usize> = 2..4;
const SEQUENCE: Range<usize> = 4..8;
const ACKNOWLEDGEMENT: Range<usize> = 8..12;
const DATA_OFFSET: usize = 12;
pub(crate) const FLAGS: usize = 13;
const WINDOW: Range<usize> = 14..16;
pub(crate) const CHECKSUM: Range<usize> = 16..18;

const OPTION_MSS: u8 = 2;

/// Length of a header without options, in bytes.
pub const MIN_HEADER_LEN: usize = 20;

/// The control bits of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// The sender has finished.
    pub const FIN: Self = Self(0x01);
    /// Open a connection.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A segment, read. Getters never panic after [`Tcp::new`].
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    header: &'a [u8; MIN_HEADER_LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Tcp<'a> {
    /// The segment that fills an IP payload.
    ///
    /// # Errors
    /// [`PacketError::TcpTruncated`], [`PacketError::TcpDataOffset`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let (header, rest) = bytes
            .split_first_chunk::<MIN_HEADER_LEN>()
            .ok_or(PacketError::TcpTruncated)?;
        let options_len = (usize::from(header[DATA_OFFSET] >> 4) * 4)
            .checked_sub(MIN_HEADER_LEN)
            .ok_or(PacketError::TcpDataOffset)?;
        let (options, payload) = rest
            .split_at_checked(options_len)
            .ok_or(PacketError::TcpTruncated)?;
        Ok(Self {
            header,
            options,
            payload,
        })
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

    /// The sequence number.
    #[inline]
    pub fn sequence(&self) -> u32 {
        be32(self.header, SEQUENCE)
    }

    /// The acknowledgement number; without meaning unless the ACK flag is set.
    #[inline]
    pub fn acknowledgement(&self) -> u32 {
        be32(self.header, ACKNOWLEDGEMENT)
    }

    /// The control bits.
    #[inline]
    pub fn flags(&self) -> TcpFlags {
        TcpFlags(self.header[FLAGS])
    }

    /// The window as sent, unscaled.
    #[inline]
    pub fn window(&self) -> u16 {
        be16(self.header, WINDOW)
    }

    /// The checksum as it stands.
    #[inline]
    pub fn checksum(&self) -> u16 {
        be16(self.header, CHECKSUM)
    }

    /// Whether the checksum verifies with the pseudo header over [`Tcp::len`] bytes.
    #[inline]
    pub fn is_intact(&self, pseudo_header: Sum) -> bool {
        pseudo_header
            .bytes(self.header)
            .bytes(self.options)
            .bytes(self.payload)
            .is_intact()
    }

    /// Length of the header with its options, in bytes.
    #[inline]
    pub fn header_len(&self) -> usize {
        MIN_HEADER_LEN + self.options.len()
    }

    /// Length of header and payload in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.header_len() + self.payload.len()
    }

    /// The sequence space it takes: its payload, and one each for SYN and FIN.
    #[inline]
    pub fn sequence_len(&self) -> u32 {
        let flags = self.flags();
        self.payload.len() as u32
            + u32::from(flags.contains(TcpFlags::SYN))
            + u32::from(flags.contains(TcpFlags::FIN))
    }

    /// The options.
    #[inline]
    pub fn options(&self) -> HeaderOptions<'a> {
        HeaderOptions::new(self.options)
    }

    /// The maximum segment size option, if it is there and well-formed.
    pub fn mss(&self) -> Option<u16> {
        self.mss_option().map(|(mss, _)| mss)
    }

    /// The value of the MSS option, and where it stands in the segment.
    fn mss_option(&self) -> Option<(u16, usize)> {
        self.options().flatten().find_map(|option| {
            let value = <[u8; 2]>::try_from(option.data).ok()?;
            (option.kind == OPTION_MSS).then_some((
                u16::from_be_bytes(value),
                MIN_HEADER_LEN + option.data_offset,
            ))
        })
    }

    /// What follows header and options.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Lowers the MSS option of a segment with SYN to `max` bytes, with its checksum, if it is larger.
/// Says whether it did.
///
/// # Errors
/// Those of [`Tcp::new`].
pub fn clamp_mss(segment: &mut [u8], max: u16) -> Result<bool, PacketError> {
    let view = Tcp::new(segment)?;
    let Some((mss, at)) = view.mss_option() else {
        return Ok(false);
    };
    if mss <= max || !view.flags().contains(TcpFlags::SYN) {
        return Ok(false);
    }
    let delta = match at % 2 {
        0 => Delta::new().u16(mss, max),
        _ => Delta::new().u16_at_odd_offset(mss, max),
    };
    let checksum = delta.apply(view.checksum());
    if let Some(value) = segment.get_mut(at..at + 2) {
        value.copy_from_slice(&max.to_be_bytes());
    }
    if let Some(header) = segment.first_chunk_mut::<MIN_HEADER_LEN>() {
        put16(header, CHECKSUM, checksum);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment with SYN and `options`, whose checksum verifies over an empty pseudo header.
    fn syn(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; MIN_HEADER_LEN];
        bytes[..4].copy_from_slice(&[0x30, 0x39, 0, 80]);
        bytes[DATA_OFFSET] = (((MIN_HEADER_LEN + options.len()) / 4) << 4) as u8;
        bytes[FLAGS] = TcpFlags::SYN.0;
        bytes.extend(options);
        let checksum = crate::checksum::checksum(&bytes);
        bytes[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    #[test]
    fn the_mss_is_lowered_wherever_it_stands_and_the_checksum_follows() {
        for options in [[2, 4, 5, 0xb4, 0, 0, 0, 0], [1, 2, 4, 5, 0xb4, 0, 0, 0]] {
            let mut segment = syn(&options);
            assert_eq!(clamp_mss(&mut segment, 1410), Ok(true));
            let view = Tcp::new(&segment).unwrap();
            assert_eq!(view.mss(), Some(1410));
            assert!(view.is_intact(Sum::new()));
        }
    }

    #[test]
    fn the_mss_is_never_raised_nor_touched_without_syn() {
        let mut segment = syn(&[2, 4, 5, 0xb4]);
        let before = segment.clone();
        assert_eq!(clamp_mss(&mut segment, 1460), Ok(false));
        assert_eq!(segment, before);
        segment[FLAGS] = TcpFlags::ACK.0;
        assert_eq!(clamp_mss(&mut segment, 1000), Ok(false));
        assert_eq!(clamp_mss(&mut syn(&[]), 1000), Ok(false));
    }

    #[test]
    fn an_mss_of_the_wrong_length_is_no_mss() {
        assert_eq!(Tcp::new(&syn(&[2, 3, 5, 0])).unwrap().mss(), None);
    }

    #[test]
    fn a_data_offset_below_the_header_or_beyond_the_segment_is_refused() {
        let mut segment = syn(&[]);
        segment[DATA_OFFSET] = 0x40;
        assert_eq!(Tcp::new(&segment).err(), Some(PacketError::TcpDataOffset));
        segment[DATA_OFFSET] = 0x60;
        assert_eq!(Tcp::new(&segment).err(), Some(PacketError::TcpTruncated));
    }

    #[test]
    fn syn_and_fin_take_sequence_space() {
        let mut segment = syn(&[]);
        segment[FLAGS] |= TcpFlags::FIN.0;
        segment.extend(b"abc");
        assert_eq!(Tcp::new(&segment).unwrap().sequence_len(), 5);
    }
}
