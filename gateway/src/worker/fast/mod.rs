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
//! | outward | `outward.rs` | what came out of tunnels: endpoint check, tables, session |
//! | inward | `inward.rs` | what came from uplinks: tables, session, endpoint |
//! | six | `six.rs` | what carries IPv6, either way: headers, endpoint check, tables |
//! | leave | `leave.rs` | rewrite of what leaves by a wire |
//! | encapsulate | `encapsulate.rs` | rewrite and outer headers of what goes into a tunnel |
//! | count | `tally.rs` | what sessions carry, where that is counted |
//! | emit | `emit.rs` | transmit queues in the order of arrival; the rest stays |
//!
//! What is known of a packet is kept by its number in the burst, its *lane*, a field of all packets in
//! one array. Sets of packets are [`Mask`]s; where a stage needs them one after the other, without
//! gaps and like with like, an [`Order`] gives each a *place*. Every loop over a burst is a function
//! of its own: inlined into one, they spill each other's registers.

mod classify;
mod emit;
mod encapsulate;
mod inward;
mod leave;
mod mask;
mod outward;
mod six;
mod stages;
mod steer;
mod tally;

use std::net::{Ipv4Addr, SocketAddrV4};

use sekisho_dpdk::Burst;
use sekisho_fib::{AdjacencyId, PackedLeaf};
use sekisho_nat::{Candidate, FlowKey, Probe, Refusal, TcpSegment, WireFlow};
use sekisho_packet::heads::{self, Changes, Heads};
use sekisho_types::{InterfaceId, IpProtocol, SegmentId, VrfId, WorkerId};

use self::encapsulate::Remotes;
use self::mask::{Mask, Order};
use self::six::Six;
pub use self::stages::{Stage, StageClocks};
use self::tally::Noted;
use super::Worker;

/// Most packets of a burst.
const LANES: usize = Burst::CAPACITY;
const _: () = assert!(LANES == heads::LANES);
/// Octets of an Ethernet header.
const ETHERNET: usize = sekisho_packet::ethernet::HEADER_LEN;

/// A burst under way.
pub(super) struct Lanes {
    /// How many packets it has.
    count: usize,
    /// The IPv4 headers: outer ones first, then those of packets in tunnels in their place.
    heads: Heads,
    /// Where the IP header is in the frame.
    at: [u16; LANES],
    /// Octets of the IP packet the uplink saw.
    received: [u16; LANES],
    /// Octets of the IP packet that goes on.
    total: [u16; LANES],
    hashes: [u32; LANES],
    /// Its type of service, or traffic class.
    tos: [u8; LANES],
    /// The way each leaves by, and what changes.
    ways: [AdjacencyId; LANES],
    changes: Changes,
    /// Where those go that go into a tunnel.
    remotes: Remotes,
    /// Which came out of a tunnel, and what is known of that.
    out: Mask,
    tunnel: Tunnel,
    /// Of those, which may have a session.
    stateful: Mask,
    /// Which came from an uplink as they are.
    plain: Mask,
    /// What came out of tunnels, with keys in `probes`.
    outward: Order,
    /// What came from uplinks: what is surely routed on first, then what may be for an outside
    /// address of ours, with keys in `probes`.
    inward: Order,
    /// How many are surely routed on.
    routed: usize,
    /// By place, and the sessions that are likely meant.
    probes: [Probe; LANES],
    candidates: [Candidate; LANES],
    /// What is known of packets that carry IPv6.
    six: Six,
    tables: TableStage,
    /// Which have a way, and have not been touched yet.
    leaving: Leaving,
    /// Which are done and leave, and by which ports.
    done: Mask,
    ports: [u16; LANES],
    /// Which leave by nowhere, for there is no session for them, and why.
    refused: Mask,
    refusals: [Option<Refusal>; LANES],
    /// Which are for another worker that has their sessions, and which.
    others: Mask,
    owners: [WorkerId; LANES],
    /// The sessions of packets that have one, where what they carry is counted.
    noted: Noted,
    sent: Sent,
    clocks: StageClocks,
}

/// What is known of packets that came out of tunnels.
struct Tunnel {
    /// Where the segment is in the snapshot's table of tunnels.
    place: [u16; LANES],
    segment: [SegmentId; LANES],
    vrf: [VrfId; LANES],
    /// The sender's VTEP and Ethernet address.
    vtep: [u32; LANES],
    mac: [u64; LANES],
    /// Type of service of the outer packet.
    tos: [u8; LANES],
}

/// Which packets have a way, by what changes in them.
#[derive(Clone, Copy, Debug, Default)]
struct Leaving {
    /// The time to live.
    hop: Mask,
    /// The source or the destination, too.
    translated: Mask,
    /// The hop limit of IPv6.
    hop6: Mask,
}

/// Room for looking up what a burst goes by, in the order of a stage.
struct TableStage {
    vrfs: [VrfId; LANES],
    addresses: [Ipv4Addr; LANES],
    leaves: [PackedLeaf; LANES],
    /// In the provider VRF, of what leaves a tenant.
    provider: [PackedLeaf; LANES],
    ways: [AdjacencyId; LANES],
    /// Where packets out of tunnels come from, and the endpoints known there.
    sources: [Ipv4Addr; LANES],
    endpoints: [AdjacencyId; LANES],
    /// The uplinks they leave by.
    egresses: [InterfaceId; LANES],
    hashes: [u32; LANES],
}

/// Packets and octets that leave by the first uplinks, counted once a burst.
#[derive(Debug, Default)]
struct Sent {
    uplinks: [(u32, u32); SENT],
    /// Bit per uplink that has any.
    any: u32,
}

/// Uplinks that are counted once a burst.
const SENT: usize = 32;

impl Lanes {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            count: 0,
            heads: Heads::NONE,
            at: [0; LANES],
            received: [0; LANES],
            total: [0; LANES],
            hashes: [0; LANES],
            ways: [AdjacencyId::NONE; LANES],
            tos: [0; LANES],
            changes: Changes::NONE,
            remotes: Remotes::NONE,
            out: Mask::NONE,
            tunnel: Tunnel {
                place: [0; LANES],
                segment: [SegmentId::new(0); LANES],
                vrf: [VrfId::PROVIDER; LANES],
                vtep: [0; LANES],
                mac: [0; LANES],
                tos: [0; LANES],
            },
            stateful: Mask::NONE,
            plain: Mask::NONE,
            outward: Order::NONE,
            inward: Order::NONE,
            routed: 0,
            probes: [Probe::default(); LANES],
            candidates: [Candidate::NONE; LANES],
            six: Six::new(),
            tables: TableStage {
                vrfs: [VrfId::PROVIDER; LANES],
                addresses: [Ipv4Addr::UNSPECIFIED; LANES],
                leaves: [PackedLeaf::NONE; LANES],
                provider: [PackedLeaf::NONE; LANES],
                ways: [AdjacencyId::NONE; LANES],
                sources: [Ipv4Addr::UNSPECIFIED; LANES],
                endpoints: [AdjacencyId::NONE; LANES],
                egresses: [InterfaceId::new(0); LANES],
                hashes: [0; LANES],
            },
            leaving: Leaving::default(),
            done: Mask::NONE,
            ports: [0; LANES],
            refused: Mask::NONE,
            refusals: [None; LANES],
            others: Mask::NONE,
            owners: [WorkerId::new(0); LANES],
            noted: Noted::NONE,
            sent: Sent::default(),
            clocks: StageClocks::default(),
        })
    }

    /// Forgets the burst before this one of `count` packets.
    fn begin(&mut self, count: usize) {
        self.count = count.min(LANES);
        self.at = [ETHERNET as u16; LANES];
        self.out = Mask::NONE;
        self.stateful = Mask::NONE;
        self.plain = Mask::NONE;
        self.six.clear();
        self.leaving = Leaving::default();
        self.done = Mask::NONE;
        self.refused = Mask::NONE;
        self.others = Mask::NONE;
        self.noted.clear();
    }

    /// Whether the packet came out of a tunnel.
    #[inline(always)]
    const fn is_outward(&self, lane: usize) -> bool {
        self.at[lane % LANES] as usize > ETHERNET
    }
}

impl Worker {
    /// Sends the regular packets of a burst on their way; the others stay in it, in order.
    #[inline(never)]
    pub(super) fn forward_burst(&mut self, burst: &mut Burst, port: u16) {
        // Always there: it is put back below.
        let Some(mut lanes) = self.lanes.take() else {
            return;
        };
        lanes.clocks.begin();
        self.classify(&mut lanes, burst, port);
        if self.snapshot.clamps_mss {
            lanes.leave_syns(burst);
        }
        if !lanes.out.is_empty() {
            self.outward(&mut lanes, burst);
        }
        if !lanes.plain.is_empty() {
            self.inward(&mut lanes, burst);
        }
        if !lanes.six.is_empty() {
            self.six(&mut lanes, burst, port);
        }
        self.leave_burst(&mut lanes, burst);
        if self.nat.counts_sessions() {
            self.count_noted(&lanes);
        }
        self.emit(&mut lanes, burst, port);
        lanes.clocks.end(Stage::Emit);
        self.lanes = Some(lanes);
    }

    /// Where the clocks of the latest bursts went.
    pub fn stage_clocks(&self) -> Option<&StageClocks> {
        self.lanes.as_ref().map(|lanes| &lanes.clocks)
    }

    /// Counts what a packet that is on its way was to the segment it came from.
    #[inline(always)]
    fn count_left(&self, lanes: &Lanes, lane: usize) {
        if lanes.is_outward(lane)
            && let Some(segment) = self.snapshot.tunnels.at(lanes.tunnel.place[lane])
        {
            segment.traffic[self.id.index()].received(lanes.total[lane].into());
        }
    }
}

/// A packet's key as the NAT engine wants it.
#[inline(always)]
fn nat_flow(heads: &Heads, lane: usize) -> FlowKey {
    let address = |word: u32| Ipv4Addr::from_octets(word.to_le_bytes());
    let ports = heads.ports(lane);
    FlowKey {
        src: SocketAddrV4::new(address(heads.src(lane)), (ports as u16).swap_bytes()),
        dst: SocketAddrV4::new(
            address(heads.dst(lane)),
            ((ports >> 16) as u16).swap_bytes(),
        ),
        protocol: IpProtocol(heads.protocol(lane)),
    }
}

/// The same as words of the packet.
#[inline(always)]
fn wire_flow(heads: &Heads, lane: usize) -> WireFlow {
    WireFlow {
        src: heads.src(lane),
        dst: heads.dst(lane),
        ports: heads.ports(lane),
        protocol: heads.protocol(lane),
    }
}

/// What the NAT engine follows of a TCP connection; nothing of a datagram.
#[inline(always)]
fn segment_of(heads: &Heads, lane: usize) -> Option<TcpSegment> {
    (heads.protocol(lane) == IpProtocol::TCP.0).then(|| {
        let segment = heads.segment(lane);
        TcpSegment {
            flags: segment.flags,
            seq: segment.seq,
            ack: segment.ack,
            len: segment.len,
        }
    })
}

/// An address and a port as they are in memory.
#[inline(always)]
fn wire(address: Ipv4Addr, port: u16) -> (u32, u16) {
    (u32::from_le_bytes(address.octets()), port.swap_bytes())
}
