//! A worker: an lcore that polls its queue of every port and runs each burst to completion.
//!
//! A packet's way, one file a step: `input` (frames, tunnels), `arp`, `route` (tables, owner,
//! translation), `reassembly` (fragments), `handover`, `nat`, `hold`, `forward` (MTU, rewrite, encapsulation),
//! `output`; or `punt`, or `icmp`. IPv6 has files of its own: `input6`, `nd` (neighbour discovery),
//! `packet6`, `route6`, `forward6`, `icmp6`; it needs neither owner nor translation. On a worker there is no syscall while there is work, no
//! lock, no allocation and no log line.

mod arp;
mod fast;
mod forward;
mod forward6;
mod fragment;
pub mod handover;
mod hold;
mod icmp;
mod icmp6;
mod idle;
mod input;
mod input6;
pub mod link;
mod mss;
mod nat;
mod nd;
mod output;
mod packet;
mod packet6;
mod punt;
mod questions;
mod reassembly;
mod rewrite;
mod route;
mod route6;
mod unsolicited;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sekisho_dpdk::{Burst, Mbuf, Mempool, RxQueue, TxQueue};
use sekisho_fib::{Leaf, Link, Reader};
use sekisho_host::{ErrorLimiter, Limits, Policer};
use sekisho_nat::{Engine, FragmentLimits, Fragments, Time};
use sekisho_types::{VrfId, WorkerId};

use self::handover::Handover;
use self::hold::{Hold, MAX_HELD, Release};
use self::idle::Idle;
use self::link::{Event, FrameKind, WorkerEnd};
use self::output::Output;
use self::packet::{Origin, Packet};
use self::packet6::Packet6;
use self::route::Way;
use self::unsolicited::Unsolicited;
use crate::control::neighbor::Neighbor;
use crate::counters::WorkerCounters;
use crate::drops::DropReason;
use crate::snapshot::Snapshot;

pub use self::fast::{Stage, StageClocks};
pub use self::forward::TUNNEL_OVERHEAD;

/// Most packets taken from one ring in one turn.
const RING_BURST: usize = 64;
/// Frames of other workers after which no further burst of them is taken in one turn: as many as a
/// ring holds.
const MOST_FRAMES: usize = 1024;
/// VRF ids there can be.
const MAX_VRFS: usize = 1 << 16;

/// What a worker is made of.
pub struct Parts {
    /// Which worker it is.
    pub id: WorkerId,
    /// Its queue of every port, by port index.
    pub rx: Vec<RxQueue>,
    /// The same toward the port.
    pub tx: Vec<TxQueue>,
    /// Where packets it originates come from.
    pub pool: Mempool,
    /// The forwarding tables.
    pub reader: Reader,
    /// Its NAT sessions.
    pub nat: Engine,
    /// The first configuration.
    pub snapshot: Arc<Snapshot>,
    /// Its rings to the control plane.
    pub end: WorkerEnd,
    /// Its rings to other workers.
    pub handover: Handover,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// The secret of this process's flow hashes.
    pub seed: u64,
    /// What its clock counts from.
    pub epoch: Instant,
    /// Whether to pause when there is nothing to do.
    pub adaptive_idle: bool,
}

/// A worker.
pub struct Worker {
    id: WorkerId,
    rx: Vec<RxQueue>,
    output: Output,
    pool: Mempool,
    reader: Reader,
    nat: Engine,
    snapshot: Arc<Snapshot>,
    end: WorkerEnd,
    handover: Handover,
    counters: Arc<WorkerCounters>,
    seed: u64,
    epoch: Instant,
    now_ns: u64,
    hold: Hold<Packet>,
    hold6: Hold<Packet6>,
    fragments: Fragments<Packet>,
    released: Vec<Release<Packet>>,
    released6: Vec<Release<Packet6>>,
    question: Option<questions::Question>,
    policer: Policer,
    error_limiter: ErrorLimiter,
    unsolicited: Unsolicited,
    idle: Idle,
    /// How often what is under way changed workers as a frame.
    hops: u8,
    /// The burst under way; taken out while it is.
    lanes: Option<Box<fast::Lanes>>,
}

impl Worker {
    /// A worker that has not started yet.
    pub fn new(parts: Parts) -> Self {
        Self {
            id: parts.id,
            rx: parts.rx,
            output: Output::new(parts.tx),
            pool: parts.pool,
            reader: parts.reader,
            nat: parts.nat,
            snapshot: parts.snapshot,
            end: parts.end,
            handover: parts.handover,
            counters: parts.counters,
            seed: parts.seed,
            epoch: parts.epoch,
            now_ns: 0,
            hold: Hold::new(),
            hold6: Hold::new(),
            fragments: Fragments::new(FragmentLimits::default(), parts.seed),
            released: Vec::with_capacity(MAX_HELD),
            released6: Vec::with_capacity(MAX_HELD),
            question: None,
            policer: Policer::new(&Limits::DEFAULT),
            error_limiter: ErrorLimiter::new(MAX_VRFS, ErrorLimiter::DEFAULT_RATE),
            unsolicited: Unsolicited::new(),
            idle: Idle::new(parts.adaptive_idle),
            hops: 0,
            lanes: Some(fast::Lanes::new()),
        }
    }

    /// Forwards until `stop`, then lets go of everything.
    pub fn run(mut self, stop: &AtomicBool) {
        let mut burst = Burst::new();
        self.counters
            .thread
            .set(nix::unistd::gettid().as_raw() as u64);
        while !stop.load(Ordering::Relaxed) {
            let start = self.epoch.elapsed().as_nanos() as u64;
            let elapsed = start.saturating_sub(self.now_ns);
            self.now_ns = start;
            let work = self.turn(&mut burst);
            self.counters.loops.add(1);
            self.counters.total_ns.add(elapsed);
            if work > 0 {
                self.idle.busy();
                self.counters.busy_loops.add(1);
                let end = self.epoch.elapsed().as_nanos() as u64;
                self.counters.busy_ns.add(end.saturating_sub(start));
            } else if let Some(pause) = self.idle.empty() {
                std::thread::sleep(pause);
            }
        }
    }

    /// One turn of the loop; answers how many packets it found.
    fn turn(&mut self, burst: &mut Burst) -> usize {
        self.begin_turn(self.now_ns);
        let mut work = self.take_over();
        for port in 0..self.rx.len() {
            let received = self.rx[port].receive(burst);
            if received > 0 {
                work += received;
                self.feed(burst, port as u16);
            }
        }
        work += self.inject();
        self.end_turn();
        work
    }

    /// A burst boundary: nothing is held of what was read before, and a new snapshot is adopted.
    /// `now_ns` is the time, in nanoseconds since the epoch the worker was made with.
    pub fn begin_turn(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.reader.quiesce();
        self.adopt_snapshot();
    }

    /// Runs a burst that arrived on a port, and empties it. What leaves waits in the transmit
    /// queues until [`Self::flush`].
    pub fn feed(&mut self, burst: &mut Burst, port: u16) {
        self.counters.received.add(burst.len() as u64);
        self.run_frames(burst, port);
    }

    /// Runs frames of one port, and empties the burst.
    fn run_frames(&mut self, burst: &mut Burst, port: u16) {
        for mbuf in burst.iter() {
            mbuf.prefetch_data();
            mbuf.prefetch_at(64);
        }
        self.forward_burst(burst, port);
        for mbuf in burst.drain() {
            self.input(mbuf, port);
        }
    }

    /// Puts frames into the transmit queue of a port as they are.
    pub fn send_as_is(&mut self, burst: &mut Burst, port: u16) {
        for mbuf in burst.drain() {
            self.output.queue(port, mbuf, &self.counters);
        }
    }

    /// Its NAT sessions.
    pub fn nat(&self) -> &Engine {
        &self.nat
    }

    /// From now on every packet takes the way one packet at a time: to compare both ways.
    pub fn without_bursts(&mut self) {
        self.lanes = None;
    }

    /// Takes [`Self::without_bursts`] back.
    pub fn with_bursts(&mut self) {
        self.lanes = Some(fast::Lanes::new());
    }

    /// Gives what waits in the transmit queues to the ports.
    pub fn flush(&mut self) {
        self.output.flush(&self.counters);
    }

    /// What is due once a turn besides packets that arrive: held packets, transmission, questions
    /// of the control plane, a slice of aging.
    pub fn end_turn(&mut self) {
        self.release_held();
        self.expire_fragments();
        self.answer_unsolicited();
        self.flush();
        self.serve_commands();
        let now = self.nat_now();
        self.nat.age_in_turn(now);
        self.write_log();
        let stats = self.nat.stats();
        let sessions = stats.tcp_sessions + stats.udp_sessions + stats.icmp_sessions;
        self.counters.sessions.set(sessions);
        self.counters.nat_log_overrun.set(stats.log_lost);
    }

    fn adopt_snapshot(&mut self) {
        if let Ok(snapshot) = self.end.snapshots.pop() {
            // The old policy lives on in the old snapshot, which is freed elsewhere.
            self.nat.set_policy(Arc::clone(&snapshot.nat));
            let old = std::mem::replace(&mut self.snapshot, snapshot);
            // There is always room: no more snapshots are under way than the ring holds.
            let _ = self.end.retired.push(old);
        }
    }

    /// Packets other workers handed over, before any new ones; answers how many there were.
    pub fn take_over(&mut self) -> usize {
        if self.handover.is_alone() {
            return 0;
        }
        let mut taken = 0;
        while taken < RING_BURST
            && let Some(packet) = self.handover.receive()
        {
            taken += 1;
            self.counters.taken_over.add(1);
            self.route(packet);
        }
        taken + self.take_over_frames()
    }

    /// Frames others handed over, run as bursts.
    fn take_over_frames(&mut self) -> usize {
        let mut burst = Burst::new();
        let mut taken = 0;
        while taken < MOST_FRAMES
            && let Some(came) = self.handover.receive_frames(&mut burst)
        {
            taken += burst.len();
            self.counters.taken_over.add(burst.len() as u64);
            // Another core wrote them last.
            for mbuf in burst.iter() {
                mbuf.prefetch_header();
            }
            self.hops = came.hops;
            self.run_frames(&mut burst, came.port);
        }
        self.hops = 0;
        taken
    }

    /// Runs a packet from its VRF to its verdict.
    fn route(&mut self, mut packet: Packet) {
        let way = self.find_way(&mut packet);
        self.finish(packet, way);
        self.release_fragments();
    }

    fn finish(&mut self, packet: Packet, way: Way) {
        match way {
            Way::Out(adjacency) => self.forward(packet, &adjacency),
            Way::Gateway if packet.vrf == VrfId::PROVIDER => self.punt(packet),
            Way::Gateway => self.answer_tenant(packet),
            Way::Refuse(reason, error) => self.refuse(packet, reason, error),
            Way::Unsolicited(reason) => self.refuse_unsolicited(packet, reason),
            Way::HandOver(owner) => match self.handover.send(owner, packet) {
                Ok(()) => self.counters.handed_over.add(1),
                Err(reason) => self.counters.dropped(reason),
            },
            Way::AwaitFirst(place) => {
                if let Err(packet) = self.fragments.wait(place, packet) {
                    self.drop(packet.mbuf, DropReason::FragmentTableFull);
                }
                self.count_held();
            }
            Way::Resolve(neighbor) => {
                self.need(neighbor);
                let now = Duration::from_nanos(self.now_ns);
                if let Err((packet, reason)) = self.hold.hold(packet, neighbor, now) {
                    self.drop(packet.mbuf, reason);
                }
                self.count_held();
            }
        }
    }

    fn count_held(&self) {
        let held = self.hold.len() + self.hold6.len() + self.fragments.held();
        self.counters.held.set(held as u64);
    }

    /// Frees a packet and counts why.
    #[inline]
    fn drop(&self, mbuf: Mbuf, reason: DropReason) {
        drop(mbuf);
        self.counters.dropped(reason);
    }

    fn release_held(&mut self) {
        let (reader, snapshot) = (&self.reader, &self.snapshot);
        let known = |neighbor: Neighbor| is_resolved(reader, snapshot, neighbor);
        let now = Duration::from_nanos(self.now_ns);
        let mut released = std::mem::take(&mut self.released);
        self.hold.release(now, known, &mut released);
        for packet in released.drain(..) {
            match packet {
                Release::Retry(packet) => self.route(packet),
                Release::GiveUp(packet) => {
                    let error = sekisho_packet::build::IcmpError::HostUnreachable;
                    self.refuse(packet, DropReason::NeighborUnresolved, Some(error));
                }
            }
            self.count_held();
        }
        self.released = released;
        self.release_held6();
    }

    /// Asks the control task for a neighbour.
    fn need(&mut self, neighbor: Neighbor) {
        self.report(Event::Needed(neighbor));
    }

    /// Tells the control task something. What does not fit is lost: it will happen again.
    fn report(&mut self, event: Event) {
        let ring = match event.neighbor().link {
            Link::Interface(_) => &mut self.end.uplink_events,
            Link::Segment(_) => &mut self.end.segment_events,
        };
        let _ = ring.push(event);
    }

    /// Packets of the kernel and frames of the control task.
    fn inject(&mut self) -> usize {
        let mut work = 0;
        while work < RING_BURST {
            let Some((kind, mbuf)) = self.next_injected() else {
                break;
            };
            work += 1;
            let Some(mbuf) = mbuf else {
                self.counters.dropped(DropReason::NoBuffer);
                continue;
            };
            self.counters.injected.add(1);
            match kind {
                FrameKind::Host if packet6::is_ipv6(mbuf.data()) => self.host_ipv6(mbuf),
                FrameKind::Host => match Packet::new(mbuf, Origin::Host, VrfId::PROVIDER) {
                    Ok(packet) => self.route(packet),
                    Err((mbuf, reason)) => self.drop(mbuf, reason),
                },
                FrameKind::Uplink(interface) => {
                    match self.snapshot.uplink(interface).map(|uplink| uplink.port) {
                        Some(port) => self.output.queue(port, mbuf, &self.counters),
                        None => self.drop(mbuf, DropReason::UnknownPort),
                    }
                }
                FrameKind::Segment(segment, vtep) => self.send_to_vtep(mbuf, segment, vtep),
            }
        }
        work
    }

    fn next_injected(&mut self) -> Option<(FrameKind, Option<Mbuf>)> {
        let mut found = None;
        let pool = &self.pool;
        let mut copy = |frame: &link::Frame| {
            let mbuf = pool.alloc().and_then(|mut mbuf| {
                mbuf.append(frame.bytes().len())?
                    .copy_from_slice(frame.bytes());
                Some(mbuf)
            });
            found = Some((frame.kind, mbuf));
        };
        let end = &mut self.end;
        if !end.control_frames.receive(&mut copy) {
            end.host_frames.receive(&mut copy);
        }
        found
    }

    fn nat_now(&self) -> Time {
        Time::from_nanos(self.now_ns)
    }
}

/// Whether packets for a neighbour can leave.
fn is_resolved(reader: &Reader, snapshot: &Snapshot, neighbor: Neighbor) -> bool {
    let vrf = match neighbor.link {
        Link::Interface(_) => Some(VrfId::PROVIDER),
        Link::Segment(id) => snapshot.segment(id).map(|segment| segment.vrf),
    };
    let Some(vrf) = vrf else {
        return false;
    };
    let leaf = match neighbor.address {
        IpAddr::V4(address) => reader.lookup(vrf, address),
        IpAddr::V6(address) => reader.lookup(vrf, address),
    };
    match leaf {
        Leaf::Adjacency(id) => reader.adjacency(id).is_resolved(),
        _ => false,
    }
}
