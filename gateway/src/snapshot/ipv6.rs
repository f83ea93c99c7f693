//! What uplinks and segments with IPv6 have besides.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use sekisho_packet::ndp::{self, RouterAdvertisement};
use sekisho_types::Ipv6Prefix;

use super::Segment;
use crate::control::neighbor::Location;

/// The IPv6 side of an uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkV6 {
    /// Our addresses and their connected prefixes; never empty.
    pub addresses: Vec<(Ipv6Addr, Ipv6Prefix)>,
    /// Our link-local address, made of our MAC.
    pub link_local: Ipv6Addr,
}

/// The IPv6 side of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentV6 {
    /// The gateway's address.
    pub gateway: Ipv6Addr,
    /// Its prefix.
    pub prefix: Ipv6Prefix,
    /// The gateway's link-local address, made of its MAC.
    pub link_local: Ipv6Addr,
    /// Whether it is reachable from the provider VRF.
    pub advertise: bool,
    /// Whether its hosts are told prefix, MTU and router.
    pub router_advertisements: bool,
    /// Endpoints that never move, by address.
    pub static_endpoints: HashMap<Ipv6Addr, Location>,
}

impl UplinkV6 {
    /// The source of packets we originate toward `destination`: our address on its connected
    /// prefix, else the first one.
    pub fn source_for(&self, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        let mut addresses = self.addresses.iter();
        let connected = addresses.find(|(_, prefix)| prefix.contains(destination));
        connected
            .or(self.addresses.first())
            .map(|&(address, _)| address)
    }

    /// Whether the address is ours on this uplink.
    pub fn owns(&self, address: Ipv6Addr) -> bool {
        self.own().any(|own| own == address)
    }

    /// Whether the address lies in a connected prefix.
    pub fn is_connected(&self, address: Ipv6Addr) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.any(|(_, prefix)| prefix.contains(address))
    }

    /// Whether we listen to the multicast group.
    pub fn listens_to(&self, group: Ipv6Addr) -> bool {
        listens_to(group, self.own())
    }

    /// All our addresses here.
    pub fn own(&self) -> impl Iterator<Item = Ipv6Addr> {
        let global = self.addresses.iter().map(|&(address, _)| address);
        global.chain([self.link_local])
    }
}

impl SegmentV6 {
    /// Whether the address is the gateway's.
    pub fn owns(&self, address: Ipv6Addr) -> bool {
        address == self.gateway || address == self.link_local
    }

    /// Whether we listen to the multicast group.
    pub fn listens_to(&self, group: Ipv6Addr) -> bool {
        listens_to(group, [self.gateway, self.link_local].into_iter())
    }

    /// The address we ask for a neighbour with: of its own scope.
    pub fn source_for(&self, target: Ipv6Addr) -> Ipv6Addr {
        if target.is_unicast_link_local() {
            self.link_local
        } else {
            self.gateway
        }
    }
}

/// As RFC 4861 section 6.2.1 suggests, in seconds.
const ROUTER_LIFETIME: u16 = 1800;
const VALID_LIFETIME: u32 = 2_592_000;
const PREFERRED_LIFETIME: u32 = 604_800;

impl Segment {
    /// What its hosts are told, if they are.
    pub fn router_advertisement(&self) -> Option<RouterAdvertisement> {
        let ipv6 = self.ipv6.as_ref()?;
        ipv6.router_advertisements.then_some(RouterAdvertisement {
            router_lifetime: ROUTER_LIFETIME,
            prefix: ipv6.prefix,
            valid_lifetime: VALID_LIFETIME,
            preferred_lifetime: PREFERRED_LIFETIME,
            mtu: self.mtu,
        })
    }
}

fn listens_to(group: Ipv6Addr, mut own: impl Iterator<Item = Ipv6Addr>) -> bool {
    group == ndp::ALL_NODES
        || group == ndp::ALL_ROUTERS
        || own.any(|own| group == ndp::solicited_node(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uplink_answers_for_its_own_addresses_and_listens_to_their_groups() {
        let uplink = UplinkV6 {
            addresses: ["2001:db8:a::1", "2001:db8:b::1"]
                .map(|own| {
                    let own: Ipv6Addr = own.parse().unwrap();
                    (own, Ipv6Prefix::truncated(own, 64))
                })
                .to_vec(),
            link_local: "fe80::12".parse().unwrap(),
        };
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        assert!(uplink.owns(address("fe80::12")) && uplink.owns(address("2001:db8:b::1")));
        assert!(!uplink.owns(address("2001:db8:b::2")));
        assert!(uplink.is_connected(address("2001:db8:b::2")));
        let source = uplink.source_for(address("2001:db8:b::9"));
        assert_eq!(source, Some(address("2001:db8:b::1")));
        let source = uplink.source_for(address("2001:db8:99::80"));
        assert_eq!(source, Some(address("2001:db8:a::1")));
        for group in ["ff02::1", "ff02::2", "ff02::1:ff00:1", "ff02::1:ff00:12"] {
            assert!(uplink.listens_to(address(group)), "{group}");
        }
        for group in ["ff02::1:ff00:2", "ff02::16", "ff0e::1"] {
            assert!(!uplink.listens_to(address(group)), "{group}");
        }
    }
}
