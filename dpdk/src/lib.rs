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
//! - Ports are `net_tap`, `net_af_packet`, `net_af_xdp`, `net_memif`, `net_ring`, `net_null`, and
//!   NICs by their PCI address. PCI devices are named when EAL starts; no other is ever probed.
//! - Neither receive nor transmit offloads are asked of a port. A NIC hashes flows over its queues
//!   if it can ([`PortHandle::lacks_rss`]); 1024 descriptors, or what comes nearest.
//! - EAL can start once in a process's life, also after it was cleaned up; and it calls
//!   `rte_panic`, which aborts, when the system has no more file descriptors or threads to give.
//! - `net_tap` of DPDK 22.11 carries at most 4 queue pairs and an MTU of 1504; it raises a
//!   real-time signal at the process for arriving frames, so at least one thread must leave the
//!   real-time signals unblocked.
//! - `net_af_packet` makes the kernel reassemble IPv4 fragments before it hands them over, and
//!   cuts off what is longer than the frame size that the MTU gave. It does not count what the
//!   kernel dropped for want of ring space. Frames that the kernel itself sends on the interface
//!   are received too. What is sent first after the interface was down leaves with the next burst.
//! - `net_af_xdp` reads an interface only if that has as many queues as the port, takes an MTU of
//!   at most 3438, buffers of at most a page, and memory in one piece, which an EAL with physical
//!   addresses (PCI devices without an IOMMU) may not have.
//! - `net_memif` needs as many queues at the other end and does not check that: a queue without its
//!   counterpart uses the first one's ring. It trusts the other end: who may open the socket can crash the process. When the
//!   other end goes, the driver takes the memory away without waiting for whoever polls just then;
//!   it looks first whether the other end is there, so that takes a badly timed preemption. A
//!   client connects while it is attached, and not again.
//! - A TAP, packet or XDP port changes the MTU and state of its kernel interface and, for an existing
//!   interface, leaves them so.

mod burst;
mod eal;
#[cfg(feature = "fib-comparator")]
mod fib;
mod lcore;
mod mbuf;
mod mempool;
mod pci;
mod port;
mod tsc;

pub use burst::Burst;
pub use eal::{Eal, EalError, EalOptions, HugePages, LogLevel, allowed_cpus, version};
#[cfg(feature = "fib-comparator")]
pub use fib::{Dir24, Dir24Error};
pub use lcore::{LaunchError, Lcore, LcoreHandle, LcorePanic, lcore_id};
pub use mbuf::{LinearizeError, Mbuf};
pub use mempool::{Mempool, MempoolError, MempoolOptions};
pub use pci::{PciError, numa_node};
pub use port::{
    CloseError, Driver, Memif, MemifRole, Port, PortError, PortHandle, PortLink, PortOptions,
    PortStats, RxQueue, TxQueue,
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
