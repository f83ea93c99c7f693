//! Neighbour discovery on uplinks and segments (RFC 4861): questions for our addresses, and probes
//! for duplicates of them (RFC 4862), are answered at once; hosts of a segment that ask for routers
//! are told of us; what is heard of others goes to the control task. Only this module answers; the
//! kernel's stack does not see these links.

use std::net::Ipv6Addr;

use sekisho_dpdk::Mbuf;
use sekisho_host::PuntClass;
use sekisho_packet::ndp::{self, Envelope, Message};
use sekisho_packet::{Discovery, Ethernet, Ipv6, PacketError};
use sekisho_types::MacAddr;

use super::Worker;
use super::input6::Heard;
use super::link::Event;
use crate::control::neighbor::Neighbor;
use crate::drops::DropReason;

/// A message, who sent it, and from which station.
#[derive(Clone, Copy, Debug)]
struct Said {
    message: Discovery,
    sender: Ipv6Addr,
    station: MacAddr,
}

fn read(frame: &[u8]) -> Result<Said, DropReason> {
    let malformed = DropReason::MalformedNd;
    let frame = Ethernet::new(frame).map_err(|_| malformed)?;
    let packet = Ipv6::new(frame.payload()).map_err(|_| malformed)?;
    let upper = packet.upper_layer().map_err(|_| malformed)?;
    let message = Discovery::read(&packet, &upper).map_err(|error| match error {
        PacketError::DiscoveryHopLimit => DropReason::NdHopLimit,
        _ => malformed,
    })?;
    let station = frame.src();
    let told = match message {
        Discovery::NeighbourSolicitation { source, .. } => source,
        Discovery::NeighbourAdvertisement { mac, .. } => mac,
        Discovery::RouterSolicitation | Discovery::ForHosts => None,
    };
    // As with ARP: whoever tells another station's address is forged or a proxy.
    if !station.is_unicast() || told.is_some_and(|told| told != station) {
        return Err(malformed);
    }
    Ok(Said {
        message,
        sender: packet.src(),
        station,
    })
}

impl Worker {
    /// A message of neighbour discovery, for us or for a group we listen to.
    pub(super) fn discovery(&mut self, mbuf: Mbuf, heard: Heard) {
        let now = self.now_ns;
        if !self
            .policer
            .admit(now, heard.origin(), PuntClass::Neighbour)
        {
            return self.drop(mbuf, DropReason::PuntPoliced);
        }
        let said = match read(mbuf.data()) {
            Ok(said) => said,
            Err(reason) => return self.drop(mbuf, reason),
        };
        let answered = match said.message {
            Discovery::RouterSolicitation => Ok(self.tell_of_us(heard, &said)),
            Discovery::NeighbourSolicitation { target, source } => {
                let ours = self.is_ours6(heard, target);
                let learnt = match source {
                    Some(_) => self.learn6(heard, said.sender, said.station, ours),
                    None => Ok(()),
                };
                learnt.map(|()| ours && self.answer_solicitation(heard, target, &said))
            }
            Discovery::NeighbourAdvertisement { target, .. } => self
                .learn6(heard, target, said.station, false)
                .map(|()| false),
            Discovery::ForHosts => Ok(false),
        };
        match answered {
            Ok(true) => self.counters.answered.add(1),
            Ok(false) => self.counters.punted.add(1),
            Err(reason) => self.drop(mbuf, reason),
        }
    }

    /// Tells the control task where a neighbour is, unless it speaks in the name of another.
    fn learn6(
        &mut self,
        heard: Heard,
        address: Ipv6Addr,
        station: MacAddr,
        asks_for_us: bool,
    ) -> Result<(), DropReason> {
        let location = heard.location(station);
        if self.is_ours6(heard, address) {
            let link = heard.link();
            let address = address.into();
            self.report(Event::Conflict {
                neighbor: Neighbor { link, address },
                station,
            });
            return Err(DropReason::SpoofedSource);
        }
        let local = address.is_unicast_link_local();
        let learn = match heard {
            Heard::Uplink(id) => {
                let uplink = self.snapshot.uplink(id);
                let ipv6 = uplink.and_then(|uplink| uplink.ipv6.as_ref());
                let connected = ipv6.is_some_and(|ipv6| ipv6.is_connected(address));
                if !connected && !local {
                    return Ok(());
                }
                asks_for_us && connected
            }
            Heard::Segment(id, _) => {
                let Some(segment) = self.snapshot.segment(id) else {
                    return Err(DropReason::UnknownVni);
                };
                let Some(ipv6) = &segment.ipv6 else {
                    return Err(DropReason::Ipv6Disabled);
                };
                let inside = ipv6.prefix.contains(address);
                match ipv6.static_endpoints.get(&address) {
                    Some(fixed) if *fixed == location => return Ok(()),
                    Some(_) => return Err(DropReason::SpoofedSource),
                    None if !inside && !local => return Ok(()),
                    None => segment.learning && inside,
                }
            }
        };
        self.heard(heard.link(), address, location, learn);
        Ok(())
    }

    /// Answers a question for `target`, which is ours: to the asker, or, when it only probes for
    /// duplicates and has no address yet, to everybody.
    fn answer_solicitation(&mut self, heard: Heard, target: Ipv6Addr, said: &Said) -> bool {
        let Some(mac) = self.mac_on(heard) else {
            return false;
        };
        let solicited = !said.sender.is_unspecified();
        let envelope = if solicited {
            Envelope {
                ethernet_dst: said.station,
                mac,
                src: target,
                dst: said.sender,
            }
        } else {
            Envelope::to_group(mac, target, ndp::ALL_NODES)
        };
        self.say(
            heard,
            &Message::Advertisement { target, solicited },
            &envelope,
        )
    }

    /// Tells a host of a segment that we are its router.
    fn tell_of_us(&mut self, heard: Heard, said: &Said) -> bool {
        let Heard::Segment(id, _) = heard else {
            return false;
        };
        let Some(segment) = self.snapshot.segment(id) else {
            return false;
        };
        let (Some(ipv6), Some(router)) = (&segment.ipv6, segment.router_advertisement()) else {
            return false;
        };
        let dst = if said.sender.is_unspecified() {
            ndp::ALL_NODES
        } else {
            said.sender
        };
        let envelope = Envelope {
            ethernet_dst: said.station,
            mac: segment.mac,
            src: ipv6.link_local,
            dst,
        };
        self.say(heard, &Message::Router(router), &envelope)
    }

    fn mac_on(&self, heard: Heard) -> Option<MacAddr> {
        match heard {
            Heard::Uplink(id) => self.snapshot.uplink(id).map(|uplink| uplink.mac),
            Heard::Segment(id, _) => self.snapshot.segment(id).map(|segment| segment.mac),
        }
    }

    fn say(&mut self, heard: Heard, message: &Message, envelope: &Envelope) -> bool {
        let Some(mut mbuf) = self.pool.alloc() else {
            return false;
        };
        let Some(room) = mbuf.append(ndp::MAX_FRAME_LEN) else {
            return false;
        };
        let Ok(length) = message.write(envelope, room) else {
            return false;
        };
        mbuf.trim_back(ndp::MAX_FRAME_LEN - length);
        self.send_on_link(mbuf, heard);
        true
    }
}
