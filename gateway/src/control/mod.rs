//! The control plane of the gateway: what keeps the workers' tables right.
//!
//! - `dataplane`: the task that owns the forwarding tables' writer, the neighbours and the rings
//!   to the workers;
//! - `manager`: configurations, from text to running; answers the API;
//! - `host`: the thread between the rings and the kernel's host interface.

pub mod adjacencies;
pub mod announcer;
pub mod dataplane;
mod discovery;
pub mod host;
pub mod ids;
pub mod links;
pub mod manager;
pub mod neighbor;
pub mod plan;
pub mod views;
mod ways;
pub mod workers;
