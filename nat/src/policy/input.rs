//! What a policy is built from.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::time::Duration;

use sekisho_types::{InterfaceId, IpProtocol, Ipv4Prefix, VrfId};

/// A pool, by a number the caller gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(u16);

impl PoolId {
    /// Wraps a number the gateway handed out.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Everything a policy says.
#[derive(Clone, Debug, Default)]
pub struct PolicyInput {
    /// Pools of outside addresses.
    pub pools: Vec<PoolInput>,
    /// The gateway's own addresses.
    pub uplinks: Vec<UplinkInput>,
    /// Ports of uplink addresses that are not handed out, beside [`super::GATEWAY_PORTS`]: at least
    /// the kernel's ephemeral range.
    pub uplink_reserved: Vec<RangeInclusive<u16>>,
    /// The tenants.
    pub vrfs: Vec<VrfInput>,
    /// Idle time-outs.
    pub timers: Timers,
}

/// A pool of outside addresses for SNAT.
#[derive(Clone, Debug)]
pub struct PoolInput {
    /// Its number.
    pub id: PoolId,
    /// Its addresses. Floating IPs among them are left out.
    pub addresses: Vec<Ipv4Prefix>,
    /// The ports handed out, within [`super::DYNAMIC_PORTS`].
    pub ports: RangeInclusive<u16>,
}

/// An uplink and its own addresses.
#[derive(Clone, Debug)]
pub struct UplinkInput {
    /// Its number.
    pub id: InterfaceId,
    /// Its addresses; SNAT uses the first.
    pub addresses: Vec<Ipv4Addr>,
}

/// What is translated in one VRF.
#[derive(Clone, Debug)]
pub struct VrfInput {
    /// Its number.
    pub id: VrfId,
    /// SNAT rules; the first that matches decides.
    pub snat: Vec<SnatRule>,
    /// Floating IPs.
    pub floating_ips: Vec<FloatingIp>,
    /// Port forwards.
    pub port_forwards: Vec<PortForward>,
    /// Most sessions it may have on each worker, if there is a limit (RFC 6888 REQ-4).
    pub max_sessions: Option<u32>,
    /// Most sessions it may open in a second on each worker, if there is a limit (RFC 6888 REQ-5); at
    /// least 1.
    pub max_new_sessions: Option<u32>,
    /// Most ports one of its hosts may have at a time, all protocols together, if there is a limit
    /// (RFC 6888 REQ-4).
    pub max_host_ports: Option<u32>,
}

/// A source translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnatRule {
    /// Inside sources it matches.
    pub source: Ipv4Prefix,
    /// What they become.
    pub target: SnatTarget,
    /// What is let in toward them.
    pub filtering: Filtering,
}

/// What a source becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnatTarget {
    /// An address of this pool.
    Pool(PoolId),
    /// The first address of the uplink the packet leaves by.
    Uplink,
    /// Itself: no translation.
    NoNat,
}

/// What is let in through a mapping (RFC 4787 section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Filtering {
    /// Everything.
    EndpointIndependent,
    /// What comes from an address the inside has sent to.
    #[default]
    AddressDependent,
    /// What comes from an address and port the inside has sent to.
    AddressAndPortDependent,
}

/// An outside address that stands for one inside address, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatingIp {
    /// The outside address.
    pub outside: Ipv4Addr,
    /// The inside address.
    pub inside: Ipv4Addr,
}

/// An outside address and port that lead to an inside address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortForward {
    /// TCP or UDP.
    pub protocol: IpProtocol,
    /// Outside address and port: of a pool, of an uplink, or of neither.
    pub outside: SocketAddrV4,
    /// Inside address and port.
    pub inside: SocketAddrV4,
}

/// Idle time-outs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// UDP (RFC 4787 REQ-5: not below 120 s, 300 s recommended).
    pub udp: Duration,
    /// Established TCP (RFC 5382 REQ-5: not below 7440 s).
    pub tcp_established: Duration,
    /// TCP that opens or closes (RFC 5382 REQ-5: not below 240 s).
    pub tcp_transitory: Duration,
    /// ICMP queries (RFC 5508 REQ-2: not below 60 s).
    pub icmp: Duration,
    /// Whether what comes inbound keeps a session alive (RFC 4787 REQ-6); outbound always does.
    pub inbound_refresh: bool,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            udp: Duration::from_secs(300),
            tcp_established: Duration::from_secs(7440),
            tcp_transitory: Duration::from_secs(240),
            icmp: Duration::from_secs(60),
            inbound_refresh: true,
        }
    }
}
