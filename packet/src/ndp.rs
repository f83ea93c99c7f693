//! Neighbour discovery for IPv6 over Ethernet (RFC 4861, RFC 2464): questions and answers about
//! neighbours, and the advertisements of a router.

use core::net::Ipv6Addr;

use sekisho_types::{IpProtocol, Ipv6Prefix, MacAddr};

use crate::checksum::Sum;
use crate::error::PacketError;
use crate::ethernet::{self, EtherType};
use crate::icmpv6::{self, Icmpv6, Icmpv6Type};
use crate::ipv6::{self, Ipv6, Ipv6Fields, UpperLayer};

/// The hop limit no router lets through: whoever sends it is on the link.
pub const HOP_LIMIT: u8 = 255;
/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Longest frame that is written here: a router advertisement with all its options.
pub const MAX_FRAME_LEN: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + MAX_MESSAGE_LEN;
const MAX_MESSAGE_LEN: usize = 64;

const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
const PREFIX_INFORMATION: u8 = 3;
const MTU: u8 = 5;

const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;
const FLAG_ON_LINK: u8 = 0x80;
const FLAG_AUTONOMOUS: u8 = 0x40;

/// The multicast group of everybody whose address ends like this one (RFC 4291 section 2.7.1).
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a & 0xff, b)
}

/// The Ethernet group a multicast packet is sent to (RFC 2464 section 7).
pub const fn multicast_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr::new([0x33, 0x33, a, b, c, d])
}

/// The link-local address of a station (RFC 4291 appendix A).
pub const fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        word_of(a ^ 2, b),
        word_of(c, 0xff),
        word_of(0xfe, d),
        word_of(e, f),
    )
}

/// A message, checked as RFC 4861 sections 6.1 and 7.1 ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// A host asks for routers.
    RouterSolicitation,
    /// Somebody asks for the owner of `target`.
    NeighbourSolicitation {
        /// Whom it asks for.
        target: Ipv6Addr,
        /// The asker's Ethernet address, if it tells.
        source: Option<MacAddr>,
    },
    /// Somebody tells where `target` is.
    NeighbourAdvertisement {
        /// Whose address it is.
        target: Ipv6Addr,
        /// Its Ethernet address, if it tells.
        mac: Option<MacAddr>,
    },
    /// What only hosts listen to: another router's advertisement, a redirect.
    ForHosts,
}

impl Discovery {
    /// The message in a packet.
    ///
    /// # Errors
    /// [`PacketError::DiscoveryHopLimit`] for one from beyond the link;
    /// [`PacketError::DiscoveryMalformed`].
    pub fn read(packet: &Ipv6<'_>, upper: &UpperLayer<'_>) -> Result<Self, PacketError> {
        if packet.hop_limit() != HOP_LIMIT {
            return Err(PacketError::DiscoveryHopLimit);
        }
        let malformed = PacketError::DiscoveryMalformed;
        let icmp = Icmpv6::new(upper.payload).map_err(|_| malformed)?;
        let pseudo = packet.pseudo_header(IpProtocol::ICMPV6, upper.payload.len() as u32);
        // RFC 6980: never in fragments.
        if upper.fragment.is_some() || icmp.code() != 0 || !icmp.is_intact(pseudo) {
            return Err(malformed);
        }
        let from_nobody = packet.src().is_unspecified();
        let message = match icmp.message_type() {
            Icmpv6Type::ROUTER_SOLICITATION => {
                let options = icmp.body().get(4..).ok_or(malformed)?;
                let source = link_address(options, SOURCE_LINK_ADDRESS)?;
                if from_nobody && source.is_some() {
                    return Err(malformed);
                }
                Self::RouterSolicitation
            }
            Icmpv6Type::NEIGHBOUR_SOLICITATION => {
                let (target, options) = target(icmp.body())?;
                let source = link_address(options, SOURCE_LINK_ADDRESS)?;
                // Detection of duplicates asks the group, and tells no address (RFC 4862).
                let probes = source.is_none() && packet.dst() == solicited_node(target);
                if from_nobody && !probes {
                    return Err(malformed);
                }
                Self::NeighbourSolicitation { target, source }
            }
            Icmpv6Type::NEIGHBOUR_ADVERTISEMENT => {
                let solicited = icmp.body().first().is_some_and(|o| o & FLAG_SOLICITED != 0);
                if solicited && packet.dst().is_multicast() {
                    return Err(malformed);
                }
                let (target, options) = target(icmp.body())?;
                let mac = link_address(options, TARGET_LINK_ADDRESS)?;
                Self::NeighbourAdvertisement { target, mac }
            }
            _ => Self::ForHosts,
        };
        Ok(message)
    }
}

/// The target behind flags and reserved bits, and the options behind it.
fn target(body: &[u8]) -> Result<(Ipv6Addr, &[u8]), PacketError> {
    let malformed = PacketError::DiscoveryMalformed;
    let rest = body.get(4..).ok_or(malformed)?;
    let (target, options) = rest.split_first_chunk::<16>().ok_or(malformed)?;
    let target = Ipv6Addr::from(*target);
    if target.is_multicast() {
        return Err(malformed);
    }
    Ok((target, options))
}

/// The Ethernet address in the first option of this kind; all options are checked.
fn link_address(mut options: &[u8], wanted: u8) -> Result<Option<MacAddr>, PacketError> {
    let malformed = PacketError::DiscoveryMalformed;
    let mut found = None;
    while let Some((&[kind, length], _)) = options.split_first_chunk::<2>() {
        let length = usize::from(length) * 8;
        let (option, rest) = options.split_at_checked(length).ok_or(malformed)?;
        if length == 0 {
            return Err(malformed);
        }
        if kind == wanted && found.is_none() {
            found = option[2..].first_chunk().map(|mac| MacAddr::new(*mac));
        }
        options = rest;
    }
    if options.is_empty() {
        Ok(found)
    } else {
        Err(malformed)
    }
}

/// Where a frame goes and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The receiver's Ethernet address.
    pub ethernet_dst: MacAddr,
    /// Our Ethernet address.
    pub mac: MacAddr,
    /// Our address; unspecified to probe for duplicates.
    pub src: Ipv6Addr,
    /// The receiver's.
    pub dst: Ipv6Addr,
}

impl Envelope {
    /// To a group.
    pub const fn to_group(mac: MacAddr, src: Ipv6Addr, group: Ipv6Addr) -> Self {
        Self {
            ethernet_dst: multicast_mac(group),
            mac,
            src,
            dst: group,
        }
    }
}

/// A message to be sent; [`Message::write`] makes the whole frame of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who has `target`? Without our Ethernet address when the source is unspecified.
    Solicitation {
        /// Whom we ask for.
        target: Ipv6Addr,
    },
    /// We, a router, have `target`.
    Advertisement {
        /// Our address.
        target: Ipv6Addr,
        /// It was asked for, by whom it is sent to.
        solicited: bool,
    },
    /// We are a router.
    Router(RouterAdvertisement),
}

/// What a router tells the hosts of its link (RFC 4861 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// For how long we are a default router, in seconds; 0: we are none.
    pub router_lifetime: u16,
    /// The prefix of the link; hosts make themselves an address in it if it is a /64.
    pub prefix: Ipv6Prefix,
    /// For how long such an address is good, in seconds.
    pub valid_lifetime: u32,
    /// For how long it is used for new flows, in seconds.
    pub preferred_lifetime: u32,
    /// The largest packet of the link, in bytes.
    pub mtu: u16,
}

/// Hops that hosts of the link are told to give their packets.
const HOST_HOP_LIMIT: u8 = 64;
/// The length of prefix that Ethernet's interface identifiers complete (RFC 4862, RFC 2464).
const AUTONOMOUS_LEN: u8 = 64;

impl Message {
    /// Writes the frame, and returns its length.
    ///
    /// # Errors
    /// [`PacketError::BufferTooSmall`]; [`MAX_FRAME_LEN`] is always enough.
    pub fn write(&self, envelope: &Envelope, out: &mut [u8]) -> Result<usize, PacketError> {
        let mut message = [0; MAX_MESSAGE_LEN];
        let length = self.fill(envelope, &mut message);
        let message = &mut message[..length];
        let pseudo = Sum::pseudo_v6(
            envelope.src,
            envelope.dst,
            IpProtocol::ICMPV6,
            length as u32,
        );
        let checksum = pseudo.bytes(message).checksum();
        message[icmpv6::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        let small = PacketError::BufferTooSmall;
        let (header, rest) = out.split_first_chunk_mut().ok_or(small)?;
        ethernet::write_header(header, envelope.ethernet_dst, envelope.mac, EtherType::IPV6);
        let (header, rest) = rest.split_first_chunk_mut().ok_or(small)?;
        Ipv6Fields {
            traffic_class: 0,
            payload_len: length as u16,
            next_header: IpProtocol::ICMPV6,
            hop_limit: HOP_LIMIT,
            src: envelope.src,
            dst: envelope.dst,
        }
        .write(header);
        rest.get_mut(..length)
            .ok_or(small)?
            .copy_from_slice(message);
        Ok(ethernet::HEADER_LEN + ipv6::HEADER_LEN + length)
    }

    /// Fills in the message but its checksum, and answers its length.
    fn fill(&self, envelope: &Envelope, out: &mut [u8; MAX_MESSAGE_LEN]) -> usize {
        match self {
            Self::Solicitation { target } => {
                out[icmpv6::TYPE] = Icmpv6Type::NEIGHBOUR_SOLICITATION.0;
                out[8..24].copy_from_slice(&target.octets());
                if envelope.src.is_unspecified() {
                    return 24;
                }
                put_link_address(out, 24, SOURCE_LINK_ADDRESS, envelope.mac)
            }
            Self::Advertisement { target, solicited } => {
                let solicited = if *solicited { FLAG_SOLICITED } else { 0 };
                out[icmpv6::TYPE] = Icmpv6Type::NEIGHBOUR_ADVERTISEMENT.0;
                out[4] = FLAG_ROUTER | FLAG_OVERRIDE | solicited;
                out[8..24].copy_from_slice(&target.octets());
                put_link_address(out, 24, TARGET_LINK_ADDRESS, envelope.mac)
            }
            Self::Router(router) => {
                out[icmpv6::TYPE] = Icmpv6Type::ROUTER_ADVERTISEMENT.0;
                out[4] = HOST_HOP_LIMIT;
                out[6..8].copy_from_slice(&router.router_lifetime.to_be_bytes());
                let at = put_link_address(out, 16, SOURCE_LINK_ADDRESS, envelope.mac);
                out[at..at + 2].copy_from_slice(&[MTU, 1]);
                out[at + 4..at + 8].copy_from_slice(&u32::from(router.mtu).to_be_bytes());
                let option = &mut out[at + 8..at + 40];
                let autonomous = match router.prefix.len() {
                    AUTONOMOUS_LEN => FLAG_AUTONOMOUS,
                    _ => 0,
                };
                option[0..2].copy_from_slice(&[PREFIX_INFORMATION, 4]);
                option[2] = router.prefix.len();
                option[3] = FLAG_ON_LINK | autonomous;
                option[4..8].copy_from_slice(&router.valid_lifetime.to_be_bytes());
                option[8..12].copy_from_slice(&router.preferred_lifetime.to_be_bytes());
                option[16..32].copy_from_slice(&router.prefix.addr().octets());
                at + 40
            }
        }
    }
}

/// Writes an option with an Ethernet address; answers where the next one goes.
fn put_link_address(out: &mut [u8; MAX_MESSAGE_LEN], at: usize, kind: u8, mac: MacAddr) -> usize {
    out[at..at + 2].copy_from_slice(&[kind, 1]);
    out[at + 2..at + 8].copy_from_slice(&mac.octets());
    at + 8
}

const fn word_of(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::Ethernet;

    const MAC: MacAddr = MacAddr::new([0x02, 0x53, 0x4b, 0x00, 0x13, 0x89]);
    const HOST: MacAddr = MacAddr::new([0x02, 0, 0, 1, 0x10, 0x11]);

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn written(message: Message, envelope: &Envelope) -> Vec<u8> {
        let mut frame = [0xff; MAX_FRAME_LEN];
        let length = message.write(envelope, &mut frame).unwrap();
        assert!(message.write(envelope, &mut frame[..length - 1]).is_err());
        frame[..length].to_vec()
    }

    fn read(frame: &[u8]) -> Result<Discovery, PacketError> {
        let frame = Ethernet::new(frame).unwrap();
        let packet = Ipv6::new(frame.payload()).unwrap();
        Discovery::read(&packet, &packet.upper_layer().unwrap())
    }

    fn solicitation(src: &str, target: &str) -> Vec<u8> {
        let target = address(target);
        let envelope = Envelope::to_group(HOST, address(src), solicited_node(target));
        written(Message::Solicitation { target }, &envelope)
    }

    /// The frame changed at some places, with its checksum made right again.
    fn changed(mut frame: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
        for &(at, value) in changes {
            frame[at] = value;
        }
        frame[56..58].fill(0);
        let packet = Ipv6::new(&frame[14..]).unwrap();
        let pseudo = packet.pseudo_header(IpProtocol::ICMPV6, packet.payload().len() as u32);
        let checksum = pseudo.bytes(packet.payload()).checksum();
        frame[56..58].copy_from_slice(&checksum.to_be_bytes());
        frame
    }

    #[test]
    fn addresses_follow_their_rfcs() {
        // RFC 4291 section 2.7.1 and appendix A, RFC 2464 sections 4 and 7.
        let group = solicited_node(address("4037::1:800:200e:8c6c"));
        assert_eq!(group, address("ff02::1:ff0e:8c6c"));
        assert_eq!(
            multicast_mac(group).octets(),
            [0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]
        );
        let mac = MacAddr::new([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(link_local(mac), address("fe80::3656:78ff:fe9a:bcde"));
    }

    #[test]
    fn a_solicitation_is_read_as_it_was_written() {
        let frame = solicitation("2001:db8::11", "2001:db8::1");
        assert_eq!(frame.len(), 86);
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0, 0, 1]);
        let expected = Discovery::NeighbourSolicitation {
            target: address("2001:db8::1"),
            source: Some(HOST),
        };
        assert_eq!(read(&frame), Ok(expected));
    }

    #[test]
    fn a_probe_for_duplicates_tells_no_address_and_asks_the_group() {
        let frame = solicitation("::", "2001:db8::1");
        let expected = Discovery::NeighbourSolicitation {
            target: address("2001:db8::1"),
            source: None,
        };
        assert_eq!(read(&frame), Ok(expected));
        // To the target itself.
        let mut direct = frame.clone();
        direct[38..54].copy_from_slice(&address("2001:db8::1").octets());
        let malformed = Err(PacketError::DiscoveryMalformed);
        assert_eq!(read(&changed(direct, &[])), malformed);
        // With an Ethernet address.
        let mut telling = solicitation("2001:db8::11", "2001:db8::1");
        telling[22..38].fill(0);
        assert_eq!(read(&changed(telling, &[])), malformed);
    }

    #[test]
    fn an_advertisement_is_read_as_it_was_written() {
        let target = address("2001:db8::1");
        let envelope = Envelope {
            ethernet_dst: HOST,
            mac: MAC,
            src: target,
            dst: address("2001:db8::11"),
        };
        let frame = written(
            Message::Advertisement {
                target,
                solicited: true,
            },
            &envelope,
        );
        assert_eq!(frame[58], 0xe0);
        let expected = Discovery::NeighbourAdvertisement {
            target,
            mac: Some(MAC),
        };
        assert_eq!(read(&frame), Ok(expected));
        // A solicited one is for one receiver only.
        let mut to_all = frame;
        to_all[38..54].copy_from_slice(&ALL_NODES.octets());
        assert_eq!(
            read(&changed(to_all, &[])),
            Err(PacketError::DiscoveryMalformed)
        );
    }

    #[test]
    fn a_message_from_beyond_the_link_is_refused() {
        let mut frame = solicitation("2001:db8::11", "2001:db8::1");
        frame[21] = 254;
        assert_eq!(read(&frame), Err(PacketError::DiscoveryHopLimit));
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let good = solicitation("2001:db8::11", "2001:db8::1");
        let malformed = Err(PacketError::DiscoveryMalformed);
        let mut damaged = good.clone();
        damaged[57] ^= 1;
        assert_eq!(read(&damaged), malformed, "checksum");
        assert_eq!(read(&changed(good.clone(), &[(55, 1)])), malformed, "code");
        assert_eq!(
            read(&changed(good.clone(), &[(62, 0xff)])),
            malformed,
            "multicast target"
        );
        assert_eq!(
            read(&changed(good.clone(), &[(79, 0)])),
            malformed,
            "empty option"
        );
        assert_eq!(
            read(&changed(good.clone(), &[(79, 2)])),
            malformed,
            "long option"
        );
        for cut in 1..=31 {
            let mut short = good[..good.len() - cut].to_vec();
            short[19] -= cut as u8;
            let expected_whole = cut == 8;
            if short.len() >= 58 {
                assert_eq!(
                    read(&changed(short, &[])).is_ok(),
                    expected_whole,
                    "{cut} less"
                );
            }
        }
    }

    #[test]
    fn a_router_tells_prefix_mtu_and_itself() {
        let router = RouterAdvertisement {
            router_lifetime: 1800,
            prefix: "2001:db8:10::/64".parse().unwrap(),
            valid_lifetime: 2_592_000,
            preferred_lifetime: 604_800,
            mtu: 1450,
        };
        let envelope = Envelope::to_group(MAC, link_local(MAC), ALL_NODES);
        let frame = written(Message::Router(router), &envelope);
        assert_eq!(read(&frame), Ok(Discovery::ForHosts));
        let message = &frame[54..];
        assert_eq!(message[4..8], [64, 0, 7, 8]);
        assert_eq!(message[16..24], [1, 1, 0x02, 0x53, 0x4b, 0, 0x13, 0x89]);
        assert_eq!(message[24..32], [5, 1, 0, 0, 0, 0, 5, 0xaa]);
        assert_eq!(message[32..36], [3, 4, 64, 0xc0]);
        assert_eq!(message[36..44], [0, 0x27, 0x8d, 0, 0, 9, 0x3a, 0x80]);
        assert_eq!(message[48..], address("2001:db8:10::").octets());
        let longer = RouterAdvertisement {
            prefix: "2001:db8:10::/80".parse().unwrap(),
            ..router
        };
        let frame = written(Message::Router(longer), &envelope);
        assert_eq!(frame[54 + 35], 0x80, "no address is made in another length");
    }

    #[test]
    fn a_router_solicitation_may_come_from_nobody() {
        let target = Ipv6Addr::UNSPECIFIED;
        let envelope = Envelope::to_group(HOST, address("::"), ALL_ROUTERS);
        let mut frame = written(Message::Solicitation { target }, &envelope);
        frame.truncate(62);
        frame[19] = 8;
        let frame = changed(frame, &[(54, 133)]);
        assert_eq!(read(&frame), Ok(Discovery::RouterSolicitation));
    }
}
