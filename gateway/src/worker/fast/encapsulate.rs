//! Outer headers of what goes into a tunnel.

use std::net::Ipv4Addr;

use sekisho_dpdk::Burst;
use sekisho_fib::RewriteKind;
use sekisho_packet::build::VxlanEncap;
use sekisho_packet::{ecn, flow};
use sekisho_types::{MacAddr, VrfId};

use super::{ETHERNET, Exit, Lanes};
use crate::worker::Worker;
use crate::worker::forward::{DSCP, TUNNEL_OVERHEAD, TUNNEL_TTL};

/// Octets before the inner Ethernet header.
const OVERHEAD: usize = TUNNEL_OVERHEAD as usize;

impl Worker {
    /// Puts the outer headers before the inner frames of a burst.
    pub(super) fn encapsulate_burst(&mut self, lanes: &mut Lanes, burst: &mut Burst) {
        let Some(underlay) = self.snapshot.underlay else {
            return;
        };
        let count = lanes.tunnels.len();
        let tables = &mut lanes.tables;
        for (place, leaving) in lanes.tunnels.iter().enumerate() {
            tables.addresses[place] = leaving.way.address_v4().unwrap_or(Ipv4Addr::UNSPECIFIED);
            tables.hashes[place] = lanes.packets[usize::from(leaving.index)].hash;
        }
        self.reader.lookup_batch(
            VrfId::PROVIDER,
            &tables.addresses[..count],
            &mut tables.leaves[..count],
        );
        self.reader.select_batch(
            &tables.leaves[..count],
            &tables.hashes[..count],
            &mut tables.ways[..count],
        );
        for (place, leaving) in lanes.tunnels.iter().enumerate() {
            let (index, way) = (usize::from(leaving.index), &leaving.way);
            let lane = &lanes.packets[index];
            let wire = lanes.tables.ways[place].and_then(|wire| self.reader.rewrite(wire));
            let wire = wire.filter(|wire| wire.kind() == RewriteKind::Ethernet);
            let (Some(wire), Some(mbuf)) = (wire, burst.get_mut(index)) else {
                continue;
            };
            let inner_len = ETHERNET + usize::from(lane.ip.total_len);
            let outer_len = OVERHEAD - ETHERNET + inner_len;
            let room = mbuf.headroom() + usize::from(lane.at) - ETHERNET;
            let fits = outer_len <= usize::from(wire.mtu()) && room >= OVERHEAD;
            if !fits || !lane.write(mbuf, &leaving.change, way.header_v4()) {
                continue;
            }
            let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = wire.header_v4();
            let encap = VxlanEncap {
                dst_mac: MacAddr::new([a, b, c, d, e, f]),
                src_mac: MacAddr::new([g, h, i, j, k, l]),
                src: underlay.address,
                dst: lanes.tables.addresses[place],
                src_port: flow::tunnel_source_port(lane.hash),
                dst_port: underlay.vxlan_port,
                vni: way.vni(),
                tos: ecn::encapsulate(lane.ip.tos, DSCP),
                ttl: TUNNEL_TTL,
            };
            // There is room: both were checked before the packet was touched.
            if let Some(room) = mbuf.prepend(OVERHEAD)
                && let Some(room) = room.first_chunk_mut()
            {
                let _ = encap.write(room, inner_len);
            }
            lanes.exits[index] = Exit::Port(wire.port());
            if let Some(segment) = self.snapshot.tunnels.segment(way.segment()) {
                segment.traffic[self.id.index()].sent(lane.ip.total_len.into());
            }
            self.count_left(lane);
            self.count_sent(&wire, outer_len as u16);
        }
    }
}
