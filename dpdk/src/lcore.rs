//! Lcores: threads of EAL, each pinned to a CPU, that run workers.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use sekisho_dpdk_sys as sys;

use crate::eal::Eal;
use crate::error_text;

/// A thread of EAL that runs what is launched on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lcore {
    id: u16,
    cpu: u16,
}

/// Why nothing was launched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// It runs something else.
    #[error("lcore {0} is busy; join what runs on it first")]
    Busy(u16),
    /// There is no such lcore.
    #[error("EAL was started without lcore {0}")]
    Unknown(u16),
    /// DPDK refused.
    #[error("nothing can be launched on lcore {id}: {reason}")]
    Refused {
        /// The lcore.
        id: u16,
        /// What DPDK says.
        reason: String,
    },
}

/// What ran on the lcore panicked. With `panic = "abort"` the process ends instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what ran on lcore {id} panicked: {message}")]
pub struct LcorePanic {
    /// The lcore.
    pub id: u16,
    /// The panic's message.
    pub message: String,
}

/// What runs on an lcore. Dropping it lets the lcore run on.
#[must_use = "a panic on the lcore is reported by `join`"]
pub struct LcoreHandle<T> {
    id: u16,
    outcome: Receiver<Outcome<T>>,
}

type Outcome<T> = Result<T, Box<dyn Any + Send>>;
type Job = Box<dyn FnOnce() + Send>;

impl Lcore {
    pub(crate) const fn new(id: u16, cpu: u16) -> Self {
        Self { id, cpu }
    }

    /// DPDK's number of it; workers count from 1.
    pub const fn id(self) -> u16 {
        self.id
    }

    /// The CPU it is pinned to.
    pub const fn cpu(self) -> u16 {
        self.cpu
    }
}

impl Eal {
    /// Runs `job` on a worker's lcore.
    pub fn launch<T: Send + 'static>(
        &self,
        lcore: Lcore,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<LcoreHandle<T>, LaunchError> {
        let id = lcore.id();
        if !self.workers().contains(&lcore) {
            return Err(LaunchError::Unknown(id));
        }
        let (sender, outcome) = mpsc::sync_channel(1);
        let eal = self.clone();
        let job: Job = Box::new(move || {
            let result = panic::catch_unwind(AssertUnwindSafe(job));
            // Before the result is told, so that who joins may see EAL cleaned up.
            drop(eal);
            // Nobody listens when the handle was dropped.
            let _ = sender.send(result);
        });
        let argument = Box::into_raw(Box::new(job)).cast::<c_void>();
        let _alone = self.control();
        // SAFETY: `run` takes over the box behind `argument`, once; all of it is `Send`.
        let refused = unsafe { sys::rte_eal_remote_launch(Some(run), argument, id.into()) };
        if refused == 0 {
            return Ok(LcoreHandle { id, outcome });
        }
        // SAFETY: the lcore did not take the job, so it is still ours.
        drop(unsafe { Box::from_raw(argument.cast::<Job>()) });
        Err(match -refused {
            libc::EBUSY => LaunchError::Busy(id),
            errno => LaunchError::Refused {
                id,
                reason: error_text(errno),
            },
        })
    }
}

/// What the lcore calls: no panic passes it.
unsafe extern "C" fn run(argument: *mut c_void) -> c_int {
    // SAFETY: `launch` made it from such a box and gave it away.
    let job = unsafe { Box::from_raw(argument.cast::<Job>()) };
    job();
    0
}

impl<T> LcoreHandle<T> {
    /// DPDK's number of the lcore.
    pub fn lcore_id(&self) -> u16 {
        self.id
    }

    /// Waits until what runs there returns.
    pub fn join(self) -> Result<T, LcorePanic> {
        let outcome = self
            .outcome
            .recv()
            .unwrap_or_else(|_| Err(Box::new("no outcome")));
        self.settle(outcome)
    }

    /// Waits, but no longer than `limit`; then gives the handle back.
    pub fn join_timeout(self, limit: Duration) -> Result<Result<T, LcorePanic>, Self> {
        match self.outcome.recv_timeout(limit) {
            Ok(outcome) => Ok(self.settle(outcome)),
            Err(RecvTimeoutError::Timeout) => Err(self),
            Err(RecvTimeoutError::Disconnected) => Ok(self.settle(Err(Box::new("no outcome")))),
        }
    }

    fn settle(&self, outcome: Outcome<T>) -> Result<T, LcorePanic> {
        // The job is over; the lcore is free a moment later.
        // SAFETY: an lcore EAL was started with; waits for static memory to change.
        unsafe { sys::rte_eal_wait_lcore(self.id.into()) };
        outcome.map_err(|cause| LcorePanic {
            id: self.id,
            message: panic_text(&*cause),
        })
    }
}

impl<T> fmt::Debug for LcoreHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LcoreHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn panic_text(cause: &(dyn Any + Send)) -> String {
    cause
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| cause.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

/// DPDK's number of the lcore that runs this, or `None` on any other thread.
pub fn lcore_id() -> Option<u16> {
    // SAFETY: reads a thread-local integer.
    let id = unsafe { sys::sekisho_lcore_id() };
    (id < sys::SEKISHO_LCORES_MAX).then_some(id as u16)
}
