//! `fib-update`: how fast a full table changes while a worker looks addresses up in it.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use sekisho_dpdk::rdtsc;
use sekisho_fib::{AdjacencyId, Leaf, PackedLeaf, Reader, Tables, Writer};
use sekisho_types::{Ipv4Prefix, Prefix, VrfId, WorkerId};

use super::routes;
use super::{BATCH, LEAVES, capacity, next_hops, pin, resident};
use crate::options::Options;
use crate::report::{Metric, Report};

pub(super) const ROW: &str = "fib-update";
/// Changes between two times the writer gives back what nobody reads.
const RECLAIM_EVERY: usize = 64;

/// Measures adding, replacing and withdrawing routes of a full table.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    pin(options.cpu.into())?;
    let (count, changed) = if options.quick {
        (20_000, 2_000)
    } else {
        (1_000_000, 100_000)
    };
    let mut random = routes::random(4);
    let routes = routes::ipv4(count, &mut random);
    let addresses = routes::within_v4(&routes, 1 << 18, &mut random);
    let params = [("family", "IPv4".into()), ("routes", count.into())];

    let before = resident()?;
    let (tables, mut writer) = Tables::new(1, capacity())?;
    let next_hops = next_hops(&mut writer)?;
    let begin = Instant::now();
    for (number, &route) in routes.iter().enumerate() {
        change(&mut writer, number, route, Some(next_hops[number % LEAVES]))?;
    }
    let rate = [count as f64 / begin.elapsed().as_secs_f64()];
    let load = with(&params, "what", "load");
    report.ours(ROW, &load, Metric::RatePerSecond, &rate);
    writer.reclaim();
    let bytes = [(resident()? - before) as f64 / count as f64];
    report.ours(ROW, &params, Metric::BytesPerEntry, &bytes);

    let reader = tables.reader(WorkerId::new(0))?;
    let churn = Churn {
        routes: &routes[..changed],
        next_hops: &next_hops,
        repetitions: options.repetitions(),
    };
    let done = AtomicBool::new(false);
    let clocks = AtomicU64::new(0);
    let lookups = AtomicU64::new(0);
    let other = usize::from(options.cpu == 0);
    let (rates, by_default) = thread::scope(|scope| {
        scope.spawn(|| {
            // Without a second CPU the two take turns.
            let _ = pin(other);
            look_up(reader, &addresses, &done, &clocks, &lookups);
        });
        let result = churn
            .measure(&mut writer)
            .and_then(|rates| Ok((rates, churn.measure_default(&mut writer)?)));
        done.store(true, Ordering::Relaxed);
        result
    })?;
    for (what, rates) in ["withdraw", "add", "replace"].into_iter().zip(&rates) {
        let params = with(&params, "what", what);
        report.ours(ROW, &params, Metric::RatePerSecond, rates);
    }
    let during = clocks.load(Ordering::Relaxed) as f64 / lookups.load(Ordering::Relaxed) as f64;
    let params = with(&params, "what", "lookup during changes");
    report.ours(ROW, &params, Metric::PipelineClocksPerPacket, &[during]);
    let params = with(&params[..2], "what", "default route");
    report.ours(ROW, &params, Metric::Nanoseconds, &by_default);
    Ok(())
}

fn with<'a>(
    params: &[(&'a str, serde_json::Value)],
    key: &'a str,
    value: &str,
) -> Vec<(&'a str, serde_json::Value)> {
    let mut params = params.to_vec();
    params.push((key, value.into()));
    params
}

/// Routes that come and go.
struct Churn<'a> {
    routes: &'a [Ipv4Prefix],
    next_hops: &'a [AdjacencyId],
    repetitions: usize,
}

impl Churn<'_> {
    /// Withdrawals, additions and replacements a second, one sample of each a repetition.
    fn measure(&self, writer: &mut Writer) -> Result<[Vec<f64>; 3]> {
        let mut rates = [Vec::new(), Vec::new(), Vec::new()];
        for repetition in 0..self.repetitions {
            for (step, rates) in rates.iter_mut().enumerate() {
                let begin = Instant::now();
                for (number, &route) in self.routes.iter().enumerate() {
                    let next_hop = self.next_hops[(number + repetition + step) % LEAVES];
                    change(writer, number, route, (step > 0).then_some(next_hop))?;
                }
                rates.push(self.routes.len() as f64 / begin.elapsed().as_secs_f64());
            }
        }
        Ok(rates)
    }

    /// Nanoseconds to add a default route, one sample a repetition.
    fn measure_default(&self, writer: &mut Writer) -> Result<Vec<f64>> {
        let mut samples = Vec::new();
        for _ in 0..self.repetitions {
            let begin = Instant::now();
            change(writer, 0, Ipv4Prefix::DEFAULT, Some(self.next_hops[0]))?;
            samples.push(begin.elapsed().as_nanos() as f64);
            change(writer, 0, Ipv4Prefix::DEFAULT, None)?;
        }
        Ok(samples)
    }
}

fn change(
    writer: &mut Writer,
    number: usize,
    route: Ipv4Prefix,
    next_hop: Option<AdjacencyId>,
) -> Result<()> {
    let leaf = next_hop.map_or(Leaf::None, Leaf::Adjacency);
    writer.insert(VrfId::PROVIDER, Prefix::V4(route), leaf)?;
    if number.is_multiple_of(RECLAIM_EVERY) {
        writer.reclaim();
    }
    Ok(())
}

/// Looks up in bursts until it is done, as a worker does.
fn look_up(
    mut reader: Reader,
    addresses: &[std::net::Ipv4Addr],
    done: &AtomicBool,
    clocks: &AtomicU64,
    lookups: &AtomicU64,
) {
    let mut leaves = [PackedLeaf::NONE; BATCH];
    while !done.load(Ordering::Relaxed) {
        let begin = rdtsc();
        for batch in addresses.chunks_exact(BATCH) {
            reader.lookup_batch(VrfId::PROVIDER, batch, &mut leaves);
            black_box(&leaves);
            reader.quiesce();
        }
        clocks.fetch_add(rdtsc() - begin, Ordering::Relaxed);
        lookups.fetch_add(addresses.len() as u64, Ordering::Relaxed);
    }
}
