//! Attaching: from options to a started port.

use std::ffi::CString;
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sekisho_dpdk_sys as sys;
use sekisho_types::MacAddr;

use super::descriptors::Descriptors;
use super::driver::{Interface, MacBy, MtuBy, Plan};
use super::error::PortError;
use super::handle::{Attached, PortHandle};
use super::kernel::{self, KernelInterface};
use super::namespace::{Namespace, within};
use super::queue::{RxQueue, TxQueue};
use super::{Port, PortOptions};
use crate::eal::Eal;
use crate::error_text;
use crate::mempool::Mempool;

const TX_DESCRIPTORS: u16 = 512;
/// `SOCKET_ID_ANY`.
const ANY_SOCKET: u32 = u32::MAX;

/// Numbers the devices of the process.
static DEVICES: AtomicU32 = AtomicU32::new(0);

impl Port {
    /// Attaches and starts a port; what it receives takes its buffers from `pool`.
    ///
    /// `name` is what errors and queues call it. A kernel interface is brought up and given the
    /// port's MTU (and MAC, if one is asked for).
    pub fn attach(
        eal: &Eal,
        name: &str,
        options: &PortOptions,
        pool: &Mempool,
    ) -> Result<Self, PortError> {
        let plan = options.driver.plan(options);
        options.check(name, &plan, pool)?;
        let descriptors = Descriptors::now();
        let mut attached = plug(eal, name, &plan, pool)?;
        attached.start(options, &plan)?;
        descriptors.seal_newer();
        let attached = Arc::new(attached);
        Ok(Self {
            handle: PortHandle::new(Arc::clone(&attached)),
            rx: (0..options.queues)
                .map(|number| RxQueue::new(&attached, number))
                .collect(),
            tx: (0..options.queues)
                .map(|number| TxQueue::new(&attached, number))
                .collect(),
        })
    }
}

/// Makes the device, with the checks that give clearer errors than the driver would.
fn plug(eal: &Eal, name: &str, plan: &Plan<'_>, pool: &Mempool) -> Result<Attached, PortError> {
    let refuse = |action, reason: String| PortError::Refused {
        port: name.into(),
        action,
        reason,
    };
    let namespace = match &plan.interface {
        Some(Interface {
            namespace: Some(namespace),
            ..
        }) => {
            kernel::check_rights(name, &[kernel::SYS_ADMIN])?;
            Some(Namespace::open(namespace)?)
        }
        Some(_) | None => None,
    };
    let number = DEVICES.fetch_add(1, Ordering::Relaxed);
    let text = |text: String| CString::new(text).map_err(|e| refuse("naming", e.to_string()));
    let device = text(format!("{}{number}", plan.driver))?;
    let arguments = text(plan.arguments.clone())?;

    let alone = eal.control();
    let (id, interface) = within(namespace.as_ref(), || {
        let interface = plan.interface.as_ref().map(|i| i.open(name)).transpose()?;
        // SAFETY: EAL is up; the texts are NUL-terminated and copied.
        let answer = unsafe {
            sys::rte_eal_hotplug_add(c"vdev".as_ptr(), device.as_ptr(), arguments.as_ptr())
        };
        if answer < 0 {
            return Err(refuse("making its device", error_text(-answer)));
        }
        let mut id = 0;
        // SAFETY: as above; writes one number.
        let answer = unsafe { sys::rte_eth_dev_get_port_by_name(device.as_ptr(), &mut id) };
        if answer < 0 {
            return Err(refuse("finding its device", error_text(-answer)));
        }
        Ok((id, interface))
    })?;
    drop(alone);
    Ok(Attached {
        name: name.to_owned(),
        device,
        id,
        mac: MacAddr::ZERO,
        mtu: 0,
        started: false,
        promiscuous: false,
        leftovers: 0,
        interface,
        namespace,
        open: true,
        pool: pool.clone(),
        eal: eal.clone(),
    })
}

impl Interface<'_> {
    /// Checks that the interface can be used or made, in the present namespace.
    fn open(&self, port: &str) -> Result<KernelInterface, PortError> {
        kernel::check_name(self.name)?;
        if self.made {
            kernel::check_rights(port, &[kernel::NET_ADMIN])?;
            kernel::check_tun_device()?;
        } else {
            kernel::check_rights(port, &[kernel::NET_ADMIN, kernel::NET_RAW])?;
        }
        let interface = KernelInterface::open(self.name).map_err(|e| PortError::Refused {
            port: port.to_owned(),
            action: "asking the kernel about its interface",
            reason: e.to_string(),
        })?;
        let (name, namespace) = (self.name.to_owned(), self.namespace.map(str::to_owned));
        match (self.made, interface.exists()) {
            (true, true) => Err(PortError::InterfaceExists {
                interface: name,
                namespace,
            }),
            (false, false) => Err(PortError::NoInterface {
                interface: name,
                namespace,
            }),
            (true, false) => Ok(interface),
            (false, true) => {
                // A packet socket bound while it is down fails its first transmission.
                interface.set_up().map_err(|e| PortError::Refused {
                    port: port.to_owned(),
                    action: "bringing its interface up",
                    reason: e.to_string(),
                })?;
                Ok(interface)
            }
        }
    }
}

impl Attached {
    fn start(&mut self, options: &PortOptions, plan: &Plan<'_>) -> Result<(), PortError> {
        within(self.namespace.as_ref(), || {
            self.configure(options, plan)?;
            self.set_mac(options, plan)?;
            // SAFETY: configured, all queues set up.
            self.ask("starting", unsafe { sys::rte_eth_dev_start(self.id) })
        })?;
        self.started = true;
        self.leftovers = if plan.leaves_packets {
            options.queues
        } else {
            0
        };
        self.mtu = options.mtu;
        self.mac = match (&plan.mac, options.mac) {
            (MacBy::Nobody, Some(mac)) => mac,
            (MacBy::Nobody | MacBy::Driver | MacBy::Argument, _) => self.driver_mac()?,
        };
        if options.promiscuous {
            within(self.namespace.as_ref(), || {
                // SAFETY: the port is there.
                let answer = unsafe { sys::rte_eth_promiscuous_enable(self.id) };
                self.ask("entering promiscuous mode", answer)
            })?;
            self.promiscuous = true;
        }
        Ok(())
    }

    /// Queues, and the MTU.
    fn configure(&self, options: &PortOptions, plan: &Plan<'_>) -> Result<(), PortError> {
        // SAFETY: all zeros asks for no offload and no distribution.
        let mut configuration: sys::rte_eth_conf = unsafe { mem::zeroed() };
        if plan.mtu == MtuBy::Configuration {
            configuration.rxmode.mtu = options.mtu.into();
        }
        let queues = options.queues;
        // SAFETY: a port that is not started; the configuration is copied.
        let answer = unsafe { sys::rte_eth_dev_configure(self.id, queues, queues, &configuration) };
        self.ask("configuring", answer)?;
        for queue in 0..queues {
            let pool = self.pool.as_ptr();
            // SAFETY: as above; no queue options means the driver's own; the pool outlives the
            // device, as `Attached` holds both.
            let (rx, tx) = unsafe {
                let count = plan.rx_descriptors;
                let none = ptr::null();
                (
                    sys::rte_eth_rx_queue_setup(self.id, queue, count, ANY_SOCKET, none, pool),
                    sys::rte_eth_tx_queue_setup(
                        self.id,
                        queue,
                        TX_DESCRIPTORS,
                        ANY_SOCKET,
                        ptr::null(),
                    ),
                )
            };
            self.ask("setting up a receive queue", rx)?;
            self.ask("setting up a transmit queue", tx)?;
        }
        self.set_mtu(options.mtu, plan)
    }

    fn set_mtu(&self, mtu: u16, plan: &Plan<'_>) -> Result<(), PortError> {
        if plan.mtu == MtuBy::Driver {
            // SAFETY: a configured port.
            self.ask("setting the MTU", unsafe {
                sys::rte_eth_dev_set_mtu(self.id, mtu)
            })?;
        }
        match &self.interface {
            Some(interface) if plan.mtu == MtuBy::Kernel => {
                interface.set_mtu(mtu).map_err(|e| PortError::Refused {
                    port: self.name.clone(),
                    action: "setting its interface's MTU",
                    reason: e.to_string(),
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn set_mac(&self, options: &PortOptions, plan: &Plan<'_>) -> Result<(), PortError> {
        let (MacBy::Driver, Some(mac)) = (&plan.mac, options.mac) else {
            return Ok(());
        };
        let mut address = sys::rte_ether_addr {
            addr_bytes: mac.octets(),
        };
        // SAFETY: a configured port; the address is copied.
        let answer = unsafe { sys::rte_eth_dev_default_mac_addr_set(self.id, &mut address) };
        self.ask("setting the Ethernet address", answer)
    }

    fn driver_mac(&self) -> Result<MacAddr, PortError> {
        let mut address = sys::rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: the port is there; writes one address.
        let answer = unsafe { sys::rte_eth_macaddr_get(self.id, &mut address) };
        self.ask("reading the Ethernet address", answer)?;
        Ok(MacAddr::new(address.addr_bytes))
    }
}
