//! Attaching: from options to a started port.

use std::ffi::{CStr, CString};
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sekisho_dpdk_sys as sys;
use sekisho_types::MacAddr;

use super::descriptors::Descriptors;
use super::driver::{Device, Interface, MacBy, MtuBy, Plan};
use super::error::PortError;
use super::handle::{Attached, PortHandle};
use super::kernel::{self, KernelInterface};
use super::namespace::{Namespace, within};
use super::nic::Distribution;
use super::queue::{RxQueue, TxQueue};
use super::{Port, PortOptions, xdp};
use crate::eal::Eal;
use crate::error_text;
use crate::mempool::Mempool;
use crate::pci::PciError;

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
        let mut attached = plug(eal, name, options, &plan, pool)?;
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
fn plug(
    eal: &Eal,
    name: &str,
    options: &PortOptions,
    plan: &Plan<'_>,
    pool: &Mempool,
) -> Result<Attached, PortError> {
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
    let text = |text: String| CString::new(text).map_err(|e| refuse("naming", e.to_string()));
    let (bus, device, arguments) = match &plan.device {
        Device::Virtual { driver, arguments } => {
            let number = DEVICES.fetch_add(1, Ordering::Relaxed);
            (c"vdev", format!("{driver}{number}"), arguments.clone())
        }
        Device::Pci(address) => (c"pci", address.to_string(), String::new()),
    };
    let (device, arguments) = (text(device)?, text(arguments)?);

    let alone = eal.control();
    let (id, interface) = within(namespace.as_ref(), || {
        let interface = plan.interface.as_ref().map(|i| i.open(name)).transpose()?;
        if let Some(interface) = &interface {
            prepare(name, interface, options, plan)?;
        }
        if let Some(socket) = &plan.socket {
            socket.open(name)?;
        }
        let id = match plan.device {
            Device::Virtual { .. } => {
                add(bus, &device, &arguments)
                    .map_err(|reason| refuse("making its device", reason))?;
                find(&device).map_err(|reason| refuse("finding its device", reason))?
            }
            Device::Pci(address) => {
                let refuse = |source| PortError::Pci {
                    port: name.to_owned(),
                    source,
                };
                if !eal.allows(address) {
                    return Err(refuse(PciError::NotAllowed(address)));
                }
                // EAL probed it at its start, unless that failed: then this says why.
                let found = find(&device);
                found
                    .or_else(|_| add(bus, &device, &arguments).and_then(|()| find(&device)))
                    .map_err(|reason| refuse(PciError::NoDriver { address, reason }))?
            }
        };
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
        bus,
        driver: String::new(),
        hashes: None,
        namespace,
        open: true,
        pool: pool.clone(),
        eal: eal.clone(),
    })
}

/// Makes a device.
fn add(bus: &CStr, device: &CStr, arguments: &CStr) -> Result<(), String> {
    // SAFETY: EAL is up, as whoever calls this holds it; the texts are NUL-terminated and copied.
    match unsafe { sys::rte_eal_hotplug_add(bus.as_ptr(), device.as_ptr(), arguments.as_ptr()) } {
        0.. => Ok(()),
        answer => Err(error_text(-answer)),
    }
}

/// DPDK's number of a device.
fn find(device: &CStr) -> Result<u16, String> {
    let mut id = 0;
    // SAFETY: as above; writes one number.
    match unsafe { sys::rte_eth_dev_get_port_by_name(device.as_ptr(), &mut id) } {
        0.. => Ok(id),
        answer => Err(error_text(-answer)),
    }
}

/// Gets an existing interface ready for its driver, in the present namespace.
fn prepare(
    port: &str,
    interface: &KernelInterface,
    options: &PortOptions,
    plan: &Plan<'_>,
) -> Result<(), PortError> {
    let refuse = |action| {
        move |e: std::io::Error| PortError::Refused {
            port: port.to_owned(),
            action,
            reason: e.to_string(),
        }
    };
    if plan
        .interface
        .as_ref()
        .is_some_and(|interface| interface.xdp)
    {
        let channels = interface
            .channels()
            .map_err(refuse("asking for its interface's queues"))?;
        if options.queues > 1 && channels.combined_most == 0 {
            return Err(PortError::OneChannel {
                port: port.to_owned(),
                interface: interface.name().to_owned(),
                wanted: options.queues,
            });
        }
        if channels.receiving != u32::from(options.queues) {
            return Err(PortError::Channels {
                port: port.to_owned(),
                interface: interface.name().to_owned(),
                actual: channels.receiving,
                wanted: options.queues,
                set: if channels.combined_most > 0 {
                    "combined"
                } else {
                    "rx"
                },
            });
        }
        xdp::free_hook(port, interface)?;
    }
    if let (MacBy::Kernel, Some(mac)) = (&plan.mac, options.mac) {
        interface
            .set_mac(mac)
            .map_err(refuse("setting its interface's Ethernet address"))?;
    }
    if plan.mtu == MtuBy::Kernel {
        interface
            .set_mtu(options.mtu)
            .map_err(refuse("setting its interface's MTU"))?;
    }
    Ok(())
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
        let info = self.device_info()?;
        if !info.driver_name.is_null() {
            // SAFETY: a NUL-terminated text of the driver, copied.
            let name = unsafe { CStr::from_ptr(info.driver_name) };
            self.driver = name.to_string_lossy().into_owned();
        }
        let is_nic = matches!(plan.device, Device::Pci(_));
        let most = info.max_rx_queues.min(info.max_tx_queues);
        if is_nic && options.queues > most {
            return Err(PortError::Queues {
                port: self.name.clone(),
                asked: options.queues,
                most,
            });
        }
        let mut distribution = match is_nic && options.queues > 1 {
            true => Distribution::of(&info),
            false => None,
        };
        within(self.namespace.as_ref(), || {
            self.configure(options, plan, distribution.as_mut())?;
            self.set_mac(options, plan)?;
            // SAFETY: configured, all queues set up.
            self.ask("starting", unsafe { sys::rte_eth_dev_start(self.id) })
        })?;
        self.started = true;
        if is_nic {
            self.admit_groups();
            self.hashes = (options.queues > 1).then_some(distribution.is_some());
        }
        if let Some(distribution) = &distribution {
            self.share_out(distribution, options.queues)?;
        }
        self.leftovers = if plan.leaves_packets {
            options.queues
        } else {
            0
        };
        self.mtu = options.mtu;
        self.mac = match (&plan.mac, options.mac) {
            (MacBy::Nobody, Some(mac)) => mac,
            (MacBy::Nobody | MacBy::Driver | MacBy::Kernel | MacBy::Argument, _) => {
                self.driver_mac()?
            }
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
    fn configure(
        &self,
        options: &PortOptions,
        plan: &Plan<'_>,
        distribution: Option<&mut Distribution>,
    ) -> Result<(), PortError> {
        // SAFETY: all zeros asks for no offload and no distribution.
        let mut configuration: sys::rte_eth_conf = unsafe { mem::zeroed() };
        if plan.mtu == MtuBy::Configuration {
            configuration.rxmode.mtu = options.mtu.into();
        }
        if let Some(distribution) = distribution {
            distribution.ask_for(&mut configuration);
        }
        let queues = options.queues;
        // SAFETY: a port that is not started; the configuration is copied.
        let answer = unsafe { sys::rte_eth_dev_configure(self.id, queues, queues, &configuration) };
        self.ask("configuring", answer)?;
        let (rx, tx) = match plan.device {
            Device::Virtual { .. } => (plan.rx_descriptors, plan.tx_descriptors),
            Device::Pci(_) => self.descriptors(plan.rx_descriptors, plan.tx_descriptors)?,
        };
        for queue in 0..queues {
            let pool = self.pool.as_ptr();
            // SAFETY: as above; no queue options means the driver's own; the pool outlives the
            // device, as `Attached` holds both.
            let (rx, tx) = unsafe {
                let none = ptr::null();
                (
                    sys::rte_eth_rx_queue_setup(self.id, queue, rx, ANY_SOCKET, none, pool),
                    sys::rte_eth_tx_queue_setup(self.id, queue, tx, ANY_SOCKET, ptr::null()),
                )
            };
            self.ask("setting up a receive queue", rx)?;
            self.ask("setting up a transmit queue", tx)?;
        }
        if plan.mtu == MtuBy::Driver {
            // SAFETY: a configured port.
            self.ask("setting the MTU", unsafe {
                sys::rte_eth_dev_set_mtu(self.id, options.mtu)
            })?;
        }
        Ok(())
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
