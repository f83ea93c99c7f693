//! IPv6 (RFC 8200).

use core::net::Ipv6Addr;
use core::ops::Range;

use sekisho_types::IpProtocol;

use crate::bytes::{be16, be32, put16, put32};
use crate::checksum::Sum;
use crate::error::PacketError;

pub(crate) const VERSION_CLASS_LABEL: Range<usize> = 0..4;
const PAYLOAD_LENGTH: Range<usize> = 4..6;
pub(crate) const NEXT_HEADER: usize = 6;
pub(crate) const HOP_LIMIT: usize = 7;
pub(crate) const SRC: Range<usize> = 8..24;
pub(crate) const DST: Range<usize> = 24..40;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
/// The routing header that lets the sender choose the way (RFC 5095).
const SOURCE_ROUTE: u8 = 0;

/// Length of the fixed header in bytes.
pub const HEADER_LEN: usize = 40;
/// How many extension headers are walked before a packet is refused.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// A packet, read. Getters never panic after [`Ipv6::new`].
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

/// Where the extension headers end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer<'a> {
    /// What follows the extension headers.
    pub protocol: IpProtocol,
    /// The bytes that follow them.
    pub payload: &'a [u8],
    /// Length of the fixed and all extension headers, in bytes.
    pub offset: usize,
    /// The fragment header, if there is one.
    pub fragment: Option<Ipv6Fragment>,
    /// Whether there is a routing header.
    pub has_routing_header: bool,
    /// Whether one of them is of type 0, a source route (RFC 5095).
    pub has_source_route: bool,
}

/// A fragment header (RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Fragment {
    /// Where the payload stands in the unfragmented one, in bytes.
    pub offset: usize,
    /// Whether more follow.
    pub more_fragments: bool,
    /// Names the packet the fragment belongs to.
    pub identification: u32,
}

impl<'a> Ipv6<'a> {
    /// The packet at the start of `bytes`; what follows its payload length is cut off.
    ///
    /// # Errors
    /// [`PacketError::Ipv6Truncated`], [`PacketError::Ipv6Version`],
    /// [`PacketError::Ipv6PayloadLength`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(PacketError::Ipv6Truncated)?;
        if header[0] >> 4 != 6 {
            return Err(PacketError::Ipv6Version);
        }
        let payload = rest
            .get(..usize::from(be16(header, PAYLOAD_LENGTH)))
            .ok_or(PacketError::Ipv6PayloadLength)?;
        Ok(Self { header, payload })
    }

    /// Traffic class: DSCP and ECN.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (be32(self.header, VERSION_CLASS_LABEL) >> 20) as u8
    }

    /// The flow label, 20 bits.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        be32(self.header, VERSION_CLASS_LABEL) & 0x000f_ffff
    }

    /// The number of the header that follows.
    #[inline]
    pub fn next_header(&self) -> IpProtocol {
        IpProtocol(self.header[NEXT_HEADER])
    }

    /// Hops left.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        self.header[HOP_LIMIT]
    }

    /// The source.
    #[inline]
    pub fn src(&self) -> Ipv6Addr {
        address(self.header, SRC)
    }

    /// The destination.
    #[inline]
    pub fn dst(&self) -> Ipv6Addr {
        address(self.header, DST)
    }

    /// What follows the fixed header, extension headers included.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The pseudo header sum of an upper-layer checksum over `length` bytes.
    #[inline]
    pub fn pseudo_header(&self, protocol: IpProtocol, length: u32) -> Sum {
        Sum::pseudo_v6(self.src(), self.dst(), protocol, length)
    }

    /// Walks the extension headers. The walk ends behind the header of a later fragment, where
    /// anything may follow, and before an encrypted payload.
    ///
    /// # Errors
    /// [`PacketError::Ipv6ExtensionTruncated`]; [`PacketError::Ipv6ExtensionCount`] beyond
    /// [`MAX_EXTENSION_HEADERS`].
    pub fn upper_layer(&self) -> Result<UpperLayer<'a>, PacketError> {
        let mut next = self.next_header();
        let mut rest = self.payload;
        let mut fragment = None;
        let mut has_routing_header = false;
        let mut has_source_route = false;
        for _ in 0..=MAX_EXTENSION_HEADERS {
            let later_fragment = fragment.is_some_and(|f: Ipv6Fragment| f.offset != 0);
            if later_fragment || !is_extension(next) {
                return Ok(UpperLayer {
                    protocol: next,
                    payload: rest,
                    offset: HEADER_LEN + self.payload.len() - rest.len(),
                    fragment,
                    has_routing_header,
                    has_source_route,
                });
            }
            let start: &[u8; 8] = rest
                .first_chunk()
                .ok_or(PacketError::Ipv6ExtensionTruncated)?;
            let length = match next.0 {
                FRAGMENT => {
                    fragment = Some(Ipv6Fragment {
                        offset: usize::from(be16(start, 2..4) & 0xfff8),
                        more_fragments: start[3] & 1 != 0,
                        identification: be32(start, 4..8),
                    });
                    8
                }
                AUTHENTICATION => (usize::from(start[1]) + 2) * 4,
                _ => (usize::from(start[1]) + 1) * 8,
            };
            has_routing_header |= next.0 == ROUTING;
            has_source_route |= next.0 == ROUTING && start[2] == SOURCE_ROUTE;
            next = IpProtocol(start[0]);
            rest = rest
                .get(length..)
                .ok_or(PacketError::Ipv6ExtensionTruncated)?;
        }
        Err(PacketError::Ipv6ExtensionCount)
    }
}

/// A fixed header to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Fields {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Length of what follows, in bytes.
    pub payload_len: u16,
    /// What follows.
    pub next_header: IpProtocol,
    /// Hops left.
    pub hop_limit: u8,
    /// The source.
    pub src: Ipv6Addr,
    /// The destination.
    pub dst: Ipv6Addr,
}

impl Ipv6Fields {
    /// Writes the header, with a flow label of 0.
    pub fn write(&self, out: &mut [u8; HEADER_LEN]) {
        put32(
            out,
            VERSION_CLASS_LABEL,
            6 << 28 | u32::from(self.traffic_class) << 20,
        );
        put16(out, PAYLOAD_LENGTH, self.payload_len);
        out[NEXT_HEADER] = self.next_header.0;
        out[HOP_LIMIT] = self.hop_limit;
        out[SRC].copy_from_slice(&self.src.octets());
        out[DST].copy_from_slice(&self.dst.octets());
    }
}

const fn is_extension(protocol: IpProtocol) -> bool {
    matches!(
        protocol.0,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS
    )
}

fn address(header: &[u8; HEADER_LEN], field: Range<usize>) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&header[field]);
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[..4].copy_from_slice(&[0x6b, 0x81, 0x23, 0x45]);
        bytes[5] = payload.len() as u8;
        bytes[NEXT_HEADER] = next;
        bytes[HOP_LIMIT] = 64;
        bytes[23] = 1;
        bytes[39] = 2;
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn fixed_fields_are_read_and_trailing_bytes_cut_off() {
        let bytes = [packet(17, b"12345678"), vec![0xaa; 6]].concat();
        let view = Ipv6::new(&bytes).unwrap();
        assert_eq!((view.traffic_class(), view.flow_label()), (0xb8, 0x1_2345));
        assert_eq!((view.hop_limit(), view.payload().len()), (64, 8));
        assert_eq!(view.src(), "::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(view.dst(), "::2".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn a_written_header_is_read_again() {
        let fields = Ipv6Fields {
            traffic_class: 0xb9,
            payload_len: 0,
            next_header: IpProtocol::UDP,
            hop_limit: 7,
            src: "2001:db8::1".parse().unwrap(),
            dst: "ff02::2".parse().unwrap(),
        };
        let mut bytes = [0xff; HEADER_LEN];
        fields.write(&mut bytes);
        let view = Ipv6::new(&bytes).unwrap();
        assert_eq!((view.traffic_class(), view.flow_label()), (0xb9, 0));
        assert_eq!((view.src(), view.dst()), (fields.src, fields.dst));
        assert_eq!((view.next_header(), view.hop_limit()), (IpProtocol::UDP, 7));
    }

    #[test]
    fn only_a_routing_header_of_type_0_is_a_source_route() {
        for (kind, expected) in [(0, true), (2, false), (4, false)] {
            let bytes = packet(ROUTING, &[17, 0, kind, 1, 0, 0, 0, 0]);
            let upper = Ipv6::new(&bytes).unwrap().upper_layer().unwrap();
            assert_eq!(upper.has_source_route, expected, "type {kind}");
        }
    }

    #[test]
    fn impossible_fixed_headers_are_refused() {
        let refusal = |bytes: &[u8]| Ipv6::new(bytes).unwrap_err();
        let bytes = packet(17, &[]);
        assert_eq!(refusal(&bytes[..39]), PacketError::Ipv6Truncated);
        let mut v4 = bytes.clone();
        v4[0] = 0x45;
        assert_eq!(refusal(&v4), PacketError::Ipv6Version);
        let mut long = bytes;
        long[5] = 1;
        assert_eq!(refusal(&long), PacketError::Ipv6PayloadLength);
    }

    #[test]
    fn extension_headers_are_walked_to_the_upper_layer() {
        let payload = [
            [ROUTING, 0, 0, 0, 0, 0, 0, 0].as_slice(),
            &[FRAGMENT, 0, 0, 0, 0, 0, 0, 0],
            &[6, 0, 0, 1, 1, 2, 3, 4],
            b"tcp",
        ]
        .concat();
        let bytes = packet(HOP_BY_HOP, &payload);
        let upper = Ipv6::new(&bytes).unwrap().upper_layer().unwrap();
        assert_eq!(upper.protocol, IpProtocol::TCP);
        assert_eq!((upper.payload, upper.offset), (b"tcp".as_slice(), 64));
        assert!(upper.has_routing_header && upper.has_source_route);
        let fragment = upper.fragment.unwrap();
        assert!(fragment.more_fragments && fragment.offset == 0);
        assert_eq!(fragment.identification, 0x0102_0304);
    }

    #[test]
    fn what_follows_a_later_fragment_is_not_taken_for_headers() {
        let bytes = packet(FRAGMENT, &[HOP_BY_HOP, 0, 0, 8, 0, 0, 0, 0, 60, 255]);
        let upper = Ipv6::new(&bytes).unwrap().upper_layer().unwrap();
        assert_eq!(upper.fragment.unwrap().offset, 8);
        assert_eq!(upper.payload, [60, 255]);
    }

    #[test]
    fn endless_and_truncated_chains_are_refused() {
        let chain = |count: usize| {
            let mut payload = [60, 0, 0, 0, 0, 0, 0, 0].repeat(count);
            payload[count * 8 - 8] = 17;
            packet(60, &payload)
        };
        let walk = |bytes: &[u8]| {
            let upper = Ipv6::new(bytes).unwrap().upper_layer();
            upper.map(|upper| upper.protocol)
        };
        assert_eq!(walk(&chain(MAX_EXTENSION_HEADERS)), Ok(IpProtocol::UDP));
        let too_many = chain(MAX_EXTENSION_HEADERS + 1);
        assert_eq!(walk(&too_many), Err(PacketError::Ipv6ExtensionCount));
        for short in [&[17, 1, 0, 0, 0, 0, 0, 0][..], &[17, 0, 0]] {
            let short = packet(60, short);
            assert_eq!(walk(&short), Err(PacketError::Ipv6ExtensionTruncated));
        }
    }
}
