//! What the gateway itself says with ICMPv6 (RFC 4443): errors about packets it refuses, replies to
//! pings of its own addresses inside tenants.

use std::net::Ipv6Addr;

use sekisho_packet::{Icmpv6Error, Ipv6, build6};
use sekisho_types::VrfId;

use super::Worker;
use super::packet::Origin;
use super::packet6::{Packet6, Payload6};
use crate::drops::DropReason;

/// Hop limit of what the gateway says.
const HOP_LIMIT: u8 = 64;

impl Worker {
    /// Drops a packet and tells its sender why, as far as that is allowed (RFC 4443 section 2.4)
    /// and not said too often.
    pub(super) fn refuse6(
        &mut self,
        packet: Packet6,
        reason: DropReason,
        error: Option<Icmpv6Error>,
    ) {
        if let Some(error) = error {
            self.send_error6(&packet, error);
        }
        self.drop(packet.mbuf, reason);
    }

    fn send_error6(&mut self, packet: &Packet6, error: Icmpv6Error) {
        if !self.may_tell6(packet.origin, error) {
            return;
        }
        let Some((source, vrf)) = self.speaker6(packet) else {
            return;
        };
        let allowed = Ipv6::new(packet.mbuf.data()).is_ok_and(|ip| error.is_allowed_about(&ip));
        if !allowed || !self.error_limiter.admit(self.now_ns, vrf) {
            return;
        }
        let Some(mut mbuf) = self.pool.alloc() else {
            return;
        };
        let Some(room) = mbuf.append(Icmpv6Error::MAX_LEN) else {
            return;
        };
        let Ok(length) = error.write(room, source, HOP_LIMIT, packet.mbuf.data()) else {
            return;
        };
        mbuf.trim_back(Icmpv6Error::MAX_LEN - length);
        if let Ok(answer) = Packet6::new(mbuf, Origin::Gateway, vrf) {
            self.counters.originated.add(1);
            self.route6(answer);
        }
    }

    /// Whether an interface lets an error out. What path MTU discovery lives on always goes.
    fn may_tell6(&self, origin: Origin, error: Icmpv6Error) -> bool {
        matches!(error, Icmpv6Error::PacketTooBig { .. }) || self.lets_errors_out(origin)
    }

    /// The address that speaks for the gateway where the packet came from, and the table by which
    /// its sender is reached (RFC 4443 section 2.2).
    fn speaker6(&self, packet: &Packet6) -> Option<(Ipv6Addr, VrfId)> {
        match packet.origin {
            Origin::Segment(id) => {
                let segment = self.snapshot.segment(id)?;
                Some((segment.ipv6.as_ref()?.gateway, segment.vrf))
            }
            Origin::Uplink(id) => {
                let ipv6 = self.snapshot.uplink(id)?.ipv6.as_ref()?;
                let source = ipv6.source_for(packet.header.flow.src)?;
                Some((source, VrfId::PROVIDER))
            }
            Origin::Hairpin | Origin::Host | Origin::Gateway => None,
        }
    }

    /// A packet is for one of the gateway's own addresses inside a tenant: pings are answered,
    /// everything else is refused.
    pub(super) fn answer_tenant6(&mut self, mut packet: Packet6) {
        match packet.header.payload {
            Payload6::EchoRequest => {
                if build6::echo_reply(packet.mbuf.data_mut(), HOP_LIMIT).is_err() {
                    return self.drop(packet.mbuf, DropReason::GatewayService);
                }
                let vrf = packet.vrf;
                match Packet6::new(packet.mbuf, Origin::Gateway, vrf) {
                    Ok(reply) => {
                        self.counters.answered.add(1);
                        self.counters.originated.add(1);
                        self.route6(reply);
                    }
                    Err((mbuf, reason)) => self.drop(mbuf, reason),
                }
            }
            Payload6::Udp => {
                let error = Some(Icmpv6Error::PortUnreachable);
                self.refuse6(packet, DropReason::GatewayService, error);
            }
            _ => self.refuse6(packet, DropReason::GatewayService, None),
        }
    }
}
