//! What the engine is told of a packet.

use std::net::{Ipv4Addr, SocketAddrV4};

use sekisho_types::{IpProtocol, VrfId};

use crate::tcp::select;

/// The addresses and ports of an IPv4 packet as it arrived.
///
/// An ICMP query has no ports but an identifier, which stands for the port of the side the engine
/// translates (RFC 5508 section 3.1): `src.port()` of what goes outbound, `dst.port()` of what comes
/// inbound. A parser that does not know the direction puts it into both: the other is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Source address and port.
    pub src: SocketAddrV4,
    /// Destination address and port.
    pub dst: SocketAddrV4,
    /// The transport protocol.
    pub protocol: IpProtocol,
}

impl FlowKey {
    /// The key of the packets that answer.
    pub const fn reversed(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            protocol: self.protocol,
        }
    }
}

/// The same of a TCP or UDP packet, in words as a little-endian load takes them from the packet: no
/// octet is moved between there and the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireFlow {
    /// The four octets of the source address.
    pub src: u32,
    /// The four octets of the destination address.
    pub dst: u32,
    /// The first four octets behind the IP header: the source port, then the destination port.
    pub ports: u32,
    /// 6 or 17.
    pub protocol: u8,
}

/// What TCP tracking needs of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSegment {
    /// The flags octet: FIN 1, SYN 2, RST 4, ACK 16 (RFC 9293 section 3.1).
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; meaningful with ACK.
    pub ack: u32,
    /// Octets of payload.
    pub len: u16,
}

impl TcpSegment {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset the connection.
    pub const RST: u8 = 4;
    /// The acknowledgment number is valid.
    pub const ACK: u8 = 16;

    /// Whether it has the flag.
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether it opens a connection: SYN without ACK, RST or FIN.
    pub const fn opens(&self) -> bool {
        self.flags & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }
}

/// A protocol the engine keeps sessions of. Each has its own space of ports (or identifiers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    Tcp,
    Udp,
    Icmp,
}

impl Transport {
    /// How many there are.
    pub(crate) const COUNT: usize = 3;

    /// All of them, in order of [`Self::index`].
    pub(crate) const ALL: [Self; Self::COUNT] = [Self::Tcp, Self::Udp, Self::Icmp];

    pub(crate) const fn of(protocol: IpProtocol) -> Option<Self> {
        match protocol {
            IpProtocol::TCP => Some(Self::Tcp),
            IpProtocol::UDP => Some(Self::Udp),
            IpProtocol::ICMP => Some(Self::Icmp),
            _ => None,
        }
    }

    pub(crate) const fn protocol(self) -> IpProtocol {
        match self {
            Self::Tcp => IpProtocol::TCP,
            Self::Udp => IpProtocol::UDP,
            Self::Icmp => IpProtocol::ICMP,
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// An address and a port with the VRF they are meant in, packed into one word for comparing: 32 bits
/// of address, 16 of port, both in the order of their octets in a packet, 16 of something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    /// An inside address and port.
    pub(crate) fn inside(vrf: VrfId, tuple: SocketAddrV4) -> Self {
        Self::pack(tuple, vrf.value())
    }

    /// An outside address and port.
    pub(crate) fn outside(tuple: SocketAddrV4) -> Self {
        Self::pack(tuple, 0)
    }

    /// The remote side of a session, with the protocol. ICMP has no remote port.
    #[inline(always)]
    pub(crate) fn peer(tuple: SocketAddrV4, protocol: IpProtocol) -> Self {
        let word = Self::pack(tuple, u16::from(protocol.0));
        let is_icmp = protocol == IpProtocol::ICMP;
        Self(select(is_icmp, word.without_port().0, word.0))
    }

    /// [`Self::inside`] of the source of a packet.
    #[inline(always)]
    pub(crate) fn wire_inside(vrf: VrfId, flow: &WireFlow) -> Self {
        Self::pack_wire(flow.src, flow.ports << 16, vrf.value())
    }

    /// [`Self::outside`] of the destination of a packet.
    #[inline(always)]
    pub(crate) fn wire_outside(flow: &WireFlow) -> Self {
        Self::pack_wire(flow.dst, flow.ports & 0xffff_0000, 0)
    }

    /// [`Self::peer`] of the destination of a packet.
    #[inline(always)]
    pub(crate) fn wire_peer_out(flow: &WireFlow) -> Self {
        let port = flow.ports & 0xffff_0000;
        Self::pack_wire(flow.dst, port, flow.protocol.into())
    }

    /// [`Self::peer`] of the source of a packet.
    #[inline(always)]
    pub(crate) fn wire_peer_in(flow: &WireFlow) -> Self {
        Self::pack_wire(flow.src, flow.ports << 16, flow.protocol.into())
    }

    /// [`Self::outside`] by the address as a little-endian load takes it from a packet.
    #[inline(always)]
    pub(crate) fn outside_at(address_wire: u32, port: u16) -> Self {
        Self::pack_wire(address_wire, u32::from(port.swap_bytes()) << 16, 0)
    }

    /// The same address, VRF or protocol with another port, likewise.
    #[inline(always)]
    pub(crate) const fn with_port_wire(self, port_wire: u16) -> Self {
        Self(self.without_port().0 | (port_wire as u64) << 16)
    }

    fn pack(tuple: SocketAddrV4, low: u16) -> Self {
        let port = u32::from(tuple.port().swap_bytes()) << 16;
        Self::pack_wire(u32::from(*tuple.ip()).swap_bytes(), port, low)
    }

    /// The port is in the upper half of its word.
    #[inline(always)]
    fn pack_wire(address: u32, port: u32, low: u16) -> Self {
        Self(u64::from(address) << 32 | u64::from(port) | u64::from(low))
    }

    /// The same with the port zero: what address-dependent filtering compares.
    pub(crate) const fn without_port(self) -> Self {
        Self(self.0 & !0xffff_0000)
    }

    pub(crate) fn tuple(self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(), self.port())
    }

    /// The address as a number.
    #[inline(always)]
    pub(crate) const fn address_bits(self) -> u32 {
        self.address_wire().swap_bytes()
    }

    /// The address as a little-endian load takes it from a packet.
    #[inline(always)]
    pub(crate) const fn address_wire(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn address(self) -> Ipv4Addr {
        Ipv4Addr::from(self.address_bits())
    }

    pub(crate) const fn port(self) -> u16 {
        self.port_wire().swap_bytes()
    }

    /// The port as a little-endian load takes it from a packet.
    #[inline(always)]
    pub(crate) const fn port_wire(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The VRF of an inside word.
    pub(crate) const fn vrf(self) -> VrfId {
        VrfId::new(self.0 as u16)
    }

    /// The transport of a peer word; `None` of the zero word.
    pub(crate) const fn transport(self) -> Option<Transport> {
        Transport::of(IpProtocol(self.0 as u8))
    }
}
