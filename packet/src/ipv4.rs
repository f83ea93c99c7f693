//! IPv4 (RFC 791).

use core::net::Ipv4Addr;
use core::ops::Range;

use sekisho_types::IpProtocol;

use crate::bytes::{be16, ipv4, put16, put32};
use crate::checksum::Sum;
use crate::error::PacketError;
use crate::options::HeaderOptions;

pub(crate) const VERSION_IHL: usize = 0;
pub(crate) const TOS: usize = 1;
pub(crate) const TOTAL_LENGTH: Range<usize> = 2..4;
pub(crate) const IDENTIFICATION: Range<usize> = 4..6;
pub(crate) const FRAGMENT: Range<usize> = 6..8;
pub(crate) const TTL: usize = 8;
pub(crate) const PROTOCOL: usize = 9;
pub(crate) const CHECKSUM: Range<usize> = 10..12;
pub(crate) const SRC: Range<usize> = 12..16;
pub(crate) const DST: Range<usize> = 16..20;

pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

/// Length of a header without options, in bytes.
pub const MIN_HEADER_LEN: usize = 20;

/// The header alone, without a promise that the packet is whole. Getters never panic after
/// [`Ipv4Header::new`].
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Header<'a> {
    fixed: &'a [u8; MIN_HEADER_LEN],
    options: &'a [u8],
}

impl<'a> Ipv4Header<'a> {
    /// The header at the start of `bytes`, which may end before the packet does, as in the quote
    /// of an ICMP error.
    ///
    /// # Errors
    /// A short buffer, a version other than 4, an IHL below 5, a total length below the header's.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let (fixed, rest) = bytes
            .split_first_chunk::<MIN_HEADER_LEN>()
            .ok_or(PacketError::Ipv4Truncated)?;
        let version_ihl = fixed[VERSION_IHL];
        if version_ihl >> 4 != 4 {
            return Err(PacketError::Ipv4Version);
        }
        let options_len = (usize::from(version_ihl & 0xf) * 4)
            .checked_sub(MIN_HEADER_LEN)
            .ok_or(PacketError::Ipv4HeaderLength)?;
        let options = rest.get(..options_len).ok_or(PacketError::Ipv4Truncated)?;
        let header = Self { fixed, options };
        if header.total_len() < header.len() {
            return Err(PacketError::Ipv4TotalLength);
        }
        Ok(header)
    }

    /// Length of the header with its options, in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        MIN_HEADER_LEN + self.options.len()
    }

    /// Type of service: DSCP and ECN.
    #[inline]
    pub fn tos(&self) -> u8 {
        self.fixed[TOS]
    }

    /// Length of the packet in bytes, as the header says; at least [`Ipv4Header::len`].
    #[inline]
    pub fn total_len(&self) -> usize {
        usize::from(be16(self.fixed, TOTAL_LENGTH))
    }

    /// Names the packet a fragment belongs to.
    #[inline]
    pub fn identification(&self) -> u16 {
        be16(self.fixed, IDENTIFICATION)
    }

    /// The DF flag.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        be16(self.fixed, FRAGMENT) & DONT_FRAGMENT != 0
    }

    /// The MF flag.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        be16(self.fixed, FRAGMENT) & MORE_FRAGMENTS != 0
    }

    /// Where the payload stands in the unfragmented payload, in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> usize {
        usize::from(be16(self.fixed, FRAGMENT) & OFFSET_MASK) * 8
    }

    /// Whether it is a part of a packet, the first included.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        be16(self.fixed, FRAGMENT) & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Whether the payload starts with the L4 header.
    #[inline]
    pub fn has_l4_header(&self) -> bool {
        be16(self.fixed, FRAGMENT) & OFFSET_MASK == 0
    }

    /// Time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.fixed[TTL]
    }

    /// What the payload is.
    #[inline]
    pub fn protocol(&self) -> IpProtocol {
        IpProtocol(self.fixed[PROTOCOL])
    }

    /// The header checksum as it stands.
    #[inline]
    pub fn checksum(&self) -> u16 {
        be16(self.fixed, CHECKSUM)
    }

    /// Whether the header checksum verifies.
    #[inline]
    pub fn is_intact(&self) -> bool {
        Sum::new().bytes(self.fixed).bytes(self.options).is_intact()
    }

    /// The source.
    #[inline]
    pub fn src(&self) -> Ipv4Addr {
        ipv4(self.fixed, SRC)
    }

    /// The destination.
    #[inline]
    pub fn dst(&self) -> Ipv4Addr {
        ipv4(self.fixed, DST)
    }

    /// Whether there are options.
    #[inline]
    pub fn has_options(&self) -> bool {
        !self.options.is_empty()
    }

    /// The options.
    #[inline]
    pub fn options(&self) -> HeaderOptions<'a> {
        HeaderOptions::new(self.options)
    }

    /// Whether the packet asks for a loose or strict source route (RFC 791 section 3.1).
    ///
    /// # Errors
    /// [`PacketError::Options`] when the list is malformed before a source route is found.
    #[inline]
    pub fn has_source_route(&self) -> Result<bool, PacketError> {
        for option in self.options() {
            if matches!(option?.kind, LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A whole packet, read. Getters, the header's included, never panic after [`Ipv4::new`].
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    header: Ipv4Header<'a>,
    payload: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// The packet at the start of `bytes`. What follows its total length, as Ethernet padding
    /// does, is cut off. The checksum is not looked at: see [`Ipv4Header::is_intact`].
    ///
    /// # Errors
    /// Those of [`Ipv4Header::new`], and a total length beyond `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let header = Ipv4Header::new(bytes)?;
        let payload = bytes
            .get(header.len()..header.total_len())
            .ok_or(PacketError::Ipv4TotalLength)?;
        Ok(Self { header, payload })
    }

    /// What follows the header, without padding.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The pseudo header sum of the L4 checksum over `length` bytes.
    #[inline]
    pub fn pseudo_header(&self, length: u16) -> Sum {
        Sum::pseudo_v4(self.src(), self.dst(), self.protocol(), length)
    }
}

impl<'a> core::ops::Deref for Ipv4<'a> {
    type Target = Ipv4Header<'a>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.header
    }
}

/// The fixed part of a header to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Fields {
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// Length of the packet, this header included, in bytes.
    pub total_len: u16,
    /// The DF flag.
    pub dont_fragment: bool,
    /// Time to live.
    pub ttl: u8,
    /// What the payload is.
    pub protocol: IpProtocol,
    /// The source.
    pub src: Ipv4Addr,
    /// The destination.
    pub dst: Ipv4Addr,
}

impl Ipv4Fields {
    /// Writes a header without options and with its checksum. The identification is 0, which is
    /// right for packets that are never fragmented (RFC 6864 section 4.1).
    #[inline]
    pub fn write(&self, out: &mut [u8; MIN_HEADER_LEN]) {
        out[VERSION_IHL] = 0x45;
        out[TOS] = self.tos;
        put16(out, TOTAL_LENGTH, self.total_len);
        put16(out, IDENTIFICATION, 0);
        let flags = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        put16(out, FRAGMENT, flags);
        out[TTL] = self.ttl;
        out[PROTOCOL] = self.protocol.0;
        put16(out, CHECKSUM, 0);
        put32(out, SRC, self.src.to_bits());
        put32(out, DST, self.dst.to_bits());
        let checksum = Sum::new().bytes(out).checksum();
        put16(out, CHECKSUM, checksum);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELDS: Ipv4Fields = Ipv4Fields {
        tos: 0xb8,
        total_len: 24,
        dont_fragment: true,
        ttl: 64,
        protocol: IpProtocol::UDP,
        src: Ipv4Addr::new(192, 0, 2, 1),
        dst: Ipv4Addr::new(198, 51, 100, 2),
    };

    fn packet() -> [u8; 24] {
        let mut packet = [0; 24];
        FIELDS.write(packet.first_chunk_mut().unwrap());
        packet
    }

    fn refusal(bytes: &[u8]) -> PacketError {
        Ipv4::new(bytes).unwrap_err()
    }

    #[test]
    fn a_written_header_reads_back_and_verifies() {
        let packet = packet();
        let view = Ipv4::new(&packet).unwrap();
        assert!(view.is_intact() && view.dont_fragment() && !view.is_fragment());
        assert_eq!((view.tos(), view.ttl(), view.total_len()), (0xb8, 64, 24));
        assert_eq!(view.protocol(), IpProtocol::UDP);
        assert_eq!((view.src(), view.dst()), (FIELDS.src, FIELDS.dst));
    }

    #[test]
    fn any_flipped_bit_breaks_the_checksum() {
        for bit in 0..160 {
            let mut packet = packet();
            packet[bit / 8] ^= 1 << (bit % 8);
            if let Ok(view) = Ipv4::new(&packet) {
                assert!(!view.is_intact(), "bit {bit}");
            }
        }
    }

    #[test]
    fn l02_bad_version_header_length_and_total_length_are_refused() {
        let mut p = packet();
        p[0] = 0x65;
        assert_eq!(refusal(&p), PacketError::Ipv4Version);
        p[0] = 0x44;
        assert_eq!(refusal(&p), PacketError::Ipv4HeaderLength);
        p[0] = 0x4f;
        assert_eq!(refusal(&p), PacketError::Ipv4Truncated);
        let mut p = packet();
        p[3] = 19;
        assert_eq!(refusal(&p), PacketError::Ipv4TotalLength);
        p[3] = 25;
        assert_eq!(refusal(&p), PacketError::Ipv4TotalLength);
        p[3] = 20;
        assert_eq!(Ipv4::new(&p).unwrap().payload(), b"");
    }

    #[test]
    fn a_total_length_inside_the_options_is_refused() {
        let mut p = packet();
        p[0] = 0x46;
        p[3] = 23;
        let header = Ipv4Header::new(&p);
        assert_eq!(header.err(), Some(PacketError::Ipv4TotalLength));
    }

    #[test]
    fn ethernet_padding_is_no_payload() {
        let padded = [packet().as_slice(), &[0xaa; 22]].concat();
        assert_eq!(Ipv4::new(&padded).unwrap().payload().len(), 4);
    }

    #[test]
    fn fragments_are_told_apart() {
        let at = |word: u16| {
            let mut p = packet();
            p[FRAGMENT].copy_from_slice(&word.to_be_bytes());
            let view = Ipv4::new(&p).unwrap();
            let flags = (
                view.is_fragment(),
                view.has_l4_header(),
                view.more_fragments(),
            );
            (flags, view.fragment_offset())
        };
        assert_eq!(at(0x4000), ((false, true, false), 0));
        assert_eq!(at(0x2000), ((true, true, true), 0));
        assert_eq!(at(0x20b9), ((true, false, true), 1480));
        assert_eq!(at(0x1fff), ((true, false, false), 65528));
    }

    #[test]
    fn l08_source_routes_are_seen_and_other_options_are_not_taken_for_them() {
        let with = |options: [u8; 4]| {
            let mut p = packet();
            p[0] = 0x46;
            p[20..].copy_from_slice(&options);
            Ipv4::new(&p).unwrap().has_source_route()
        };
        assert_eq!(with([131, 3, 4, 0]), Ok(true));
        assert_eq!(with([1, 137, 3, 4]), Ok(true));
        assert_eq!(with([7, 3, 4, 0]), Ok(false));
        assert_eq!(with([0, 131, 3, 4]), Ok(false));
        assert_eq!(with([131, 9, 4, 0]), Err(PacketError::Options));
    }

    proptest! {
        #[test]
        fn payload_and_header_make_the_total_length(bytes in proptest::collection::vec(any::<u8>(), 0..90), ihl in 0u8..16, total in 0u16..100) {
            let mut bytes = bytes;
            if let Some(fixed) = bytes.first_chunk_mut::<4>() {
                fixed[0] = 0x40 | ihl;
                fixed[2..].copy_from_slice(&total.to_be_bytes());
            }
            if let Ok(view) = Ipv4::new(&bytes) {
                prop_assert_eq!(view.len() + view.payload().len(), view.total_len());
                prop_assert!(view.total_len() <= bytes.len());
            }
        }
    }
}
