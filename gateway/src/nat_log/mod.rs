//! The translation log: from the rings of the workers to a file, the daemon's own log and IPFIX
//! collectors.
//!
//! A thread of its own, for disks make it wait. While it does, rings fill, and what does not fit is
//! lost and counted; nobody else waits.

mod collector;
mod file;
mod ipfix;
mod output;
mod record;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use sekisho_mgmt::config::model;
use sekisho_nat::LogEvent;
use sekisho_types::Name;
use tokio::sync::watch;

use self::output::Outputs;
use crate::worker::link::{LogEntry, LogRing};

/// Entries taken from each ring at a time.
const BATCH: usize = 4096;
/// How long nothing is looked for when nothing was found.
const PAUSE: Duration = Duration::from_millis(10);

/// Where the log goes, and what numbers are called in it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where it goes.
    pub config: model::NatLog,
    /// What numbers are called.
    pub names: Arc<Names>,
}

/// What the numbers in events are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Tenants by VRF.
    pub tenants: BTreeMap<u16, Name>,
    /// Pools.
    pub pools: BTreeMap<u16, Name>,
    /// Uplinks.
    pub uplinks: BTreeMap<u16, Name>,
}

impl Names {
    /// Adds newer names. What has none any more keeps its own: its last events may be under way.
    fn learn(&mut self, newer: &Self) {
        let add = |own: &mut BTreeMap<u16, Name>, newer: &BTreeMap<u16, Name>| {
            own.extend(newer.iter().map(|(id, name)| (*id, name.clone())));
        };
        add(&mut self.tenants, &newer.tenants);
        add(&mut self.pools, &newer.pools);
        add(&mut self.uplinks, &newer.uplinks);
    }
}

/// How one output is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `file`, `journal` or `collector`.
    pub kind: &'static str,
    /// The path, or the address and port.
    pub target: String,
    /// Events written.
    pub written: u64,
    /// Events that could not be written.
    pub failed: u64,
    /// Why, the last time.
    pub last_error: String,
}

/// An event with its time.
#[derive(Clone, Copy, Debug)]
struct Timed {
    /// Milliseconds since 1970, UTC.
    millis: i64,
    event: LogEvent,
}

/// The ends the thread hears and is heard by.
pub struct Parts {
    /// Of each worker.
    pub rings: Vec<LogRing>,
    /// What is to be done; a change of it also reopens the file.
    pub settings: watch::Receiver<Settings>,
    /// How the outputs are.
    pub status: watch::Sender<Vec<Status>>,
    /// What the workers' clocks count from.
    pub epoch: Instant,
}

/// Starts the thread; it ends when the workers have ended and all is written.
pub fn spawn(parts: Parts) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("nat-log".to_owned())
        .spawn(move || run(parts))
}

fn run(mut parts: Parts) {
    let mut outputs = Outputs::default();
    follow(&mut parts, &mut outputs);
    let mut batch = Vec::new();
    loop {
        let over = parts.rings.iter().all(LogRing::is_abandoned);
        if parts.settings.has_changed().unwrap_or(false) {
            follow(&mut parts, &mut outputs);
        }
        take(&mut parts, &mut batch);
        outputs.write(&batch, now_millis());
        let status = outputs.status();
        parts.status.send_if_modified(|known| {
            let differs = *known != status;
            *known = status;
            differs
        });
        if batch.is_empty() {
            if over {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
    outputs.close(now_millis());
}

/// Takes over the settings. They are copied: nobody is to wait for a disk who sends others.
fn follow(parts: &mut Parts, outputs: &mut Outputs) {
    let settings = parts.settings.borrow_and_update().clone();
    outputs.configure(&settings, now_millis());
}

/// What the workers have told, in the order of its time.
fn take(parts: &mut Parts, batch: &mut Vec<Timed>) {
    batch.clear();
    let epoch_millis = now_millis() - parts.epoch.elapsed().as_millis() as i64;
    for ring in &mut parts.rings {
        for _ in 0..BATCH {
            let Ok(LogEntry { at_ns, event }) = ring.pop() else {
                break;
            };
            let millis = epoch_millis + (at_ns / 1_000_000) as i64;
            batch.push(Timed { millis, event });
        }
    }
    batch.sort_by_key(|timed| timed.millis);
}

fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
