//! Source routing: what the kernel sends *from* an address of the gateway leaves by the host
//! interface. The main table is never touched.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::HostError;
use crate::netlink::Netlink;

/// The kernel's routing table that holds the default route through the host interface.
pub const TABLE: u32 = 17_900;
/// The priority of our rules `from ADDRESS lookup TABLE`: after `local`, before `main`.
pub const RULE_PRIORITY: u32 = 17_900;
/// The originator that marks our rules and routes, so that leftovers are recognised.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(83);

/// An address family of which the host interface can have addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The number netlink knows it by.
    pub(crate) fn number(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }

    /// The length of a host prefix.
    pub(crate) fn host_length(self) -> u8 {
        match self {
            Self::V4 => Ipv4Addr::BITS as u8,
            Self::V6 => Ipv6Addr::BITS as u8,
        }
    }
}

/// Adds the rule `from ADDRESS lookup TABLE`.
pub(crate) fn add_rule(netlink: &mut Netlink, address: IpAddr) -> Result<(), HostError> {
    netlink
        .execute(
            RouteNetlinkMessage::NewRule(rule(address)),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .map_err(HostError::netlink(format!("add the rule from {address}")))
}

/// Removes the rule `from ADDRESS lookup TABLE`.
pub(crate) fn remove_rule(netlink: &mut Netlink, address: IpAddr) -> Result<(), HostError> {
    netlink
        .execute(RouteNetlinkMessage::DelRule(rule(address)), 0)
        .map_err(HostError::netlink(format!(
            "remove the rule from {address}"
        )))
}

/// Adds the default route of our table; it vanishes with the interface.
pub(crate) fn add_default_route(
    netlink: &mut Netlink,
    family: Family,
    interface: u32,
) -> Result<(), HostError> {
    let mut route = route_of_table(family);
    route.header.protocol = PROTOCOL;
    route.header.scope = RouteScope::Link;
    route.header.kind = RouteType::Unicast;
    route.attributes.push(RouteAttribute::Oif(interface));
    netlink
        .execute(
            RouteNetlinkMessage::NewRoute(route),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .map_err(HostError::netlink(format!(
            "add the default route of table {TABLE}"
        )))
}

/// Removes the rules that a killed predecessor left behind, and says how many.
///
/// # Errors
/// [`HostError::TableInUse`] if the predecessor is alive: its routes would have vanished with its
/// interface.
pub(crate) fn remove_leftovers(netlink: &mut Netlink) -> Result<usize, HostError> {
    let mut removed = 0;
    for family in Family::ALL {
        if table_is_in_use(netlink, family)? {
            return Err(HostError::TableInUse { table: TABLE });
        }
        for rule in our_rules(netlink, family)? {
            netlink
                .execute(RouteNetlinkMessage::DelRule(rule), 0)
                .map_err(HostError::netlink("remove a leftover rule"))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn our_rules(netlink: &mut Netlink, family: Family) -> Result<Vec<RuleMessage>, HostError> {
    let mut request = RuleMessage::default();
    request.header.family = family.number();
    let rules = netlink
        .dump(&RouteNetlinkMessage::GetRule(request))
        .map_err(HostError::netlink("list the routing rules"))?;
    let ours = rules.into_iter().filter_map(|rule| match rule {
        RouteNetlinkMessage::NewRule(rule) => {
            let carries = |attribute| rule.attributes.contains(&attribute);
            (carries(RuleAttribute::Table(TABLE))
                && carries(RuleAttribute::Priority(RULE_PRIORITY))
                && carries(RuleAttribute::Protocol(PROTOCOL)))
            .then_some(rule)
        }
        _ => None,
    });
    Ok(ours.collect())
}

fn table_is_in_use(netlink: &mut Netlink, family: Family) -> Result<bool, HostError> {
    let request = RouteNetlinkMessage::GetRoute(route_of_table(family));
    match netlink.dump(&request) {
        Ok(routes) => Ok(routes.iter().any(|route| match route {
            RouteNetlinkMessage::NewRoute(route) => {
                route.attributes.contains(&RouteAttribute::Table(TABLE))
            }
            _ => false,
        })),
        // No table, or no such address family.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) =>
        {
            Ok(false)
        }
        Err(error) => Err(HostError::netlink(format!(
            "list the routes of table {TABLE}"
        ))(error)),
    }
}

fn rule(address: IpAddr) -> RuleMessage {
    let family = Family::of(address);
    let mut rule = RuleMessage::default();
    rule.header = RuleHeader {
        family: family.number(),
        src_len: family.host_length(),
        action: RuleAction::ToTable,
        ..RuleHeader::default()
    };
    rule.attributes = vec![
        RuleAttribute::Source(address),
        RuleAttribute::Table(TABLE),
        RuleAttribute::Priority(RULE_PRIORITY),
        RuleAttribute::Protocol(PROTOCOL),
    ];
    rule
}

fn route_of_table(family: Family) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: family.number(),
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Table(TABLE)];
    route
}
