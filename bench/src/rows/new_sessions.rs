//! `new-sessions`: how fast sessions are made, with the packet forwarded, and how fast they come and
//! go.

use anyhow::Result;
use sekisho_dpdk::{Burst, Eal};

use crate::options::Options;
use crate::report::{Metric, Report};
use crate::rig::{self, Direction, Flows, FrameWriter, Mix, Segment, Service, Shape, World};

/// New sessions of a repetition.
const NEW: u32 = 1 << 18;
/// Default time-outs: of UDP, and of TCP that opens or closes.
const TIMEOUT_NS: u64 = 300_000_000_000;
const CLOSING_NS: u64 = 240_000_000_000;

/// What is done with a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Opened, and more live after it than before.
    Grow,
    /// Opened while as many expire.
    Expire,
    /// A TCP connection opened, answered and closed, while as many expire.
    Connection,
}

impl Life {
    const fn protocol(self) -> &'static str {
        match self {
            Self::Grow | Self::Expire => "udp",
            Self::Connection => "tcp",
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Grow => "create",
            Self::Expire => "create-expire",
            Self::Connection => "open-reply-close",
        }
    }
}

/// Measures with nobody, a million and four million sessions alive.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    for live in options.sizes(&[0, 100_000], &[0, 1_000_000, 4_000_000]) {
        for life in [Life::Grow, Life::Expire, Life::Connection] {
            if life != Life::Grow && live == 0 {
                continue;
            }
            let repetitions = options.repetitions();
            let (rates, bytes) = rig::on_worker(options.cpu, move |eal| {
                measure(eal, live, life, repetitions)
            })?;
            let params = [
                ("live", live.into()),
                ("protocol", life.protocol().into()),
                ("life", life.as_str().into()),
            ];
            report.ours("new-sessions", &params, Metric::RatePerSecond, &rates);
            if live > 0 && life == Life::Grow {
                report.ours("new-sessions", &params, Metric::BytesPerEntry, &[bytes]);
            }
        }
    }
    Ok(())
}

fn measure(eal: &Eal, live: u32, life: Life, repetitions: usize) -> Result<(Vec<f64>, f64)> {
    let new = NEW * (repetitions as u32 + 1);
    let count = live + new;
    let mut shape = Shape::new(count, Mix::Hot, Service::Snat);
    shape.flows = Flows {
        tcp: life == Life::Connection,
        all_tcp: life == Life::Connection,
        ..shape.flows
    };
    shape.max_sessions = match life {
        Life::Grow => count,
        Life::Expire => live + live / 4 + NEW,
        // Those alive at the start are established, and stay.
        Life::Connection => 2 * live + live / 2 + NEW,
    };
    let mut world = World::new(eal, &shape)?;
    // In the steady state as many come as go: the clock goes on so that those of a time-out ago are
    // as many as are to be alive.
    let timeout = if life == Life::Connection {
        CLOSING_NS
    } else {
        TIMEOUT_NS
    };
    let step = if life == Life::Grow || live == 0 {
        0
    } else {
        timeout * Burst::CAPACITY as u64 / u64::from(live)
    };
    world.fill_once()?;
    world.open_first_over(live, step)?;
    let mut rates = Vec::new();
    let mut frame = [0; FrameWriter::MAX];
    let mut first = live;
    for repetition in 0..=repetitions {
        let (mut clocks, end) = (0, first + NEW);
        while first < end {
            let numbers = first..first + Burst::CAPACITY as u32;
            world.now_ns += step;
            let mut packet = |direction, segment| {
                world.exchange(numbers.clone(), direction, segment, &mut frame)
            };
            clocks += packet(Direction::Out, Segment::SYN)?;
            if life == Life::Connection {
                clocks += packet(Direction::Back, Segment::SYN_ACK)?;
                clocks += packet(Direction::Out, Segment::ACK)?;
                clocks += packet(Direction::Out, Segment::FIN_OUT)?;
                clocks += packet(Direction::Back, Segment::FIN_BACK)?;
            }
            first = numbers.end;
        }
        if repetition > 0 {
            rates.push(f64::from(NEW) * eal.tsc_hz() as f64 / clocks as f64);
        }
    }
    // The table is full now.
    let bytes = world.worker.nat().memory().total() as f64 / f64::from(count);
    Ok((rates, bytes))
}
