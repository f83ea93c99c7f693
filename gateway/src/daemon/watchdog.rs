//! A worker that is silent for a second has hung; nothing can be saved then but time. The process
//! aborts, and the supervisor starts it anew.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Stop;
use crate::counters::WorkerCounters;

const LOOK: Duration = Duration::from_millis(100);
/// Looks without a sign of life. Only looks that came in time count: on a machine that stood still
/// as a whole, the workers are not to blame.
const PATIENCE: u32 = 10;

#[derive(Debug, Default)]
struct Watched {
    loops: u64,
    silent: u32,
}

impl Watched {
    /// One look that came in time; answers whether patience is at an end.
    fn look(&mut self, loops: u64) -> bool {
        self.silent = if loops == self.loops {
            self.silent + 1
        } else {
            0
        };
        self.loops = loops;
        self.silent >= PATIENCE
    }
}

/// Watches until `stop`.
pub(super) fn spawn(workers: Vec<Arc<WorkerCounters>>, stop: &Stop) -> io::Result<JoinHandle<()>> {
    let stop = stop.flag();
    std::thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            let mut watched: Vec<Watched> = workers.iter().map(|_| Watched::default()).collect();
            let mut last = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK);
                let in_time = last.elapsed() < 2 * LOOK;
                last = Instant::now();
                if !in_time {
                    continue;
                }
                for (id, (worker, watched)) in workers.iter().zip(&mut watched).enumerate() {
                    if watched.look(worker.loops.get()) && !stop.load(Ordering::Relaxed) {
                        tracing::error!(
                            worker = id,
                            "worker has been silent for a second; aborting"
                        );
                        std::process::abort();
                    }
                }
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lasting_silence_ends_patience() {
        let mut watched = Watched::default();
        assert!((0..100).all(|loops| !watched.look(loops)));
        assert!((1..PATIENCE).all(|_| !watched.look(99)));
        assert!(!watched.look(100));
        assert!((1..PATIENCE).all(|_| !watched.look(100)));
        assert!(watched.look(100));
    }
}
