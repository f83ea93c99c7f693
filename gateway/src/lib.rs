//! The data plane and the daemon.

#![forbid(unsafe_code)]

pub mod control;
pub mod counters;
pub mod daemon;
pub mod drops;
pub mod nat_log;
pub mod own_sources;
pub mod snapshot;
pub mod tunnel_table;
pub mod worker;
