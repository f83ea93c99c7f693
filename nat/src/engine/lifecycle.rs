//! How sessions come and go.
//!
//! A session is in the index twice. Outbound it is filed by inside and remote tuple. Inbound, the
//! first from an outside tuple to a remote address is filed by that address alone, so that finding it
//! answers address-dependent filtering too; the others are filed by the whole remote tuple. All of
//! them form a ring, so that another can take the place of the first when that goes.

use super::Engine;
use crate::key::Word;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::table::{Full, Obstacle};
use crate::time::Time;

/// A session that is to be stored.
#[derive(Clone, Copy)]
pub(super) struct Order {
    pub(super) inside: Word,
    pub(super) peer: Word,
    pub(super) outside: Word,
    /// Its mapping; 0 for a port forward.
    pub(super) mapping: u32,
    pub(super) uplink: u16,
    /// Whether [`Engine::admit`] was asked.
    pub(super) admitted: bool,
    /// The hash of its outbound key.
    pub(super) outbound: u64,
    /// The hash of its outside tuple and the remote address.
    pub(super) toward: u64,
}

/// Where a session is in the index.
#[derive(Clone, Copy, Default)]
pub(super) struct Places {
    pub(super) outbound: u64,
    pub(super) inbound: u64,
    /// Whether the latter is by the remote address alone.
    pub(super) first: u8,
    /// Where its mapping is in its index, if that is known; else 0.
    pub(super) mapping: u64,
}

impl Engine {
    /// Stores a session, whose mapping counts it already. If that fails, the mapping counts it no
    /// more.
    #[inline(always)]
    pub(super) fn create_session(&mut self, now: Time, order: &Order) -> Result<u32, Refusal> {
        let vrf = order.inside.vrf();
        let admitted = if order.admitted {
            Ok(())
        } else {
            self.admit(now, vrf)
        };
        let stored = admitted.and_then(|()| self.store_session(now, order));
        if stored.is_ok() {
            let limits = self.policy.limits(vrf);
            if limits.new_sessions.is_some() {
                self.rates[vrf.index()].take();
            }
            if limits.host_new_sessions.is_some() && order.mapping != 0 {
                self.ports.spend(self.mappings[order.mapping].host);
            }
            self.count_session(vrf);
            self.stats.session_created(order.peer.transport());
            if self.ports.log.is_on() {
                self.log_session(&stored);
            }
        } else if order.mapping != 0 {
            self.unuse_mapping(order.mapping, 0);
        }
        stored
    }

    #[inline(always)]
    fn store_session(&mut self, now: Time, order: &Order) -> Result<u32, Refusal> {
        let &Order {
            inside,
            peer,
            outside,
            outbound,
            toward,
            ..
        } = order;
        let number = self.sessions.take().ok_or(Refusal::SessionsFull)?;
        let sessions = &self.sessions;
        let filed = self.index.insert_unless(outbound, number, |number| {
            sessions[number].is_outbound(inside, peer)
        });
        if let Err(obstacle) = filed {
            self.sessions.remove(number);
            return self.store_after(now, order, obstacle);
        }
        let sessions = &self.sessions;
        let filed = self.index.insert_unless(toward, number, |number| {
            sessions[number].is_toward(outside, peer)
        });
        let beside = match filed {
            Ok(()) => Ok(0),
            Err(Obstacle::Same(first)) => self.file_beside(first, number, order),
            Err(Obstacle::Full) => Err(Obstacle::Full),
        };
        let first = match beside {
            Ok(first) => first,
            Err(obstacle) => {
                self.index.remove(outbound, number);
                self.sessions.remove(number);
                return self.store_after(now, order, obstacle);
            }
        };
        let class = self.policy.class(inside, peer, order.mapping != 0);
        let session = &mut self.sessions[number];
        session.begin(inside, peer, outside, class);
        session.mapping = order.mapping;
        session.uplink = order.uplink;
        session.generation = self.rules.generation;
        session.last_seen = now.raw();
        session.filed_first = u8::from(first == 0);
        (session.next, session.previous) = (number, number);
        self.tallies.begin(number, now);
        if first != 0 {
            self.join_ring(first, number);
        }
        Ok(number)
    }

    /// Files a session inbound beside the first to its remote address, which it returns.
    #[inline(never)]
    fn file_beside(&mut self, first: u32, number: u32, order: &Order) -> Result<u32, Obstacle> {
        let (outside, peer) = (order.outside, order.peer);
        let inbound = self.inbound_hash(outside, peer);
        if let Some(rival) = self.find_beside(first, inbound, outside, peer) {
            return Err(Obstacle::Same(rival));
        }
        match self.index.insert(inbound, number) {
            Ok(()) => Ok(first),
            Err(Full) => Err(Obstacle::Full),
        }
    }

    /// Stores a session that met an obstacle, once a dead session in its place is gone.
    #[cold]
    #[inline(never)]
    fn store_after(
        &mut self,
        now: Time,
        order: &Order,
        obstacle: Obstacle,
    ) -> Result<u32, Refusal> {
        let Obstacle::Same(rival) = obstacle else {
            return Err(Refusal::SessionsFull);
        };
        self.evict(now, rival)?;
        self.store_session(now, order)
    }

    /// Removes a dead session that holds a key of a new one. A live one wins over it.
    #[cold]
    fn evict(&mut self, now: Time, rival: u32) -> Result<(), Refusal> {
        if self.is_live(now, rival) {
            return Err(Refusal::Conflict);
        }
        self.remove_session(rival);
        Ok(())
    }

    /// Puts a session into the ring of `first`.
    fn join_ring(&mut self, first: u32, number: u32) {
        let next = self.sessions[first].next;
        let record = &mut self.sessions[number];
        (record.next, record.previous) = (next, first);
        self.sessions[first].next = number;
        self.sessions[next].previous = number;
    }

    /// Where a session is in the index.
    #[inline]
    pub(super) fn places(&self, session: &Session) -> Places {
        let (outside, peer) = (session.outside(), session.peer());
        Places {
            outbound: self.outbound_hash(session.inside(), peer),
            first: session.filed_first,
            mapping: 0,
            inbound: if session.filed_first == 0 {
                self.inbound_hash(outside, peer)
            } else {
                self.toward_hash(outside, peer)
            },
        }
    }

    /// Removes a session and, if it was its last, its mapping.
    pub(super) fn remove_session(&mut self, number: u32) {
        let places = self.places(&self.sessions[number]);
        self.remove_session_at(number, places);
    }

    /// [`Self::remove_session`] whose places are known.
    #[inline]
    pub(super) fn remove_session_at(&mut self, number: u32, places: Places) {
        let session = &self.sessions[number];
        let (inside, transport) = (session.inside(), session.transport());
        let (mapping, alone) = (session.mapping, session.next == number);
        if session.logged != 0 {
            self.log_session_end(number);
        }
        self.index.remove(places.outbound, number);
        if alone {
            self.index.remove(places.inbound, number);
        } else {
            self.leave_ring(number, places.inbound);
        }
        self.sessions.remove(number);
        self.uncount_session(inside.vrf());
        self.stats.session_removed(transport);
        if mapping != 0 {
            self.unuse_mapping(mapping, places.mapping);
        }
    }

    /// Takes a session out of a ring of several, and out of its inbound place.
    #[inline(never)]
    fn leave_ring(&mut self, number: u32, inbound: u64) {
        let session = self.sessions[number];
        let heir = session.next;
        self.sessions[session.previous].next = heir;
        self.sessions[heir].previous = session.previous;
        if session.filed_first == 0 {
            self.index.remove(inbound, number);
            return;
        }
        let heirs_own = self.inbound_hash(session.outside(), self.sessions[heir].peer());
        self.index.remove(heirs_own, heir);
        self.index.replace(inbound, number, heir);
        self.sessions[heir].filed_first = 1;
    }
}
