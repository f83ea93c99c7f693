//! `commit`: how long packets wait while something else happens: a configuration of many tenants is
//! applied, all sessions age at once, routes come and go.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use sekisho_dpdk::Eal;
use sekisho_fib::{Leaf, PathListId, Writer};
use sekisho_gateway::control::plan::Plan;
use sekisho_mgmt::config::Config;
use sekisho_types::{Ipv4Prefix, Prefix, VrfId};

use crate::options::Options;
use crate::report::{Metric, Report};
use crate::rig::{self, Control, Direction, Flows, Gaps, Mix, Service, Shape, Source, World};

const NAME: &str = "commit";
/// Flows of the traffic that is under way.
const FLOWS: u32 = 1_000;
/// A worker that takes no snapshot for so long never will.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than any session lives unused.
const AGE_NS: u64 = 8_000_000_000_000;
/// Routes that come and go together.
const ROUTES: u32 = 1_000;

/// What happens meanwhile on the other core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum During {
    Nothing,
    Commit,
    FibChurn,
}

impl During {
    const ALL: [Self; 3] = [Self::Nothing, Self::Commit, Self::FibChurn];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Commit => "commit",
            Self::FibChurn => "fib-churn",
        }
    }
}

/// Measures each of them.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let tenants = if options.quick { 1_000 } else { 10_000 };
    for during in During::ALL {
        let repetitions = options.repetitions();
        let gaps = rig::on_worker(options.cpu, move |eal| {
            beside(eal, during, tenants, repetitions)
        })?;
        tell(report, during.as_str(), ("tenants", tenants), &gaps);
    }
    let sessions = if options.quick { 100_000 } else { 1_000_000 };
    let repetitions = options.repetitions();
    let gaps = rig::on_worker(options.cpu, move |eal| aging(eal, sessions, repetitions))?;
    tell(report, "aging", ("sessions", sessions), &gaps);
    Ok(())
}

fn tell(report: &mut Report, during: &str, size: (&'static str, u32), gaps: &[Gaps]) {
    let mut of = |what: &str, clock: &str, metric, each: &dyn Fn(&Gaps) -> f64| {
        let params = [
            ("during", during.into()),
            (size.0, size.1.into()),
            ("gap", what.into()),
            ("clock", clock.into()),
        ];
        let samples: Vec<f64> = gaps.iter().map(each).collect();
        report.ours(NAME, &params, metric, &samples);
    };
    let nanoseconds = |duration: Duration| duration.as_nanos() as f64;
    let rate = |count: u32, gaps: &Gaps| f64::from(count) / gaps.lasted.as_secs_f64();
    of("typical", "core", Metric::Nanoseconds, &|gaps| {
        nanoseconds(gaps.typical())
    });
    of("longest", "core", Metric::Nanoseconds, &|gaps| {
        nanoseconds(gaps.longest_own)
    });
    of("longest", "wall", Metric::Nanoseconds, &|gaps| {
        nanoseconds(gaps.longest)
    });
    of("over 250 us", "core", Metric::RatePerSecond, &|gaps| {
        rate(gaps.long_own, gaps)
    });
    of("over 250 us", "wall", Metric::RatePerSecond, &|gaps| {
        rate(gaps.long, gaps)
    });
}

/// A configuration of one tenant, and one of many that differs in nothing else.
fn shapes(tenants: u32) -> (Shape, Shape) {
    let small = Shape::new(FLOWS, Mix::Hot, Service::Snat);
    let many = Flows {
        tenants,
        ..small.flows
    };
    let large = Shape {
        flows: many,
        ..small.clone()
    };
    (small, large)
}

fn beside(eal: &Eal, during: During, tenants: u32, repetitions: usize) -> Result<Vec<Gaps>> {
    let lcore = rig::second(eal).context("no second CPU to change things on")?;
    let (small, large) = shapes(tenants);
    let mut world = World::new(eal, &small)?;
    world.open_flows()?;
    let mut source = Source::new(&world, (0..FLOWS).collect(), Direction::Out);
    let World {
        mut worker,
        mut sent,
        writer,
        control,
        plan,
        lists,
        ..
    } = world;
    let small = control.config.clone();
    let mut changer = Some(Changer {
        writer,
        control,
        plan,
        lists,
        small,
        large: large.config()?,
    });
    let epoch = Instant::now();
    let mut all = Vec::new();
    // One repetition first that does not count.
    for _ in 0..=repetitions {
        let done = Arc::new(AtomicBool::new(false));
        let mut own = changer.take().context("the changer is gone")?;
        let told = Arc::clone(&done);
        let other = eal.launch(lcore, move || {
            let outcome = own.change(during);
            told.store(true, Ordering::Release);
            outcome.map(|()| own)
        })?;
        let gaps = Gaps::measure(
            &mut worker,
            &mut sent,
            &mut source,
            0,
            &mut || epoch.elapsed().as_nanos() as u64,
            &mut |_| done.load(Ordering::Acquire),
        )?;
        let outcome = other.join();
        changer = Some(outcome.map_err(|_| anyhow!("the other core panicked"))??);
        all.push(gaps);
    }
    all.remove(0);
    Ok(all)
}

/// Who changes things beside the worker.
struct Changer {
    writer: Writer,
    control: Control,
    plan: Plan,
    lists: Vec<PathListId>,
    small: Config,
    large: Config,
}

impl Changer {
    fn change(&mut self, during: During) -> Result<()> {
        match during {
            During::Nothing => std::thread::sleep(Duration::from_millis(500)),
            During::Commit => {
                // There and back.
                let (small, large) = (self.small.clone(), self.large.clone());
                self.apply(&large)?;
                self.apply(&small)?;
            }
            During::FibChurn => {
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(500) {
                    self.churn()?;
                }
            }
        }
        Ok(())
    }

    /// Makes a configuration the running one, as the daemon does.
    fn apply(&mut self, config: &Config) -> Result<()> {
        let generation = self.plan.snapshot.generation + 1;
        let plan = self.control.planner.plan(config, generation)?;
        let snapshot = Arc::clone(&plan.snapshot);
        let end = &mut self.control.end;
        ensure!(end.snapshots.push(snapshot).is_ok(), "one is on its way");
        let start = Instant::now();
        while end.retired.pop().is_err() {
            if start.elapsed() > PATIENCE {
                bail!("the worker takes no snapshot");
            }
            std::thread::yield_now();
        }
        rig::applied(&mut self.writer, &self.plan, &plan)?;
        self.writer.reclaim();
        self.control.planner.retain(config);
        self.plan = plan;
        Ok(())
    }

    /// Routes of the provider, in and out.
    fn churn(&mut self) -> Result<()> {
        for leaf in [self.lists.first().copied(), None] {
            for number in 0..ROUTES {
                let address = Ipv4Addr::from_bits(0x0b00_0000 | number << 8);
                let prefix = Prefix::V4(Ipv4Prefix::new(address, 24)?);
                let leaf = leaf.map_or(Leaf::None, Leaf::PathList);
                self.writer.insert(VrfId::PROVIDER, prefix, leaf)?;
            }
            self.writer.reclaim();
        }
        Ok(())
    }
}

/// All sessions but those of the traffic are too old at once.
fn aging(eal: &Eal, sessions: u32, repetitions: usize) -> Result<Vec<Gaps>> {
    let mut world = World::new(eal, &Shape::new(sessions, Mix::Hot, Service::Snat))?;
    let mut all = Vec::new();
    for _ in 0..=repetitions {
        world.open_flows()?;
        let mut source = Source::new(&world, (0..FLOWS).collect(), Direction::Out);
        let (start, epoch) = (world.now_ns, Instant::now());
        let mut now = move || start + AGE_NS + epoch.elapsed().as_nanos() as u64;
        // The sweep begins when the clock jumps, so there are no turns before that do not count.
        let gaps = Gaps::measure(
            &mut world.worker,
            &mut world.sent,
            &mut source,
            0,
            &mut now,
            &mut |worker| worker.nat().stats().udp_sessions <= u64::from(FLOWS),
        )?;
        world.now_ns = now();
        all.push(gaps);
    }
    all.remove(0);
    Ok(all)
}
