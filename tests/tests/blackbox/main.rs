//! The real daemon among real peers. A test's name begins with the row it proves, where there is
//! one; see `docs/conformance.md`.

mod bgp_paths;
mod bgp_policy;
mod bgp_session;
mod config;
mod ends;
mod fragments;
mod ipv6;
mod ipv6_raw;
mod lifecycle;
mod nat;
mod nat_changes;
mod nat_icmp;
mod nat_inbound;
mod nat_log;
mod nat_pools;
mod nat_security;
mod nat_show;
mod nat_tcp;
mod ports;
mod raw;
mod router;
mod show;
mod site;
mod site6;
mod tunnel;
mod tunnel_raw;
