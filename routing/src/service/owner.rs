//! The task that owns the RIB and the speaker.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::command::Command;
use super::connection::{self, Link};
use super::listener::Listeners;
use super::{Options, sources};
use crate::bgp::adj_rib_in::PeerId;
use crate::bgp::codec::Decoder;
use crate::bgp::fsm::{ConnectionId, Side};
use crate::bgp::peer::Ends;
use crate::bgp::speaker::{Effect, Input, Queues, Speaker};
use crate::config::{ConfigureError, RoutingConfig};
use crate::fib::FibBatch;
use crate::rib::Rib;
use crate::route::Protocol;

/// What connections, attempts and listeners tell the owner.
#[derive(Debug)]
pub(super) enum Event {
    /// Somebody connected.
    Accepted(TcpStream, SocketAddr),
    /// An attempt to connect ended.
    Attempted(PeerId, u64, std::io::Result<TcpStream>),
    /// Something happened on a connection.
    Input(ConnectionId, Input),
    /// A connection that was full has room again.
    Room,
}

/// Events that may wait for the owner. Whoever has more to tell waits with it.
const EVENTS: usize = 256;

/// Events taken in one turn.
const TURN: usize = 64;

/// Prefixes decided or evaluated in one turn, so that timers are never far away.
const SLICE: usize = 2048;

/// How long leave-taking may last.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves `inbox` until it closes or asks to shut down.
pub(super) async fn run(
    options: Options,
    mut inbox: mpsc::Receiver<Command>,
    fib: mpsc::Sender<FibBatch>,
) {
    let (events, mut news) = mpsc::channel(EVENTS);
    let mut owner = Owner::new(options, fib, events);
    loop {
        let deadline = owner.speaker.deadline();
        let timer = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        let wake = tokio::select! {
            command = inbox.recv() => Wake::Command(command),
            Some(event) = news.recv() => Wake::Event(event),
            () = timer => Wake::Work,
            Ok(_) = owner.fib.reserve(), if owner.fib_blocked => Wake::Work,
            () = std::future::ready(()), if owner.busy => Wake::Work,
        };
        match wake {
            Wake::Command(None) => return owner.farewell("").await,
            Wake::Command(Some(Command::Shutdown(message, reply))) => {
                owner.farewell(&message).await;
                // Whoever asked may be gone.
                let _ = reply.send(());
                return;
            }
            Wake::Command(Some(command)) => owner.command(command),
            Wake::Event(event) => {
                owner.event(event);
                for _ in 1..TURN {
                    let Ok(event) = news.try_recv() else { break };
                    owner.event(event);
                }
            }
            Wake::Work => {}
        }
        owner.turn();
    }
}

/// Why the owner woke up.
enum Wake {
    Command(Option<Command>),
    Event(Event),
    Work,
}

struct Owner {
    options: Options,
    rib: Rib,
    speaker: Speaker,
    fib: mpsc::Sender<FibBatch>,
    /// The forwarding tables' channel is full and there is more for it.
    fib_blocked: bool,
    /// There is work left that waits for nothing.
    busy: bool,
    events: mpsc::Sender<Event>,
    listeners: Listeners,
    links: BTreeMap<ConnectionId, Link>,
    attempts: BTreeMap<PeerId, (u64, AbortHandle)>,
    tasks: JoinSet<()>,
    next_connection: u64,
    refused: u64,
}

impl Owner {
    fn new(options: Options, fib: mpsc::Sender<FibBatch>, events: mpsc::Sender<Event>) -> Self {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = clock.map_or(1, |since| u64::from(since.subsec_nanos()));
        Self {
            speaker: Speaker::new(options.deferral, seed ^ u64::from(std::process::id()) << 32),
            options,
            rib: Rib::default(),
            fib,
            fib_blocked: false,
            busy: false,
            listeners: Listeners::new(events.clone()),
            events,
            links: BTreeMap::new(),
            attempts: BTreeMap::new(),
            tasks: JoinSet::new(),
            next_connection: 0,
            refused: 0,
        }
    }

    /// Works off what the last events led to, a slice of it at most.
    fn turn(&mut self) {
        let now = now();
        self.speaker.tick(now);
        self.busy = self.speaker.decide(&mut self.rib, SLICE, now);
        self.busy |= self.rib.evaluate(SLICE);
        let changed = self.rib.take_changed();
        if !changed.is_empty() {
            self.speaker.next_hops_changed(&changed);
            self.busy = true;
        }
        self.fill_fib();
        let forwarding = !self.busy && self.rib.is_settled();
        self.speaker.review_deferral(forwarding, now);
        self.act();
        while self.tasks.try_join_next().is_some() {}
    }

    fn fill_fib(&mut self) {
        self.fib_blocked = false;
        loop {
            match self.fib.try_reserve() {
                Ok(permit) => match self.rib.drain(self.options.fib_batch.max(1)) {
                    Some(batch) => permit.send(batch),
                    None => return,
                },
                Err(mpsc::error::TrySendError::Full(())) => {
                    self.fib_blocked = self.rib.has_unsent();
                    return;
                }
                Err(mpsc::error::TrySendError::Closed(())) => return,
            }
        }
    }

    fn act(&mut self) {
        for effect in self.speaker.take_effects() {
            match effect {
                Effect::Connect {
                    peer,
                    local,
                    remote,
                } => {
                    self.next_connection += 1;
                    let attempt = self.next_connection;
                    let events = self.events.clone();
                    let task = self.tasks.spawn(async move {
                        let result = connection::connect(local, remote).await;
                        // The owner may have ended.
                        let _ = events.send(Event::Attempted(peer, attempt, result)).await;
                    });
                    self.attempts.insert(peer, (attempt, task));
                }
                Effect::AbortConnect { peer } => {
                    if let Some((_, task)) = self.attempts.remove(&peer) {
                        task.abort();
                    }
                }
                Effect::Send {
                    connection,
                    message,
                } => {
                    if let Some(link) = self.links.get(&connection) {
                        link.send(message);
                    }
                }
                Effect::Close { connection } => {
                    self.links.remove(&connection);
                }
            }
        }
        for connection in self.speaker.talkative() {
            let Some(link) = self.links.get(&connection) else {
                continue;
            };
            while link.has_room()
                && let Some(message) = self.speaker.next_message(connection)
            {
                link.send(message);
            }
        }
    }

    fn event(&mut self, event: Event) {
        let now = now();
        match event {
            Event::Accepted(stream, remote) => {
                match self.speaker.neighbor(remote.ip().to_canonical()) {
                    Some(peer) => self.adopt(peer, stream, Side::Incoming, now),
                    None => {
                        self.refused += 1;
                        tracing::debug!(%remote, "refused a BGP connection of no neighbor");
                    }
                }
            }
            Event::Attempted(peer, attempt, result) => {
                if self
                    .attempts
                    .get(&peer)
                    .is_none_or(|(current, _)| *current != attempt)
                {
                    return;
                }
                self.attempts.remove(&peer);
                match result {
                    Ok(stream) => self.adopt(peer, stream, Side::Outgoing, now),
                    Err(error) => self.speaker.connect_failed(peer, error.to_string(), now),
                }
            }
            Event::Input(connection, input) => {
                if let Some(link) = self.links.get(&connection) {
                    link.unprocessed.fetch_sub(1, Ordering::Relaxed);
                }
                if let Input::Closed(_) = input {
                    self.links.remove(&connection);
                }
                self.speaker.input(connection, input, now);
            }
            Event::Room => {}
        }
    }

    fn adopt(&mut self, peer: PeerId, stream: TcpStream, side: Side, now: Instant) {
        let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) else {
            if side == Side::Outgoing {
                self.speaker
                    .connect_failed(peer, "connection lost".to_owned(), now);
            }
            return;
        };
        self.next_connection += 1;
        let id = ConnectionId(self.next_connection);
        let decoder = Decoder::new(self.speaker.is_internal(peer));
        let (link, task) = connection::serve(stream, id, decoder, self.events.clone());
        self.tasks.spawn(task);
        self.links.insert(id, link);
        let ends = Ends { local, remote };
        self.speaker.connected(peer, id, side, ends, now);
    }

    fn command(&mut self, command: Command) {
        let now = now();
        // A reply fails only if nobody waits for it any more.
        match command {
            Command::Configure(config, reply) => {
                let _ = reply.send(self.configure(&config, now));
            }
            Command::SetConnected(routes, reply) => {
                self.rib
                    .replace(Protocol::Connected, sources::connected(routes), now);
                let _ = reply.send(());
            }
            Command::SetLocal(routes, reply) => {
                self.rib
                    .replace(Protocol::Local, sources::local(routes), now);
                let _ = reply.send(());
            }
            Command::SetStatic(routes, reply) => {
                self.rib
                    .replace(Protocol::Static, sources::configured(routes), now);
                let _ = reply.send(());
            }
            Command::SetNat(routes, reply) => {
                self.rib.replace(Protocol::Nat, sources::nat(routes), now);
                let _ = reply.send(());
            }
            Command::SetOriginated(prefixes, reply) => {
                let prefixes = prefixes.into_iter().map(|originated| originated.prefix);
                self.speaker.originate(prefixes.collect());
                let _ = reply.send(());
            }
            Command::InterfaceState(interface, state, reply) => {
                self.rib.set_link(interface, state);
                let _ = reply.send(());
            }
            Command::FibAcknowledged(generation) => self.rib.acknowledge(generation),
            Command::Routes(vrf, filter, reply) => {
                let _ = reply.send(self.rib.routes(vrf, filter, now));
            }
            Command::BgpSummary(reply) => {
                let queues = |connection| self.queues(connection);
                let _ = reply.send(self.speaker.summary(self.refused, queues, now));
            }
            Command::BgpNeighbors(address, reply) => {
                let queues = |connection| self.queues(connection);
                let _ = reply.send(self.speaker.neighbors(address, queues, now));
            }
            Command::BgpRoutes(filter, reply) => {
                let _ = reply.send(self.speaker.routes(&self.rib, filter, now));
            }
            Command::ClearBgp(neighbor, reply) => {
                let _ = reply.send(self.speaker.clear(neighbor, now));
            }
            Command::Shutdown(_, reply) => {
                let _ = reply.send(());
            }
        }
    }

    fn configure(&mut self, config: &RoutingConfig, now: Instant) -> Result<(), ConfigureError> {
        config.check()?;
        let listen = config.bgp.as_ref().map(|bgp| bgp.listen.as_slice());
        self.listeners.listen_on(listen.unwrap_or_default())?;
        self.speaker.configure(config, now);
        Ok(())
    }

    fn queues(&self, connection: ConnectionId) -> Queues {
        self.links
            .get(&connection)
            .map(Link::queues)
            .unwrap_or_default()
    }

    /// Tells every neighbour why we leave, and waits until it is on the wire.
    async fn farewell(&mut self, message: &str) {
        for (_, task) in std::mem::take(&mut self.attempts).into_values() {
            task.abort();
        }
        self.listeners.close();
        self.speaker.shutdown(message, now());
        self.act();
        self.links.clear();
        let flushed = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, flushed).await.is_err() {
            tracing::warn!("some BGP neighbors did not take our farewell in time");
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
