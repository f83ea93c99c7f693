//! Which sources from outside might be addresses of ours: a quick no for nearly all of them.

use std::net::{IpAddr, Ipv6Addr};

use sekisho_types::{Ipv4Prefix, Prefix};

/// /16s there are.
const BLOCKS: usize = 1 << 16;
/// Hashes of the first halves of IPv6 addresses.
const HASHES: usize = 1 << 12;

/// A bit for each /16 that holds an address of the gateway or of its pools: 8 KiB, which stays close.
/// And one for each hash of a /64 that holds an IPv6 address of the gateway, of which there are few.
/// Where the bit is set, the forwarding table knows more.
#[derive(Debug)]
pub struct OwnSources {
    blocks: Box<[u64; BLOCKS / 64]>,
    hashes: Box<[u64; HASHES / 64]>,
}

impl Default for OwnSources {
    fn default() -> Self {
        Self {
            blocks: Box::new([0; BLOCKS / 64]),
            hashes: Box::new([0; HASHES / 64]),
        }
    }
}

impl OwnSources {
    /// The blocks that hold an address or a part of a prefix.
    pub fn new(
        addresses: impl Iterator<Item = IpAddr>,
        prefixes: impl Iterator<Item = Prefix>,
    ) -> Self {
        let mut own = Self::default();
        let mut hosts = Vec::new();
        for address in addresses {
            match address {
                IpAddr::V4(address) => hosts.push(Ipv4Prefix::host(address)),
                IpAddr::V6(address) => {
                    let hash = hash(address);
                    own.hashes[hash / 64] |= 1 << (hash % 64);
                }
            }
        }
        for prefix in hosts.into_iter().chain(prefixes.filter_map(Prefix::v4)) {
            let (first, last) = (prefix.addr().to_bits() >> 16, prefix.last().to_bits() >> 16);
            for block in first..=last {
                own.blocks[block as usize / 64] |= 1 << (block % 64);
            }
        }
        own
    }

    /// Whether the address might be one of ours.
    #[inline(always)]
    pub fn may_hold(&self, address: u32) -> bool {
        let block = (address >> 16) as usize;
        self.blocks[block / 64] >> (block % 64) & 1 == 1
    }

    /// The same of an IPv6 address.
    #[inline(always)]
    pub fn may_hold6(&self, address: Ipv6Addr) -> bool {
        let hash = hash(address);
        self.hashes[hash / 64] >> (hash % 64) & 1 == 1
    }
}

/// Of an address's /64, below [`HASHES`].
#[inline(always)]
const fn hash(address: Ipv6Addr) -> usize {
    let half = (address.to_bits() >> 64) as u64;
    (half.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HASHES.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn every_block_that_holds_one_of_ours_is_known_and_no_other() {
        let addresses = ["198.51.100.1", "2001:db8::1"];
        let prefixes = ["203.0.113.64/28", "100.64.0.0/15", "2001:db8::/32"];
        let own = OwnSources::new(
            addresses.iter().map(|address| address.parse().unwrap()),
            prefixes.iter().map(|prefix| prefix.parse().unwrap()),
        );
        let may = |address: &str| own.may_hold(address.parse::<Ipv4Addr>().unwrap().to_bits());
        for ours in [
            "198.51.100.1",
            "203.0.113.70",
            "100.64.3.4",
            "100.65.255.255",
        ] {
            assert!(may(ours), "{ours}");
        }
        let may6 = |address: &str| own.may_hold6(address.parse().unwrap());
        assert!(may6("2001:db8::1") && may6("2001:db8::2"));
        assert!(!may6("2001:db8:1::1") && !may6("2a00::1"));
        for theirs in [
            "198.50.100.1",
            "203.1.0.0",
            "100.66.0.0",
            "0.0.0.0",
            "255.255.255.255",
        ] {
            assert!(!may(theirs), "{theirs}");
        }
    }
}
