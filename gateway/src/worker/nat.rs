//! Asking the NAT engine: from headers to its keys, from its answers to ways.

use std::net::{Ipv4Addr, SocketAddrV4};

use sekisho_nat::{Cursor, FlowKey, Outbound, Refusal, TcpSegment};
use sekisho_packet::build::IcmpError;
use sekisho_types::{InterfaceId, VrfId};

use super::Worker;
use super::link::{Command, Reply, SessionPage};
use super::packet::{Header, Payload};
use super::route::Way;
use crate::drops::DropReason;

/// Most session records looked at for a command in one turn.
const RECORDS: u32 = 1024;

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
            Refusal::HostLimit => Self::NatHostLimit,
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
            Payload::Fragment { .. } => return Err(refuse(DropReason::NatFragment)),
            Payload::EchoReply | Payload::Other => return Err(refuse(DropReason::NatProtocol)),
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
            Ok(Outbound::Translated { source, .. }) => Ok((*source.ip(), source.port())),
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
        if let Payload::IcmpError(quoted) = header.payload {
            let quoted = quoted.ok_or(DropReason::NatIcmpError)?;
            let target = self.nat.error_from_outside(now, &key_of(&quoted));
            let target = target.ok_or(DropReason::NatIcmpError)?;
            return Ok(Inside {
                vrf: target.vrf,
                address: *target.inside.ip(),
                port: target.inside.port(),
            });
        }
        let inbound = self
            .nat
            .inbound(now, &key_of(&header.flow), &segment_of(header))?;
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

    /// Serves one bounded piece of what the control task asked.
    pub(super) fn serve_commands(&mut self) {
        if self.clearing.is_none()
            && let Ok(command) = self.end.commands.pop()
        {
            match command {
                Command::ListSessions(page) => self.list_sessions(page),
                Command::ReadPools(mut pools) => {
                    for (pool, usage) in &mut pools {
                        *usage = self.nat.pool_usage(*pool);
                    }
                    let _ = self.end.replies.push(Reply::Pools(pools));
                }
                Command::ReadTenants(mut vrfs) => {
                    for (vrf, sessions) in &mut vrfs {
                        *sessions = self.nat.sessions_of_vrf(*vrf);
                    }
                    let _ = self.end.replies.push(Reply::Tenants(vrfs));
                }
                Command::ClearSessions(filter) => {
                    self.clearing = Some(Clearing {
                        filter,
                        cursor: Cursor::default(),
                        cleared: 0,
                    });
                }
            }
        }
        self.clear_sessions();
    }

    fn list_sessions(&mut self, mut page: SessionPage) {
        let now = self.nat_now();
        let room = page.sessions.capacity().saturating_sub(page.sessions.len());
        let cursor = page.cursor.unwrap_or_default();
        // Each record gives at most one view, so the page never grows.
        page.cursor = self
            .nat
            .snapshot(now, &page.filter, cursor, room as u32, &mut page.sessions);
        // One question is asked at a time: there is room for its answer.
        let _ = self.end.replies.push(Reply::Sessions(page));
    }

    fn clear_sessions(&mut self) {
        let Some(mut clearing) = self.clearing.take() else {
            return;
        };
        let (cleared, next) = self.nat.clear(&clearing.filter, clearing.cursor, RECORDS);
        clearing.cleared += u64::from(cleared);
        match next {
            Some(cursor) => {
                clearing.cursor = cursor;
                self.clearing = Some(clearing);
            }
            None => {
                let _ = self.end.replies.push(Reply::Cleared(clearing.cleared));
            }
        }
    }
}

/// Sessions being removed, a piece a turn.
#[derive(Debug)]
pub(super) struct Clearing {
    filter: sekisho_nat::SessionFilter,
    cursor: Cursor,
    cleared: u64,
}
