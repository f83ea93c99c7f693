//! Black-box tests: the real daemon among real peers in network namespaces.
//!
//! The library is the laboratory the tests and the demo share: [`lab`] has the pieces (hosts,
//! hypervisors, routers, servers, captures, the daemon), [`topology`] puts them together, and
//! [`config`] writes the gateway's configuration for that topology. The tests themselves are in
//! `tests/tests/`, one module per subject; a test's name begins with the row it proves.
//!
//! # Limitations
//!
//! - Needs root, network namespaces, and the packages that `./run` installs.
//! - A lab whose owner was killed is swept away by the next lab, not at once.
//! - Kernel VXLAN is the only hypervisor; FRR and BIRD are the only routers.

#![forbid(unsafe_code)]

pub mod config;
pub mod lab;
pub mod topology;
