//! Sessions that come, live, and go.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sekisho_dpdk::rdtsc;
use sekisho_nat::{Engine, Filtering, LogLevel, Time};
use serde_json::json;

use super::flows::{Flow, Flows, engine, logged_engine};
use super::{BURST, NAME, NEW, create, median_of_slices};
use crate::options::Options;
use crate::report::{Metric, Report};

/// Sessions created and expired, as many of both, sustained while `live` are there.
pub(super) fn churn(
    options: &Options,
    report: &mut Report,
    live: usize,
    level: LogLevel,
) -> Result<()> {
    // One session a millisecond lives for `live` milliseconds.
    let timeout = Duration::from_millis(live as u64);
    // The sweep goes round eight times in that time, so an eighth more are there.
    const ROUNDS: usize = 8;
    let room = live / 4 * 5;
    let mut engine = logged_engine(room, timeout, Filtering::default(), level)?;
    let mut flows = Flows::new(live, 0);
    let mut millis = 0;
    let mut samples = Vec::new();
    let mut turn = |engine: &mut Engine, burst: &[Flow]| -> Result<()> {
        millis += burst.len() as u64;
        let now = Time::from_millis(millis);
        create(engine, now, burst, |outside| {
            std::hint::black_box(outside);
        })?;
        engine.age(now, (burst.len() * ROUNDS) as u32);
        engine.drain_log(|event| {
            std::hint::black_box(event);
        });
        Ok(())
    };
    for _ in 0..live * 3 / NEW {
        for burst in flows.take(NEW).chunks(BURST) {
            turn(&mut engine, burst)?;
        }
    }
    let (clock, before) = (Instant::now(), rdtsc());
    for _ in 0..options.repetitions() {
        let new = [flows.take(NEW), flows.take(NEW), flows.take(NEW)].concat();
        samples.push(median_of_slices(&new, |slice| {
            slice
                .chunks(BURST)
                .try_for_each(|burst| turn(&mut engine, burst))
        })?);
    }
    let hz = (rdtsc() - before) as f64 / clock.elapsed().as_secs_f64();
    let held = engine.stats().udp_sessions as usize;
    ensure!(
        (live..live / 4 * 5).contains(&held),
        "{held} sessions are there"
    );
    let work = match level {
        LogLevel::None => "created and expired",
        _ => "created, expired and logged",
    };
    let params = [("live", json!(live)), ("work", json!(work))];
    report.ours(NAME, &params, Metric::PipelineClocksPerPacket, &samples);
    let rates: Vec<f64> = samples.iter().map(|clocks| hz / clocks).collect();
    report.ours(NAME, &params, Metric::RatePerSecond, &rates);
    Ok(())
}

/// A whole table that lives, then expires at once: how long one turn of aging holds a worker up.
pub(super) fn aging(options: &Options, report: &mut Report, live: usize) -> Result<()> {
    const TIMEOUT: u64 = 20_000;
    let mut samples: [Vec<f64>; 4] = Default::default();
    for _ in 0..options.repetitions() {
        let timeout = Duration::from_millis(TIMEOUT);
        let mut engine = engine(live, timeout, Filtering::default())?;
        for burst in Flows::new(live, 2).take(live).chunks(BURST) {
            create(&mut engine, Time::default(), burst, |_| {})?;
        }
        let (clock, before) = (Instant::now(), rdtsc());
        let start = rdtsc();
        for _ in 0..=live / 512 {
            engine.age(Time::from_millis(1), 512);
        }
        samples[0].push((rdtsc() - start) as f64 / live as f64);
        let mut turns = Vec::new();
        let mut millis = TIMEOUT;
        while engine.stats().mappings > 0 {
            millis += 1;
            let start = rdtsc();
            let gone = engine.age_in_turn(Time::from_millis(millis));
            turns.push(((rdtsc() - start) as f64, f64::from(gone)));
            ensure!(millis < 4 * TIMEOUT, "sessions were left");
        }
        let hz = (rdtsc() - before) as f64 / clock.elapsed().as_secs_f64();
        let each = turns.iter().filter(|(_, gone)| *gone > 0.0);
        let mut each: Vec<f64> = each.map(|(clocks, gone)| clocks / gone).collect();
        each.sort_by(f64::total_cmp);
        samples[1].push(each[each.len() / 2]);
        let mut clocks: Vec<f64> = turns.iter().map(|(clocks, _)| *clocks).collect();
        clocks.sort_by(f64::total_cmp);
        let nanoseconds = |place: usize| clocks[place.min(clocks.len() - 1)] / hz * 1e9;
        samples[2].push(nanoseconds(clocks.len() * 99 / 100));
        samples[3].push(nanoseconds(clocks.len()));
    }
    let works = [
        ("looked at by aging", Metric::PipelineClocksPerPacket),
        ("expired by aging", Metric::PipelineClocksPerPacket),
        ("99 % of turns of aging", Metric::Nanoseconds),
        ("longest turn of aging", Metric::Nanoseconds),
    ];
    for ((work, metric), samples) in works.into_iter().zip(&samples) {
        let params = [("live", json!(live)), ("work", json!(work))];
        report.ours(NAME, &params, metric, samples);
    }
    Ok(())
}
