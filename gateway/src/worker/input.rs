//! From a frame on a port, or out of a tunnel, to a packet in a VRF.

use std::net::{IpAddr, Ipv4Addr};

use sekisho_dpdk::Mbuf;
use sekisho_fib::{Address, Adjacency, Leaf, Link};
use sekisho_packet::{EtherType, Ethernet, Ipv4, PacketError, Udp, Vxlan, ecn, rewrite};
use sekisho_types::{InterfaceId, IpProtocol, MacAddr, SegmentId, VrfId};

use super::Worker;
use super::forward::DSCP;
use super::packet::{Origin, Packet, Payload};
use crate::control::neighbor::{Location, Neighbor};
use crate::drops::DropReason;
use crate::snapshot::Segment;

/// What the outer headers of a tunnel packet said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outer {
    pub(super) segment: SegmentId,
    pub(super) vtep: Ipv4Addr,
    pub(super) tos: u8,
    /// Octets before the inner Ethernet header.
    len: usize,
}

impl Worker {
    /// A frame arrived on a port.
    pub(super) fn input(&mut self, mut mbuf: Mbuf, port: u16) {
        let Some(interface) = self.snapshot.uplink_of_port(port) else {
            return self.drop(mbuf, DropReason::UnknownPort);
        };
        if !mbuf.is_contiguous() && mbuf.linearize().is_err() {
            return self.drop(mbuf, DropReason::BufferShape);
        }
        let Ok(frame) = Ethernet::new(mbuf.data()) else {
            return self.drop(mbuf, DropReason::MalformedEthernet);
        };
        let (ethertype, header_len, dst) = (frame.ethertype(), frame.header_len(), frame.dst());
        if frame.vlan().is_some() {
            return self.drop(mbuf, DropReason::VlanUnexpected);
        }
        let ours = self.snapshot.uplink(interface).map(|uplink| uplink.mac);
        match ethertype {
            EtherType::ARP => self.uplink_arp(mbuf, interface),
            EtherType::IPV6 => self.uplink_ipv6(mbuf, interface),
            _ if ours != Some(dst) => self.drop(mbuf, DropReason::NotOurMac),
            EtherType::IPV4 => {
                mbuf.trim_front(header_len);
                self.uplink_ipv4(mbuf, interface);
            }
            _ => self.drop(mbuf, DropReason::UnknownEthertype),
        }
    }

    fn uplink_ipv4(&mut self, mbuf: Mbuf, interface: InterfaceId) {
        let mut packet = match Packet::new(mbuf, Origin::Uplink(interface), VrfId::PROVIDER) {
            Ok(packet) => packet,
            Err((mbuf, reason)) => return self.drop(mbuf, reason),
        };
        packet.hops = self.hops;
        if let Some(uplink) = self.snapshot.uplink(interface) {
            uplink.traffic[self.id.index()].received(packet.mbuf.data().len());
        }
        if let Err(reason) = check_addresses(&packet) {
            return self.drop(packet.mbuf, reason);
        }
        // Nobody out there has an address of ours.
        let source = self.reader.lookup(VrfId::PROVIDER, packet.header.flow.src);
        if matches!(source, Leaf::Local | Leaf::Nat) {
            return self.drop(packet.mbuf, DropReason::MartianSource);
        }
        match self.tunnel_of(&packet) {
            Ok(None) => self.route(packet),
            Ok(Some(outer)) => self.decapsulate(packet.mbuf, outer),
            Err(reason) => self.drop(packet.mbuf, reason),
        }
    }

    /// Whether a packet is a tunnel's, and whose. Only what is exactly a configured tunnel is
    /// taken for one: address, protocol, port, VNI and sender.
    fn tunnel_of(&self, packet: &Packet) -> Result<Option<Outer>, DropReason> {
        let flow = &packet.header.flow;
        let Some(underlay) = self.snapshot.underlay else {
            return Ok(None);
        };
        if flow.dst != underlay.address || flow.proto != IpProtocol::UDP {
            return Ok(None);
        }
        if let Payload::Fragment { .. } = packet.header.payload {
            return Err(DropReason::OuterFragment);
        }
        if flow.dport != underlay.vxlan_port {
            return Ok(None);
        }
        let ip = Ipv4::new(packet.mbuf.data()).map_err(|_| DropReason::MalformedIpv4)?;
        let udp = Udp::new(ip.payload()).map_err(|_| DropReason::MalformedTransport)?;
        if udp.checksum() != 0 && !udp.is_intact(ip.pseudo_header(udp.len())) {
            return Err(DropReason::OuterChecksum);
        }
        let vxlan = Vxlan::new(udp.payload()).map_err(|error| match error {
            PacketError::VxlanNoVni => DropReason::VxlanFlags,
            _ => DropReason::MalformedVxlan,
        })?;
        let unknown_vni = DropReason::UnknownVni;
        let id = self
            .snapshot
            .segment_of_vni(vxlan.vni())
            .ok_or(unknown_vni)?;
        let segment = self.snapshot.segment(id).ok_or(unknown_vni)?;
        if !segment.has_vtep(flow.src) {
            return Err(DropReason::UnknownVtep);
        }
        let headers = sekisho_packet::udp::HEADER_LEN + sekisho_packet::vxlan::HEADER_LEN;
        Ok(Some(Outer {
            segment: id,
            vtep: flow.src,
            tos: packet.header.tos,
            len: usize::from(packet.header.len) + headers,
        }))
    }

    fn decapsulate(&mut self, mut mbuf: Mbuf, outer: Outer) {
        mbuf.trim_front(outer.len);
        let Ok(frame) = Ethernet::new(mbuf.data()) else {
            return self.drop(mbuf, DropReason::InnerMalformed);
        };
        let (ethertype, header_len) = (frame.ethertype(), frame.header_len());
        let (src, dst, tagged) = (frame.src(), frame.dst(), frame.vlan().is_some());
        let Some(gateway_mac) = self
            .snapshot
            .segment(outer.segment)
            .map(|segment| segment.mac)
        else {
            return self.drop(mbuf, DropReason::UnknownVni);
        };
        match ethertype {
            _ if tagged => self.drop(mbuf, DropReason::InnerVlan),
            EtherType::ARP => self.segment_arp(mbuf, outer.segment, outer.vtep),
            EtherType::IPV6 => self.segment_ipv6(mbuf, outer),
            _ if dst != gateway_mac => self.drop(mbuf, DropReason::InnerNotForGateway),
            EtherType::IPV4 => {
                mbuf.trim_front(header_len);
                self.segment_ipv4(mbuf, outer, src);
            }
            _ => self.drop(mbuf, DropReason::UnknownEthertype),
        }
    }

    fn segment_ipv4(&mut self, mbuf: Mbuf, outer: Outer, source_mac: MacAddr) {
        let Some(vrf) = self
            .snapshot
            .segment(outer.segment)
            .map(|segment| segment.vrf)
        else {
            return self.drop(mbuf, DropReason::UnknownVni);
        };
        let mut packet = match Packet::new(mbuf, Origin::Segment(outer.segment), vrf) {
            Ok(packet) => packet,
            Err((mbuf, reason)) => return self.drop(mbuf, reason),
        };
        packet.hops = self.hops;
        if let Err(reason) = check_addresses(&packet) {
            return self.drop(packet.mbuf, reason);
        }
        // RFC 6040 section 4.2: congestion met in the underlay is not lost.
        match ecn::decapsulate(packet.header.tos, outer.tos, DSCP) {
            None => return self.drop(packet.mbuf, DropReason::OuterCongestion),
            Some(tos) if tos != packet.header.tos => {
                packet.header.tos = tos;
                if rewrite::set_tos(packet.mbuf.data_mut(), tos).is_err() {
                    return self.drop(packet.mbuf, DropReason::MalformedIpv4);
                }
            }
            Some(_) => {}
        }
        match self.check_endpoint(&packet, outer, source_mac) {
            Ok(()) => self.route(packet),
            Err(reason) => self.drop(packet.mbuf, reason),
        }
    }

    /// Whether the inner source lives where the packet came from (BCP 38), and what is learnt from
    /// that.
    fn check_endpoint(
        &mut self,
        packet: &Packet,
        outer: Outer,
        source_mac: MacAddr,
    ) -> Result<(), DropReason> {
        let snapshot = &self.snapshot;
        let segment = snapshot
            .segment(outer.segment)
            .ok_or(DropReason::UnknownVni)?;
        segment.traffic[self.id.index()].received(packet.mbuf.data().len());
        let source = packet.header.flow.src;
        if !segment.prefix.contains(source) {
            // Behind a router of the tenant, if a route of the tenant says so.
            return match self.reader.lookup(segment.vrf, source) {
                Leaf::PathList(_) => Ok(()),
                _ => Err(DropReason::SpoofedSource),
            };
        }
        if source == segment.gateway {
            return Err(DropReason::SpoofedSource);
        }
        let location = Location {
            mac: source_mac,
            vtep: Some(IpAddr::V4(outer.vtep)),
        };
        if let Some(fixed) = segment.static_endpoints.get(&source) {
            return if *fixed == location {
                Ok(())
            } else {
                Err(DropReason::SpoofedSource)
            };
        }
        if segment.learning && !self.is_at(segment, source, location) {
            self.heard(Link::Segment(outer.segment), source, location, true);
        }
        Ok(())
    }

    /// Whether the tables have an address of the segment at that place already.
    pub(super) fn is_at<A: Address>(
        &self,
        segment: &Segment,
        source: A,
        location: Location,
    ) -> bool {
        let Leaf::Adjacency(id) = self.reader.lookup(segment.vrf, source) else {
            return false;
        };
        match self.reader.adjacency(id) {
            Adjacency::Tunnel {
                vtep,
                inner_destination,
                ..
            } => location.mac == inner_destination && location.vtep == Some(vtep),
            _ => false,
        }
    }

    /// Tells the control task where a neighbour was heard.
    pub(super) fn heard(
        &mut self,
        link: Link,
        address: impl Into<IpAddr>,
        location: Location,
        learn: bool,
    ) {
        let address = address.into();
        let neighbor = Neighbor { link, address };
        self.report(super::link::Event::Heard {
            neighbor,
            location,
            learn,
        });
    }
}

/// RFC 1812 sections 5.3.7 and 4.2.2.11: addresses that nobody may send from or to through a
/// router.
fn check_addresses(packet: &Packet) -> Result<(), DropReason> {
    let (src, dst) = (packet.header.flow.src, packet.header.flow.dst);
    let reserved = |first: u8| first == 0 || first == 127 || first >= 240;
    if reserved(src.octets()[0]) || src.is_multicast() || src == dst {
        return Err(DropReason::MartianSource);
    }
    if reserved(dst.octets()[0]) || dst.is_multicast() {
        return Err(DropReason::MartianDestination);
    }
    Ok(())
}
