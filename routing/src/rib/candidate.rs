//! A route as one source offers it.

use std::net::IpAddr;

use sekisho_types::VrfId;

use crate::route::{InterfaceRef, Protocol};

/// Who offers a route. Ordered by preference: distance first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Administrative distance; [`Source::NEVER`] is never used.
    pub distance: u8,
    /// The protocol.
    pub protocol: Protocol,
    /// Which instance of the protocol.
    pub instance: u16,
}

impl Source {
    /// The distance of a route that is never used.
    pub const NEVER: u8 = 255;
    /// Learnt from another AS.
    pub const EXTERNAL: Self = Self::new(20, Protocol::Bgp);
    /// Learnt from our own AS.
    pub const INTERNAL: Self = Self::new(200, Protocol::Bgp);

    /// The only instance of a protocol.
    pub const fn new(distance: u8, protocol: Protocol) -> Self {
        Self {
            distance,
            protocol,
            instance: 0,
        }
    }
}

/// What is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it leads.
    pub target: Target,
    /// The protocol's metric.
    pub metric: u32,
}

impl Candidate {
    /// With metric 0.
    pub const fn new(target: Target) -> Self {
        Self { target, metric: 0 }
    }

    /// The next hops it names.
    pub fn next_hops(&self) -> &[NextHop] {
        match &self.target {
            Target::NextHops(next_hops) => next_hops,
            _ => &[],
        }
    }
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To neighbours on an interface.
    Connected(InterfaceRef),
    /// To the gateway itself.
    Local(Option<InterfaceRef>),
    /// To NAT.
    Nat,
    /// Nowhere.
    Discard,
    /// To another table.
    LookupVrf(VrfId),
    /// Over next hops.
    NextHops(Vec<NextHop>),
}

/// A next hop, before it is resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// Its address.
    pub address: IpAddr,
    /// Its share of the traffic relative to the others, at least 1.
    pub weight: u16,
    /// What it may be resolved by.
    pub via: Via,
    /// The interface it is on, if it is named: no route is asked then.
    pub interface: Option<InterfaceRef>,
}

/// What may resolve a next hop. The default route never does: a next hop that is gone must not be
/// sought behind whoever offers the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// Connected prefixes only.
    Connected,
    /// Any route but the default.
    Any,
}
