//! Addresses as the trees read them: a few bits at a time, from the left.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;

use sekisho_types::{Ipv4Prefix, Ipv6Prefix};

use crate::nodes::{KEY, Layout, Node, PLACES, STRIDE};
use crate::trie::WIDE;
use crate::trie_writer::Shape;

/// Words of a node's key.
const V4_KEY: usize = 1;
const V6_KEY: usize = 4;

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

    /// Words of a node before its runs.
    #[doc(hidden)]
    const HEADER: usize;

    /// Whether prefixes lie so close that nodes directly below the provider's roots skip no bits.
    #[doc(hidden)]
    const DENSE: bool;

    /// The `width` bits that follow the first `offset`.
    #[doc(hidden)]
    fn bits_at(self, offset: u8, width: u8) -> usize;

    /// The last six of the first `end` bits.
    #[doc(hidden)]
    fn place(self, end: u8) -> u32;

    /// Whether the first `start` bits are those of the key of this node.
    #[doc(hidden)]
    fn matches(self, node: &Node, start: u8) -> bool;
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

impl Family {
    /// How nodes of the family are laid out, other than dense ones.
    pub(crate) const fn layout(self) -> Layout {
        Layout {
            header: match self {
                Self::V4 => Ipv4Addr::HEADER,
                Self::V6 => Ipv6Addr::HEADER,
            },
        }
    }

    /// At which depths nodes stand in the trees of the provider VRF, or of a tenant's, where the
    /// last one decides as many bits as any other: tenants have host routes.
    pub(crate) const fn shape(self, is_provider: bool) -> Shape {
        let bits = match self {
            Self::V4 => 32,
            Self::V6 => 128,
        };
        if is_provider {
            Shape {
                bits,
                root_bits: WIDE,
                phase: WIDE % STRIDE,
                dense: matches!(self, Self::V4),
            }
        } else {
            Shape {
                bits,
                root_bits: 0,
                phase: bits % STRIDE,
                dense: false,
            }
        }
    }
}

impl Address for Ipv4Addr {
    const FAMILY: Family = Family::V4;
    const HEADER: usize = KEY + V4_KEY;
    const DENSE: bool = true;

    #[inline]
    fn bits_at(self, offset: u8, width: u8) -> usize {
        if width == 0 {
            return 0;
        }
        ((u32::from(self) << offset) >> (32 - width)) as usize
    }

    #[inline]
    fn place(self, end: u8) -> u32 {
        u32::from(self) >> ((32 - end) & 31) & (PLACES as u32 - 1)
    }

    #[inline]
    fn matches(self, node: &Node, start: u8) -> bool {
        let differs = u32::from(self) ^ node[KEY].load(Ordering::Relaxed);
        differs.leading_zeros() >= u32::from(start)
    }
}

impl Address for Ipv6Addr {
    const FAMILY: Family = Family::V6;
    const HEADER: usize = KEY + V6_KEY;
    const DENSE: bool = false;

    #[inline]
    fn bits_at(self, offset: u8, width: u8) -> usize {
        if width == 0 {
            return 0;
        }
        ((u128::from(self) << offset) >> (128 - width)) as usize
    }

    #[inline]
    fn place(self, end: u8) -> u32 {
        let bits = u128::from(self);
        let place = if end <= 64 {
            // As good as always in the Internet's tables.
            ((bits >> 64) as u64 >> ((64 - end) & 63)) as u32
        } else {
            (bits >> ((128 - end) & 127)) as u32
        };
        place & (PLACES as u32 - 1)
    }

    #[inline]
    fn matches(self, node: &Node, start: u8) -> bool {
        let word = |at: usize| u64::from(node[KEY + at].load(Ordering::Relaxed));
        let bits = u128::from(self);
        let high = (bits >> 64) as u64 ^ (word(0) << 32 | word(1));
        if start < 64 {
            high & !(u64::MAX >> start) == 0
        } else {
            let low = bits as u64 ^ (word(2) << 32 | word(3));
            high == 0 && low & !(u64::MAX >> (start & 63)) == 0
        }
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

    /// The bits, left-aligned, zero beyond the length.
    pub(crate) const fn bits(self) -> u128 {
        self.bits
    }

    /// How many bits the two have in common from the left.
    pub(crate) const fn common_len(self, other: Self) -> u8 {
        let shorter = if self.len < other.len {
            self.len
        } else {
            other.len
        };
        let common = self.common_bits(other.bits);
        if common < shorter { common } else { shorter }
    }

    /// How many bits these and the key's have in common from the left, whatever its length.
    pub(crate) const fn common_bits(self, bits: u128) -> u8 {
        (self.bits ^ bits).leading_zeros() as u8
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
