//! What sessions carry, where that is counted.
//!
//! A packet that a session translates may still turn out to be special, and is then counted where it
//! goes one by one. So its session is noted first, and counted once the packet is done.

use sekisho_nat::SessionId;

use super::mask::Mask;
use super::{LANES, Lanes};
use crate::worker::Worker;

/// The sessions of a burst.
pub(super) struct Noted {
    any: Mask,
    sessions: [Option<SessionId>; LANES],
}

impl Noted {
    pub(super) const NONE: Self = Self {
        any: Mask::NONE,
        sessions: [None; LANES],
    };

    /// Forgets the burst before.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.any = Mask::NONE;
    }

    fn add(&mut self, lane: usize, session: Option<SessionId>) {
        self.sessions[lane % LANES] = session;
        self.any.add(lane, session.is_some());
    }
}

impl Worker {
    /// Notes the sessions of the packets at these places that leave a tenant.
    #[cold]
    #[inline(never)]
    pub(super) fn note_outward(&self, lanes: &mut Lanes, places: Mask) {
        for place in places {
            let lane = lanes.outward.lane(place);
            if lanes.stateful.has(lane) && lanes.leaving.translated.has(lane) {
                let (candidate, probe) = (lanes.candidates[place], &lanes.probes[place]);
                let session = self.nat.session_outbound(candidate, probe);
                lanes.noted.add(lane, session);
            }
        }
    }

    /// Notes the sessions of the packets at these places that come from outside.
    #[cold]
    #[inline(never)]
    pub(super) fn note_inward(&self, lanes: &mut Lanes, places: Mask) {
        for place in places {
            let lane = lanes.inward.lane(place);
            let key = place.wrapping_sub(lanes.routed) % LANES;
            let (candidate, probe) = (lanes.candidates[key], &lanes.probes[key]);
            let session = self.nat.session_inbound(candidate, probe);
            lanes.noted.add(lane, session);
        }
    }

    /// Counts the packets that are done for the sessions that were noted.
    #[cold]
    #[inline(never)]
    pub(super) fn count_noted(&mut self, lanes: &Lanes) {
        for lane in lanes.done & lanes.noted.any {
            let Some(session) = lanes.noted.sessions[lane] else {
                continue;
            };
            let octets = lanes.total[lane];
            if lanes.is_outward(lane) {
                self.nat.count_outbound(session, octets);
            } else {
                self.nat.count_inbound(session, octets);
            }
        }
    }
}
