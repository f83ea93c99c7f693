//! BGP, RIB and policy: what decides where a packet goes, without ever touching one.
//!
//! The cores are pure: [`bgp::fsm`] takes events and time and returns actions, [`bgp::codec`] takes
//! and returns octets, [`rib`] takes routes and returns changes for the forwarding tables. Only
//! [`service`] knows tokio: one task owns the RIB and the speaker's tables, one task serves each
//! TCP connection, and every channel between them is bounded.
//!
//! ```text
//! socket -> bgp::codec -> bgp::fsm -> bgp::adj_rib_in -> policy -> bgp::decision -> rib -> FibBatch
//! socket <- bgp::codec <- bgp::adj_rib_out <- policy <- prefixes that may be announced
//! ```
//!
//! # Limitations
//! IPv4 unicast only; the boundary for more is [`bgp::Family`]. No OSPF, no BFD, no TCP-MD5, no GTSM
//! check on receipt, no add-path, no graceful restart beyond End-of-RIB, no maximum-prefix limit, no
//! policy that changes attributes. Only originated prefixes are announced: what one neighbour told
//! is never told to another. A neighbour that stops reading is noticed by the TCP user timeout (30
//! s) or its own hold timer; there is no send hold timer (RFC 9687). Every next hop keeps the set of
//! prefixes that use it, and a next hop that comes or goes walks the BGP table once: right for
//! thousands of routes, to be replaced by shared path lists for millions. Static routes that resolve
//! each other in a circle never forward in a loop, but which of them falls back depends on the order
//! in which they came.

#![forbid(unsafe_code)]

pub mod bgp;
pub mod config;
pub mod fib;
pub mod policy;
pub mod rib;
pub mod route;
pub mod service;
pub mod view;

pub use config::{
    BgpConfig, ConfigureError, NeighborConfig, PrefixList, PrefixRule, RoutingConfig,
};
pub use fib::{FibBatch, FibChange, FibEntry, FibPath};
pub use route::{
    ConnectedRoute, InterfaceKey, InterfaceRef, LinkState, LocalRoute, NatRoute, Originated,
    Protocol, StaticNextHop, StaticRoute, StaticTarget,
};
pub use service::{Options, RoutingHandle, Stopped, start};
pub use view::{
    BgpFilter, BgpPathView, BgpRouteView, BgpSummary, MessageCounters, NeighborView,
    NotificationView, PathView, RouteFilter, RouteKind, RouteView, SessionState,
};
