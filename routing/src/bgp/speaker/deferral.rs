//! Announcements wait at start, so that nobody sends traffic before we can forward it.

use std::time::{Duration, Instant};

use super::Speaker;
use crate::bgp::peer::{Peer, Session};

/// Whether announcements wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deferral {
    /// They will, from the first configured neighbour on, that long at most.
    Before(Duration),
    /// They do, until then at most.
    Until(Instant),
    /// No more.
    Over,
}

impl Deferral {
    pub(super) const fn new(longest: Duration) -> Self {
        Self::Before(longest)
    }

    pub(super) const fn is_on(self) -> bool {
        !matches!(self, Self::Over)
    }

    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Until(end) => Some(end),
            Self::Before(_) | Self::Over => None,
        }
    }
}

impl Speaker {
    pub(super) fn begin_deferral(&mut self, now: Instant) {
        if let Deferral::Before(longest) = self.deferral
            && !self.peers.is_empty()
        {
            self.deferral = Deferral::Until(now + longest);
        }
    }

    /// Ends the deferral once every neighbour has told all it had and the forwarding tables have it
    /// (`forwarding`), or its time is over.
    pub(crate) fn review_deferral(&mut self, forwarding: bool, now: Instant) {
        let Deferral::Until(end) = self.deferral else {
            return;
        };
        let awaited = self.peers.values().filter(|peer| !peer.config.shutdown);
        let dumped = |peer: &Peer| peer.session.as_ref().is_some_and(Session::has_dumped);
        let complete = forwarding && self.dirty.is_empty() && awaited.clone().all(dumped);
        if complete || end <= now {
            tracing::info!(complete, "BGP announcements begin");
            self.deferral = Deferral::Over;
        }
    }
}
