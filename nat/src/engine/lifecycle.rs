//! How sessions come and go.
//!
//! A session is in the index twice. Outbound it is filed by inside and remote tuple. Inbound, the
//! first from an outside tuple to a remote address is filed by that address alone, so that finding it
//! answers address-dependent filtering too; the others are filed by the whole remote tuple. All of
//! them form a ring, so that another can take the place of the first when that goes.

use super::Engine;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::time::Time;

/// Records looked at for one that expired, when a session is wanted and none is free.
const LAST_RESORT: u32 = 64;

impl Engine {
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
        self.sessions[number].filed_first = u8::from(first.is_none());
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
        self.sessions[session.previous].next = session.next;
        self.sessions[session.next].previous = session.previous;
        let toward = self.toward_hash(outside, peer);
        if session.filed_first == 0 {
            self.index.remove(self.inbound_hash(outside, peer), number);
        } else if heir == number {
            self.index.remove(toward, number);
        } else {
            let heirs_own = self.inbound_hash(outside, self.sessions[heir].peer());
            self.index.remove(heirs_own, heir);
            self.index.replace(toward, number, heir);
            self.sessions[heir].filed_first = 1;
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
