//! Ports as the configuration names them.

use anyhow::{Context, Result};
use sekisho_dpdk::{
    Driver, Eal, Mempool, MempoolOptions, Port, PortHandle, PortOptions, RxQueue, TxQueue,
};
use sekisho_host::IngressGuard;
use sekisho_mgmt::config::model::{self, PortKind};
use sekisho_types::MacAddr;

use crate::control::plan::PortFacts;

/// Buffers for each worker: what it can hold of every queue, ring and hold, with room to spare.
const BUFFERS_PER_WORKER: u32 = 8192;

/// All ports, attached.
#[derive(Debug)]
pub(super) struct Ports {
    /// Control sides, by port index.
    pub(super) handles: Vec<PortHandle>,
    /// Names and addresses, by port index.
    pub(super) facts: Vec<PortFacts>,
    /// Drivers, by port index.
    pub(super) drivers: Vec<&'static str>,
    /// Receive queues, by worker and port index.
    pub(super) rx: Vec<Vec<RxQueue>>,
    /// Transmit queues, by worker and port index.
    pub(super) tx: Vec<Vec<TxQueue>>,
    /// What keeps the kernel quiet on existing interfaces; goes after the ports.
    pub(super) guards: Vec<IngressGuard>,
}

/// The buffers of all packets.
pub(super) fn pool(eal: &Eal, config: &model::Config) -> Result<Mempool> {
    let data_room = config
        .ports
        .iter()
        .map(|port| port_options(port, config).data_room())
        .max();
    let workers = u32::from(config.gateway.workers);
    let default = MempoolOptions::new("packets", BUFFERS_PER_WORKER * workers - 1);
    let options = MempoolOptions {
        data_room: data_room.unwrap_or(0).max(default.data_room),
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
        drivers: Vec::new(),
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
    let (driver, mac) = match &port.kind {
        PortKind::Tap {
            interface,
            namespace,
        } => {
            let namespace = namespace.as_ref().map(ToString::to_string);
            // The kernel's end keeps its own address: ours is another, known to us alone.
            (
                Driver::Tap {
                    interface: interface.clone(),
                    namespace,
                },
                None,
            )
        }
        PortKind::AfPacket { interface } => {
            let interface = interface.clone();
            (
                Driver::AfPacket {
                    interface,
                    namespace: None,
                },
                port.mac,
            )
        }
    };
    PortOptions {
        queues: config.gateway.workers.into(),
        mtu: port.mtu,
        mac,
        ..PortOptions::new(driver)
    }
}

fn attach_one(
    eal: &Eal,
    port: &model::Port,
    config: &model::Config,
    pool: &Mempool,
    ports: &mut Ports,
) -> Result<()> {
    let (driver, is_tap) = match &port.kind {
        PortKind::Tap { .. } => ("net_tap", true),
        PortKind::AfPacket { interface } => {
            let guard =
                IngressGuard::install(interface).with_context(|| format!("port {}", port.name))?;
            for hint in guard.hints() {
                tracing::info!(port = %port.name, interface, "{hint}");
            }
            ports.guards.push(guard);
            ("net_af_packet", false)
        }
    };
    let options = port_options(port, config);
    let Port { handle, rx, tx } = Port::attach(eal, port.name.as_str(), &options, pool)?;
    let mac = match port.mac {
        Some(mac) => mac,
        None if is_tap => opposite(handle.mac()),
        None => handle.mac(),
    };
    ports.facts.push(PortFacts {
        name: port.name.clone(),
        mac,
    });
    ports.drivers.push(driver);
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
