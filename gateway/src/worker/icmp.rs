//! What the gateway itself says with ICMP: errors about packets it refuses, replies to pings of its
//! own addresses inside tenants.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;

use sekisho_packet::build::{self, IcmpError};
use sekisho_packet::{Ipv4, rewrite};
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
        let mut room = [0; IcmpError::MAX_LEN];
        if let Some((length, vrf)) = self.write_error(packet, error, &mut room) {
            self.tell(&room[..length], vrf);
        }
    }

    /// Writes an error about a packet into `room`, as much as it holds: its length, and the table by
    /// which its sender is reached. `None` if nothing may be said.
    pub(super) fn write_error(
        &self,
        packet: &Packet,
        error: IcmpError,
        room: &mut [u8],
    ) -> Option<(usize, VrfId)> {
        if !self.may_tell(packet.origin, error) {
            return None;
        }
        let (source, vrf) = self.speaker(packet)?;
        let offending = packet.mbuf.data();
        let allowed = Ipv4::new(offending).is_ok_and(|ip| IcmpError::is_allowed_about(&ip));
        if !allowed {
            return None;
        }
        let length = error.write(room, source, TTL, offending).ok()?;
        Some((length, vrf))
    }

    /// Sends an error that was written, if the budget of its VRF allows. Its identification tells
    /// nothing of other packets (RFC 6864 section 4.2).
    pub(super) fn tell(&mut self, error: &[u8], vrf: VrfId) {
        if !self.error_limiter.admit(self.now_ns, vrf) {
            return;
        }
        let Some(mut mbuf) = self.pool.alloc() else {
            return;
        };
        let Some(room) = mbuf.append(error.len()) else {
            return;
        };
        room.copy_from_slice(error);
        if rewrite::set_identification(room, self.identification_of(error)).is_err() {
            return;
        }
        if let Ok(answer) = Packet::new(mbuf, Origin::Gateway, vrf) {
            self.counters.originated.add(1);
            self.route(answer);
        }
    }

    /// An identification that nobody can guess who does not know the secret of this process.
    fn identification_of(&self, error: &[u8]) -> u16 {
        let mut hasher = DefaultHasher::new();
        (self.seed, self.now_ns, error).hash(&mut hasher);
        hasher.finish() as u16
    }

    /// Whether an interface lets an error out. What path MTU discovery lives on always goes.
    fn may_tell(&self, origin: Origin, error: IcmpError) -> bool {
        matches!(error, IcmpError::FragmentationNeeded { .. }) || self.lets_errors_out(origin)
    }

    /// Whether other errors go out where a packet came from (RFC 5508 REQ-9).
    pub(super) fn lets_errors_out(&self, origin: Origin) -> bool {
        let snapshot = &self.snapshot;
        match origin {
            Origin::Segment(id) => snapshot.segment(id).is_some_and(|own| own.icmp_errors),
            Origin::Uplink(id) => snapshot.uplink(id).is_some_and(|own| own.icmp_errors),
            Origin::Hairpin | Origin::Host | Origin::Gateway => true,
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
