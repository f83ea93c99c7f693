//! Safe DPDK: EAL, ports, queues, mbufs, lcores.
//!
//! All `unsafe` of the data plane's way to the wire lives here. The types say what C leaves to
//! discipline:
//!
//! - [`Eal`] exists once per process; ports, pools and running lcores keep it alive.
//! - An [`Mbuf`] is one owned packet; a [`Burst`] is up to 64 of them. Dropping gives buffers back.
//!   What a transmit queue did not take stays in the burst.
//! - [`RxQueue`] and [`TxQueue`] move between threads but are never shared, and a port is stopped
//!   and removed only when its handle and all its queues are gone.
//! - An [`Lcore`] runs a closure; its panic is reported at [`LcoreHandle::join`], never unwound
//!   into C.
//!
//! ```no_run
//! use sekisho_dpdk::{Burst, Driver, Eal, EalOptions, Mempool, MempoolOptions, Port, PortOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let eal = Eal::init(&EalOptions { workers: vec![0, 1], ..EalOptions::new("sekisho") })?;
//! let tap = Driver::Tap { interface: "tap0".into(), namespace: None };
//! let options = PortOptions { queues: 2, ..PortOptions::new(tap) };
//! let pool = Mempool::new(&eal, &MempoolOptions::new("packets", 8192))?;
//! let Port { handle, mut rx, mut tx } = Port::attach(&eal, "tap", &options, &pool)?;
//! let mut burst = Burst::new();
//! rx[0].receive(&mut burst);
//! tx[0].transmit(&mut burst);
//! # drop(handle);
//! # Ok(())
//! # }
//! ```
//!
//! # Limitations
//!
//! - Ports are `net_tap`, `net_af_packet`, `net_ring` and `net_null`; PCI devices are never probed.
//! - Neither receive nor transmit offloads are asked of a port.
//! - EAL can start once in a process's life, also after it was cleaned up; and it calls
//!   `rte_panic`, which aborts, when the system has no more file descriptors or threads to give.
//! - `net_tap` of DPDK 22.11 carries at most 4 queue pairs and an MTU of 1504; it raises a
//!   real-time signal at the process for arriving frames, so at least one thread must leave the
//!   real-time signals unblocked.
//! - `net_af_packet` makes the kernel reassemble IPv4 fragments before it hands them over, and
//!   cuts off what is longer than the frame size that the MTU gave. It does not count what the
//!   kernel dropped for want of ring space. Frames that the kernel itself sends on the interface
//!   are received too. What is sent first after the interface was down leaves with the next burst.
//! - A TAP or packet port changes the MTU and state of its kernel interface and, for an existing
//!   interface, leaves them so.

mod burst;
mod eal;
#[cfg(feature = "fib-comparator")]
mod fib;
mod lcore;
mod mbuf;
mod mempool;
mod port;
mod tsc;

pub use burst::Burst;
pub use eal::{Eal, EalError, EalOptions, HugePages, LogLevel, allowed_cpus, version};
#[cfg(feature = "fib-comparator")]
pub use fib::{Dir24, Dir24Error};
pub use lcore::{LaunchError, Lcore, LcoreHandle, LcorePanic, lcore_id};
pub use mbuf::{LinearizeError, Mbuf};
pub use mempool::{Mempool, MempoolError, MempoolOptions};
pub use port::{
    CloseError, Driver, Port, PortError, PortHandle, PortOptions, PortStats, RxQueue, TxQueue,
};
pub use tsc::rdtsc;

use std::ffi::CStr;

/// The text of a (positive) DPDK error number.
fn error_text(number: i32) -> String {
    // SAFETY: returns a NUL-terminated text: a constant or a buffer of the calling thread, which
    // is copied before the next call.
    let text = unsafe { CStr::from_ptr(sekisho_dpdk_sys::rte_strerror(number)) };
    text.to_string_lossy().into_owned()
}

/// DPDK's last error number of this thread.
fn last_error() -> i32 {
    // SAFETY: reads a thread-local integer.
    unsafe { sekisho_dpdk_sys::sekisho_errno() }
}
