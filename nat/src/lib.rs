//! The NAT engine: rules, mappings, sessions, ports, timers.
//!
//! A pure library: time, the keys of packets and randomness are parameters; it does no I/O and
//! starts no threads.
//!
//! - [`Policy`]: the rules of one configuration, immutable, shared by all workers, and the questions
//!   steering asks of it.
//! - [`OutsideOwners`]: which worker owns which block of ports of which outside address; the only
//!   thing workers share, made of atomics.
//! - [`Engine`]: the sessions and mappings of one worker.
//! - [`Fragments`]: what the fragments of a packet have in common, so that those without ports go the way
//!   of the first.
//! - [`LogEvent`]: what the translation log is told.
//!
//! Mapping is endpoint-independent, filtering address-dependent by default, pooling paired
//! (RFC 4787, RFC 5382, RFC 5508, RFC 7857).
//!
//! # Limitations
//! - IPv4 only, and TCP, UDP and ICMP queries only: other protocols pass floating IPs but cannot
//!   share an address.
//! - No endpoint-dependent mapping with port overloading, no limits per tenant or host.
//! - A freed port may be handed out again at once, chosen at random: no quarantine.
//! - ICMP types are not looked at: the caller hands over queries and their replies only, and errors by
//!   [`Engine::error_from_outside`] and [`Engine::error_from_inside`].
//! - What sessions carry is counted by option only, and their age with it.
//! - A TCP session is created by a SYN only; connections of before a restart have to be opened anew.
//! - Under endpoint-independent filtering, an expired mapping admits packets until aging meets it; a
//!   rule that becomes endpoint-independent admits strangers to an old mapping once aging has met a
//!   session of it.
//! - Memory is committed as it is first used: the first session in a huge page waits until the kernel
//!   has cleared that.

#![forbid(unsafe_code)]

mod engine;
mod fragments;
mod key;
mod log;
mod owners;
mod policy;
mod ports;
mod quota;
mod rate;
mod refusal;
mod seed;
mod session;
mod shared;
mod steering;
mod table;
mod tally;
mod tcp;
mod time;

pub use engine::{
    Candidate, Census, Cursor, Departure, Engine, EngineConfig, ErrorTarget, Hit, Inbound, Memory,
    Outbound, Probe, SessionCounts, SessionFilter, SessionView, StateFilter, Stats, TupleFilter,
    VrfStats,
};
pub use fragments::{
    Datagram, Fragment, FragmentLimits, Fragments, Place, Ports, Refused, Verdict,
};
pub use key::{FlowKey, TcpSegment, WireFlow};
pub use log::{LogEvent, LogKind, LogLevel, LogRules, LogSource};
pub use owners::OutsideOwners;
pub use policy::{
    Allocation, DYNAMIC_PORTS, Filtering, FloatingIp, Forward, GATEWAY_PORTS, Generation, Limits,
    MappingMode, OutsideUse, Policy, PolicyError, PolicyInput, PoolCapacity, PoolId, PoolInput,
    PortForward, RuleTimeouts, Scope, SnatRule, SnatTarget, Timers, UplinkInput, VrfInput,
};
pub use ports::{AddressUsage, PoolUsage};
pub use refusal::Refusal;
pub use seed::Seed;
pub use session::SessionId;
pub use steering::Steering;
pub use tally::Traffic;
pub use tcp::TcpState;
pub use time::Time;
