//! How long a worker is away from its ports: the time between the ends of consecutive turns.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};
use sekisho_dpdk::{Burst, RxQueue};
use sekisho_gateway::worker::Worker;

use super::pair::drain;
use super::source::Source;

/// A gap that packets notice.
const LONG: Duration = Duration::from_micros(250);
/// Turns the typical one is of.
const SAMPLES: usize = 1 << 16;

/// The gaps between the turns of one repetition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gaps {
    /// The longest by the clock on the wall, with whoever else ran on the core.
    pub(crate) longest: Duration,
    /// The longest by the time the core spent on this thread.
    pub(crate) longest_own: Duration,
    /// How many were long, by either.
    pub(crate) long: u32,
    pub(crate) long_own: u32,
    pub(crate) lasted: Duration,
    turns: Vec<Duration>,
}

impl Gaps {
    /// Runs a worker on full bursts until `done`, asked once a turn; the first `warm` turns do not
    /// count. `now` is the worker's clock.
    pub(crate) fn measure(
        worker: &mut Worker,
        sent: &mut [RxQueue],
        source: &mut Source,
        warm: usize,
        now: &mut dyn FnMut() -> u64,
        done: &mut dyn FnMut(&Worker) -> bool,
    ) -> Result<Self> {
        let mut gaps = Self::default();
        let mut burst = Burst::new();
        let mut turn = |worker: &mut Worker| -> Result<()> {
            source.fill(&mut burst, Burst::CAPACITY)?;
            worker.begin_turn(now());
            worker.take_over();
            worker.feed(&mut burst, source.port());
            worker.end_turn();
            drain(sent, &mut burst);
            Ok(())
        };
        for _ in 0..warm {
            turn(worker)?;
        }
        let start = Instant::now();
        let mut last = (start, own_time()?);
        while !done(worker) {
            turn(worker)?;
            let end = (Instant::now(), own_time()?);
            gaps.add(end.0 - last.0, end.1.saturating_sub(last.1));
            last = end;
        }
        gaps.lasted = start.elapsed();
        Ok(gaps)
    }

    fn add(&mut self, gap: Duration, own: Duration) {
        self.longest = self.longest.max(gap);
        self.longest_own = self.longest_own.max(own);
        self.long += u32::from(gap > LONG);
        self.long_own += u32::from(own > LONG);
        if self.turns.len() < SAMPLES {
            self.turns.push(own);
        }
    }

    /// The median turn.
    pub(crate) fn typical(&self) -> Duration {
        let mut turns = self.turns.clone();
        turns.sort_unstable();
        turns.get(turns.len() / 2).copied().unwrap_or_default()
    }
}

/// What this thread has run so far.
fn own_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
