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
/// Looks without a sign of life.
const PATIENCE: u32 = 10;

/// One worker, as it was seen last.
#[derive(Debug, Default)]
struct Watched {
    loops: u64,
    waited: Duration,
    silent: u32,
}

impl Watched {
    /// One look at a worker that turned `loops` times and `waited` for a CPU so long in all;
    /// answers whether patience is at an end. A look in which the worker had no CPU for more than
    /// half of the time does not count: on a machine that is too busy it is not to blame.
    fn look(&mut self, loops: u64, waited: Duration) -> bool {
        let starved = waited.saturating_sub(self.waited) > LOOK / 2;
        if loops != self.loops {
            self.silent = 0;
        } else if !starved {
            self.silent += 1;
        }
        self.loops = loops;
        self.waited = waited;
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
                // A machine that stood still as a whole says nothing about its workers.
                let in_time = last.elapsed() < 2 * LOOK;
                last = Instant::now();
                if !in_time {
                    continue;
                }
                for (id, (worker, watched)) in workers.iter().zip(&mut watched).enumerate() {
                    let waited = waited_for_cpu(worker.thread.get());
                    if watched.look(worker.loops.get(), waited) && !stop.load(Ordering::Relaxed) {
                        tracing::error!(worker = id, "worker is silent for a second; aborting");
                        std::process::abort();
                    }
                }
            }
        })
}

/// How long a thread of this process was ready to run and had no CPU, since it started. Unknown is
/// never.
fn waited_for_cpu(thread: u64) -> Duration {
    let path = format!("/proc/self/task/{thread}/schedstat");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let waited = text
        .split_whitespace()
        .nth(1)
        .and_then(|field| field.parse().ok());
    Duration::from_nanos(waited.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lasting_silence_ends_patience() {
        let mut watched = Watched::default();
        let none = Duration::ZERO;
        assert!((1..100).all(|loops| !watched.look(loops, none)));
        assert!((1..PATIENCE).all(|_| !watched.look(99, none)));
        assert!(!watched.look(100, none));
        assert!((1..PATIENCE).all(|_| !watched.look(100, none)));
        assert!(watched.look(100, none));
    }

    #[test]
    fn a_worker_without_a_cpu_is_not_to_blame() {
        let mut watched = Watched::default();
        assert!((1..100).all(|look| !watched.look(0, LOOK * look)));
    }

    #[test]
    fn a_threads_wait_is_read_from_the_kernel() {
        let thread = nix::unistd::gettid().as_raw();
        std::thread::yield_now();
        let path = format!("/proc/self/task/{thread}/schedstat");
        assert!(std::path::Path::new(&path).exists());
        assert_eq!(waited_for_cpu(0), Duration::ZERO);
    }
}
