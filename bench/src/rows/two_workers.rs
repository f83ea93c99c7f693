//! `two-workers`: what it costs that a packet arrives at a worker that does not own its session, and
//! how much faster two workers are than one.

use std::sync::{Arc, Barrier};

use anyhow::{Context, Result, anyhow};
use sekisho_dpdk::Eal;
use serde_json::Value;

use crate::options::Options;
use crate::report::{Metric, Report};
use crate::rig::{self, Direction, Load, Mix, Service, Shape, Source, World};

const NAME: &str = "two-workers";
const WORKERS: u8 = 2;
/// As in the rows of one worker.
const AHEAD: usize = 128;

/// Measures both workers in turn on one core, then beside each other on two.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    for sessions in options.sizes(&[1_000, 100_000], &[1_000, 100_000]) {
        for mix in options.mixes() {
            for direction in [Direction::Out, Direction::Back] {
                in_turn(options, report, sessions, mix, direction)?;
                at_once(options, report, sessions, mix, direction)?;
            }
        }
    }
    Ok(())
}

fn load(options: &Options, mix: Mix) -> Load {
    Load {
        burst: options.burst.into(),
        ahead: match mix {
            Mix::Hot => 2,
            Mix::Full => AHEAD,
        },
        packets: if options.quick { 1 << 18 } else { 1 << 20 },
        repetitions: options.repetitions(),
    }
}

fn world(eal: &Eal, sessions: u32, mix: Mix, workers: u8) -> Result<World> {
    let shape = Shape {
        workers,
        ..Shape::new(sessions, mix, Service::Snat)
    };
    let mut world = World::new(eal, &shape)?;
    world.open_flows()?;
    Ok(world)
}

/// By worker: the flows whose packets arrive there.
fn sources(world: &World, workers: u8, direction: Direction) -> Vec<Source> {
    let flows = 0..world.shape.flows.count;
    let of = |worker: usize| -> Vec<u32> {
        let flows = flows.clone();
        flows
            .filter(|&number| world.owner(number).index() == worker)
            .collect()
    };
    (0..usize::from(workers))
        .map(|worker| Source::new(world, of(worker), direction))
        .collect()
}

fn in_turn(
    options: &Options,
    report: &mut Report,
    sessions: u32,
    mix: Mix,
    direction: Direction,
) -> Result<()> {
    let load = load(options, mix);
    let (matching, none, hz) = rig::on_worker(options.cpu, move |eal| {
        let mut world = world(eal, sessions, mix, WORKERS)?;
        let mut own = sources(&world, WORKERS, direction);
        let matching = rig::alternate(&mut world, &mut own, load)?;
        let all = (0..sessions).collect();
        let mut any = [Source::new(&world, all, direction)];
        let none = rig::alternate(&mut world, &mut any, load)?;
        Ok((matching, none, eal.tsc_hz() as f64))
    })?;
    let each = |run: &[rig::Alternated]| -> Vec<f64> {
        let clocks = |one: &rig::Alternated| one.clocks as f64 / one.packets as f64;
        run.iter().map(clocks).collect()
    };
    let params = |rss: &str, of: &str| -> Vec<(&'static str, Value)> {
        let mut params = params(WORKERS, sessions, mix, direction);
        params.extend([("rss", rss.into()), ("of", of.into())]);
        params
    };
    let clocks = Metric::PipelineClocksPerPacket;
    for (rss, run) in [("matching", &matching), ("none", &none)] {
        report.ours(NAME, &params(rss, "packets"), clocks, &each(run));
    }
    let base = median(&each(&matching));
    let extra: Vec<f64> = none
        .iter()
        .map(|one| (one.clocks as f64 - base * one.packets as f64) / one.handed_over as f64)
        .collect();
    report.ours(NAME, &params("none", "hand-overs"), clocks, &extra);
    let rates: Vec<f64> = none
        .iter()
        .map(|one| one.handed_over as f64 * hz / one.clocks as f64)
        .collect();
    let params = params("none", "hand-overs");
    report.ours(NAME, &params, Metric::RatePerSecond, &rates);
    Ok(())
}

fn at_once(
    options: &Options,
    report: &mut Report,
    sessions: u32,
    mix: Mix,
    direction: Direction,
) -> Result<()> {
    for workers in 1..=WORKERS {
        let load = load(options, mix);
        let measured = rig::on_worker(options.cpu, move |eal| {
            let Some(lcore) = rig::second(eal) else {
                return Ok(None);
            };
            let mut world = world(eal, sessions, mix, workers)?;
            let mut sources = sources(&world, workers, direction);
            let start = Arc::new(Barrier::new(workers.into()));
            let mut other = None;
            if let Some(mut peer) = world.peers.pop()
                && let Some(mut source) = sources.pop()
            {
                let start = Arc::clone(&start);
                other = Some(eal.launch(lcore, move || {
                    let own = (&mut peer.worker, &mut peer.sent);
                    rig::beside(own.0, own.1, &mut source, load, &start)
                })?);
            }
            let source = sources.first_mut().context("a source")?;
            let own = rig::beside(&mut world.worker, &mut world.sent, source, load, &start);
            let mut all = vec![own?];
            if let Some(other) = other {
                let other = other.join();
                all.push(other.map_err(|_| anyhow!("the second worker panicked"))??);
            }
            Ok(Some(all))
        })?;
        let Some(all) = measured else {
            println!("  {NAME}: there is no second CPU to run beside");
            return Ok(());
        };
        let mut params = params(workers, sessions, mix, direction);
        params.push(("rss", "matching".into()));
        params.push(("cores", workers.into()));
        let rates: Vec<f64> = (0..load.repetitions)
            .map(|at| all.iter().map(|run| run[at].rate).sum())
            .collect();
        report.ours(NAME, &params, Metric::RatePerSecond, &rates);
        let clocks: Vec<f64> = all.iter().flatten().map(|run| run.clocks).collect();
        report.ours(NAME, &params, Metric::PipelineClocksPerPacket, &clocks);
    }
    Ok(())
}

fn params(
    workers: u8,
    sessions: u32,
    mix: Mix,
    direction: Direction,
) -> Vec<(&'static str, Value)> {
    let way = match direction {
        Direction::Out => "out",
        Direction::Back => "back",
    };
    vec![
        ("workers", workers.into()),
        ("sessions", sessions.into()),
        ("mix", mix.as_str().into()),
        ("way", way.into()),
    ]
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
