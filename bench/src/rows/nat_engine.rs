//! `nat-engine`: the NAT engine alone, no packets around it.

mod flows;
mod lifetime;
mod memory;

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sekisho_dpdk::rdtsc;
use sekisho_nat::{
    Candidate, Departure, Engine, Filtering, FlowKey, Hit, LogLevel, Outbound, Probe, TcpSegment,
    Time, WireFlow,
};
use sekisho_types::{InterfaceId, IpProtocol, VrfId};
use serde_json::json;

use self::flows::{Flow, Flows, engine};
use crate::options::Options;
use crate::report::{Metric, Report};

const NAME: &str = "nat-engine";
const EGRESS: InterfaceId = InterfaceId::new(0);
/// Packets measured in one repetition over a table.
const PACKETS: usize = 1 << 21;
/// Sessions created in one repetition.
const NEW: usize = 1 << 16;
const BURST: usize = 64;
/// How many packets ahead a session is asked for again: a CPU with many lines under way drops
/// requests.
const AHEAD: usize = 8;
/// More than all that is taken of hits adds up to.
const MISSING: u64 = 1 << 60;
const DATA: TcpSegment = segment(TcpSegment::ACK, 1001, 5001);

const SYN: TcpSegment = segment(TcpSegment::SYN, 1000, 0);

const fn segment(flags: u8, seq: u32, ack: u32) -> TcpSegment {
    let len = 0;
    TcpSegment {
        flags,
        seq,
        ack,
        len,
    }
}

pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let sizes: &[usize] = if options.quick {
        &[1_000, 100_000]
    } else {
        &[1_000, 100_000, 1_000_000, 4_000_000, 16_000_000]
    };
    for &sessions in sizes {
        hits(options, report, sessions)?;
    }
    let lives: &[usize] = if options.quick {
        &[0, 100_000]
    } else {
        &[0, 1_000_000, 4_000_000]
    };
    for &live in lives {
        for protocol in [IpProtocol::UDP, IpProtocol::TCP] {
            created(options, report, live, protocol)?;
        }
        connections(options, report, live)?;
    }
    let live = if options.quick { 100_000 } else { 4_000_000 };
    memory::memory(report, live)?;
    for level in [LogLevel::None, LogLevel::Mappings] {
        lifetime::churn(options, report, live, level)?;
    }
    lifetime::aging(
        options,
        report,
        if options.quick { 50_000 } else { 1_000_000 },
    )
}

/// Packets of sessions that are there, in random order.
fn hits(options: &Options, report: &mut Report, sessions: usize) -> Result<()> {
    let (mut engine, live, mut outsides) = filled(sessions, 0, 2)?;
    let now = Time::from_millis(1);
    let mut random = StdRng::seed_from_u64(2);
    let packets = PACKETS.min(sessions * 64) / BURST * BURST;
    let order: Vec<usize> = (0..packets)
        .map(|_| random.random_range(0..sessions))
        .collect();
    outsides.truncate(sessions);
    let burst = usize::from(options.burst);
    // As a worker has them: UDP first.
    let mut order = order;
    for burst in order.chunks_mut(burst) {
        burst.sort_by_key(|&flow| live[flow].key.protocol == IpProtocol::TCP);
    }
    let out: Vec<Packet> = order.iter().map(|&flow| Packet::of(&live[flow])).collect();
    let back: Vec<Packet> = order
        .iter()
        .map(|&flow| {
            let Flow { vrf, key } = live[flow];
            let key = FlowKey {
                src: key.dst,
                dst: outsides[flow],
                protocol: key.protocol,
            };
            Packet::of(&Flow { vrf, key })
        })
        .collect();
    establish(&mut engine, now, &live, &outsides);
    let mut samples = [Vec::new(), Vec::new()];
    let mut sum = 0;
    for repetition in 0..=options.repetitions() {
        let out = median_of_slices(&out, |slice| {
            for burst in slice.chunks(burst) {
                let probes = fill(burst, |flow| {
                    engine.probe_outbound_wire(flow.vrf, &flow.key)
                });
                sum += pass(
                    &mut engine,
                    burst,
                    &probes,
                    |engine, candidate, probe, tcp| {
                        engine.hit_outbound(now, candidate, probe, tcp, EGRESS)
                    },
                );
            }
            Ok(())
        })?;
        let back = median_of_slices(&back, |slice| {
            for burst in slice.chunks(burst) {
                let probes = fill(burst, |flow| engine.probe_inbound_wire(&flow.key));
                sum += pass(
                    &mut engine,
                    burst,
                    &probes,
                    |engine, candidate, probe, tcp| engine.hit_inbound(now, candidate, probe, tcp),
                );
            }
            Ok(())
        })?;
        if repetition > 0 {
            samples[0].push(out);
            samples[1].push(back);
        }
    }
    ensure!(std::hint::black_box(sum) < MISSING, "a session is missing");
    for (direction, samples) in ["out", "back"].into_iter().zip(&samples) {
        let params = [
            ("sessions", json!(sessions)),
            ("direction", json!(direction)),
            ("protocol", json!("udp+tcp")),
        ];
        report.ours(NAME, &params, Metric::PipelineClocksPerPacket, samples);
    }
    Ok(())
}

/// A packet as its headers say it.
struct Packet {
    vrf: VrfId,
    key: WireFlow,
}

impl Packet {
    fn of(flow: &Flow) -> Self {
        let FlowKey { src, dst, protocol } = flow.key;
        let address = |tuple: SocketAddrV4| u32::from_le_bytes(tuple.ip().octets());
        let ports = u32::from(dst.port().swap_bytes()) << 16 | u32::from(src.port().swap_bytes());
        Self {
            vrf: flow.vrf,
            key: WireFlow {
                src: address(src),
                dst: address(dst),
                ports,
                protocol: protocol.0,
            },
        }
    }
}

/// Passes a burst whose keys are probed through its sessions.
#[inline(always)]
fn pass(
    engine: &mut Engine,
    burst: &[Packet],
    probes: &[Probe; BURST],
    hit: impl Fn(&mut Engine, Candidate, &Probe, Option<&TcpSegment>) -> Option<Hit>,
) -> u64 {
    let probes = &probes[..burst.len()];
    let mut candidates = [Candidate::NONE; BURST];
    engine.prefetch_burst(probes, &mut candidates);
    let mut sum = 0;
    for (place, (packet, probe)) in burst.iter().zip(probes).enumerate() {
        if let Some(next) = candidates.get(place + AHEAD) {
            engine.ask_again(*next);
        }
        let tcp = (packet.key.protocol == IpProtocol::TCP.0).then_some(&DATA);
        sum += hit(engine, candidates[place], probe, tcp).map_or(MISSING, used);
    }
    sum
}

/// Takes what a rewrite takes of a hit.
fn used(hit: Hit) -> u64 {
    u64::from(hit.address_wire) + u64::from(hit.port_wire) + u64::from(hit.vrf.value())
}

/// Clocks for each item: the median of slices, so that it does not count when the kernel takes the
/// CPU away for a while.
fn median_of_slices<T>(items: &[T], mut work: impl FnMut(&[T]) -> Result<()>) -> Result<f64> {
    const SLICE: usize = 4096;
    let mut clocks = Vec::new();
    for slice in items.chunks(SLICE) {
        let start = rdtsc();
        work(slice)?;
        clocks.push((rdtsc() - start) as f64 / slice.len() as f64);
    }
    clocks.sort_by(f64::total_cmp);
    Ok(clocks[clocks.len() / 2])
}

fn fill<T>(burst: &[T], probe: impl Fn(&T) -> Probe) -> [Probe; BURST] {
    std::array::from_fn(|place| probe(&burst[place.min(burst.len() - 1)]))
}

/// An engine with `sessions` and room for `more`, its flows, and their outside tuples. One flow in
/// `tcp` is TCP.
fn filled(
    sessions: usize,
    more: usize,
    tcp: u32,
) -> Result<(Engine, Vec<Flow>, Vec<SocketAddrV4>)> {
    let mut engine = engine(
        sessions + more,
        Duration::from_secs(7440),
        Filtering::default(),
    )?;
    let live = Flows::new(sessions, tcp).take(sessions);
    let mut outsides = Vec::with_capacity(sessions);
    for burst in live.chunks(BURST) {
        create(&mut engine, Time::default(), burst, |outside| {
            outsides.push(outside);
        })?;
    }
    Ok((engine, live, outsides))
}

/// Brings the TCP connections of flows whose SYN passed to where data flows.
fn establish(engine: &mut Engine, now: Time, live: &[Flow], outsides: &[SocketAddrV4]) {
    let answer = segment(TcpSegment::SYN | TcpSegment::ACK, 5000, 1001);
    for (flow, &outside) in live.iter().zip(outsides) {
        if flow.key.protocol == IpProtocol::TCP {
            let back = FlowKey {
                src: flow.key.dst,
                dst: outside,
                protocol: flow.key.protocol,
            };
            // A refusal shows in the hits that are missing then.
            let _ = engine.inbound(now, &back, &answer);
            let _ = engine.outbound(now, flow.vrf, &flow.key, &DATA, EGRESS);
        }
    }
}

/// The first packets of a burst of flows, together.
fn create(
    engine: &mut Engine,
    now: Time,
    burst: &[Flow],
    mut outside: impl FnMut(SocketAddrV4),
) -> Result<()> {
    let departures: [Departure; BURST] = std::array::from_fn(|place| {
        let flow = &burst[place.min(burst.len() - 1)];
        Departure {
            probe: engine.probe_outbound(flow.vrf, &flow.key),
            tcp: SYN,
            egress: EGRESS,
        }
    });
    let mut missing = burst.len();
    engine.outbound_batch(now, &departures[..burst.len()], |_, outcome| {
        if let Ok(Outbound::Translated { source, .. }) = outcome {
            outside(source);
            missing -= 1;
        }
    });
    ensure!(missing == 0, "{missing} new flows were refused");
    Ok(())
}

/// The first packet of a flow, alone.
fn create_one(engine: &mut Engine, now: Time, flow: &Flow) -> Result<()> {
    let outcome = engine.outbound(now, flow.vrf, &flow.key, &SYN, EGRESS);
    ensure!(outcome.is_ok(), "a new flow was refused: {outcome:?}");
    Ok(())
}

/// New sessions, each with a new mapping, while `live` others are there.
fn created(
    options: &Options,
    report: &mut Report,
    live: usize,
    protocol: IpProtocol,
) -> Result<()> {
    let repetitions = options.repetitions();
    let (mut engine, ..) = filled(live, NEW * (repetitions + 1), 0)?;
    let mut flows = Flows::new(live, u32::from(protocol == IpProtocol::TCP));
    // Past the ports of those that live.
    flows.take(live);
    let now = Time::from_millis(1);
    let mut samples = [Vec::new(), Vec::new()];
    for repetition in 0..=repetitions {
        let new = flows.take(NEW);
        let (new, alone) = new.split_at(NEW / 4 * 3);
        let together = median_of_slices(new, |slice| {
            for burst in slice.chunks(usize::from(options.burst)) {
                create(&mut engine, now, burst, |outside| {
                    std::hint::black_box(outside);
                })?;
            }
            Ok(())
        })?;
        let alone = median_of_slices(alone, |slice| {
            for flow in slice {
                create_one(&mut engine, now, flow)?;
            }
            Ok(())
        })?;
        if repetition > 0 {
            samples[0].push(together);
            samples[1].push(alone);
        }
    }
    for (work, samples) in ["created together", "created one by one"]
        .iter()
        .zip(&samples)
    {
        let params = [
            ("live", json!(live)),
            ("work", json!(work)),
            ("protocol", json!(protocol.to_string())),
        ];
        report.ours(NAME, &params, Metric::PipelineClocksPerPacket, samples);
    }
    Ok(())
}

/// TCP connections that open, are answered, and close from both sides: six packets each.
fn connections(options: &Options, report: &mut Report, live: usize) -> Result<()> {
    const STEPS: [(bool, TcpSegment); 5] = [
        (
            false,
            segment(TcpSegment::SYN | TcpSegment::ACK, 5000, 1001),
        ),
        (true, DATA),
        (true, segment(TcpSegment::FIN | TcpSegment::ACK, 1001, 5001)),
        (
            false,
            segment(TcpSegment::FIN | TcpSegment::ACK, 5001, 1002),
        ),
        (true, segment(TcpSegment::ACK, 1002, 5002)),
    ];
    let repetitions = options.repetitions();
    let (mut engine, ..) = filled(live, NEW * (repetitions + 1), 0)?;
    let mut flows = Flows::new(live, 1);
    flows.take(live);
    let now = Time::from_millis(1);
    let mut samples = Vec::new();
    for repetition in 0..=repetitions {
        let new = flows.take(NEW);
        let mut outsides = Vec::with_capacity(BURST);
        let mut connect = |burst: &[Flow]| -> Result<()> {
            outsides.clear();
            create(&mut engine, now, burst, |outside| outsides.push(outside))?;
            for (out, tcp) in &STEPS {
                let probe = |(flow, &outside): (&Flow, &SocketAddrV4)| {
                    let back = FlowKey {
                        src: flow.key.dst,
                        dst: outside,
                        protocol: flow.key.protocol,
                    };
                    if *out {
                        engine.probe_outbound(flow.vrf, &flow.key)
                    } else {
                        engine.probe_inbound(&back)
                    }
                };
                let probes: Vec<Probe> = burst.iter().zip(&outsides).map(probe).collect();
                let mut candidates = [Candidate::NONE; BURST];
                engine.prefetch_burst(&probes, &mut candidates);
                for (probe, candidate) in probes.iter().zip(candidates) {
                    let hit = if *out {
                        engine.hit_outbound(now, candidate, probe, Some(tcp), EGRESS)
                    } else {
                        engine.hit_inbound(now, candidate, probe, Some(tcp))
                    };
                    ensure!(hit.is_some(), "a connection is missing");
                }
            }
            Ok(())
        };
        let clocks =
            median_of_slices(&new, |slice| slice.chunks(BURST).try_for_each(&mut connect))?;
        if repetition > 0 {
            samples.push(clocks);
        }
    }
    ensure!(engine.stats().tcp_ignored == 0, "a segment did not fit");
    let params = [
        ("live", json!(live)),
        ("work", json!("opened, answered, closed: 6 packets")),
        ("protocol", json!("tcp")),
    ];
    report.ours(NAME, &params, Metric::PipelineClocksPerPacket, &samples);
    Ok(())
}
