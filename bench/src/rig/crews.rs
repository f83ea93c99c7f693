//! Two gateways that differ in the number of their workers. Packets arrive at workers that do not own
//! their sessions: the same must leave, in the order of each flow, and the same must be counted.

use std::collections::HashMap;
use std::net::SocketAddrV4;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sekisho_dpdk::Burst;
use sekisho_gateway::counters::{Counter, WorkerCounters};
use sekisho_gateway::drops::DropReason;

use super::frames::{FrameWriter, Segment};
use super::twins::{change, forget_source, mend, traffic};
use super::world::floating;
use super::{Flows, Mix, Service, Shape, World};

const ROUNDS: u32 = 400;
const SEED: [u8; 32] = [9; 32];
/// Offsets of the IP header of what is not in a tunnel, and of what is.
const PLAIN: usize = 14;
const TUNNEL: usize = 64;

/// A packet that is sent: of which flow, and what is done to it.
#[derive(Clone, Copy)]
struct Sent {
    flow: u32,
    /// Seed of the changes, if there are any.
    change: Option<u64>,
}

fn world(service: Service, workers: u8) -> World {
    let mut flows = Flows::new(2_000, Mix::Full);
    flows.hosts = flows.hosts.min(512);
    let shape = Shape {
        flows,
        workers,
        buffers: 4095,
        seed: SEED,
        ..Shape::new(10_000, Mix::Hot, service)
    };
    let mut world = World::new(super::eal(0).unwrap(), &shape).unwrap();
    if service == Service::Snat {
        world.open_flows().unwrap();
    }
    world
}

/// The frame of a packet; its place in the round is its identification.
fn frame(world: &World, sent: Sent, place: usize, outward: bool) -> Vec<u8> {
    let mut room = [0; FrameWriter::MAX];
    let flow = world.shape.flows.flow(sent.flow);
    let (frames, inner) = (&world.frames, if outward { TUNNEL } else { PLAIN });
    let length = if outward {
        frames.out(&mut room, &flow, Segment::DATA_OUT)
    } else {
        let outside = match world.shape.service {
            Service::Snat => world.outside[sent.flow as usize],
            Service::Routed => (flow.host.address, flow.sport),
            Service::Floating => (floating(sent.flow % world.shape.flows.hosts), flow.sport),
        };
        let outside = SocketAddrV4::new(outside.0, outside.1);
        frames.back(&mut room, &flow, outside, Segment::DATA_BACK)
    };
    let mut frame = room[..length].to_vec();
    frame[inner + 4..inner + 6].copy_from_slice(&(place as u16).to_be_bytes());
    mend(&mut frame, inner);
    if let Some(seed) = sent.change {
        change(&mut frame, &mut StdRng::seed_from_u64(seed), outward);
    }
    frame
}

/// What left, by port, in order, after the packets of a round have arrived: each flow's always at the
/// same worker.
fn run(world: &mut World, round: &[Sent], outward: bool, now: u64) -> Vec<(usize, Vec<u8>)> {
    let workers = world.peers.len() as u32 + 1;
    world.now_ns = now;
    for number in 0..workers {
        let mut burst = Burst::new();
        for (place, &sent) in round.iter().enumerate() {
            if sent.flow % workers == number {
                let frame = frame(world, sent, place, outward);
                let mut mbuf = world.pool.alloc().unwrap();
                mbuf.append(frame.len()).unwrap().copy_from_slice(&frame);
                burst.push(mbuf).unwrap();
            }
        }
        let worker = match number.checked_sub(1) {
            Some(peer) => &mut world.peers[peer as usize].worker,
            None => &mut world.worker,
        };
        worker.begin_turn(now);
        worker.feed(&mut burst, u16::from(!outward));
        worker.end_turn();
    }
    world.settle();
    let translated = world.shape.service == Service::Snat;
    let (mut left, mut burst) = (Vec::new(), Burst::new());
    let peers = world.peers.iter_mut().map(|peer| &mut peer.sent);
    for sent in std::iter::once(&mut world.sent).chain(peers) {
        for (port, queue) in sent.iter_mut().enumerate() {
            while queue.receive(&mut burst) > 0 {
                left.extend(burst.iter().map(|mbuf| {
                    let mut frame = mbuf.data().to_vec();
                    if translated && outward {
                        forget_source(&mut frame);
                    } else if translated && frame.len() > TUNNEL {
                        // The tunnel's source port follows from the outside port, which is chance.
                        frame[34..36].fill(0);
                    }
                    (port, frame)
                }));
                burst.clear();
            }
        }
    }
    left
}

/// Panics unless the packets of each flow left in the order they arrived in. Rounds with changes, and
/// ICMP errors about the packets of such a round, tell nothing of that.
fn check_order(round: &[Sent], left: &[(usize, Vec<u8>)], outward: bool) {
    if round.iter().any(|sent| sent.change.is_some()) {
        return;
    }
    let (inner, longest) = if outward {
        (PLAIN, FrameWriter::MAX - 50)
    } else {
        (TUNNEL, FrameWriter::MAX)
    };
    let mut last = HashMap::new();
    for (_, frame) in left {
        let is_tunnel = frame[36..38] == 4789_u16.to_be_bytes();
        if frame.len() > longest || is_tunnel == outward || frame.len() < inner + 20 {
            continue;
        }
        let place = u16::from_be_bytes([frame[inner + 4], frame[inner + 5]]);
        let flow = round[usize::from(place)].flow;
        let before = last.insert(flow, place);
        assert!(before.is_none_or(|before| before < place), "flow {flow}");
    }
}

fn sum(world: &World, count: impl Fn(&WorkerCounters) -> u64) -> u64 {
    let peers = world.peers.iter().map(|peer| &peer.counters);
    peers.chain([&world.counters]).map(|own| count(own)).sum()
}

fn compare(service: Service) {
    let (mut one, mut two) = (world(service, 1), world(service, 2));
    let mut random = StdRng::from_seed(SEED);
    for number in 0..u64::from(ROUNDS) {
        let outward = random.random();
        let size = random.random_range(1..=Burst::CAPACITY);
        // What comes back to an outside port that is chance cannot be changed alike.
        let changes = (outward || service != Service::Snat) && random.random();
        let round: Vec<Sent> = (0..size)
            .map(|_| Sent {
                flow: random.random_range(0..one.shape.flows.count.min(256)),
                change: (changes && random.random_range(0..3) == 0).then(|| random.random()),
            })
            .collect();
        let now = 1_000_000 + number * 200_000_000;
        let mut single = run(&mut one, &round, outward, now);
        let mut both = run(&mut two, &round, outward, now);
        check_order(&round, &single, outward);
        check_order(&round, &both, outward);
        single.sort();
        both.sort();
        assert!(
            single == both,
            "{service:?}: {single:02x?} {both:02x?}; drops: {}; {}",
            one.drops(),
            two.drops()
        );
    }
    for &reason in DropReason::ALL {
        let drops = |world: &World| sum(world, |counters| counters.drops(reason));
        assert_eq!(drops(&one), drops(&two), "{}", reason.label());
    }
    type Count = fn(&WorkerCounters) -> &Counter;
    let same: [Count; 3] = [
        |counters| &counters.received,
        |counters| &counters.transmitted,
        |counters| &counters.punted,
    ];
    for count in same {
        let total = |world: &World| sum(world, |counters| count(counters).get());
        assert_eq!(total(&one), total(&two));
    }
    assert_eq!(traffic(&one), traffic(&two));
    let handed = sum(&two, |counters| counters.handed_over.get());
    assert_eq!(handed, sum(&two, |counters| counters.taken_over.get()));
    // What needs no state never changes workers.
    let stateful = service == Service::Snat;
    assert_eq!(handed > u64::from(ROUNDS) * 8, stateful, "{handed}");
}

#[test]
fn two_workers_forward_what_one_does_whichever_it_arrives_at() {
    super::on_worker(0, |_| {
        for service in [Service::Snat, Service::Routed, Service::Floating] {
            compare(service);
        }
        Ok(())
    })
    .unwrap();
}
