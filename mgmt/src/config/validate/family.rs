//! What is particular to IPv6: addresses that mean something else than a host, the smallest MTU, and
//! what does not speak it yet.

use std::net::{IpAddr, Ipv6Addr};

use sekisho_types::{Ipv6Prefix, Prefix};

use crate::config::model::{InterfaceAddress, NextHop};
use crate::config::problem::{Located, Place, Problems};

/// The smallest MTU a link with IPv6 may have (RFC 8200 section 5).
pub(super) const MIN_MTU: u16 = 1280;

/// Why an IPv6 address is never written as a host's, and what would be right.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    if address.to_ipv4_mapped().is_some() {
        Some("is an IPv4 address in IPv6's clothes; write it as IPv4, like 192.0.2.1")
    } else if address.is_unicast_link_local() {
        Some("is link-local, which the gateway makes of its own MAC; write a global address")
    } else {
        None
    }
}

/// Reports a route to addresses that no router forwards to.
pub(super) fn check_destination(prefix: &Located<Prefix>, p: &mut Problems<'_>) {
    let Prefix::V6(destination) = prefix.value else {
        return;
    };
    let special = [
        (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
        (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
        (
            Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0),
            96,
            "IPv4 in IPv6's clothes",
        ),
        (Ipv6Addr::LOCALHOST, 128, "the host itself"),
    ];
    let within = |&&(address, length, _): &&(Ipv6Addr, u8, &str)| {
        Ipv6Prefix::truncated(address, length).covers(destination)
    };
    if let Some((_, _, what)) = special.iter().find(within) {
        let message = format!(
            "{} is {what}, and is not routed; write a unicast prefix, like 2001:db8::/32",
            prefix.value
        );
        p.error(&prefix.at, message);
    }
}

/// Reports a next hop of the other family than the route's.
pub(super) fn check_family(prefix: Prefix, hop: &Located<NextHop>, p: &mut Problems<'_>) {
    let (hop_is_v6, route_is_v6) = (hop.address.is_ipv6(), matches!(prefix, Prefix::V6(_)));
    if hop_is_v6 != route_is_v6 {
        let (family, example) = if route_is_v6 {
            ("IPv6", "2001:db8::1")
        } else {
            ("IPv4", "192.0.2.1")
        };
        let message = format!(
            "{} cannot lead to {prefix}; write an {family} address, like {example}",
            hop.value
        );
        p.error(&hop.at, message);
    }
}

/// Reports an address of the wrong family for its key; whether it is right.
pub(super) fn check_key(
    address: &Located<InterfaceAddress>,
    wants_ipv6: bool,
    p: &mut Problems<'_>,
) -> bool {
    let right = address.address.is_ipv6() == wants_ipv6;
    if !right {
        let message = if wants_ipv6 {
            "gateway6 is an IPv6 address; write gateway = for the IPv4 one"
        } else {
            "gateway is an IPv4 address; write gateway6 = for the IPv6 one"
        };
        p.error(&address.at, message);
    }
    right
}

/// Reports an MTU no link with IPv6 may have.
pub(super) fn check_mtu(mtu: u16, at: &Place, p: &mut Problems<'_>) {
    if mtu < MIN_MTU {
        let message = format!(
            "IPv6 needs an MTU of {MIN_MTU} or more, and here it is {mtu}; raise it, or remove the \
             IPv6 address"
        );
        p.error(at, message);
    }
}

/// Reports an IPv6 address where BGP stands.
pub(super) fn check_session(address: &Located<IpAddr>, p: &mut Problems<'_>) {
    if address.is_ipv6() {
        p.error(
            &address.at,
            "BGP runs over IPv4 only in this version; write an IPv4 address, and static routes for \
             IPv6",
        );
    }
}
