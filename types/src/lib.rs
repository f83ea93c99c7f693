//! Newtypes every part of Sekisho shares, each with a checked constructor: a value that exists is
//! valid. This crate knows no other and holds nothing else.
//!
//! # Limitations
//! IPv4 and IPv6 prefixes only; no VLAN type yet.

#![forbid(unsafe_code)]

mod asn;
mod ids;
mod mac;
mod name;
mod pci;
mod prefix;
mod protocol;
mod text;
mod vni;

pub use asn::{Asn, AsnError};
pub use ids::{InterfaceId, SegmentId, VrfId, WorkerId};
pub use mac::{MacAddr, MacAddrError};
pub use name::{Name, NameError};
pub use pci::{PciAddress, PciAddressError};
pub use prefix::{Ipv4Prefix, Ipv6Prefix, Prefix, PrefixError};
pub use protocol::IpProtocol;
pub use vni::{Vni, VniError};
