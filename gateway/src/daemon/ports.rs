//! Ports as the configuration names them.

use std::collections::BTreeMap;
use std::fmt::Display;

use anyhow::{Context, Result};
use sekisho_dpdk::{
    Driver, Eal, Memif, MemifRole, Mempool, MempoolOptions, Port, PortHandle, PortLink,
    PortOptions, RxQueue, TxQueue,
};
use sekisho_host::IngressGuard;
use sekisho_mgmt::config::model::{self, PortKind};
use sekisho_types::{MacAddr, Name, PciAddress};

use crate::control::plan::PortFacts;

/// Buffers for each worker beside those that ports hold: what it can hold of every ring and hold,
/// with room to spare.
const BUFFERS_PER_WORKER: u32 = 8192;

/// All ports, attached.
#[derive(Debug)]
pub(super) struct Ports {
    /// Control sides, by port index.
    pub(super) handles: Vec<PortHandle>,
    /// Names and addresses, by port index.
    pub(super) facts: Vec<PortFacts>,
    /// Links that the kernel does not watch, by port name.
    pub(super) links: BTreeMap<Name, PortLink>,
    /// Receive queues, by worker and port index.
    pub(super) rx: Vec<Vec<RxQueue>>,
    /// Transmit queues, by worker and port index.
    pub(super) tx: Vec<Vec<TxQueue>>,
    /// What keeps the kernel quiet on existing interfaces; goes after the ports.
    pub(super) guards: Vec<IngressGuard>,
}

/// The buffers of all packets.
pub(super) fn pool(eal: &Eal, config: &model::Config) -> Result<Mempool> {
    let ports = || {
        let ports = config.ports.iter();
        ports.map(|port| port_options(port, config))
    };
    let data_room = ports().map(|options| options.data_room()).max();
    let held: u32 = ports().map(|options| options.buffers_held()).sum();
    let workers = u32::from(config.gateway.workers);
    let default = MempoolOptions::new("packets", BUFFERS_PER_WORKER * workers - 1 + held);
    let options = MempoolOptions {
        data_room: data_room.unwrap_or(0).max(default.data_room),
        // Ordinary pages lie where they please.
        numa_node: numa_node(config).filter(|_| eal.has_huge_pages()),
        ..default
    };
    Ok(Mempool::new(eal, &options)?)
}

/// Attaches all ports, with a queue pair for each worker.
pub(super) fn attach(eal: &Eal, config: &model::Config, pool: &Mempool) -> Result<Ports> {
    let workers = usize::from(config.gateway.workers);
    let mut ports = Ports {
        handles: Vec::new(),
        facts: Vec::new(),
        links: BTreeMap::new(),
        rx: (0..workers).map(|_| Vec::new()).collect(),
        tx: (0..workers).map(|_| Vec::new()).collect(),
        guards: Vec::new(),
    };
    for port in &config.ports {
        attach_one(eal, port, config, pool, &mut ports)?;
    }
    Ok(ports)
}

fn port_options(port: &model::Port, config: &model::Config) -> PortOptions {
    // The kernel's end of a TAP keeps its own address: ours is another, known to us alone.
    let mac = port.mac.filter(|_| !is_tap(port));
    PortOptions {
        queues: config.gateway.workers.into(),
        mtu: port.mtu,
        mac,
        ..PortOptions::new(driver(&port.kind))
    }
}

fn driver(kind: &PortKind) -> Driver {
    match kind {
        PortKind::Tap {
            interface,
            namespace,
        } => Driver::Tap {
            interface: interface.clone(),
            namespace: namespace.as_ref().map(ToString::to_string),
        },
        PortKind::AfPacket { interface } => Driver::AfPacket {
            interface: interface.clone(),
            namespace: None,
        },
        PortKind::AfXdp { interface } => Driver::AfXdp {
            interface: interface.clone(),
            namespace: None,
        },
        PortKind::Memif(memif) => Driver::Memif(Memif {
            socket: memif.socket.clone(),
            id: memif.id,
            role: match memif.role {
                model::MemifRole::Server => MemifRole::Server,
                model::MemifRole::Client => MemifRole::Client,
            },
            secret: memif.secret.clone(),
            ring_size: memif.ring_size,
        }),
        PortKind::Pci { address } => Driver::Pci(*address),
    }
}

fn is_tap(port: &model::Port) -> bool {
    matches!(port.kind, PortKind::Tap { .. })
}

/// The PCI devices that the configuration names.
pub(super) fn pci(config: &model::Config) -> Vec<PciAddress> {
    let address = |port: &model::Port| match port.kind {
        PortKind::Pci { address } => Some(address),
        _ => None,
    };
    config.ports.iter().filter_map(address).collect()
}

/// The NUMA node of all NICs, if it is one.
fn numa_node(config: &model::Config) -> Option<u16> {
    let mut nodes = pci(config).into_iter().map(sekisho_dpdk::numa_node);
    let first = nodes.next()??;
    nodes.all(|node| node == Some(first)).then_some(first)
}

fn attach_one(
    eal: &Eal,
    port: &model::Port,
    config: &model::Config,
    pool: &Mempool,
    ports: &mut Ports,
) -> Result<()> {
    let hint = |text: &dyn Display| tracing::info!(port = %port.name, "{text}");
    match &port.kind {
        PortKind::AfPacket { interface } => {
            let guard =
                IngressGuard::install(interface).with_context(|| format!("port {}", port.name))?;
            for text in guard.hints() {
                hint(text);
            }
            ports.guards.push(guard);
        }
        // The kernel receives nothing there anyway.
        PortKind::AfXdp { interface } => {
            let hints = sekisho_host::interface_hints(interface);
            for text in hints.with_context(|| format!("port {}", port.name))? {
                hint(&text);
            }
        }
        PortKind::Tap { .. } | PortKind::Memif(_) | PortKind::Pci { .. } => {}
    }
    let options = port_options(port, config);
    let Port { handle, rx, tx } = Port::attach(eal, port.name.as_str(), &options, pool)?;
    if handle.lacks_rss() {
        tracing::warn!(
            port = %port.name,
            driver = handle.driver(),
            "the NIC cannot hash flows over its queues (RSS); most packets will be handed over \
             between workers"
        );
    }
    let mac = match port.mac {
        Some(mac) => mac,
        None if is_tap(port) => opposite(handle.mac()),
        None => handle.mac(),
    };
    ports.facts.push(PortFacts {
        name: port.name.clone(),
        mac,
    });
    if matches!(port.kind, PortKind::Memif(_) | PortKind::Pci { .. }) {
        ports.links.insert(port.name.clone(), handle.link());
    }
    ports.handles.push(handle);
    for (worker, queue) in rx.into_iter().enumerate() {
        ports.rx[worker].push(queue);
    }
    for (worker, queue) in tx.into_iter().enumerate() {
        ports.tx[worker].push(queue);
    }
    Ok(())
}

/// Our Ethernet address on a TAP whose kernel end has `mac`: a locally administered one that
/// differs.
fn opposite(mac: MacAddr) -> MacAddr {
    let [a, b, c, d, e, f] = mac.octets();
    MacAddr::new([(a | 2) & !1, b, c, d, e, f ^ 0x80])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_tap_differ_and_are_stations() {
        let kernel = MacAddr::new([0x02, 0, 0, 0, 0, 0x80]);
        assert_ne!(opposite(kernel), kernel);
        assert!(opposite(kernel).is_unicast());
    }
}
