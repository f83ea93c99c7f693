//! What the gateway itself says with ICMP: errors about packets it refuses, replies to pings of its
//! own addresses inside tenants.

use std::net::Ipv4Addr;

use sekisho_packet::Ipv4;
use sekisho_packet::build::{self, IcmpError};
use sekisho_types::VrfId;

use super::Worker;
use super::packet::{Origin, Packet, Payload, Rewrite};
use crate::drops::DropReason;

/// Time to live of what the gateway says.
const TTL: u8 = 64;

impl Worker {
    /// Drops a packet and tells its sender why, as far as that is allowed (RFC 1812 section
    /// 4.3.2.7) and not said too often.
    pub(super) fn refuse(&mut self, packet: Packet, reason: DropReason, error: Option<IcmpError>) {
        if let Some(error) = error {
            self.send_error(&packet, error);
        }
        self.drop(packet.mbuf, reason);
    }

    fn send_error(&mut self, packet: &Packet, error: IcmpError) {
        let Some((source, vrf)) = self.speaker(packet) else {
            return;
        };
        let allowed =
            Ipv4::new(packet.mbuf.data()).is_ok_and(|ip| IcmpError::is_allowed_about(&ip));
        if !allowed || !self.error_limiter.admit(self.now_ns, vrf) {
            return;
        }
        let Some(mut mbuf) = self.pool.alloc() else {
            return;
        };
        let Some(room) = mbuf.append(IcmpError::MAX_LEN) else {
            return;
        };
        let Ok(length) = error.write(room, source, TTL, packet.mbuf.data()) else {
            return;
        };
        mbuf.trim_back(IcmpError::MAX_LEN - length);
        if let Ok(answer) = Packet::new(mbuf, Origin::Gateway, vrf) {
            self.counters.originated.add(1);
            self.route(answer);
        }
    }

    /// The address that speaks for the gateway where the packet came from, and the table by which
    /// its sender is reached (RFC 1812 section 4.3.2.4).
    fn speaker(&self, packet: &Packet) -> Option<(Ipv4Addr, VrfId)> {
        match packet.origin {
            Origin::Segment(id) => {
                let segment = self.snapshot.segment(id)?;
                Some((segment.gateway, segment.vrf))
            }
            Origin::Uplink(id) => {
                let uplink = self.snapshot.uplink(id)?;
                let source = uplink.source_for(packet.header.flow.src)?;
                Some((source, VrfId::PROVIDER))
            }
            Origin::Hairpin => {
                let uplink = self.snapshot.uplinks.iter().flatten().next()?;
                Some((uplink.addresses.first()?.0, VrfId::PROVIDER))
            }
            Origin::Host | Origin::Gateway => None,
        }
    }

    /// A tenant's packet is for one of the gateway's own addresses inside the tenant: pings are
    /// answered, everything else is refused.
    pub(super) fn answer_tenant(&mut self, mut packet: Packet) {
        if packet.rewrite != Rewrite::None {
            // From outside, by a translation that leads to the gateway itself.
            return self.refuse(packet, DropReason::GatewayService, None);
        }
        match packet.header.payload {
            Payload::EchoRequest => {
                if build::echo_reply(packet.mbuf.data_mut(), TTL).is_err() {
                    return self.drop(packet.mbuf, DropReason::MalformedTransport);
                }
                let vrf = packet.vrf;
                match Packet::new(packet.mbuf, Origin::Gateway, vrf) {
                    Ok(reply) => {
                        self.counters.answered.add(1);
                        self.counters.originated.add(1);
                        self.route(reply);
                    }
                    Err((mbuf, reason)) => self.drop(mbuf, reason),
                }
            }
            Payload::Udp => {
                let error = Some(IcmpError::PortUnreachable);
                self.refuse(packet, DropReason::GatewayService, error);
            }
            _ => self.refuse(packet, DropReason::GatewayService, None),
        }
    }
}
