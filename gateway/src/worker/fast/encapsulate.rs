//! Outer headers of what goes into a tunnel.

use std::net::Ipv4Addr;

use sekisho_dpdk::Burst;
use sekisho_fib::{AdjacencyId, Leaf, Rewrite, RewriteKind};
use sekisho_packet::tunnel::{Inner, VxlanHeaders, VxlanTemplate};
use sekisho_types::{SegmentId, Vni, VrfId};

use super::leave::{Change, Hop, Hop6, Translated};
use super::mask::{Mask, Order};
use super::{ETHERNET, LANES, Lanes, Leaving, Stage};
use crate::worker::Worker;
use crate::worker::forward::{DSCP, TUNNEL_OVERHEAD, TUNNEL_TTL};

/// Octets before the inner packet.
const FRONT: usize = TUNNEL_OVERHEAD as usize + ETHERNET;

/// Where the packets of a burst go that go into tunnels: what the ways to their endpoints said, read
/// once.
pub(super) struct Remotes {
    /// The inner Ethernet header, in words.
    ethernet: [[u64; 2]; LANES],
    /// As it is in memory.
    vteps: [u32; LANES],
    vnis: [Vni; LANES],
    segments: [SegmentId; LANES],
    /// The ways to the VTEPs.
    wires: [AdjacencyId; LANES],
}

impl Remotes {
    pub(super) const NONE: Self = Self {
        ethernet: [[0; 2]; LANES],
        vteps: [0; LANES],
        vnis: [Vni::ZERO; LANES],
        segments: [SegmentId::new(0); LANES],
        wires: [AdjacencyId::NONE; LANES],
    };

    /// Where the packet of a lane goes; `false` if its VTEP has no IPv4 address.
    #[inline(always)]
    pub(super) fn set(&mut self, lane: usize, way: &Rewrite<'_>) -> bool {
        let Some(vtep) = way.address_v4() else {
            return false;
        };
        self.ethernet[lane] = way.ethernet_words();
        self.vteps[lane] = u32::from_le_bytes(vtep.octets());
        self.vnis[lane] = way.vni();
        self.segments[lane] = way.segment();
        true
    }
}

/// The outer headers of a burst.
struct Outer {
    template: VxlanTemplate,
    headers: VxlanHeaders,
}

impl Worker {
    /// Rewrites the packets of a burst that go into tunnels, and puts the outer headers before them.
    pub(super) fn encapsulate_burst(
        &self,
        lanes: &mut Lanes,
        burst: &mut Burst,
        tunnels: &Leaving,
    ) {
        let Some(underlay) = self.snapshot.underlay else {
            return;
        };
        self.look_up_vteps(lanes, tunnels.hop | tunnels.translated | tunnels.hop6);
        lanes.clocks.end(Stage::TunnelTables);
        let template = VxlanTemplate::new(underlay.address, underlay.vxlan_port, TUNNEL_TTL, DSCP);
        let headers = template.headers(Inner {
            lens: &lanes.total,
            tos: &lanes.tos,
            hashes: &lanes.hashes,
            vteps: &lanes.remotes.vteps,
        });
        let outer = Outer { template, headers };
        if !tunnels.hop.is_empty() {
            self.wrap::<Hop>(lanes, burst, tunnels.hop, &outer);
        }
        if !tunnels.translated.is_empty() {
            self.wrap::<Translated>(lanes, burst, tunnels.translated, &outer);
        }
        if !tunnels.hop6.is_empty() {
            self.wrap::<Hop6>(lanes, burst, tunnels.hop6, &outer);
        }
    }

    #[inline(never)]
    fn wrap<C: Change>(&self, lanes: &mut Lanes, burst: &mut Burst, tunnels: Mask, outer: &Outer) {
        let mut done = Mask::NONE;
        for lane in tunnels {
            let Some(wire) = self.reader.rewrite(lanes.remotes.wires[lane]) else {
                continue;
            };
            let Some(mbuf) = burst.get_mut(lane) else {
                continue;
            };
            let octets = lanes.total[lane].saturating_add(TUNNEL_OVERHEAD);
            if (octets > wire.mtu()) | (wire.kind() != RewriteKind::Ethernet) {
                continue;
            }
            let ethernet = lanes.remotes.ethernet[lane];
            let front = lanes.write::<C, FRONT>(lane, mbuf, ethernet);
            let Some(front) = front.and_then(|front| front.first_chunk_mut()) else {
                continue;
            };
            let vni = lanes.remotes.vnis[lane];
            outer
                .template
                .write(front, &outer.headers, lane, vni, |ethernet| {
                    wire.write_header_v4(ethernet);
                });
            lanes.ports[lane] = wire.port();
            done.add(lane, true);
            self.count_encapsulated(lanes, lane);
            self.count_sent(&mut lanes.sent, &wire, octets);
        }
        lanes.done |= done;
    }

    /// Looks up the wires to the VTEPs.
    #[inline(never)]
    fn look_up_vteps(&self, lanes: &mut Lanes, tunnels: Mask) {
        let mut order = Order::NONE;
        order.set(&[tunnels]);
        let count = order.len();
        let (tables, remotes) = (&mut lanes.tables, &mut lanes.remotes);
        for (place, lane) in order.places() {
            tables.addresses[place] = Ipv4Addr::from_octets(remotes.vteps[lane].to_le_bytes());
        }
        let addresses = &tables.addresses[..count];
        let ways = &mut tables.ways[..count];
        self.reader
            .host_batch(&[VrfId::PROVIDER; LANES], addresses, ways);
        for (place, lane) in order.places() {
            let mut wire = tables.ways[place];
            if wire == AdjacencyId::NONE {
                wire = self.way_to(tables.addresses[place], lanes.hashes[lane]);
            }
            remotes.wires[lane] = wire;
        }
    }

    /// The way to a VTEP that is not on the link itself.
    #[cold]
    fn way_to(&self, vtep: Ipv4Addr, hash: u32) -> AdjacencyId {
        match self.reader.lookup(VrfId::PROVIDER, vtep) {
            Leaf::PathList(list) => self.reader.select(list, hash).unwrap_or(AdjacencyId::NONE),
            Leaf::Adjacency(id) => id,
            _ => AdjacencyId::NONE,
        }
    }

    #[inline(always)]
    fn count_encapsulated(&self, lanes: &Lanes, lane: usize) {
        let segment = self.snapshot.tunnels.segment(lanes.remotes.segments[lane]);
        if let Some(segment) = segment {
            segment.traffic[self.id.index()].sent(lanes.total[lane].into());
        }
        self.count_left(lanes, lane);
    }
}
