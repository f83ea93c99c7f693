//! One TCP connection on its way to a session.

use std::time::{Duration, Instant};

use super::{ConnectionId, Negotiated, Side};
use crate::view::SessionState;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    OpenSent,
    OpenConfirm,
    Established { since: Instant },
}

impl Phase {
    pub(super) const fn state(self) -> SessionState {
        match self {
            Self::OpenSent => SessionState::OpenSent,
            Self::OpenConfirm => SessionState::OpenConfirm,
            Self::Established { .. } => SessionState::Established,
        }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) side: Side,
    pub(super) phase: Phase,
    pub(super) negotiated: Option<Negotiated>,
    /// Without a sign of life until then, the session is dead.
    hold: Option<Instant>,
    /// When to give a sign of life.
    keepalive: Option<Instant>,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, side: Side, hold: Instant) -> Self {
        Self {
            id,
            side,
            phase: Phase::OpenSent,
            negotiated: None,
            hold: Some(hold),
            keepalive: None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.hold.into_iter().chain(self.keepalive).min()
    }

    pub(super) fn up_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Established { since } => Some(since),
            _ => None,
        }
    }

    /// The neighbour's OPEN was acceptable. `pause` comes before our second KEEPALIVE.
    pub(super) fn confirm(&mut self, negotiated: Negotiated, pause: Duration, now: Instant) {
        self.keepalive = (!negotiated.hold_time.is_zero()).then(|| now + pause);
        self.negotiated = Some(negotiated);
        self.phase = Phase::OpenConfirm;
        self.heard(now);
    }

    /// The neighbour gave a sign of life.
    pub(super) fn heard(&mut self, now: Instant) {
        let hold_time = self.negotiated.as_ref().map(|n| n.hold_time);
        self.hold = hold_time
            .filter(|time| !time.is_zero())
            .map(|time| now + time);
    }

    pub(super) fn expired(&self, now: Instant) -> bool {
        self.hold.is_some_and(|hold| hold <= now)
    }

    pub(super) fn keepalive_due(&self, now: Instant) -> bool {
        self.keepalive.is_some_and(|due| due <= now)
    }

    pub(super) fn keepalive_interval(&self) -> Duration {
        let interval = self.negotiated.as_ref().map(Negotiated::keepalive_interval);
        interval.unwrap_or_default()
    }

    pub(super) fn keepalive_sent(&mut self, next: Instant) {
        self.keepalive = Some(next);
    }
}
