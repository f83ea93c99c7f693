//! The way of a packet that leaves a tenant.

use std::net::{Ipv4Addr, SocketAddrV4};

use sekisho_types::{InterfaceId, VrfId};

use super::lifecycle::Order;
use super::{Engine, Outbound, Probe};
use crate::key::{FlowKey, TcpSegment, Transport, Word};
use crate::policy::{MappingMode, SnatTarget, Target, Tenant};
use crate::refusal::Refusal;
use crate::session::SessionId;
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
    Share(Share),
}

/// What a rule gives a source ports of, and how.
#[derive(Clone, Copy)]
struct Share {
    target: Target,
    mode: MappingMode,
}

impl Share {
    /// The pool or uplink, if an inside tuple keeps its port.
    fn kept(self) -> Option<Target> {
        (self.mode == MappingMode::EndpointIndependent).then_some(self.target)
    }
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
        self.count_for(probe.local.vrf(), result)
    }

    #[cold]
    fn outbound_miss(
        &mut self,
        now: Time,
        probe: &Probe,
        tcp: &TcpSegment,
        egress: InterfaceId,
    ) -> Result<Outbound, Refusal> {
        self.clock = now;
        let inside = probe.local;
        let stateful = match self.plan(probe, egress) {
            Plan::Stateful(stateful) => stateful,
            Plan::Untranslated => return Ok(Outbound::Untranslated),
            Plan::Floating(outside) => {
                return Ok(Outbound::Translated {
                    source: SocketAddrV4::new(outside, inside.port()),
                    session: None,
                });
            }
        };
        let transport = probe.transport().ok_or(Refusal::Protocol)?;
        if transport == Transport::Tcp && !tcp.opens() {
            return Err(Refusal::NotSyn);
        }
        self.admit(now, inside.vrf())?;
        let (outside, mapping, uplink) = match stateful {
            Stateful::Forward(outside) => (Word::outside(outside), 0, 0),
            Stateful::Share(Share { target, mode }) => {
                let key = self.mapping_key(inside, transport, target);
                let used = match mode {
                    MappingMode::EndpointIndependent => self.use_mapping(now, &key, 0)?,
                    MappingMode::EndpointDependent => {
                        let used = self.use_own_mapping(now, &key, probe.peer)?;
                        self.add_session_to(used.mapping);
                        if self.ports.log.is_on() {
                            self.log_mapping(used.mapping);
                        }
                        used
                    }
                };
                (used.outside, used.mapping, key.uplink())
            }
        };
        let order = Order {
            inside,
            peer: probe.peer,
            outside,
            mapping,
            uplink,
            admitted: true,
            outbound: probe.hash,
            toward: self.toward_hash(outside, probe.peer),
        };
        self.enter(now, tcp, &order)
    }

    /// The pool or uplink a packet without a session needs a port of, to be kept by its inside tuple,
    /// if that is what it needs and may have.
    #[inline(always)]
    pub(super) fn target_of_new(
        &self,
        probe: &Probe,
        tcp: &TcpSegment,
        egress: InterfaceId,
    ) -> Option<Target> {
        if probe.transport() == Some(Transport::Tcp) && !tcp.opens() {
            return None;
        }
        let tenant = self.policy.tenant(probe.local.vrf())?;
        if tenant.has_rules_only() {
            return share(tenant, probe, egress)?.kept();
        }
        match self.plan(probe, egress) {
            Plan::Stateful(Stateful::Share(share)) => share.kept(),
            _ => None,
        }
    }

    /// Stores a session for the packet that asked for it.
    #[inline(always)]
    pub(super) fn enter(
        &mut self,
        now: Time,
        tcp: &TcpSegment,
        order: &Order,
    ) -> Result<Outbound, Refusal> {
        let number = self.create_session(now, order)?;
        if order.peer.transport() == Some(Transport::Tcp) {
            self.pass(now, number, Side::Inside, tcp);
        }
        Ok(Outbound::Translated {
            source: order.outside.tuple(),
            session: Some(SessionId(number)),
        })
    }

    /// What the policy says of a source that has no session.
    fn plan(&self, probe: &Probe, egress: InterfaceId) -> Plan {
        let (vrf, address) = (probe.local.vrf(), probe.local.address());
        let Some(tenant) = self.policy.tenant(vrf) else {
            return Plan::Untranslated;
        };
        if let Some(outside) = self.policy.floating_of(tenant, vrf, address) {
            return Plan::Floating(outside);
        }
        let forward = probe.transport().and_then(|transport| {
            let (protocol, tuple) = (transport.protocol(), probe.local.tuple());
            self.policy.forward_back_of(tenant, vrf, protocol, tuple)
        });
        if let Some(outside) = forward {
            return Plan::Stateful(Stateful::Forward(outside));
        }
        match share(tenant, probe, egress) {
            Some(share) => Plan::Stateful(Stateful::Share(share)),
            None => Plan::Untranslated,
        }
    }
}

/// The pool or uplink the SNAT rules give a source a port of.
#[inline(always)]
fn share(tenant: &Tenant, probe: &Probe, egress: InterfaceId) -> Option<Share> {
    let rule = tenant.snat(probe.local.address(), probe.peer.address())?;
    let target = match rule.target {
        SnatTarget::Pool(pool) => Target::pool(pool),
        SnatTarget::Uplink => Target::uplink(egress),
        SnatTarget::NoNat => return None,
    };
    Some(Share {
        target,
        mode: rule.mapping,
    })
}
