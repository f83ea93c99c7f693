//! What others make of the same routes.

use std::hint::black_box;
use std::net::Ipv4Addr;

use anyhow::Result;
use sekisho_mem::{HugeSlice, prefetch_read};

use super::BATCH;
use super::lookup::{ROW, measure};
use crate::options::Options;
use crate::report::{Metric, Report};

/// What a table with a word for each /24 cannot be faster than: one load for each address, of an
/// array as large, with the same prefetch and on the same pages as ours.
pub(super) fn one_load(
    options: &Options,
    report: &mut Report,
    params: &[(&str, serde_json::Value)],
    addresses: &[Ipv4Addr],
) -> Result<()> {
    let mut table = HugeSlice::<u32>::new(1 << 24)?;
    for word in table.iter_mut() {
        *word = 1;
    }
    let place = |address: &Ipv4Addr| (u32::from(*address) >> 8) as usize;
    let mut words = [0; BATCH];
    let samples = measure(options, addresses, |addresses, _, _| {
        for address in addresses {
            prefetch_read(&table[place(address)]);
        }
        for (word, address) in words.iter_mut().zip(addresses) {
            *word = table[place(address)];
        }
        black_box(&words);
    });
    let comparator = Some("one load of 64 MiB");
    report.add(
        ROW,
        params,
        Metric::PipelineClocksPerPacket,
        &samples,
        comparator,
    );
    Ok(())
}

/// `rte_fib`, which EAL must not have been started before for.
#[cfg(feature = "fib-comparator")]
pub(super) fn rte_fib(
    options: &Options,
    report: &mut Report,
    params: &[(&str, serde_json::Value)],
    routes: &[sekisho_types::Ipv4Prefix],
    addresses: &[Ipv4Addr],
    eal: &sekisho_dpdk::Eal,
) -> Result<()> {
    use std::time::Instant;

    use super::LEAVES;
    use super::update;

    let pages = if eal.has_huge_pages() {
        "2 MiB"
    } else {
        "4 KiB"
    };
    let comparator = format!("rte_fib DIR24_8, {pages} pages");
    let comparator = Some(comparator.as_str());
    let mut table = sekisho_dpdk::Dir24::new(eal, "comparator", routes.len() + 1)?;
    let mut rate =
        |table: &mut sekisho_dpdk::Dir24, what: &str, routes: &[sekisho_types::Ipv4Prefix]| {
            let begin = Instant::now();
            for (number, route) in routes.iter().enumerate() {
                if what == "withdraw" {
                    table.delete(route.addr(), route.len())?;
                } else {
                    let next_hop = u32::try_from(number % LEAVES)? + 1;
                    table.add(route.addr(), route.len(), next_hop)?;
                }
            }
            let rate = [routes.len() as f64 / begin.elapsed().as_secs_f64()];
            let mut params = params.to_vec();
            params.push(("what", what.into()));
            report.add(
                update::ROW,
                &params,
                Metric::RatePerSecond,
                &rate,
                comparator,
            );
            anyhow::Ok(())
        };
    rate(&mut table, "load", routes)?;
    let some = &routes[..routes.len().div_ceil(10)];
    rate(&mut table, "withdraw", some)?;
    rate(&mut table, "add", some)?;
    let mut next_hops = [0; BATCH];
    let mut batch_of = [0; BATCH];
    let samples = measure(options, addresses, |addresses, _, _| {
        for (to, from) in batch_of.iter_mut().zip(addresses) {
            *to = u32::from(*from);
        }
        table.lookup(&mut batch_of, &mut next_hops);
        black_box(&next_hops);
    });
    report.add(
        ROW,
        params,
        Metric::PipelineClocksPerPacket,
        &samples,
        comparator,
    );
    Ok(())
}
