//! Addresses as the trees read them: a few bits at a time, from the left.

use std::net::{Ipv4Addr, Ipv6Addr};

use sekisho_types::{Ipv4Prefix, Ipv6Prefix};

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::net::Ipv4Addr {}
    impl Sealed for std::net::Ipv6Addr {}
}

/// The two families that can be looked up.
pub trait Address: sealed::Sealed + Copy + Into<std::net::IpAddr> {
    /// Where the family's roots are kept.
    #[doc(hidden)]
    const FAMILY: Family;

    /// The `width` bits that follow the first `offset`.
    #[doc(hidden)]
    fn bits_at(self, offset: u8, width: u8) -> usize;
}

/// The address family, as an index.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Address for Ipv4Addr {
    const FAMILY: Family = Family::V4;

    #[inline]
    fn bits_at(self, offset: u8, width: u8) -> usize {
        if width == 0 {
            return 0;
        }
        ((u32::from(self) << offset) >> (32 - width)) as usize
    }
}

impl Address for Ipv6Addr {
    const FAMILY: Family = Family::V6;

    #[inline]
    fn bits_at(self, offset: u8, width: u8) -> usize {
        if width == 0 {
            return 0;
        }
        ((u128::from(self) << offset) >> (128 - width)) as usize
    }
}

/// A prefix as the writer walks the trees: left-aligned bits of either family, and a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    bits: u128,
    len: u8,
}

impl Key {
    pub(crate) const fn len(self) -> u8 {
        self.len
    }

    /// How many bits the two have in common from the left.
    pub(crate) const fn common_len(self, other: Self) -> u8 {
        let shorter = if self.len < other.len {
            self.len
        } else {
            other.len
        };
        let common = (self.bits ^ other.bits).leading_zeros() as u8;
        if common < shorter { common } else { shorter }
    }

    /// The `width` bits that follow the first `offset`.
    pub(crate) const fn bits_at(self, offset: u8, width: u8) -> usize {
        if width == 0 {
            return 0;
        }
        ((self.bits << offset) >> (128 - width)) as usize
    }
}

/// What a VRF needs of a prefix type to keep routes of its family.
pub(crate) trait TablePrefix: Copy + Ord {
    type Addr: Address;

    fn key(self) -> Key;
    /// The prefix of `len` bits that covers this one.
    fn shortened(self, len: u8) -> Self;
}

impl TablePrefix for Ipv4Prefix {
    type Addr = Ipv4Addr;

    fn key(self) -> Key {
        Key {
            bits: u128::from(u32::from(self.addr())) << 96,
            len: self.len(),
        }
    }

    fn shortened(self, len: u8) -> Self {
        Self::truncated(self.addr(), len)
    }
}

impl TablePrefix for Ipv6Prefix {
    type Addr = Ipv6Addr;

    fn key(self) -> Key {
        Key {
            bits: self.addr().into(),
            len: self.len(),
        }
    }

    fn shortened(self, len: u8) -> Self {
        Self::truncated(self.addr(), len)
    }
}
