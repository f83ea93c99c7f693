//! The Internet checksum: whole (RFC 1071) and incremental (RFC 1624).

use core::net::{Ipv4Addr, Ipv6Addr};

use sekisho_types::IpProtocol;

/// A one's complement sum under way (RFC 1071).
///
/// Words are added in the machine's byte order and swapped once at the end (RFC 1071 section
/// 2(B)), four bytes at a time into 64 bits (2(C)), which the compiler turns into vector code.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Nothing added yet.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds bytes; an odd last byte is followed by a zero. Pieces before the last must be of even
    /// length.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum: u64 = words
            .iter()
            .map(|w| u64::from(u32::from_ne_bytes(*w)))
            .sum();
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        sum += u64::from(u32::from_ne_bytes(last));
        Self(self.0 + u64::from(fold(sum)))
    }

    /// Adds one 16-bit number.
    #[inline]
    #[must_use]
    pub const fn u16(self, word: u16) -> Self {
        Self(self.0 + word.to_be() as u64)
    }

    /// Adds one 32-bit number.
    #[inline]
    #[must_use]
    pub const fn u32(self, word: u32) -> Self {
        Self(self.0 + word.to_be() as u64)
    }

    /// The pseudo header of TCP and UDP over IPv4 (RFC 768, RFC 9293 section 3.1); `length` is of
    /// the L4 header and its data, in bytes.
    #[inline]
    pub const fn pseudo_v4(
        src: Ipv4Addr,
        dst: Ipv4Addr,
        protocol: IpProtocol,
        length: u16,
    ) -> Self {
        Self::new()
            .u32(src.to_bits())
            .u32(dst.to_bits())
            .u16(protocol.0 as u16)
            .u16(length)
    }

    /// The pseudo header over IPv6 (RFC 8200 section 8.1); `length` is of the upper-layer packet,
    /// in bytes.
    #[inline]
    pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: IpProtocol, length: u32) -> Self {
        Self::new()
            .bytes(&src.octets())
            .bytes(&dst.octets())
            .u16(u16::from(protocol.0))
            .u32(length)
    }

    /// The 16-bit one's complement sum. Over data with its checksum it is `0xffff` when right.
    #[inline]
    pub const fn fold(self) -> u16 {
        u16::from_be(fold(self.0))
    }

    /// The checksum: the complement of the sum.
    #[inline]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }

    /// The checksum as UDP sends it: a computed 0 becomes `0xffff` (RFC 768).
    #[inline]
    pub const fn udp_checksum(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }

    /// Whether what was added, checksum included, is intact.
    #[inline]
    pub const fn is_intact(self) -> bool {
        self.fold() == 0xffff
    }
}

const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum of `bytes` (RFC 1071).
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::new().bytes(bytes).checksum()
}

/// What a change of words does to every checksum that covers them (RFC 1624 equation 3).
///
/// Collect each `old -> new` once, then apply it to the L3 and to the L4 checksum. Applied to a
/// right checksum the result equals the full computation, so a wrong one stays wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delta(u64);

impl Delta {
    /// No change.
    pub const fn new() -> Self {
        Self(0)
    }

    /// A 16-bit word, at an even offset, becomes another.
    #[inline]
    #[must_use]
    pub const fn u16(self, old: u16, new: u16) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// A 16-bit value at an odd offset becomes another (RFC 1071 section 2(B)).
    #[inline]
    #[must_use]
    pub const fn u16_at_odd_offset(self, old: u16, new: u16) -> Self {
        self.u16(old.swap_bytes(), new.swap_bytes())
    }

    /// A 32-bit word, at an even offset, becomes another.
    #[inline]
    #[must_use]
    pub const fn u32(self, old: u32, new: u32) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// An IPv4 address becomes another.
    #[inline]
    #[must_use]
    pub const fn addr(self, old: Ipv4Addr, new: Ipv4Addr) -> Self {
        self.u32(old.to_bits(), new.to_bits())
    }

    /// Both changes.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum after the change.
    #[inline]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(self.0 + !checksum as u64)
    }

    /// The UDP checksum after the change: 0, "none", stays 0; a result of 0 is sent as `0xffff`
    /// (RFC 768).
    #[inline]
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        match (checksum, self.apply(checksum)) {
            (0, _) => 0,
            (_, 0) => 0xffff,
            (_, new) => new,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 section 4.1, written as plainly as possible.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071_sums_to_its_answer() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().bytes(&bytes).fold(), 0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624_gives_its_answer() {
        assert_eq!(Delta::new().u16(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn u17_a_udp_checksum_of_zero_stays_and_a_computed_zero_is_sent_as_ones() {
        assert_eq!(Delta::new().u16(0x5555, 0x3285).apply_udp(0), 0);
        assert_eq!(Delta::new().u16(0x5555, 0x3285).apply_udp(0xdd2f), 0xffff);
        assert_eq!(Sum::new().u16(0xffff).udp_checksum(), 0xffff);
    }

    #[test]
    fn long_runs_of_ones_do_not_overflow() {
        let bytes = vec![0xff; 70_001];
        assert_eq!(checksum(&bytes), reference(&bytes));
    }

    proptest! {
        #[test]
        fn the_sum_agrees_with_the_plain_one(bytes: Vec<u8>) {
            prop_assert_eq!(checksum(&bytes), reference(&bytes));
        }

        #[test]
        fn a_sum_of_even_pieces_is_the_sum_of_the_whole(a: Vec<u16>, b: Vec<u8>) {
            let a: Vec<u8> = a.iter().flat_map(|w| w.to_be_bytes()).collect();
            let whole = [a.as_slice(), &b].concat();
            prop_assert_eq!(Sum::new().bytes(&a).bytes(&b).fold(), Sum::new().bytes(&whole).fold());
        }

        #[test]
        fn u18_incremental_equals_recomputed(
            mut bytes in proptest::collection::vec(any::<u8>(), 16..80),
            new16: u16, new32: u32, odd: u16,
        ) {
            bytes[15] |= 1; // data that is not all zeros, as every covered header is
            let before = checksum(&bytes);
            let old16 = u16::from_be_bytes([bytes[0], bytes[1]]);
            let old32 = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            let old_odd = u16::from_be_bytes([bytes[9], bytes[10]]);
            bytes[..2].copy_from_slice(&new16.to_be_bytes());
            bytes[4..8].copy_from_slice(&new32.to_be_bytes());
            bytes[9..11].copy_from_slice(&odd.to_be_bytes());
            let delta = Delta::new()
                .u16(old16, new16)
                .u32(old32, new32)
                .u16_at_odd_offset(old_odd, odd);
            prop_assert_eq!(delta.apply(before), checksum(&bytes));
        }
    }
}
