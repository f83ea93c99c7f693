//! How the gateway is told what to do, and how it is looked at: the [configuration](config), the
//! [API](api) `sekisho.v1`, the gRPC [server] that the daemon runs, the [command line](cli), and the
//! file of the [translation log](nat_log).
//!
//! Nothing here knows the data plane: the daemon implements [`server::Backend`], and the command
//! line builds and runs where there is no DPDK.
//!
//! # Limitations
//!
//! - NAT, the underlay and BGP are IPv4 only; IPv6 BGP neighbours are refused
//!   (`config/validate/family.rs`).
//! - There is one running generation: no history, no rollback, no confirmation, no etag.
//! - The server listens on a unix socket only, for whoever may open it; there are no roles, and the
//!   socket's group is the daemon's.
//! - The command line holds an answer as a whole before it shows it.

#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod config;
pub mod nat_log;
pub mod server;
pub mod session_match;

/// Where the gRPC server listens unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/sekisho/sekisho.sock";
