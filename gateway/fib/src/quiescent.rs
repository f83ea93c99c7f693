//! When what was unlinked may be reused: after every worker has passed a burst boundary.
//!
//! The writer counts epochs. A worker notes the current epoch at each burst boundary, when it holds
//! nothing it read before. What was unlinked during epoch `e` is free once every worker has noted
//! an epoch after `e`: the noting worker saw the unlinking (release by the writer's new epoch), and
//! the writer saw the end of the worker's reads (release by the worker's note).

use std::collections::VecDeque;
use std::sync::atomic::{self, AtomicU64, Ordering};

use sekisho_types::WorkerId;

use crate::FibError;

/// A moment in the writer's history, to ask whether every worker has passed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(u64);

/// The note of a worker that is not running.
const OFFLINE: u64 = 0;
const FIRST: u64 = 1;

/// The atomic operations epochs are made of: those of the machine, or of a model checker.
pub(crate) trait Counter {
    fn new(value: u64) -> Self;
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    /// Sequentially consistent; whether `from` was replaced.
    fn exchange(&self, from: u64, to: u64) -> bool;
    /// Sequentially consistent.
    fn fence();
}

impl Counter for AtomicU64 {
    fn new(value: u64) -> Self {
        Self::new(value)
    }

    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    fn exchange(&self, from: u64, to: u64) -> bool {
        self.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }

    fn fence() {
        atomic::fence(Ordering::SeqCst);
    }
}

/// One counter in cache lines of its own (two: adjacent lines are fetched in pairs).
#[repr(align(128))]
struct Padded<C>(C);

/// The writer's epoch and every worker's last note of it.
pub(crate) struct Epochs<C = AtomicU64> {
    current: Padded<C>,
    noted: Box<[Padded<C>]>,
}

impl<C: Counter> Epochs<C> {
    pub(crate) fn new(workers: u8) -> Self {
        Self {
            current: Padded(C::new(FIRST)),
            noted: (0..workers).map(|_| Padded(C::new(OFFLINE))).collect(),
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
        let epoch = self.current.0.load(Ordering::Acquire);
        if !noted.0.exchange(OFFLINE, epoch) {
            return Err(FibError::WorkerBusy(worker));
        }
        // Either the writer's next look at the notes finds this worker, or this worker's reads
        // find everything unlinked before that look. Pairs with the fence in `oldest`.
        C::fence();
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
        C::fence();
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
        let epochs = Epochs::<AtomicU64>::new(2);
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
        let epochs = Epochs::<AtomicU64>::new(1);
        epochs.enter(ONE).unwrap();
        let mut deferred = Deferred::new();
        epochs.pass(ONE);
        deferred.push(epochs.current(), "block");
        epochs.pass(ONE);
        assert_eq!(deferred.pop_before(epochs.oldest()), None);
    }

    #[test]
    fn a_worker_that_left_holds_nothing_back() {
        let epochs = Epochs::<AtomicU64>::new(1);
        epochs.enter(ONE).unwrap();
        let mut deferred = Deferred::new();
        deferred.push(epochs.current(), "block");
        epochs.leave(ONE);
        assert_eq!(deferred.pop_before(epochs.oldest()), Some("block"));
    }

    #[test]
    fn a_worker_enters_once_and_only_if_it_exists() {
        let epochs = Epochs::<AtomicU64>::new(1);
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

    impl Counter for loom::sync::atomic::AtomicU64 {
        fn new(value: u64) -> Self {
            Self::new(value)
        }

        fn load(&self, order: Ordering) -> u64 {
            self.load(order)
        }

        fn store(&self, value: u64, order: Ordering) {
            self.store(value, order);
        }

        fn exchange(&self, from: u64, to: u64) -> bool {
            self.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
        }

        fn fence() {
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
    }

    /// A table of one slot, which is linked at first.
    struct Table {
        epochs: Epochs<loom::sync::atomic::AtomicU64>,
        is_linked: loom::sync::atomic::AtomicBool,
        /// The model fails when the slot is written while it is read.
        slot: loom::cell::UnsafeCell<()>,
    }

    impl Table {
        fn new() -> loom::sync::Arc<Self> {
            loom::sync::Arc::new(Self {
                epochs: Epochs::new(1),
                is_linked: loom::sync::atomic::AtomicBool::new(true),
                slot: loom::cell::UnsafeCell::new(()),
            })
        }

        fn burst(&self) {
            if self.is_linked.load(Ordering::Acquire) {
                self.slot.with(|_| ());
            }
            self.epochs.pass(ONE);
        }

        fn unlink_and_reuse(&self) {
            self.is_linked.store(false, Ordering::Release);
            let mut deferred = Deferred::new();
            deferred.push(self.epochs.current(), ());
            self.epochs.advance();
            for _ in 0..2 {
                if deferred.pop_before(self.epochs.oldest()).is_some() {
                    self.slot.with_mut(|_| ());
                }
            }
        }
    }

    #[test]
    fn in_every_order_of_events_no_slot_is_reused_while_it_is_read() {
        loom::model(|| {
            let table = Table::new();
            table.epochs.enter(ONE).unwrap();
            let worker = {
                let table = loom::sync::Arc::clone(&table);
                loom::thread::spawn(move || {
                    table.burst();
                    table.burst();
                })
            };
            table.unlink_and_reuse();
            worker.join().unwrap();
        });
    }

    #[test]
    fn in_every_order_of_events_a_worker_may_come_and_go() {
        loom::model(|| {
            let table = Table::new();
            let worker = {
                let table = loom::sync::Arc::clone(&table);
                loom::thread::spawn(move || {
                    table.epochs.enter(ONE).unwrap();
                    table.burst();
                    table.epochs.leave(ONE);
                })
            };
            table.unlink_and_reuse();
            worker.join().unwrap();
        });
    }
}
