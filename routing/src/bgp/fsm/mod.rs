//! The session state machine (RFC 4271 section 8), without sockets or clocks: events and the time
//! go in, actions come out.
//!
//! One [`Fsm`] per neighbour holds up to two connections, one opened by each side, until the
//! collision is resolved (RFC 4271 section 6.8). Timers are deadlines: whoever drives the machine
//! sends [`Event::Tick`] once [`Fsm::deadline`] has passed.

mod backoff;
mod connection;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use sekisho_types::Asn;

pub use self::backoff::Backoff;
use self::connection::{Connection, Phase};
use super::Family;
use super::codec::{Capabilities, Message, Notification, Open, Update};
use crate::view::SessionState;

/// What a session is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our AS.
    pub local_as: Asn,
    /// Our BGP identifier.
    pub router_id: Ipv4Addr,
    /// The AS the neighbour must have.
    pub remote_as: Asn,
    /// Hold time we propose, in seconds: 0 or at least 3.
    pub hold_time: u16,
    /// First pause between attempts to connect.
    pub connect_retry: Duration,
    /// Never connect, only be connected to.
    pub passive: bool,
}

impl Config {
    /// Whether the neighbour is of our own AS.
    pub fn internal(&self) -> bool {
        self.local_as == self.remote_as
    }
}

/// A TCP connection, numbered by whoever opens it; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We did.
    Outgoing,
    /// The neighbour did.
    Incoming,
}

/// What happens to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Begin: connect, and accept connections.
    Start,
    /// End, telling why; nothing happens any more until [`Event::Start`].
    Stop(Notification),
    /// Begin anew, telling why the present session ends.
    Reset(Notification),
    /// A TCP connection is up.
    Connected(ConnectionId, Side),
    /// The attempt asked for by [`Action::Connect`] failed.
    ConnectFailed(String),
    /// A message came.
    Received(ConnectionId, Message),
    /// Octets came that are no message; this is the answer.
    Malformed(ConnectionId, Notification),
    /// The connection is gone.
    Closed(ConnectionId, String),
    /// Time has passed.
    Tick,
}

/// What to do about it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a TCP connection.
    Connect,
    /// Give up opening it.
    AbortConnect,
    /// Send a message.
    Send(ConnectionId, Outgoing),
    /// Close the connection after what was sent on it.
    Close(ConnectionId),
    /// The session is up: routes may flow.
    Up(ConnectionId, Negotiated),
    /// Routes changed.
    Update(Update),
    /// The neighbour asks for all routes again.
    Refresh(Family),
    /// The neighbour said KEEPALIVE in an established session.
    Alive,
    /// The session is down, or did not come up. Routes of an established session are void.
    Down(Ended),
}

/// A message the machine itself sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// OPEN.
    Open,
    /// KEEPALIVE.
    Keepalive,
    /// NOTIFICATION.
    Notification(Notification),
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// We ended it.
    #[error("sent notification {0}")]
    Sent(Notification),
    /// The neighbour ended it.
    #[error("received notification {0}")]
    Received(Notification),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The connection could not be opened.
    #[error("cannot connect: {0}")]
    Unreachable(String),
}

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The lesser hold time; zero: the session needs no keepalives.
    pub hold_time: Duration,
    /// The neighbour's BGP identifier.
    pub router_id: Ipv4Addr,
    /// The neighbour's capabilities.
    pub capabilities: Capabilities,
}

impl Negotiated {
    fn new(proposed: u16, open: &Open) -> Self {
        Self {
            hold_time: Duration::from_secs(proposed.min(open.hold_time).into()),
            router_id: open.router_id,
            capabilities: open.capabilities.clone(),
        }
    }

    /// A third of the hold time (RFC 4271 section 10).
    pub fn keepalive_interval(&self) -> Duration {
        self.hold_time / 3
    }
}

/// Hold time until the neighbour's OPEN proposes one (RFC 4271 section 8.2.2 suggests 4 minutes).
const OPEN_HOLD: Duration = Duration::from_secs(240);

/// A session that lasted that long starts again without a growing pause.
const STABLE: Duration = Duration::from_secs(30);

/// How long one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The session with one neighbour.
#[derive(Debug)]
pub struct Fsm {
    config: Config,
    running: bool,
    /// An attempt to connect is under way until then.
    attempt: Option<Instant>,
    /// The next attempt starts then.
    retry: Option<Instant>,
    backoff: Backoff,
    connections: Vec<Connection>,
}

impl Fsm {
    /// A session at rest. `seed` makes its jitter differ from others'.
    pub fn new(config: Config, seed: u64) -> Self {
        let backoff = Backoff::new(config.connect_retry, seed);
        Self {
            config,
            running: false,
            attempt: None,
            retry: None,
            backoff,
            connections: Vec::with_capacity(2),
        }
    }

    /// What it was made of.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The state as RFC 4271 names it.
    pub fn state(&self) -> SessionState {
        let connections = self.connections.iter().map(|c| c.phase.state());
        match connections.max() {
            Some(state) => state,
            None if !self.running => SessionState::Idle,
            None if self.attempt.is_some() => SessionState::Connect,
            None => SessionState::Active,
        }
    }

    /// When the next attempt to connect starts.
    pub fn next_attempt(&self) -> Option<Instant> {
        self.retry
    }

    /// When [`Event::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let connections = self.connections.iter().filter_map(Connection::deadline);
        connections.chain(self.attempt).chain(self.retry).min()
    }

    /// Takes one event at `now`; appends what to do.
    pub fn handle(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        match event {
            Event::Start => self.start(now, actions),
            Event::Stop(reason) => {
                self.running = false;
                self.end_all(&reason, actions);
            }
            Event::Reset(reason) => {
                self.end_all(&reason, actions);
                self.backoff.reset();
                self.schedule(now);
            }
            Event::Connected(id, side) => self.connected(id, side, now, actions),
            Event::ConnectFailed(reason) => {
                if self.attempt.take().is_some() {
                    self.failed(Ended::Unreachable(reason), now, actions);
                }
            }
            Event::Received(id, message) => self.received(id, message, now, actions),
            Event::Malformed(id, answer) => self.end(id, answer, now, actions),
            Event::Closed(id, reason) => {
                if self.forget(id, now) {
                    self.failed(Ended::Lost(reason), now, actions);
                }
            }
            Event::Tick => self.tick(now, actions),
        }
    }

    fn start(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.running {
            self.running = true;
            self.backoff.reset();
            self.connect(now, actions);
        }
    }

    fn connect(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.retry = None;
        if !self.config.passive && self.connections.is_empty() {
            self.attempt = Some(now + ATTEMPT);
            actions.push(Action::Connect);
        }
    }

    /// Plans the next attempt, once nothing else is under way.
    fn schedule(&mut self, now: Instant) {
        let idle = self.connections.is_empty() && self.attempt.is_none();
        if self.running && idle && !self.config.passive {
            self.retry = Some(now + self.backoff.next_pause());
        }
    }

    fn failed(&mut self, why: Ended, now: Instant, actions: &mut Vec<Action>) {
        actions.push(Action::Down(why));
        self.schedule(now);
    }

    /// Drops a connection; whether there was such.
    fn forget(&mut self, id: ConnectionId, now: Instant) -> bool {
        let Some(position) = self.connections.iter().position(|c| c.id == id) else {
            return false;
        };
        let connection = self.connections.swap_remove(position);
        if connection
            .up_since()
            .is_some_and(|since| now - since >= STABLE)
        {
            self.backoff.reset();
        }
        true
    }

    /// Ends a connection with a NOTIFICATION.
    fn end(
        &mut self,
        id: ConnectionId,
        reason: Notification,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        if self.forget(id, now) {
            part(id, reason.clone(), actions);
            self.failed(Ended::Sent(reason), now, actions);
        }
    }

    fn end_all(&mut self, reason: &Notification, actions: &mut Vec<Action>) {
        self.retry = None;
        if self.attempt.take().is_some() {
            actions.push(Action::AbortConnect);
        }
        for connection in std::mem::take(&mut self.connections) {
            part(connection.id, reason.clone(), actions);
            actions.push(Action::Down(Ended::Sent(reason.clone())));
        }
    }

    fn connected(&mut self, id: ConnectionId, side: Side, now: Instant, actions: &mut Vec<Action>) {
        if side == Side::Outgoing {
            self.attempt = None;
        }
        if !self.running {
            actions.push(Action::Close(id));
            return;
        }
        if self.state() == SessionState::Established {
            // RFC 4271 section 6.8: the established session wins without looking further.
            part(id, Notification::COLLISION, actions);
            return;
        }
        // A second connection of the same side means that the neighbour gave up on the first.
        if let Some(stale) = self.connections.iter().find(|c| c.side == side) {
            let stale = stale.id;
            self.forget(stale, now);
            part(stale, Notification::COLLISION, actions);
        }
        self.retry = None;
        self.connections
            .push(Connection::new(id, side, now + OPEN_HOLD));
        actions.push(Action::Send(id, Outgoing::Open));
    }

    fn received(
        &mut self,
        id: ConnectionId,
        message: Message,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(position) = self.connections.iter().position(|c| c.id == id) else {
            return;
        };
        if let Message::Notification(notification) = message {
            self.forget(id, now);
            actions.push(Action::Close(id));
            self.failed(Ended::Received(notification), now, actions);
            return;
        }
        let connection = &mut self.connections[position];
        match (&connection.phase, message) {
            (Phase::OpenSent, Message::Open(open)) => self.opened(id, &open, now, actions),
            (Phase::OpenSent, _) => self.end(id, Notification::IN_OPEN_SENT, now, actions),
            (Phase::OpenConfirm, Message::Keepalive) => self.establish(id, now, actions),
            (Phase::OpenConfirm, _) => self.end(id, Notification::IN_OPEN_CONFIRM, now, actions),
            (Phase::Established { .. }, Message::Open(_)) => {
                self.end(id, Notification::IN_ESTABLISHED, now, actions);
            }
            (Phase::Established { .. }, message) => {
                connection.heard(now);
                match message {
                    Message::Update(update) => actions.push(Action::Update(update)),
                    Message::RouteRefresh(Some(family)) => actions.push(Action::Refresh(family)),
                    Message::Keepalive => actions.push(Action::Alive),
                    _ => {}
                }
            }
        }
    }

    /// RFC 4271 section 6.2, RFC 6286.
    fn acceptable(&self, open: &Open) -> Result<(), Notification> {
        if open.asn != self.config.remote_as.value() {
            return Err(Notification::BAD_PEER_AS);
        }
        let ours = self.config.internal() && open.router_id == self.config.router_id;
        if open.router_id.is_unspecified() || ours {
            return Err(Notification::BAD_IDENTIFIER);
        }
        if matches!(open.hold_time, 1 | 2) {
            return Err(Notification::HOLD_TIME);
        }
        Ok(())
    }

    fn opened(&mut self, id: ConnectionId, open: &Open, now: Instant, actions: &mut Vec<Action>) {
        if let Err(reason) = self.acceptable(open) {
            self.end(id, reason, now, actions);
            return;
        }
        if let Some(loser) = self.collision(id, open) {
            self.forget(loser, now);
            part(loser, Notification::COLLISION, actions);
            if loser == id {
                return;
            }
        }
        let negotiated = Negotiated::new(self.config.hold_time, open);
        let pause = self.backoff.jitter(negotiated.keepalive_interval());
        if let Some(connection) = self.connections.iter_mut().find(|c| c.id == id) {
            connection.confirm(negotiated, pause, now);
            actions.push(Action::Send(id, Outgoing::Keepalive));
        }
    }

    /// RFC 4271 section 6.8: of two connections, the one opened by the speaker with the greater
    /// identifier stays; with equal identifiers, by the one with the greater AS (RFC 6286).
    fn collision(&self, id: ConnectionId, open: &Open) -> Option<ConnectionId> {
        let confirmed = |c: &&Connection| c.id != id && c.phase != Phase::OpenSent;
        let other = self.connections.iter().find(confirmed)?;
        let this = self.connections.iter().find(|c| c.id == id)?;
        let ours = (self.config.router_id, self.config.local_as.value());
        let winner = if ours > (open.router_id, open.asn) {
            Side::Outgoing
        } else {
            Side::Incoming
        };
        Some(if this.side == winner { other.id } else { id })
    }

    fn establish(&mut self, id: ConnectionId, now: Instant, actions: &mut Vec<Action>) {
        let others: Vec<_> = self.connections.iter().map(|c| c.id).collect();
        for other in others.into_iter().filter(|other| *other != id) {
            self.forget(other, now);
            part(other, Notification::COLLISION, actions);
        }
        if self.attempt.take().is_some() {
            actions.push(Action::AbortConnect);
        }
        for connection in &mut self.connections {
            connection.phase = Phase::Established { since: now };
            connection.heard(now);
            if let Some(negotiated) = &connection.negotiated {
                actions.push(Action::Up(id, negotiated.clone()));
            }
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.attempt.is_some_and(|end| end <= now) {
            self.attempt = None;
            actions.push(Action::AbortConnect);
            self.failed(Ended::Unreachable("no answer".to_owned()), now, actions);
        }
        if self.retry.is_some_and(|start| start <= now) {
            self.connect(now, actions);
        }
        let expired: Vec<_> = self.connections.iter().filter(|c| c.expired(now)).collect();
        for id in expired.iter().map(|c| c.id).collect::<Vec<_>>() {
            self.end(id, Notification::HOLD_EXPIRED, now, actions);
        }
        for connection in &mut self.connections {
            if connection.keepalive_due(now) {
                let pause = self.backoff.jitter(connection.keepalive_interval());
                connection.keepalive_sent(now + pause);
                actions.push(Action::Send(connection.id, Outgoing::Keepalive));
            }
        }
    }
}

/// Says why, then closes.
fn part(id: ConnectionId, reason: Notification, actions: &mut Vec<Action>) {
    actions.push(Action::Send(id, Outgoing::Notification(reason)));
    actions.push(Action::Close(id));
}
