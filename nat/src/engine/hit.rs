//! The way of a packet whose session is there: straight ahead, no state but its session's.

use sekisho_types::{InterfaceId, VrfId};

use super::{Candidate, Engine, Probe};
use crate::key::{TcpSegment, Word};
use crate::policy::Policy;
use crate::session::{Session, SessionId, uplink_mark};
use crate::tcp::{Effect, Side, select};
use crate::time::Time;

/// What a packet with a session becomes, ready to be written: words as a little-endian store puts them
/// into the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The new address: of the source outbound, of the destination inbound.
    pub address_wire: u32,
    /// The new port, or ICMP identifier.
    pub port_wire: u16,
    /// The inside VRF.
    pub vrf: VrfId,
    /// The session.
    pub session: SessionId,
}

/// What decides whether a session may go on, beside its own record.
#[derive(Debug)]
pub(super) struct Rules {
    /// The low bits of the policy's generation.
    pub(super) generation: u16,
    inbound_refresh: bool,
    /// Idle time-outs in milliseconds, by class of session; below all idle times where there is no
    /// class, or a time-out of nothing.
    timeouts: [i32; 256],
}

impl Rules {
    pub(super) fn of(policy: &Policy) -> Self {
        // Times are told apart up to 24 days.
        let timeouts = policy.timeouts().by_class().map(|timeout| {
            let timeout = i32::try_from(timeout).unwrap_or(i32::MAX);
            if timeout == 0 { i32::MIN } else { timeout }
        });
        Self {
            generation: policy.generation().value() as u16,
            inbound_refresh: policy.timers().inbound_refresh,
            timeouts,
        }
    }

    /// Whether a session was idle for too long, or the record is free.
    #[inline(always)]
    pub(super) fn is_expired(&self, now: Time, session: &Session) -> bool {
        // Negative if it was last seen in the future.
        let idle = now.raw().wrapping_sub(session.last_seen) as i32;
        idle >= self.timeouts[usize::from(session.class())]
    }

    /// Whether a session was found valid under this policy, and uses no other uplink's address than
    /// that of `egress`.
    #[inline(always)]
    fn are_met(&self, session: &Session, egress: InterfaceId) -> bool {
        let differs = session.terms() ^ u32::from(self.generation);
        (differs == 0) | (differs == u32::from(uplink_mark(egress)) << 16)
    }
}

impl Session {
    /// What every packet does to its session; whether it fits the connection. `tcp` is there exactly if
    /// the session is TCP.
    #[inline(always)]
    pub(super) fn pass(
        &mut self,
        now: Time,
        from: Side,
        tcp: Option<&TcpSegment>,
        rules: &Rules,
    ) -> bool {
        debug_assert_eq!(tcp.is_some(), self.is_tcp());
        let fits = tcp.is_none_or(|tcp| self.follow(from, tcp) == Effect::Fits);
        let refreshes = match from {
            Side::Inside => true,
            Side::Outside => fits & rules.inbound_refresh,
        };
        self.last_seen = select(refreshes, now.raw(), self.last_seen);
        fits
    }
}

impl Engine {
    /// Translates a packet that leaves a tenant, if it has a session that may go on: then it does
    /// what [`Self::outbound_probed`] does. Else `None`, and nothing has changed: that packet goes
    /// through [`Self::outbound_probed`]. `tcp` is there exactly if the packet is TCP. `candidate` is what
    /// [`Self::prefetch_burst`] said; a wrong one costs a search, and none is believed: a session made
    /// since then is found the long way.
    #[inline(always)]
    pub fn hit_outbound(
        &mut self,
        now: Time,
        candidate: Candidate,
        probe: &Probe,
        tcp: Option<&TcpSegment>,
        egress: InterfaceId,
    ) -> Option<Hit> {
        let mut number = candidate.number();
        let session = match self.sessions.get_mut(number) {
            Some(session) if session.is_outbound(probe.local, probe.peer) => session,
            _ if candidate == Candidate::NONE => return None,
            _ => {
                number = self.search_outbound(probe)?;
                &mut self.sessions[number]
            }
        };
        if self.rules.is_expired(now, session) | !self.rules.are_met(session, egress) {
            return None;
        }
        let fits = session.pass(now, Side::Inside, tcp, &self.rules);
        self.stats.note_fit(fits);
        let vrf = session.inside().vrf();
        Some(Hit::new(number, session.outside(), vrf))
    }

    /// Translates a packet that was sent to an outside address, if it has a session that may go on:
    /// then it does what [`Self::inbound_probed`] does. Else `None`, and nothing has changed: that
    /// packet goes through [`Self::inbound_probed`].
    #[inline(always)]
    pub fn hit_inbound(
        &mut self,
        now: Time,
        candidate: Candidate,
        probe: &Probe,
        tcp: Option<&TcpSegment>,
    ) -> Option<Hit> {
        let mut number = candidate.number();
        let session = match self.sessions.get_mut(number) {
            Some(session) if session.is_inbound(probe.local, probe.peer) => session,
            _ if candidate == Candidate::NONE => return None,
            _ => {
                number = self.search_inbound(probe)?;
                &mut self.sessions[number]
            }
        };
        let current = session.generation == self.rules.generation;
        if self.rules.is_expired(now, session) | !current {
            return None;
        }
        let fits = session.pass(now, Side::Outside, tcp, &self.rules);
        self.stats.note_fit(fits);
        let inside = session.inside();
        Some(Hit::new(number, inside, inside.vrf()))
    }

    #[cold]
    #[inline(never)]
    fn search_outbound(&self, probe: &Probe) -> Option<u32> {
        self.find_outbound(probe)
    }

    #[cold]
    #[inline(never)]
    fn search_inbound(&self, probe: &Probe) -> Option<u32> {
        self.find_inbound(probe)
    }
}

impl Hit {
    #[inline(always)]
    fn new(number: u32, new: Word, vrf: VrfId) -> Self {
        Self {
            address_wire: new.address_wire(),
            port_wire: new.port_wire(),
            vrf,
            session: SessionId(number),
        }
    }
}
