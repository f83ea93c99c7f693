//! The IPv6 side of uplinks and segments.

use std::net::{IpAddr, Ipv6Addr};

use sekisho_mgmt::config::model::{self, InterfaceAddress};
use sekisho_packet::ndp;
use sekisho_types::{Ipv6Prefix, MacAddr};

use crate::control::neighbor::Location;
use crate::snapshot::{SegmentV6, UplinkV6};

fn ipv6_address(address: &InterfaceAddress) -> Option<(Ipv6Addr, Ipv6Prefix)> {
    match address.address {
        IpAddr::V6(own) => Some((own, Ipv6Prefix::truncated(own, address.prefix.len()))),
        IpAddr::V4(_) => None,
    }
}

/// Of an uplink, if it has an IPv6 address.
pub(super) fn uplink(uplink: &model::Uplink, mac: MacAddr) -> Option<UplinkV6> {
    let addresses: Vec<_> = uplink.addresses.iter().filter_map(ipv6_address).collect();
    (!addresses.is_empty()).then(|| UplinkV6 {
        addresses,
        link_local: ndp::link_local(mac),
    })
}

/// Of a segment, if it has an IPv6 gateway.
pub(super) fn segment(segment: &model::Segment) -> Option<SegmentV6> {
    let (gateway, prefix) = ipv6_address(&segment.gateway6?)?;
    let endpoint = |endpoint: &model::StaticEndpoint| match endpoint.address {
        IpAddr::V6(address) => {
            let location = Location {
                mac: endpoint.mac,
                vtep: Some(IpAddr::V4(endpoint.vtep)),
            };
            Some((address, location))
        }
        IpAddr::V4(_) => None,
    };
    Some(SegmentV6 {
        gateway,
        prefix,
        link_local: ndp::link_local(segment.mac),
        advertise: segment.advertise6,
        router_advertisements: segment.router_advertisements,
        static_endpoints: segment.endpoints.iter().filter_map(endpoint).collect(),
    })
}
