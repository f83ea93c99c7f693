//! Wire formats: zero-copy header views, checksums, tunnel codecs.
//!
//! A view borrows bytes, and its one constructor checks every length the getters rely on: after it
//! no getter panics, whatever the bytes hold. Views hold their fixed header as an array, so getters
//! compile to plain loads. Nothing here allocates.
//!
//! - one module per format: [`ethernet`], [`arp`], [`ipv4`], [`ipv6`], [`udp`], [`tcp`],
//!   [`icmpv4`], [`icmpv6`], [`ndp`], [`vxlan`]; [`options`] walks the option lists of IPv4 and TCP;
//! - [`checksum`]: the Internet checksum, whole and incremental;
//! - [`rewrite`]: changes to a packet with all its checksums, for NAT and forwarding;
//! - [`build`]: packets the gateway itself sends, and encapsulation;
//! - [`rewrite6`], [`build6`]: the same for IPv6, which is forwarded and not translated;
//! - [`ecn`]: congestion marks across tunnels;
//! - [`flow`], [`flow6`]: 5-tuples and their hash;
//! - [`heads`], [`regular6`]: what nearly all traffic is, at fixed offsets.
//!
//! # Limitations
//! IPv6 addresses and ports are not rewritten. VXLAN over IPv4 is the only tunnel.
//! Ports of SCTP (CRC32c) and DCCP are read but not rewritten; a changed address suits SCTP, whose
//! checksum does not cover it, but leaves the checksum of DCCP wrong. Options of IPv6 extension headers are not read.

#![forbid(unsafe_code)]

pub mod arp;
pub mod build;
pub mod build6;
mod bytes;
pub mod checksum;
pub mod ecn;
mod error;
pub mod ethernet;
pub mod flow;
pub mod flow6;
pub mod heads;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod options;
pub mod regular6;
pub mod rewrite;
pub mod rewrite6;
pub mod tcp;
pub mod tunnel;
pub mod udp;
pub mod vxlan;

pub use arp::{Arp, ArpFrame, ArpOperation};
pub use build6::Icmpv6Error;
pub use checksum::{Delta, Sum};
pub use ecn::Ecn;
pub use error::PacketError;
pub use ethernet::{EtherType, Ethernet, EthernetMut, VlanTag};
pub use flow::FlowKey;
pub use flow6::FlowKey6;
pub use heads::Heads;
pub use icmpv4::{EmbeddedIpv4, Icmpv4, Icmpv4Type};
pub use icmpv6::{Icmpv6, Icmpv6Type};
pub use ipv4::{Ipv4, Ipv4Fields, Ipv4Header};
pub use ipv6::{Ipv6, Ipv6Fields, UpperLayer};
pub use ndp::Discovery;
pub use regular6::Regular6;
pub use tcp::{Tcp, TcpFlags};
pub use udp::Udp;
pub use vxlan::Vxlan;
