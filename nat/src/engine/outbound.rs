//! The way of a packet that leaves a tenant.

use std::net::{Ipv4Addr, SocketAddrV4};

use sekisho_types::{InterfaceId, VrfId};

use super::mappings::MappingKey;
use super::{Engine, Outbound, Probe};
use crate::key::{FlowKey, TcpSegment, Transport, Word};
use crate::policy::{SnatTarget, Target};
use crate::refusal::Refusal;
use crate::session::{Session, SessionId};
use crate::tcp::Side;
use crate::time::Time;

/// What the policy says of a source that has no session.
enum Plan {
    Untranslated,
    Floating(Ipv4Addr),
    Stateful(Stateful),
}

/// Where a new session gets its outside tuple.
enum Stateful {
    /// It is the outside tuple of the port forward to the source.
    Forward(SocketAddrV4),
    /// It is one of a pool or uplink.
    Share(Target),
}

/// What becomes of a packet without a session, before anything is made for it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Draft {
    /// It needs no session.
    Done(Outbound),
    /// It needs one with this outside tuple.
    Forward(SocketAddrV4),
    /// It needs one with an outside tuple of this mapping.
    Share(MappingKey),
}

impl Engine {
    /// Translates a packet that leaves a tenant. `tcp` is what a TCP segment says of itself; it is
    /// not looked at for other protocols. `egress` is the uplink the packet leaves by.
    ///
    /// # Errors
    /// Names why the packet is to be dropped.
    pub fn outbound(
        &mut self,
        now: Time,
        vrf: VrfId,
        key: &FlowKey,
        tcp: &TcpSegment,
        egress: InterfaceId,
    ) -> Result<Outbound, Refusal> {
        let probe = self.probe_outbound(vrf, key);
        self.outbound_probed(now, &probe, tcp, egress)
    }

    /// [`Self::outbound`] of a packet whose key was probed before.
    ///
    /// # Errors
    /// Names why the packet is to be dropped.
    pub fn outbound_probed(
        &mut self,
        now: Time,
        probe: &Probe,
        tcp: &TcpSegment,
        egress: InterfaceId,
    ) -> Result<Outbound, Refusal> {
        if let Some(number) = self.find_outbound(probe) {
            let stale = self.sessions[number].left_by_another(egress);
            if !stale && self.is_live(now, number) {
                self.pass(now, number, Side::Inside, tcp);
                let session = &self.sessions[number];
                return Ok(Outbound::Translated {
                    source: session.outside().tuple(),
                    session: Some(SessionId(number)),
                });
            }
            self.remove_session(number);
        }
        let result = self.outbound_miss(now, probe, tcp, egress);
        self.count(result)
    }

    #[cold]
    fn outbound_miss(
        &mut self,
        now: Time,
        probe: &Probe,
        tcp: &TcpSegment,
        egress: InterfaceId,
    ) -> Result<Outbound, Refusal> {
        match self.draft(probe, tcp, egress)? {
            Draft::Done(outbound) => Ok(outbound),
            Draft::Forward(outside) => {
                let session = Session::new(probe.local, probe.peer, Word::outside(outside));
                self.enter(now, probe, tcp, session)
            }
            Draft::Share(key) => {
                let session = self.reserve(now, probe, &key)?;
                self.enter(now, probe, tcp, session)
            }
        }
    }

    /// What becomes of a packet without a session, as far as nothing has to be made for it.
    #[inline]
    pub(super) fn draft(
        &self,
        probe: &Probe,
        tcp: &TcpSegment,
        egress: InterfaceId,
    ) -> Result<Draft, Refusal> {
        let inside = probe.local;
        let stateful = match self.plan(probe, egress) {
            Plan::Stateful(stateful) => stateful,
            Plan::Untranslated => return Ok(Draft::Done(Outbound::Untranslated)),
            Plan::Floating(outside) => {
                return Ok(Draft::Done(Outbound::Translated {
                    source: SocketAddrV4::new(outside, inside.port()),
                    session: None,
                }));
            }
        };
        let transport = probe.transport.ok_or(Refusal::Protocol)?;
        if transport == Transport::Tcp && !tcp.opens() {
            return Err(Refusal::NotSyn);
        }
        Ok(match stateful {
            Stateful::Forward(outside) => Draft::Forward(outside),
            Stateful::Share(target) => Draft::Share(self.mapping_key(inside, transport, target)),
        })
    }

    /// A session, not stored yet, with an outside tuple of a mapping, which counts it.
    #[inline]
    pub(super) fn reserve(
        &mut self,
        now: Time,
        probe: &Probe,
        key: &MappingKey,
    ) -> Result<Session, Refusal> {
        self.make_room(now)?;
        let mapping = self.use_mapping(now, key)?;
        let outside = self.outside_of(&self.mappings[mapping]);
        let mut session = Session::new(probe.local, probe.peer, outside);
        session.mapping = mapping;
        session.uplink = self.uplink_of(mapping);
        Ok(session)
    }

    /// Stores a session for the packet that asked for it.
    #[inline]
    pub(super) fn enter(
        &mut self,
        now: Time,
        probe: &Probe,
        tcp: &TcpSegment,
        session: Session,
    ) -> Result<Outbound, Refusal> {
        let number = self.create_session(now, session, probe.hash)?;
        self.pass(now, number, Side::Inside, tcp);
        Ok(Outbound::Translated {
            source: session.outside().tuple(),
            session: Some(SessionId(number)),
        })
    }

    /// What the policy says of a source that has no session.
    fn plan(&self, probe: &Probe, egress: InterfaceId) -> Plan {
        let (vrf, tuple) = (probe.local.vrf(), probe.local.tuple());
        if let Some(outside) = self.policy.floating_out(vrf, *tuple.ip()) {
            return Plan::Floating(outside);
        }
        let forward = probe
            .transport
            .and_then(|transport| self.policy.forward_back(vrf, transport.protocol(), tuple));
        if let Some(outside) = forward {
            return Plan::Stateful(Stateful::Forward(outside));
        }
        match self.policy.snat(vrf, *tuple.ip()).map(|rule| rule.target) {
            Some(SnatTarget::Pool(pool)) => Plan::Stateful(Stateful::Share(Target::pool(pool))),
            Some(SnatTarget::Uplink) => Plan::Stateful(Stateful::Share(Target::uplink(egress))),
            Some(SnatTarget::NoNat) | None => Plan::Untranslated,
        }
    }
}
