//! Several workers at a time: one after the other on one core, or beside each other.

use std::sync::Barrier;
use std::time::Instant;

use anyhow::{Result, ensure};
use sekisho_dpdk::{Burst, RxQueue, rdtsc};
use sekisho_gateway::counters::Counter;
use sekisho_gateway::worker::Worker;

use super::source::Source;
use super::world::World;

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Packets of a burst.
    pub(crate) burst: usize,
    /// Bursts that are generated before the first of them is run.
    pub(crate) ahead: usize,
    /// Packets of a repetition.
    pub(crate) packets: usize,
    pub(crate) repetitions: usize,
}

/// One repetition of all workers on one core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alternated {
    /// Clocks of all workers together, from rings and parsing to the transmit queues.
    pub(crate) clocks: u64,
    pub(crate) packets: usize,
    pub(crate) handed_over: u64,
}

/// Runs the workers in turn on this core; worker by worker, what arrives there. Every packet must
/// leave.
pub(crate) fn alternate(
    world: &mut World,
    sources: &mut [Source],
    load: Load,
) -> Result<Vec<Alternated>> {
    let workers = world.peers.len() + 1;
    let ahead = load.ahead.next_multiple_of(workers);
    let mut bursts: Vec<Burst> = (0..ahead).map(|_| Burst::new()).collect();
    let rounds = load.packets.div_ceil(load.burst * ahead);
    let packets = rounds * load.burst * ahead;
    let epoch = Instant::now();
    let mut samples = Vec::new();
    // One repetition first that does not count.
    for repetition in 0..=load.repetitions {
        let before = handed_over(world);
        let (mut clocks, mut left) = (0, 0);
        for _ in 0..rounds {
            for (burst, source) in bursts.iter_mut().zip((0..sources.len()).cycle()) {
                sources[source].fill(burst, load.burst)?;
            }
            for (burst, number) in bursts.iter_mut().zip((0..workers).cycle()) {
                let now = epoch.elapsed().as_nanos() as u64;
                let (worker, sent) = hand(world, number);
                let port = sources[number % sources.len()].port();
                clocks += turn(worker, burst, port, now);
                left += drain(sent, burst);
            }
        }
        // What is still on its way from worker to worker.
        let mut burst = Burst::new();
        for number in (0..workers).chain(0..workers) {
            let now = epoch.elapsed().as_nanos() as u64;
            let (worker, sent) = hand(world, number);
            clocks += turn(worker, &mut burst, 0, now);
            left += drain(sent, &mut burst);
        }
        ensure!(
            left == packets,
            "{left} of {packets} packets left; dropped: {}",
            world.drops()
        );
        if repetition > 0 {
            samples.push(Alternated {
                clocks,
                packets,
                handed_over: handed_over(world) - before,
            });
        }
    }
    Ok(samples)
}

/// A worker of a world and what it sent.
fn hand(world: &mut World, number: usize) -> (&mut Worker, &mut [RxQueue]) {
    match number.checked_sub(1).and_then(|at| world.peers.get_mut(at)) {
        Some(peer) => (&mut peer.worker, &mut peer.sent),
        None => (&mut world.worker, &mut world.sent),
    }
}

fn handed_over(world: &World) -> u64 {
    let peers = world.peers.iter().map(|peer| &peer.counters);
    let counters = peers.chain([&world.counters]);
    counters
        .map(|counters| Counter::get(&counters.handed_over))
        .sum()
}

/// One turn of a worker; the clocks from its rings to its transmit queues.
fn turn(worker: &mut Worker, burst: &mut Burst, port: u16, now: u64) -> u64 {
    worker.begin_turn(now);
    let start = rdtsc();
    worker.take_over();
    worker.feed(burst, port);
    let clocks = rdtsc() - start;
    burst.clear();
    worker.end_turn();
    clocks
}

/// Frees what a worker sent; how many packets.
pub(super) fn drain(sent: &mut [RxQueue], burst: &mut Burst) -> usize {
    let mut left = 0;
    for queue in sent {
        loop {
            let received = queue.receive(burst);
            left += received;
            burst.clear();
            if received < Burst::CAPACITY {
                break;
            }
        }
    }
    left
}

/// One repetition of one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone {
    /// Packets that left in a second, with generating them.
    pub(crate) rate: f64,
    /// Clocks per packet, without generating them.
    pub(crate) clocks: f64,
}

/// Runs one worker, each repetition beside those that meet it at `start`.
pub(crate) fn beside(
    worker: &mut Worker,
    sent: &mut [RxQueue],
    source: &mut Source,
    load: Load,
    start: &Barrier,
) -> Result<Vec<Alone>> {
    let mut bursts: Vec<Burst> = (0..load.ahead).map(|_| Burst::new()).collect();
    let epoch = Instant::now();
    let mut samples = Vec::new();
    for _ in 0..=load.repetitions {
        start.wait();
        // The others wait for us in the next repetition even if this one fails.
        samples.push(repetition(worker, sent, source, load, &mut bursts, epoch));
    }
    // The first does not count.
    samples.into_iter().skip(1).collect()
}

fn repetition(
    worker: &mut Worker,
    sent: &mut [RxQueue],
    source: &mut Source,
    load: Load,
    bursts: &mut [Burst],
    epoch: Instant,
) -> Result<Alone> {
    let rounds = load.packets.div_ceil(load.burst * bursts.len());
    let packets = rounds * load.burst * bursts.len();
    let (mut clocks, mut left, start) = (0, 0, Instant::now());
    for _ in 0..rounds {
        for burst in bursts.iter_mut() {
            source.fill(burst, load.burst)?;
        }
        for burst in bursts.iter_mut() {
            let now = epoch.elapsed().as_nanos() as u64;
            clocks += turn(worker, burst, source.port(), now);
            left += drain(sent, burst);
        }
    }
    ensure!(left == packets, "{left} of {packets} packets left");
    Ok(Alone {
        rate: packets as f64 / start.elapsed().as_secs_f64(),
        clocks: clocks as f64 / packets as f64,
    })
}
