//! From an IPv6 frame on an uplink, or out of a tunnel, to a packet in a VRF; or, of what stays on
//! its link, to an answer there.

use std::net::{IpAddr, Ipv4Addr};

use sekisho_dpdk::Mbuf;
use sekisho_fib::{Leaf, Link};
use sekisho_host::PuntClass;
use sekisho_packet::{Ethernet, EthernetMut, build6, ecn, rewrite6};
use sekisho_types::{InterfaceId, MacAddr, SegmentId, VrfId};

use super::Worker;
use super::forward::DSCP;
use super::input::Outer;
use super::packet::Origin;
use super::packet6::{Header6, Packet6, Payload6};
use crate::control::neighbor::Location;
use crate::drops::DropReason;

/// Hop limit of answers on a link.
const HOP_LIMIT: u8 = 64;

/// The link a frame was heard on, and so where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// An uplink.
    Uplink(InterfaceId),
    /// A segment, from this VTEP.
    Segment(SegmentId, Ipv4Addr),
}

impl Heard {
    /// Whose packets its policer counts.
    pub(super) const fn origin(self) -> sekisho_host::Origin {
        match self {
            Self::Uplink(_) => sekisho_host::Origin::Uplink,
            Self::Segment(..) => sekisho_host::Origin::Tenant,
        }
    }

    pub(super) const fn link(self) -> Link {
        match self {
            Self::Uplink(id) => Link::Interface(id),
            Self::Segment(id, _) => Link::Segment(id),
        }
    }

    /// Where a sender with that Ethernet address is.
    pub(super) const fn location(self, mac: MacAddr) -> Location {
        Location {
            mac,
            vtep: match self {
                Self::Uplink(_) => None,
                Self::Segment(_, vtep) => Some(IpAddr::V4(vtep)),
            },
        }
    }

    /// Why a frame for another station goes no further.
    const fn not_ours(self) -> DropReason {
        match self {
            Self::Uplink(_) => DropReason::NotOurMac,
            Self::Segment(..) => DropReason::InnerNotForGateway,
        }
    }
}

impl Worker {
    /// An IPv6 frame arrived on an uplink.
    pub(super) fn uplink_ipv6(&mut self, mbuf: Mbuf, interface: InterfaceId) {
        let Some(uplink) = self.snapshot.uplink(interface) else {
            return self.drop(mbuf, DropReason::UnknownPort);
        };
        let ours = uplink.mac;
        let enabled = uplink.ipv6.is_some();
        let heard = Heard::Uplink(interface);
        let Some((mbuf, header)) = self.read_frame6(mbuf, heard, ours, enabled) else {
            return;
        };
        if let Some(uplink) = self.snapshot.uplink(interface) {
            uplink.traffic[self.id.index()].received(header.total_len);
        }
        if self.stays_on_link(&header, heard) {
            return self.on_link(mbuf, &header, heard);
        }
        if let Err(reason) = header.check_addresses() {
            return self.drop(mbuf, reason);
        }
        // Nobody out there has an address of ours.
        if self.reader.lookup(VrfId::PROVIDER, header.flow.src) == Leaf::Local {
            return self.drop(mbuf, DropReason::MartianSource);
        }
        if let Some(packet) = self.packet6(mbuf, header, Origin::Uplink(interface), VrfId::PROVIDER)
        {
            self.route6(packet);
        }
    }

    /// An IPv6 frame arrived out of a tunnel.
    pub(super) fn segment_ipv6(&mut self, mbuf: Mbuf, outer: Outer) {
        let Some(segment) = self.snapshot.segment(outer.segment) else {
            return self.drop(mbuf, DropReason::UnknownVni);
        };
        let (ours, vrf) = (segment.mac, segment.vrf);
        let enabled = segment.ipv6.is_some();
        let heard = Heard::Segment(outer.segment, outer.vtep);
        let source_mac = match Ethernet::new(mbuf.data()) {
            Ok(frame) => frame.src(),
            Err(_) => return self.drop(mbuf, DropReason::InnerMalformed),
        };
        let Some((mbuf, header)) = self.read_frame6(mbuf, heard, ours, enabled) else {
            return;
        };
        if self.stays_on_link(&header, heard) {
            return self.on_link(mbuf, &header, heard);
        }
        if let Err(reason) = header.check_addresses() {
            return self.drop(mbuf, reason);
        }
        let origin = Origin::Segment(outer.segment);
        let Some(mut packet) = self.packet6(mbuf, header, origin, vrf) else {
            return;
        };
        // RFC 6040 section 4.2: congestion met in the underlay is not lost.
        match ecn::decapsulate(packet.header.class, outer.tos, DSCP) {
            None => return self.drop(packet.mbuf, DropReason::OuterCongestion),
            Some(class) if class != packet.header.class => {
                packet.header.class = class;
                if rewrite6::set_traffic_class(packet.mbuf.data_mut(), class).is_err() {
                    return self.drop(packet.mbuf, DropReason::MalformedIpv6);
                }
            }
            Some(_) => {}
        }
        match self.check_endpoint6(&packet, outer.segment, heard.location(source_mac)) {
            Ok(()) => self.route6(packet),
            Err(reason) => self.drop(packet.mbuf, reason),
        }
    }

    /// The headers of a frame that is for us: for our station, or for a group.
    fn read_frame6(
        &self,
        mbuf: Mbuf,
        heard: Heard,
        ours: MacAddr,
        enabled: bool,
    ) -> Option<(Mbuf, Header6)> {
        let outcome = match Ethernet::new(mbuf.data()) {
            Err(_) => Err(DropReason::MalformedEthernet),
            Ok(frame) if frame.dst() != ours && !(enabled && frame.dst().is_multicast()) => {
                Err(heard.not_ours())
            }
            Ok(_) if !enabled => Err(DropReason::Ipv6Disabled),
            Ok(frame) => {
                let to_us = frame.dst() == ours;
                Header6::parse(frame.payload()).and_then(|header| {
                    // A unicast packet in a frame for a group is nobody's to forward.
                    if to_us || header.flow.dst.is_multicast() {
                        Ok(header)
                    } else {
                        Err(heard.not_ours())
                    }
                })
            }
        };
        match outcome {
            Ok(header) => Some((mbuf, header)),
            Err(reason) => {
                self.drop(mbuf, reason);
                None
            }
        }
    }

    /// The frame's packet, without the Ethernet header and what pads it.
    fn packet6(
        &self,
        mut mbuf: Mbuf,
        header: Header6,
        origin: Origin,
        vrf: VrfId,
    ) -> Option<Packet6> {
        match Ethernet::new(mbuf.data()).map(|frame| frame.header_len()) {
            Ok(length) => {
                mbuf.trim_front(length);
                Some(Packet6::with_header(mbuf, header, origin, vrf))
            }
            Err(_) => {
                self.drop(mbuf, DropReason::MalformedEthernet);
                None
            }
        }
    }

    /// A packet of the kernel's sockets.
    pub(super) fn host_ipv6(&mut self, mbuf: Mbuf) {
        let packet = match Packet6::new(mbuf, Origin::Host, VrfId::PROVIDER) {
            Ok(packet) => packet,
            Err((mbuf, reason)) => return self.drop(mbuf, reason),
        };
        // The kernel speaks to its groups and neighbours; on that link there is nobody.
        match packet.header.check_addresses() {
            Ok(()) => self.route6(packet),
            Err(reason) => self.drop(packet.mbuf, reason),
        }
    }

    /// Whether a packet is not to be routed: by its scope, or as neighbour discovery for us.
    fn stays_on_link(&self, header: &Header6, heard: Heard) -> bool {
        header.is_on_link()
            || header.payload == Payload6::Discovery && self.is_ours6(heard, header.flow.dst)
    }

    /// Whether the address is one of ours on that link.
    pub(super) fn is_ours6(&self, heard: Heard, address: std::net::Ipv6Addr) -> bool {
        match heard {
            Heard::Uplink(id) => {
                let uplink = self.snapshot.uplink(id);
                let ipv6 = uplink.and_then(|uplink| uplink.ipv6.as_ref());
                ipv6.is_some_and(|ipv6| ipv6.owns(address))
            }
            Heard::Segment(id, _) => {
                let segment = self.snapshot.segment(id);
                let ipv6 = segment.and_then(|segment| segment.ipv6.as_ref());
                ipv6.is_some_and(|ipv6| ipv6.owns(address))
            }
        }
    }

    fn listens_to6(&self, heard: Heard, group: std::net::Ipv6Addr) -> bool {
        match heard {
            Heard::Uplink(id) => {
                let uplink = self.snapshot.uplink(id);
                let ipv6 = uplink.and_then(|uplink| uplink.ipv6.as_ref());
                ipv6.is_some_and(|ipv6| ipv6.listens_to(group))
            }
            Heard::Segment(id, _) => {
                let segment = self.snapshot.segment(id);
                let ipv6 = segment.and_then(|segment| segment.ipv6.as_ref());
                ipv6.is_some_and(|ipv6| ipv6.listens_to(group))
            }
        }
    }

    /// A packet that goes no further than its link.
    fn on_link(&mut self, mbuf: Mbuf, header: &Header6, heard: Heard) {
        let (src, dst) = (header.flow.src, header.flow.dst);
        if dst.is_multicast() {
            if !self.listens_to6(heard, dst) {
                return self.drop(mbuf, heard.not_ours());
            }
        } else if !self.is_ours6(heard, dst) {
            return self.drop(mbuf, DropReason::BeyondScope);
        }
        let is_nobody =
            src.is_loopback() || src.is_multicast() || src.to_ipv4_mapped().is_some() || src == dst;
        if is_nobody {
            return self.drop(mbuf, DropReason::MartianSource);
        }
        match header.payload {
            Payload6::Discovery => self.discovery(mbuf, heard),
            _ if src.is_unspecified() => self.drop(mbuf, DropReason::MartianSource),
            _ if dst.is_multicast() => self.drop(mbuf, DropReason::MartianDestination),
            Payload6::EchoRequest => self.answer_on_link(mbuf, heard),
            _ if dst.is_unicast_link_local() => self.drop(mbuf, DropReason::GatewayService),
            _ => self.drop(mbuf, DropReason::BeyondScope),
        }
    }

    /// Answers a ping between addresses of which one is link-local: back to the station it came
    /// from.
    fn answer_on_link(&mut self, mut mbuf: Mbuf, heard: Heard) {
        let now = self.now_ns;
        if !self.policer.admit(now, heard.origin(), PuntClass::Icmp) {
            return self.drop(mbuf, DropReason::PuntPoliced);
        }
        let Ok(frame) = Ethernet::new(mbuf.data()) else {
            return self.drop(mbuf, DropReason::MalformedEthernet);
        };
        let (header_len, asker) = (frame.header_len(), frame.src());
        let ours = frame.dst();
        let replied = mbuf
            .data_mut()
            .get_mut(header_len..)
            .is_some_and(|packet| build6::echo_reply(packet, HOP_LIMIT).is_ok());
        let Ok(mut frame) = EthernetMut::new(mbuf.data_mut()) else {
            return self.drop(mbuf, DropReason::MalformedEthernet);
        };
        if !replied {
            return self.drop(mbuf, DropReason::GatewayService);
        }
        frame.set_dst(asker);
        frame.set_src(ours);
        self.counters.answered.add(1);
        self.send_on_link(mbuf, heard);
    }

    /// Sends a whole frame we made to where one was heard.
    pub(super) fn send_on_link(&mut self, mbuf: Mbuf, heard: Heard) {
        self.counters.originated.add(1);
        match heard {
            Heard::Uplink(id) => match self.snapshot.uplink(id).map(|uplink| uplink.port) {
                Some(port) => self.output.queue(port, mbuf, &self.counters),
                None => self.drop(mbuf, DropReason::UnknownPort),
            },
            Heard::Segment(id, vtep) => self.send_to_vtep(mbuf, id, vtep),
        }
    }

    /// Whether the inner source lives where the packet came from (BCP 38), and what is learnt from
    /// that.
    fn check_endpoint6(
        &mut self,
        packet: &Packet6,
        id: SegmentId,
        location: Location,
    ) -> Result<(), DropReason> {
        let segment = self.snapshot.segment(id).ok_or(DropReason::UnknownVni)?;
        segment.traffic[self.id.index()].received(packet.header.total_len);
        let ipv6 = segment.ipv6.as_ref().ok_or(DropReason::Ipv6Disabled)?;
        let source = packet.header.flow.src;
        if !ipv6.prefix.contains(source) {
            // Behind a router of the tenant, if a route of the tenant says so.
            return match self.reader.lookup(segment.vrf, source) {
                Leaf::PathList(_) => Ok(()),
                _ => Err(DropReason::SpoofedSource),
            };
        }
        if source == ipv6.gateway {
            return Err(DropReason::SpoofedSource);
        }
        if let Some(fixed) = ipv6.static_endpoints.get(&source) {
            return if *fixed == location {
                Ok(())
            } else {
                Err(DropReason::SpoofedSource)
            };
        }
        if segment.learning && !self.is_at(segment, source, location) {
            self.heard(Link::Segment(id), source, location, true);
        }
        Ok(())
    }
}
