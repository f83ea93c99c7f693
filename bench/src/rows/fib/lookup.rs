//! `fib-lookup`: clocks of a longest-prefix match, in batches, at random addresses of the routes, and
//! of the table of hosts beside it.

use std::hint::black_box;
use std::net::Ipv4Addr;

use anyhow::Result;
use rand::Rng;
use sekisho_dpdk::rdtsc;
use sekisho_fib::{
    Address, Adjacency, AdjacencyId, Capacity, Leaf, Link, PackedLeaf, Tables, Writer,
};
use sekisho_types::{Prefix, SegmentId, VrfId, WorkerId};

use super::routes::{self, Spread};
use super::{BATCH, LEAVES, capacity, next_hops, others, pin};
use crate::options::Options;
use crate::report::{Metric, Report};

pub(super) const ROW: &str = "fib-lookup";
/// Addresses of one repetition: many times what a batch holds.
const ADDRESSES: usize = 1 << 20;
/// Addresses between two looks at the clock.
const STRETCH: usize = 128 * BATCH;
/// Routes, or hosts, of each tenant.
const TENANT_ROUTES: usize = 10;
/// Where the hosts of every tenant are.
const HOSTS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 0);
/// How often a stretch of hosts is looked up in one repetition.
const PASSES: usize = 32;

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
        of_hosts(options, report, count)?;
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

/// Tenants with a segment, its hosts and a default route: hosts by the table beside the tree and by
/// the tree, and addresses beyond by the tree. Few addresses, which stay in the cache.
fn of_hosts(options: &Options, report: &mut Report, count: usize) -> Result<()> {
    let capacity = Capacity {
        adjacencies: u32::try_from(count * TENANT_ROUTES)?.max(LEAVES as u32),
        ..capacity()
    };
    let (tables, mut writer) = Tables::new(1, capacity)?;
    let segment = Link::Segment(SegmentId::new(0));
    let mut places = Vec::new();
    for tenant in 1..=count {
        let vrf = VrfId::new(u16::try_from(tenant)?);
        writer.add_vrf(vrf)?;
        writer.insert(
            vrf,
            Prefix::truncated(HOSTS.into(), 0),
            Leaf::LookupVrf(VrfId::PROVIDER),
        )?;
        let subnet = Prefix::truncated(HOSTS.into(), 16);
        writer.insert(vrf, subnet, Leaf::Connected(segment))?;
        for host in 2..2 + TENANT_ROUTES as u32 {
            let address = Ipv4Addr::from(HOSTS.to_bits() + host);
            let id = writer.create_adjacency(&Adjacency::Glean { link: segment })?;
            writer.set_host(vrf, address.into(), id)?;
            places.push((vrf, address));
        }
    }
    let mut random = routes::random(8);
    let (vrfs, addresses): (Vec<_>, Vec<_>) = (0..STRETCH)
        .map(|_| places[random.random_range(0..places.len())])
        .unzip();
    let beyond: Vec<_> = (0..STRETCH)
        .map(|_| Ipv4Addr::from(random.random::<u32>() | 1 << 31))
        .collect();
    let reader = tables.reader(WorkerId::new(0))?;
    let mut ways = [AdjacencyId::NONE; BATCH];
    let by_table = measure(options, &addresses.repeat(PASSES), |addresses, _, first| {
        let first = first % STRETCH;
        reader.host_batch(&vrfs[first..first + addresses.len()], addresses, &mut ways);
        black_box(&ways);
    });
    let by_tree = |addresses: &[Ipv4Addr]| {
        measure(
            options,
            &addresses.repeat(PASSES),
            |addresses, leaves, first| {
                let first = first % STRETCH;
                reader.lookup_batch_mixed(&vrfs[first..first + addresses.len()], addresses, leaves);
            },
        )
    };
    for (mix, samples) in [
        ("hosts, by their table", by_table),
        ("hosts, by the tree", by_tree(&addresses)),
        ("the default route", by_tree(&beyond)),
    ] {
        let params = [
            ("family", "IPv4".into()),
            ("mix", mix.into()),
            ("tenants", count.into()),
        ];
        report.ours(ROW, &params, Metric::PipelineClocksPerPacket, &samples);
    }
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
