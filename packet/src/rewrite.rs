//! Changes to an IPv4 packet that keep every checksum right, incrementally (RFC 1624): a packet
//! that arrived damaged leaves damaged.

use core::net::Ipv4Addr;
use core::ops::Range;

use sekisho_types::IpProtocol;

use crate::bytes::{be16, ipv4, put16, put32};
use crate::checksum::Delta;
use crate::error::PacketError;
use crate::flow::UDP_LITE;
use crate::icmpv4::{self, Icmpv4};
use crate::ipv4::{self, Ipv4, Ipv4Header};
use crate::{tcp, udp};

/// What a change of address or port touches behind the IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Ports, and a checksum over the pseudo header.
    Tcp,
    /// Ports, and a checksum over the pseudo header unless it is 0. UDP-Lite (RFC 3828) is alike.
    Udp,
    /// An identifier instead of ports, and a checksum without pseudo header.
    IcmpEcho,
    /// Nothing: another protocol or message, or a later fragment.
    None,
}

impl Transport {
    const fn port(self, side: Side) -> Option<Range<usize>> {
        match (self, side) {
            (Self::Tcp, Side::Source) => Some(tcp::SRC_PORT),
            (Self::Tcp, Side::Destination) => Some(tcp::DST_PORT),
            (Self::Udp, Side::Source) => Some(udp::SRC_PORT),
            (Self::Udp, Side::Destination) => Some(udp::DST_PORT),
            (Self::IcmpEcho, _) => Some(icmpv4::IDENTIFIER),
            (Self::None, _) => None,
        }
    }

    const fn checksum(self) -> Option<Range<usize>> {
        match self {
            Self::Tcp => Some(tcp::CHECKSUM),
            Self::Udp => Some(udp::CHECKSUM),
            Self::IcmpEcho => Some(icmpv4::CHECKSUM),
            Self::None => None,
        }
    }
}

/// Where the L4 header of an IPv4 packet is, and what it is: found once, used by every rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Length of the IPv4 header in bytes.
    pub l4_offset: usize,
    /// What stands there.
    pub transport: Transport,
}

impl Layout {
    /// The layout of a packet.
    #[inline]
    pub fn of(packet: &Ipv4<'_>) -> Self {
        Self::of_header(packet, packet.payload())
    }

    fn of_header(header: &Ipv4Header<'_>, payload: &[u8]) -> Self {
        let transport = match header.protocol() {
            _ if !header.has_l4_header() => Transport::None,
            IpProtocol::TCP => Transport::Tcp,
            IpProtocol::UDP | UDP_LITE => Transport::Udp,
            IpProtocol::ICMP => match Icmpv4::new(payload) {
                Ok(icmp) if icmp.message_type().is_echo() => Transport::IcmpEcho,
                _ => Transport::None,
            },
            _ => Transport::None,
        };
        Self {
            l4_offset: header.len(),
            transport,
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

/// Replaces the source address of `packet`, and its source port or ICMP identifier if `port` is
/// given, with the IPv4 and L4 checksums.
///
/// # Errors
/// [`PacketError::Ipv4Truncated`]; [`PacketError::NoTransport`] when the L4 header ends before its
/// checksum, or when a port is to be set where none is. The packet is then unchanged.
#[inline]
pub fn source(
    packet: &mut [u8],
    layout: Layout,
    addr: Ipv4Addr,
    port: Option<u16>,
) -> Result<(), PacketError> {
    replace(packet, layout, Side::Source, addr, port, false).map(drop)
}

/// Replaces the destination address of `packet`, and its destination port or ICMP identifier if
/// `port` is given, with the IPv4 and L4 checksums.
///
/// # Errors
/// As [`source`].
#[inline]
pub fn destination(
    packet: &mut [u8],
    layout: Layout,
    addr: Ipv4Addr,
    port: Option<u16>,
) -> Result<(), PacketError> {
    replace(packet, layout, Side::Destination, addr, port, false).map(drop)
}

/// Replaces source address and port of the packet embedded in the ICMP error `packet`: what an
/// error from outside needs (RFC 5508 section 4.2). The embedded checksums follow where they are
/// quoted, and so does the ICMP checksum. The outer addresses are [`source`]'s and
/// [`destination`]'s to change.
///
/// # Errors
/// `packet` is no whole ICMP error, its embedded header is malformed, or
/// [`PacketError::EmbeddedTruncated`] when a port is to be set that is not quoted. The packet is
/// then unchanged.
#[inline]
pub fn embedded_source(
    packet: &mut [u8],
    addr: Ipv4Addr,
    port: Option<u16>,
) -> Result<(), PacketError> {
    replace_embedded(packet, Side::Source, addr, port)
}

/// Replaces destination address and port of the packet embedded in the ICMP error `packet`: what
/// an error from inside needs (RFC 5508 section 4.2).
///
/// # Errors
/// As [`embedded_source`].
#[inline]
pub fn embedded_destination(
    packet: &mut [u8],
    addr: Ipv4Addr,
    port: Option<u16>,
) -> Result<(), PacketError> {
    replace_embedded(packet, Side::Destination, addr, port)
}

/// Takes one from the time to live, with the header checksum, and returns what is left.
///
/// # Errors
/// [`PacketError::TtlExpired`] when it is 0 or 1, [`PacketError::Ipv4Truncated`]. The packet is
/// then unchanged.
#[inline]
pub fn decrement_ttl(packet: &mut [u8]) -> Result<u8, PacketError> {
    let header = fixed_header(packet)?;
    match header[ipv4::TTL] {
        0 | 1 => Err(PacketError::TtlExpired),
        ttl => {
            put_byte(header, ipv4::TTL, ttl - 1);
            Ok(ttl - 1)
        }
    }
}

/// Sets the type of service, with the header checksum.
///
/// # Errors
/// [`PacketError::Ipv4Truncated`].
#[inline]
pub fn set_tos(packet: &mut [u8], tos: u8) -> Result<(), PacketError> {
    put_byte(fixed_header(packet)?, ipv4::TOS, tos);
    Ok(())
}

/// Sets the identification, with the header checksum.
///
/// # Errors
/// [`PacketError::Ipv4Truncated`].
pub fn set_identification(packet: &mut [u8], identification: u16) -> Result<(), PacketError> {
    let header = fixed_header(packet)?;
    let delta = Delta::new().u16(be16(header, ipv4::IDENTIFICATION), identification);
    put16(header, ipv4::IDENTIFICATION, identification);
    let checksum = delta.apply(be16(header, ipv4::CHECKSUM));
    put16(header, ipv4::CHECKSUM, checksum);
    Ok(())
}

type FixedHeader = [u8; ipv4::MIN_HEADER_LEN];

fn fixed_header(packet: &mut [u8]) -> Result<&mut FixedHeader, PacketError> {
    packet.first_chunk_mut().ok_or(PacketError::Ipv4Truncated)
}

pub(crate) fn put_byte(header: &mut FixedHeader, at: usize, value: u8) {
    let word = at & !1..(at & !1) + 2;
    let old = be16(header, word.clone());
    header[at] = value;
    let delta = Delta::new().u16(old, be16(header, word));
    put16(
        header,
        ipv4::CHECKSUM,
        delta.apply(be16(header, ipv4::CHECKSUM)),
    );
}

/// Replaces one side of the packet, of which only the start may be there if it is `quoted`.
/// Returns what a checksum over the whole packet must learn.
fn replace(
    packet: &mut [u8],
    layout: Layout,
    side: Side,
    addr: Ipv4Addr,
    port: Option<u16>,
    quoted: bool,
) -> Result<Delta, PacketError> {
    let (head, rest) = packet
        .split_at_mut_checked(layout.l4_offset)
        .ok_or(PacketError::Ipv4Truncated)?;
    let header = fixed_header(head)?;
    let l4_len = usize::from(be16(header, ipv4::TOTAL_LENGTH)).saturating_sub(layout.l4_offset);
    let l4_len = l4_len.min(rest.len());
    let l4 = &mut rest[..l4_len];

    let addr_field = match side {
        Side::Source => ipv4::SRC,
        Side::Destination => ipv4::DST,
    };
    let addr_delta = Delta::new().addr(ipv4(header, addr_field.clone()), addr);

    let mut port_delta = Delta::new();
    let mut port_change = None;
    if let Some(port) = port {
        let field = layout
            .transport
            .port(side)
            .ok_or(PacketError::NoTransport)?;
        let old = get16(l4, field.clone()).ok_or(missing(quoted))?;
        port_delta = port_delta.u16(old, port);
        port_change = Some((field, port));
    }

    let l4_checksum = match layout.transport.checksum() {
        None => None,
        Some(field) => match get16(l4, field.clone()) {
            Some(old) => Some((field, old)),
            None if quoted => None,
            None => return Err(PacketError::NoTransport),
        },
    };

    // Everything is there: from here on the packet changes.
    let mut total = addr_delta.and(port_delta);
    if let Some((field, port)) = port_change {
        set16(l4, field, port);
    }
    if let Some((field, old)) = l4_checksum {
        let new = match layout.transport {
            Transport::Udp => addr_delta.and(port_delta).apply_udp(old),
            Transport::IcmpEcho => icmp_checksum(port_delta.apply(old), l4),
            Transport::Tcp | Transport::None => addr_delta.and(port_delta).apply(old),
        };
        set16(l4, field, new);
        total = total.u16(old, new);
    }
    let old = be16(header, ipv4::CHECKSUM);
    let new = addr_delta.apply(old);
    put32(header, addr_field, addr.to_bits());
    put16(header, ipv4::CHECKSUM, new);
    Ok(total.u16(old, new))
}

fn replace_embedded(
    packet: &mut [u8],
    side: Side,
    addr: Ipv4Addr,
    port: Option<u16>,
) -> Result<(), PacketError> {
    let outer = Ipv4::new(packet)?;
    if outer.protocol() != IpProtocol::ICMP || !outer.has_l4_header() {
        return Err(PacketError::IcmpNotError);
    }
    let icmp = Icmpv4::new(outer.payload())?;
    let embedded = icmp.embedded()?;
    let layout = Layout::of_header(&embedded, embedded.payload());
    let checksum = icmp.checksum();
    let message = outer.len()..outer.total_len();

    let message = &mut packet[message];
    let delta = replace(
        &mut message[icmpv4::HEADER_LEN..],
        layout,
        side,
        addr,
        port,
        true,
    )?;
    set16(message, icmpv4::CHECKSUM, delta.apply(checksum));
    Ok(())
}

/// The checksum of an ICMP message after an incremental change gave `checksum`.
///
/// Zeros alone, as in an echo reply with identifier, sequence number and data 0, sum to 0, whose
/// checksum is `0xffff`; the incremental result cannot tell that from 0, which does not verify.
pub(crate) fn icmp_checksum(checksum: u16, message: &[u8]) -> u16 {
    let field = icmpv4::CHECKSUM;
    let mut rest = message.iter().enumerate();
    if checksum == 0 && rest.all(|(at, byte)| *byte == 0 || field.contains(&at)) {
        0xffff
    } else {
        checksum
    }
}

const fn missing(quoted: bool) -> PacketError {
    if quoted {
        PacketError::EmbeddedTruncated
    } else {
        PacketError::NoTransport
    }
}

fn get16(bytes: &[u8], field: Range<usize>) -> Option<u16> {
    let bytes = bytes.get(field)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes))
}

fn set16(bytes: &mut [u8], field: Range<usize>, value: u16) {
    if let Some(bytes) = bytes.get_mut(field) {
        bytes.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
