//! Which sources from outside might be addresses of ours: a quick no for nearly all of them.

use std::net::IpAddr;

use sekisho_types::{Ipv4Prefix, Prefix};

/// /16s there are.
const BLOCKS: usize = 1 << 16;

/// A bit for each /16 that holds an address of the gateway or of its pools: 8 KiB, which stays close.
/// Where the bit is set, the forwarding table knows more.
#[derive(Debug)]
pub struct OwnSources(Box<[u64; BLOCKS / 64]>);

impl Default for OwnSources {
    fn default() -> Self {
        Self(Box::new([0; BLOCKS / 64]))
    }
}

impl OwnSources {
    /// The blocks that hold an address or a part of a prefix.
    pub fn new(
        addresses: impl Iterator<Item = IpAddr>,
        prefixes: impl Iterator<Item = Prefix>,
    ) -> Self {
        let mut own = Self::default();
        let hosts = addresses.filter_map(|address| match address {
            IpAddr::V4(address) => Some(Ipv4Prefix::host(address)),
            IpAddr::V6(_) => None,
        });
        for prefix in hosts.chain(prefixes.filter_map(Prefix::v4)) {
            let (first, last) = (prefix.addr().to_bits() >> 16, prefix.last().to_bits() >> 16);
            for block in first..=last {
                own.0[block as usize / 64] |= 1 << (block % 64);
            }
        }
        own
    }

    /// Whether the address might be one of ours.
    #[inline(always)]
    pub fn may_hold(&self, address: u32) -> bool {
        let block = (address >> 16) as usize;
        self.0[block / 64] >> (block % 64) & 1 == 1
    }
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
