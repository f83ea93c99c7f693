//! The BGP speaker, its neighbours and the prefix lists.

use std::net::IpAddr;
use std::time::Duration;

use sekisho_types::{Asn, Prefix};

use crate::config::model::{Bgp, BgpNeighbor, PrefixList, PrefixRule};
use crate::config::problem::Problems;
use crate::config::raw::{self, Raw};

use super::{Names, Reported, all, family, or, refer, unique, uplink_addresses};

/// As RFC 4271 section 10 suggests.
const DEFAULT_HOLD_TIME: Duration = Duration::from_secs(90);
const DEFAULT_CONNECT_RETRY_TIME: Duration = Duration::from_secs(5);

pub(super) fn speaker(
    raw: &Raw,
    names: &Names,
    p: &mut Problems<'_>,
) -> Result<Option<Bgp>, Reported> {
    let Some(bgp) = &raw.bgp else {
        return Ok(None);
    };
    if let Some(id) = &bgp.router_id
        && id.is_unspecified()
    {
        p.error(
            &id.at,
            "the router ID cannot be 0.0.0.0; use one of the gateway's addresses",
        );
    }
    unique(
        "neighbor",
        bgp.neighbors.iter().map(|neighbor| &neighbor.address),
        p,
    );
    let neighbors = all(bgp
        .neighbors
        .iter()
        .map(|neighbor| build_neighbor(neighbor, raw, names, p)));
    let build = || {
        Some(Bgp {
            asn: Asn::new(bgp.asn.as_ref()?.value).ok()?,
            router_id: bgp.router_id.as_ref()?.value,
            maximum_paths: or(&bgp.maximum_paths, 16),
            neighbors: neighbors?,
        })
    };
    build().map(Some).ok_or(Reported)
}

fn build_neighbor(
    neighbor: &raw::Neighbor,
    raw: &Raw,
    names: &Names,
    p: &mut Problems<'_>,
) -> Option<BgpNeighbor> {
    check_session_address(neighbor, raw, p);
    check_timers(neighbor, p);
    for (filter, key, meaning) in [
        (&neighbor.import, "import", "accepted from it"),
        (&neighbor.export, "export", "announced to it"),
    ] {
        match filter {
            Some(name) => refer("prefix list", name, &names.prefix_lists, p),
            None => {
                let message = format!(
                    "without {key:?} nothing is {meaning} (RFC 8212); write {key} = the name of a \
                     [[prefix-list]]"
                );
                p.warn(&neighbor.at, message);
            }
        }
    }
    Some(BgpNeighbor {
        address: neighbor.address.as_ref()?.value,
        remote_as: Asn::new(neighbor.remote_as.as_ref()?.value).ok()?,
        description: neighbor.description.as_ref().map(|text| text.value.clone()),
        import: neighbor.import.as_ref().map(|name| name.value.clone()),
        export: neighbor.export.as_ref().map(|name| name.value.clone()),
        hold_time: or(&neighbor.hold_time, DEFAULT_HOLD_TIME),
        connect_retry_time: or(&neighbor.connect_retry_time, DEFAULT_CONNECT_RETRY_TIME),
        passive: or(&neighbor.passive, false),
        local_address: neighbor.local_address.as_ref().map(|address| address.value),
        shutdown: or(&neighbor.shutdown, false),
    })
}

/// The session runs between one of our addresses and one that is not ours.
fn check_session_address(neighbor: &raw::Neighbor, raw: &Raw, p: &mut Problems<'_>) {
    let underlay = raw
        .underlay
        .as_ref()
        .and_then(|underlay| underlay.address.as_ref())
        .map(|address| IpAddr::V4(address.value));
    let ours =
        |ip: IpAddr| underlay == Some(ip) || uplink_addresses(raw).any(|own| own.address == ip);
    for address in neighbor.address.iter().chain(&neighbor.local_address) {
        family::check_session(address, p);
    }
    if let Some(local) = &neighbor.local_address
        && !ours(local.value)
    {
        let message = format!(
            "{} is not the gateway's; use the address of an uplink or of the underlay",
            local.value
        );
        p.error(&local.at, message);
    }
    let Some(address) = &neighbor.address else {
        return;
    };
    let connected = uplink_addresses(raw).any(|own| own.prefix.contains(address.value));
    if ours(address.value) {
        let message = format!(
            "{} is the gateway's own address; write the neighbour's",
            address.value
        );
        p.error(&address.at, message);
    } else if !connected && neighbor.local_address.is_none() {
        let message = format!(
            "no uplink is connected to {}; write local-address = the gateway's address of this \
             session",
            address.value
        );
        p.error(&address.at, message);
    }
}

fn check_timers(neighbor: &raw::Neighbor, p: &mut Problems<'_>) {
    if let Some(hold) = &neighbor.hold_time {
        let whole = hold.subsec_nanos() == 0;
        if !whole || !matches!(hold.as_secs(), 0 | 3..=65535) {
            p.error(
                &hold.at,
                "the hold time is 0s (never) or 3s to 65535s in whole seconds (RFC 4271)",
            );
        }
    }
    if let Some(retry) = &neighbor.connect_retry_time
        && !(1..=65535).contains(&retry.as_secs())
    {
        p.error(&retry.at, "the connect-retry time is 1s to 65535s");
    }
}

pub(super) fn prefix_lists(
    raw: &[raw::PrefixList],
    p: &mut Problems<'_>,
) -> Option<Vec<PrefixList>> {
    all(raw.iter().map(|list| {
        let rules = all(list.rules.iter().map(|rule| build_rule(rule, p)));
        Some(PrefixList {
            name: list.name.as_ref()?.value.clone(),
            rules: rules?,
        })
    }))
}

fn build_rule(rule: &raw::PrefixRule, p: &mut Problems<'_>) -> Option<PrefixRule> {
    let prefix = rule.prefix.as_ref()?.value;
    let longest = match prefix {
        Prefix::V4(_) => 32,
        Prefix::V6(_) => 128,
    };
    let (ge, le) = match (&rule.ge, &rule.le) {
        (None, None) => (prefix.len(), prefix.len()),
        (Some(ge), None) => (ge.value, longest),
        (None, Some(le)) => (prefix.len(), le.value),
        (Some(ge), Some(le)) => (ge.value, le.value),
    };
    if !(prefix.len() <= ge && ge <= le && le <= longest) {
        let at = rule.ge.as_ref().or(rule.le.as_ref()).map(|bound| &bound.at);
        let message = format!(
            "lengths {ge} to {le} cannot be inside {prefix}; {} <= ge <= le <= {longest} is needed",
            prefix.len()
        );
        p.error(at?, message);
        return None;
    }
    Some(PrefixRule {
        permit: rule.action.as_ref()?.0,
        prefix,
        ge,
        le,
    })
}
