//! The validated configuration: what the rest of the gateway reads. A value of these types has
//! passed every check of `validate`; names refer to things that exist.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sekisho_types::{Asn, IpProtocol, Ipv4Prefix, MacAddr, Name, PciAddress, Prefix, Vni};

/// One whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The process itself. A change of it needs a restart.
    pub gateway: Gateway,
    /// Where tunnels end; without it there are no segments.
    pub underlay: Option<Underlay>,
    /// DPDK ports, by name.
    pub ports: Vec<Port>,
    /// L3 interfaces of the provider VRF, by name.
    pub uplinks: Vec<Uplink>,
    /// Static routes of the provider VRF.
    pub routes: Vec<StaticRoute>,
    /// The BGP speaker.
    pub bgp: Option<Bgp>,
    /// Prefix lists, by name.
    pub prefix_lists: Vec<PrefixList>,
    /// NAT pools, by name.
    pub nat_pools: Vec<NatPool>,
    /// NAT timers.
    pub nat: NatTimers,
    /// The translation log.
    pub nat_log: NatLog,
    /// Tenants, by name.
    pub tenants: Vec<Tenant>,
}

/// `[gateway]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// How the node calls itself.
    pub hostname: Name,
    /// Forwarding lcores, 1 to 64.
    pub workers: u8,
    /// CPUs the workers are pinned to, one each; empty: spread over those the process may use.
    pub cpus: Vec<u16>,
    /// Whether DPDK memory comes from hugepages.
    pub hugepages: Hugepages,
    /// DPDK memory, in MiB.
    pub memory_mib: u32,
    /// Most NAT sessions in all, over all workers.
    pub max_sessions: u32,
    /// Whether it is counted what each NAT session carries.
    pub session_counters: bool,
    /// Where the gRPC server listens.
    pub api_socket: PathBuf,
    /// The name of the kernel interface through which local sockets reach the provider VRF.
    pub host_interface: String,
}

/// Whether DPDK memory comes from hugepages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hugepages {
    /// When there are enough of them.
    Auto,
    /// Never.
    Never,
    /// Always; refuse to start without.
    Require,
}

/// `[underlay]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Underlay {
    /// Our VTEP address; also an address of the gateway in the provider VRF.
    pub address: Ipv4Addr,
    /// The UDP port of VXLAN, 4789 by default (RFC 7348).
    pub vxlan_port: u16,
}

/// `[[port]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: Name,
    /// What drives it.
    pub kind: PortKind,
    /// The Ethernet address; by default the driver's.
    pub mac: Option<MacAddr>,
    /// Largest IP packet, in octets.
    pub mtu: u16,
}

/// What drives a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// The daemon creates the kernel interface `interface`; what the kernel sends into it arrives
    /// here. With `namespace`, it is created in that network namespace.
    Tap {
        /// The kernel interface.
        interface: String,
        /// The network namespace the kernel interface is put into.
        namespace: Option<Name>,
    },
    /// A packet socket on the existing kernel interface `interface`.
    AfPacket {
        /// The kernel interface.
        interface: String,
    },
    /// A program at the XDP hook of the existing kernel interface `interface`.
    AfXdp {
        /// The kernel interface.
        interface: String,
    },
    /// Memory shared with another process.
    Memif(Memif),
    /// A NIC that the kernel leaves to whoever opens it.
    Pci {
        /// Where it sits.
        address: PciAddress,
    },
}

/// One end of memory shared with another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memif {
    /// The socket at which both ends meet.
    pub socket: PathBuf,
    /// Tells pairs at the same socket apart.
    pub id: u32,
    /// Which end this is.
    pub role: MemifRole,
    /// What the client must know, if anything.
    pub secret: Option<String>,
    /// Packets that wait in each direction of each queue; a power of two.
    pub ring_size: u32,
}

/// Which end of a memif.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemifRole {
    /// Makes the socket and waits for clients.
    Server,
    /// Connects to a server.
    Client,
}

/// `[[uplink]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its name.
    pub name: Name,
    /// The port it runs on.
    pub port: Name,
    /// Addresses of either family with the length of their connected prefix; at least one.
    pub addresses: Vec<InterfaceAddress>,
    /// Largest IP packet, in octets; at most the port's.
    pub mtu: u16,
    /// Whether ICMP errors go out here, other than those about packets that are too big.
    pub icmp_errors: bool,
    /// What becomes of a SYN nobody asked for.
    pub unsolicited_syn: UnsolicitedSyn,
}

/// What becomes of a SYN to a shared address that nobody asked for (RFC 5382 REQ-4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnsolicitedSyn {
    /// Its sender is told after six seconds, unless the connection was opened from inside.
    #[default]
    Unreachable,
    /// Its sender is told nothing.
    Silent,
}

/// An address and the length of the prefix it is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Our address.
    pub address: IpAddr,
    /// The connected prefix.
    pub prefix: Prefix,
}

/// `[[route]]` and `[[tenant.route]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// The destination.
    pub prefix: Prefix,
    /// Where it leads.
    pub target: RouteTarget,
    /// Administrative distance, 1 by default.
    pub distance: u8,
}

/// A next hop of a static route; written `ADDRESS`, or `ADDRESS%INTERFACE` if it is link-local.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// Its address.
    pub address: IpAddr,
    /// The uplink, or in a tenant the segment, of a link-local address; none of any other.
    pub interface: Option<Name>,
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.interface {
            Some(interface) => write!(f, "{}%{interface}", self.address),
            None => self.address.fmt(f),
        }
    }
}

/// Where a static route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Over these next hops, equally.
    NextHops(Vec<NextHop>),
    /// Look the packet up again in the provider VRF (tenant routes only).
    Provider,
    /// Nowhere.
    Discard,
}

/// `[bgp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bgp {
    /// Our AS.
    pub asn: Asn,
    /// The BGP identifier; never 0.
    pub router_id: Ipv4Addr,
    /// Most equal-cost paths, 1 to 64.
    pub maximum_paths: u8,
    /// Neighbours, by address.
    pub neighbors: Vec<BgpNeighbor>,
}

/// `[[bgp.neighbor]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpNeighbor {
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub remote_as: Asn,
    /// For people.
    pub description: Option<String>,
    /// The prefix list that filters what we accept; `None`: nothing is accepted (RFC 8212).
    pub import: Option<Name>,
    /// The prefix list that filters what we announce; `None`: nothing is announced (RFC 8212).
    pub export: Option<Name>,
    /// Proposed hold time; zero or at least 3 s.
    pub hold_time: Duration,
    /// First pause between attempts to connect; grows with each failure.
    pub connect_retry_time: Duration,
    /// Wait for the neighbour to connect.
    pub passive: bool,
    /// Our address of the session; by default the address on the neighbour's connected prefix.
    pub local_address: Option<IpAddr>,
    /// Administratively down.
    pub shutdown: bool,
}

/// `[[prefix-list]]`: the first rule that matches decides; none matching denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixList {
    /// Its name.
    pub name: Name,
    /// Rules in order.
    pub rules: Vec<PrefixRule>,
}

/// One rule of a prefix list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixRule {
    /// Permit or deny what matches.
    pub permit: bool,
    /// Matches prefixes inside this one ...
    pub prefix: Prefix,
    /// ... at least this long (by default exactly the prefix's length) ...
    pub ge: u8,
    /// ... and at most this long.
    pub le: u8,
}

/// `[[nat-pool]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatPool {
    /// Its name.
    pub name: Name,
    /// Addresses, as prefixes: ranges are split. Disjoint from everything else outside.
    pub addresses: Vec<Ipv4Prefix>,
    /// First and last port handed out; 1024 to 65535 by default.
    pub ports: (u16, u16),
    /// Ports of a block.
    pub block_size: u16,
    /// Most blocks of a host, if there is a limit.
    pub blocks_per_host: Option<u16>,
    /// Whether hosts have blocks of their own.
    pub allocation: Allocation,
    /// Whether even inside ports prefer even outside ports, and odd ones odd.
    pub preserve_parity: bool,
    /// Whether inside ports below 1024 prefer outside ports below 1024.
    pub preserve_class: bool,
    /// Whether BGP may announce its addresses.
    pub advertise: bool,
}

/// How the ports of a pool are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// A host has blocks of its own.
    #[default]
    Blocks,
    /// Hosts draw single ports.
    Ports,
}

/// `[nat]`: idle time-outs (RFC 4787, 5382, 5508).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatTimers {
    /// UDP, 300 s.
    pub udp: Duration,
    /// Established TCP, 7440 s.
    pub tcp_established: Duration,
    /// TCP that opens or closes, 240 s.
    pub tcp_transitory: Duration,
    /// ICMP queries, 60 s.
    pub icmp: Duration,
    /// UDP toward some well-known ports, if it is shorter.
    pub short_udp: Duration,
    /// Those ports; none by default.
    pub short_udp_ports: Vec<u16>,
    /// Whether what comes in keeps a session alive.
    pub inbound_refresh: bool,
    /// How long a port everybody was let in by is kept back after use, 120 s.
    pub port_quarantine: Duration,
}

/// `[nat-log]`: who had which outside address and port, and when (RFC 6888 REQ-12, REQ-14).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatLog {
    /// What is logged of tenants that say nothing else.
    pub level: LogLevel,
    /// Whether sessions are logged with their remote side.
    pub destinations: bool,
    /// A file of one JSON object a line.
    pub file: Option<PathBuf>,
    /// Whether it goes into the daemon's own log, too.
    pub journal: bool,
    /// Collectors of IPFIX over UDP (RFC 7011, RFC 8158).
    pub collectors: Vec<SocketAddr>,
    /// The address they are sent from.
    pub source: Option<IpAddr>,
    /// How often they are told what the records mean.
    pub template_interval: Duration,
}

/// How much of a tenant's translations is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing.
    #[default]
    None,
    /// Blocks of ports, one record for 64.
    Blocks,
    /// Mappings.
    Mappings,
    /// Sessions.
    Sessions,
}

impl LogLevel {
    /// How it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Blocks => "blocks",
            Self::Mappings => "mappings",
            Self::Sessions => "sessions",
        }
    }
}

/// `[[tenant]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name, which is also the name of its VRF.
    pub name: Name,
    /// Overlay L2 networks.
    pub segments: Vec<Segment>,
    /// Static routes of the tenant's VRF.
    pub routes: Vec<StaticRoute>,
    /// Source translation, the first rule that matches decides.
    pub snat: Vec<SnatRule>,
    /// Floating IPs.
    pub floating_ips: Vec<FloatingIp>,
    /// Port forwards.
    pub port_forwards: Vec<PortForward>,
    /// Most NAT sessions it may have, if there is a limit.
    pub max_sessions: Option<u32>,
    /// Most NAT sessions it may open in a second, if there is a limit.
    pub max_new_sessions: Option<u32>,
    /// Most outside ports it may have, if there is a limit.
    pub max_ports: Option<u32>,
    /// Sessions that other tenants leave it room for.
    pub reserved_sessions: u32,
    /// Most NAT sessions one of its hosts may have, if there is a limit.
    pub max_sessions_per_host: Option<u32>,
    /// Most NAT sessions one of its hosts may open in a second, if there is a limit.
    pub max_new_sessions_per_host: Option<u32>,
    /// Most outside ports one of its hosts may have, if there is a limit.
    pub max_ports_per_host: Option<u32>,
    /// What is logged of its translations, if not what `[nat-log]` says.
    pub nat_log: Option<LogLevel>,
}

/// `[[tenant.segment]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its name, unique in the tenant.
    pub name: Name,
    /// Its key on the wire, unique on the gateway.
    pub vni: Vni,
    /// The gateway's address and the segment's prefix.
    pub gateway: InterfaceAddress,
    /// The same for IPv6, if the segment has it.
    pub gateway6: Option<InterfaceAddress>,
    /// The gateway's Ethernet address; derived from the VNI by default.
    pub mac: MacAddr,
    /// Largest inner IP packet; by default what fits the underlay.
    pub mtu: u16,
    /// VTEPs that may send for this segment and to which broadcast is replicated.
    pub vteps: Vec<Ipv4Addr>,
    /// Whether endpoints are learnt from traffic, ARP and neighbour discovery.
    pub learning: bool,
    /// Whether the prefix is reachable from the provider VRF without NAT, and announced.
    pub advertise: bool,
    /// Whether the IPv6 prefix is reachable from the provider VRF: there is no translation.
    pub advertise6: bool,
    /// Whether hosts of the segment are told the IPv6 prefix, MTU and router.
    pub router_advertisements: bool,
    /// Whether ICMP errors go out here, other than those about packets that are too big.
    pub icmp_errors: bool,
    /// What becomes of the maximum segment size of TCP connections from and to the segment.
    pub mss_clamp: MssClamp,
    /// Endpoints that never age.
    pub endpoints: Vec<StaticEndpoint>,
}

/// What becomes of the maximum segment size a SYN offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MssClamp {
    /// It stays.
    #[default]
    Off,
    /// It becomes no more than fits the way.
    Auto,
    /// It becomes no more than that, nor than fits the way.
    To(u16),
}

/// `[[tenant.segment.endpoint]]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticEndpoint {
    /// Inner address, inside one of the segment's prefixes.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// The VTEP behind which it lives.
    pub vtep: Ipv4Addr,
}

/// `[[tenant.snat]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnatRule {
    /// Inside sources it matches.
    pub source: Ipv4Prefix,
    /// Remote destinations it matches; `None` is all.
    pub destination: Option<Ipv4Prefix>,
    /// What the sources become.
    pub to: SnatTarget,
    /// Whether an inside address and port keeps its outside ones.
    pub mapping: MappingMode,
    /// Who is let in toward them.
    pub filtering: Filtering,
    /// Time-outs that differ from those of `[nat]`.
    pub timeouts: RuleTimeouts,
}

/// Whether an inside address and port keeps its outside address and port (RFC 4787 section 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MappingMode {
    /// Toward everybody.
    #[default]
    EndpointIndependent,
    /// Toward one remote address and port; others may use them toward another.
    EndpointDependent,
}

/// Idle time-outs of a rule's sessions; `None` is that of `[nat]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// Who is let in through a mapping (RFC 4787 section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filtering {
    /// Everybody.
    EndpointIndependent,
    /// The addresses the inside has sent to.
    #[default]
    AddressDependent,
    /// The addresses and ports the inside has sent to.
    AddressAndPortDependent,
}

/// What a source becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnatTarget {
    /// An address of this pool.
    Pool(Name),
    /// The first address of the uplink the packet leaves by.
    Uplink,
    /// Itself: no translation.
    None,
}

/// `[[tenant.floating-ip]]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatingIp {
    /// The outside address.
    pub outside: Ipv4Addr,
    /// The inside address.
    pub inside: Ipv4Addr,
}

/// `[[tenant.port-forward]]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortForward {
    /// TCP or UDP.
    pub protocol: IpProtocol,
    /// Outside address and port.
    pub outside: (Ipv4Addr, u16),
    /// Inside address and port.
    pub inside: (Ipv4Addr, u16),
}
