//! Which sessions may go on: aging, and what a change of policy does to them.

use super::Engine;
use crate::key::Word;
use crate::policy::Generation;
use crate::session::Session;
use crate::time::Time;

/// Where the sweep over the sessions stands.
pub(super) struct Sweep {
    /// The next record.
    at: u32,
    /// Where it stood when the policy last changed.
    started: u32,
    /// Whether it has come round to the first record since.
    round: bool,
    /// Every session was found valid by this generation or a later one.
    clean: Generation,
}

impl Sweep {
    pub(super) const fn new(clean: Generation) -> Self {
        Self {
            at: 1,
            started: 1,
            round: true,
            clean,
        }
    }

    /// Notes that all records are to be looked at again.
    pub(super) const fn restart(&mut self) {
        self.started = self.at;
        self.round = false;
    }

    /// The record to look at next, before `end`.
    const fn advance(&mut self, end: u32) -> u32 {
        if self.at >= end {
            self.at = 1;
            self.round = true;
        }
        self.at += 1;
        self.at - 1
    }

    /// Whether all records there were at the last restart have been looked at.
    const fn is_complete(&self) -> bool {
        self.round && self.at >= self.started
    }
}

impl Engine {
    /// Looks at `budget` session records, going round: removes the expired and those the policy
    /// does not allow any more. Returns how many went.
    ///
    /// To be called so often that all records are met within a fraction of the shortest time-out.
    /// An expired session is not used in any case, but holds its port until it is met.
    pub fn age(&mut self, now: Time, budget: u32) -> u32 {
        let mut gone = 0;
        let end = self.sessions.end();
        for _ in 0..budget.min(end) {
            let number = self.sweep.advance(end);
            let occupied = number < end && self.sessions[number].transport().is_some();
            if occupied && !self.is_live(now, number) {
                self.remove_session(number);
                gone += 1;
            }
        }
        if self.sweep.is_complete() || self.sessions.len() == 0 {
            self.sweep.clean = self.policy.generation();
        }
        gone
    }

    /// The oldest generation a session may still be of. Once it is `g` or later on every worker,
    /// nothing that `g` left out (a VRF, an outside address) is named by any session, and its number
    /// may be used for something else. Advanced by [`Self::age`].
    pub const fn drained(&self) -> Generation {
        self.sweep.clean
    }

    /// Whether a session may go on: neither expired nor disallowed. Remembers that the policy allows
    /// it.
    #[inline]
    pub(super) fn is_live(&mut self, now: Time, number: u32) -> bool {
        let session = &self.sessions[number];
        if self.rules.is_expired(now, session) {
            return false;
        }
        let generation = self.rules.generation;
        session.generation == generation || self.revalidate(number, generation)
    }

    /// [`Self::is_live`] without remembering.
    pub(super) fn would_live(&self, now: Time, session: &Session) -> bool {
        let current = session.generation == self.rules.generation;
        !self.rules.is_expired(now, session) && (current || self.allowed(session))
    }

    #[cold]
    fn revalidate(&mut self, number: u32, generation: u16) -> bool {
        let allowed = self.allowed(&self.sessions[number]);
        if allowed {
            self.sessions[number].generation = generation;
        }
        allowed
    }

    /// Whether the policy would still give a session its outside tuple.
    fn allowed(&self, session: &Session) -> bool {
        let Some(transport) = session.transport() else {
            return false;
        };
        if session.mapping != 0 {
            return self.mapping_allowed(session.mapping);
        }
        let forward = self
            .policy
            .forward(transport.protocol(), session.outside().tuple());
        forward.is_some_and(|forward| Word::inside(forward.vrf, forward.inside) == session.inside())
    }
}
