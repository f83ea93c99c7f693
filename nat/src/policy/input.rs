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
    /// How they are handed out.
    pub allocation: Allocation,
}

/// How the ports of a pool are handed out to the hosts behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Ports of a block (RFC 7422 section 2): 64 times a power of two, at most 4096.
    pub block_size: u16,
    /// Most blocks a host may hold. With a limit it never gets a port of another host's block.
    pub blocks_per_host: Option<u16>,
    /// Whether hosts have no blocks of their own but draw from those of a worker.
    pub single_ports: bool,
    /// Whether even inside ports prefer even outside ports, and odd ones odd (RFC 4787 REQ-4).
    pub preserve_parity: bool,
    /// Whether inside ports below 1024 prefer outside ports below 1024 (RFC 4787 REQ-3), which the
    /// pool then may have.
    pub preserve_class: bool,
}

impl Default for Allocation {
    fn default() -> Self {
        Self {
            block_size: 64,
            blocks_per_host: None,
            single_ports: false,
            preserve_parity: false,
            preserve_class: false,
        }
    }
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
    /// How much it may have.
    pub limits: Limits,
}

impl VrfInput {
    /// A VRF in which nothing is translated.
    pub const fn new(id: VrfId) -> Self {
        Self {
            id,
            snat: Vec::new(),
            floating_ips: Vec::new(),
            port_forwards: Vec::new(),
            limits: Limits::NONE,
        }
    }
}

/// How much a tenant and its hosts may have; `None` is no limit (RFC 6888 REQ-4 and REQ-5). A host
/// always is one worker's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Sessions, on all workers together.
    pub sessions: Option<u32>,
    /// Sessions it may open in a second on each worker; at least 1.
    pub new_sessions: Option<u32>,
    /// Outside ports, all protocols and workers together.
    pub ports: Option<u32>,
    /// Sessions that others cannot take away: each worker always keeps room for so many.
    pub reserved_sessions: u32,
    /// Sessions of a host.
    pub host_sessions: Option<u32>,
    /// Sessions a host may open in a second; at least 1.
    pub host_new_sessions: Option<u32>,
    /// Outside ports of a host, all protocols together.
    pub host_ports: Option<u32>,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self {
        sessions: None,
        new_sessions: None,
        ports: None,
        reserved_sessions: 0,
        host_sessions: None,
        host_new_sessions: None,
        host_ports: None,
    };
}

/// A source translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnatRule {
    /// Inside sources it matches.
    pub source: Ipv4Prefix,
    /// Remote destinations it matches; `None` is all.
    pub destination: Option<Ipv4Prefix>,
    /// What the sources become.
    pub target: SnatTarget,
    /// Whether an inside tuple keeps its outside tuple.
    pub mapping: MappingMode,
    /// What is let in toward them.
    pub filtering: Filtering,
    /// Time-outs that differ from the policy's.
    pub timeouts: RuleTimeouts,
}

impl SnatRule {
    /// A rule for all destinations, with the default of everything else.
    pub const fn new(source: Ipv4Prefix, target: SnatTarget) -> Self {
        Self {
            source,
            destination: None,
            target,
            mapping: MappingMode::EndpointIndependent,
            filtering: Filtering::AddressDependent,
            timeouts: RuleTimeouts {
                udp: None,
                tcp_established: None,
                tcp_transitory: None,
                icmp: None,
            },
        }
    }

    /// Who is let in toward its sources: only exact remotes where a mapping is toward one of them.
    #[inline]
    pub const fn filter(&self) -> Filtering {
        match self.mapping {
            MappingMode::EndpointIndependent => self.filtering,
            MappingMode::EndpointDependent => Filtering::AddressAndPortDependent,
        }
    }

    /// Whether it matches a source and a destination.
    #[inline]
    pub fn matches(&self, inside: Ipv4Addr, remote: Ipv4Addr) -> bool {
        self.source.contains(inside)
            && self
                .destination
                .is_none_or(|destination| destination.contains(remote))
    }
}

/// Whether an inside tuple keeps its outside tuple (RFC 4787 section 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MappingMode {
    /// It is the same toward everybody.
    #[default]
    EndpointIndependent,
    /// It is another toward each remote address and port, and may serve several inside tuples at a
    /// time toward different ones (port overloading). Exactly those remotes are let in.
    EndpointDependent,
}

/// Idle time-outs of the sessions of a rule; `None` is the policy's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RuleTimeouts {
    /// UDP.
    pub udp: Option<Duration>,
    /// Established TCP.
    pub tcp_established: Option<Duration>,
    /// TCP that opens or closes.
    pub tcp_transitory: Option<Duration>,
    /// ICMP queries.
    pub icmp: Option<Duration>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// UDP toward [`Self::udp_short_ports`] (RFC 4787 REQ-5a), whatever the rule.
    pub udp_short: Duration,
    /// Well-known ports with the shorter time-out, below 1024; others are not looked at.
    pub udp_short_ports: Vec<u16>,
    /// How long a port is kept back after a mapping that let everybody in (RFC 6888 REQ-8).
    pub quarantine: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            udp: Duration::from_secs(300),
            tcp_established: Duration::from_secs(7440),
            tcp_transitory: Duration::from_secs(240),
            icmp: Duration::from_secs(60),
            inbound_refresh: true,
            udp_short: Duration::from_secs(300),
            udp_short_ports: Vec::new(),
            quarantine: Duration::from_secs(120),
        }
    }
}
