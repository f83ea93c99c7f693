//! A packet on its way: the buffer, what its headers say, and what is to be done to it.

use std::net::Ipv4Addr;

use sekisho_dpdk::Mbuf;
use sekisho_nat::TcpSegment;
use sekisho_packet::{FlowKey, Icmpv4, Icmpv4Type, Ipv4, PacketError, Tcp, udp};
use sekisho_types::{InterfaceId, IpProtocol, SegmentId, VrfId};

use crate::drops::DropReason;

/// A packet on its way through a worker. The buffer starts with the IP header.
#[derive(Debug)]
pub struct Packet {
    /// The bytes.
    pub mbuf: Mbuf,
    /// Where it came from.
    pub origin: Origin,
    /// The table its destination is looked up in next.
    pub vrf: VrfId,
    /// What its headers say.
    pub header: Header,
    /// What is to be changed before it leaves. The bytes stay as they came until then, so that an
    /// ICMP error quotes what the sender sent.
    pub rewrite: Rewrite,
    /// How it leaves its tenant's VRF, once it does.
    pub leaving: Option<Leaving>,
    /// How often it changed workers.
    pub hops: u8,
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An uplink.
    Uplink(InterfaceId),
    /// A tenant's segment.
    Segment(SegmentId),
    /// A tenant's packet, already translated, that is for another outside address of ours.
    Hairpin,
    /// The kernel's sockets.
    Host,
    /// This gateway: an ICMP error or an echo reply.
    Gateway,
}

/// How a tenant's packet leaves its VRF for the provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// The tenant's VRF.
    pub vrf: VrfId,
    /// What becomes of its source.
    pub scope: Scope,
}

/// What becomes of a tenant's source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It stays.
    Routed,
    /// It becomes a floating IP, without state.
    Floating(Ipv4Addr),
    /// It is translated with state, by the worker that owns the inside address.
    Stateful,
}

/// What is to be changed before the packet leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rewrite {
    /// Nothing.
    #[default]
    None,
    /// The source; `None` leaves the port.
    Source(Ipv4Addr, Option<u16>),
    /// The destination; `None` leaves the port.
    Destination(Ipv4Addr, Option<u16>),
    /// The source of an ICMP error, and the destination of the packet it quotes.
    ErrorSource(Ipv4Addr, Option<u16>),
    /// The destination of an ICMP error, and the source of the packet it quotes.
    ErrorDestination(Ipv4Addr, Option<u16>),
}

/// What the headers of an IPv4 packet say, read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Addresses, ports and protocol; ports are 0 where there are none.
    pub flow: FlowKey,
    /// Length of the packet, in octets.
    pub total_len: u16,
    /// Length of the IP header, in octets.
    pub len: u8,
    /// Time to live.
    pub ttl: u8,
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// The packet must not be fragmented.
    pub dont_fragment: bool,
    /// What follows the IP header.
    pub payload: Payload,
}

/// What follows the IP header, as far as forwarding cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A TCP segment.
    Tcp(TcpSegment),
    /// A UDP datagram.
    Udp,
    /// An ICMP echo request.
    EchoRequest,
    /// An ICMP echo reply.
    EchoReply,
    /// An ICMP error about the flow, as its sender sent it; `None` if the quote does not tell.
    IcmpError(Option<FlowKey>),
    /// Another protocol, or another ICMP message.
    Other,
    /// A fragment of a packet whose ports are not known, or not needed; the first included.
    Fragment {
        /// It has the transport header.
        first: bool,
    },
    /// A later fragment; the flow has the ports of the first.
    Later,
}

impl Header {
    /// Reads and checks the headers (RFC 1812 section 5.2.2).
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let ip = Ipv4::new(bytes).map_err(|_| DropReason::MalformedIpv4)?;
        if !ip.is_intact() {
            return Err(DropReason::MalformedIpv4);
        }
        if ip.has_options() && !matches!(ip.has_source_route(), Ok(false)) {
            return Err(DropReason::SourceRoute);
        }
        let payload = Payload::parse(&ip).map_err(|_| DropReason::MalformedTransport)?;
        let flow = match payload {
            Payload::Fragment { first: false } => FlowKey::without_ports(&ip),
            _ => FlowKey::with_ports(&ip).map_err(|_| DropReason::MalformedTransport)?,
        };
        Ok(Self {
            flow,
            total_len: ip.total_len() as u16,
            len: ip.len() as u8,
            ttl: ip.ttl(),
            tos: ip.tos(),
            dont_fragment: ip.dont_fragment(),
            payload,
        })
    }

    /// The flow without ports where fragments lack them, so that all of a packet go one way.
    pub fn path_flow(&self) -> FlowKey {
        match self.payload {
            Payload::Fragment { .. } => FlowKey {
                sport: 0,
                dport: 0,
                ..self.flow
            },
            _ => self.flow,
        }
    }

    /// Whether the packet opens a TCP connection.
    pub fn opens(&self) -> bool {
        matches!(self.payload, Payload::Tcp(segment) if segment.opens())
    }

    /// Whether the packet is an ICMP error.
    pub fn is_icmp_error(&self) -> bool {
        matches!(self.payload, Payload::IcmpError(_))
    }
}

impl Payload {
    fn parse(ip: &Ipv4<'_>) -> Result<Self, PacketError> {
        if ip.is_fragment() {
            return Ok(Self::Fragment {
                first: ip.has_l4_header(),
            });
        }
        match ip.protocol() {
            IpProtocol::TCP => Self::tcp(ip),
            IpProtocol::UDP => sekisho_packet::Udp::new(ip.payload()).map(|_| Self::Udp),
            IpProtocol::ICMP => {
                let icmp = Icmpv4::new(ip.payload())?;
                Ok(match icmp.message_type() {
                    Icmpv4Type::ECHO_REQUEST => Self::EchoRequest,
                    Icmpv4Type::ECHO_REPLY => Self::EchoReply,
                    // It names a router of its own link; there is nothing to translate it to.
                    Icmpv4Type::REDIRECT => Self::IcmpError(None),
                    kind if kind.is_error() => {
                        let quoted = icmp.embedded().and_then(|quote| quote.flow_key());
                        Self::IcmpError(quoted.ok())
                    }
                    _ => Self::Other,
                })
            }
            _ => Ok(Self::Other),
        }
    }

    fn tcp(ip: &Ipv4<'_>) -> Result<Self, PacketError> {
        let tcp = Tcp::new(ip.payload())?;
        Ok(Self::Tcp(TcpSegment {
            flags: tcp.flags().0,
            seq: tcp.sequence(),
            ack: tcp.acknowledgement(),
            len: tcp.payload().len() as u16,
        }))
    }

    /// What a first fragment is the start of; an error if it has not the whole L4 header.
    pub(super) fn of_first_fragment(ip: &Ipv4<'_>) -> Result<Self, PacketError> {
        match ip.protocol() {
            IpProtocol::TCP => Self::tcp(ip),
            IpProtocol::UDP if ip.payload().len() < udp::HEADER_LEN => {
                Err(PacketError::UdpTruncated)
            }
            IpProtocol::UDP => Ok(Self::Udp),
            IpProtocol::ICMP => Ok(match Icmpv4::new(ip.payload())?.message_type() {
                Icmpv4Type::ECHO_REQUEST => Self::EchoRequest,
                Icmpv4Type::ECHO_REPLY => Self::EchoReply,
                _ => Self::Other,
            }),
            _ => Ok(Self::Other),
        }
    }
}

impl Packet {
    /// A packet whose buffer starts with its IP header.
    #[inline]
    pub fn new(mut mbuf: Mbuf, origin: Origin, vrf: VrfId) -> Result<Self, (Mbuf, DropReason)> {
        if !mbuf.is_contiguous() && mbuf.linearize().is_err() {
            return Err((mbuf, DropReason::BufferShape));
        }
        let header = match Header::parse(mbuf.data()) {
            Ok(header) => header,
            Err(reason) => return Err((mbuf, reason)),
        };
        let padding = mbuf.data().len() - usize::from(header.total_len);
        if padding > 0 {
            mbuf.trim_back(padding);
        }
        Ok(Self {
            mbuf,
            origin,
            vrf,
            header,
            rewrite: Rewrite::None,
            leaving: None,
            hops: 0,
        })
    }

    /// Where it goes, after what is to be changed.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        match self.rewrite {
            Rewrite::Destination(address, _) | Rewrite::ErrorDestination(address, _) => address,
            Rewrite::None | Rewrite::Source(..) | Rewrite::ErrorSource(..) => self.header.flow.dst,
        }
    }

    /// Whether the time to live ends here. What the gateway itself sends is not a hop further.
    #[inline]
    pub fn expires(&self) -> bool {
        self.header.ttl <= 1 && self.is_forwarded()
    }

    /// Whether the gateway is a hop on its way.
    #[inline]
    pub fn is_forwarded(&self) -> bool {
        !matches!(self.origin, Origin::Host | Origin::Gateway)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: [u8; 28] = [
        0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 8, 0, 0xf6, 0xff, 1,
        0, 0, 0,
    ];

    fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
        let header_len = usize::from(bytes[0] & 15) * 4;
        bytes[10..12].fill(0);
        let sum = sekisho_packet::checksum::checksum(&bytes[..header_len]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    #[test]
    fn an_echo_request_is_recognised_with_its_identifier() {
        let header = Header::parse(&with_checksum(PING.to_vec())).unwrap();
        assert_eq!(header.payload, Payload::EchoRequest);
        assert_eq!((header.flow.sport, header.flow.dport), (0x100, 0));
        assert!(header.dont_fragment);
    }

    #[test]
    fn l02_a_bad_checksum_or_length_is_refused() {
        let mut bytes = with_checksum(PING.to_vec());
        bytes[8] = 63;
        assert_eq!(Header::parse(&bytes), Err(DropReason::MalformedIpv4));
        let mut bytes = PING.to_vec();
        bytes[3] = 29;
        assert_eq!(
            Header::parse(&with_checksum(bytes)),
            Err(DropReason::MalformedIpv4)
        );
    }

    #[test]
    fn l08_a_source_route_is_refused() {
        let mut bytes = vec![
            0x46, 0, 0, 32, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        bytes.extend([131, 3, 4, 0]);
        bytes.extend(&PING[20..]);
        assert_eq!(
            Header::parse(&with_checksum(bytes)),
            Err(DropReason::SourceRoute)
        );
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut bytes = PING.to_vec();
        bytes[6..8].copy_from_slice(&[0, 3]);
        let header = Header::parse(&with_checksum(bytes)).unwrap();
        assert_eq!(header.payload, Payload::Fragment { first: false });
        assert_eq!(header.flow.sport, 0);
    }
}
