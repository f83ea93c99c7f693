//! Routes like the Internet's, and addresses within them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sekisho_types::{Ipv4Prefix, Ipv6Prefix};

/// How often each length comes, of a thousand: what a full table of 2025 looks like.
const LENGTHS_V4: &[(u8, u32)] = &[
    (24, 600),
    (22, 110),
    (23, 100),
    (20, 45),
    (21, 53),
    (19, 25),
    (16, 14),
    (18, 14),
    (17, 8),
    (15, 2),
    (14, 2),
    (13, 1),
    (12, 1),
    (25, 5),
    (28, 5),
    (30, 5),
    (32, 10),
];
const LENGTHS_V6: &[(u8, u32)] = &[
    (48, 470),
    (32, 120),
    (44, 110),
    (40, 90),
    (36, 50),
    (29, 40),
    (47, 20),
    (46, 30),
    (45, 10),
    (42, 20),
    (34, 10),
    (33, 10),
    (28, 5),
    (64, 15),
];

/// The same in every run.
pub(super) fn random(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

fn length(lengths: &[(u8, u32)], random: &mut StdRng) -> u8 {
    let total: u32 = lengths.iter().map(|(_, share)| share).sum();
    let mut at = random.random_range(0..total);
    for &(length, share) in lengths {
        if at < share {
            return length;
        }
        at -= share;
    }
    lengths[0].0
}

/// `count` different routes, spread evenly over the unicast addresses.
pub(super) fn ipv4(count: usize, random: &mut StdRng) -> Vec<Ipv4Prefix> {
    let mut routes = BTreeSet::new();
    let mut order = Vec::with_capacity(count);
    while order.len() < count {
        let address = Ipv4Addr::from(random.random_range(0x0100_0000..0xe000_0000_u32));
        let route = Ipv4Prefix::truncated(address, length(LENGTHS_V4, random));
        if routes.insert(route) {
            order.push(route);
        }
    }
    order
}

/// How IPv6 routes lie.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spread {
    /// Within the allocations of providers, which are within those of the registries.
    Internet,
    /// Evenly over the global unicast addresses.
    Even,
}

/// `count` different routes.
pub(super) fn ipv6(count: usize, spread: Spread, random: &mut StdRng) -> Vec<Ipv6Prefix> {
    // The first 16 bits of what the registries give out, more or less.
    let mut registries: Vec<u32> = vec![0x2001, 0x2001, 0x2402, 0x2403, 0x2404, 0x2405, 0x2406];
    registries.extend(0x2400..0x2410);
    registries.extend(0x2600..0x2608);
    registries.extend(0x2800..0x2806);
    registries.extend(0x2a00..0x2a14);
    registries.push(0x2c0f);
    let providers: Vec<u32> = (0..count.div_ceil(8))
        .map(|_| {
            let registry = registries[random.random_range(0..registries.len())];
            registry << 16 | random.random_range(0..0x1_0000)
        })
        .collect();
    let mut routes = BTreeSet::new();
    let mut order = Vec::with_capacity(count);
    while order.len() < count {
        let bits: u128 = random.random();
        let bits = match spread {
            Spread::Even => 1 << 125 | bits >> 3,
            Spread::Internet => {
                let provider = providers[random.random_range(0..providers.len())];
                u128::from(provider) << 96 | bits >> 32
            }
        };
        let route = Ipv6Prefix::truncated(Ipv6Addr::from(bits), length(LENGTHS_V6, random));
        if routes.insert(route) {
            order.push(route);
        }
    }
    order
}

/// `count` addresses, each anywhere in one of the routes, any of them.
pub(super) fn within_v4(routes: &[Ipv4Prefix], count: usize, random: &mut StdRng) -> Vec<Ipv4Addr> {
    let within = |random: &mut StdRng| {
        let route = routes[random.random_range(0..routes.len())];
        let (first, last) = (u32::from(route.addr()), u32::from(route.last()));
        Ipv4Addr::from(random.random_range(first..=last))
    };
    (0..count).map(|_| within(random)).collect()
}

/// As [`within_v4`].
pub(super) fn within_v6(routes: &[Ipv6Prefix], count: usize, random: &mut StdRng) -> Vec<Ipv6Addr> {
    let within = |random: &mut StdRng| {
        let route = routes[random.random_range(0..routes.len())];
        let (first, last) = (u128::from(route.addr()), u128::from(route.last()));
        Ipv6Addr::from(random.random_range(first..=last))
    };
    (0..count).map(|_| within(random)).collect()
}
