//! IP prefixes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::text::serde_as_text;

/// Why a text, or an address and a length, are no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not of the form `ADDRESS/LENGTH`.
    #[error("{0:?} is not a prefix; write ADDRESS/LENGTH, like 192.0.2.0/24")]
    Syntax(String),
    /// More bits than the address has.
    #[error("/{length} is too long for {address}; the longest is /{max}")]
    TooLong {
        /// The address as written.
        address: IpAddr,
        /// The length as written.
        length: u8,
        /// The longest length of the family.
        max: u8,
    },
    /// Bits set to the right of the length.
    #[error("{address}/{length} has host bits set; did you mean {network}/{length}?")]
    HostBits {
        /// The address as written.
        address: IpAddr,
        /// The length as written.
        length: u8,
        /// The address with its host bits cleared.
        network: IpAddr,
    },
    /// A prefix of the other family than expected.
    #[error("{0} is of the wrong address family here")]
    WrongFamily(Prefix),
}

macro_rules! prefix_type {
    ($name:ident, $addr:ty, $bits:ty, $max:literal, $family:literal) => {
        #[doc = concat!("An ", $family, " prefix: an address without host bits, and a length.")]
        /// Ordered by address, then by length, so that a covering prefix comes before those it
        /// covers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            addr: $addr,
            len: u8,
        }

        impl $name {
            /// The length of a host prefix.
            pub const MAX_LEN: u8 = $max;
            /// The prefix that covers everything.
            pub const DEFAULT: Self = Self {
                addr: <$addr>::UNSPECIFIED,
                len: 0,
            };

            /// A prefix, if the address has no bits set beyond `len`.
            pub fn new(addr: $addr, len: u8) -> Result<Self, PrefixError> {
                if len > $max {
                    return Err(PrefixError::TooLong {
                        address: addr.into(),
                        length: len,
                        max: $max,
                    });
                }
                let prefix = Self::truncated(addr, len);
                if prefix.addr == addr {
                    Ok(prefix)
                } else {
                    Err(PrefixError::HostBits {
                        address: addr.into(),
                        length: len,
                        network: prefix.addr.into(),
                    })
                }
            }

            /// The prefix of `len` bits (at most all of them) that covers `addr`.
            pub fn truncated(addr: $addr, len: u8) -> Self {
                let len = len.min($max);
                let bits = <$bits>::from(addr) & Self::mask_bits(len);
                Self {
                    addr: bits.into(),
                    len,
                }
            }

            /// The prefix of one address.
            pub const fn host(addr: $addr) -> Self {
                Self { addr, len: $max }
            }

            /// The first address.
            pub const fn addr(self) -> $addr {
                self.addr
            }

            /// The number of significant bits.
            #[allow(clippy::len_without_is_empty)]
            pub const fn len(self) -> u8 {
                self.len
            }

            /// The netmask.
            pub fn mask(self) -> $addr {
                Self::mask_bits(self.len).into()
            }

            /// The last address (for IPv4 the broadcast address, when there is one).
            pub fn last(self) -> $addr {
                (<$bits>::from(self.addr) | !Self::mask_bits(self.len)).into()
            }

            /// Whether `addr` lies inside.
            pub fn contains(self, addr: $addr) -> bool {
                <$bits>::from(addr) & Self::mask_bits(self.len) == <$bits>::from(self.addr)
            }

            /// Whether all of `other` lies inside.
            pub fn covers(self, other: Self) -> bool {
                self.len <= other.len && self.contains(other.addr)
            }

            const fn mask_bits(len: u8) -> $bits {
                if len == 0 {
                    0
                } else {
                    <$bits>::MAX << ($max - len)
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{}/{}", self.addr, self.len))
            }
        }

        impl FromStr for $name {
            type Err = PrefixError;

            fn from_str(text: &str) -> Result<Self, PrefixError> {
                let syntax = || PrefixError::Syntax(text.to_owned());
                let (addr, len) = text.split_once('/').ok_or_else(syntax)?;
                if !len.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(syntax());
                }
                let addr = addr.parse().map_err(|_| syntax())?;
                Self::new(addr, len.parse().map_err(|_| syntax())?)
            }
        }
    };
}

prefix_type!(Ipv4Prefix, Ipv4Addr, u32, 32, "IPv4");
prefix_type!(Ipv6Prefix, Ipv6Addr, u128, 128, "IPv6");

/// A prefix of either family. IPv4 sorts before IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// An IPv4 prefix.
    V4(Ipv4Prefix),
    /// An IPv6 prefix.
    V6(Ipv6Prefix),
}

impl Prefix {
    /// A prefix, if the address has no bits set beyond `len`.
    pub fn new(addr: IpAddr, len: u8) -> Result<Self, PrefixError> {
        match addr {
            IpAddr::V4(addr) => Ipv4Prefix::new(addr, len).map(Self::V4),
            IpAddr::V6(addr) => Ipv6Prefix::new(addr, len).map(Self::V6),
        }
    }

    /// The prefix of `len` bits (at most all of them) that covers `addr`.
    pub fn truncated(addr: IpAddr, len: u8) -> Self {
        match addr {
            IpAddr::V4(addr) => Self::V4(Ipv4Prefix::truncated(addr, len)),
            IpAddr::V6(addr) => Self::V6(Ipv6Prefix::truncated(addr, len)),
        }
    }

    /// The prefix of one address.
    pub const fn host(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => Self::V4(Ipv4Prefix::host(addr)),
            IpAddr::V6(addr) => Self::V6(Ipv6Prefix::host(addr)),
        }
    }

    /// The first address.
    pub const fn addr(self) -> IpAddr {
        match self {
            Self::V4(prefix) => IpAddr::V4(prefix.addr()),
            Self::V6(prefix) => IpAddr::V6(prefix.addr()),
        }
    }

    /// The number of significant bits.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> u8 {
        match self {
            Self::V4(prefix) => prefix.len(),
            Self::V6(prefix) => prefix.len(),
        }
    }

    /// Whether it names one address.
    pub const fn is_host(self) -> bool {
        match self {
            Self::V4(prefix) => prefix.len() == Ipv4Prefix::MAX_LEN,
            Self::V6(prefix) => prefix.len() == Ipv6Prefix::MAX_LEN,
        }
    }

    /// Whether `addr` lies inside; never across families.
    pub fn contains(self, addr: IpAddr) -> bool {
        match (self, addr) {
            (Self::V4(prefix), IpAddr::V4(addr)) => prefix.contains(addr),
            (Self::V6(prefix), IpAddr::V6(addr)) => prefix.contains(addr),
            _ => false,
        }
    }

    /// Whether all of `other` lies inside; never across families.
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::V4(prefix), Self::V4(other)) => prefix.covers(other),
            (Self::V6(prefix), Self::V6(other)) => prefix.covers(other),
            _ => false,
        }
    }

    /// The IPv4 prefix, if it is one.
    pub const fn v4(self) -> Option<Ipv4Prefix> {
        match self {
            Self::V4(prefix) => Some(prefix),
            Self::V6(_) => None,
        }
    }
}

impl From<Ipv4Prefix> for Prefix {
    fn from(prefix: Ipv4Prefix) -> Self {
        Self::V4(prefix)
    }
}

impl From<Ipv6Prefix> for Prefix {
    fn from(prefix: Ipv6Prefix) -> Self {
        Self::V6(prefix)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(prefix) => prefix.fmt(f),
            Self::V6(prefix) => prefix.fmt(f),
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        if text.contains(':') {
            text.parse().map(Self::V6)
        } else {
            text.parse().map(Self::V4)
        }
    }
}

serde_as_text!(Ipv4Prefix, Ipv6Prefix, Prefix);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn host_bits_are_refused_with_the_prefix_that_was_meant() {
        let error = "10.0.0.5/24".parse::<Prefix>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "10.0.0.5/24 has host bits set; did you mean 10.0.0.0/24?"
        );
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0/8",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "::/129",
            "/8",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_default_prefix_covers_everything() {
        assert!(Ipv4Prefix::DEFAULT.contains(Ipv4Addr::BROADCAST));
        assert_eq!(Ipv4Prefix::DEFAULT.last(), Ipv4Addr::BROADCAST);
        assert!(Ipv6Prefix::DEFAULT.contains(Ipv6Addr::LOCALHOST));
    }

    proptest! {
        #[test]
        fn text_and_serde_round_trip(bits: u32, len in 0u8..=32) {
            let prefix = Prefix::truncated(Ipv4Addr::from(bits).into(), len);
            prop_assert_eq!(prefix.to_string().parse::<Prefix>().unwrap(), prefix);
            let json = serde_json::to_string(&prefix).unwrap();
            prop_assert_eq!(serde_json::from_str::<Prefix>(&json).unwrap(), prefix);
        }

        #[test]
        fn a_prefix_contains_its_first_and_last_address_and_no_neighbour(bits: u32, len in 1u8..=32) {
            let prefix = Ipv4Prefix::truncated(bits.into(), len);
            prop_assert!(prefix.contains(prefix.addr()) && prefix.contains(prefix.last()));
            if let Some(next) = u32::from(prefix.last()).checked_add(1) {
                prop_assert!(!prefix.contains(next.into()));
            }
        }
    }
}
