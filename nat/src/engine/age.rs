//! Which sessions may go on: aging, and what a change of policy does to them.

use super::Engine;
use super::removal::TOGETHER;
use crate::key::Word;
use crate::policy::Generation;
use crate::session::Session;
use crate::time::Time;

/// How often all records are met in the shortest time-out.
const ROUNDS: u32 = 8;
/// Most records looked at in a turn.
const MOST_IN_TURN: u32 = 1024;
/// Sessions gone after which a turn ends.
const MOST_GONE: u32 = 256;
/// Records looked at in each turn at least while a new policy has not met all.
const LEAST_AFTER_CHANGE: u32 = 256;
/// How many records ahead of the sweep are asked for.
const AHEAD: u32 = 24;

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
    /// When a worker last called.
    called: Time,
    /// Records to be met since, times the milliseconds of a round.
    owed: u64,
}

impl Sweep {
    pub(super) const fn new(clean: Generation) -> Self {
        Self {
            at: 1,
            started: 1,
            round: true,
            clean,
            called: Time::from_millis(0),
            owed: 0,
        }
    }

    /// Notes that all records are to be looked at again.
    pub(super) const fn restart(&mut self) {
        self.started = self.at;
        self.round = false;
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
    /// To be called so often that all records are met within a fraction of the shortest time-out;
    /// [`Self::age_in_turn`] sees to that. An expired session is not used in any case, but holds its
    /// port until it is met.
    pub fn age(&mut self, now: Time, budget: u32) -> u32 {
        let before = self.stats.removed;
        self.cool(now);
        self.age_up_to(now, budget, u32::MAX);
        (self.stats.removed - before) as u32
    }

    /// Looks at `budget` records, less if `most` have gone by then. Returns how many it looked at.
    fn age_up_to(&mut self, now: Time, budget: u32, most: u32) -> u32 {
        self.clock = now;
        let end = self.sessions.end();
        let budget = budget.min(end);
        let (mut seen, mut gone) = (0, 0);
        while seen < budget && gone < most {
            let slice = (budget - seen).min(TOGETHER as u32);
            gone += self.age_slice(now, slice, end);
            seen += slice;
        }
        if self.sweep.is_complete() || self.sessions.len() == 0 {
            self.sweep.clean = self.policy.generation();
        }
        seen
    }

    /// [`Self::age`] with a budget that follows from the time passed since the last call: all records
    /// are met in an eighth of the shortest time-out. A call looks at 1024 records at most, and stops
    /// when 256 have gone, which takes some 100 us; what is left is made up for by later calls.
    /// To be called by a worker on each turn. Returns how many went.
    pub fn age_in_turn(&mut self, now: Time) -> u32 {
        let round = u64::from((self.policy.timeouts().shortest() / ROUNDS).max(1));
        let end = u64::from(self.sessions.end());
        let passed = u64::from(now.since(self.sweep.called)).min(round);
        self.sweep.called = now;
        self.cool(now);
        self.sweep.owed = (self.sweep.owed + passed * end).min(round * end);
        let least = if self.sweep.is_complete() {
            0
        } else {
            LEAST_AFTER_CHANGE
        };
        let due = (self.sweep.owed / round).min(u64::from(MOST_IN_TURN)) as u32;
        let before = self.stats.removed;
        let seen = self.age_up_to(now, due.max(least), MOST_GONE);
        self.sweep.owed = self.sweep.owed.saturating_sub(u64::from(seen) * round);
        (self.stats.removed - before) as u32
    }

    /// [`Self::age`] of at most [`TOGETHER`] records, none of them twice.
    fn age_slice(&mut self, now: Time, slice: u32, end: u32) -> u32 {
        let mut dying = [0; TOGETHER];
        let mut count = 0;
        let mut next = self.sweep.at;
        for _ in 0..slice {
            if next >= end {
                next = 1;
                self.sweep.round = true;
            }
            let number = next;
            next += 1;
            self.sessions.prefetch(number + AHEAD);
            let Some(session) = self.sessions.get(number) else {
                continue;
            };
            let current = session.generation == self.rules.generation;
            let stays = session.is_free() | (!self.rules.is_expired(now, session) & current);
            if !stays && !self.is_live(now, number) {
                dying[count] = number;
                count += 1;
            }
        }
        self.sweep.at = next;
        // Only a table smaller than a slice comes round within one.
        let twice = end <= slice && count > 1 && dying[0] == dying[count - 1];
        let dying = &dying[..count - usize::from(twice)];
        self.remove_sessions(dying);
        dying.len() as u32
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
        // Its time-out may have changed with the policy.
        let current = self.sessions[number].generation == self.rules.generation;
        (current || self.revalidate(number)) && !self.rules.is_expired(now, &self.sessions[number])
    }

    /// [`Self::is_live`] without remembering.
    pub(super) fn would_live(&self, now: Time, session: &Session) -> bool {
        let current = session.generation == self.rules.generation;
        !self.rules.is_expired(now, &self.renewed(session)) && (current || self.allowed(session))
    }

    #[cold]
    fn revalidate(&mut self, number: u32) -> bool {
        let session = self.sessions[number];
        let allowed = self.allowed(&session);
        if allowed {
            let class = self.class_of(&session);
            self.sessions[number].renew(self.rules.generation, class);
            if session.mapping != 0 {
                self.follow_filter(session.mapping);
            }
        }
        allowed
    }

    /// A session as this policy sees it.
    pub(super) fn renewed(&self, session: &Session) -> Session {
        let mut renewed = *session;
        if session.generation != self.rules.generation {
            renewed.renew(self.rules.generation, self.class_of(session));
        }
        renewed
    }

    /// The class of a session under this policy, as long as it is not established.
    fn class_of(&self, session: &Session) -> u8 {
        let by_rule = session.mapping != 0;
        self.policy.class(session.inside(), session.peer(), by_rule)
    }

    /// Whether the policy would still give a session its outside tuple.
    fn allowed(&self, session: &Session) -> bool {
        let Some(transport) = session.transport() else {
            return false;
        };
        if session.mapping != 0 {
            return self.mapping_allowed(session.mapping) && self.rule_leads(session);
        }
        let forward = self
            .policy
            .forward(transport.protocol(), session.outside().tuple());
        forward.is_some_and(|forward| Word::inside(forward.vrf, forward.inside) == session.inside())
    }

    /// Whether the rule for a session's source and remote still leads to the pool or uplink it uses.
    fn rule_leads(&self, session: &Session) -> bool {
        let (inside, remote) = (session.inside(), session.peer().address());
        let rule = self.policy.snat(inside.vrf(), inside.address(), remote);
        let target = self.target_of(session.mapping);
        rule.is_some_and(|rule| target.is_of(rule.target))
    }
}
