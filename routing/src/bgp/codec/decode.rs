//! Octets to messages. Any octets: what is wrong becomes the NOTIFICATION to answer with, or, where
//! RFC 7606 allows, a withdrawal.

use bytes::Bytes;
use rustbgpd_wire as wire;
use rustbgpd_wire::validate::validate_update_attributes;
use rustbgpd_wire::{ErrorDisposition, PathAttribute};
use sekisho_types::{Ipv4Prefix, Ipv6Prefix, Prefix};

use super::{Capabilities, HEADER, MAX_MESSAGE, Message, Notification, Open, Update};
use crate::bgp::Family;
use crate::bgp::attributes::{AsPath, Origin, PathAttributes};

const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;
const ROUTE_REFRESH: u8 = 5;

/// The length of the message that starts `buffer`, header included, once the header is there (RFC
/// 4271 section 6.1).
pub fn frame_length(buffer: &[u8]) -> Result<Option<usize>, Notification> {
    let Some(header) = buffer.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let (marker, rest) = header.split_at(16);
    if marker != [0xff; 16] {
        return Err(Notification::new(1, 1, Vec::new()));
    }
    let [high, low, kind] = [rest[0], rest[1], rest[2]];
    let length = usize::from(u16::from_be_bytes([high, low]));
    let possible = match kind {
        OPEN => 29..=MAX_MESSAGE,
        UPDATE => 23..=MAX_MESSAGE,
        NOTIFICATION => 21..=MAX_MESSAGE,
        KEEPALIVE => HEADER..=HEADER,
        ROUTE_REFRESH => 23..=MAX_MESSAGE,
        unknown => return Err(Notification::new(1, 3, vec![unknown])),
    };
    if possible.contains(&length) {
        Ok(Some(length))
    } else {
        Err(Notification::new(1, 2, vec![high, low]))
    }
}

/// Decodes the messages of one connection, in order.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    internal: bool,
    four_octet_as: bool,
}

impl Decoder {
    /// For a connection with a neighbour of our own AS, or of another.
    pub const fn new(internal: bool) -> Self {
        Self {
            internal,
            four_octet_as: false,
        }
    }

    /// For a connection whose OPENs have been exchanged elsewhere.
    pub const fn established(internal: bool, four_octet_as: bool) -> Self {
        Self {
            internal,
            four_octet_as,
        }
    }

    /// Decodes one message, whose length [`frame_length`] told. The error is what to answer before
    /// closing. An OPEN decides how AS numbers are read from then on: we always offer four octets.
    pub fn decode(&mut self, frame: &[u8]) -> Result<Message, Notification> {
        match frame_length(frame)? {
            Some(length) if length == frame.len() => {}
            _ => return Err(bad_length(frame)),
        }
        if frame[HEADER - 1] == ROUTE_REFRESH {
            return Ok(Message::RouteRefresh(refreshed(&frame[HEADER..])));
        }
        let limit = wire::MAX_MESSAGE_LEN;
        match wire::decode_message(&mut Bytes::copy_from_slice(frame), limit)
            .map_err(|error| refuse(&error))?
        {
            wire::Message::Open(open) => {
                let open = open_message(&open);
                self.four_octet_as = open.capabilities.four_octet_as;
                Ok(Message::Open(open))
            }
            wire::Message::Update(update) => self.update(&update).map(Message::Update),
            wire::Message::Notification(notification) => {
                Ok(Message::Notification(Notification::new(
                    notification.code.as_u8(),
                    notification.subcode,
                    notification.data.to_vec(),
                )))
            }
            wire::Message::Keepalive => Ok(Message::Keepalive),
            _ => Err(Notification::new(1, 3, vec![frame[HEADER - 1]])),
        }
    }

    fn update(&self, update: &wire::UpdateMessage) -> Result<Update, Notification> {
        let parsed = update
            .parse_revised(self.four_octet_as, self.internal, false, &[])
            .map_err(|error| refuse(&error))?;
        let body = parsed.update;
        let announced: Vec<_> = body.announced.iter().map(|e| ipv4(e.prefix)).collect();
        let mut routes = Routes::new(&body.attributes);
        routes
            .withdrawn
            .extend(body.withdrawn.iter().map(|e| ipv4(e.prefix)));

        let mut malformed = parsed
            .malformed
            .iter()
            .filter(|malformed| malformed.disposition == ErrorDisposition::TreatAsWithdraw)
            .map(|malformed| malformed.error.to_string())
            .next();
        let any_announced = !announced.is_empty() || !routes.reached.is_empty();
        let valid = validate_update_attributes(
            &body.attributes,
            any_announced,
            !announced.is_empty(),
            !self.internal,
        );
        if let Err(error) = valid {
            if error.disposition == ErrorDisposition::SessionReset {
                return Err(Notification::new(3, error.subcode, error.data));
            }
            malformed.get_or_insert_with(|| describe(error.subcode));
        }
        if let Some(reason) = malformed {
            return Ok(routes.all_withdrawn(announced, reason));
        }
        if let Some(family) = end_of_rib(update, &body.attributes) {
            return Ok(Update {
                end_of_rib: Some(family),
                ..Update::default()
            });
        }
        let attributes = Known::collect(&body.attributes, self.internal);
        let mut result = Update {
            withdrawn: routes.withdrawn,
            ..Update::default()
        };
        let sections = [
            (attributes.next_hop, announced),
            (routes.next_hop, routes.reached),
        ];
        for (next_hop, prefixes) in sections {
            if prefixes.is_empty() {
                continue;
            }
            match next_hop.and_then(|next_hop| attributes.with(next_hop)) {
                Some(set) => result.announced.push((set, prefixes)),
                // An internal neighbour left out NEXT_HOP: RFC 7606 section 3 (d).
                None => {
                    result.withdrawn.extend(prefixes);
                    result.malformed = Some(describe(3));
                }
            }
        }
        Ok(result)
    }
}

/// What MP_REACH_NLRI and MP_UNREACH_NLRI of the families we know add to the body.
struct Routes {
    withdrawn: Vec<Prefix>,
    reached: Vec<Prefix>,
    next_hop: Option<std::net::IpAddr>,
}

impl Routes {
    fn new(attributes: &[PathAttribute]) -> Self {
        let mut routes = Self {
            withdrawn: Vec::new(),
            reached: Vec::new(),
            next_hop: None,
        };
        for attribute in attributes {
            match attribute {
                PathAttribute::MpReachNlri(mp) if family(mp.afi, mp.safi).is_some() => {
                    routes.next_hop = Some(mp.next_hop);
                    let prefixes = mp.announced.iter().map(|entry| either(entry.prefix));
                    routes.reached.extend(prefixes);
                }
                PathAttribute::MpUnreachNlri(mp) if family(mp.afi, mp.safi).is_some() => {
                    let prefixes = mp.withdrawn.iter().map(|entry| either(entry.prefix));
                    routes.withdrawn.extend(prefixes);
                }
                _ => {}
            }
        }
        routes
    }

    /// RFC 7606 section 2, treat-as-withdraw.
    fn all_withdrawn(self, announced: Vec<Prefix>, reason: String) -> Update {
        let mut withdrawn = self.withdrawn;
        withdrawn.extend(announced);
        withdrawn.extend(self.reached);
        Update {
            withdrawn,
            malformed: Some(reason),
            ..Update::default()
        }
    }
}

/// Attributes as they were found; the mandatory ones may be missing.
#[derive(Default)]
struct Known {
    origin: Option<Origin>,
    as_path: Option<AsPath>,
    next_hop: Option<std::net::IpAddr>,
    rest: Option<PathAttributes>,
}

impl Known {
    fn collect(attributes: &[PathAttribute], internal: bool) -> Self {
        let mut known = Self::default();
        let unspecified = std::net::Ipv4Addr::UNSPECIFIED;
        let mut rest = PathAttributes::new(Origin::Igp, AsPath::default(), unspecified.into());
        for attribute in attributes {
            match attribute {
                PathAttribute::Origin(wire::Origin::Igp) => known.origin = Some(Origin::Igp),
                PathAttribute::Origin(wire::Origin::Egp) => known.origin = Some(Origin::Egp),
                PathAttribute::Origin(wire::Origin::Incomplete) => {
                    known.origin = Some(Origin::Incomplete);
                }
                PathAttribute::AsPath(path) => known.as_path = Some(AsPath::new(path.asns())),
                PathAttribute::NextHop(address) => known.next_hop = Some((*address).into()),
                PathAttribute::Med(med) => rest.med = Some(*med),
                PathAttribute::LocalPref(pref) if internal => rest.local_pref = Some(*pref),
                PathAttribute::Communities(list) | PathAttribute::CommunitiesPartial(list) => {
                    rest.communities = list.as_slice().into();
                }
                PathAttribute::LargeCommunities(list)
                | PathAttribute::LargeCommunitiesPartial(list) => {
                    rest.large_communities = list
                        .iter()
                        .map(|c| [c.global_admin, c.local_data1, c.local_data2])
                        .collect();
                }
                PathAttribute::OriginatorId(id) if internal => rest.originator_id = Some(*id),
                PathAttribute::ClusterList(list) if internal => {
                    rest.cluster_list = list.as_slice().into();
                }
                _ => {}
            }
        }
        known.rest = Some(rest);
        known
    }

    fn with(&self, next_hop: std::net::IpAddr) -> Option<PathAttributes> {
        Some(PathAttributes {
            origin: self.origin?,
            as_path: self.as_path.clone()?,
            next_hop,
            ..self.rest.clone()?
        })
    }
}

/// RFC 4724 section 2: nothing at all, or an empty MP_UNREACH_NLRI alone.
fn end_of_rib(update: &wire::UpdateMessage, attributes: &[PathAttribute]) -> Option<Family> {
    if !update.withdrawn_routes.is_empty() || !update.nlri.is_empty() {
        return None;
    }
    match attributes {
        [] if update.path_attributes.is_empty() => Some(Family::Ipv4Unicast),
        [PathAttribute::MpUnreachNlri(mp)] if mp.withdrawn.is_empty() => family(mp.afi, mp.safi),
        _ => None,
    }
}

fn open_message(open: &wire::OpenMessage) -> Open {
    let mut capabilities = Capabilities::default();
    for capability in &open.capabilities {
        match capability {
            wire::Capability::MultiProtocol { afi, safi } => {
                capabilities.multiprotocol = true;
                let known = family(*afi, *safi);
                let known = known.filter(|family| !capabilities.families.contains(family));
                capabilities.families.extend(known);
            }
            wire::Capability::FourOctetAs { .. } => capabilities.four_octet_as = true,
            wire::Capability::RouteRefresh => capabilities.route_refresh = true,
            wire::Capability::GracefulRestart { restart_state, .. } => {
                capabilities.end_of_rib = Some(*restart_state);
            }
            // A family the library does not know is still multiprotocol (RFC 4760 section 8).
            other if other.code() == 1 => capabilities.multiprotocol = true,
            other => capabilities.others.push(other.code()),
        }
    }
    Open {
        asn: open.four_byte_as(),
        hold_time: open.hold_time,
        router_id: open.bgp_identifier,
        capabilities,
    }
}

fn refreshed(body: &[u8]) -> Option<Family> {
    match body {
        [0, 1, 0, 1] => Some(Family::Ipv4Unicast),
        [0, 2, 0, 1] => Some(Family::Ipv6Unicast),
        _ => None,
    }
}

fn family(afi: wire::Afi, safi: wire::Safi) -> Option<Family> {
    match (afi, safi) {
        (wire::Afi::Ipv4, wire::Safi::Unicast) => Some(Family::Ipv4Unicast),
        (wire::Afi::Ipv6, wire::Safi::Unicast) => Some(Family::Ipv6Unicast),
        _ => None,
    }
}

fn ipv4(prefix: wire::Ipv4Prefix) -> Prefix {
    Ipv4Prefix::truncated(prefix.addr, prefix.len).into()
}

fn either(prefix: wire::Prefix) -> Prefix {
    match prefix {
        wire::Prefix::V4(prefix) => ipv4(prefix),
        wire::Prefix::V6(prefix) => Ipv6Prefix::truncated(prefix.addr, prefix.len).into(),
    }
}

fn bad_length(frame: &[u8]) -> Notification {
    Notification::new(1, 2, frame.get(16..18).unwrap_or_default().to_vec())
}

fn describe(subcode: u8) -> String {
    Notification::new(3, subcode, Vec::new()).name()
}

/// The library's error as the NOTIFICATION it asks for.
fn refuse(error: &wire::DecodeError) -> Notification {
    let (code, subcode, data) = error.to_notification();
    Notification::new(code.as_u8(), subcode, data.to_vec())
}
