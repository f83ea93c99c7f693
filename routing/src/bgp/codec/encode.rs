//! Messages to octets.

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use rustbgpd_wire as wire;
use rustbgpd_wire::PathAttribute;
use sekisho_types::{Asn, Prefix};

use super::{HEADER, MAX_MESSAGE, Notification, Open, two_octets};
use crate::bgp::Family;
use crate::bgp::attributes::{Origin, PathAttributes};

/// Octets of withdrawn routes or of reachable ones that fit an UPDATE beside its two length fields.
const UPDATE_ROOM: usize = MAX_MESSAGE - HEADER - 4;

/// An UPDATE, and how many of the given prefixes it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The message.
    pub message: Bytes,
    /// It carries that many prefixes, from the first.
    pub count: usize,
}

/// Encodes the messages of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    four_octet_as: bool,
}

impl Encoder {
    /// For a neighbour that reads AS numbers of four octets, or only of two (RFC 6793).
    pub const fn new(four_octet_as: bool) -> Self {
        Self { four_octet_as }
    }

    /// OPEN. `open.capabilities.others` are not sent.
    pub fn open(open: &Open, asn: Asn) -> Bytes {
        let mut capabilities: Vec<_> = open
            .capabilities
            .families
            .iter()
            .map(multiprotocol)
            .collect();
        if open.capabilities.route_refresh {
            capabilities.push(wire::Capability::RouteRefresh);
        }
        if open.capabilities.four_octet_as {
            capabilities.push(wire::Capability::FourOctetAs { asn: asn.value() });
        }
        if let Some(restart_state) = open.capabilities.end_of_rib {
            // No family listed: forwarding does not survive us, but we send and await End-of-RIB.
            capabilities.push(wire::Capability::GracefulRestart {
                restart_state,
                notification: false,
                restart_time: 0,
                families: Vec::new(),
            });
        }
        let message = wire::Message::Open(wire::OpenMessage {
            version: 4,
            my_as: two_octets(asn),
            hold_time: open.hold_time,
            bgp_identifier: open.router_id,
            capabilities,
        });
        small(&message)
    }

    /// KEEPALIVE.
    pub fn keepalive() -> Bytes {
        small(&wire::Message::Keepalive)
    }

    /// NOTIFICATION; data beyond what fits a message is cut.
    pub fn notification(notification: &Notification) -> Bytes {
        let room = MAX_MESSAGE - HEADER - 2;
        let data = &notification.data[..notification.data.len().min(room)];
        small(&wire::Message::Notification(
            wire::NotificationMessage::new(
                wire::NotificationCode::from_u8(notification.code),
                notification.subcode,
                Bytes::copy_from_slice(data),
            ),
        ))
    }

    /// End-of-RIB (RFC 4724 section 2).
    pub fn end_of_rib(family: Family) -> Bytes {
        match family {
            Family::Ipv4Unicast => update(&[], &[], &[]),
            // MP_UNREACH_NLRI, optional, 3 octets: AFI 2, SAFI 1.
            Family::Ipv6Unicast => update(&[], &[0x80, 15, 3, 0, 2, 1], &[]),
        }
    }

    /// As many of the leading IPv4 `prefixes` as fit one withdrawal. IPv6 prefixes end it.
    pub fn withdraw<'a>(self, prefixes: impl IntoIterator<Item = &'a Prefix>) -> Packed {
        let (octets, count) = nlri(prefixes, UPDATE_ROOM);
        Packed {
            message: update(&octets, &[], &[]),
            count,
        }
    }

    /// As many of the leading IPv4 `prefixes` as fit one UPDATE with these attributes. `None` if the
    /// attributes have no IPv4 next hop or leave no room for a prefix.
    pub fn announce<'a>(
        self,
        attributes: &PathAttributes,
        prefixes: impl IntoIterator<Item = &'a Prefix>,
    ) -> Option<Packed> {
        let mut octets = Vec::new();
        let list = path_attributes(attributes)?;
        let four = self.four_octet_as;
        wire::attribute::encode_path_attributes(&list, &mut octets, four, false).ok()?;
        let room = UPDATE_ROOM.checked_sub(octets.len())?;
        let (reachable, count) = nlri(prefixes, room);
        (count > 0).then(|| Packed {
            message: update(&[], &octets, &reachable),
            count,
        })
    }
}

fn multiprotocol(family: &Family) -> wire::Capability {
    let afi = match family {
        Family::Ipv4Unicast => wire::Afi::Ipv4,
        Family::Ipv6Unicast => wire::Afi::Ipv6,
    };
    wire::Capability::MultiProtocol {
        afi,
        safi: wire::Safi::Unicast,
    }
}

/// What an announcement carries, in order of type code (RFC 4271 appendix F.3).
fn path_attributes(attributes: &PathAttributes) -> Option<Vec<PathAttribute>> {
    let IpAddr::V4(next_hop) = attributes.next_hop else {
        return None;
    };
    let asns = attributes.as_path.asns().to_vec();
    let segments = if asns.is_empty() {
        Vec::new()
    } else {
        vec![wire::AsPathSegment::AsSequence(asns)]
    };
    let mut list = vec![
        PathAttribute::Origin(match attributes.origin {
            Origin::Igp => wire::Origin::Igp,
            Origin::Egp => wire::Origin::Egp,
            Origin::Incomplete => wire::Origin::Incomplete,
        }),
        PathAttribute::AsPath(wire::AsPath { segments }),
        PathAttribute::NextHop(next_hop),
    ];
    list.extend(attributes.med.map(PathAttribute::Med));
    list.extend(attributes.local_pref.map(PathAttribute::LocalPref));
    if !attributes.communities.is_empty() {
        list.push(PathAttribute::Communities(attributes.communities.to_vec()));
    }
    if !attributes.large_communities.is_empty() {
        let large = attributes.large_communities.iter();
        let large = large.map(|&[admin, a, b]| wire::LargeCommunity::new(admin, a, b));
        list.push(PathAttribute::LargeCommunities(large.collect()));
    }
    Some(list)
}

/// Leading IPv4 prefixes, each a length and as many octets as it needs (RFC 4271 section 4.3).
fn nlri<'a>(prefixes: impl IntoIterator<Item = &'a Prefix>, room: usize) -> (Vec<u8>, usize) {
    let (mut octets, mut count) = (Vec::new(), 0);
    for prefix in prefixes {
        let Some(prefix) = prefix.v4() else { break };
        let significant = usize::from(prefix.len()).div_ceil(8);
        if octets.len() + 1 + significant > room {
            break;
        }
        octets.push(prefix.len());
        octets.extend(&prefix.addr().octets()[..significant]);
        count += 1;
    }
    (octets, count)
}

/// An UPDATE of sections that together fit [`UPDATE_ROOM`].
fn update(withdrawn: &[u8], attributes: &[u8], reachable: &[u8]) -> Bytes {
    let length = |octets: usize| u16::try_from(octets).unwrap_or(u16::MAX);
    let total = HEADER + 4 + withdrawn.len() + attributes.len() + reachable.len();
    let mut message = BytesMut::with_capacity(total);
    message.put_bytes(0xff, 16);
    message.put_u16(length(total));
    message.put_u8(2);
    message.put_u16(length(withdrawn.len()));
    message.put_slice(withdrawn);
    message.put_u16(length(attributes.len()));
    message.put_slice(attributes);
    message.put_slice(reachable);
    message.freeze()
}

/// A message that cannot be too long.
fn small(message: &wire::Message) -> Bytes {
    wire::encode_message(message).map_or_else(|_| Bytes::new(), BytesMut::freeze)
}
