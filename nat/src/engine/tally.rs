//! Counting what sessions carry, where that is wanted.

use sekisho_mem::{HugeSlice, MapError};

use super::{Candidate, Engine, Probe};
use crate::session::SessionId;
use crate::tally::Tally;
use crate::tcp::Side;
use crate::time::Time;

/// A record for each session, if they are counted.
pub(super) struct Tallies(Option<HugeSlice<Tally>>);

impl Tallies {
    pub(super) fn new(counted: bool, capacity: u32) -> Result<Self, MapError> {
        let records = counted.then(|| HugeSlice::new(capacity as usize + 1));
        records.transpose().map(Self)
    }

    /// Notes that a session begins.
    #[inline(always)]
    pub(super) fn begin(&mut self, number: u32, now: Time) {
        if let Some(records) = &mut self.0
            && let Some(record) = records.get_mut(number as usize)
        {
            *record = Tally::begin(now);
        }
    }

    pub(super) fn get(&self, number: u32) -> Option<&Tally> {
        self.0.as_ref()?.get(number as usize)
    }

    /// Octets of records of sessions below `end`.
    pub(super) fn used_bytes(&self, end: u32) -> usize {
        self.0
            .as_ref()
            .map_or(0, |_| end as usize * size_of::<Tally>())
    }

    fn count(&mut self, id: SessionId, from: Side, octets: u16) {
        let record = self.0.as_mut().and_then(|all| all.get_mut(id.0 as usize));
        if let Some(record) = record {
            record.count(from, octets);
        }
    }
}

impl Engine {
    /// Whether it is counted what sessions carry.
    #[inline(always)]
    pub const fn counts_sessions(&self) -> bool {
        self.tallies.0.is_some()
    }

    /// Counts a packet of a session that left its tenant, of so many octets.
    #[inline]
    pub fn count_outbound(&mut self, session: SessionId, octets: u16) {
        self.tallies.count(session, Side::Inside, octets);
    }

    /// Counts a packet of a session that came from outside, of so many octets.
    #[inline]
    pub fn count_inbound(&mut self, session: SessionId, octets: u16) {
        self.tallies.count(session, Side::Outside, octets);
    }

    /// The session by which a packet that leaves a tenant was translated.
    #[inline]
    pub fn session_outbound(&self, candidate: Candidate, probe: &Probe) -> Option<SessionId> {
        let guess = self.sessions.get(candidate.number());
        let right = guess.is_some_and(|session| session.is_outbound(probe.local, probe.peer));
        let number = if right {
            Some(candidate.number())
        } else {
            self.find_outbound(probe)
        };
        number.map(SessionId)
    }

    /// The session by which a packet to an outside address was translated.
    #[inline]
    pub fn session_inbound(&self, candidate: Candidate, probe: &Probe) -> Option<SessionId> {
        let guess = self.sessions.get(candidate.number());
        let right = guess.is_some_and(|session| session.is_inbound(probe.local, probe.peer));
        let number = if right {
            Some(candidate.number())
        } else {
            self.find_inbound(probe)
        };
        number.map(SessionId)
    }
}
