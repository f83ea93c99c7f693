//! What happens when something is used up: room kept for tenants, and who makes room first.
//!
//! Only a tenant's own half-open connections make room for its new sessions, and only connections
//! that have closed give up ports; a search for either looks at a bounded number of records.

use sekisho_types::VrfId;

use super::Engine;
use crate::policy::{Policy, Target};
use crate::refusal::Refusal;
use crate::session::Session;
use crate::tcp::TcpState;
use crate::time::Time;

/// Records looked at for one that expired, when a session is wanted and none is free.
const LAST_RESORT: u32 = 64;
/// Records looked at for one that may go first.
const SEARCH: u32 = 64;

impl Engine {
    /// Makes sure a tenant may have a session more, and that there is room for it: for once, another
    /// may have gone for it.
    #[inline(always)]
    pub(super) fn admit(&mut self, now: Time, vrf: VrfId) -> Result<(), Refusal> {
        self.check_limits(now, vrf)?;
        self.make_room(now, vrf)
    }

    /// Makes sure a tenant can store a session, at need by a short look for one that may go.
    #[inline(always)]
    fn make_room(&mut self, now: Time, vrf: VrfId) -> Result<(), Refusal> {
        if self.sessions.vacant() <= self.reserved {
            return self.find_room(now, vrf);
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn find_room(&mut self, now: Time, vrf: VrfId) -> Result<(), Refusal> {
        if self.has_room(vrf) {
            return Ok(());
        }
        self.age(now, LAST_RESORT);
        if self.has_room(vrf) || self.evict_half_open(vrf) {
            return Ok(());
        }
        Err(Refusal::SessionsFull)
    }

    /// Whether a tenant finds room beside what is kept for others.
    fn has_room(&self, vrf: VrfId) -> bool {
        let own = self.records.sessions(vrf);
        let kept = if own < self.policy.limits(vrf).reserved_sessions {
            0
        } else {
            self.reserved
        };
        self.sessions.vacant() > kept
    }

    /// Notes that a VRF has a session more.
    #[inline(always)]
    pub(super) fn count_session(&mut self, vrf: VrfId) {
        self.records.session_created(vrf);
        if self.policy.has_reserves()
            && self.records.sessions(vrf) <= self.policy.limits(vrf).reserved_sessions
        {
            self.reserved -= 1;
        }
    }

    /// Notes that a VRF has a session less.
    #[inline(always)]
    pub(super) fn uncount_session(&mut self, vrf: VrfId) {
        self.records.session_removed(vrf);
        self.settle_leases(vrf);
        if self.policy.has_reserves()
            && self.records.sessions(vrf) < self.policy.limits(vrf).reserved_sessions
        {
            self.reserved += 1;
        }
    }

    /// Gives back what a tenant has leased here and does not use.
    #[inline(always)]
    pub(super) fn settle_leases(&mut self, vrf: VrfId) {
        let limits = self.policy.limits(vrf);
        self.records.settle(self.policy.owners(), vrf, limits);
    }

    /// The room to be kept under a policy for VRFs that have less than their reserve.
    pub(super) fn unused_reserves(&self, policy: &Policy) -> usize {
        let unused =
            |&(vrf, kept): &(VrfId, u32)| kept.saturating_sub(self.records.sessions(vrf)) as usize;
        policy.reserved().iter().map(unused).sum()
    }

    /// Whether a tenant may have another session now. Those that expired count until a sweep, which
    /// passes eight times in a time-out, finds them.
    #[inline(always)]
    fn check_limits(&mut self, now: Time, vrf: VrfId) -> Result<(), Refusal> {
        let rate = self.policy.limits(vrf).new_sessions;
        if !self.may_have_session(vrf) {
            // The room of one that goes may be taken by another worker.
            let made_room =
                !self.has_too_many(vrf) && self.evict_half_open(vrf) && self.may_have_session(vrf);
            if !made_room {
                return Err(self.log_tenant_refusal(now, vrf, Refusal::TenantLimit));
            }
        }
        match rate {
            Some(rate) if !self.rates[vrf.index()].has_token(now, rate) => {
                Err(self.log_tenant_refusal(now, vrf, Refusal::TenantRate))
            }
            _ => Ok(()),
        }
    }

    #[inline(always)]
    fn may_have_session(&mut self, vrf: VrfId) -> bool {
        let most = self.policy.limits(vrf).sessions;
        most.is_none_or(|most| {
            let quota = &self.policy.owners().sessions;
            self.records.may_have_session(quota, vrf, most)
        })
    }

    /// Whether a tenant has more sessions than it may have by now.
    #[cold]
    fn has_too_many(&self, vrf: VrfId) -> bool {
        let most = self.policy.limits(vrf).sessions;
        most.is_some_and(|most| self.policy.owners().sessions.is_exceeded(vrf, most))
    }

    /// Removes the oldest connection of a tenant that is not yet open, of some records; whether there
    /// was one. A flood of SYNs so only replaces itself.
    #[cold]
    #[inline(never)]
    fn evict_half_open(&mut self, vrf: VrfId) -> bool {
        let half_open = |session: &Session| {
            session.is_tcp()
                && session.inside().vrf() == vrf
                && session.tcp().state() == TcpState::Opening
        };
        let clock = self.clock;
        let idle = |engine: &Self, number| clock.since(engine.sessions[number].last_seen());
        let oldest = self
            .next_records()
            .filter(|&number| half_open(&self.sessions[number]))
            .max_by_key(|&number| idle(self, number));
        self.move_search();
        let Some(oldest) = oldest else {
            return false;
        };
        self.remove_session(oldest);
        self.stats.evicted += 1;
        true
    }

    /// Ends sessions of connections that have closed, of some records, to get ports of a pool or
    /// uplink back.
    #[cold]
    #[inline(never)]
    pub(super) fn release_closed(&mut self, target: Target) {
        for number in self.next_records() {
            let session = &self.sessions[number];
            let closed = session.is_tcp()
                && session.mapping != 0
                && session.tcp().state() == TcpState::Closing
                && self.target_of(session.mapping) == target;
            if closed {
                self.remove_session(number);
                self.stats.evicted += 1;
            }
        }
        self.move_search();
    }

    /// The records such a search looks at now.
    fn next_records(&self) -> impl Iterator<Item = u32> + use<> {
        let end = self.sessions.end();
        let start = if self.search < end { self.search } else { 1 };
        let before = (start + SEARCH).saturating_sub(end).min(start - 1);
        (start..end.min(start + SEARCH)).chain(1..=before)
    }

    fn move_search(&mut self) {
        let end = self.sessions.end();
        let start = if self.search < end { self.search } else { 1 };
        let next = start + SEARCH;
        self.search = if next < end { next } else { 1 };
    }
}
