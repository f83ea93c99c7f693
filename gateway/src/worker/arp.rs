//! ARP on uplinks and segments (RFC 826): questions for our addresses are answered at once, what is
//! heard of others goes to the control task. Only this module answers; the kernel's stack does not
//! see these links.

use std::net::{IpAddr, Ipv4Addr};

use sekisho_dpdk::Mbuf;
use sekisho_fib::Link;
use sekisho_host::{Origin, PuntClass};
use sekisho_packet::{Arp, ArpFrame, ArpOperation, Ethernet, arp};
use sekisho_types::{InterfaceId, MacAddr, SegmentId};

use super::Worker;
use crate::control::neighbor::Location;
use crate::drops::DropReason;

/// What an ARP packet says, read once.
#[derive(Clone, Copy, Debug)]
struct Heard {
    sender: Ipv4Addr,
    mac: MacAddr,
    target: Ipv4Addr,
    is_request: bool,
    reply: ArpFrame,
}

fn read(frame: &[u8], our_mac: MacAddr) -> Result<Heard, DropReason> {
    let malformed = |_| DropReason::MalformedArp;
    let frame = Ethernet::new(frame).map_err(malformed)?;
    let packet = Arp::new(frame.payload()).map_err(malformed)?;
    let is_request = match packet.operation() {
        ArpOperation::REQUEST => true,
        ArpOperation::REPLY => false,
        _ => return Err(DropReason::MalformedArp),
    };
    // RFC 826 knows one sender; a frame whose two sender fields differ is forged or proxied.
    if !packet.sender_mac().is_unicast() || packet.sender_mac() != frame.src() {
        return Err(DropReason::MalformedArp);
    }
    Ok(Heard {
        sender: packet.sender_ip(),
        mac: packet.sender_mac(),
        target: packet.target_ip(),
        is_request,
        reply: ArpFrame::reply(&packet, our_mac),
    })
}

impl Worker {
    /// An ARP frame arrived on an uplink.
    pub(super) fn uplink_arp(&mut self, mut mbuf: Mbuf, interface: InterfaceId) {
        let Some(uplink) = self.snapshot.uplink(interface) else {
            return self.drop(mbuf, DropReason::UnknownPort);
        };
        if !self
            .policer
            .admit(self.now_ns, Origin::Uplink, PuntClass::Neighbour)
        {
            return self.drop(mbuf, DropReason::PuntPoliced);
        }
        let heard = match read(mbuf.data(), uplink.mac) {
            Ok(heard) => heard,
            Err(reason) => return self.drop(mbuf, reason),
        };
        let connected = uplink.is_connected(heard.sender) && !uplink.owns(heard.sender);
        // Pools and floating IPs are answered for only where somebody would ask for them.
        let ours = uplink.owns(heard.target)
            || uplink.is_connected(heard.target)
                && self.snapshot.nat.outside_use(heard.target).is_some();
        let port = uplink.port;
        if connected {
            let location = Location {
                mac: heard.mac,
                vtep: None,
            };
            let learn = heard.is_request && ours;
            self.heard(Link::Interface(interface), heard.sender, location, learn);
        }
        if heard.is_request && ours && write_frame(&mut mbuf, &heard.reply) {
            self.counters.answered.add(1);
            self.counters.originated.add(1);
            self.output.queue(port, mbuf, &self.counters);
        } else {
            self.counters.punted.add(1);
        }
    }

    /// An ARP frame arrived out of a tunnel.
    pub(super) fn segment_arp(&mut self, mut mbuf: Mbuf, id: SegmentId, vtep: Ipv4Addr) {
        let Some(segment) = self.snapshot.segment(id) else {
            return self.drop(mbuf, DropReason::UnknownVni);
        };
        if !self
            .policer
            .admit(self.now_ns, Origin::Tenant, PuntClass::Neighbour)
        {
            return self.drop(mbuf, DropReason::PuntPoliced);
        }
        let heard = match read(mbuf.data(), segment.mac) {
            Ok(heard) => heard,
            Err(reason) => return self.drop(mbuf, reason),
        };
        let location = Location {
            mac: heard.mac,
            vtep: Some(IpAddr::V4(vtep)),
        };
        let fixed = segment.static_endpoints.get(&heard.sender);
        let inside = segment.prefix.contains(heard.sender) && heard.sender != segment.gateway;
        if heard.sender == segment.gateway || fixed.is_some_and(|fixed| *fixed != location) {
            return self.drop(mbuf, DropReason::SpoofedSource);
        }
        let ours = heard.target == segment.gateway;
        if inside && fixed.is_none() {
            let learn = segment.learning;
            self.heard(Link::Segment(id), heard.sender, location, learn);
        }
        if heard.is_request && ours && write_frame(&mut mbuf, &heard.reply) {
            self.counters.answered.add(1);
            self.counters.originated.add(1);
            self.send_to_vtep(mbuf, id, vtep);
        } else {
            self.counters.punted.add(1);
        }
    }
}

/// Turns the buffer of a frame into another frame.
fn write_frame(mbuf: &mut Mbuf, frame: &ArpFrame) -> bool {
    let length = mbuf.data().len();
    if length < arp::FRAME_LEN {
        return false;
    }
    mbuf.trim_back(length - arp::FRAME_LEN);
    frame.write(mbuf.data_mut()).is_ok()
}
