//! The end of an IPv6 packet's way: MTU, hop limit, headers of the way out. A router never fragments
//! (RFC 8200 section 5).

use sekisho_fib::Adjacency;
use sekisho_packet::{EtherType, Icmpv6Error, rewrite6};

use super::Worker;
use super::packet6::{Packet6, Payload6};
use super::punt;
use super::route6::Way6;
use crate::drops::DropReason;

impl Worker {
    /// Sends a packet out by a resolved adjacency.
    pub(super) fn forward6(&mut self, mut packet: Packet6, adjacency: &Adjacency) {
        let hash = packet.header.flow.hash(self.seed);
        let exit = match self.exit(adjacency, hash) {
            Ok(exit) => exit,
            Err(way) => return self.finish6(packet, way.into()),
        };
        let mtu = exit.mtu();
        if packet.header.total_len > usize::from(mtu) {
            let error = Some(Icmpv6Error::PacketTooBig { mtu });
            return self.finish6(packet, Way6::Refuse(DropReason::MtuExceeded, error));
        }
        if packet.is_forwarded() && rewrite6::decrement_hop_limit(packet.mbuf.data_mut()).is_err() {
            return self.drop(packet.mbuf, DropReason::TtlExpired);
        }
        self.clamp_mss6(&mut packet, &exit);
        let class = packet.header.class;
        self.send(packet.mbuf, &exit, EtherType::IPV6, class, hash);
    }

    /// A packet is for one of the gateway's provider addresses.
    pub(super) fn punt6(&mut self, packet: Packet6) {
        if packet.header.payload == Payload6::Discovery {
            // For an address of ours on another link than it came from.
            return self.drop(packet.mbuf, DropReason::MalformedNd);
        }
        let flow = &packet.header.flow;
        let ports = (flow.sport, flow.dport);
        let class = punt::class_of(flow.proto, ports, flow.src.into(), &self.snapshot);
        self.hand_to_kernel(packet.mbuf, class);
    }
}
