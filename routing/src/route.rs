//! Routes as the gateway hands them to the RIB, and the interfaces they name.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use sekisho_types::{InterfaceId, Prefix, SegmentId, VrfId};

/// An interface a route can leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InterfaceKey {
    /// An uplink of the provider VRF.
    Uplink(InterfaceId),
    /// A segment of a tenant's VRF.
    Segment(SegmentId),
}

/// An interface with the name people know it by. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceRef {
    /// Which interface.
    pub key: InterfaceKey,
    /// Its name.
    pub name: Arc<str>,
}

impl InterfaceRef {
    /// An uplink.
    pub fn uplink(id: InterfaceId, name: &str) -> Self {
        Self {
            key: InterfaceKey::Uplink(id),
            name: name.into(),
        }
    }

    /// A segment.
    pub fn segment(id: SegmentId, name: &str) -> Self {
        Self {
            key: InterfaceKey::Segment(id),
            name: name.into(),
        }
    }
}

/// Whether an interface can carry packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It can.
    Up,
    /// It cannot: its connected routes and the paths over it are not used.
    Down,
}

/// The prefix of an interface's address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectedRoute {
    /// The routing table.
    pub vrf: VrfId,
    /// The prefix.
    pub prefix: Prefix,
    /// The interface.
    pub interface: InterfaceRef,
}

/// An address of the gateway itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalRoute {
    /// The routing table.
    pub vrf: VrfId,
    /// The address.
    pub address: IpAddr,
    /// The interface that carries it, for people; an interface that is down keeps its address.
    pub interface: Option<InterfaceRef>,
}

/// A prefix of outside addresses that only NAT may answer for (pools, floating IPs, port forwards).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NatRoute {
    /// The routing table: the provider's.
    pub vrf: VrfId,
    /// The prefix.
    pub prefix: Prefix,
}

/// A configured route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StaticRoute {
    /// The routing table.
    pub vrf: VrfId,
    /// The destination.
    pub prefix: Prefix,
    /// Where it leads.
    pub target: StaticTarget,
    /// Administrative distance, 1 to 255; 255 is never used.
    pub distance: u8,
}

/// A next hop of a configured route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StaticNextHop {
    /// Its address.
    pub address: IpAddr,
    /// The interface it is on; needed for a link-local one, which tells nothing of where it is.
    pub interface: Option<InterfaceRef>,
}

/// Where a static route leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StaticTarget {
    /// Over these next hops, equally.
    NextHops(Vec<StaticNextHop>),
    /// Nowhere.
    Discard,
    /// Look the packet up again in another table.
    LookupVrf(VrfId),
}

/// A prefix that may be announced now, because every worker forwards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Originated {
    /// The prefix.
    pub prefix: Prefix,
}

/// Who contributed a route. Ordered by preference among equal administrative distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Addresses of the gateway itself.
    Local,
    /// Prefixes of its interfaces.
    Connected,
    /// Outside addresses of NAT.
    Nat,
    /// The configuration.
    Static,
    /// BGP.
    Bgp,
}

impl Protocol {
    /// The name in lower case, as interfaces to people print it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Connected => "connected",
            Self::Nat => "nat",
            Self::Static => "static",
            Self::Bgp => "bgp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
