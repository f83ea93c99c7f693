//! Messages, and their octets (RFC 4271 section 4). The library that knows the octets is named in
//! this folder only.

mod decode;
mod encode;
mod notification;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use sekisho_types::{Asn, Prefix};

use super::Family;
use super::attributes::PathAttributes;

pub use decode::{Decoder, frame_length};
pub use encode::{Encoder, Packed};
pub use notification::Notification;

/// The longest message (RFC 4271 section 4.1).
pub const MAX_MESSAGE: usize = 4096;

/// The length of a message's header.
pub const HEADER: usize = 19;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// OPEN.
    Open(Open),
    /// UPDATE.
    Update(Update),
    /// NOTIFICATION.
    Notification(Notification),
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH (RFC 2918) of a family we know; others are `None`, to be ignored.
    RouteRefresh(Option<Family>),
}

/// What a speaker says of itself (RFC 4271 section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its AS, from the four-octet capability if it has one (RFC 6793); 0 is not yet refused here.
    pub asn: u32,
    /// Proposed hold time, in seconds.
    pub hold_time: u16,
    /// The BGP identifier; 0 is not yet refused here.
    pub router_id: Ipv4Addr,
    /// Capabilities (RFC 5492).
    pub capabilities: Capabilities,
}

/// Capabilities that matter to us, and the codes of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Families it exchanges; empty if it does not know multiprotocol (RFC 4760).
    pub families: Vec<Family>,
    /// It knows multiprotocol, perhaps only for families we do not.
    pub multiprotocol: bool,
    /// Four-octet AS numbers (RFC 6793).
    pub four_octet_as: bool,
    /// Route refresh (RFC 2918).
    pub route_refresh: bool,
    /// Graceful restart (RFC 4724): it sends End-of-RIB. `Some(true)`: it has just restarted.
    pub end_of_rib: Option<bool>,
    /// Codes of others, ignored.
    pub others: Vec<u8>,
}

impl Capabilities {
    /// Whether routes of a family may be exchanged: announced, or IPv4 by one who announces none.
    pub fn carries(&self, family: Family) -> bool {
        self.families.contains(&family) || (family == Family::Ipv4Unicast && !self.multiprotocol)
    }

    /// The capabilities in words.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for family in &self.families {
            names.push(format!("multiprotocol {}", family.as_str()));
        }
        if self.four_octet_as {
            names.push("four-octet-as".to_owned());
        }
        if self.route_refresh {
            names.push("route-refresh".to_owned());
        }
        if let Some(restarted) = self.end_of_rib {
            let state = if restarted { " (restarted)" } else { "" };
            names.push(format!("graceful-restart{state}"));
        }
        for code in &self.others {
            names.push(match code {
                6 => "extended-message".to_owned(),
                9 => "role".to_owned(),
                64 => "graceful-restart".to_owned(),
                69 => "add-path".to_owned(),
                70 => "enhanced-route-refresh".to_owned(),
                71 => "long-lived-graceful-restart".to_owned(),
                73 => "hostname".to_owned(),
                128 => "route-refresh (old)".to_owned(),
                code => format!("code {code}"),
            });
        }
        names
    }
}

/// What changed (RFC 4271 section 4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Prefixes no longer reachable, also those of an UPDATE treated as a withdrawal.
    pub withdrawn: Vec<Prefix>,
    /// Prefixes reachable with these attributes.
    pub announced: Vec<(PathAttributes, Vec<Prefix>)>,
    /// It says that the initial dump of this family is complete (RFC 4724 section 2).
    pub end_of_rib: Option<Family>,
    /// What was wrong, if its routes are treated as withdrawn (RFC 7606).
    pub malformed: Option<String>,
}

/// The AS of a speaker as it stands in the two octets of OPEN.
fn two_octets(asn: Asn) -> u16 {
    // RFC 6793 section 4.2.2.
    const AS_TRANS: u16 = 23456;
    u16::try_from(asn.value()).unwrap_or(AS_TRANS)
}
