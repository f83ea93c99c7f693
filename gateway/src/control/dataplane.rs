//! The task that owns the forwarding tables' writer, the neighbours and the rings to the workers.
//! It never waits for anybody: what it is told it does, and what takes time it looks after on its
//! next turn.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho_fib::{Epoch, FibError, Leaf, Link, NextHop, PathMember, Writer};
use sekisho_nat::OutsideOwners;
use sekisho_packet::{ArpFrame, arp};
use sekisho_routing::{FibBatch, FibChange, FibEntry, FibPath, InterfaceKey, InterfaceRef};
use sekisho_types::{MacAddr, Prefix, SegmentId, VrfId};
use tokio::sync::{mpsc, oneshot, watch};

use super::adjacencies::{Adjacencies, has_host_route, vrf_of};
use super::discovery::{self, Conflicts, Schedule};
use super::neighbor::{Action, Location, Neighbor, Neighbors, Now, State};
use super::ways::{FlowWay, WayQuestion, find_way};
use super::workers::{Query, Workers};
use crate::snapshot::Snapshot;
use crate::worker::link::Event;

/// How often the rings to the workers are looked at.
const TURN: Duration = Duration::from_millis(2);
/// How often adjacencies nobody uses any more are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// Most neighbours whose timers are served in one turn.
const NEIGHBOR_BUDGET: usize = 1024;
/// Most segments whose hosts are told of us in one turn.
const ADVERTISEMENT_BUDGET: usize = 4;

/// What the task is asked to do.
#[derive(Debug)]
pub enum Request {
    /// Make every worker forward by a snapshot, and say so.
    Publish(Arc<Snapshot>, oneshot::Sender<()>),
    /// Forget the tables of VRFs that no route names any more.
    RemoveVrfs(Vec<VrfId>),
    /// A link went up or down.
    LinkState(Link, bool),
    /// List the endpoints and uplink neighbours.
    Neighbors(oneshot::Sender<Vec<NeighborView>>),
    /// Say where flows lead.
    Ways(Vec<WayQuestion>, oneshot::Sender<Vec<FlowWay>>),
    /// Ask the workers.
    Ask(Query),
}

/// A neighbour, for people.
#[derive(Clone, Copy, Debug)]
pub struct NeighborView {
    /// Who.
    pub neighbor: Neighbor,
    /// How it stands.
    pub state: NeighborState,
    /// Since it was last heard; zero for fixed ones.
    pub age: Duration,
}

impl NeighborView {
    /// Whether its address is an IPv6 one.
    pub const fn is_ipv6(&self) -> bool {
        self.neighbor.address.is_ipv6()
    }
}

/// How a neighbour stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborState {
    /// By configuration.
    Static(Location),
    /// As the state machine has it.
    Dynamic(State),
}

/// The task's parts.
pub struct Dataplane {
    writer: Writer,
    workers: Workers,
    snapshot: Arc<Snapshot>,
    owners: Arc<OutsideOwners>,
    neighbors: Neighbors,
    adjacencies: Adjacencies,
    static_endpoints: BTreeMap<Neighbor, Location>,
    advertisements: Schedule,
    conflicts: Conflicts,
    unacknowledged: VecDeque<(Epoch, u64)>,
    acknowledged: watch::Sender<u64>,
    events: Vec<Event>,
    next_sweep: Now,
    epoch: Instant,
}

impl Dataplane {
    /// The task's parts, for workers that forward by `snapshot`. `acknowledged` is told the
    /// generation of the last batch of routes that every worker forwards by.
    pub fn new(
        writer: Writer,
        workers: Workers,
        snapshot: &Arc<Snapshot>,
        owners: Arc<OutsideOwners>,
        acknowledged: watch::Sender<u64>,
    ) -> Self {
        let mut dataplane = Self {
            writer,
            workers,
            snapshot: Arc::clone(snapshot),
            owners,
            neighbors: Neighbors::default(),
            adjacencies: Adjacencies::default(),
            static_endpoints: BTreeMap::new(),
            advertisements: Schedule::default(),
            conflicts: Conflicts::default(),
            unacknowledged: VecDeque::new(),
            acknowledged,
            events: Vec::new(),
            next_sweep: SWEEP,
            epoch: Instant::now(),
        };
        dataplane.add_vrfs(|_| false);
        dataplane.move_neighbors(snapshot);
        dataplane.introduce(None);
        dataplane
    }

    fn add_vrfs(&mut self, exists: impl Fn(VrfId) -> bool) {
        for (index, tenant) in self.snapshot.tenants.iter().enumerate() {
            let vrf = VrfId::new(index as u16);
            if tenant.is_some() && !exists(vrf) {
                report(self.writer.add_vrf(vrf), "adding a VRF");
            }
        }
    }

    /// Serves until nobody can ask any more.
    pub async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut batches: mpsc::Receiver<FibBatch>,
    ) {
        let mut turn = tokio::time::interval(TURN);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.serve(request),
                    None => return,
                },
                Some(batch) = batches.recv() => self.apply(&batch),
                _ = turn.tick() => self.turn(),
            }
        }
    }

    fn now(&self) -> Now {
        self.epoch.elapsed()
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Publish(snapshot, done) => self.publish(snapshot, done),
            Request::RemoveVrfs(vrfs) => {
                for vrf in vrfs {
                    report(self.writer.remove_vrf(vrf), "removing a VRF");
                }
            }
            Request::LinkState(link, up) => self.set_link(link, up),
            Request::Neighbors(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.neighbor_views());
            }
            Request::Ways(questions, answer) => {
                let ways = questions.iter();
                let ways = ways
                    .map(|question| find_way(&self.writer, question))
                    .collect();
                // Whoever asked may have gone.
                let _ = answer.send(ways);
            }
            Request::Ask(query) => self.workers.ask(query),
        }
    }

    /// A link that is down reaches nobody: path lists over it are repaired, and its neighbours'
    /// own addresses lead where the routes say. When it is up again, those still known are back.
    fn set_link(&mut self, link: Link, up: bool) {
        let outcome = self.adjacencies.set_link(&mut self.writer, link, up);
        report(outcome, "repairing path lists");
        let Some(vrf) = vrf_of(&self.snapshot, link) else {
            return;
        };
        for neighbor in self.adjacencies.neighbors() {
            if neighbor.link != link {
                continue;
            }
            let outcome = match self.neighbors.state(neighbor) {
                Some(State::Reachable(location) | State::Probe(location)) if up => self
                    .adjacencies
                    .resolve(&mut self.writer, &self.snapshot, neighbor, location),
                _ if up || !has_host_route(neighbor.address) => Ok(()),
                _ => self.writer.clear_host(vrf, neighbor.address).map(drop),
            };
            report(outcome, "following a link");
        }
    }

    fn turn(&mut self) {
        let now = self.now();
        let mut events = std::mem::take(&mut self.events);
        self.workers.take_events(&mut events);
        for event in events.drain(..) {
            self.observe(event, now);
        }
        self.events = events;
        self.neighbors.tick(now, NEIGHBOR_BUDGET);
        self.act();
        self.advertise(now);
        self.workers.advance();
        self.acknowledge();
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            self.sweep();
        }
        self.writer.reclaim();
    }

    fn observe(&mut self, event: Event, now: Now) {
        let neighbor = event.neighbor();
        let is_fixed = self.static_endpoints.contains_key(&neighbor);
        if is_fixed || vrf_of(&self.snapshot, neighbor.link).is_none() {
            return;
        }
        match event {
            Event::Needed(neighbor) => self.neighbors.needed(neighbor, now),
            Event::Heard {
                neighbor,
                location,
                learn,
            } => self.neighbors.heard(neighbor, location, learn, now),
            Event::Conflict { neighbor, station } => {
                let (link, address) = (neighbor.link, neighbor.address);
                if self.conflicts.is_news(link, address, now) {
                    tracing::warn!(%address, %station, ?link, "another station has our address");
                }
            }
        }
    }

    /// Carries out what the neighbours' state machine decided.
    fn act(&mut self) {
        for action in self.neighbors.take_actions() {
            match action {
                Action::Request { neighbor, known } => self.request(neighbor, known),
                Action::Resolved { neighbor, location } => report(
                    self.adjacencies
                        .resolve(&mut self.writer, &self.snapshot, neighbor, location),
                    "resolving a neighbour",
                ),
                Action::Lost { neighbor } => report(
                    self.adjacencies
                        .lose(&mut self.writer, &self.snapshot, neighbor),
                    "losing a neighbour",
                ),
            }
        }
    }

    /// Asks for a neighbour: on the uplink, or every VTEP of the segment, or the one where the
    /// endpoint was last seen. IPv4 asks by ARP.
    fn request(&mut self, neighbor: Neighbor, known: Option<Location>) {
        let target = match neighbor.address {
            IpAddr::V4(target) => target,
            IpAddr::V6(target) => return self.solicit(neighbor.link, target, known),
        };
        let mut bytes = [0; arp::FRAME_LEN];
        let destination = known.map_or(MacAddr::BROADCAST, |location| location.mac);
        let mut frame = |mac, source| {
            let mut request = ArpFrame::request(mac, source, target);
            request.ethernet_dst = destination;
            request.write(&mut bytes).is_ok()
        };
        match neighbor.link {
            Link::Interface(id) => {
                let Some(uplink) = self.snapshot.uplink(id) else {
                    return;
                };
                let source = uplink.source_for(target);
                if source.is_some_and(|source| frame(uplink.mac, source)) {
                    self.workers.send_on_uplink(id, &bytes);
                }
            }
            Link::Segment(id) => {
                let Some(segment) = self.snapshot.segment(id) else {
                    return;
                };
                if !frame(segment.mac, segment.gateway) {
                    return;
                }
                match known.and_then(|location| location.vtep) {
                    Some(IpAddr::V4(vtep)) => {
                        self.workers.send_to_vtep(id, vtep, &bytes);
                    }
                    _ => self.replicate(id, &bytes),
                }
            }
        }
    }

    /// Asks for an IPv6 neighbour by neighbour discovery.
    fn solicit(&mut self, link: Link, target: Ipv6Addr, known: Option<Location>) {
        let known_mac = known.map(|location| location.mac);
        let local = target.is_unicast_link_local();
        let frame = match link {
            Link::Interface(id) => self.snapshot.uplink(id).and_then(|uplink| {
                let ipv6 = uplink.ipv6.as_ref()?;
                let source = ipv6.source_for(target).filter(|_| !local);
                let source = source.unwrap_or(ipv6.link_local);
                discovery::solicitation(target, uplink.mac, source, known_mac)
            }),
            Link::Segment(id) => self.snapshot.segment(id).and_then(|segment| {
                let source = segment.ipv6.as_ref()?.source_for(target);
                discovery::solicitation(target, segment.mac, source, known_mac)
            }),
        };
        if let Some(frame) = frame {
            let vtep = known.and_then(|location| location.vtep);
            self.send_on(link, vtep, frame.bytes());
        }
    }

    /// Sends a frame on a link; on a segment to one VTEP, or to all.
    fn send_on(&mut self, link: Link, vtep: Option<IpAddr>, bytes: &[u8]) {
        match (link, vtep) {
            (Link::Interface(id), _) => {
                self.workers.send_on_uplink(id, bytes);
            }
            (Link::Segment(id), Some(IpAddr::V4(vtep))) => {
                self.workers.send_to_vtep(id, vtep, bytes);
            }
            (Link::Segment(id), _) => self.replicate(id, bytes),
        }
    }

    /// Addresses that are ours since `old` are made known, and it is asked whether anybody else has
    /// them; hosts of segments are told what they need to know.
    fn introduce(&mut self, old: Option<&Snapshot>) {
        let snapshot = Arc::clone(&self.snapshot);
        let now = self.now();
        self.advertisements.follow(old, &snapshot, now);
        let before = old.map(discovery::owned).unwrap_or_default();
        for own in discovery::owned(&snapshot) {
            if before.contains(&own) {
                continue;
            }
            let frames = [
                discovery::probe(own.address, own.mac),
                discovery::announcement(own.address, own.mac),
            ];
            for frame in frames.iter().flatten() {
                self.send_on(own.link, None, frame.bytes());
            }
        }
    }

    /// Router advertisements that are due, within bounds.
    fn advertise(&mut self, now: Now) {
        for _ in 0..ADVERTISEMENT_BUDGET {
            let Some(id) = self.advertisements.next(now) else {
                return;
            };
            let segment = self.snapshot.segment(id);
            if let Some(frame) = segment.and_then(discovery::router_advertisement) {
                self.replicate(id, frame.bytes());
            }
        }
    }

    /// Head-end replication.
    fn replicate(&mut self, id: SegmentId, bytes: &[u8]) {
        let vteps: Vec<Ipv4Addr> = match self.snapshot.segment(id) {
            Some(segment) => segment.vteps.clone(),
            None => return,
        };
        for vtep in vteps {
            self.workers.send_to_vtep(id, vtep, bytes);
        }
    }

    fn publish(&mut self, snapshot: Arc<Snapshot>, done: oneshot::Sender<()>) {
        let old = std::mem::replace(&mut self.snapshot, Arc::clone(&snapshot));
        self.add_vrfs(|vrf| old.tenant(vrf).is_some());
        self.workers.publish(snapshot, done);
        self.move_neighbors(&old);
        self.introduce(Some(&old));
    }

    /// Links that changed: neighbours of links that are gone are forgotten, the others get the
    /// link's new addresses and MTU, and fixed endpoints follow the configuration.
    fn move_neighbors(&mut self, old: &Snapshot) {
        let fixed = static_endpoints(&self.snapshot);
        for (neighbor, _) in std::mem::replace(&mut self.static_endpoints, fixed) {
            if !self.static_endpoints.contains_key(&neighbor) {
                report(
                    self.adjacencies.lose(&mut self.writer, old, neighbor),
                    "removing an endpoint",
                );
            }
        }
        let (snapshot, fixed) = (&self.snapshot, &self.static_endpoints);
        let gone = |neighbor: &Neighbor| !is_on_link(snapshot, neighbor);
        for neighbor in self.adjacencies.neighbors() {
            if gone(&neighbor) {
                report(
                    self.adjacencies.lose(&mut self.writer, old, neighbor),
                    "removing a neighbour",
                );
            }
        }
        self.neighbors
            .forget(|neighbor| gone(neighbor) || fixed.contains_key(neighbor));
        let dynamic = self
            .neighbors
            .iter()
            .filter_map(|(neighbor, state, _)| match state {
                State::Reachable(location) | State::Probe(location) => Some((neighbor, location)),
                State::Incomplete | State::Failed => None,
            });
        let all: Vec<_> = dynamic
            .chain(
                fixed
                    .iter()
                    .map(|(neighbor, location)| (*neighbor, *location)),
            )
            .collect();
        for (neighbor, location) in all {
            let resolved =
                self.adjacencies
                    .resolve(&mut self.writer, &self.snapshot, neighbor, location);
            report(resolved, "resolving a neighbour");
        }
        // What is left unresolved is named by a path list: it is a next hop to be found again.
        let now = self.now();
        for neighbor in self.adjacencies.neighbors() {
            let fixed = self.static_endpoints.contains_key(&neighbor);
            let on_link = is_on_link(&self.snapshot, &neighbor);
            if on_link && !fixed && self.neighbors.state(neighbor).is_none() {
                self.neighbors.set_next_hop(neighbor, true, now);
            }
        }
    }

    /// Brings a batch of routes into the tables.
    fn apply(&mut self, batch: &FibBatch) {
        for change in &batch.changes {
            let outcome = match change {
                FibChange::Set { vrf, prefix, entry } => self.set_route(*vrf, *prefix, entry),
                FibChange::Remove { vrf, prefix } => match self.writer.remove(*vrf, *prefix) {
                    // The VRF went first, and its routes with it.
                    Ok(_) | Err(FibError::UnknownVrf(_)) => Ok(()),
                    Err(error) => Err(error),
                },
            };
            report(outcome, "installing a route");
        }
        self.act();
        let mark = self.writer.mark();
        self.unacknowledged.push_back((mark, batch.generation));
    }

    fn set_route(&mut self, vrf: VrfId, prefix: Prefix, entry: &FibEntry) -> Result<(), FibError> {
        let leaf = match entry {
            FibEntry::Connected { interface } => Leaf::Connected(link_of(interface)),
            FibEntry::Local => Leaf::Local,
            FibEntry::Nat => Leaf::Nat,
            FibEntry::Discard => Leaf::Discard,
            FibEntry::LookupVrf(vrf) => Leaf::LookupVrf(*vrf),
            FibEntry::Paths(paths) => return self.set_paths(vrf, prefix, paths),
        };
        self.writer.insert(vrf, prefix, leaf).map(drop)
    }

    fn set_paths(&mut self, vrf: VrfId, prefix: Prefix, paths: &[FibPath]) -> Result<(), FibError> {
        let weight = |path: &FibPath| NonZeroU16::new(path.weight).unwrap_or(NonZeroU16::MIN);
        let next_hops: Vec<NextHop> = paths
            .iter()
            .map(|path| NextHop {
                address: path.next_hop,
                link: Some(link_of(&path.interface)),
                weight: weight(path),
            })
            .collect();
        let list = self.writer.acquire_path_list(&next_hops)?;
        let outcome = self.fill_path_list(list, paths, weight).and_then(|()| {
            self.writer
                .insert(vrf, prefix, Leaf::PathList(list.id))
                .map(drop)
        });
        self.writer.release_path_list(list.id)?;
        outcome
    }

    fn fill_path_list(
        &mut self,
        list: sekisho_fib::Interned,
        paths: &[FibPath],
        weight: impl Fn(&FibPath) -> NonZeroU16,
    ) -> Result<(), FibError> {
        if !list.is_new {
            return Ok(());
        }
        let now = self.now();
        let mut members = Vec::with_capacity(paths.len());
        for path in paths {
            let neighbor = Neighbor {
                link: link_of(&path.interface),
                address: path.next_hop,
            };
            let adjacency = self.adjacencies.ensure(&mut self.writer, neighbor)?;
            if !self.static_endpoints.contains_key(&neighbor) {
                self.neighbors.set_next_hop(neighbor, true, now);
            }
            members.push(PathMember {
                adjacency,
                weight: weight(path),
            });
        }
        self.writer.resolve_path_list(list.id, &members)
    }

    fn acknowledge(&mut self) {
        let mut newest = None;
        while let Some(&(mark, generation)) = self.unacknowledged.front() {
            if !self.writer.is_acknowledged(mark) {
                break;
            }
            newest = Some(generation);
            self.unacknowledged.pop_front();
        }
        if let Some(generation) = newest {
            self.acknowledged.send_replace(generation);
        }
    }

    /// What nobody uses any more is let go: outside addresses, and next hops that no route names.
    fn sweep(&mut self) {
        let now = self.now();
        let oldest = sekisho_nat::Generation::new(self.workers.oldest_generation());
        self.owners.reclaim(oldest);
        for neighbor in self.adjacencies.neighbors() {
            let resolved = matches!(
                self.neighbors.state(neighbor),
                Some(State::Reachable(_) | State::Probe(_))
            );
            let fixed = self.static_endpoints.contains_key(&neighbor);
            if !resolved && !fixed && self.adjacencies.release(&mut self.writer, neighbor) {
                self.neighbors.set_next_hop(neighbor, false, now);
            }
        }
    }

    fn neighbor_views(&self) -> Vec<NeighborView> {
        let now = self.now();
        let fixed = self
            .static_endpoints
            .iter()
            .map(|(neighbor, location)| NeighborView {
                neighbor: *neighbor,
                state: NeighborState::Static(*location),
                age: Duration::ZERO,
            });
        let dynamic = self
            .neighbors
            .iter()
            .map(|(neighbor, state, heard)| NeighborView {
                neighbor,
                state: NeighborState::Dynamic(state),
                age: now.saturating_sub(heard),
            });
        let mut views: Vec<_> = fixed.chain(dynamic).collect();
        views.sort_by_key(|view| view.neighbor);
        views
    }
}

fn link_of(interface: &InterfaceRef) -> Link {
    match interface.key {
        InterfaceKey::Uplink(id) => Link::Interface(id),
        InterfaceKey::Segment(id) => Link::Segment(id),
    }
}

/// Whether a neighbour's address still lies on its link.
fn is_on_link(snapshot: &Snapshot, neighbor: &Neighbor) -> bool {
    let address = match neighbor.address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => return is_on_link6(snapshot, neighbor.link, address),
    };
    match neighbor.link {
        Link::Interface(id) => snapshot
            .uplink(id)
            .is_some_and(|uplink| uplink.is_connected(address)),
        Link::Segment(id) => snapshot
            .segment(id)
            .is_some_and(|segment| segment.prefix.contains(address)),
    }
}

fn is_on_link6(snapshot: &Snapshot, link: Link, address: Ipv6Addr) -> bool {
    let local = address.is_unicast_link_local();
    match link {
        Link::Interface(id) => {
            let ipv6 = snapshot.uplink(id).and_then(|uplink| uplink.ipv6.as_ref());
            ipv6.is_some_and(|ipv6| local || ipv6.is_connected(address))
        }
        Link::Segment(id) => {
            let ipv6 = snapshot.segment(id).and_then(|own| own.ipv6.as_ref());
            ipv6.is_some_and(|ipv6| local || ipv6.prefix.contains(address))
        }
    }
}

fn static_endpoints(snapshot: &Snapshot) -> BTreeMap<Neighbor, Location> {
    let segments = snapshot.segments.iter().enumerate();
    let segments = segments.filter_map(|(index, segment)| Some((index, segment.as_ref()?)));
    segments
        .flat_map(|(index, segment)| {
            let link = Link::Segment(SegmentId::new(index as u16));
            let ipv4 = segment.static_endpoints.iter();
            let ipv4 = ipv4.map(|(address, location)| (IpAddr::V4(*address), *location));
            let ipv6 = segment.ipv6.iter().flat_map(|ipv6| &ipv6.static_endpoints);
            let ipv6 = ipv6.map(|(address, location)| (IpAddr::V6(*address), *location));
            ipv4.chain(ipv6).map(move |(address, location)| {
                let neighbor = Neighbor { link, address };
                (neighbor, location)
            })
        })
        .collect()
}

/// A table that is full, or an inconsistency: said, and forwarding goes on.
fn report(outcome: Result<(), FibError>, doing: &str) {
    if let Err(error) = outcome {
        tracing::error!(%error, "{doing} failed");
    }
}
