//! Routes and BGP, as messages.

use std::net::Ipv4Addr;
use std::time::Duration;

use sekisho_mgmt::api::v1;
use sekisho_mgmt::config::Config;
use sekisho_mgmt::server::BackendError;
use sekisho_routing::{
    BgpPathView, BgpRouteView, NeighborView, PathView, RouteFilter, RouteKind, RouteView,
    SessionState,
};
use sekisho_types::{Ipv4Prefix, Ipv6Prefix, Name, Prefix, PrefixError};

use super::vrf_name;
use crate::snapshot::Snapshot;

/// What of a table is asked for: a prefix, an address, or all.
pub(super) fn route_filter(prefix: &str, address: &str) -> Result<RouteFilter, BackendError> {
    let invalid = |message: String| BackendError::Invalid(message);
    match (prefix, address) {
        ("", "") => Ok(RouteFilter::All),
        ("", address) => address.parse().map(RouteFilter::Lookup).map_err(|_| {
            invalid(format!(
                "{address} is not an IP address; write it like 192.0.2.1"
            ))
        }),
        (prefix, _) => {
            let prefix: Prefix = prefix
                .parse()
                .map_err(|error: PrefixError| invalid(error.to_string()))?;
            Ok(RouteFilter::Exact(prefix))
        }
    }
}

/// Whether a family is IPv6; an empty text means both.
pub(super) fn family_of(family: &str) -> Result<Option<bool>, BackendError> {
    match family {
        "" => Ok(None),
        "ipv4" => Ok(Some(false)),
        "ipv6" => Ok(Some(true)),
        other => Err(BackendError::Invalid(format!(
            "{other} is no address family; write ipv4 or ipv6"
        ))),
    }
}

/// All routes of a family where all are asked for.
pub(super) fn of_family(filter: RouteFilter, family: &str) -> Result<RouteFilter, BackendError> {
    Ok(match (filter, family_of(family)?) {
        (RouteFilter::All, Some(false)) => RouteFilter::Longer(Prefix::V4(Ipv4Prefix::DEFAULT)),
        (RouteFilter::All, Some(true)) => RouteFilter::Longer(Prefix::V6(Ipv6Prefix::DEFAULT)),
        (filter, _) => filter,
    })
}

pub(super) fn route_message(snapshot: &Snapshot, route: &RouteView) -> v1::Route {
    let mut next_hops = Vec::new();
    match route.kind {
        RouteKind::Paths => {
            for path in &route.paths {
                push_path(&mut next_hops, path);
            }
        }
        RouteKind::Connected | RouteKind::Local => {
            let interface = route.paths.first().and_then(|path| path.interface.as_ref());
            next_hops.push(v1::NextHop {
                kind: "connected".to_owned(),
                interface: interface.map_or_else(String::new, |own| own.name.to_string()),
                weight: 1,
                active: true,
                ..v1::NextHop::default()
            });
        }
        RouteKind::Nat | RouteKind::Discard | RouteKind::LookupVrf(_) => {
            let (kind, vrf) = match route.kind {
                RouteKind::Nat => ("nat", String::new()),
                RouteKind::LookupVrf(vrf) => ("vrf", vrf_name(snapshot, vrf)),
                _ => ("discard", String::new()),
            };
            next_hops.push(v1::NextHop {
                kind: kind.to_owned(),
                weight: 1,
                active: true,
                vrf,
                ..v1::NextHop::default()
            });
        }
    }
    v1::Route {
        vrf: vrf_name(snapshot, route.vrf),
        prefix: route.prefix.to_string(),
        protocol: route.protocol.as_str().to_owned(),
        distance: route.distance.into(),
        metric: route.metric,
        selected: route.selected,
        installed: route.installed,
        uptime_seconds: route.age.as_secs(),
        next_hops,
    }
}

/// A path, and behind a recursive one what it resolves to.
pub(super) fn push_path(next_hops: &mut Vec<v1::NextHop>, path: &PathView) {
    next_hops.push(v1::NextHop {
        kind: "gateway".to_owned(),
        address: path
            .next_hop
            .map_or_else(String::new, |address| address.to_string()),
        interface: path
            .interface
            .as_ref()
            .map_or_else(String::new, |own| own.name.to_string()),
        weight: path.weight.into(),
        active: path.active,
        vrf: String::new(),
    });
    for resolved in &path.recursive_via {
        push_path(next_hops, resolved);
    }
}

pub(super) fn neighbor_message(neighbor: &NeighborView, config: &Config) -> v1::BgpNeighbor {
    let configured = config.bgp.iter().flat_map(|bgp| &bgp.neighbors);
    let configured = configured
        .into_iter()
        .find(|own| own.address == neighbor.address);
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let list = |name: &Option<Name>| name.as_ref().map_or_else(String::new, Name::to_string);
    let is_up = neighbor.state == SessionState::Established;
    v1::BgpNeighbor {
        address: neighbor.address.to_string(),
        remote_as: neighbor.remote_as.value(),
        local_as: neighbor.local_as.value(),
        description: neighbor.description.clone().unwrap_or_default(),
        state: neighbor.state.as_str().to_owned(),
        shutdown: neighbor.admin_down,
        uptime_seconds: neighbor.since.map_or(0, |since| since.as_secs()),
        never_established: neighbor.established == 0,
        router_id: neighbor
            .remote_router_id
            .map_or_else(String::new, |id| id.to_string()),
        local_address: neighbor
            .local
            .map_or_else(String::new, |own| own.ip().to_string()),
        local_port: neighbor.local.map_or(0, |own| own.port().into()),
        remote_port: neighbor.remote.map_or(0, |remote| remote.port().into()),
        hold_time_seconds: seconds(neighbor.hold_time.unwrap_or(neighbor.configured_hold_time)),
        keepalive_seconds: neighbor.keepalive_interval.map_or(0, seconds),
        connect_retry_seconds: configured.map_or(0, |own| seconds(own.connect_retry_time)),
        messages_received: neighbor.received.total(),
        messages_sent: neighbor.sent.total(),
        updates_received: neighbor.received.update,
        updates_sent: neighbor.sent.update,
        keepalives_received: neighbor.received.keepalive,
        keepalives_sent: neighbor.sent.keepalive,
        notifications_received: neighbor.received.notification,
        notifications_sent: neighbor.sent.notification,
        in_queue: neighbor.in_queue as u64,
        out_queue: neighbor.out_queue as u64,
        table_version: neighbor.table_version,
        prefixes_received: neighbor.prefixes_received as u64,
        prefixes_accepted: neighbor.prefixes_accepted as u64,
        prefixes_sent: neighbor.prefixes_sent as u64,
        import: list(&neighbor.import),
        export: list(&neighbor.export),
        capabilities: neighbor.capabilities_received.clone(),
        established_count: neighbor.established,
        dropped_count: neighbor.established.saturating_sub(is_up.into()),
        last_reset: neighbor.last_error.clone().unwrap_or_default(),
        end_of_rib_received: neighbor.end_of_rib_received,
    }
}

pub(super) fn bgp_message(route: &BgpRouteView, path: &BgpPathView) -> v1::BgpRoute {
    v1::BgpRoute {
        prefix: route.prefix.to_string(),
        neighbor: path.peer.map_or_else(String::new, |peer| peer.to_string()),
        neighbor_as: path.peer.map_or(0, |_| path.peer_as.value()),
        router_id: path.peer_router_id.to_string(),
        next_hop: path
            .next_hop
            .unwrap_or(Ipv4Addr::UNSPECIFIED.into())
            .to_string(),
        valid: path.valid,
        best: path.best,
        multipath: path.multipath,
        internal: path.internal && path.peer.is_some(),
        origin: path.origin.to_lowercase(),
        as_path: path.as_path.clone(),
        med: path.med,
        local_pref: Some(path.local_pref),
        weight: 0,
        communities: path.communities.clone(),
        large_communities: path.large_communities.clone(),
        uptime_seconds: path.age.map_or(0, |age| age.as_secs()),
        reason: path.reason.clone(),
    }
}
