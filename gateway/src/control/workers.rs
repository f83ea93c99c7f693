//! The workers, as the control task sees them: snapshots out, events in, questions asked.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho_nat::{AddressUsage, Cursor, PoolId, PoolUsage, SessionFilter, SessionView, VrfStats};
use sekisho_types::{InterfaceId, SegmentId, VrfId};
use tokio::sync::{mpsc, oneshot};

use crate::snapshot::Snapshot;
use crate::worker::link::{
    AddressPage, Command, ControlEnd, Event, FrameKind, PoolSet, Reply, SessionPage, Statistics,
};

/// Most events taken from one ring in one go.
const EVENT_BUDGET: usize = 256;
/// Sessions of a page, which a worker fills in several turns.
const PAGE: usize = 2048;
/// Whoever asked for sessions and reads none for this long is given up.
const STALLED: Duration = Duration::from_secs(5);

/// A question for the workers, one after the other.
#[derive(Debug)]
pub enum Query {
    /// List sessions, a page at a time.
    List(SessionFilter, mpsc::Sender<Vec<SessionView>>),
    /// Remove sessions, and say how many.
    Clear(SessionFilter, oneshot::Sender<u64>),
    /// What is used of each pool.
    Pools(Vec<PoolSet>, oneshot::Sender<Vec<PoolUsage>>),
    /// How many sessions each VRF has.
    Tenants(Vec<VrfId>, oneshot::Sender<Vec<u64>>),
    /// What was counted, for the gateway and so many VRFs.
    Statistics(usize, oneshot::Sender<Statistics>),
    /// What is used of each address of a pool.
    Addresses(PoolId, Vec<Ipv4Addr>, oneshot::Sender<Vec<AddressUsage>>),
}

#[derive(Debug)]
struct Running {
    query: Query,
    worker: usize,
    cleared: u64,
    usage: Vec<PoolUsage>,
    sessions: Vec<u64>,
    statistics: Statistics,
    addresses: Vec<AddressUsage>,
    /// A page that was filled, and waits for whoever asked.
    waiting: Option<SessionPage>,
    /// Since when.
    stalled: Option<Instant>,
}

#[derive(Debug)]
struct Published {
    snapshot: Arc<Snapshot>,
    done: oneshot::Sender<()>,
}

#[derive(Debug)]
struct WorkerState {
    end: ControlEnd,
    /// The generation it forwards by.
    generation: u64,
    /// The snapshot on its way.
    outstanding: Option<u64>,
    /// A newer one that waits for the way to be free.
    pending: Option<Arc<Snapshot>>,
}

/// All workers.
#[derive(Debug)]
pub struct Workers {
    states: Vec<WorkerState>,
    published: VecDeque<Published>,
    queries: VecDeque<Query>,
    running: Option<Running>,
}

impl Workers {
    /// Workers that all start with the snapshot of this generation.
    pub fn new(ends: Vec<ControlEnd>, generation: u64) -> Self {
        let state = |end| WorkerState {
            end,
            generation,
            outstanding: None,
            pending: None,
        };
        Self {
            states: ends.into_iter().map(state).collect(),
            published: VecDeque::new(),
            queries: VecDeque::new(),
            running: None,
        }
    }

    /// Gives every worker a new snapshot; `done` is told when all of them forward by it.
    pub fn publish(&mut self, snapshot: Arc<Snapshot>, done: oneshot::Sender<()>) {
        for state in &mut self.states {
            state.pending = Some(Arc::clone(&snapshot));
        }
        self.published.push_back(Published { snapshot, done });
        self.advance_snapshots();
    }

    /// The oldest generation any worker may still forward by.
    pub fn oldest_generation(&self) -> u64 {
        self.states
            .iter()
            .map(|state| state.generation)
            .min()
            .unwrap_or(0)
    }

    /// Asks the workers something.
    pub fn ask(&mut self, query: Query) {
        self.queries.push_back(query);
    }

    /// Sends a whole Ethernet frame on an uplink.
    pub fn send_on_uplink(&mut self, uplink: InterfaceId, frame: &[u8]) -> bool {
        self.send(FrameKind::Uplink(uplink), frame)
    }

    /// Sends a whole Ethernet frame to one VTEP of a segment.
    pub fn send_to_vtep(&mut self, segment: SegmentId, vtep: Ipv4Addr, frame: &[u8]) -> bool {
        self.send(FrameKind::Segment(segment, vtep), frame)
    }

    fn send(&mut self, kind: FrameKind, bytes: &[u8]) -> bool {
        let first = self.states.first_mut();
        first.is_some_and(|state| state.end.frames.send(|frame| frame.fill(kind, bytes)))
    }

    /// What the workers have to tell; uplinks first, within bounds.
    pub fn take_events(&mut self, out: &mut Vec<Event>) {
        for state in &mut self.states {
            let uplinks = std::iter::from_fn(|| state.end.uplink_events.pop().ok());
            out.extend(uplinks.take(EVENT_BUDGET));
        }
        for state in &mut self.states {
            let segments = std::iter::from_fn(|| state.end.segment_events.pop().ok());
            out.extend(segments.take(EVENT_BUDGET));
        }
    }

    /// Moves snapshots and questions on.
    pub fn advance(&mut self) {
        self.advance_snapshots();
        while self.advance_query() {}
    }

    fn advance_snapshots(&mut self) {
        for state in &mut self.states {
            while state.end.retired.pop().is_ok() {
                if let Some(generation) = state.outstanding.take() {
                    state.generation = generation;
                }
            }
            if state.outstanding.is_none()
                && let Some(snapshot) = state.pending.take()
            {
                state.outstanding = Some(snapshot.generation);
                // The way is free, so there is room.
                let _ = state.end.snapshots.push(snapshot);
            }
        }
        let oldest = self.oldest_generation();
        while let Some(published) = self
            .published
            .pop_front_if(|published| published.snapshot.generation <= oldest)
        {
            // Whoever asked may have gone.
            let _ = published.done.send(());
        }
    }

    /// One step of the question at hand; false when there is nothing to do for now.
    fn advance_query(&mut self) -> bool {
        let Some(running) = &mut self.running else {
            let Some(query) = self.queries.pop_front() else {
                return false;
            };
            let running = Running {
                query,
                worker: 0,
                cleared: 0,
                usage: Vec::new(),
                sessions: Vec::new(),
                statistics: Statistics::default(),
                addresses: Vec::new(),
                waiting: None,
                stalled: None,
            };
            self.running = running.begin(&mut self.states);
            return true;
        };
        if let Some(page) = running.waiting.take() {
            return self.deliver(page);
        }
        let Some(state) = self.states.get_mut(running.worker) else {
            self.running = None;
            return true;
        };
        match state.end.replies.pop() {
            Ok(Reply::Sessions(page)) => self.deliver(page),
            Ok(Reply::Cleared(count)) => {
                running.cleared += count;
                self.next_worker();
                true
            }
            Ok(Reply::Pools(pools)) => {
                running.usage.resize(pools.len(), PoolUsage::default());
                for (sum, (_, usage)) in running.usage.iter_mut().zip(pools) {
                    *sum += usage;
                }
                self.next_worker();
                true
            }
            Ok(Reply::Tenants(vrfs)) => {
                running.sessions.resize(vrfs.len(), 0);
                for (sum, (_, sessions)) in running.sessions.iter_mut().zip(vrfs) {
                    *sum += u64::from(sessions);
                }
                self.next_worker();
                true
            }
            Ok(Reply::Statistics(of_worker)) => {
                let sum = &mut running.statistics;
                sum.all += of_worker.all;
                sum.vrfs.resize(of_worker.vrfs.len(), VrfStats::default());
                for (sum, vrf) in sum.vrfs.iter_mut().zip(of_worker.vrfs) {
                    *sum += vrf;
                }
                self.next_worker();
                true
            }
            Ok(Reply::Addresses(page)) => {
                if running.addresses.is_empty() {
                    running.addresses = page.addresses;
                } else {
                    for (sum, usage) in running.addresses.iter_mut().zip(page.addresses) {
                        *sum += usage;
                    }
                }
                self.next_worker();
                true
            }
            Err(_) => false,
        }
    }

    fn next_worker(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.worker += 1;
            self.running = running.begin(&mut self.states);
        }
    }

    /// Hands a filled page to whoever asked, and asks for the next one.
    fn deliver(&mut self, mut page: SessionPage) -> bool {
        let Some(mut running) = self.running.take() else {
            return false;
        };
        let Query::List(filter, receiver) = &running.query else {
            return true;
        };
        if !page.sessions.is_empty() {
            match receiver.try_send(std::mem::take(&mut page.sessions)) {
                Ok(()) => running.stalled = None,
                Err(mpsc::error::TrySendError::Full(sessions)) => {
                    let since = *running.stalled.get_or_insert_with(Instant::now);
                    if since.elapsed() > STALLED {
                        // Others wait to ask.
                        return true;
                    }
                    page.sessions = sessions;
                    running.waiting = Some(page);
                    self.running = Some(running);
                    return false;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return true,
            }
        }
        match page.cursor {
            Some(cursor) => {
                let next = SessionPage::new(*filter, Some(cursor), PAGE);
                if let Some(state) = self.states.get_mut(running.worker) {
                    let _ = state.end.commands.push(Command::ListSessions(next));
                }
                self.running = Some(running);
            }
            None => {
                running.worker += 1;
                self.running = running.begin(&mut self.states);
            }
        }
        true
    }
}

impl Running {
    /// Asks the worker at hand; `None` when all have answered.
    fn begin(self, states: &mut [WorkerState]) -> Option<Self> {
        let Some(state) = states.get_mut(self.worker) else {
            // Whoever asked may have gone.
            match self.query {
                Query::List(..) => {}
                Query::Clear(_, done) => drop(done.send(self.cleared)),
                Query::Pools(_, done) => drop(done.send(self.usage)),
                Query::Tenants(_, done) => drop(done.send(self.sessions)),
                Query::Statistics(_, done) => drop(done.send(self.statistics)),
                Query::Addresses(.., done) => drop(done.send(self.addresses)),
            }
            return None;
        };
        let command = match &self.query {
            Query::List(filter, _) => Command::ListSessions(SessionPage::new(*filter, None, PAGE)),
            Query::Clear(filter, _) => Command::ClearSessions(*filter),
            Query::Pools(pools, _) => {
                let unused = |pool: &PoolSet| (*pool, PoolUsage::default());
                Command::ReadPools(pools.iter().map(unused).collect())
            }
            Query::Tenants(vrfs, _) => {
                Command::ReadTenants(vrfs.iter().map(|vrf| (*vrf, 0)).collect())
            }
            Query::Statistics(vrfs, _) => Command::ReadStatistics(Box::new(Statistics {
                vrfs: vec![VrfStats::default(); *vrfs],
                ..Statistics::default()
            })),
            Query::Addresses(pool, addresses, _) => Command::ReadAddresses(AddressPage {
                pool: *pool,
                cursor: Cursor::default(),
                addresses: addresses.iter().copied().map(AddressUsage::none).collect(),
            }),
        };
        // One question at a time: there is room.
        let _ = state.end.commands.push(command);
        Some(self)
    }
}
