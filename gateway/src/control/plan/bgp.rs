//! The routing service's configuration.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use sekisho_mgmt::config::model::{self, BgpNeighbor, Config};
use sekisho_routing::{BgpConfig, NeighborConfig, PrefixList, PrefixRule, RoutingConfig};

/// The speaker, its neighbours and the prefix lists.
pub(super) fn routing_config(config: &Config) -> RoutingConfig {
    let bgp = config.bgp.as_ref().map(|bgp| {
        let neighbors: Vec<_> = bgp
            .neighbors
            .iter()
            .map(|neighbor| neighbor_config(config, neighbor))
            .collect();
        let local: BTreeSet<IpAddr> = neighbors
            .iter()
            .filter_map(|neighbor| neighbor.local_address)
            .collect();
        BgpConfig {
            asn: bgp.asn,
            router_id: bgp.router_id,
            maximum_paths: bgp.maximum_paths,
            listen: local
                .into_iter()
                .map(|address| SocketAddr::new(address, NeighborConfig::PORT))
                .collect(),
            neighbors,
        }
    });
    let rule = |rule: &model::PrefixRule| PrefixRule {
        permit: rule.permit,
        prefix: rule.prefix,
        ge: rule.ge,
        le: rule.le,
    };
    RoutingConfig {
        bgp,
        prefix_lists: config
            .prefix_lists
            .iter()
            .map(|list| PrefixList {
                name: list.name.clone(),
                rules: list.rules.iter().map(rule).collect(),
            })
            .collect(),
    }
}

fn neighbor_config(config: &Config, neighbor: &BgpNeighbor) -> NeighborConfig {
    let on_link = || {
        let mut addresses = config.uplinks.iter().flat_map(|uplink| &uplink.addresses);
        let address = addresses.find(|address| address.prefix.contains(neighbor.address))?;
        Some(address.address)
    };
    NeighborConfig {
        address: neighbor.address,
        port: NeighborConfig::PORT,
        remote_as: neighbor.remote_as,
        description: neighbor.description.clone(),
        import: neighbor.import.clone(),
        export: neighbor.export.clone(),
        hold_time: neighbor.hold_time,
        connect_retry_time: neighbor.connect_retry_time,
        passive: neighbor.passive,
        local_address: neighbor.local_address.or_else(on_link),
        shutdown: neighbor.shutdown,
        shutdown_message: None,
    }
}
