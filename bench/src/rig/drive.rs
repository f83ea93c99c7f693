//! Packets through the worker, timed.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sekisho_dpdk::{Burst, rdtsc};

use super::flows::Mix;
use super::frames::FrameWriter;
use super::world::World;
use crate::options::Options;

/// Writes the frame of a number into a buffer and gives its length.
pub(crate) type Generator<'a> = &'a mut dyn FnMut(u32, &mut [u8; FrameWriter::MAX]) -> usize;

/// Clocks per packet of each repetition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clocks {
    /// From parsing to the transmit queue.
    pub(crate) pipeline: Vec<f64>,
    /// With the generator, the ports and the freeing of buffers.
    pub(crate) whole: Vec<f64>,
}

/// How to run.
pub(crate) struct Drive<'a> {
    world: &'a mut World,
    /// The port frames arrive on.
    pub(crate) port: u16,
    /// Numbers are drawn from 0 to this.
    pub(crate) numbers: u32,
    /// Packets of a burst.
    pub(crate) burst: usize,
    /// Bursts that are generated before the first of them is run: with many, packets are out of
    /// the second-level cache again.
    pub(crate) ahead: usize,
    /// In the order of their numbers, not at random.
    pub(crate) sequential: bool,
    pub(crate) repetitions: usize,
    /// Packets of a repetition.
    pub(crate) packets: usize,
    /// Whether they are to be forwarded; else they are to be dropped, and only what the gateway says
    /// of it, which is rationed, may leave.
    pub(crate) forwarded: bool,
    /// Who runs a burst; by default the worker.
    pub(crate) pipeline: fn(&mut World, &mut Burst, u16),
    /// How far the worker's clock goes on with each burst; by default as the real one does.
    pub(crate) step_ns: Option<u64>,
}

/// Packets on their way at once in the full mix: 8192 of them take 2.5 MB.
const AHEAD: usize = 128;

impl<'a> Drive<'a> {
    pub(super) fn new(world: &'a mut World, options: &Options, mix: Mix) -> Self {
        let numbers = world.shape.flows.count;
        Self {
            world,
            port: 0,
            numbers,
            burst: options.burst.into(),
            ahead: match mix {
                Mix::Hot => 1,
                Mix::Full => AHEAD,
            },
            sequential: options.sequential,
            repetitions: options.repetitions(),
            packets: if options.quick { 1 << 18 } else { 1 << 20 },
            forwarded: true,
            pipeline: |world, burst, port| world.worker.feed(burst, port),
            step_ns: None,
        }
    }

    /// Runs and times; every packet must leave, or none if they are to be dropped.
    pub(crate) fn run(&mut self, generate: Generator<'_>) -> Result<Clocks> {
        let mut clocks = Clocks::default();
        let mut random = SmallRng::from_os_rng();
        let mut next = 0;
        let epoch = Instant::now();
        let mut bursts: Vec<Burst> = (0..self.ahead).map(|_| Burst::new()).collect();
        let mut frame = [0; FrameWriter::MAX];
        // One repetition first that does not count.
        for repetition in 0..=self.repetitions {
            let rounds = self.packets.div_ceil(self.burst * self.ahead);
            let packets = (rounds * self.burst * self.ahead) as f64;
            let (mut pipeline, mut left, start) = (0, 0, rdtsc());
            for _ in 0..rounds {
                for burst in &mut bursts {
                    ensure!(
                        self.world.pool.alloc_bulk(burst, self.burst),
                        "no buffers left"
                    );
                    for mbuf in burst.iter_mut() {
                        let number = if self.sequential {
                            let number = next;
                            next = if next + 1 < self.numbers { next + 1 } else { 0 };
                            number
                        } else {
                            random.random_range(0..self.numbers)
                        };
                        let length = generate(number, &mut frame);
                        mbuf.append(length)
                            .context("a buffer is too small")?
                            .copy_from_slice(&frame[..length]);
                    }
                }
                for burst in &mut bursts {
                    let now = match self.step_ns {
                        Some(step) => {
                            self.world.now_ns += step;
                            self.world.now_ns
                        }
                        None => epoch.elapsed().as_nanos() as u64,
                    };
                    self.world.worker.begin_turn(now);
                    let fed = rdtsc();
                    (self.pipeline)(self.world, burst, self.port);
                    pipeline += rdtsc() - fed;
                    burst.clear();
                    self.world.worker.end_turn();
                    for queue in &mut self.world.sent {
                        left += queue.receive(burst);
                        burst.clear();
                    }
                }
            }
            let whole = rdtsc() - start;
            let right = if self.forwarded {
                left as f64 == packets
            } else {
                left as f64 <= packets / 50.0
            };
            ensure!(
                right,
                "{left} of {packets} packets left; dropped: {}",
                self.world.drops()
            );
            self.world.tell_stages(self.burst);
            if repetition > 0 {
                clocks.pipeline.push(pipeline as f64 / packets);
                clocks.whole.push(whole as f64 / packets);
            }
        }
        Ok(clocks)
    }
}
