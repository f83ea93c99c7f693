//! The Border Gateway Protocol, version 4 (RFC 4271), as pure cores around one table.

pub mod adj_rib_in;
pub mod adj_rib_out;
pub mod attributes;
pub mod codec;
pub mod decision;
pub mod fsm;
pub(crate) mod peer;
pub(crate) mod speaker;

use sekisho_types::Prefix;

/// An address family whose routes BGP can carry (RFC 4760).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 unicast.
    Ipv4Unicast,
    /// IPv6 unicast.
    Ipv6Unicast,
}

impl Family {
    /// The family a prefix belongs to.
    pub const fn of(prefix: Prefix) -> Self {
        match prefix {
            Prefix::V4(_) => Self::Ipv4Unicast,
            Prefix::V6(_) => Self::Ipv6Unicast,
        }
    }

    /// The name operators read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4Unicast => "ipv4-unicast",
            Self::Ipv6Unicast => "ipv6-unicast",
        }
    }
}
