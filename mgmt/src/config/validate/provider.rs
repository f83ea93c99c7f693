//! The process, its ports and uplinks, where tunnels end, and the provider's static routes.

use std::net::IpAddr;
use std::path::PathBuf;

use sekisho_types::{MacAddr, Name, Prefix};

use crate::config::model::{
    Gateway, Hugepages, InterfaceAddress, NextHop, RouteTarget, StaticRoute, Underlay,
    UnsolicitedSyn, Uplink,
};
use crate::config::problem::{Located, Problems};
use crate::config::raw::{self, Maybe, Raw};

use super::{Names, Reported, all, check_host, family, or, refer, unique, uplink_addresses};

/// The Ethernet payload every port can carry unless told otherwise.
pub(super) const DEFAULT_MTU: u16 = 1500;

/// Most NAT sessions, if nothing is said.
pub(super) const MAX_SESSIONS: u32 = 1_000_000;

pub(super) fn gateway(raw: Option<&raw::Gateway>, p: &mut Problems<'_>) -> Option<Gateway> {
    let workers = raw.map_or(1, |raw| or(&raw.workers, 1));
    let cpus = raw.and_then(|raw| raw.cpus.as_ref());
    if let (Some(raw), Some(cpus)) = (raw, cpus) {
        let distinct: std::collections::BTreeSet<u16> = cpus.iter().map(|cpu| cpu.value).collect();
        let at = cpus.first().map_or(&raw.at, |cpu| &cpu.at);
        if distinct.len() < cpus.len() {
            p.error(at, "a CPU stands twice; each worker needs its own");
        } else if cpus.len() != usize::from(workers) {
            let message = format!(
                "{} CPUs for {workers} workers; list one for each, or none",
                cpus.len()
            );
            p.error(at, message);
        }
    }
    let field = |field: fn(&raw::Gateway) -> &Maybe<u32>, default| {
        raw.map_or(default, |raw| or(field(raw), default))
    };
    let hostname = raw.and_then(|raw| raw.hostname.as_ref());
    Some(Gateway {
        hostname: match hostname {
            Some(name) => name.value.clone(),
            None => Name::new("sekisho").ok()?,
        },
        workers,
        cpus: cpus.map_or_else(Vec::new, |cpus| cpus.iter().map(|cpu| cpu.value).collect()),
        hugepages: raw.map_or(Hugepages::Auto, |raw| or(&raw.hugepages, Hugepages::Auto)),
        memory_mib: field(|raw| &raw.memory_mib, 256),
        max_sessions: field(|raw| &raw.max_sessions, MAX_SESSIONS),
        session_counters: raw.is_some_and(|raw| or(&raw.session_counters, false)),
        api_socket: raw.and_then(|raw| raw.api_socket.as_ref()).map_or_else(
            || PathBuf::from(crate::DEFAULT_SOCKET),
            |path| path.value.clone(),
        ),
        host_interface: raw
            .and_then(|raw| raw.host_interface.as_ref())
            .map_or_else(|| "sekisho0".to_owned(), |name| name.0.clone()),
    })
}

/// Reports an Ethernet address that no station may own.
pub(super) fn check_mac(mac: &Located<MacAddr>, p: &mut Problems<'_>) {
    if !mac.is_unicast() {
        let message = format!(
            "{} is no station's address; use one whose first octet is even, like 02:00:5e:10:00:01",
            mac.value
        );
        p.error(&mac.at, message);
    }
}

pub(super) fn uplinks(raw: &Raw, names: &Names, p: &mut Problems<'_>) -> Option<Vec<Uplink>> {
    unique(
        "the uplink on port",
        raw.uplinks.iter().map(|uplink| &uplink.port),
        p,
    );
    check_connected(raw, p);
    all(raw.uplinks.iter().map(|uplink| {
        if let Some(port) = &uplink.port {
            refer("port", port, &names.ports, p);
        }
        let port_mtu = port_mtu(raw, uplink);
        if let Some(mtu) = &uplink.mtu
            && mtu.value > port_mtu
        {
            let message = format!(
                "MTU {} is more than the port's; use at most {port_mtu}, or raise the port's",
                mtu.value
            );
            p.error(&mtu.at, message);
        }
        let addresses = uplink.addresses.as_deref().unwrap_or_default();
        if addresses.is_empty() {
            p.error(
                &uplink.at,
                "an uplink needs an address; write addresses = [\"198.51.100.1/31\"]",
            );
        }
        for address in addresses {
            check_host(address.address, address.prefix, &address.at, p);
        }
        if let Some(address) = addresses.iter().find(|own| own.address.is_ipv6()) {
            family::check_mtu(uplink_mtu(raw, uplink), &address.at, p);
        }
        Some(Uplink {
            name: uplink.name.as_ref()?.value.clone(),
            port: uplink.port.as_ref()?.value.clone(),
            addresses: addresses.iter().map(|address| address.value).collect(),
            mtu: uplink_mtu(raw, uplink),
            icmp_errors: or(&uplink.icmp_errors, true),
            unsolicited_syn: or(&uplink.unsolicited_syn, UnsolicitedSyn::default()),
        })
    }))
}

fn port_mtu(raw: &Raw, uplink: &raw::Uplink) -> u16 {
    let name = uplink.port.as_ref().map(|name| &name.value);
    raw.ports
        .iter()
        .find(|port| port.name.as_ref().map(|name| &name.value) == name)
        .map_or(DEFAULT_MTU, |port| or(&port.mtu, DEFAULT_MTU))
}

/// What fits an uplink: its own MTU, by default its port's.
pub(super) fn uplink_mtu(raw: &Raw, uplink: &raw::Uplink) -> u16 {
    or(&uplink.mtu, port_mtu(raw, uplink))
}

/// Addresses are unique, and the connected prefixes of different uplinks disjoint.
fn check_connected(raw: &Raw, p: &mut Problems<'_>) {
    let mut seen: Vec<(usize, &Located<InterfaceAddress>)> = Vec::new();
    for (index, uplink) in raw.uplinks.iter().enumerate() {
        for address in uplink.addresses.iter().flatten() {
            for (other_index, other) in &seen {
                let message = if other.address == address.address {
                    "stands twice, first"
                } else if *other_index != index && overlap(other.prefix, address.prefix) {
                    "overlaps the connected prefix of another uplink,"
                } else {
                    continue;
                };
                let message = format!(
                    "{}/{} {message} at {}; each uplink needs a prefix of its own",
                    address.address,
                    address.prefix.len(),
                    p.line_of(&other.at)
                );
                p.error(&address.at, message);
                break;
            }
            seen.push((index, address));
        }
    }
}

/// Whether two prefixes share an address.
pub(super) fn overlap(a: Prefix, b: Prefix) -> bool {
    a.covers(b) || b.covers(a)
}

/// The underlay address is an uplink's, or, like a loopback's, in no uplink's connected prefix.
pub(super) fn underlay(raw: &Raw, p: &mut Problems<'_>) -> Result<Option<Underlay>, Reported> {
    let Some(underlay) = &raw.underlay else {
        return Ok(None);
    };
    let Some(address) = &underlay.address else {
        return Err(Reported);
    };
    let ip = IpAddr::V4(address.value);
    check_host(ip, Prefix::host(ip), &address.at, p);
    let is_own = uplink_addresses(raw).any(|own| own.address == ip);
    let connected = uplink_addresses(raw).find(|own| own.prefix.contains(ip));
    if let (false, Some(own)) = (is_own, connected) {
        let message = format!(
            "{ip} is inside {}, but not ours there; use {}, or an address outside every uplink's \
             prefix",
            own.prefix, own.address
        );
        p.error(&address.at, message);
    }
    Ok(Some(Underlay {
        address: address.value,
        vxlan_port: or(&underlay.vxlan_port, 4789),
    }))
}

pub(super) fn routes(raw: &Raw, p: &mut Problems<'_>) -> Option<Vec<StaticRoute>> {
    let has_ipv6 = |uplink: &raw::Uplink| {
        let mut addresses = uplink.addresses.iter().flatten();
        addresses.any(|own| own.address.is_ipv6())
    };
    let interfaces = raw
        .uplinks
        .iter()
        .filter_map(|uplink| Some((&uplink.name.as_ref()?.value, has_ipv6(uplink))));
    let surroundings = Surroundings {
        own: uplink_addresses(raw).map(|own| own.address).collect(),
        kind: "uplink",
        interfaces: interfaces.collect(),
    };
    static_routes(&raw.routes, &surroundings, p)
}

/// What the routes of one VRF can refer to.
pub(super) struct Surroundings<'r> {
    /// The gateway's addresses there.
    pub(super) own: Vec<IpAddr>,
    /// What its interfaces are called.
    pub(super) kind: &'static str,
    /// Their names, and whether they have an IPv6 address.
    pub(super) interfaces: Vec<(&'r Name, bool)>,
}

/// Static routes of one VRF.
pub(super) fn static_routes(
    routes: &[raw::Route],
    surroundings: &Surroundings<'_>,
    p: &mut Problems<'_>,
) -> Option<Vec<StaticRoute>> {
    let mut seen = Vec::new();
    for route in routes {
        if let Some(prefix) = &route.prefix {
            let key = (prefix.value, or(&route.distance, 1));
            if seen.contains(&key) {
                let message = format!(
                    "a route to {} with distance {} stands already; write next-hops = [..] for \
                     several next hops, or another distance for a reserve",
                    key.0, key.1
                );
                p.error(&prefix.at, message);
            }
            seen.push(key);
        }
    }
    all(routes.iter().map(|route| {
        if let Some(prefix) = &route.prefix {
            family::check_destination(prefix, p);
        }
        let target = target(route, surroundings, p);
        Some(StaticRoute {
            prefix: route.prefix.as_ref()?.value,
            target: target?,
            distance: or(&route.distance, 1),
        })
    }))
}

fn target(
    route: &raw::Route,
    surroundings: &Surroundings<'_>,
    p: &mut Problems<'_>,
) -> Option<RouteTarget> {
    let mut targets = Vec::new();
    let hops = route.next_hop.iter();
    for hop in hops.chain(route.next_hops.iter().flatten()) {
        check_next_hop(hop, surroundings, p);
        if let Some(prefix) = &route.prefix {
            family::check_family(prefix.value, hop, p);
        }
    }
    if let Some(hop) = &route.next_hop {
        targets.push(RouteTarget::NextHops(vec![hop.value.clone()]));
    }
    if let Some(hops) = &route.next_hops {
        unique(
            "next hop",
            hops.iter()
                .map(|hop| Some(hop.clone()))
                .collect::<Vec<_>>()
                .iter(),
            p,
        );
        if hops.is_empty() {
            p.error(
                &route.at,
                "the list of next hops is empty; name one, or write discard = true",
            );
        }
        targets.push(RouteTarget::NextHops(
            hops.iter().map(|hop| hop.value.clone()).collect(),
        ));
    }
    if let Some(vrf) = &route.vrf {
        if vrf.as_str() != "provider" {
            let message = format!(
                "a route cannot lead into VRF {:?}; only vrf = \"provider\" is possible",
                vrf.as_str()
            );
            p.error(&vrf.at, message);
        }
        targets.push(RouteTarget::Provider);
    }
    if let Some(discard) = &route.discard {
        if !discard.value {
            p.error(&discard.at, "discard = false says nothing; remove it");
        }
        targets.push(RouteTarget::Discard);
    }
    if targets.len() == 1 {
        return targets.pop();
    }
    p.error(
        &route.at,
        "a route leads to exactly one of next-hop, next-hops, discard = true and, in a tenant, vrf",
    );
    None
}

fn check_next_hop(hop: &Located<NextHop>, surroundings: &Surroundings<'_>, p: &mut Problems<'_>) {
    let is_link_local = matches!(hop.address, IpAddr::V6(own) if own.is_unicast_link_local());
    match &hop.interface {
        _ if surroundings.own.contains(&hop.address) => {
            let message = format!(
                "{} is the gateway's own address; write the neighbour's",
                hop.address
            );
            p.error(&hop.at, message);
        }
        Some(interface) if is_link_local => check_interface(interface, hop, surroundings, p),
        Some(_) => {
            let message = format!(
                "only a link-local next hop names its {}; write {} alone",
                surroundings.kind, hop.address
            );
            p.error(&hop.at, message);
        }
        None if is_link_local => {
            let example = surroundings.interfaces.first();
            let example = example.map_or("NAME", |(name, _)| name.as_str());
            let message = format!(
                "{} is link-local, and could be on any {kind}; write \"{}%{example}\", with the \
                 {kind} it is on",
                hop.address,
                hop.address,
                kind = surroundings.kind
            );
            p.error(&hop.at, message);
        }
        None => {
            check_host(hop.address, Prefix::host(hop.address), &hop.at, p);
        }
    }
}

/// The interface of a link-local next hop exists and speaks IPv6.
fn check_interface(
    interface: &Name,
    hop: &Located<NextHop>,
    surroundings: &Surroundings<'_>,
    p: &mut Problems<'_>,
) {
    let kind = surroundings.kind;
    let known = surroundings.interfaces.iter();
    let message = match known.clone().find(|(name, _)| *name == interface) {
        Some((_, true)) => return,
        Some((_, false)) => {
            format!(
                "{kind} {interface} has no IPv6 address, and so does not speak IPv6; give it one"
            )
        }
        None => {
            let names: Vec<&str> = known.map(|(name, _)| name.as_str()).collect();
            format!(
                "there is no {kind} {interface:?}; there is {}",
                names.join(", ")
            )
        }
    };
    p.error(&hop.at, message);
}
