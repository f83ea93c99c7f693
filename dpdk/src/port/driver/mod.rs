//! What differs between drivers: a plan that `attach` carries out.

mod af_packet;
mod af_xdp;
mod memif;
mod null;
mod pci;
mod ring;
mod tap;

use std::path::Path;

use sekisho_types::{MacAddr, PciAddress};

use super::error::PortError;
use super::{Driver, MemifRole, PortOptions};
use crate::mempool::Mempool;

/// How a driver wants to be attached.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    /// What DPDK makes a port of.
    pub(super) device: Device,
    /// The kernel interface behind it, and where that lives.
    pub(super) interface: Option<Interface<'a>>,
    /// The socket behind it.
    pub(super) socket: Option<Socket<'a>>,
    /// Descriptors per receive queue.
    pub(super) rx_descriptors: u16,
    /// Descriptors per transmit queue.
    pub(super) tx_descriptors: u16,
    /// Buffers the driver may hold for each queue pair.
    pub(super) buffers: u16,
    /// The largest number of queue pairs.
    pub(super) queues_most: u16,
    /// The largest MTU.
    pub(super) mtu_most: u16,
    /// Who is told the MTU.
    pub(super) mtu: MtuBy,
    /// Who is told the Ethernet address.
    pub(super) mac: MacBy,
    /// Whether the driver forgets what waits in its queues at the end.
    pub(super) leaves_packets: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Device {
    /// A virtual device, made for the port.
    Virtual {
        /// DPDK's name of the driver, with which the device's name must begin.
        driver: &'static str,
        /// Its device arguments.
        arguments: String,
    },
    /// A device that is there.
    Pci(PciAddress),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interface<'a> {
    pub(super) name: &'a str,
    pub(super) namespace: Option<&'a str>,
    /// Whether the driver makes it (else it must exist).
    pub(super) made: bool,
    /// Whether a program at its XDP hook reads it, each queue by itself.
    pub(super) xdp: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Socket<'a> {
    pub(super) path: &'a Path,
    pub(super) role: MemifRole,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum MtuBy {
    /// DPDK's configuration alone.
    Configuration,
    /// DPDK, which passes it to the kernel.
    Driver,
    /// The kernel, because DPDK would refuse one the driver can carry.
    Kernel,
    /// Nobody: the driver carries any, though DPDK would refuse some.
    Nobody,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum MacBy {
    /// The device arguments told the driver.
    Argument,
    /// DPDK tells the driver.
    Driver,
    /// The kernel, before the driver asks it.
    Kernel,
    /// Nobody: the driver has none.
    Nobody,
}

impl Driver {
    pub(super) fn plan(&self, options: &PortOptions) -> Plan<'_> {
        match self {
            Self::Tap {
                interface,
                namespace,
            } => tap::plan(interface, namespace.as_deref(), options.mac),
            Self::AfPacket {
                interface,
                namespace,
            } => af_packet::plan(interface, namespace.as_deref(), options),
            Self::AfXdp {
                interface,
                namespace,
            } => af_xdp::plan(interface, namespace.as_deref(), options.queues),
            Self::Memif(memif) => memif::plan(memif, options),
            Self::Pci(address) => pci::plan(*address),
            Self::Ring => ring::plan(),
            Self::Null { frame_size } => null::plan(*frame_size),
        }
    }
}

impl PortOptions {
    /// The smallest MTU of IPv4 (RFC 791).
    const MTU_LEAST: u16 = 68;

    /// Octets a buffer must have to receive every frame of this MTU whole, headroom included.
    pub fn data_room(&self) -> u16 {
        let octets = match self.driver {
            Driver::AfPacket { .. } => af_packet::buffer(self.mtu),
            Driver::AfXdp { .. } => af_xdp::buffer(self.mtu),
            Driver::Tap { .. } | Driver::Memif(_) | Driver::Pci(_) | Driver::Ring => {
                longest_frame(self.mtu)
            }
            Driver::Null { frame_size } => longest_frame(self.mtu).max(frame_size.into()),
        };
        u16::try_from(u32::from(Mempool::HEADROOM) + octets).unwrap_or(u16::MAX)
    }

    /// Buffers that the port itself may hold, waiting for packets or being sent; size the pool for
    /// them.
    pub fn buffers_held(&self) -> u32 {
        u32::from(self.driver.plan(self).buffers) * u32::from(self.queues)
    }

    pub(super) fn check(
        &self,
        port: &str,
        plan: &Plan<'_>,
        pool: &Mempool,
    ) -> Result<(), PortError> {
        let port = port.to_owned();
        if !(1..=plan.queues_most).contains(&self.queues) {
            return Err(PortError::Queues {
                port,
                asked: self.queues,
                most: plan.queues_most,
            });
        }
        if !(Self::MTU_LEAST..=plan.mtu_most).contains(&self.mtu) {
            let (least, most) = (Self::MTU_LEAST, plan.mtu_most);
            return Err(PortError::Mtu {
                port,
                asked: self.mtu,
                least,
                most,
            });
        }
        match self.mac {
            Some(mac) if !mac.is_unicast() => return Err(PortError::Mac(mac)),
            Some(_) | None => {}
        }
        let (needed, actual) = (self.data_room(), pool.data_room());
        if actual < needed {
            return Err(PortError::DataRoom {
                port,
                needed,
                actual,
            });
        }
        if matches!(self.driver, Driver::AfXdp { .. }) {
            af_xdp::check_pool(&port, pool)?;
        }
        if let Driver::Memif(memif) = &self.driver {
            memif.check(&port)?;
        }
        Ok(())
    }
}

/// Transmit descriptors of drivers that copy, or whose number is their own affair.
const TX_DESCRIPTORS: u16 = 512;

/// Octets of the longest frame of an MTU: Ethernet header, one VLAN tag, the packet.
const fn longest_frame(mtu: u16) -> u32 {
    14 + 4 + mtu as u32
}

/// The device argument that sets the Ethernet address.
fn mac_argument(mac: Option<MacAddr>) -> String {
    mac.map_or_else(String::new, |mac| format!(",mac={mac}"))
}
