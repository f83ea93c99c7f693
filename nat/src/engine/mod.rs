//! The engine of one worker: the way of a packet through its sessions.

mod lifecycle;
mod lookup;
mod show;

#[cfg(test)]
mod model;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod threads;

use std::net::SocketAddrV4;
use std::sync::Arc;

use sekisho_mem::{HugeSlice, MapError};
use sekisho_types::{InterfaceId, VrfId, WorkerId};

pub use lookup::Probe;
pub use show::{Cursor, SessionFilter, SessionView, Stats};

use crate::key::{FlowKey, TcpSegment, Transport, Word};
use crate::policy::{Filtering, Generation, Policy, SnatTarget, Target};
use crate::ports::Ports;
use crate::refusal::Refusal;
use crate::seed::{HashKey, Seed};
use crate::session::{Mapping, Session, SessionId};
use crate::table::{Index, Slab};
use crate::tcp::{Effect, Side};
use crate::time::Time;

/// What an engine is made for.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Whose it is.
    pub worker: WorkerId,
    /// Most sessions at a time. Memory for them is mapped at once and committed as it is used:
    /// about 150 octets per session and mapping.
    pub max_sessions: u32,
    /// The secret of this boot; the same for all workers.
    pub seed: Seed,
}

/// What an outbound packet becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// Its source becomes this.
    Translated {
        /// The new source address and port (or ICMP identifier).
        source: SocketAddrV4,
        /// The session; `None` for a floating IP, which needs none.
        session: Option<SessionId>,
    },
    /// It goes on as it is: a rule says so, or none matches.
    Untranslated,
}

/// What an inbound packet becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The VRF it goes to.
    pub vrf: VrfId,
    /// The new destination address and port (or ICMP identifier).
    pub destination: SocketAddrV4,
    /// The session; `None` for a floating IP, which needs none.
    pub session: Option<SessionId>,
}

/// The inside of what an ICMP error from outside is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorTarget {
    /// The VRF the error goes to.
    pub vrf: VrfId,
    /// The new outer destination, and the new source of the embedded packet.
    pub inside: SocketAddrV4,
}

/// The NAT state of one worker. Single-threaded: it is owned, never shared. All memory is mapped
/// when it is made.
///
/// A packet between two hosts behind the gateway (hairpin, RFC 4787 REQ-9) is two translations:
/// [`Engine::outbound`] on the owner of its source, then, steered by its destination with the source
/// just got, [`Engine::inbound`] on the owner of that. For SNAT to an uplink the egress of such a
/// packet is the uplink whose address it is sent to.
pub struct Engine {
    policy: Arc<Policy>,
    key: HashKey,
    sessions: Slab<Session>,
    index: Index,
    mappings: Slab<Mapping>,
    mapping_index: Index,
    ports: Ports,
    sessions_by_vrf: HugeSlice<u32>,
    sweep: lifecycle::Sweep,
    stats: Stats,
}

impl Engine {
    /// An engine without sessions.
    ///
    /// # Errors
    /// When the kernel refuses the memory.
    pub fn new(config: EngineConfig, policy: Arc<Policy>) -> Result<Self, MapError> {
        let capacity = config.max_sessions;
        let mut random = config.seed.generator(config.worker);
        let key = HashKey::draw(&mut random);
        let owners = Arc::clone(policy.owners());
        Ok(Self {
            sessions: Slab::new(capacity)?,
            index: Index::new(capacity as usize * 2)?,
            mappings: Slab::new(capacity)?,
            mapping_index: Index::new(capacity as usize * 2)?,
            ports: Ports::new(config.worker, owners, capacity, random)?,
            sessions_by_vrf: HugeSlice::new(usize::from(u16::MAX) + 1)?,
            sweep: lifecycle::Sweep::new(policy.generation()),
            stats: Stats::default(),
            key,
            policy,
        })
    }

    /// The policy in force.
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Puts a policy in force. Sessions it does not allow any more go when a packet of theirs or
    /// [`Self::age`] meets them; the others go on. Returns the policy that was in force, to be
    /// dropped elsewhere.
    ///
    /// Policies of one engine share the [`crate::OutsideOwners`] of its first.
    pub fn set_policy(&mut self, policy: Arc<Policy>) -> Arc<Policy> {
        self.sweep.restart();
        std::mem::replace(&mut self.policy, policy)
    }

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
        if let Some(transport) = probe.transport
            && let Some(number) = self.find_outbound(probe)
        {
            let stale = self.sessions[number].left_by_another(egress);
            if !stale && self.is_live(now, number) {
                self.pass(now, number, transport, Side::Inside, tcp);
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
        let policy = Arc::clone(&self.policy);
        let inside = probe.local;
        let (vrf, tuple) = (inside.vrf(), inside.tuple());
        if let Some(outside) = policy.floating_out(vrf, *tuple.ip()) {
            return Ok(Outbound::Translated {
                source: SocketAddrV4::new(outside, tuple.port()),
                session: None,
            });
        }
        let forward = probe
            .transport
            .and_then(|transport| policy.forward_back(vrf, transport.protocol(), tuple));
        let rule = policy.snat(vrf, *tuple.ip());
        let target = match (forward, rule.map(|rule| rule.target)) {
            (Some(_), _) => None,
            (None, None | Some(SnatTarget::NoNat)) => return Ok(Outbound::Untranslated),
            (None, Some(SnatTarget::Pool(pool))) => Some(Target::pool(pool)),
            (None, Some(SnatTarget::Uplink)) => Some(Target::uplink(egress)),
        };
        let transport = probe.transport.ok_or(Refusal::Protocol)?;
        if transport == Transport::Tcp && !tcp.opens() {
            return Err(Refusal::NotSyn);
        }
        self.make_room(now)?;
        let (outside, mapping) = match (target, forward) {
            (Some(target), _) => {
                let filtering = rule.map_or_else(Filtering::default, |rule| rule.filtering);
                let mapping = self.mapping(now, inside, transport, target, filtering)?;
                (self.mappings[mapping].outside(), mapping)
            }
            (None, Some(forward)) => (Word::outside(forward), 0),
            (None, None) => return Ok(Outbound::Untranslated),
        };
        let mut session = Session::new(inside, probe.peer, outside);
        if mapping != 0 {
            session.mapping = mapping;
            session.uplink = self.uplink_of(mapping);
        }
        let number = self.create_session(now, session)?;
        self.pass(now, number, transport, Side::Inside, tcp);
        Ok(Outbound::Translated {
            source: outside.tuple(),
            session: Some(SessionId(number)),
        })
    }

    /// Translates a packet that was sent to an outside address.
    ///
    /// # Errors
    /// Names why the packet is to be dropped.
    pub fn inbound(
        &mut self,
        now: Time,
        key: &FlowKey,
        tcp: &TcpSegment,
    ) -> Result<Inbound, Refusal> {
        let probe = self.probe_inbound(key);
        self.inbound_probed(now, &probe, tcp)
    }

    /// [`Self::inbound`] of a packet whose key was probed before.
    ///
    /// # Errors
    /// Names why the packet is to be dropped.
    pub fn inbound_probed(
        &mut self,
        now: Time,
        probe: &Probe,
        tcp: &TcpSegment,
    ) -> Result<Inbound, Refusal> {
        if let Some(transport) = probe.transport
            && let Some(number) = self.find_inbound(probe)
        {
            if self.is_live(now, number) {
                self.pass(now, number, transport, Side::Outside, tcp);
                return Ok(self.inbound_of(number));
            }
            self.remove_session(number);
        }
        let result = self.inbound_miss(now, probe, tcp);
        self.count(result)
    }

    #[cold]
    fn inbound_miss(
        &mut self,
        now: Time,
        probe: &Probe,
        tcp: &TcpSegment,
    ) -> Result<Inbound, Refusal> {
        let policy = Arc::clone(&self.policy);
        let outside = probe.local.tuple();
        if let Some((vrf, inside)) = policy.floating_in(*outside.ip()) {
            return Ok(Inbound {
                vrf,
                destination: SocketAddrV4::new(inside, outside.port()),
                session: None,
            });
        }
        let transport = probe.transport.ok_or(Refusal::Protocol)?;
        let (inside, mapping) = match policy.forward(transport.protocol(), outside) {
            Some(forward) => (Word::inside(forward.vrf, forward.inside), 0),
            None => self.admitted(now, probe)?,
        };
        if transport == Transport::Tcp && !tcp.opens() {
            return Err(Refusal::NotSyn);
        }
        let mut session = Session::new(inside, probe.peer, probe.local);
        if mapping != 0 {
            session.mapping = mapping;
            session.uplink = self.uplink_of(mapping);
        }
        let number = self.create_session(now, session)?;
        self.pass(now, number, transport, Side::Outside, tcp);
        Ok(self.inbound_of(number))
    }

    /// The mapping that lets a packet without a session in, and its inside tuple.
    fn admitted(&mut self, now: Time, probe: &Probe) -> Result<(Word, u32), Refusal> {
        let mapping = self.find_mapping_outside(probe).ok_or(Refusal::NoMapping)?;
        let admits = match self.mappings[mapping].filtering() {
            Filtering::EndpointIndependent => self.mapping_allowed(mapping),
            Filtering::AddressDependent => self.has_session_toward(now, probe),
            Filtering::AddressAndPortDependent => false,
        };
        if admits {
            Ok((self.mappings[mapping].inside(), mapping))
        } else {
            Err(Refusal::Filtered)
        }
    }

    /// Finds the inside of what an ICMP error that came from outside is about, by the packet it
    /// embeds, as it stands there (its source is our outside tuple). Neither a timer nor a state
    /// changes (RFC 4787 REQ-12, RFC 5382 REQ-10, RFC 5508 REQ-6).
    pub fn error_from_outside(&self, now: Time, embedded: &FlowKey) -> Option<ErrorTarget> {
        if let Some((vrf, inside)) = self.policy.floating_in(*embedded.src.ip()) {
            return Some(ErrorTarget {
                vrf,
                inside: SocketAddrV4::new(inside, embedded.src.port()),
            });
        }
        let number = self.find_inbound(&self.probe_of_inbound(&embedded.reversed()))?;
        let session = &self.sessions[number];
        self.would_live(now, session).then(|| ErrorTarget {
            vrf: session.inside().vrf(),
            inside: session.inside().tuple(),
        })
    }

    /// Finds the outside tuple that stands for the destination of the packet an ICMP error from a
    /// tenant embeds: the new destination of that packet, and the new outer source if the error
    /// comes from that host itself. Neither a timer nor a state changes.
    pub fn error_from_inside(
        &self,
        now: Time,
        vrf: VrfId,
        embedded: &FlowKey,
    ) -> Option<SocketAddrV4> {
        let probe = self.probe_of_outbound(vrf, &embedded.reversed());
        if let Some(number) = self.find_outbound(&probe) {
            let session = &self.sessions[number];
            if self.would_live(now, session) {
                return Some(session.outside().tuple());
            }
        }
        let outside = self.policy.floating_out(vrf, *embedded.dst.ip())?;
        Some(SocketAddrV4::new(outside, embedded.dst.port()))
    }

    /// What every packet of a session does to it.
    #[inline]
    fn pass(
        &mut self,
        now: Time,
        number: u32,
        transport: Transport,
        from: Side,
        segment: &TcpSegment,
    ) {
        let session = &mut self.sessions[number];
        let fits =
            transport != Transport::Tcp || session.tcp.segment(from, segment) == Effect::Fits;
        let refreshes = match from {
            Side::Inside => true,
            Side::Outside => fits && self.policy.timers().inbound_refresh,
        };
        if refreshes {
            session.last_seen = now.raw();
        }
        self.stats.tcp_ignored += u64::from(!fits);
    }

    fn inbound_of(&self, number: u32) -> Inbound {
        let inside = self.sessions[number].inside();
        Inbound {
            vrf: inside.vrf(),
            destination: inside.tuple(),
            session: Some(SessionId(number)),
        }
    }

    fn count<T>(&mut self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        if let Err(refusal) = result {
            self.stats.refusals[refusal.index()] += 1;
        }
        result
    }

    fn generation(&self) -> Generation {
        self.policy.generation()
    }
}
