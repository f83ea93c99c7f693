//! Compares what the documents say with itself, and makes a [`Config`] of it.
//!
//! Every check runs even after others have failed, so that one attempt shows all that is wrong. A
//! value is built only from complete parts; whoever builds `None` has reported why.

mod bgp;
mod family;
mod nat;
mod nat_log;
mod outside;
mod port;
mod provider;
mod tenant;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;

use sekisho_types::{Name, Prefix};

use super::model::{Config, InterfaceAddress};
use super::problem::{Located, Place, Problems};
use super::raw::{Maybe, Raw};

/// Checks everything; `Some` if there was no reason to refuse.
pub(super) fn validate(raw: &Raw, p: &mut Problems<'_>) -> Option<Config> {
    let names = Names::collect(raw, p);
    let gateway = provider::gateway(raw.gateway.as_ref(), p);
    let ports = port::ports(&raw.ports, p);
    let uplinks = provider::uplinks(raw, &names, p);
    let underlay = provider::underlay(raw, p);
    let routes = provider::routes(raw, p);
    let bgp = bgp::speaker(raw, &names, p);
    let prefix_lists = bgp::prefix_lists(&raw.prefix_lists, p);
    let nat_pools = nat::pools(raw, p);
    let nat = nat::timers(raw.nat.as_ref(), p);
    let nat_log = nat_log::log(raw, p);
    let tenants = tenant::tenants(raw, &names, p);
    outside::check(raw, p);
    check_reserves(raw, p);
    Some(Config {
        gateway: gateway?,
        underlay: underlay.ok()?,
        ports: ports?,
        uplinks: uplinks?,
        routes: routes?,
        bgp: bgp.ok()?,
        prefix_lists: prefix_lists?,
        nat_pools: nat_pools?,
        nat,
        nat_log,
        tenants: tenants?,
    })
}

/// Room for sessions is reserved once, and nobody may have less than is kept for him.
fn check_reserves(raw: &Raw, p: &mut Problems<'_>) {
    let most = raw.gateway.as_ref().map(|gateway| &gateway.max_sessions);
    let most = most.map_or(provider::MAX_SESSIONS, |most| {
        or(most, provider::MAX_SESSIONS)
    });
    let mut all = 0u64;
    for tenant in &raw.tenants {
        let Some(reserved) = &tenant.reserved_sessions else {
            continue;
        };
        all += u64::from(reserved.value);
        if let Some(limit) = &tenant.max_sessions
            && limit.value < reserved.value
        {
            let message = format!(
                "{} sessions are reserved for a tenant that may have {}; raise max-sessions or lower \
                 this",
                reserved.value, limit.value
            );
            p.error(&reserved.at, message);
        }
        if all > u64::from(most) {
            let message = format!(
                "the tenants up to here reserve {all} sessions, and the gateway holds {most}; raise \
                 max-sessions in [gateway] or reserve less"
            );
            p.error(&reserved.at, message);
            return;
        }
    }
}

/// Something was wrong, and has been reported.
struct Reported;

/// The names that others refer to.
struct Names {
    ports: BTreeMap<Name, Place>,
    prefix_lists: BTreeMap<Name, Place>,
    nat_pools: BTreeMap<Name, Place>,
}

impl Names {
    fn collect(raw: &Raw, p: &mut Problems<'_>) -> Self {
        unique("uplink", raw.uplinks.iter().map(|uplink| &uplink.name), p);
        unique("tenant", raw.tenants.iter().map(|tenant| &tenant.name), p);
        Self {
            ports: unique("port", raw.ports.iter().map(|port| &port.name), p),
            prefix_lists: unique(
                "prefix list",
                raw.prefix_lists.iter().map(|list| &list.name),
                p,
            ),
            nat_pools: unique("NAT pool", raw.nat_pools.iter().map(|pool| &pool.name), p),
        }
    }
}

/// The values with the place of each; reports those that stand twice.
fn unique<'r, T: Ord + Clone + Display + 'r>(
    what: &str,
    values: impl Iterator<Item = &'r Maybe<T>>,
    p: &mut Problems<'_>,
) -> BTreeMap<T, Place> {
    let mut seen: BTreeMap<T, Place> = BTreeMap::new();
    for value in values.flatten() {
        if let Some(first) = seen.get(&value.value) {
            let message = format!(
                "{what} {} stands twice, first at {}; each needs its own",
                value.value,
                p.line_of(first)
            );
            p.error(&value.at, message);
        } else {
            seen.insert(value.value.clone(), value.at.clone());
        }
    }
    seen
}

/// Reports a name that refers to nothing, with those that would.
fn refer(what: &str, name: &Located<Name>, known: &BTreeMap<Name, Place>, p: &mut Problems<'_>) {
    if known.contains_key(&name.value) {
        return;
    }
    let list: Vec<&str> = known.keys().map(Name::as_str).collect();
    let message = if list.is_empty() {
        format!("there is no {what} {:?}, nor any other", name.as_str())
    } else {
        format!(
            "there is no {what} {:?}; there is {}",
            name.as_str(),
            list.join(", ")
        )
    };
    p.error(&name.at, message);
}

/// All items, if each of them is there.
fn all<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    // Collected first: every item is to be checked even after one has failed.
    let items: Vec<Option<T>> = items.collect();
    items.into_iter().collect()
}

/// The value, or its default.
fn or<T: Clone>(value: &Maybe<T>, default: T) -> T {
    value
        .as_ref()
        .map_or(default, |located| located.value.clone())
}

/// Reports an address that no host may use as its own inside `prefix`; whether it may.
fn check_host(address: IpAddr, prefix: Prefix, at: &Place, p: &mut Problems<'_>) -> bool {
    if let Some(reason) = family::special(address) {
        p.error(at, format!("{address} {reason}"));
        return false;
    }
    let reason = match prefix {
        _ if address.is_unspecified() || address.is_loopback() || address.is_multicast() => {
            "is no host's address"
        }
        Prefix::V4(v4) if v4.len() < 31 && address == IpAddr::V4(v4.addr()) => {
            "is the network address"
        }
        Prefix::V4(v4) if v4.len() < 31 && address == IpAddr::V4(v4.last()) => {
            "is the broadcast address"
        }
        // RFC 4291 section 2.6.1; RFC 6164 makes an exception of links between two routers.
        Prefix::V6(v6) if v6.len() < 127 && address == IpAddr::V6(v6.addr()) => {
            "is every router's address (RFC 4291)"
        }
        _ => return true,
    };
    let message = format!("{address} {reason} of {prefix}; use another address inside it");
    p.error(at, message);
    false
}

/// The uplinks' addresses that were understood.
fn uplink_addresses(raw: &Raw) -> impl Iterator<Item = &Located<InterfaceAddress>> {
    raw.uplinks
        .iter()
        .flat_map(|uplink| uplink.addresses.iter().flatten())
}
