//! The way of regular packets, a burst at a time.
//!
//! A stage does one thing to every packet of the burst and asks for the memory the next one reads, so
//! that cache misses of different packets overlap. A packet that is in any way special, or whose
//! session, neighbour or endpoint is not there, is left untouched in the burst for the way one packet
//! at a time (`input.rs` and on), which decides everything from the start: the stages here are a short
//! cut through the same rules, never rules of their own. What ends here has a name:
//! a new session that is refused, and a frame that cannot be handed over.
//!
//! | stage | file | what |
//! |---|---|---|
//! | classify | `classify.rs` | frame, tunnel and headers, once; keys of tenants' flows on their way |
//! | steer | `steer.rs` | what another worker has the sessions of, if there are others |
//! | outward | `outward.rs` | what came out of tunnels: endpoint check, tables, session, rewrite |
//! | inward | `inward.rs` | what came from uplinks: tables, session, endpoint, rewrite |
//! | six | `six.rs` | what carries IPv6, either way: headers, endpoint check, tables |
//! | encapsulate | `encapsulate.rs` | outer headers of what goes into a tunnel |
//! | emit | here | transmit queues in the order of arrival; the rest stays |

mod classify;
mod encapsulate;
mod inward;
mod outward;
mod six;
mod stages;
mod steer;

use std::net::{Ipv4Addr, SocketAddrV4};

use arrayvec::ArrayVec;
use sekisho_dpdk::{Burst, Mbuf};
use sekisho_fib::{AdjacencyId, PackedLeaf, Rewrite, RewriteKind};
use sekisho_nat::{FlowKey, Probe, Refusal, TcpSegment};
use sekisho_packet::Regular;
use sekisho_packet::build::IcmpError;
use sekisho_packet::regular::{self, Side, Translation};
use sekisho_packet::regular6;
use sekisho_types::{InterfaceId, IpProtocol, SegmentId, VrfId, WorkerId};

use self::six::Six;
pub use self::stages::{Stage, StageClocks};
use self::steer::give;
use super::Worker;
use super::handover::Arrival;
use super::output::Output;
use super::packet::{Origin, Packet};
use crate::counters::WorkerCounters;
use crate::drops::DropReason;

/// Most packets of a burst.
const LANES: usize = Burst::CAPACITY;
/// Octets of an Ethernet header.
const ETHERNET: usize = sekisho_packet::ethernet::HEADER_LEN;

/// A burst under way.
pub(super) struct Lanes {
    packets: [Lane; LANES],
    exits: [Exit; LANES],
    /// By packet: the way it leaves by, and what changes.
    ways: [AdjacencyId; LANES],
    changes: [Change; LANES],
    /// Which packets came out of a tunnel, and their keys.
    outward: ArrayVec<u8, LANES>,
    probes: ArrayVec<Probe, LANES>,
    /// Which came from an uplink as they are: those that are surely routed on first, then those that
    /// may be for an outside address of ours, with their keys.
    inward: ArrayVec<u8, LANES>,
    /// How many are surely routed on.
    routed: usize,
    inward_probes: ArrayVec<Probe, LANES>,
    /// Which get a new session.
    departing: ArrayVec<u8, LANES>,
    /// Which have a way and a change, and have not been touched yet.
    leaving: ArrayVec<u8, LANES>,
    /// Which of them go into a tunnel.
    tunnels: ArrayVec<u8, LANES>,
    /// What is known of packets that carry IPv6.
    six: Six,
    tables: TableStage,
    sent: Sent,
    clocks: StageClocks,
}

/// Room for looking up what a burst goes by.
struct TableStage {
    vrfs: [VrfId; LANES],
    addresses: [Ipv4Addr; LANES],
    leaves: [PackedLeaf; LANES],
    /// In the provider VRF, of what leaves a tenant.
    provider: [PackedLeaf; LANES],
    ways: [Option<AdjacencyId>; LANES],
    /// The endpoints that packets out of tunnels come from.
    sources: [Option<AdjacencyId>; LANES],
    hashes: [u32; LANES],
}

/// What is known of one packet.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
struct Lane {
    ip: Regular,
    /// Where the IP header is in the frame.
    at: u16,
    /// Octets of the IP packet the uplink saw.
    received: u16,
    hash: u32,
    /// Of what came out of a tunnel: where its segment is in the snapshot's table of tunnels.
    place: u16,
    segment: SegmentId,
    vrf: VrfId,
    /// Type of service of the outer packet.
    outer_tos: u8,
    /// The sender's VTEP and Ethernet address.
    vtep: u32,
    mac: u64,
}

const _: () = assert!(size_of::<Lane>() == 48);

/// Packets and octets that leave by the first uplinks, counted once a burst.
#[derive(Debug, Default)]
struct Sent {
    uplinks: [(u32, u32); SENT],
    /// Bit per uplink that has any.
    any: u32,
}

/// Uplinks that are counted once a burst.
const SENT: usize = 32;

/// How a packet of the burst goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Exit {
    /// One packet at a time.
    #[default]
    Special,
    /// From this port.
    Port(u16),
    /// Nowhere: there is no session for it.
    Refused(Refusal),
    /// To the worker that has its session.
    HandOver(WorkerId),
}

impl Lanes {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            packets: [Lane::plain(Regular::NONE); LANES],
            exits: [Exit::Special; LANES],
            ways: [AdjacencyId::NONE; LANES],
            changes: [Change::Nothing; LANES],
            outward: ArrayVec::new(),
            probes: ArrayVec::new(),
            inward: ArrayVec::new(),
            routed: 0,
            inward_probes: ArrayVec::new(),
            departing: ArrayVec::new(),
            leaving: ArrayVec::new(),
            tunnels: ArrayVec::new(),
            six: Six::new(),
            tables: TableStage {
                vrfs: [VrfId::PROVIDER; LANES],
                addresses: [Ipv4Addr::UNSPECIFIED; LANES],
                leaves: [PackedLeaf::NONE; LANES],
                provider: [PackedLeaf::NONE; LANES],
                ways: [None; LANES],
                sources: [None; LANES],
                hashes: [0; LANES],
            },
            sent: Sent::default(),
            clocks: StageClocks::default(),
        })
    }
}

impl Worker {
    /// Sends the regular packets of a burst on their way; the others stay in it, in order.
    pub(super) fn forward_burst(&mut self, burst: &mut Burst, port: u16) {
        // Always there: it is put back below.
        let Some(mut lanes) = self.lanes.take() else {
            return;
        };
        lanes.clocks.begin();
        self.classify(&mut lanes, burst, port);
        if !lanes.outward.is_empty() {
            self.outward(&mut lanes, burst);
        }
        if !lanes.inward.is_empty() {
            self.inward(&mut lanes, burst);
        }
        if !lanes.six.is_empty() {
            self.six(&mut lanes, burst, port);
        }
        self.leave_burst(&mut lanes, burst);
        lanes.clocks.end(Stage::Leave);
        if !lanes.tunnels.is_empty() {
            self.encapsulate_burst(&mut lanes, burst);
            lanes.clocks.end(Stage::Encapsulate);
        }
        self.settle(&mut lanes.sent);
        self.emit(&lanes, burst, port);
        lanes.clocks.end(Stage::Emit);
        self.lanes = Some(lanes);
    }

    /// Where the clocks of the latest bursts went.
    pub fn stage_clocks(&self) -> Option<&StageClocks> {
        self.lanes.as_ref().map(|lanes| &lanes.clocks)
    }

    /// Rewrites the packets that leave by a wire as they are, and puts those that go into a tunnel
    /// aside until their wire is known.
    fn leave_burst(&self, lanes: &mut Lanes, burst: &mut Burst) {
        for &index in &lanes.leaving {
            let at = usize::from(index) % LANES;
            let lane = &lanes.packets[at];
            let octets = lane.ip.total_len;
            let Some(way) = self.reader.rewrite(lanes.ways[at]) else {
                continue;
            };
            if octets > way.mtu() {
                continue;
            }
            if way.kind() == RewriteKind::Tunnel {
                // As many packets as there is room for.
                let _ = lanes.tunnels.try_push(index);
            } else if let Some(mbuf) = burst.get_mut(at)
                && lane.write(mbuf, &lanes.changes[at], &way, 0).is_some()
            {
                lanes.exits[at] = Exit::Port(way.port());
                self.count_left(lane);
                self.count_sent(&mut lanes.sent, &way, octets);
            }
        }
    }

    /// Counts what a packet that is on its way was to the segment it came from.
    #[inline(always)]
    fn count_left(&self, lane: &Lane) {
        if lane.is_outward()
            && let Some(segment) = self.snapshot.tunnels.at(lane.place)
        {
            segment.traffic[self.id.index()].received(lane.ip.total_len.into());
        }
    }

    #[inline(always)]
    fn count_sent(&self, sent: &mut Sent, way: &Rewrite, octets: u16) {
        let uplink = way.interface();
        if let Some((packets, all)) = sent.uplinks.get_mut(uplink.index()) {
            *packets += 1;
            *all += u32::from(octets);
            sent.any |= 1 << uplink.index();
        } else if let Some(uplink) = self.snapshot.uplink(uplink) {
            uplink.traffic[self.id.index()].sent_many(1, octets.into());
        }
    }

    /// Drops a packet for which there is no session, and tells its sender if there will be room again.
    #[cold]
    fn refuse_session(&mut self, lanes: &Lanes, mut mbuf: Mbuf, at: usize) {
        let (lane, Exit::Refused(refusal)) = (&lanes.packets[at], lanes.exits[at]) else {
            return;
        };
        self.count_left(lane);
        let told = refusal.is_exhaustion();
        let error = told.then_some(IcmpError::AdministrativelyProhibited);
        let reason = refusal.into();
        if !mbuf.trim_front(lane.at.into()) {
            return self.drop(mbuf, DropReason::BufferShape);
        }
        match Packet::new(mbuf, Origin::Segment(lane.segment), lane.vrf) {
            Ok(packet) => self.refuse(packet, reason, error),
            Err((mbuf, reason)) => self.drop(mbuf, reason),
        }
    }

    /// Hands the counts of a burst to the uplinks.
    fn settle(&self, sent: &mut Sent) {
        while sent.any != 0 {
            let index = sent.any.trailing_zeros() as usize;
            sent.any &= sent.any - 1;
            let (packets, octets) = std::mem::take(&mut sent.uplinks[index]);
            if let Some(uplink) = self.snapshot.uplink(InterfaceId::new(index as u16)) {
                uplink.traffic[self.id.index()].sent_many(packets.into(), octets.into());
            }
        }
    }

    /// Puts what is ready into the transmit queues.
    fn emit(&mut self, lanes: &Lanes, burst: &mut Burst, port: u16) {
        let (mut packets, mut octets) = (0, 0);
        let (output, counters) = (&mut self.output, &self.counters);
        let (handover, hops) = (&mut self.handover, self.hops);
        let mut special = Burst::new();
        let mut refused = ArrayVec::<(Mbuf, u8), LANES>::new();
        let mut lost = ArrayVec::<u8, LANES>::new();
        for (index, mbuf) in burst.drain().enumerate() {
            let lane = &lanes.packets[index % LANES];
            match lanes.exits[index % LANES] {
                Exit::Port(egress) => {
                    packets += 1;
                    octets += u64::from(lane.received);
                    queue(output, egress, mbuf, counters);
                }
                // There is room for the whole burst, here and below.
                Exit::Special => drop(special.push(mbuf)),
                Exit::Refused(_) => {
                    packets += 1;
                    octets += u64::from(lane.received);
                    let _ = refused.try_push((mbuf, index as u8));
                }
                Exit::HandOver(owner) => {
                    let came = Arrival { port, hops };
                    if !give(handover, counters, owner, mbuf, came) {
                        packets += 1;
                        octets += u64::from(lane.received);
                        let _ = lost.try_push(index as u8);
                    }
                }
            }
        }
        for index in lost {
            self.count_left(&lanes.packets[usize::from(index) % LANES]);
        }
        *burst = special;
        for (mbuf, index) in refused {
            self.refuse_session(lanes, mbuf, usize::from(index) % LANES);
        }
        if packets > 0
            && let Some(interface) = self.snapshot.uplink_of_port(port)
            && let Some(uplink) = self.snapshot.uplink(interface)
        {
            uplink.traffic[self.id.index()].received_many(packets, octets);
        }
    }
}

impl Lane {
    /// A packet from an uplink, as it is.
    #[inline(always)]
    const fn plain(ip: Regular) -> Self {
        Self {
            outer_tos: 0,
            ip,
            at: ETHERNET as u16,
            received: ip.total_len,
            hash: 0,
            vrf: VrfId::PROVIDER,
            segment: SegmentId::new(0),
            place: 0,
            vtep: 0,
            mac: 0,
        }
    }

    /// Whether the packet came out of a tunnel.
    #[inline(always)]
    const fn is_outward(&self) -> bool {
        self.at as usize > ETHERNET
    }

    /// Makes the packet what it leaves as: `room` octets for outer headers, an Ethernet header, and its
    /// own octets, changed. `None`, and nothing happens, if it is not as it was read or there is no such
    /// room. Hands out the octets for outer headers.
    #[inline(always)]
    fn write<'a>(
        &self,
        mbuf: &'a mut Mbuf,
        change: &Change,
        way: &Rewrite,
        room: usize,
    ) -> Option<&'a mut [u8]> {
        let front = i32::from(self.at) - (ETHERNET + room) as i32;
        let len = (room + ETHERNET) as u32 + u32::from(self.ip.total_len);
        if !mbuf.reframe(front, len) {
            return None;
        }
        let (outer, frame) = mbuf.data_mut().split_at_mut_checked(room)?;
        let (header, packet) = frame.split_first_chunk_mut()?;
        match change {
            Change::HopLimit => *header = way.header_v6(),
            _ => way.write_header_v4(header),
        }
        change.apply(packet, self.ip.protocol).then_some(outer)
    }
}

#[inline(always)]
fn queue(output: &mut Output, port: u16, mbuf: Mbuf, counters: &WorkerCounters) {
    output.queue(port, mbuf, counters);
}

/// A packet's key as the NAT engine wants it.
#[inline(always)]
fn nat_key(ip: &Regular) -> FlowKey {
    FlowKey {
        src: SocketAddrV4::new(Ipv4Addr::from_bits(ip.src), ip.sport),
        dst: SocketAddrV4::new(Ipv4Addr::from_bits(ip.dst), ip.dport),
        protocol: IpProtocol(ip.protocol),
    }
}

/// The IP packet of a lane, as it arrived.
#[inline(always)]
fn packet_of<'a>(burst: &'a Burst, at: usize, lane: &Lane) -> &'a [u8] {
    let frame = burst.get(at).map_or(&[][..], Mbuf::data);
    frame.get(usize::from(lane.at)..).unwrap_or_default()
}

/// What the NAT engine follows of a TCP connection.
#[inline(always)]
fn segment_of(ip: &Regular, packet: &[u8]) -> TcpSegment {
    let segment = ip.segment(packet);
    TcpSegment {
        flags: segment.flags,
        seq: segment.seq,
        ack: segment.ack,
        len: segment.len,
    }
}

/// What is to be changed in a packet besides its time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    Side(Side, Translation),
    /// It carries IPv6: its hop limit, and nothing else.
    HopLimit,
}

impl Change {
    /// What a packet without state becomes: a floating IP's.
    fn stateless(side: Side, ip: &Regular, address: u32) -> Self {
        let port = match side {
            Side::Source => ip.sport,
            Side::Destination => ip.dport,
        };
        Self::of(side, ip, address, port)
    }

    /// What a packet becomes when one side gets an address and a port.
    fn of(side: Side, ip: &Regular, address: u32, port: u16) -> Self {
        let (old, old_port) = match side {
            Side::Source => (ip.src.swap_bytes(), ip.sport.swap_bytes()),
            Side::Destination => (ip.dst.swap_bytes(), ip.dport.swap_bytes()),
        };
        let (address_wire, port_wire) = (address.swap_bytes(), port.swap_bytes());
        let halves = |address: u32| (address >> 16) + (address & 0xffff);
        let ip_delta = halves(!old) + halves(address_wire);
        let l4_delta = ip_delta + u32::from(!old_port) + u32::from(port_wire);
        let to = Translation {
            address_wire,
            port_wire,
            ip_delta,
            l4_delta,
        };
        Self::Side(side, to)
    }

    /// Carries it out, and takes one from the time to live, in a packet that begins with its IP
    /// header. Nothing fails: the packet was read before.
    #[inline(always)]
    fn apply(&self, packet: &mut [u8], protocol: u8) -> bool {
        match self {
            Self::Nothing => regular::forward(packet),
            Self::HopLimit => regular6::forward6(packet),
            Self::Side(side, to) => regular::translate(packet, protocol, *side, to),
        }
    }
}

/// What a session makes of a packet.
#[inline(always)]
fn translation(hit: &sekisho_nat::Hit) -> Translation {
    Translation {
        address_wire: hit.address_wire,
        port_wire: hit.port_wire,
        ip_delta: hit.ip_delta,
        l4_delta: hit.l4_delta,
    }
}
