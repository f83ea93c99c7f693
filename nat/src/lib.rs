//! The NAT engine: rules, mappings, sessions, ports, timers.
