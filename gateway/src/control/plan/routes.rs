//! Routes that follow from a configuration: of interfaces, of NAT, of the operator.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use sekisho_mgmt::config::model::{self, Config, RouteTarget};
use sekisho_routing::{
    ConnectedRoute, InterfaceRef, LocalRoute, NatRoute, StaticNextHop, StaticRoute, StaticTarget,
};
use sekisho_types::{Ipv4Prefix, Name, Prefix, VrfId};

use super::Planner;

impl Planner {
    pub(super) fn connected(&self, config: &Config) -> Vec<ConnectedRoute> {
        let uplinks = config.uplinks.iter().flat_map(|uplink| {
            let interface =
                InterfaceRef::uplink(self.uplink_id(&uplink.name), uplink.name.as_str());
            uplink.addresses.iter().map(move |address| ConnectedRoute {
                vrf: VrfId::PROVIDER,
                prefix: address.prefix,
                interface: interface.clone(),
            })
        });
        let segments = config.tenants.iter().flat_map(|tenant| {
            tenant.segments.iter().flat_map(|segment| {
                gateways(segment).map(|gateway| ConnectedRoute {
                    vrf: self.vrf_id(&tenant.name),
                    prefix: gateway.prefix,
                    interface: self.segment_ref(&tenant.name, segment),
                })
            })
        });
        uplinks.chain(segments).collect()
    }

    pub(super) fn local(&self, config: &Config) -> Vec<LocalRoute> {
        let uplinks = config.uplinks.iter().flat_map(|uplink| {
            let interface =
                InterfaceRef::uplink(self.uplink_id(&uplink.name), uplink.name.as_str());
            uplink.addresses.iter().map(move |address| LocalRoute {
                vrf: VrfId::PROVIDER,
                address: address.address,
                interface: Some(interface.clone()),
            })
        });
        let on_uplink = |address: IpAddr| {
            let mut addresses = config.uplinks.iter().flat_map(|uplink| &uplink.addresses);
            addresses.any(|own| own.address == address)
        };
        let underlay = config
            .underlay
            .iter()
            .map(|underlay| IpAddr::V4(underlay.address));
        let underlay = underlay
            .filter(|address| !on_uplink(*address))
            .map(|address| LocalRoute {
                vrf: VrfId::PROVIDER,
                address,
                interface: None,
            });
        let segments = config.tenants.iter().flat_map(|tenant| {
            tenant.segments.iter().flat_map(|segment| {
                gateways(segment).map(|gateway| LocalRoute {
                    vrf: self.vrf_id(&tenant.name),
                    address: gateway.address,
                    interface: Some(self.segment_ref(&tenant.name, segment)),
                })
            })
        });
        uplinks.chain(underlay).chain(segments).collect()
    }

    pub(super) fn statics(&self, config: &Config) -> Vec<StaticRoute> {
        let uplink = |name: &Name| InterfaceRef::uplink(self.uplink_id(name), name.as_str());
        let provider = config
            .routes
            .iter()
            .map(|route| static_route(VrfId::PROVIDER, route, uplink));
        let tenants = config.tenants.iter().flat_map(|tenant| {
            let vrf = self.vrf_id(&tenant.name);
            let segment = |name: &Name| {
                InterfaceRef::segment(self.segment_id(&tenant.name, name), name.as_str())
            };
            tenant
                .routes
                .iter()
                .map(move |route| static_route(vrf, route, segment))
        });
        let leaked = config.tenants.iter().flat_map(|tenant| {
            let ipv4 = tenant.segments.iter().filter(|segment| segment.advertise);
            let ipv4 = ipv4.map(|segment| segment.gateway.prefix);
            let ipv6 = tenant.segments.iter().filter(|segment| segment.advertise6);
            let ipv6 = ipv6.filter_map(|segment| Some(segment.gateway6?.prefix));
            ipv4.chain(ipv6).map(|prefix| StaticRoute {
                vrf: VrfId::PROVIDER,
                prefix,
                target: StaticTarget::LookupVrf(self.vrf_id(&tenant.name)),
                distance: 1,
            })
        });
        provider.chain(tenants).chain(leaked).collect()
    }

    /// Prefixes that belong to NAT, and prefixes to announce; BGP speaks of IPv4 only.
    pub(super) fn outside(&self, config: &Config) -> (Vec<NatRoute>, BTreeSet<Prefix>) {
        let on_uplink = |address: Ipv4Addr| {
            let mut addresses = config.uplinks.iter().flat_map(|uplink| &uplink.addresses);
            addresses.any(|own| own.address == IpAddr::V4(address))
        };
        let mut owned = BTreeSet::new();
        let mut announced = BTreeSet::new();
        for pool in &config.nat_pools {
            for prefix in pool.addresses.iter().copied().map(Prefix::V4) {
                owned.insert(prefix);
                if pool.advertise {
                    announced.insert(prefix);
                }
            }
        }
        let in_pool = |address| {
            let mut prefixes = config.nat_pools.iter().flat_map(|pool| &pool.addresses);
            prefixes.any(|prefix| prefix.contains(address))
        };
        for tenant in &config.tenants {
            let floating = tenant.floating_ips.iter().map(|floating| floating.outside);
            let forwards = tenant.port_forwards.iter().map(|forward| forward.outside.0);
            let forwards = forwards.filter(|address| !in_pool(*address));
            for address in floating
                .chain(forwards)
                .filter(|address| !on_uplink(*address))
            {
                let prefix = Prefix::V4(Ipv4Prefix::host(address));
                owned.insert(prefix);
                announced.insert(prefix);
            }
            let advertised = tenant.segments.iter().filter(|segment| segment.advertise);
            announced.extend(advertised.map(|segment| segment.gateway.prefix));
        }
        let route = |prefix| NatRoute {
            vrf: VrfId::PROVIDER,
            prefix,
        };
        (owned.into_iter().map(route).collect(), announced)
    }
}

/// The gateway's addresses on a segment.
fn gateways(segment: &model::Segment) -> impl Iterator<Item = &model::InterfaceAddress> {
    std::iter::once(&segment.gateway).chain(&segment.gateway6)
}

fn static_route(
    vrf: VrfId,
    route: &model::StaticRoute,
    interface: impl Fn(&Name) -> InterfaceRef,
) -> StaticRoute {
    let next_hop = |hop: &model::NextHop| StaticNextHop {
        address: hop.address,
        interface: hop.interface.as_ref().map(&interface),
    };
    StaticRoute {
        vrf,
        prefix: route.prefix,
        target: match &route.target {
            RouteTarget::NextHops(hops) => {
                StaticTarget::NextHops(hops.iter().map(next_hop).collect())
            }
            RouteTarget::Provider => StaticTarget::LookupVrf(VrfId::PROVIDER),
            RouteTarget::Discard => StaticTarget::Discard,
        },
        distance: route.distance,
    }
}
