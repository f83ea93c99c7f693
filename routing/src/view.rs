//! What operators read. Ages are durations at the moment of the answer.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use sekisho_types::{Asn, Name, Prefix, VrfId};

use crate::route::{InterfaceRef, Protocol};

/// Which routes of a table to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteFilter {
    /// All.
    All,
    /// Those to exactly this prefix.
    Exact(Prefix),
    /// Those to this prefix and to all inside it.
    Longer(Prefix),
    /// Those to the longest prefix that contains this address.
    Lookup(IpAddr),
}

/// Which BGP prefixes to show.
pub type BgpFilter = RouteFilter;

/// One candidate of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// The routing table.
    pub vrf: VrfId,
    /// The destination.
    pub prefix: Prefix,
    /// Who contributed it.
    pub protocol: Protocol,
    /// Administrative distance.
    pub distance: u8,
    /// The protocol's metric (BGP: MED, or 0).
    pub metric: u32,
    /// It is the one in use among the prefix's candidates (`>`).
    pub selected: bool,
    /// Every worker forwards by it (`*`).
    pub installed: bool,
    /// Since it last changed.
    pub age: Duration,
    /// What it does.
    pub kind: RouteKind,
    /// Its next hops as they were given and, indented, what they resolve to.
    pub paths: Vec<PathView>,
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Forwards over its paths.
    Paths,
    /// Reaches neighbours on the interface of its only path.
    Connected,
    /// Is an address of the gateway.
    Local,
    /// Belongs to NAT.
    Nat,
    /// Drops.
    Discard,
    /// Looks up again in another table.
    LookupVrf(VrfId),
}

/// One path of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathView {
    /// The next hop, if there is one.
    pub next_hop: Option<IpAddr>,
    /// The interface, unless the next hop is recursive or unreachable.
    pub interface: Option<InterfaceRef>,
    /// Its share of the traffic relative to the other paths.
    pub weight: u16,
    /// It can be used.
    pub active: bool,
    /// The next hop is not on a connected prefix: it is reached over these.
    pub recursive_via: Vec<PathView>,
}

/// The BGP speaker and its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpSummary {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP identifier.
    pub router_id: Ipv4Addr,
    /// Counts changes of the table.
    pub table_version: u64,
    /// Prefixes known.
    pub prefixes: usize,
    /// Paths known.
    pub paths: usize,
    /// Distinct attribute sets held.
    pub attribute_sets: usize,
    /// Prefixes that may be announced now.
    pub originated: usize,
    /// Announcements wait for the neighbours' End-of-RIB and the first forwarding generation.
    pub announcements_deferred: bool,
    /// Connections from addresses that are no neighbour's, closed at once.
    pub refused_connections: u64,
    /// Neighbours by address.
    pub neighbors: Vec<NeighborView>,
}

/// The state of a session (RFC 4271 section 8.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionState {
    /// Refuses connections.
    #[default]
    Idle,
    /// Waits for its own TCP connection.
    Connect,
    /// Waits for the neighbour to connect, or for the next attempt.
    Active,
    /// Waits for an OPEN.
    OpenSent,
    /// Waits for a KEEPALIVE or NOTIFICATION.
    OpenConfirm,
    /// Exchanges routes.
    Established,
}

impl SessionState {
    /// The name as RFC 4271 writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Messages by type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounters {
    /// OPEN.
    pub open: u64,
    /// UPDATE.
    pub update: u64,
    /// NOTIFICATION.
    pub notification: u64,
    /// KEEPALIVE.
    pub keepalive: u64,
    /// ROUTE-REFRESH.
    pub route_refresh: u64,
}

impl MessageCounters {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.open + self.update + self.notification + self.keepalive + self.route_refresh
    }
}

/// A NOTIFICATION that ended a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationView {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Both in words.
    pub name: String,
    /// The shutdown communication (RFC 9003), if it had one.
    pub message: Option<String>,
    /// How long ago.
    pub age: Duration,
}

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborView {
    /// Its address.
    pub address: IpAddr,
    /// Its AS as configured.
    pub remote_as: Asn,
    /// Our AS.
    pub local_as: Asn,
    /// For people.
    pub description: Option<String>,
    /// Its BGP identifier, once it sent an OPEN.
    pub remote_router_id: Option<Ipv4Addr>,
    /// The session.
    pub state: SessionState,
    /// Shut down by configuration.
    pub admin_down: bool,
    /// We wait for it to connect.
    pub passive: bool,
    /// Since the session came up, or since it was lost; `None` if it was never up.
    pub since: Option<Duration>,
    /// How often it came up.
    pub established: u64,
    /// The next attempt to connect.
    pub next_attempt: Option<Duration>,
    /// Our end of the connection.
    pub local: Option<SocketAddr>,
    /// Its end of the connection.
    pub remote: Option<SocketAddr>,
    /// Messages received.
    pub received: MessageCounters,
    /// Messages sent.
    pub sent: MessageCounters,
    /// Messages received and not yet processed.
    pub in_queue: usize,
    /// Messages that wait to be sent, and prefixes that wait to be put into one.
    pub out_queue: usize,
    /// The table version it has been told.
    pub table_version: u64,
    /// Prefixes received, before policy.
    pub prefixes_received: usize,
    /// Prefixes that passed the import policy.
    pub prefixes_accepted: usize,
    /// Prefixes announced.
    pub prefixes_sent: usize,
    /// Prefixes withdrawn because of a malformed UPDATE (RFC 7606).
    pub treated_as_withdraw: u64,
    /// The import prefix list.
    pub import: Option<Name>,
    /// The export prefix list.
    pub export: Option<Name>,
    /// Another AS and no import policy: nothing is accepted (RFC 8212).
    pub import_blocked: bool,
    /// Another AS and no export policy: nothing is announced (RFC 8212).
    pub export_blocked: bool,
    /// Proposed hold time.
    pub configured_hold_time: Duration,
    /// Negotiated hold time; zero: none.
    pub hold_time: Option<Duration>,
    /// Keepalive interval that follows from it; zero: none are sent.
    pub keepalive_interval: Option<Duration>,
    /// Capabilities we announced.
    pub capabilities_sent: Vec<String>,
    /// Capabilities it announced.
    pub capabilities_received: Vec<String>,
    /// We sent End-of-RIB on this session.
    pub end_of_rib_sent: bool,
    /// It sent End-of-RIB on this session.
    pub end_of_rib_received: bool,
    /// Why the session last went down or did not come up.
    pub last_error: Option<String>,
    /// The last NOTIFICATION we sent.
    pub last_notification_sent: Option<NotificationView>,
    /// The last NOTIFICATION it sent.
    pub last_notification_received: Option<NotificationView>,
}

/// One prefix in BGP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpRouteView {
    /// The prefix.
    pub prefix: Prefix,
    /// Its paths, the best first.
    pub paths: Vec<BgpPathView>,
    /// Neighbours it is announced to.
    pub announced_to: Vec<IpAddr>,
}

/// One path in BGP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpPathView {
    /// The neighbour it was learnt from; `None` if we originate it.
    pub peer: Option<IpAddr>,
    /// The neighbour's AS, or ours.
    pub peer_as: Asn,
    /// The neighbour's BGP identifier, or ours.
    pub peer_router_id: Ipv4Addr,
    /// Learnt from our own AS.
    pub internal: bool,
    /// The next hop.
    pub next_hop: Option<IpAddr>,
    /// The AS path, the nearest AS first.
    pub as_path: String,
    /// `IGP`, `EGP` or `incomplete`.
    pub origin: &'static str,
    /// Multi-exit discriminator.
    pub med: Option<u32>,
    /// Local preference in use.
    pub local_pref: u32,
    /// Communities as `65000:1`.
    pub communities: Vec<String>,
    /// Large communities as `65000:1:2`.
    pub large_communities: Vec<String>,
    /// It may be used: accepted by policy, next hop reachable.
    pub valid: bool,
    /// It is the best.
    pub best: bool,
    /// It is used beside the best.
    pub multipath: bool,
    /// Why it is the best, why it lost, or why it is not valid.
    pub reason: String,
    /// The list and rule that rejected it.
    pub rejected_by: Option<String>,
    /// Since it was received; `None` if we originate it.
    pub age: Option<Duration>,
}
