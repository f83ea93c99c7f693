//! The root snapshot: everything a worker reads that changes only when a configuration is
//! committed. Built off the workers, immutable, swapped between bursts as one pointer.

mod ipv6;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sekisho_nat::Policy;
use sekisho_types::{InterfaceId, Ipv4Prefix, MacAddr, Name, SegmentId, Vni, VrfId};

use crate::control::neighbor::Location;
use crate::counters::TrafficCounters;
use crate::own_sources::OwnSources;
use crate::tunnel_table::TunnelTable;

pub use self::ipv6::{SegmentV6, UplinkV6};

/// One committed configuration, as workers see it.
#[derive(Debug)]
pub struct Snapshot {
    /// Which configuration this is.
    pub generation: u64,
    /// The uplink of each port, by port index.
    pub ports: Vec<Option<InterfaceId>>,
    /// Uplinks by id.
    pub uplinks: Vec<Option<Uplink>>,
    /// Segments by id.
    pub segments: Vec<Option<Segment>>,
    /// Tenants by VRF id; the provider's place is empty.
    pub tenants: Vec<Option<Tenant>>,
    /// Segments by their key on the wire.
    pub segment_by_vni: HashMap<Vni, SegmentId>,
    /// The same, and who may send for them, for bursts.
    pub tunnels: TunnelTable,
    /// Which sources from outside might be ours.
    pub own: OwnSources,
    /// Where tunnels end.
    pub underlay: Option<Underlay>,
    /// Remote addresses of configured BGP neighbours, whose packets have a punt class of their own.
    pub bgp_peers: Vec<IpAddr>,
    /// NAT rules, pools, floating IPs and port forwards.
    pub nat: Arc<Policy>,
    /// Whether any segment clamps segment sizes: then no SYN is a regular packet.
    pub clamps_mss: bool,
}

/// An L3 interface of the provider VRF.
#[derive(Debug)]
pub struct Uplink {
    /// Its name.
    pub name: Name,
    /// Index of its port.
    pub port: u16,
    /// Our Ethernet address on it.
    pub mac: MacAddr,
    /// Largest IP packet, in octets.
    pub mtu: u16,
    /// Our addresses and their connected prefixes; the first is the source of what we originate.
    pub addresses: Vec<(Ipv4Addr, Ipv4Prefix)>,
    /// The same for IPv6, if it has such addresses.
    pub ipv6: Option<UplinkV6>,
    /// Whether ICMP errors go out here, other than those about packets that are too big.
    pub icmp_errors: bool,
    /// Whether the sender of a SYN nobody asked for is told so.
    pub answers_syns: bool,
    /// Per worker.
    pub traffic: Arc<[TrafficCounters]>,
}

/// An overlay L2 network of a tenant.
#[derive(Debug)]
pub struct Segment {
    /// Its name.
    pub name: Name,
    /// The tenant's VRF.
    pub vrf: VrfId,
    /// Its key on the wire.
    pub vni: Vni,
    /// The gateway's address.
    pub gateway: Ipv4Addr,
    /// Its prefix.
    pub prefix: Ipv4Prefix,
    /// The gateway's Ethernet address.
    pub mac: MacAddr,
    /// Largest inner IP packet, in octets.
    pub mtu: u16,
    /// VTEPs that may send for it, sorted.
    pub vteps: Vec<Ipv4Addr>,
    /// Whether endpoints are learnt.
    pub learning: bool,
    /// Whether it is reachable without NAT.
    pub advertise: bool,
    /// Endpoints that never move, by address.
    pub static_endpoints: HashMap<Ipv4Addr, Location>,
    /// Its IPv6 side, if it has one.
    pub ipv6: Option<SegmentV6>,
    /// Whether ICMP errors go out here, other than those about packets that are too big.
    pub icmp_errors: bool,
    /// Most octets of a TCP segment from or to it, if they are clamped; less if the way carries less.
    pub mss_clamp: Option<u16>,
    /// Per worker.
    pub traffic: Arc<[TrafficCounters]>,
}

/// A tenant: a VRF and its segments.
#[derive(Debug)]
pub struct Tenant {
    /// Its name.
    pub name: Name,
    /// Its segments.
    pub segments: Vec<SegmentId>,
}

/// Where tunnels end.
#[derive(Clone, Copy, Debug)]
pub struct Underlay {
    /// Our VTEP address.
    pub address: Ipv4Addr,
    /// The UDP port of VXLAN.
    pub vxlan_port: u16,
}

impl Snapshot {
    /// The uplink with that id.
    pub fn uplink(&self, id: InterfaceId) -> Option<&Uplink> {
        self.uplinks.get(id.index())?.as_ref()
    }

    /// The segment with that id.
    pub fn segment(&self, id: SegmentId) -> Option<&Segment> {
        self.segments.get(id.index())?.as_ref()
    }

    /// The tenant whose VRF that is.
    pub fn tenant(&self, vrf: VrfId) -> Option<&Tenant> {
        self.tenants.get(vrf.index())?.as_ref()
    }

    /// The uplink that runs untagged on a port.
    pub fn uplink_of_port(&self, port: u16) -> Option<InterfaceId> {
        *self.ports.get(usize::from(port))?
    }

    /// The segment a VNI names.
    pub fn segment_of_vni(&self, vni: Vni) -> Option<SegmentId> {
        self.segment_by_vni.get(&vni).copied()
    }
}

#[cfg(test)]
impl Snapshot {
    /// A configuration with nothing in it.
    pub(crate) fn for_tests() -> Self {
        use sekisho_nat::{Generation, OutsideOwners, PolicyInput, Seed, Steering};
        let owners = Arc::new(OutsideOwners::new(1).unwrap());
        let steering = Steering::new(Seed::new([1; 32]), 1);
        let input = PolicyInput::default();
        let nat = Policy::build(&input, Generation::new(1), steering, &owners).unwrap();
        Self {
            generation: 1,
            ports: Vec::new(),
            uplinks: Vec::new(),
            segments: Vec::new(),
            tenants: Vec::new(),
            segment_by_vni: HashMap::new(),
            tunnels: TunnelTable::default(),
            own: OwnSources::default(),
            underlay: None,
            bgp_peers: Vec::new(),
            nat: Arc::new(nat),
            clamps_mss: false,
        }
    }
}

impl Uplink {
    /// The source of packets we originate toward `destination`: our address on its connected
    /// prefix, else the first one (RFC 1812 section 4.3.2.4).
    pub fn source_for(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        let connected = self
            .addresses
            .iter()
            .find(|(_, prefix)| prefix.contains(destination));
        connected
            .or(self.addresses.first())
            .map(|&(address, _)| address)
    }

    /// Whether the address is ours on this uplink.
    pub fn owns(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|&(own, _)| own == address)
    }

    /// Whether the address lies in a connected prefix.
    pub fn is_connected(&self, address: Ipv4Addr) -> bool {
        self.addresses
            .iter()
            .any(|&(_, prefix)| prefix.contains(address))
    }
}

impl Segment {
    /// Whether that VTEP may send for the segment.
    pub fn has_vtep(&self, vtep: Ipv4Addr) -> bool {
        self.vteps.binary_search(&vtep).is_ok()
    }
}
