//! Ports: DPDK ethdevs, with their queues.

mod attach;
mod descriptors;
mod driver;
mod error;
mod handle;
mod kernel;
mod link;
mod memif;
mod namespace;
mod nic;
mod queue;
mod xdp;

pub use error::{CloseError, PortError};
pub use handle::{PortHandle, PortStats};
pub use link::PortLink;
pub use queue::{RxQueue, TxQueue};

use std::path::PathBuf;

use sekisho_types::{MacAddr, PciAddress};

/// A port as it comes from [`Port::attach`]: started, with one receive and one transmit queue per
/// worker. Take it apart and move the queues to the workers.
#[derive(Debug)]
pub struct Port {
    /// Its control side.
    pub handle: PortHandle,
    /// The receive queues, [`PortOptions::queues`] of them.
    pub rx: Vec<RxQueue>,
    /// The transmit queues, as many.
    pub tx: Vec<TxQueue>,
}

/// What drives a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A kernel interface that is made for the port and vanishes with it, or with the process.
    /// What the kernel sends into it is received here.
    Tap {
        /// The kernel interface to make; 1 to 15 letters, digits, `-`, `_`, `.` or `@`.
        interface: String,
        /// The network namespace (of `ip netns`) to make it in; by default the process's.
        namespace: Option<String>,
    },
    /// A packet socket per queue on an existing kernel interface, which spreads flows over them.
    /// The kernel goes on seeing every packet too.
    AfPacket {
        /// The kernel interface.
        interface: String,
        /// The network namespace (of `ip netns`) it lives in; by default the process's.
        namespace: Option<String>,
    },
    /// A program at the XDP hook of an existing kernel interface, which must spread what it
    /// receives over exactly as many queues as the port has. The kernel sees nothing of it.
    AfXdp {
        /// The kernel interface.
        interface: String,
        /// The network namespace (of `ip netns`) it lives in; by default the process's.
        namespace: Option<String>,
    },
    /// Memory shared with another process on this machine.
    Memif(Memif),
    /// A NIC, bound to a driver that leaves it to DPDK. Its address must be in
    /// [`EalOptions::pci`](crate::EalOptions::pci).
    Pci(PciAddress),
    /// Within the process: what is transmitted on a queue is received on the queue of the same
    /// number; at most 1023 packets wait in between, and at most 16 queues.
    Ring,
    /// Within the process: endless uninitialised frames of this size arrive, and what is
    /// transmitted is freed. With size 0 nothing arrives.
    Null {
        /// Octets of a frame that arrives.
        frame_size: u16,
    },
}

/// One end of memory shared with another process. The memory is the client's, and either end can
/// crash the other by writing nonsense into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memif {
    /// The socket at which both ends meet; the server's port makes it.
    pub socket: PathBuf,
    /// Tells pairs at the same socket apart.
    pub id: u32,
    /// Which end this is.
    pub role: MemifRole,
    /// What the client must know, if anything; 1 to 23 characters.
    pub secret: Option<String>,
    /// Packets that wait in each direction of each queue, if both ends allow so many; a power of
    /// two.
    pub ring_size: u32,
}

/// Which end of a memif.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemifRole {
    /// Waits for clients, also for the next one after the last one has gone.
    Server,
    /// Connects once, while it is attached; the server must be there.
    Client,
}

/// How to attach a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOptions {
    /// What drives it.
    pub driver: Driver,
    /// Receive queues, and as many transmit queues: one pair per worker.
    pub queues: u16,
    /// Largest IP packet, in octets.
    pub mtu: u16,
    /// The Ethernet address; by default the driver's.
    pub mac: Option<MacAddr>,
    /// Whether frames to other stations arrive too.
    pub promiscuous: bool,
}

impl PortOptions {
    /// One queue pair, an MTU of 1500, the driver's own Ethernet address, not promiscuous.
    pub fn new(driver: Driver) -> Self {
        Self {
            driver,
            queues: 1,
            mtu: 1500,
            mac: None,
            promiscuous: false,
        }
    }
}
