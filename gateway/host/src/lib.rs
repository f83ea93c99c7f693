//! The kernel's side of the gateway.
//!
//! - [`HostInterface`]: the TAP through which ordinary sockets reach the provider VRF, and
//!   [`HostPackets`], its IP packets.
//! - [`IngressGuard`]: keeps the kernel from answering what arrives on an interface that an
//!   `af_packet` port reads.
//! - [`LinkMonitor`]: kernel interfaces that go up, go down or vanish.
//! - [`Policer`] and [`ErrorLimiter`]: what one worker may punt, and which ICMP errors it may send.
//! - [`NetNamespace`]: run a closure in another network namespace.
//!
//! Everything here acts in the network namespace of the thread that creates the value, and keeps to
//! that namespace when it is used or dropped on another thread.
//!
//! # Limitations
//! - One gateway per network namespace: the routing table and the rule priority are fixed.
//! - The kernel's weak host model holds: an address of the host interface also answers on the host's
//!   other interfaces. A listener that must not be reached from there binds to the host interface.
//! - A process killed outright leaves its ingress guard behind (its TAP goes with it); the next start
//!   replaces it, and `nft delete table netdev sekisho_INTERFACE` removes it by hand.
//! - The guard does not stop what the kernel sends of its own accord on a guarded interface.
//! - Policers count per worker and origin, not per tenant.

#![forbid(unsafe_code)]

mod error;
mod error_limiter;
mod host_interface;
mod host_packets;
mod ingress_guard;
mod interface_name;
mod link_monitor;
mod namespace;
mod netlink;
mod offloads;
mod policer;
mod source_routing;
#[cfg(test)]
mod testbed;

pub use error::HostError;
pub use error_limiter::ErrorLimiter;
pub use host_interface::{HOST_MAC, HostInterface};
pub use host_packets::HostPackets;
pub use ingress_guard::{Hint, IngressGuard, interface_hints};
pub use link_monitor::{LinkEvent, LinkMonitor, LinkState};
pub use namespace::{NetNamespace, in_namespace};
pub use policer::{Limit, Limits, Origin, Policer, PuntClass};
pub use source_routing::{RULE_PRIORITY, TABLE};
