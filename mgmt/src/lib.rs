//! API, configuration, gRPC server and the `sekisho` CLI. Knows only `types`.

#![forbid(unsafe_code)]

pub mod api;
pub mod config;
pub mod server;

/// Where the gRPC server listens unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/sekisho/sekisho.sock";
