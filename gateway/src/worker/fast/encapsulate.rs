//! Outer headers of what goes into a tunnel.

use std::net::Ipv4Addr;

use sekisho_dpdk::Burst;
use sekisho_fib::{AdjacencyId, Leaf, Rewrite, RewriteKind};
use sekisho_packet::flow;
use sekisho_packet::tunnel::VxlanTemplate;
use sekisho_types::VrfId;

use super::{ETHERNET, Exit, LANES, Lane, Lanes, Stage};
use crate::worker::Worker;
use crate::worker::forward::{DSCP, TUNNEL_OVERHEAD, TUNNEL_TTL};

/// Octets before the inner Ethernet header.
const OVERHEAD: usize = TUNNEL_OVERHEAD as usize;

impl Worker {
    /// Rewrites the packets of a burst that go into tunnels, and puts the outer headers before them.
    pub(super) fn encapsulate_burst(&mut self, lanes: &mut Lanes, burst: &mut Burst) {
        let Some(underlay) = self.snapshot.underlay else {
            return;
        };
        self.look_up_vteps(lanes);
        lanes.clocks.end(Stage::TunnelTables);
        let template = VxlanTemplate::new(underlay.address, underlay.vxlan_port, TUNNEL_TTL, DSCP);
        for (place, &index) in lanes.tunnels.iter().enumerate() {
            let at = usize::from(index) % LANES;
            let lane = &lanes.packets[at];
            let vtep = lanes.tables.addresses[place];
            let Some(way) = self.reader.rewrite(lanes.ways[at]) else {
                continue;
            };
            let Some(wire) = self.reader.rewrite(lanes.tables.ways[place]) else {
                continue;
            };
            let Some(mbuf) = burst.get_mut(at) else {
                continue;
            };
            // The endpoint may have moved since its VTEP was looked up.
            let same = way.address_v4() == Some(vtep);
            let fits = lane.outer_len() <= wire.mtu();
            if !(same & fits) || wire.kind() != RewriteKind::Ethernet {
                continue;
            }
            let room = lane.write(mbuf, &lanes.changes[at], way, OVERHEAD);
            let Some(room) = room.and_then(<[u8]>::first_chunk_mut) else {
                continue;
            };
            template.write(
                room,
                |ethernet| wire.write_header_v4(ethernet),
                vtep,
                way.vni(),
                flow::tunnel_source_port(lane.hash),
                lane.ip.total_len + ETHERNET as u16,
                lane.ip.tos,
            );
            lanes.exits[at] = Exit::Port(wire.port());
            self.count_encapsulated(way, lane);
            self.count_sent(&mut lanes.sent, wire, lane.outer_len());
        }
    }

    /// Looks up the wires to the VTEPs.
    fn look_up_vteps(&self, lanes: &mut Lanes) {
        let count = lanes.tunnels.len();
        let tables = &mut lanes.tables;
        for (place, &index) in lanes.tunnels.iter().enumerate() {
            let at = usize::from(index) % LANES;
            let vtep = self
                .reader
                .rewrite(lanes.ways[at])
                .and_then(Rewrite::address_v4);
            tables.addresses[place] = vtep.unwrap_or(Ipv4Addr::UNSPECIFIED);
            tables.hashes[place] = lanes.packets[at].hash;
        }
        let addresses = &tables.addresses[..count];
        self.reader.host_batch(
            &[VrfId::PROVIDER; LANES],
            addresses,
            &mut tables.ways[..count],
        );
        let ways = tables.ways.iter_mut().zip(addresses).zip(&tables.hashes);
        for ((way, &vtep), &hash) in ways {
            if *way == AdjacencyId::NONE {
                *way = self.way_to(vtep, hash).unwrap_or(AdjacencyId::NONE);
            }
        }
    }

    /// The way to a VTEP that is not on the link itself.
    #[cold]
    fn way_to(&self, vtep: Ipv4Addr, hash: u32) -> Option<AdjacencyId> {
        match self.reader.lookup(VrfId::PROVIDER, vtep) {
            Leaf::PathList(list) => self.reader.select(list, hash),
            Leaf::Adjacency(id) => Some(id),
            _ => None,
        }
    }

    #[inline(always)]
    fn count_encapsulated(&self, way: Rewrite<'_>, lane: &Lane) {
        if let Some(segment) = self.snapshot.tunnels.segment(way.segment()) {
            segment.traffic[self.id.index()].sent(lane.ip.total_len.into());
        }
        self.count_left(lane);
    }
}

impl Lane {
    /// Octets of the outer IP packet.
    #[inline(always)]
    const fn outer_len(&self) -> u16 {
        self.ip.total_len.saturating_add(TUNNEL_OVERHEAD)
    }
}
