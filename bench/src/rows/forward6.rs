//! `ip6-forward`: plain IPv6, random destinations.

use std::collections::HashSet;
use std::net::{Ipv6Addr, SocketAddrV6};

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::options::Options;
use crate::report::{Metric, Report};
use crate::rig::{self, Mix, Service, Shape, World};

/// Lengths of prefixes, about as often as the Internet has them.
const LENGTHS: [u8; 20] = [
    48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 32, 32, 32, 44, 44, 40, 40, 36, 46, 29,
];

/// Measures 1 and 200,000 routes.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    for routes in options.sizes(&[1, 200_000], &[1, 200_000]) {
        let own = options.clone();
        let clocks = rig::on_worker(options.cpu, move |eal| {
            let shape = Shape {
                dual_stack: true,
                ..Shape::new(1_000, Mix::Hot, Service::Routed)
            };
            let mut world = World::new(eal, &shape)?;
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
            let server = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 80);
            drive.run(&mut |number, room| {
                let (prefix, length) = prefixes[number as usize % prefixes.len()];
                let inside = random.random::<u128>() >> length;
                let destination = Ipv6Addr::from_bits(prefix.to_bits() | inside);
                let source = SocketAddrV6::new(server, number as u16, 0, 0);
                frames.plain6(room, source, SocketAddrV6::new(destination, 443, 0, 0))
            })
        })?;
        let params = [("routes", routes.into())];
        let metric = Metric::PipelineClocksPerPacket;
        report.ours("ip6-forward", &params, metric, &clocks.pipeline);
        report.ours(
            "ip6-forward",
            &params,
            Metric::LoopClocksPerPacket,
            &clocks.whole,
        );
    }
    Ok(())
}

/// Distinct prefixes of global addresses, none of which covers an address of the gateway.
fn prefixes(count: u32, random: &mut SmallRng) -> Vec<(Ipv6Addr, u8)> {
    let mut seen = HashSet::new();
    while seen.len() < count as usize {
        let length = LENGTHS.choose(random).copied().unwrap_or(48);
        let address = random.random::<u128>() & (u128::MAX << (128 - length));
        if (0x2400..0x4000).contains(&(address >> 112)) {
            seen.insert((Ipv6Addr::from_bits(address), length));
        }
    }
    seen.into_iter().collect()
}
