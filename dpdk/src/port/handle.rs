//! A port's control side, and how a port ends.

use std::ffi::{CStr, CString};
use std::mem;
use std::sync::Arc;

use sekisho_dpdk_sys as sys;
use sekisho_types::MacAddr;

use super::error::{CloseError, PortError};
use super::kernel::KernelInterface;
use super::link::PortLink;
use super::namespace::{Namespace, within};
use crate::eal::Eal;
use crate::error_text;
use crate::mempool::Mempool;

/// The control side of a port. The port is stopped and removed when this and all its queues are
/// gone.
#[derive(Debug)]
pub struct PortHandle(Arc<Attached>);

/// What a port has counted since it was attached, in packets and octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Octets received.
    pub rx_octets: u64,
    /// Packets lost because nobody polled in time.
    pub rx_missed: u64,
    /// Packets received damaged or cut off.
    pub rx_errors: u64,
    /// Packets lost because no buffer was free.
    pub rx_no_buffer: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Octets sent.
    pub tx_octets: u64,
    /// Packets not sent.
    pub tx_errors: u64,
}

/// A device that was attached; detaches it when dropped.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) name: String,
    /// DPDK's name of the device.
    pub(super) device: CString,
    pub(super) id: u16,
    pub(super) mac: MacAddr,
    pub(super) mtu: u16,
    pub(super) started: bool,
    pub(super) promiscuous: bool,
    /// Queues to empty before the end, because the driver would not free what waits in them.
    pub(super) leftovers: u16,
    pub(super) interface: Option<KernelInterface>,
    /// DPDK's name of the bus it sits on.
    pub(super) bus: &'static CStr,
    /// DPDK's name of its driver.
    pub(super) driver: String,
    /// Whether it hashes flows over its queues; `None` if somebody else does.
    pub(super) hashes: Option<bool>,
    pub(super) namespace: Option<Namespace>,
    pub(super) open: bool,
    /// Declared after what needs them: buffers are still in use until the device is closed.
    pub(super) pool: Mempool,
    pub(super) eal: Eal,
}

impl PortHandle {
    pub(super) fn new(attached: Arc<Attached>) -> Self {
        Self(attached)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> MacAddr {
        self.0.mac
    }

    /// Largest IP packet, in octets.
    pub fn mtu(&self) -> u16 {
        self.0.mtu
    }

    /// DPDK's name of its driver, like `net_tap`.
    pub fn driver(&self) -> &str {
        &self.0.driver
    }

    /// Whether a NIC with several queues cannot hash flows over them: then packets arrive on
    /// whatever queue it likes, perhaps all on the first.
    pub fn lacks_rss(&self) -> bool {
        self.0.hashes == Some(false)
    }

    /// Whether frames can pass: for a kernel interface, whether it is up and has a carrier; for a
    /// memif, whether the other end is connected.
    pub fn link_up(&self) -> bool {
        self.0.link_up()
    }

    /// Looks at the link without keeping the port.
    pub fn link(&self) -> PortLink {
        PortLink::new(&self.0)
    }

    /// What it has counted.
    pub fn stats(&self) -> PortStats {
        // SAFETY: all zeros is valid; the port is there.
        let stats = unsafe {
            let mut stats: sys::rte_eth_stats = mem::zeroed();
            sys::rte_eth_stats_get(self.0.id, &mut stats);
            stats
        };
        PortStats {
            rx_packets: stats.ipackets,
            rx_octets: stats.ibytes,
            rx_missed: stats.imissed,
            rx_errors: stats.ierrors,
            rx_no_buffer: stats.rx_nombuf,
            tx_packets: stats.opackets,
            tx_octets: stats.obytes,
            tx_errors: stats.oerrors,
        }
    }

    /// Stops and removes the port, whose queues must be gone.
    pub fn close(self) -> Result<(), CloseError> {
        let mut attached = Arc::try_unwrap(self.0).map_err(|shared| {
            // Whoever holds the other reference only holds a queue.
            CloseError::InUse(Self(shared))
        })?;
        attached.detach()
    }
}

impl Attached {
    pub(super) fn link_up(&self) -> bool {
        if let Some(interface) = &self.interface {
            return interface.is_running();
        }
        // SAFETY: all zeros is a valid link state, which the call overwrites; the port is there.
        unsafe {
            let mut link: sys::rte_eth_link = mem::zeroed();
            sys::rte_eth_link_get_nowait(self.id, &mut link) == 0 && link.link_status() == 1
        }
    }

    pub(super) fn id(&self) -> u16 {
        self.id
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Asks DPDK for something; the error tells what.
    pub(super) fn ask(&self, action: &'static str, answer: i32) -> Result<(), PortError> {
        if answer >= 0 {
            return Ok(());
        }
        let reason = error_text(-answer);
        Err(PortError::Refused {
            port: self.name.clone(),
            action,
            reason,
        })
    }

    fn detach(&mut self) -> Result<(), CloseError> {
        if !mem::take(&mut self.open) {
            return Ok(());
        }
        let alone = self.eal.control();
        let outcome = within(self.namespace.as_ref(), || {
            // Everything is tried, whatever fails; the first complaint is told.
            let mut outcome = Ok(());
            // SAFETY: the port is there, nobody polls it any more, and it is not used again; the
            // texts are NUL-terminated.
            unsafe {
                if self.promiscuous {
                    let answer = sys::rte_eth_promiscuous_disable(self.id);
                    outcome = outcome.and(self.ask("leaving promiscuous mode", answer));
                }
                if self.started {
                    self.free_leftovers();
                    outcome = outcome.and(self.ask("stopping", sys::rte_eth_dev_stop(self.id)));
                }
                outcome = outcome.and(self.ask("closing", sys::rte_eth_dev_close(self.id)));
                let answer = sys::rte_eal_hotplug_remove(self.bus.as_ptr(), self.device.as_ptr());
                outcome.and(self.ask("removing", answer))
            }
        });
        drop(alone);
        outcome.map_err(|e| CloseError::Unclean {
            port: self.name.clone(),
            reason: e.to_string(),
        })
    }

    /// # Safety
    ///
    /// The port is started and nobody else polls it.
    unsafe fn free_leftovers(&self) {
        let mut burst = crate::Burst::new();
        for queue in 0..self.leftovers {
            loop {
                // SAFETY: the caller's contract; the burst is empty.
                let count = unsafe {
                    let spare = burst.spare_ptr();
                    let room = burst.room() as u16;
                    let count = sys::sekisho_rx_burst(self.id, queue, spare, room);
                    burst.adopt(count.into());
                    count
                };
                if count == 0 {
                    break;
                }
                burst.clear();
            }
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Nobody is left to tell; `PortHandle::close` does.
        let _ = self.detach();
    }
}
