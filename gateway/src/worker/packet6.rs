//! An IPv6 packet on its way: the buffer and what its headers say. Nothing but hop limit and
//! congestion mark is ever changed, so there is no rewrite to remember, and no state to own.

use std::net::Ipv6Addr;

use sekisho_dpdk::Mbuf;
use sekisho_packet::{FlowKey6, Icmpv6, Icmpv6Type, Ipv6, Tcp, Udp, UpperLayer, ipv6};
use sekisho_types::{IpProtocol, VrfId};

use super::packet::Origin;
use crate::drops::DropReason;

/// An IPv6 packet on its way through a worker. The buffer starts with the IP header.
#[derive(Debug)]
pub(super) struct Packet6 {
    /// The bytes.
    pub(super) mbuf: Mbuf,
    /// Where it came from.
    pub(super) origin: Origin,
    /// The table its destination is looked up in next.
    pub(super) vrf: VrfId,
    /// What its headers say.
    pub(super) header: Header6,
    /// It has left its tenant's VRF for the provider's.
    pub(super) left_tenant: bool,
}

/// What the headers of an IPv6 packet say, read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header6 {
    /// Addresses, ports and protocol.
    pub(super) flow: FlowKey6,
    /// Length of the packet, in octets.
    pub(super) total_len: usize,
    /// Hops left.
    pub(super) hop_limit: u8,
    /// Traffic class: DSCP and ECN.
    pub(super) class: u8,
    /// What follows the IP headers.
    pub(super) payload: Payload6,
}

/// What follows the IP headers, as far as forwarding cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload6 {
    /// A UDP datagram.
    Udp,
    /// An ICMPv6 echo request.
    EchoRequest,
    /// A message of neighbour discovery.
    Discovery,
    /// Anything else, a fragment included.
    Other,
}

/// Whether the bytes begin with an IPv6 header.
pub(super) fn is_ipv6(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|octet| octet >> 4 == 6)
}

impl Header6 {
    /// Reads and checks the headers (RFC 8200 section 4). The extension headers are walked, within
    /// bounds, to what they precede; options are for the destination and are not looked at.
    #[inline]
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let ip = Ipv6::new(bytes).map_err(|_| DropReason::MalformedIpv6)?;
        let upper = ip.upper_layer().map_err(|_| DropReason::MalformedIpv6)?;
        if upper.has_source_route {
            return Err(DropReason::SourceRoute);
        }
        Ok(Self {
            flow: FlowKey6::of(&ip, &upper),
            total_len: ipv6::HEADER_LEN + ip.payload().len(),
            hop_limit: ip.hop_limit(),
            class: ip.traffic_class(),
            payload: Payload6::parse(&upper)?,
        })
    }

    /// Whether it concerns this link only, or claims to: what needs routing has addresses of global
    /// scope on both sides.
    pub(super) fn is_on_link(&self) -> bool {
        let (src, dst) = (self.flow.src, self.flow.dst);
        dst.is_multicast()
            || dst.is_unicast_link_local()
            || src.is_unicast_link_local()
            || src.is_unspecified()
    }

    /// Addresses that nobody may send from or to through a router (RFC 4291 section 2, RFC 6890).
    pub(super) fn check_addresses(&self) -> Result<(), DropReason> {
        let (src, dst) = (self.flow.src, self.flow.dst);
        let nobody = |address: Ipv6Addr| {
            address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || address.to_ipv4_mapped().is_some()
        };
        if nobody(src) || src == dst {
            return Err(DropReason::MartianSource);
        }
        if nobody(dst) {
            return Err(DropReason::MartianDestination);
        }
        if src.is_unicast_link_local() || dst.is_unicast_link_local() {
            return Err(DropReason::BeyondScope);
        }
        Ok(())
    }
}

impl Payload6 {
    fn parse(upper: &UpperLayer<'_>) -> Result<Self, DropReason> {
        let malformed = |_| DropReason::MalformedTransport;
        if upper.fragment.is_some() {
            return Ok(Self::Other);
        }
        match upper.protocol {
            IpProtocol::TCP => Tcp::new(upper.payload)
                .map(|_| Self::Other)
                .map_err(malformed),
            IpProtocol::UDP => Udp::new(upper.payload)
                .map(|_| Self::Udp)
                .map_err(malformed),
            IpProtocol::ICMPV6 => {
                let icmp = Icmpv6::new(upper.payload).map_err(malformed)?;
                Ok(match icmp.message_type() {
                    Icmpv6Type::ECHO_REQUEST => Self::EchoRequest,
                    kind if kind.is_discovery() => Self::Discovery,
                    _ => Self::Other,
                })
            }
            _ => Ok(Self::Other),
        }
    }
}

impl Packet6 {
    /// A packet whose buffer starts with its IP header.
    pub(super) fn new(
        mut mbuf: Mbuf,
        origin: Origin,
        vrf: VrfId,
    ) -> Result<Self, (Mbuf, DropReason)> {
        if !mbuf.is_contiguous() && mbuf.linearize().is_err() {
            return Err((mbuf, DropReason::BufferShape));
        }
        match Header6::parse(mbuf.data()) {
            Ok(header) => Ok(Self::with_header(mbuf, header, origin, vrf)),
            Err(reason) => Err((mbuf, reason)),
        }
    }

    /// The same when the header has been read from this buffer already.
    pub(super) fn with_header(mut mbuf: Mbuf, header: Header6, origin: Origin, vrf: VrfId) -> Self {
        let padding = mbuf.data().len().saturating_sub(header.total_len);
        if padding > 0 {
            mbuf.trim_back(padding);
        }
        Self {
            mbuf,
            origin,
            vrf,
            header,
            left_tenant: false,
        }
    }

    /// Whether the hop limit ends here. What the gateway itself sends is not a hop further.
    pub(super) fn expires(&self) -> bool {
        self.header.hop_limit <= 1 && self.is_forwarded()
    }

    /// Whether the gateway is a hop on its way.
    pub(super) fn is_forwarded(&self) -> bool {
        !matches!(self.origin, Origin::Host | Origin::Gateway)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(src: &str, dst: &str, next: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; ipv6::HEADER_LEN];
        let (src, dst): (Ipv6Addr, Ipv6Addr) = (src.parse().unwrap(), dst.parse().unwrap());
        sekisho_packet::Ipv6Fields {
            traffic_class: 0,
            payload_len: payload.len() as u16,
            next_header: IpProtocol(next),
            hop_limit: 64,
            src,
            dst,
        }
        .write(bytes.first_chunk_mut().unwrap());
        bytes.extend(payload);
        bytes
    }

    fn parse(next: u8, payload: &[u8]) -> Result<Header6, DropReason> {
        Header6::parse(&packet("2001:db8::1", "2001:db8::2", next, payload))
    }

    #[test]
    fn what_follows_the_headers_is_recognised() {
        let kind = |next, payload: &[u8]| parse(next, payload).map(|header| header.payload);
        assert_eq!(
            kind(58, &[128, 0, 0, 0, 0, 1, 0, 0]),
            Ok(Payload6::EchoRequest)
        );
        assert_eq!(kind(58, &[135, 0, 0, 0]), Ok(Payload6::Discovery));
        assert_eq!(kind(58, &[1, 0, 0, 0]), Ok(Payload6::Other));
        assert_eq!(kind(17, &[0, 1, 0, 2, 0, 8, 0, 0]), Ok(Payload6::Udp));
        assert_eq!(
            kind(17, &[0, 1, 0, 2, 0, 7, 0, 0]),
            Err(DropReason::MalformedTransport)
        );
        assert_eq!(kind(6, &[0; 12]), Err(DropReason::MalformedTransport));
        assert_eq!(kind(44, &[17, 0, 0, 9, 0, 0, 0, 1, 5]), Ok(Payload6::Other));
        assert_eq!(kind(59, &[]), Ok(Payload6::Other));
    }

    #[test]
    fn l08_a_routing_header_of_type_0_is_refused_and_another_is_not() {
        let behind = |kind| [17, 0, kind, 1, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0, 0];
        assert_eq!(parse(43, &behind(0)), Err(DropReason::SourceRoute));
        assert_eq!(parse(43, &behind(4)).unwrap().payload, Payload6::Udp);
    }

    #[test]
    fn l02_a_wrong_length_or_chain_is_refused() {
        assert_eq!(
            parse(0, &[17, 1, 0, 0, 0, 0, 0, 0]),
            Err(DropReason::MalformedIpv6)
        );
        assert_eq!(
            parse(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(20)),
            Err(DropReason::MalformedIpv6)
        );
        let whole = packet("2001:db8::1", "2001:db8::2", 17, &[0, 1, 0, 2, 0, 8, 0, 0]);
        for cut in 0..whole.len() {
            assert_eq!(
                Header6::parse(&whole[..cut]),
                Err(DropReason::MalformedIpv6),
                "{cut}"
            );
        }
    }

    #[test]
    fn l06_martians_and_local_scope_are_told_apart() {
        let check = |src: &str, dst: &str| {
            Header6::parse(&packet(src, dst, 59, &[]))
                .unwrap()
                .check_addresses()
        };
        let (here, there) = ("2001:db8::1", "2001:db8::2");
        assert_eq!(check(here, there), Ok(()));
        for nobody in ["::", "::1", "ff02::1", "ff0e::1", "::ffff:192.0.2.1"] {
            assert_eq!(
                check(nobody, there),
                Err(DropReason::MartianSource),
                "{nobody}"
            );
            assert_eq!(
                check(here, nobody),
                Err(DropReason::MartianDestination),
                "{nobody}"
            );
        }
        assert_eq!(check(here, here), Err(DropReason::MartianSource));
        assert_eq!(check("fe80::1", there), Err(DropReason::BeyondScope));
        assert_eq!(check(here, "fe80::1"), Err(DropReason::BeyondScope));
    }
}
