//! Tunnels, endpoints and neighbours, as messages.

use std::net::Ipv4Addr;

use sekisho_fib::Link;
use sekisho_mgmt::api::v1;
use sekisho_types::{SegmentId, VrfId};

use super::super::dataplane::{NeighborState, NeighborView as EndpointView};
use super::super::neighbor::{Location, State};
use super::vrf_name;
use crate::counters::TrafficCounters;
use crate::snapshot::{Snapshot, Tenant, Underlay};

/// One tunnel: a segment of a tenant.
pub(super) fn tunnel_message(
    snapshot: &Snapshot,
    underlay: Underlay,
    tenant: &Tenant,
    id: SegmentId,
    endpoints: &[EndpointView],
) -> Option<v1::Tunnel> {
    let segment = snapshot.segment(id)?;
    let known = |view: &&EndpointView| {
        view.neighbor.link == Link::Segment(id) && location_of(view.state).is_some()
    };
    let sum =
        |counter: fn(&TrafficCounters) -> u64| -> u64 { segment.traffic.iter().map(counter).sum() };
    Some(v1::Tunnel {
        kind: "vxlan".to_owned(),
        vni: segment.vni.value(),
        tenant: tenant.name.to_string(),
        segment: segment.name.to_string(),
        local: underlay.address.to_string(),
        remotes: segment.vteps.iter().map(Ipv4Addr::to_string).collect(),
        port: underlay.vxlan_port.into(),
        mtu: segment.mtu.into(),
        gateway: format!("{}/{}", segment.gateway, segment.prefix.len()),
        mac: segment.mac.to_string(),
        rx_packets: sum(|traffic| traffic.rx_packets.get()),
        rx_bytes: sum(|traffic| traffic.rx_bytes.get()),
        tx_packets: sum(|traffic| traffic.tx_packets.get()),
        tx_bytes: sum(|traffic| traffic.tx_bytes.get()),
        endpoints: endpoints.iter().filter(known).count() as u64,
        gateway6: segment.ipv6.as_ref().map_or_else(String::new, |ipv6| {
            format!("{}/{}", ipv6.gateway, ipv6.prefix.len())
        }),
    })
}

pub(super) fn location_of(state: NeighborState) -> Option<Location> {
    match state {
        NeighborState::Static(location)
        | NeighborState::Dynamic(State::Reachable(location) | State::Probe(location)) => {
            Some(location)
        }
        NeighborState::Dynamic(State::Incomplete | State::Failed) => None,
    }
}

pub(super) fn endpoint_message(
    snapshot: &Snapshot,
    wanted: Option<VrfId>,
    view: &EndpointView,
) -> Option<v1::Endpoint> {
    let Link::Segment(id) = view.neighbor.link else {
        return None;
    };
    let segment = snapshot.segment(id)?;
    if wanted.is_some_and(|vrf| vrf != segment.vrf) {
        return None;
    }
    let location = location_of(view.state);
    let state = match (view.state, location) {
        (NeighborState::Static(_), _) => "static",
        (_, Some(_)) => "learned",
        (_, None) => "incomplete",
    };
    let vtep = location.and_then(|location| location.vtep);
    Some(v1::Endpoint {
        tenant: vrf_name(snapshot, segment.vrf),
        segment: segment.name.to_string(),
        address: view.neighbor.address.to_string(),
        mac: location.map_or_else(String::new, |location| location.mac.to_string()),
        vtep: vtep.map_or_else(String::new, |vtep| vtep.to_string()),
        state: state.to_owned(),
        age_seconds: view.age.as_secs(),
    })
}

/// One neighbour of a VRF: on an uplink, or on a segment.
pub(super) fn neighbor_row(
    snapshot: &Snapshot,
    vrf: VrfId,
    view: &EndpointView,
) -> Option<v1::Neighbor> {
    let (of, interface) = match view.neighbor.link {
        Link::Interface(id) => (VrfId::PROVIDER, &snapshot.uplink(id)?.name),
        Link::Segment(id) => {
            let segment = snapshot.segment(id)?;
            (segment.vrf, &segment.name)
        }
    };
    if of != vrf {
        return None;
    }
    let state = match view.state {
        NeighborState::Static(_) => "static",
        NeighborState::Dynamic(State::Reachable(_)) => "reachable",
        NeighborState::Dynamic(State::Probe(_)) => "probe",
        NeighborState::Dynamic(State::Incomplete) => "incomplete",
        NeighborState::Dynamic(State::Failed) => "failed",
    };
    let location = location_of(view.state);
    let vtep = location.and_then(|location| location.vtep);
    Some(v1::Neighbor {
        interface: interface.to_string(),
        address: view.neighbor.address.to_string(),
        mac: location.map_or_else(String::new, |location| location.mac.to_string()),
        vtep: vtep.map_or_else(String::new, |vtep| vtep.to_string()),
        state: state.to_owned(),
        age_seconds: view.age.as_secs(),
    })
}
