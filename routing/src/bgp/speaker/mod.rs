//! The BGP speaker: all neighbours around one table, still without sockets or clocks. Events and
//! the time go in; effects on connections, and candidates for the RIB, come out.

mod configure;
mod decide;
mod deferral;
mod export;
mod show;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sekisho_types::Prefix;

use self::deferral::Deferral;
pub(crate) use self::show::Queues;
use super::Family;
use super::adj_rib_in::{AdjRibsIn, PeerId};
use super::attributes::Interner;
use super::codec::{Capabilities, Encoder, Message, Notification, Open, Update};
use super::fsm::{Action, ConnectionId, Ended, Event, Negotiated, Outgoing, Side};
use super::peer::{Ends, Peer, Session};
use crate::config::{BgpConfig, PrefixList};
use crate::view::SessionState;

/// What the edge is to do about connections, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Open one to a neighbour.
    Connect {
        peer: PeerId,
        local: Option<IpAddr>,
        remote: SocketAddr,
    },
    /// Give up opening it.
    AbortConnect { peer: PeerId },
    /// Send a message.
    Send {
        connection: ConnectionId,
        message: Bytes,
    },
    /// Close after what was sent.
    Close { connection: ConnectionId },
}

/// What happened on a connection.
#[derive(Debug)]
pub(crate) enum Input {
    Message(Message),
    Malformed(Notification),
    Closed(String),
}

/// All neighbours and their table.
#[derive(Debug)]
pub(crate) struct Speaker {
    config: Option<BgpConfig>,
    lists: Vec<PrefixList>,
    peers: BTreeMap<PeerId, Peer>,
    addresses: BTreeMap<IpAddr, PeerId>,
    owners: BTreeMap<ConnectionId, PeerId>,
    next_peer: u32,
    seed: u64,
    table: AdjRibsIn,
    interner: Interner,
    originated: BTreeSet<Prefix>,
    /// Prefixes to decide about.
    dirty: BTreeSet<Prefix>,
    /// Some next hops may no longer be used by anyone.
    sweep: bool,
    version: u64,
    deferral: Deferral,
    effects: Vec<Effect>,
}

impl Speaker {
    /// Without neighbours. `seed` makes its timers differ from others'.
    pub(crate) fn new(deferral: Duration, seed: u64) -> Self {
        Self {
            config: None,
            lists: Vec::new(),
            peers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            owners: BTreeMap::new(),
            next_peer: 0,
            seed,
            table: AdjRibsIn::default(),
            interner: Interner::default(),
            originated: BTreeSet::new(),
            dirty: BTreeSet::new(),
            sweep: false,
            version: 0,
            deferral: Deferral::new(deferral),
            effects: Vec::new(),
        }
    }

    /// What is to be done about connections since the last call.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The neighbour with this address.
    pub(crate) fn neighbor(&self, address: IpAddr) -> Option<PeerId> {
        self.addresses.get(&address).copied()
    }

    /// Whether a neighbour is of our own AS.
    pub(crate) fn is_internal(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(Peer::internal)
    }

    /// A connection with a neighbour is up.
    pub(crate) fn connected(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        side: Side,
        ends: Ends,
        now: Instant,
    ) {
        let Some(neighbor) = self.peers.get_mut(&peer) else {
            self.effects.push(Effect::Close { connection });
            return;
        };
        neighbor.connections.insert(connection, ends);
        self.owners.insert(connection, peer);
        self.drive(peer, Event::Connected(connection, side), now);
    }

    /// The attempt to connect to a neighbour failed.
    pub(crate) fn connect_failed(&mut self, peer: PeerId, reason: String, now: Instant) {
        self.drive(peer, Event::ConnectFailed(reason), now);
    }

    /// Something happened on a connection.
    pub(crate) fn input(&mut self, connection: ConnectionId, input: Input, now: Instant) {
        let Some(&peer) = self.owners.get(&connection) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(&peer) {
            match &input {
                Input::Message(message) => peer.history.count_received(message),
                Input::Malformed(_) => {}
                Input::Closed(_) => {
                    peer.connections.remove(&connection);
                    self.owners.remove(&connection);
                }
            }
        }
        let event = match input {
            Input::Message(message) => Event::Received(connection, message),
            Input::Malformed(answer) => Event::Malformed(connection, answer),
            Input::Closed(reason) => Event::Closed(connection, reason),
        };
        self.drive(peer, event, now);
    }

    /// When [`Speaker::tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let peers = self.peers.values().filter_map(|peer| peer.fsm.deadline());
        peers.chain(self.deferral.deadline()).min()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) {
        let due = |peer: &&Peer| peer.fsm.deadline().is_some_and(|deadline| deadline <= now);
        let due: Vec<_> = self
            .peers
            .values()
            .filter(due)
            .map(|peer| peer.id)
            .collect();
        for peer in due {
            self.drive(peer, Event::Tick, now);
        }
    }

    /// Resets the session with a neighbour; whether there is such.
    pub(crate) fn clear(&mut self, address: IpAddr, now: Instant) -> bool {
        let Some(&peer) = self.addresses.get(&address) else {
            return false;
        };
        self.drive(peer, Event::Reset(Notification::ADMIN_RESET), now);
        true
    }

    /// Takes leave of every neighbour (RFC 9003).
    pub(crate) fn shutdown(&mut self, message: &str, now: Instant) {
        let peers: Vec<_> = self.peers.keys().copied().collect();
        for peer in peers {
            self.drive(peer, Event::Stop(Notification::shutdown(message)), now);
        }
    }

    /// Lets a neighbour's state machine take an event, and does what it says.
    fn drive(&mut self, id: PeerId, event: Event, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let before = peer.fsm.state();
        let mut actions = Vec::new();
        peer.fsm.handle(event, now, &mut actions);
        let after = peer.fsm.state();
        if before != after {
            tracing::debug!(neighbor = %peer.config.address, %before, %after, "BGP session state");
        }
        for action in actions {
            self.perform(id, action, now);
        }
    }

    fn perform(&mut self, id: PeerId, action: Action, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        match action {
            Action::Connect => self.effects.push(Effect::Connect {
                peer: id,
                local: peer.config.local_address,
                remote: SocketAddr::new(peer.config.address, peer.config.port),
            }),
            Action::AbortConnect => self.effects.push(Effect::AbortConnect { peer: id }),
            Action::Send(connection, message) => {
                peer.history.count_sent(&message, now);
                let message = match message {
                    Outgoing::Open => {
                        let open = opening(peer, self.deferral.is_on());
                        Encoder::open(&open, peer.fsm.config().local_as)
                    }
                    Outgoing::Keepalive => Encoder::keepalive(),
                    Outgoing::Notification(notification) => Encoder::notification(&notification),
                };
                self.effects.push(Effect::Send {
                    connection,
                    message,
                });
            }
            Action::Close(connection) => {
                peer.connections.remove(&connection);
                self.owners.remove(&connection);
                self.effects.push(Effect::Close { connection });
            }
            Action::Up(connection, negotiated) => self.up(id, connection, negotiated, now),
            Action::Update(update) => self.update(id, update, now),
            Action::Refresh(family) => {
                if let (Family::Ipv4Unicast, Some(session)) = (family, &mut peer.session) {
                    session.out.repeat();
                }
            }
            Action::Alive => {
                if let Some(session) = &mut peer.session {
                    session.alive = true;
                }
            }
            Action::Down(why) => self.down(id, &why, now),
        }
    }

    fn up(&mut self, id: PeerId, connection: ConnectionId, negotiated: Negotiated, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        tracing::info!(
            neighbor = %peer.config.address,
            remote_as = %peer.config.remote_as,
            hold_time = negotiated.hold_time.as_secs(),
            "BGP session is up"
        );
        let ends = peer.connections.get(&connection).copied();
        peer.session = Some(Session::new(connection, ends, negotiated, now));
        peer.history.established += 1;
        peer.history.down_since = None;
        self.export_all(id);
    }

    fn down(&mut self, id: PeerId, why: &Ended, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.history.ended(why, now);
        if peer.fsm.state() == SessionState::Established || peer.session.take().is_none() {
            tracing::debug!(neighbor = %peer.config.address, %why, "BGP session did not come up");
            return;
        }
        tracing::warn!(neighbor = %peer.config.address, %why, "BGP session is down");
        peer.history.down_since = Some(now);
        self.dirty.extend(self.table.forget(id));
        self.sweep = true;
    }

    fn update(&mut self, id: PeerId, update: Update, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(session) = &mut peer.session else {
            return;
        };
        if update.end_of_rib == Some(Family::Ipv4Unicast) {
            session.end_of_rib_received = true;
        }
        if let Some(fault) = &update.malformed {
            peer.history.treated_as_withdraw += update.withdrawn.len() as u64;
            let neighbor = peer.config.address;
            let prefixes = update.withdrawn.len();
            tracing::warn!(%neighbor, %fault, prefixes, "malformed UPDATE treated as withdrawal");
        }
        let capabilities = &session.negotiated.capabilities;
        let families = [Family::Ipv4Unicast, Family::Ipv6Unicast];
        let [ipv4, ipv6] =
            families.map(|family| OURS.contains(&family) && capabilities.carries(family));
        let negotiated = |prefix: &Prefix| match Family::of(*prefix) {
            Family::Ipv4Unicast => ipv4,
            Family::Ipv6Unicast => ipv6,
        };
        for prefix in update.withdrawn.into_iter().filter(negotiated) {
            if self.table.withdraw(prefix, id) {
                self.dirty.insert(prefix);
            }
        }
        let import = peer.importer();
        for (attributes, prefixes) in update.announced {
            let attributes = self.interner.intern(attributes);
            for prefix in prefixes.into_iter().filter(negotiated) {
                let verdict = import.judge(prefix, &attributes);
                if self
                    .table
                    .announce(prefix, id, attributes.clone(), verdict, now)
                {
                    self.dirty.insert(prefix);
                }
            }
        }
    }
}

/// Families we exchange.
const OURS: [Family; 1] = [Family::Ipv4Unicast];

/// What we say of ourselves.
fn capabilities(restarted: bool) -> Capabilities {
    Capabilities {
        families: OURS.to_vec(),
        multiprotocol: true,
        four_octet_as: true,
        route_refresh: true,
        end_of_rib: Some(restarted),
        others: Vec::new(),
    }
}

fn opening(peer: &Peer, restarted: bool) -> Open {
    let config = peer.fsm.config();
    Open {
        asn: config.local_as.value(),
        hold_time: config.hold_time,
        router_id: config.router_id,
        capabilities: capabilities(restarted),
    }
}
