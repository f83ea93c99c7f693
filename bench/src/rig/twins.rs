//! Two gateways that differ in one thing: one runs bursts in stages, the other each packet by itself.
//! Whatever arrives, the same must leave, and the same must be counted.

use std::net::{Ipv4Addr, SocketAddrV4};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use sekisho_dpdk::Burst;
use sekisho_gateway::counters::{Counter, TrafficCounters};
use sekisho_gateway::drops::DropReason;
use sekisho_nat::{Cursor, SessionFilter, Time, Traffic};
use sekisho_packet::checksum::checksum;
use sekisho_packet::{Ipv4, Sum};
use sekisho_types::IpProtocol;

use super::frames::{FrameWriter, Segment};
use super::world::floating;
use super::{Flows, Mix, Service, Shape, World};

mod six;

/// Packets compared for each service.
const PACKETS: usize = 40_000;
const SEED: [u8; 32] = [7; 32];

fn world(flows: Flows, service: Service, count_sessions: bool) -> World {
    let shape = Shape {
        flows,
        buffers: 4095,
        seed: SEED,
        dual_stack: true,
        count_sessions,
        ..Shape::new(10_000, Mix::Hot, service)
    };
    let eal = super::eal(0).unwrap();
    let mut world = World::new(eal, &shape).unwrap();
    world.worker.without_bursts();
    if service == Service::Snat {
        world.open_flows().unwrap();
    }
    world
}

/// The port a frame left by, and the frame.
type Left = (usize, Vec<u8>);

/// What left, by port, sorted: packets that are special leave after those that are not; and what the
/// control plane was told.
fn run(world: &mut World, frames: &[Vec<u8>], port: u16, now: u64) -> (Vec<Left>, Vec<String>) {
    let mut burst = Burst::new();
    assert!(world.pool.alloc_bulk(&mut burst, frames.len()));
    for (mbuf, frame) in burst.iter_mut().zip(frames) {
        mbuf.append(frame.len()).unwrap().copy_from_slice(frame);
    }
    // Which address and port a new session gets is chance.
    let translated = world.shape.service == Service::Snat && port == 0;
    world.worker.begin_turn(now);
    world.worker.feed(&mut burst, port);
    world.worker.end_turn();
    let mut left = Vec::new();
    for (port, queue) in world.sent.iter_mut().enumerate() {
        while queue.receive(&mut burst) > 0 {
            left.extend(burst.iter().map(|mbuf| {
                let mut frame = mbuf.data().to_vec();
                if translated {
                    forget_source(&mut frame);
                }
                (port, frame)
            }));
            burst.clear();
        }
    }
    left.sort();
    let end = &mut world.control.end;
    let mut told = Vec::new();
    for events in [&mut end.uplink_events, &mut end.segment_events] {
        while let Ok(event) = events.pop() {
            told.push(format!("{event:?}"));
        }
    }
    told.sort();
    (left, told)
}

/// Forgets which address of the pool and which port a packet got, and puts whether the checksums are
/// right in their places.
pub(super) fn forget_source(frame: &mut [u8]) {
    let Ok(ip) = Ipv4::new(&frame[14..]) else {
        return;
    };
    let length = ip.payload().len() as u16;
    let sum = match ip.protocol() {
        IpProtocol::ICMP => Sum::new(),
        _ => ip.pseudo_header(length),
    };
    let right = sum.bytes(ip.payload()).is_intact();
    let (port, checksum) = match ip.protocol() {
        IpProtocol::ICMP => (38, 36),
        IpProtocol::TCP => (34, 50),
        _ => (34, 40),
    };
    let intact = ip.is_intact();
    if frame[26] == 203 {
        frame[28..30].fill(0);
        frame[24..26].fill(intact.into());
    }
    frame[port..port + 2].fill(0);
    frame[checksum..checksum + 2].fill(right.into());
}

/// A frame of a flow, in either direction, right in every way.
fn right(world: &World, random: &mut StdRng, outward: bool) -> Vec<u8> {
    let flows = world.shape.flows;
    let number = random.random_range(0..flows.count);
    let flow = flows.flow(number);
    let mut room = [0; FrameWriter::MAX];
    let length = if outward {
        world.frames.out(&mut room, &flow, Segment::DATA_OUT)
    } else {
        let outside = match world.shape.service {
            Service::Snat => world.outside[number as usize],
            Service::Routed => (flow.host.address, flow.sport),
            Service::Floating => (floating(number % flows.hosts), flow.sport),
        };
        let outside = SocketAddrV4::new(outside.0, outside.1);
        world
            .frames
            .back(&mut room, &flow, outside, Segment::DATA_BACK)
    };
    room[..length].to_vec()
}

pub(super) fn mend(frame: &mut [u8], at: usize) {
    if let Some(header) = frame.get_mut(at..at + 20) {
        header[10..12].fill(0);
        let sum = checksum(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Does something to a frame that a gateway must notice, or must not mind.
pub(super) fn change(frame: &mut Vec<u8>, random: &mut StdRng, outward: bool) {
    let inner = if outward { 64 } else { 14 };
    match random.random_range(0..13) {
        0 => {
            let at = random.random_range(0..frame.len());
            frame[at] ^= 1 << random.random_range(0..8);
        }
        1 | 2 => {
            let at = random.random_range(14..frame.len().min(inner + 34));
            frame[at] = random.random();
            mend(frame, 14);
            mend(frame, inner);
        }
        3 => frame.truncate(random.random_range(0..frame.len())),
        4 => frame.extend(std::iter::repeat_n(0xee, random.random_range(1..64))),
        5 => {
            frame[inner + 8] = random.random_range(0..4);
            mend(frame, inner);
        }
        6 => {
            // Congestion marks and classes, inside and out.
            frame[15] = random.random();
            frame[inner + 1] = random.random();
            mend(frame, 14);
            mend(frame, inner);
        }
        7 => {
            frame[inner + 6] = *[0x00, 0x20, 0x40, 0x60, 0x80, 0x1f].choose(random).unwrap();
            frame[inner + 7] = *[0, 0, 0, 1, 185].choose(random).unwrap();
            mend(frame, inner);
        }
        8 => {
            let end = random.random_range(0..2) * 4 + inner + 12;
            let address: [u8; 4] = match random.random_range(0..8) {
                0 => [127, 0, 0, 1],
                1 => [224, 0, 0, 5],
                2 => [0, 1, 2, 3],
                3 => [255; 4],
                4 => [10, 1, 0, 1],
                5 => [203, 0, 0, 9],
                6 => [172, 16, 0, 1],
                _ => random.random(),
            };
            frame[end..end + 4].copy_from_slice(&address);
            mend(frame, inner);
        }
        9 => {
            // A datagram without checksum; of TCP a flag or two.
            if frame[inner + 9] == 17 {
                frame[inner + 26..inner + 28].fill(0);
            } else {
                frame[inner + 33] = random.random();
            }
        }
        10 => {
            // Another protocol, mostly with too short a header.
            frame[inner + 9] = *[1, 6, 17, 47, 132].choose(random).unwrap();
            mend(frame, inner);
        }
        11 if outward => {
            // From another VTEP, mostly of the same segment, or another machine at the same one.
            let at = *[29, 61].choose(random).unwrap();
            frame[at] ^= 1 << random.random_range(0..3);
            mend(frame, 14);
        }
        _ => {}
    }
}

/// Makes a frame of the gateway's, in one direction, mostly changed.
type Maker = fn(&World, &mut StdRng, bool) -> Vec<u8>;

fn any(world: &World, random: &mut StdRng, outward: bool) -> Vec<u8> {
    let mut frame = right(world, random, outward);
    if random.random_range(0..3) > 0 {
        change(&mut frame, random, outward);
    }
    frame
}

/// The same, and what has a session but is too big for the tunnel it would go into.
fn any_size(world: &World, random: &mut StdRng, outward: bool) -> Vec<u8> {
    if outward || random.random_range(0..4) > 0 {
        return any(world, random, outward);
    }
    let mut frame = right(world, random, outward);
    let octets = 1550_u16;
    frame.resize(14 + usize::from(octets), 0);
    frame[16..18].copy_from_slice(&octets.to_be_bytes());
    if frame[23] == IpProtocol::UDP.0 {
        frame[38..40].copy_from_slice(&(octets - 20).to_be_bytes());
    }
    mend(&mut frame, 14);
    frame
}

/// Flows of a few hundred machines.
fn few(mix: Mix) -> Flows {
    let flows = Flows::new(2_000, mix);
    Flows {
        hosts: flows.hosts.min(512),
        ..flows
    }
}

/// Of so many tenants that what is known of their segments does not stay close.
fn of_many_tenants() -> Flows {
    Flows {
        tenants: 400,
        hosts: 800,
        ..few(Mix::Full)
    }
}

fn compare(flows: Flows, service: Service, make: Maker) {
    compare_counting(flows, service, make, false);
}

fn compare_counting(flows: Flows, service: Service, make: Maker, counts: bool) {
    let world = || world(flows, service, counts);
    let (mut one, mut other) = (world(), world());
    assert_eq!(one.outside, other.outside);
    one.worker.with_bursts();
    let mut random = StdRng::from_seed(SEED);
    let (mut sent, mut now) = (0, 1_000_000);
    while sent < PACKETS {
        let outward = random.random();
        let size = random.random_range(1..=Burst::CAPACITY);
        let frames: Vec<Vec<u8>> = (0..size)
            .map(|_| make(&one, &mut random, outward))
            .collect();
        sent += size;
        // So much later that no budget of ICMP errors, which is random, is used up.
        now += 200_000_000;
        let port = if outward { 0 } else { 1 };
        let (staged, told) = run(&mut one, &frames, port, now);
        let (single, told_too) = run(&mut other, &frames, port, now);
        assert_eq!(told, told_too, "{flows:?} {service:?}");
        if staged != single {
            let only = |these: &[Left], others: &[Left]| -> Vec<Left> {
                these
                    .iter()
                    .filter(|left| !others.contains(left))
                    .cloned()
                    .collect()
            };
            panic!(
                "{flows:?} {service:?}: only in stages {:02x?}, only one by one {:02x?}; drops: {}; {}",
                only(&staged, &single),
                only(&single, &staged),
                one.drops(),
                other.drops()
            );
        }
        for &reason in DropReason::ALL {
            assert_eq!(
                drops(&one, reason),
                drops(&other, reason),
                "{} in {frames:02x?}",
                reason.label()
            );
        }
    }
    let (staged, single) = (&one.counters, &other.counters);
    assert_eq!(staged.transmitted.get(), single.transmitted.get());
    assert_eq!(staged.punted.get(), single.punted.get());
    assert!(staged.transmitted.get() > PACKETS as u64 / 8);
    for (one, other) in traffic(&one).into_iter().zip(traffic(&other)) {
        assert_eq!(one, other);
    }
    if counts {
        let (staged, single) = (carried(&one, now), carried(&other, now));
        let both_ways = |of: &Carried| of.counts.0.packets > 0 && of.counts.1.packets > 0;
        assert!(staged.iter().any(both_ways));
        assert_eq!(staged, single);
    }
    let unspecified = Ipv4Addr::UNSPECIFIED;
    assert!(
        one.outside
            .iter()
            .all(|(address, _)| *address != unspecified)
    );
}

/// What a session carried, both ways.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Carried {
    flow: (u16, IpProtocol, SocketAddrV4, SocketAddrV4),
    counts: (Packets, Packets),
    age_ms: u32,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Packets {
    packets: u64,
    octets: u64,
}

impl From<Traffic> for Packets {
    fn from(Traffic { packets, octets }: Traffic) -> Self {
        Self { packets, octets }
    }
}

/// What every session carried, in the order of their flows.
fn carried(world: &World, now: u64) -> Vec<Carried> {
    let mut views = Vec::new();
    let (filter, start) = (SessionFilter::default(), Cursor::default());
    let nat = world.worker.nat();
    nat.snapshot(Time::from_nanos(now), &filter, start, u32::MAX, &mut views);
    let mut all: Vec<Carried> = views
        .iter()
        .map(|view| {
            let counts = view.counts.unwrap();
            Carried {
                flow: (view.vrf.value(), view.protocol, view.inside, view.remote),
                counts: (counts.outbound.into(), counts.inbound.into()),
                age_ms: counts.age_ms,
            }
        })
        .collect();
    all.sort();
    all
}

/// How many packets were dropped for a reason. Whether a stranger's packet meets a mapping is chance,
/// as the ports of new sessions are: that it met none is the same as that it was not let in.
fn drops(world: &World, reason: DropReason) -> u64 {
    let of = |reason| world.counters.drops(reason);
    match reason {
        DropReason::NatFiltered => 0,
        DropReason::NatNoMapping => of(DropReason::NatFiltered) + of(DropReason::NatNoMapping),
        reason => of(reason),
    }
}

/// What every uplink and segment counted, all workers together.
pub(super) fn traffic(world: &World) -> Vec<[u64; 4]> {
    let snapshot = &world.plan.snapshot;
    let uplinks = snapshot
        .uplinks
        .iter()
        .flatten()
        .map(|uplink| &uplink.traffic);
    let segments = snapshot.segments.iter().flatten();
    let traffic = uplinks.chain(segments.map(|segment| &segment.traffic));
    traffic
        .map(|traffic| {
            let sum = |of: fn(&TrafficCounters) -> &Counter| -> u64 {
                traffic.iter().map(|own| of(own).get()).sum()
            };
            [
                sum(|own| &own.rx_packets),
                sum(|own| &own.rx_bytes),
                sum(|own| &own.tx_packets),
                sum(|own| &own.tx_bytes),
            ]
        })
        .collect()
}

#[test]
fn bursts_and_single_packets_fare_alike_whatever_arrives() {
    super::on_worker(0, |_| {
        for service in [Service::Snat, Service::Routed, Service::Floating] {
            compare(few(Mix::Hot), service, any);
            compare(few(Mix::Full), service, any);
        }
        compare(of_many_tenants(), Service::Snat, any);
        six::compare_all();
        Ok(())
    })
    .unwrap();
}

#[test]
fn bursts_and_single_packets_count_alike_what_sessions_carry() {
    super::on_worker(0, |_| {
        compare_counting(few(Mix::Hot), Service::Snat, any_size, true);
        compare_counting(few(Mix::Full), Service::Snat, any_size, true);
        Ok(())
    })
    .unwrap();
}
