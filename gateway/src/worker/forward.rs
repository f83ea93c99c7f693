//! The end of a packet's way: MTU, time to live, the pending rewrite, headers of the way out.

use std::net::{IpAddr, Ipv4Addr};

use sekisho_dpdk::Mbuf;
use sekisho_fib::{Adjacency, Leaf, Link};
use sekisho_packet::build::{IcmpError, VXLAN_OVERHEAD, VxlanEncap};
use sekisho_packet::ecn::{self, DscpMode};
use sekisho_packet::{EtherType, Ethernet, ethernet, flow, rewrite};
use sekisho_types::{InterfaceId, MacAddr, SegmentId, Vni, VrfId};

use super::Worker;
use super::packet::Packet;
use super::route::Way;
use crate::control::neighbor::Neighbor;
use crate::drops::DropReason;

/// What VXLAN over IPv4 takes from the underlay's MTU: the outer IP packet's headers and the inner
/// Ethernet header.
pub const TUNNEL_OVERHEAD: u16 = VXLAN_OVERHEAD as u16;
/// Time to live of tunnel packets.
pub(super) const TUNNEL_TTL: u8 = 64;
/// The tenant's service class stays inside; the congestion mark goes out and back (RFC 6040).
pub(super) const DSCP: DscpMode = DscpMode::Pipe(0);

/// The wire a packet leaves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    port: u16,
    interface: InterfaceId,
    mtu: u16,
    source: MacAddr,
    destination: MacAddr,
}

/// The tunnel a packet leaves by, and the wire that tunnel runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tunnel {
    wire: Wire,
    segment: SegmentId,
    vni: Vni,
    local: Ipv4Addr,
    vtep: Ipv4Addr,
    mtu: u16,
    inner_source: MacAddr,
    inner_destination: MacAddr,
}

pub(super) enum Exit {
    Wire(Wire),
    Tunnel(Tunnel),
}

impl Exit {
    /// The segment it leads to.
    pub(super) fn segment(&self) -> Option<SegmentId> {
        match self {
            Self::Wire(_) => None,
            Self::Tunnel(tunnel) => Some(tunnel.segment),
        }
    }

    /// The largest IP packet that fits it.
    pub(super) fn mtu(&self) -> u16 {
        match self {
            Self::Wire(wire) => wire.mtu,
            Self::Tunnel(tunnel) => tunnel.mtu,
        }
    }
}

impl Worker {
    /// Sends a packet out by a resolved adjacency.
    pub(super) fn forward(&mut self, mut packet: Packet, adjacency: &Adjacency) {
        let hash = packet.header.path_flow().hash(self.seed);
        let exit = match self.exit(adjacency, hash) {
            Ok(exit) => exit,
            Err(way) => return self.finish(packet, way),
        };
        let mtu = exit.mtu();
        let too_big = packet.header.total_len > mtu;
        if too_big && packet.header.dont_fragment {
            let error = IcmpError::FragmentationNeeded { mtu };
            return self.finish(packet, Way::Refuse(DropReason::MtuExceeded, Some(error)));
        }
        self.clamp_mss(&mut packet, Some(&exit));
        if let Err(reason) = packet.apply_rewrite() {
            return self.drop(packet.mbuf, reason);
        }
        if packet.is_forwarded() && rewrite::decrement_ttl(packet.mbuf.data_mut()).is_err() {
            return self.drop(packet.mbuf, DropReason::TtlExpired);
        }
        if !too_big {
            let (ethertype, tos) = (EtherType::IPV4, packet.header.tos);
            return self.send(packet.mbuf, &exit, ethertype, tos, hash);
        }
        match self.fragment(packet.mbuf, usize::from(mtu)) {
            Ok(fragments) => {
                for fragment in fragments {
                    self.send(fragment, &exit, EtherType::IPV4, packet.header.tos, hash);
                }
            }
            Err((mbuf, reason)) => self.drop(mbuf, reason),
        }
    }

    /// Sends a whole inner Ethernet frame to one VTEP of a segment.
    pub(super) fn send_to_vtep(&mut self, mbuf: Mbuf, segment: SegmentId, vtep: Ipv4Addr) {
        let hash = match Ethernet::new(mbuf.data()) {
            Ok(frame) => flow::ethernet_hash(frame.dst(), frame.src(), self.seed),
            Err(_) => return self.drop(mbuf, DropReason::MalformedEthernet),
        };
        let Some(vni) = self.snapshot.segment(segment).map(|segment| segment.vni) else {
            return self.drop(mbuf, DropReason::UnknownVni);
        };
        match self.underlay_wire(IpAddr::V4(vtep), hash) {
            Ok((wire, local, vtep)) => {
                self.encapsulate(mbuf, &wire, (local, vtep), vni, 0, hash);
            }
            Err(Way::Resolve(neighbor)) => {
                self.need(neighbor);
                self.drop(mbuf, DropReason::NeighborUnresolved);
            }
            Err(Way::Refuse(reason, _)) => self.drop(mbuf, reason),
            Err(_) => self.drop(mbuf, DropReason::NoTunnelRoute),
        }
    }

    /// The way out by an adjacency that is resolved.
    pub(super) fn exit(&self, adjacency: &Adjacency, hash: u32) -> Result<Exit, Way> {
        match *adjacency {
            Adjacency::Ethernet {
                port,
                interface,
                mtu,
                source,
                destination,
                ..
            } => Ok(Exit::Wire(Wire {
                port,
                interface,
                mtu,
                source,
                destination,
            })),
            Adjacency::Tunnel {
                segment,
                vni,
                vtep,
                mtu,
                inner_source,
                inner_destination,
            } => {
                let (wire, local, vtep) = self.underlay_wire(vtep, hash)?;
                Ok(Exit::Tunnel(Tunnel {
                    segment,
                    vni,
                    local,
                    vtep,
                    mtu: mtu.min(wire.mtu.saturating_sub(TUNNEL_OVERHEAD)),
                    inner_source,
                    inner_destination,
                    wire,
                }))
            }
            _ => Err(Way::Refuse(DropReason::NextHopDown, None)),
        }
    }

    /// The wire by which the underlay reaches a VTEP, with both ends of the tunnel.
    fn underlay_wire(&self, vtep: IpAddr, hash: u32) -> Result<(Wire, Ipv4Addr, Ipv4Addr), Way> {
        let nowhere = Way::Refuse(DropReason::NoTunnelRoute, Some(IcmpError::HostUnreachable));
        let (Some(underlay), IpAddr::V4(vtep)) = (self.snapshot.underlay, vtep) else {
            return Err(nowhere);
        };
        let unresolved = |link: Link, address: IpAddr| Way::Resolve(Neighbor { link, address });
        let id = match self.reader.lookup(VrfId::PROVIDER, vtep) {
            Leaf::Adjacency(id) => id,
            Leaf::PathList(list) => self.reader.select(list, hash).ok_or(nowhere)?,
            Leaf::Connected(link) => return Err(unresolved(link, vtep.into())),
            _ => return Err(nowhere),
        };
        match self.reader.adjacency(id) {
            Adjacency::Ethernet {
                port,
                interface,
                mtu,
                source,
                destination,
                ..
            } => {
                let wire = Wire {
                    port,
                    interface,
                    mtu,
                    source,
                    destination,
                };
                Ok((wire, underlay.address, vtep))
            }
            Adjacency::Incomplete { link, next_hop } => Err(unresolved(link, next_hop)),
            Adjacency::Glean { link } => Err(unresolved(link, vtep.into())),
            _ => Err(nowhere),
        }
    }

    /// Puts the headers of the way out before an IP packet and sends it.
    pub(super) fn send(
        &mut self,
        mut mbuf: Mbuf,
        exit: &Exit,
        ethertype: EtherType,
        tos: u8,
        hash: u32,
    ) {
        let length = mbuf.data().len();
        let (source, destination) = match exit {
            Exit::Wire(wire) => (wire.source, wire.destination),
            Exit::Tunnel(tunnel) => (tunnel.inner_source, tunnel.inner_destination),
        };
        let Some(header) = mbuf.prepend(ethernet::HEADER_LEN) else {
            return self.drop(mbuf, DropReason::BufferShape);
        };
        if let Some(header) = header.first_chunk_mut() {
            ethernet::write_header(header, destination, source, ethertype);
        }
        match exit {
            Exit::Wire(wire) => self.transmit(mbuf, wire, length),
            Exit::Tunnel(tunnel) => {
                if let Some(segment) = self.snapshot.segment(tunnel.segment) {
                    segment.traffic[self.id.index()].sent(length);
                }
                let ends = (tunnel.local, tunnel.vtep);
                let tos = ecn::encapsulate(tos, DSCP);
                self.encapsulate(mbuf, &tunnel.wire, ends, tunnel.vni, tos, hash);
            }
        }
    }

    /// Puts the outer headers before an inner Ethernet frame and sends it.
    fn encapsulate(
        &mut self,
        mut mbuf: Mbuf,
        wire: &Wire,
        (local, vtep): (Ipv4Addr, Ipv4Addr),
        vni: Vni,
        tos: u8,
        hash: u32,
    ) {
        let Some(underlay) = self.snapshot.underlay else {
            return self.drop(mbuf, DropReason::NoTunnelRoute);
        };
        let frame_len = mbuf.data().len();
        let encap = VxlanEncap {
            dst_mac: wire.destination,
            src_mac: wire.source,
            src: local,
            dst: vtep,
            src_port: flow::tunnel_source_port(hash),
            dst_port: underlay.vxlan_port,
            vni,
            tos,
            ttl: TUNNEL_TTL,
        };
        let headers = mbuf
            .prepend(VXLAN_OVERHEAD)
            .and_then(|room| room.first_chunk_mut());
        let written = headers.is_some_and(|room| encap.write(room, frame_len).is_ok());
        if !written {
            return self.drop(mbuf, DropReason::BufferShape);
        }
        let length = frame_len + VXLAN_OVERHEAD - ethernet::HEADER_LEN;
        self.transmit(mbuf, wire, length);
    }

    fn transmit(&mut self, mbuf: Mbuf, wire: &Wire, length: usize) {
        if let Some(uplink) = self.snapshot.uplink(wire.interface) {
            uplink.traffic[self.id.index()].sent(length);
        }
        self.output.queue(wire.port, mbuf, &self.counters);
    }
}
