//! `ip4-forward`: plain IPv4, random destinations.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::options::Options;
use crate::report::{Metric, Report};
use crate::rig::{self, Mix, Service, Shape, World};

/// Lengths of prefixes, about as often as the Internet has them.
const LENGTHS: [u8; 20] = [
    24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 23, 23, 22, 22, 21, 20, 19, 16,
];

/// Measures 1, 200,000 and 1,000,000 routes.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    for routes in options.sizes(&[1, 200_000], &[1, 200_000, 1_000_000]) {
        let own = options.clone();
        let clocks = rig::on_worker(options.cpu, move |eal| {
            let mut world = World::new(eal, &Shape::new(1_000, Mix::Hot, Service::Snat))?;
            let mut random = SmallRng::from_os_rng();
            let prefixes = prefixes(routes, &mut random);
            if routes > 1 {
                let lists = world.lists.clone();
                let prefixes = prefixes.iter();
                let prefixes = prefixes.map(|&(prefix, length)| (prefix.into(), length));
                rig::routes(&mut world.writer, &lists, prefixes)?;
            }
            let frames = world.frames;
            let mut drive = world.drive(&own, Mix::Hot);
            drive.port = 1;
            drive.numbers = routes.max(1 << 20);
            drive.run(&mut |number, room| {
                let (prefix, length) = prefixes[number as usize % prefixes.len()];
                let inside = random
                    .random::<u32>()
                    .checked_shr(length.into())
                    .unwrap_or(0);
                let destination = Ipv4Addr::from_bits(prefix.to_bits() | inside);
                let source = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 80), number as u16);
                frames.plain(room, source, SocketAddrV4::new(destination, 443))
            })
        })?;
        let params = [("routes", routes.into())];
        let metric = Metric::PipelineClocksPerPacket;
        report.ours("ip4-forward", &params, metric, &clocks.pipeline);
        report.ours(
            "ip4-forward",
            &params,
            Metric::LoopClocksPerPacket,
            &clocks.whole,
        );
    }
    Ok(())
}

/// Distinct prefixes, none of which covers an address of the gateway or its neighbours.
fn prefixes(count: u32, random: &mut SmallRng) -> Vec<(Ipv4Addr, u8)> {
    let mut seen = HashSet::new();
    while seen.len() < count as usize {
        let length = LENGTHS.choose(random).copied().unwrap_or(24);
        let address = random.random::<u32>() & (u32::MAX << (32 - length));
        let first = address >> 24;
        if (11..127).contains(&first) || (128..172).contains(&first) {
            seen.insert((Ipv4Addr::from_bits(address), length));
        }
    }
    seen.into_iter().collect()
}
