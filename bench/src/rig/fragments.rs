//! Fragments through NAT, as frames: in any order, at any worker, both ways and in hairpins.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use sekisho_dpdk::Burst;
use sekisho_gateway::drops::DropReason;
use sekisho_packet::Ipv4;
use sekisho_packet::checksum::{Sum, checksum};
use sekisho_types::IpProtocol;

use super::flows::Flow;
use super::frames::{FrameWriter, Segment};
use super::twins::mend;
use super::{Flows, Mix, Service, Shape, World, floating};

const SEED: [u8; 32] = [11; 32];
/// Offsets of the IP header of what is not in a tunnel, and of what is.
const PLAIN: usize = 14;
const TUNNEL: usize = 64;
/// The same identification for all: it names a packet only together with its addresses.
const ID: u16 = 7;

/// A whole IP packet or a fragment of one.
type Bytes = Vec<u8>;

fn world(service: Service, workers: u8) -> World {
    let mut flows = Flows::new(2_000, Mix::Full);
    flows.hosts = 512;
    let shape = Shape {
        flows,
        workers,
        buffers: 8191,
        seed: SEED,
        ..Shape::new(10_000, Mix::Hot, service)
    };
    let mut world = World::new(super::eal(0).unwrap(), &shape).unwrap();
    if service == Service::Snat {
        world.open_flows().unwrap();
    }
    world
}

/// The UDP flows of a world.
fn udp_flows(world: &World) -> Vec<u32> {
    let flows = &world.shape.flows;
    (0..flows.count)
        .filter(|&number| !flows.flow(number).tcp)
        .collect()
}

fn ip_packet(
    (src, dst): (Ipv4Addr, Ipv4Addr),
    protocol: IpProtocol,
    id: u16,
    payload: &[u8],
) -> Bytes {
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    let total = (20 + payload.len()) as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[8..10].copy_from_slice(&[64, protocol.0]);
    packet[12..16].copy_from_slice(&src.octets());
    packet[16..20].copy_from_slice(&dst.octets());
    mend(&mut packet, 0);
    packet.extend_from_slice(payload);
    packet
}

/// A datagram with its checksum and `len` octets of data.
fn udp_packet(src: SocketAddrV4, dst: SocketAddrV4, id: u16, len: usize) -> Bytes {
    let length = (8 + len) as u16;
    let mut udp: Bytes = [src.port(), dst.port(), length, 0]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .collect();
    udp.extend((0..len).map(|at| (at * 7) as u8));
    let sum = Sum::pseudo_v4(*src.ip(), *dst.ip(), IpProtocol::UDP, length);
    let sum = sum.bytes(&udp).udp_checksum();
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    ip_packet((*src.ip(), *dst.ip()), IpProtocol::UDP, id, &udp)
}

/// A TCP segment of an open connection with its checksum and `len` octets of data.
fn tcp_packet(src: SocketAddrV4, dst: SocketAddrV4, segment: Segment, len: usize) -> Bytes {
    let mut tcp: Bytes = [src.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
    tcp.extend([segment.seq.to_be_bytes(), segment.ack.to_be_bytes()].concat());
    tcp.extend([5 << 4, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend((0..len).map(|at| (at * 5) as u8));
    let sum = Sum::pseudo_v4(*src.ip(), *dst.ip(), IpProtocol::TCP, tcp.len() as u16);
    let sum = sum.bytes(&tcp).checksum();
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    ip_packet((*src.ip(), *dst.ip()), IpProtocol::TCP, ID, &tcp)
}

/// An echo request or reply with its checksum and `len` octets of data.
fn echo_packet(kind: u8, addresses: (Ipv4Addr, Ipv4Addr), ident: u16, len: usize) -> Bytes {
    let mut icmp = vec![kind, 0, 0, 0];
    icmp.extend(ident.to_be_bytes());
    icmp.extend([0, 1]);
    icmp.extend((0..len).map(|at| (at * 3) as u8));
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    ip_packet(addresses, IpProtocol::ICMP, ID, &icmp)
}

/// One fragment: `len` octets of the payload from `offset` on.
fn part(packet: &[u8], offset: usize, len: usize) -> Bytes {
    let end = packet.len().min(20 + offset + len);
    let mut part = packet[..20].to_vec();
    part.extend_from_slice(&packet[20 + offset..end]);
    let total = part.len() as u16;
    let more = if end < packet.len() { 0x2000 } else { 0 };
    part[2..4].copy_from_slice(&total.to_be_bytes());
    part[6..8].copy_from_slice(&((offset / 8) as u16 | more).to_be_bytes());
    mend(&mut part, 0);
    part
}

fn cut(packet: &[u8], len: usize) -> Vec<Bytes> {
    let offsets = (0..packet.len() - 20).step_by(len);
    offsets.map(|offset| part(packet, offset, len)).collect()
}

/// What a virtual machine sends, in its tunnel.
fn tunnelled(world: &World, flow: &Flow, packet: &[u8]) -> Bytes {
    let mut room = [0; FrameWriter::MAX];
    world.frames.tunnel(&mut room, flow);
    let mut frame = room[..TUNNEL].to_vec();
    frame.extend_from_slice(packet);
    let udp = (frame.len() - 34) as u16;
    frame[16..18].copy_from_slice(&(udp + 20).to_be_bytes());
    frame[38..40].copy_from_slice(&udp.to_be_bytes());
    mend(&mut frame, PLAIN);
    frame
}

fn plain(world: &World, packet: &[u8]) -> Bytes {
    [&world.frames.plain[..], packet].concat()
}

/// Lets frames arrive at a port, each at the worker it is drawn, and gives the IP packets that left.
fn run(world: &mut World, frames: &[Bytes], port: u16, random: &mut StdRng) -> Vec<Bytes> {
    let workers = world.peers.len() + 1;
    let mut left = Vec::new();
    for some in frames.chunks(random.random_range(1..=Burst::CAPACITY)) {
        world.now_ns += 1_000_000;
        let mut bursts: Vec<Burst> = (0..workers).map(|_| Burst::new()).collect();
        for frame in some {
            let mut mbuf = world.pool.alloc().unwrap();
            mbuf.append(frame.len()).unwrap().copy_from_slice(frame);
            let at = random.random_range(0..workers);
            bursts[at].push(mbuf).unwrap();
        }
        for (burst, number) in bursts.iter_mut().zip(0..) {
            let worker = match usize::checked_sub(number, 1) {
                Some(peer) => &mut world.peers[peer].worker,
                None => &mut world.worker,
            };
            worker.begin_turn(world.now_ns);
            worker.feed(burst, port);
            worker.end_turn();
        }
        world.settle();
        left.extend(sent(world));
    }
    left
}

/// Takes what left by all ports, without tunnels.
fn sent(world: &mut World) -> Vec<Bytes> {
    let (mut left, mut burst) = (Vec::new(), Burst::new());
    let peers = world.peers.iter_mut().flat_map(|peer| &mut peer.sent);
    for queue in world.sent.iter_mut().chain(peers) {
        while queue.receive(&mut burst) > 0 {
            left.extend(burst.iter().map(|mbuf| {
                let frame = mbuf.data();
                let port = frame.get(36..38) == Some(&4789_u16.to_be_bytes());
                let is_tunnel = frame[23] == 17 && port;
                frame[if is_tunnel { TUNNEL } else { PLAIN }..].to_vec()
            }));
            burst.clear();
        }
    }
    left
}

/// Lets time go by until nothing waits any more.
fn wait(world: &mut World) {
    for _ in 0..30 {
        world.now_ns += 100_000_000;
        for worker in world
            .peers
            .iter_mut()
            .map(|peer| &mut peer.worker)
            .chain([&mut world.worker])
        {
            worker.begin_turn(world.now_ns);
            worker.end_turn();
        }
    }
}

/// Puts packets together as their receivers do.
fn assemble(parts: &[Bytes]) -> Vec<Bytes> {
    let mut whole = Vec::new();
    let mut packets: HashMap<_, Vec<(usize, Bytes, bool)>> = HashMap::new();
    for bytes in parts {
        let ip = Ipv4::new(bytes).unwrap();
        assert!(ip.is_intact(), "{bytes:02x?}");
        let key = (ip.src(), ip.dst(), ip.protocol(), ip.identification());
        let parts = packets.entry(key).or_default();
        parts.push((ip.fragment_offset(), bytes.clone(), ip.more_fragments()));
        parts.sort();
        let mut end = 0;
        let follows = |(offset, part, _): &(usize, Bytes, bool)| {
            let fits = *offset == end;
            end += part.len() - 20;
            fits
        };
        if parts.iter().all(follows) && parts.last().is_some_and(|(_, _, more)| !more) {
            let payload: Bytes = parts
                .iter()
                .flat_map(|(_, part, _)| part[20..].to_vec())
                .collect();
            packets.remove(&key);
            whole.push(ip_packet((key.0, key.1), key.2, key.3, &payload));
        }
    }
    assert!(packets.is_empty(), "only parts of: {:?}", packets.keys());
    whole
}

/// Source and destination of a UDP or TCP packet whose checksum is right.
fn ends(packet: &[u8]) -> (SocketAddrV4, SocketAddrV4) {
    let ip = Ipv4::new(packet).unwrap();
    let length = ip.payload().len() as u16;
    assert!(ip.pseudo_header(length).bytes(ip.payload()).is_intact());
    let port = |at: usize| u16::from_be_bytes([ip.payload()[at], ip.payload()[at + 1]]);
    (
        SocketAddrV4::new(ip.src(), port(0)),
        SocketAddrV4::new(ip.dst(), port(2)),
    )
}

fn drops(world: &World, reason: DropReason) -> u64 {
    let peers = world.peers.iter().map(|peer| peer.counters.drops(reason));
    world.counters.drops(reason) + peers.sum::<u64>()
}

fn held(world: &World) -> u64 {
    let peers = world.peers.iter().map(|peer| peer.counters.held.get());
    world.counters.held.get() + peers.sum::<u64>()
}

fn tuple((address, port): (Ipv4Addr, u16)) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

fn inside(flow: &Flow) -> SocketAddrV4 {
    SocketAddrV4::new(flow.host.address, flow.sport)
}

fn peer(flow: &Flow) -> SocketAddrV4 {
    SocketAddrV4::new(flow.peer, flow.dport)
}

/// A few flows that no other of them can be taken for: one of each peer.
fn draw(numbers: &[u32], random: &mut StdRng) -> Vec<u32> {
    use rand::seq::IndexedRandom;
    let count = random.random_range(1..=6);
    numbers.choose_multiple(random, count).copied().collect()
}

/// Runs with one worker and with two.
fn on_workers(test: fn(&mut World, &mut StdRng), service: Service) {
    super::on_worker(0, move |_| {
        for workers in [1, 2] {
            let mut world = world(service, workers);
            let mut random = StdRng::from_seed(SEED);
            test(&mut world, &mut random);
            wait(&mut world);
            assert_eq!(held(&world), 0);
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn u16_fragments_pass_both_ways_in_any_order_at_any_worker() {
    on_workers(
        |world, random| {
            let numbers: Vec<u32> = (0..world.shape.flows.count).collect();
            for round in 0..300 {
                let outward = round % 2 == 0;
                let mut wanted = Vec::new();
                let mut frames = Vec::new();
                for number in draw(&numbers, random) {
                    let flow = world.shape.flows.flow(number);
                    let outside = tuple(world.outside[number as usize]);
                    let (from, to, becomes) = if outward {
                        (inside(&flow), peer(&flow), (outside, peer(&flow)))
                    } else {
                        (peer(&flow), outside, (peer(&flow), inside(&flow)))
                    };
                    let len = random.random_range(600..6000);
                    let packet = match (flow.tcp, outward) {
                        (false, _) => udp_packet(from, to, ID, len),
                        (true, true) => tcp_packet(from, to, Segment::DATA_OUT, len),
                        (true, false) => tcp_packet(from, to, Segment::DATA_BACK, len),
                    };
                    wanted.push(becomes);
                    for part in cut(&packet, random.random_range(20..180) * 8) {
                        frames.push(match outward {
                            true => tunnelled(world, &flow, &part),
                            false => plain(world, &part),
                        });
                    }
                }
                frames.shuffle(random);
                let left = run(world, &frames, u16::from(!outward), random);
                let mut got: Vec<_> = assemble(&left).iter().map(|packet| ends(packet)).collect();
                got.sort();
                wanted.sort();
                assert_eq!(got, wanted, "round {round}: {}", world.drops());
                assert_eq!(world.drops(), "");
            }
        },
        Service::Snat,
    );
}

#[test]
fn u16_a_packet_of_a_new_flow_in_fragments_opens_a_session() {
    on_workers(
        |world, random| {
            for port in 20_000..20_200 {
                let flow = world.shape.flows.flow(random.random_range(0..2000));
                let from = SocketAddrV4::new(flow.host.address, port);
                let mut frames: Vec<Bytes> = cut(&udp_packet(from, peer(&flow), port, 3000), 800)
                    .iter()
                    .map(|part| tunnelled(world, &flow, part))
                    .collect();
                frames.shuffle(random);
                let left = run(world, &frames, 0, random);
                let whole = assemble(&left);
                let (outside, to) = ends(&whole[0]);
                assert_eq!((whole.len(), to), (1, peer(&flow)));
                let mut frames: Vec<Bytes> = cut(&udp_packet(to, outside, port, 3000), 800)
                    .iter()
                    .map(|part| plain(world, part))
                    .collect();
                frames.shuffle(random);
                let left = run(world, &frames, 1, random);
                assert_eq!(ends(&assemble(&left)[0]), (to, from));
            }
        },
        Service::Snat,
    );
}

#[test]
fn u16_a_hairpin_in_fragments_is_translated_twice() {
    on_workers(
        |world, random| {
            let numbers = udp_flows(world);
            for _ in 0..100 {
                let pair = draw(&numbers, random);
                let &[a, b, ..] = pair.as_slice() else {
                    continue;
                };
                let (a, b) = (a as usize, b as usize);
                let flows = [a, b].map(|number| world.shape.flows.flow(number as u32));
                let outside = [a, b].map(|number| tuple(world.outside[number]));
                if outside[0].ip() == outside[1].ip() && inside(&flows[0]) == inside(&flows[1]) {
                    continue;
                }
                // Whom a host has sent to may answer.
                let opening = udp_packet(inside(&flows[1]), outside[0], ID, 10);
                let opening = tunnelled(world, &flows[1], &opening);
                run(world, &[opening], 0, random);
                let packet = udp_packet(inside(&flows[0]), outside[1], ID, 4000);
                let mut frames: Vec<Bytes> = cut(&packet, 1000)
                    .iter()
                    .map(|part| tunnelled(world, &flows[0], part))
                    .collect();
                frames.shuffle(random);
                let left = run(world, &frames, 0, random);
                let got: Vec<_> = assemble(&left).iter().map(|packet| ends(packet)).collect();
                assert_eq!(got, [(outside[0], inside(&flows[1]))], "{}", world.drops());
            }
            assert_eq!(drops(world, DropReason::SteerLoop), 0);
        },
        Service::Snat,
    );
}

#[test]
fn u16_a_ping_in_fragments_passes_and_its_answer_too() {
    on_workers(
        |world, random| {
            for ident in 0..100 {
                let flow = world.shape.flows.flow(random.random_range(0..2000));
                let ping = echo_packet(8, (flow.host.address, flow.peer), ident, 3000);
                let mut frames: Vec<Bytes> = cut(&ping, 1200)
                    .iter()
                    .map(|part| tunnelled(world, &flow, part))
                    .collect();
                frames.shuffle(random);
                let left = assemble(&run(world, &frames, 0, random));
                let ip = Ipv4::new(&left[0]).unwrap();
                assert!(Sum::new().bytes(ip.payload()).is_intact());
                let outside = u16::from_be_bytes([ip.payload()[4], ip.payload()[5]]);
                let pong = echo_packet(0, (flow.peer, ip.src()), outside, 3000);
                let mut frames: Vec<Bytes> = cut(&pong, 1200)
                    .iter()
                    .map(|part| plain(world, part))
                    .collect();
                frames.shuffle(random);
                let left = assemble(&run(world, &frames, 1, random));
                let ip = Ipv4::new(&left[0]).unwrap();
                assert!(Sum::new().bytes(ip.payload()).is_intact());
                assert_eq!(ip.dst(), flow.host.address);
                assert_eq!(ip.payload()[4..6], ident.to_be_bytes());
            }
            assert_eq!(world.drops(), "");
        },
        Service::Snat,
    );
}

#[test]
fn u16_fragments_pass_a_floating_ip_without_waiting() {
    on_workers(
        |world, random| {
            let flow = world.shape.flows.flow(0);
            let packet = udp_packet(inside(&flow), peer(&flow), ID, 3000);
            let parts = cut(&packet, 1000);
            for part in parts.iter().rev() {
                let frame = tunnelled(world, &flow, part);
                let left = run(world, &[frame], 0, random);
                let ip = Ipv4::new(&left[0]).unwrap();
                assert_eq!((left.len(), ip.src()), (1, floating(0)));
            }
            assert_eq!(world.drops(), "");
        },
        Service::Floating,
    );
}

#[test]
fn sec22_fragments_that_contradict_each_other_do_not_pass() {
    on_workers(
        |world, random| {
            let number = udp_flows(world)[0];
            let flow = world.shape.flows.flow(number);
            let outside = tuple(world.outside[number as usize]);
            let packet = |id| udp_packet(peer(&flow), outside, id, 3000);
            let mut refused = |id, offsets: &[(usize, usize)], reason, passed| {
                let before = drops(world, reason);
                let mut left = 0;
                for &(offset, len) in offsets {
                    let frame = plain(world, &part(&packet(id), offset, len));
                    left += run(world, &[frame], 1, random).len();
                }
                assert_eq!(left, passed, "{}", reason.label());
                drops(world, reason) - before
            };
            let overlap = DropReason::FragmentOverlap;
            assert_eq!(
                refused(1, &[(0, 800), (792, 800), (1600, 800)], overlap, 1),
                2
            );
            assert_eq!(
                refused(2, &[(800, 800), (792, 800), (0, 792)], overlap, 0),
                3
            );
            let duplicate = DropReason::FragmentDuplicate;
            assert_eq!(
                refused(3, &[(0, 800), (0, 800), (800, 800)], duplicate, 2),
                1
            );
            assert_eq!(
                refused(4, &[(800, 800), (800, 800), (0, 800)], duplicate, 2),
                1
            );
            // Later ones of a datagram that nobody asked for.
            let stranger = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 77), 9);
            let parts = cut(&udp_packet(stranger, outside, 5, 2000), 800);
            let frames: Vec<Bytes> = parts.iter().map(|part| plain(world, part)).collect();
            assert!(run(world, &frames, 1, random).is_empty());
            assert_eq!(drops(world, DropReason::FragmentRefused), 2);
            assert_eq!(drops(world, DropReason::NatFiltered), 1);
        },
        Service::Snat,
    );
}

#[test]
fn sec22_incomplete_packets_of_one_tenant_or_from_outside_leave_room_for_others() {
    on_workers(
        |world, random| {
            let numbers = udp_flows(world);
            let flow = world.shape.flows.flow(numbers[0]);
            for round in 0..40_u16 {
                let junk: Vec<Bytes> = (0..250)
                    .map(|number| {
                        let packet =
                            udp_packet(inside(&flow), peer(&flow), round * 250 + number, 3000);
                        tunnelled(world, &flow, &part(&packet, 1000, 1000))
                    })
                    .collect();
                assert!(run(world, &junk, 0, random).is_empty());
                let outside = tuple(world.outside[numbers[0] as usize]);
                let junk: Vec<Bytes> = (0..250)
                    .map(|number| {
                        let packet = udp_packet(peer(&flow), outside, round * 250 + number, 3000);
                        plain(world, &part(&packet, 1000, 1000))
                    })
                    .collect();
                assert!(run(world, &junk, 1, random).is_empty());
                let other = world.shape.flows.flow(numbers[1]);
                assert_ne!(other.host.tenant, flow.host.tenant);
                let packet = udp_packet(inside(&other), peer(&other), round, 3000);
                let frames: Vec<Bytes> = cut(&packet, 1000)
                    .iter()
                    .rev()
                    .map(|part| tunnelled(world, &other, part))
                    .collect();
                let left = run(world, &frames, 0, random);
                assert_eq!(assemble(&left).len(), 1);
            }
            assert!(drops(world, DropReason::FragmentTableFull) > 15_000);
            assert!(held(world) <= 2 * (128 + 512));
            wait(world);
            assert!(drops(world, DropReason::FragmentTimeout) > 0);
        },
        Service::Snat,
    );
}

#[test]
fn sec22_a_flood_of_hairpins_takes_no_room_of_what_comes_from_outside() {
    on_workers(
        |world, random| {
            let numbers = udp_flows(world);
            let [victim, flow] = [numbers[0], numbers[1]].map(|at| world.shape.flows.flow(at));
            let [victims, others] =
                [numbers[0], numbers[2]].map(|at| tuple(world.outside[at as usize]));
            let parts = cut(&udp_packet(peer(&victim), victims, ID, 1500), 1000);
            let later = plain(world, &parts[1]);
            assert!(run(world, &[later], 1, random).is_empty());
            for round in 0..20 {
                let junk: Vec<Bytes> = (0..250)
                    .map(|number| {
                        let packet = udp_packet(inside(&flow), others, round * 250 + number, 3000);
                        tunnelled(world, &flow, &part(&packet, 0, 1000))
                    })
                    .collect();
                // Within the time the later fragment waits.
                let now = world.now_ns;
                run(world, &junk, 0, random);
                world.now_ns = now + 1_000_000;
            }
            let first = plain(world, &parts[0]);
            let left = run(world, &[first], 1, random);
            assert_eq!(ends(&assemble(&left)[0]), (peer(&victim), inside(&victim)));
        },
        Service::Snat,
    );
}
