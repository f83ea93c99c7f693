//! How sessions and mappings come and go.

use super::Engine;
use crate::key::{Transport, Word};
use crate::policy::{Generation, SnatTarget, Target};
use crate::refusal::Refusal;
use crate::session::{Mapping, Session, uplink_mark};
use crate::tcp::TcpState;
use crate::time::Time;

/// Records looked at for one that expired, when a session is wanted and none is free.
const LAST_RESORT: u32 = 64;

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
        if self.is_expired(now, session) {
            return false;
        }
        let generation = self.generation().value() as u16;
        session.generation == generation || self.revalidate(number, generation)
    }

    /// [`Self::is_live`] without remembering.
    pub(super) fn would_live(&self, now: Time, session: &Session) -> bool {
        let current = session.generation == self.generation().value() as u16;
        !self.is_expired(now, session) && (current || self.allowed(session))
    }

    #[inline]
    fn is_expired(&self, now: Time, session: &Session) -> bool {
        let Some(transport) = session.transport() else {
            return true;
        };
        let established =
            transport == Transport::Tcp && session.tcp.state() == TcpState::Established;
        now.since(session.last_seen()) >= self.policy.timeout(transport, established)
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

    /// Whether the policy would still give a mapping its outside tuple.
    pub(super) fn mapping_allowed(&self, number: u32) -> bool {
        let mapping = &self.mappings[number];
        let (vrf, inside) = (mapping.inside().vrf(), mapping.inside().tuple());
        let target = self.ports.target(mapping.host);
        let by_rule = match self.policy.snat(vrf, *inside.ip()).map(|rule| rule.target) {
            Some(SnatTarget::Pool(pool)) => target == Target::pool(pool),
            Some(SnatTarget::Uplink) => target.is_uplink(),
            Some(SnatTarget::NoNat) | None => false,
        };
        let protocol = mapping.transport().protocol();
        by_rule
            && self.policy.floating_out(vrf, *inside.ip()).is_none()
            && self.policy.forward_back(vrf, protocol, inside).is_none()
            && self.policy.may_hand_out(mapping.outside_tuple(), target)
    }

    /// Makes sure a session can be stored, at need by a short look for an expired one.
    pub(super) fn make_room(&mut self, now: Time) -> Result<(), Refusal> {
        if self.sessions.is_full() {
            self.age(now, LAST_RESORT);
        }
        if self.sessions.is_full() {
            Err(Refusal::SessionsFull)
        } else {
            Ok(())
        }
    }

    /// The mapping of an inside tuple, made if there is none. A new one has no sessions yet.
    pub(super) fn mapping(
        &mut self,
        now: Time,
        inside: Word,
        transport: Transport,
        target: Target,
    ) -> Result<u32, Refusal> {
        if let Some(number) = self.find_mapping_inside(inside, transport, target) {
            if self.mapping_allowed(number) {
                return Ok(number);
            }
            self.detach_mapping(number);
        }
        if self.policy.addresses(target).is_empty() && target.is_uplink() {
            return Err(Refusal::NoUplinkAddress);
        }
        let lease = self.ports.allocate(
            now,
            &self.policy,
            inside.vrf(),
            inside.address(),
            target,
            transport,
        )?;
        let outside = Word::outside(lease.outside);
        let mut mapping = Mapping::new(inside, outside, transport);
        (mapping.host, mapping.block) = (lease.host, lease.block);
        let stored = self.mappings.insert(mapping);
        let inserted = stored.filter(|&number| self.file_mapping(number, target));
        if inserted.is_none() {
            if let Some(number) = stored {
                self.mappings.remove(number);
            }
            self.ports
                .free(lease.host, lease.block, transport, lease.outside.port());
        }
        inserted.ok_or(Refusal::SessionsFull)
    }

    /// Puts a mapping into the index, both ways; whether there was room.
    fn file_mapping(&mut self, number: u32, target: Target) -> bool {
        let mapping = self.mappings[number];
        let inside = self.mapping_inside_hash(mapping.inside(), mapping.transport(), target);
        let outside = self.mapping_outside_hash(mapping.outside(), mapping.transport());
        if self.mapping_index.insert(inside, number).is_err() {
            return false;
        }
        if self.mapping_index.insert(outside, number).is_err() {
            self.mapping_index.remove(inside, number);
            return false;
        }
        true
    }

    /// Takes a mapping out of the index. It keeps its port until its sessions are gone.
    fn detach_mapping(&mut self, number: u32) {
        let mapping = self.mappings[number];
        if mapping.detached == 0 {
            let target = self.ports.target(mapping.host);
            let inside = self.mapping_inside_hash(mapping.inside(), mapping.transport(), target);
            let outside = self.mapping_outside_hash(mapping.outside(), mapping.transport());
            self.mapping_index.remove(inside, number);
            self.mapping_index.remove(outside, number);
            self.mappings[number].detached = 1;
        }
    }

    /// Notes that one session less uses a mapping; the last one takes it along.
    fn unuse_mapping(&mut self, number: u32) {
        let mapping = &mut self.mappings[number];
        mapping.sessions = mapping.sessions.saturating_sub(1);
        if mapping.sessions == 0 {
            self.remove_mapping(number);
        }
    }

    fn remove_mapping(&mut self, number: u32) {
        self.detach_mapping(number);
        let mapping = self.mappings[number];
        self.mappings.remove(number);
        let port = mapping.outside().port();
        self.ports
            .free(mapping.host, mapping.block, mapping.transport(), port);
    }

    /// How sessions of a mapping name their uplink.
    pub(super) fn uplink_of(&self, mapping: u32) -> u16 {
        let target = self.ports.target(self.mappings[mapping].host);
        target.uplink_id().map_or(0, uplink_mark)
    }

    /// Stores a session. If that fails, a mapping it would have been the first of goes.
    pub(super) fn create_session(
        &mut self,
        now: Time,
        mut session: Session,
    ) -> Result<u32, Refusal> {
        session.generation = self.generation().value() as u16;
        session.last_seen = now.raw();
        if session.mapping != 0 {
            // Counted first, so that no removal on the way takes the mapping along.
            self.mappings[session.mapping].sessions += 1;
        }
        let stored = self
            .make_room(now)
            .and_then(|()| self.store_session(now, session));
        if stored.is_ok() {
            self.sessions_by_vrf[session.inside().vrf().index()] += 1;
            self.stats.session_created(&session);
        } else if session.mapping != 0 {
            self.unuse_mapping(session.mapping);
        }
        stored
    }

    fn store_session(&mut self, now: Time, session: Session) -> Result<u32, Refusal> {
        let (peer, outside) = (session.peer(), session.outside());
        self.evict_rivals(now, &session)?;
        let number = self.sessions.insert(session).ok_or(Refusal::SessionsFull)?;
        let outbound = self.outbound_hash(&session);
        if self.index.insert(outbound, number).is_err() {
            self.sessions.remove(number);
            return Err(Refusal::SessionsFull);
        }
        let first = self.find_toward(outside, peer);
        let hash = if first.is_some() {
            self.inbound_hash(outside, peer)
        } else {
            self.toward_hash(outside, peer)
        };
        if self.index.insert(hash, number).is_err() {
            self.index.remove(outbound, number);
            self.sessions.remove(number);
            return Err(Refusal::SessionsFull);
        }
        self.join_ring(first.unwrap_or(number), number);
        Ok(number)
    }

    /// Removes dead sessions that hold one of the keys of a new one. A live one wins over it.
    fn evict_rivals(&mut self, now: Time, session: &Session) -> Result<(), Refusal> {
        let (inside, peer, outside) = (session.inside(), session.peer(), session.outside());
        let same_inside = self.index.find(self.outbound_hash(session), |number| {
            self.sessions[number].is_outbound(inside, peer)
        });
        if let Some(rival) = same_inside {
            self.evict(now, rival)?;
        }
        let toward = self.find_toward(outside, peer);
        let same_outside = toward
            .filter(|&number| self.sessions[number].is_inbound(outside, peer))
            .or_else(|| {
                self.index.find(self.inbound_hash(outside, peer), |number| {
                    self.sessions[number].is_inbound(outside, peer)
                })
            });
        match same_outside {
            Some(rival) => self.evict(now, rival),
            None => Ok(()),
        }
    }

    fn evict(&mut self, now: Time, rival: u32) -> Result<(), Refusal> {
        if self.is_live(now, rival) {
            return Err(Refusal::Conflict);
        }
        self.remove_session(rival);
        Ok(())
    }

    /// Puts a session into the ring of `first`, which may be itself.
    fn join_ring(&mut self, first: u32, number: u32) {
        let next = if first == number {
            number
        } else {
            self.sessions[first].next
        };
        let record = &mut self.sessions[number];
        (record.next, record.previous) = (next, first);
        self.sessions[first].next = number;
        self.sessions[next].previous = number;
    }

    /// Removes a session and, if it was its last, its mapping.
    pub(super) fn remove_session(&mut self, number: u32) {
        let session = self.sessions[number];
        let (outside, peer) = (session.outside(), session.peer());
        self.index.remove(self.outbound_hash(&session), number);
        let heir = session.next;
        if heir != number {
            self.sessions[session.previous].next = session.next;
            self.sessions[session.next].previous = session.previous;
        }
        let inbound = self.inbound_hash(outside, peer);
        if !self.index.remove(inbound, number) {
            // It was filed as the first toward its remote address: another takes that place.
            let toward = self.toward_hash(outside, peer);
            if heir == number {
                self.index.remove(toward, number);
            } else {
                let heir_peer = self.sessions[heir].peer();
                self.index
                    .remove(self.inbound_hash(outside, heir_peer), heir);
                self.index.replace(toward, number, heir);
            }
        }
        self.sessions.remove(number);
        let vrf = session.inside().vrf().index();
        self.sessions_by_vrf[vrf] = self.sessions_by_vrf[vrf].saturating_sub(1);
        self.stats.session_removed(&session);
        if session.mapping != 0 {
            self.unuse_mapping(session.mapping);
        }
    }
}
