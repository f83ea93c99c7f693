//! API, configuration, gRPC server and the `sekisho` CLI. Knows only `types`.

#![forbid(unsafe_code)]

pub mod config;
