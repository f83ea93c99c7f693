//! Asking the NAT engine: from headers to its keys, from its answers to ways.

use std::net::{Ipv4Addr, SocketAddrV4};

use sekisho_nat::{FlowKey, Outbound, Refusal, TcpSegment};
use sekisho_packet::build::IcmpError;
use sekisho_types::{InterfaceId, VrfId};

use super::Worker;
use super::link::LogEntry;
use super::packet::{Header, Payload};
use super::route::Way;
use crate::drops::DropReason;

/// The inside of what came to an outside address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inside {
    pub(super) vrf: VrfId,
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
}

impl From<Refusal> for DropReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoMapping => Self::NatNoMapping,
            Refusal::Filtered => Self::NatFiltered,
            Refusal::Protocol => Self::NatProtocol,
            Refusal::NotSyn => Self::NatNotSyn,
            Refusal::SessionsFull => Self::NatSessionsFull,
            Refusal::TenantLimit => Self::NatTenantLimit,
            Refusal::TenantRate => Self::NatTenantRate,
            Refusal::TenantPorts => Self::NatTenantPorts,
            Refusal::HostLimit => Self::NatHostLimit,
            Refusal::HostSessions => Self::NatHostSessions,
            Refusal::HostRate => Self::NatHostRate,
            Refusal::PortsExhausted => Self::NatPortsExhausted,
            Refusal::NoUplinkAddress => Self::NatNoUplinkAddress,
            Refusal::Conflict => Self::NatConflict,
        }
    }
}

fn key_of(flow: &sekisho_packet::FlowKey) -> FlowKey {
    FlowKey {
        src: SocketAddrV4::new(flow.src, flow.sport),
        dst: SocketAddrV4::new(flow.dst, flow.dport),
        protocol: flow.proto,
    }
}

fn segment_of(header: &Header) -> TcpSegment {
    match header.payload {
        Payload::Tcp(segment) => segment,
        _ => TcpSegment::default(),
    }
}

impl Worker {
    /// What the source of a tenant's packet becomes: of an ICMP error, what the destination of the
    /// packet it quotes was outside.
    pub(super) fn translate_out(
        &mut self,
        vrf: VrfId,
        header: &Header,
        egress: Option<InterfaceId>,
    ) -> Result<(Ipv4Addr, u16), Way> {
        let refuse = |reason| Way::Refuse(reason, None);
        let now = self.nat_now();
        match header.payload {
            Payload::Fragment { .. } | Payload::EchoReply | Payload::Other => {
                return Err(refuse(DropReason::NatProtocol));
            }
            Payload::Later => {
                let outside = self.nat.known_outside(now, vrf, &key_of(&header.flow));
                let outside = outside.ok_or(refuse(DropReason::FragmentRefused))?;
                return Ok((*outside.ip(), outside.port()));
            }
            Payload::IcmpError(quoted) => {
                let outside = quoted
                    .and_then(|quoted| self.nat.error_from_inside(now, vrf, &key_of(&quoted)));
                let outside = outside.ok_or(refuse(DropReason::NatIcmpError))?;
                return Ok((*outside.ip(), outside.port()));
            }
            Payload::Tcp(_) | Payload::Udp | Payload::EchoRequest => {}
        }
        let egress = egress.unwrap_or(InterfaceId::new(u16::MAX));
        let key = key_of(&header.flow);
        match self
            .nat
            .outbound(now, vrf, &key, &segment_of(header), egress)
        {
            Ok(Outbound::Translated { source, session }) => {
                if let Some(session) = session {
                    self.nat.count_outbound(session, header.total_len);
                }
                Ok((*source.ip(), source.port()))
            }
            Ok(Outbound::Untranslated) => Err(refuse(DropReason::NotTranslated)),
            Err(refusal) => {
                let told = refusal.is_exhaustion();
                let error = told.then_some(IcmpError::AdministrativelyProhibited);
                Err(Way::Refuse(refusal.into(), error))
            }
        }
    }

    /// Whom a packet to a shared outside address is for.
    pub(super) fn translate_in(&mut self, header: &Header) -> Result<Inside, DropReason> {
        let now = self.nat_now();
        let target = match header.payload {
            Payload::IcmpError(quoted) => {
                let quoted = quoted.ok_or(DropReason::NatIcmpError)?;
                let target = self.nat.error_from_outside(now, &key_of(&quoted));
                Some(target.ok_or(DropReason::NatIcmpError)?)
            }
            Payload::Later => {
                let target = self.nat.known_inside(now, &key_of(&header.flow));
                Some(target.ok_or(DropReason::FragmentRefused)?)
            }
            _ => None,
        };
        if let Some(target) = target {
            return Ok(Inside {
                vrf: target.vrf,
                address: *target.inside.ip(),
                port: target.inside.port(),
            });
        }
        let inbound = self
            .nat
            .inbound(now, &key_of(&header.flow), &segment_of(header))?;
        if let Some(session) = inbound.session {
            self.nat.count_inbound(session, header.total_len);
        }
        Ok(Inside {
            vrf: inbound.vrf,
            address: *inbound.destination.ip(),
            port: inbound.destination.port(),
        })
    }

    /// Whether a flow from outside has a session: an error about its opposite would find it.
    pub(super) fn has_session_from(&self, flow: &sekisho_packet::FlowKey) -> bool {
        let opposite = key_of(&flow.reversed());
        let now = self.nat_now();
        self.nat.error_from_outside(now, &opposite).is_some()
    }

    /// Hands what happened in this turn to the translation log. What does not fit is lost and
    /// counted.
    pub(super) fn write_log(&mut self) {
        let (at_ns, counters) = (self.now_ns, &self.counters);
        let ring = &mut self.end.nat_log;
        self.nat.drain_log(|event| {
            counters.nat_log_events.add(1);
            if ring.push(LogEntry { at_ns, event }).is_err() {
                counters.nat_log_lost.add(1);
            }
        });
    }
}
