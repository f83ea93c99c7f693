//! When what was unlinked may be reused: after every worker has passed a burst boundary.
//!
//! The writer counts epochs. A worker notes the current epoch at each burst boundary, when it holds
//! nothing it read before. What was unlinked during epoch `e` is free once every worker has noted
//! an epoch after `e`: the noting worker saw the unlinking (release by the writer's new epoch), and
//! the writer saw the end of the worker's reads (release by the worker's note).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use sekisho_types::WorkerId;

use crate::FibError;

/// A moment in the writer's history, to ask whether every worker has passed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(u64);

/// The note of a worker that is not running.
const OFFLINE: u64 = 0;
const FIRST: u64 = 1;

/// One counter in cache lines of its own (two: adjacent lines are fetched in pairs).
#[repr(align(128))]
struct Padded(AtomicU64);

/// The writer's epoch and every worker's last note of it.
pub(crate) struct Epochs {
    current: Padded,
    noted: Box<[Padded]>,
}

impl Epochs {
    pub(crate) fn new(workers: u8) -> Self {
        Self {
            current: Padded(AtomicU64::new(FIRST)),
            noted: (0..workers)
                .map(|_| Padded(AtomicU64::new(OFFLINE)))
                .collect(),
        }
    }

    /// Counts `worker` in: from now on nothing it may read is reused before it passes.
    pub(crate) fn enter(&self, worker: WorkerId) -> Result<(), FibError> {
        let noted = self
            .noted
            .get(worker.index())
            .ok_or(FibError::NoSuchWorker {
                worker,
                workers: self.noted.len(),
            })?;
        noted
            .0
            .compare_exchange(
                OFFLINE,
                self.current.0.load(Ordering::Acquire),
                Ordering::SeqCst,
                Ordering::Relaxed,
            )
            .map_err(|_| FibError::WorkerBusy(worker))?;
        // Either the writer's next look at the notes finds this worker, or this worker's reads
        // find everything unlinked before that look. Pairs with the fence in `oldest`.
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Counts `worker` out: it reads nothing any more.
    pub(crate) fn leave(&self, worker: WorkerId) {
        if let Some(noted) = self.noted.get(worker.index()) {
            noted.0.store(OFFLINE, Ordering::Release);
        }
    }

    /// Notes that `worker`, which entered, holds nothing it read before.
    #[inline]
    pub(crate) fn pass(&self, worker: WorkerId) {
        let epoch = self.current.0.load(Ordering::Acquire);
        if let Some(noted) = self.noted.get(worker.index()) {
            noted.0.store(epoch, Ordering::Release);
        }
    }

    /// The epoch what is unlinked now belongs to.
    pub(crate) fn current(&self) -> Epoch {
        Epoch(self.current.0.load(Ordering::Relaxed))
    }

    /// Begins the next epoch; only the writer does. Returns the one that ended.
    pub(crate) fn advance(&self) -> Epoch {
        let ended = self.current();
        self.current.0.store(ended.0 + 1, Ordering::Release);
        ended
    }

    /// The oldest note of a running worker; what belongs to an earlier epoch is free.
    pub(crate) fn oldest(&self) -> Epoch {
        fence(Ordering::SeqCst);
        Epoch(
            self.noted
                .iter()
                .map(|noted| noted.0.load(Ordering::Acquire))
                .filter(|&epoch| epoch != OFFLINE)
                .min()
                .unwrap_or(u64::MAX),
        )
    }
}

/// Things unlinked and not yet free, oldest first.
#[derive(Debug)]
pub(crate) struct Deferred<T>(VecDeque<(Epoch, T)>);

impl<T> Deferred<T> {
    pub(crate) const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Keeps `thing`, unlinked in epoch `now`.
    pub(crate) fn push(&mut self, now: Epoch, thing: T) {
        self.0.push_back((now, thing));
    }

    /// The next thing of an epoch before `oldest`.
    pub(crate) fn pop_before(&mut self, oldest: Epoch) -> Option<T> {
        self.0
            .pop_front_if(|(epoch, _)| *epoch < oldest)
            .map(|(_, thing)| thing)
    }

    /// The epoch of the youngest thing.
    pub(crate) fn youngest(&self) -> Option<Epoch> {
        self.0.back().map(|(epoch, _)| *epoch)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: WorkerId = WorkerId::new(0);
    const TWO: WorkerId = WorkerId::new(1);

    #[test]
    fn nothing_is_free_before_every_worker_has_passed() {
        let epochs = Epochs::new(2);
        epochs.enter(ONE).unwrap();
        epochs.enter(TWO).unwrap();
        let mut deferred = Deferred::new();
        deferred.push(epochs.current(), "block");
        epochs.advance();
        epochs.pass(ONE);
        assert_eq!(deferred.pop_before(epochs.oldest()), None);
        epochs.pass(TWO);
        assert_eq!(deferred.pop_before(epochs.oldest()), Some("block"));
    }

    #[test]
    fn passing_before_the_epoch_ended_frees_nothing() {
        let epochs = Epochs::new(1);
        epochs.enter(ONE).unwrap();
        let mut deferred = Deferred::new();
        epochs.pass(ONE);
        deferred.push(epochs.current(), "block");
        epochs.pass(ONE);
        assert_eq!(deferred.pop_before(epochs.oldest()), None);
    }

    #[test]
    fn a_worker_that_left_holds_nothing_back() {
        let epochs = Epochs::new(1);
        epochs.enter(ONE).unwrap();
        let mut deferred = Deferred::new();
        deferred.push(epochs.current(), "block");
        epochs.leave(ONE);
        assert_eq!(deferred.pop_before(epochs.oldest()), Some("block"));
    }

    #[test]
    fn a_worker_enters_once_and_only_if_it_exists() {
        let epochs = Epochs::new(1);
        epochs.enter(ONE).unwrap();
        assert_eq!(epochs.enter(ONE), Err(FibError::WorkerBusy(ONE)));
        assert_eq!(
            epochs.enter(TWO),
            Err(FibError::NoSuchWorker {
                worker: TWO,
                workers: 1
            })
        );
        epochs.leave(ONE);
        epochs.enter(ONE).unwrap();
    }
}
