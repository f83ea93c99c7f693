//! `fib-lookup`: clocks of a longest-prefix match, in batches, at random addresses of the routes.

use std::hint::black_box;

use anyhow::Result;
use rand::Rng;
use sekisho_dpdk::rdtsc;
use sekisho_fib::{Address, AdjacencyId, Leaf, PackedLeaf, Tables, Writer};
use sekisho_types::{Prefix, VrfId, WorkerId};

use super::routes::{self, Spread};
use super::{BATCH, LEAVES, capacity, next_hops, others, pin};
use crate::options::Options;
use crate::report::{Metric, Report};

pub(super) const ROW: &str = "fib-lookup";
/// Addresses of one repetition: many times what a batch holds.
const ADDRESSES: usize = 1 << 20;
/// Addresses between two looks at the clock.
const STRETCH: usize = 128 * BATCH;
/// Routes of each tenant.
const TENANT_ROUTES: usize = 10;

/// Measures lookups in tables of different sizes.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    pin(options.cpu.into())?;
    let (v4, v6, tenants): (&[usize], &[usize], &[usize]) = match options.quick {
        true => (&[1, 20_000], &[1, 20_000], &[100]),
        false => (&[1, 200_000, 1_000_000], &[1, 200_000], &[1, 1_000, 10_000]),
    };
    #[cfg(feature = "fib-comparator")]
    let eal = options.compare.then(start_eal).transpose()?;
    for &count in v4 {
        let mut random = routes::random(4);
        let routes = routes::ipv4(count, &mut random);
        let addresses = routes::within_v4(&routes, ADDRESSES, &mut random);
        let prefixes = routes.iter().copied().map(Prefix::V4);
        provider(options, report, &["IPv4", "internet"], prefixes, &addresses)?;
        if options.compare && count > 1 {
            let params = params("IPv4", "internet", count);
            others::one_load(options, report, &params, &addresses)?;
            #[cfg(feature = "fib-comparator")]
            if let Some(eal) = &eal {
                others::rte_fib(options, report, &params, &routes, &addresses, eal)?;
            }
        }
    }
    for spread in [Spread::Internet, Spread::Even] {
        for &count in v6 {
            let mut random = routes::random(6);
            let routes = routes::ipv6(count, spread, &mut random);
            let addresses = routes::within_v6(&routes, ADDRESSES, &mut random);
            let routes = routes.into_iter().map(Prefix::V6);
            let mix = match spread {
                Spread::Internet => "internet",
                Spread::Even => "even",
            };
            provider(options, report, &["IPv6", mix], routes, &addresses)?;
        }
    }
    for &count in tenants {
        of_tenants(options, report, count)?;
    }
    Ok(())
}

/// Lookups in the provider VRF.
fn provider<A: Address>(
    options: &Options,
    report: &mut Report,
    [family, mix]: &[&str; 2],
    routes: impl ExactSizeIterator<Item = Prefix>,
    addresses: &[A],
) -> Result<()> {
    let (tables, mut writer) = Tables::new(1, capacity())?;
    let next_hops = next_hops(&mut writer)?;
    let count = routes.len();
    for (number, route) in routes.enumerate() {
        insert(
            &mut writer,
            VrfId::PROVIDER,
            route,
            next_hops[number % LEAVES],
        )?;
    }
    let reader = tables.reader(WorkerId::new(0))?;
    let samples = measure(options, addresses, |addresses, leaves, _| {
        reader.lookup_batch(VrfId::PROVIDER, addresses, leaves);
    });
    let params = params(family, mix, count);
    report.ours(ROW, &params, Metric::PipelineClocksPerPacket, &samples);
    if count > 1 {
        let bytes = writer.vrf_stats(VrfId::PROVIDER).map_or(0, |vrf| vrf.bytes);
        let per_route = [bytes as f64 / count as f64];
        report.ours(ROW, &params, Metric::BytesPerEntry, &per_route);
    }
    Ok(())
}

fn params(family: &str, mix: &str, routes: usize) -> [(&'static str, serde_json::Value); 3] {
    [
        ("family", family.into()),
        ("mix", mix.into()),
        ("routes", routes.into()),
    ]
}

/// EAL with memory for a full table of `rte_fib`.
#[cfg(feature = "fib-comparator")]
fn start_eal() -> Result<sekisho_dpdk::Eal> {
    Ok(sekisho_dpdk::Eal::init(&sekisho_dpdk::EalOptions {
        memory_mib: 1024,
        ..sekisho_dpdk::EalOptions::new("sekisho-bench-fib")
    })?)
}

fn insert(writer: &mut Writer, vrf: VrfId, route: Prefix, next_hop: AdjacencyId) -> Result<()> {
    writer.insert(vrf, route, Leaf::Adjacency(next_hop))?;
    Ok(())
}

/// Each packet in a tenant of its own, chosen at random.
fn of_tenants(options: &Options, report: &mut Report, count: usize) -> Result<()> {
    let (tables, mut writer) = Tables::new(1, capacity())?;
    let next_hops = next_hops(&mut writer)?;
    let mut random = routes::random(7);
    let mut places = Vec::new();
    for tenant in 1..=count {
        let vrf = VrfId::new(u16::try_from(tenant)?);
        writer.add_vrf(vrf)?;
        let routes = routes::ipv4(TENANT_ROUTES, &mut random);
        for (number, &route) in routes.iter().enumerate() {
            insert(&mut writer, vrf, Prefix::V4(route), next_hops[number])?;
        }
        places.push((vrf, routes));
    }
    let (mut vrfs, mut addresses) = (Vec::new(), Vec::new());
    for _ in 0..ADDRESSES {
        let (vrf, routes) = &places[random.random_range(0..places.len())];
        vrfs.push(*vrf);
        addresses.extend(routes::within_v4(routes, 1, &mut random));
    }
    let reader = tables.reader(WorkerId::new(0))?;
    let samples = measure(options, &addresses, |addresses, leaves, first| {
        let vrfs = &vrfs[first..first + addresses.len()];
        reader.lookup_batch_mixed(vrfs, addresses, leaves);
    });
    let params = [
        ("family", "IPv4".into()),
        ("tenants", count.into()),
        ("routes", TENANT_ROUTES.into()),
    ];
    report.ours(ROW, &params, Metric::PipelineClocksPerPacket, &samples);
    Ok(())
}

/// Clocks for each address, one sample a repetition: the median of many short stretches, of which
/// an interruption spoils only some. `look` also gets the number of the first address.
pub(super) fn measure<A: Address>(
    options: &Options,
    addresses: &[A],
    mut look: impl FnMut(&[A], &mut [PackedLeaf], usize),
) -> Vec<f64> {
    let mut leaves = [PackedLeaf::NONE; BATCH];
    let mut pass = || {
        let mut stretches = Vec::with_capacity(addresses.len() / STRETCH);
        for (number, stretch) in addresses.chunks_exact(STRETCH).enumerate() {
            let begin = rdtsc();
            for (batch, addresses) in stretch.chunks_exact(BATCH).enumerate() {
                look(addresses, &mut leaves, number * STRETCH + batch * BATCH);
                black_box(&leaves);
            }
            stretches.push((rdtsc() - begin) as f64 / STRETCH as f64);
        }
        stretches.sort_by(f64::total_cmp);
        stretches[stretches.len() / 2]
    };
    pass();
    (0..options.repetitions()).map(|_| pass()).collect()
}
