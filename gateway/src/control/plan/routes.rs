//! Routes that follow from a configuration: of interfaces, of NAT, of the operator.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use sekisho_mgmt::config::model::{self, Config, RouteTarget};
use sekisho_routing::{
    ConnectedRoute, InterfaceRef, LocalRoute, NatRoute, StaticRoute, StaticTarget,
};
use sekisho_types::{Ipv4Prefix, Prefix, VrfId};

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
            tenant.segments.iter().map(|segment| ConnectedRoute {
                vrf: self.vrf_id(&tenant.name),
                prefix: segment.gateway.prefix,
                interface: self.segment_ref(&tenant.name, segment),
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
            tenant.segments.iter().map(|segment| LocalRoute {
                vrf: self.vrf_id(&tenant.name),
                address: segment.gateway.address,
                interface: Some(self.segment_ref(&tenant.name, segment)),
            })
        });
        uplinks.chain(underlay).chain(segments).collect()
    }

    pub(super) fn statics(&self, config: &Config) -> Vec<StaticRoute> {
        let provider = config
            .routes
            .iter()
            .map(|route| static_route(VrfId::PROVIDER, route));
        let tenants = config.tenants.iter().flat_map(|tenant| {
            let vrf = self.vrf_id(&tenant.name);
            tenant
                .routes
                .iter()
                .map(move |route| static_route(vrf, route))
        });
        let leaked = config.tenants.iter().flat_map(|tenant| {
            let advertised = tenant.segments.iter().filter(|segment| segment.advertise);
            advertised.map(|segment| StaticRoute {
                vrf: VrfId::PROVIDER,
                prefix: segment.gateway.prefix,
                target: StaticTarget::LookupVrf(self.vrf_id(&tenant.name)),
                distance: 1,
            })
        });
        provider.chain(tenants).chain(leaked).collect()
    }

    /// Prefixes that belong to NAT, and prefixes to announce.
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

fn static_route(vrf: VrfId, route: &model::StaticRoute) -> StaticRoute {
    StaticRoute {
        vrf,
        prefix: route.prefix,
        target: match &route.target {
            RouteTarget::NextHops(next_hops) => StaticTarget::NextHops(next_hops.clone()),
            RouteTarget::Provider => StaticTarget::LookupVrf(VrfId::PROVIDER),
            RouteTarget::Discard => StaticTarget::Discard,
        },
        distance: route.distance,
    }
}
