//! DPDK's own test program, as a forwarder and as whoever sends and receives.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sekisho_dpdk::allowed_cpus;
use sekisho_tests::lab::{Host, Process, wait_until};

use super::flows::Player;
use super::tools;
use crate::hugepages;
use crate::options::Options;

const STOP: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(30);

/// Where it is in Debian.
pub(crate) const PACKAGE: &str = "dpdk-dev";

/// One run of `dpdk-testpmd`.
#[derive(Clone, Debug)]
pub(crate) struct Testpmd {
    /// Tells processes apart.
    pub(crate) name: &'static str,
    /// Where its one forwarding thread is pinned.
    pub(crate) cpu: u16,
    /// Its ports: forwarding goes between the first and the second, or back out of an only one.
    pub(crate) ports: Vec<String>,
    /// What it does with a packet.
    pub(crate) mode: &'static str,
    pub(crate) burst: u16,
    /// Queues of each port.
    pub(crate) queues: u16,
    /// Packet buffers, and octets of each; a capture played from memory takes one a frame.
    pub(crate) buffers: usize,
    pub(crate) buffer: usize,
}

impl Testpmd {
    /// Forwards on `cpu`, with as many buffers as virtual ports need.
    pub(crate) fn new(name: &'static str, cpu: u16, burst: u16) -> Self {
        Self {
            name,
            cpu,
            ports: Vec::new(),
            mode: "io",
            burst,
            queues: 1,
            buffers: 16_384,
            buffer: 2176,
        }
    }

    /// Plays captures into `port` and takes back what comes out of it; on `cpu`.
    pub(crate) fn sender(player: &Player, port: String, cpu: u16, options: &Options) -> Self {
        let mut sender = Self::new("sender", cpu, options.burst);
        sender.queues = player.queues();
        sender.ports = vec![player.port(), port];
        sender.buffers += player.frames;
        sender.buffer = 384;
        sender
    }

    /// Starts it in a namespace; it forwards at once and tells its counters every second.
    pub(crate) fn start(&self, host: &Host) -> Result<Process> {
        host.spawn(self.name, &self.command()?)
    }

    fn command(&self) -> Result<String> {
        let program = tools::find("dpdk-testpmd", PACKAGE)?;
        let cpus: Vec<String> = allowed_cpus()?.iter().map(u16::to_string).collect();
        let ports: Vec<String> = self
            .ports
            .iter()
            .map(|port| format!("--vdev={port}"))
            .collect();
        // Line by line: the counters are read while it runs.
        Ok(format!(
            "stdbuf -oL {} {} --lcores=0@({}),1@{} --main-lcore=0 {} -- --stats-period=1 \
             --nb-cores=1 --forward-mode={} --burst={} --rxq={queues} --txq={queues} \
             --port-topology={} --total-num-mbufs={} --mbuf-size={} --no-flush-rx \
             --record-core-cycles",
            program.display(),
            eal(self.name, self.mib()),
            cpus.join(","),
            self.cpu,
            ports.join(" "),
            self.mode,
            self.burst,
            if self.ports.len() == 1 {
                "loop"
            } else {
                "paired"
            },
            self.buffers,
            self.buffer,
            queues = self.queues,
        )
        .replace('(', "\\(")
        .replace(')', "\\)"))
    }

    /// Memory for its buffers, their headers and the rings.
    fn mib(&self) -> u64 {
        let octets = self.buffers * (self.buffer + 256);
        (octets >> 20) as u64 + 96
    }
}

/// The arguments of EAL for a process of its own: never PCI, huge pages where enough are free.
fn eal(name: &str, mib: u64) -> String {
    let memory = if hugepages::free_mib() > mib {
        "--in-memory --single-file-segments"
    } else {
        "--no-huge --no-shconf"
    };
    let process = std::process::id();
    format!(
        "{memory} -m {mib} --no-pci --iova-mode=va --no-telemetry --file-prefix=bench-{process}-{name}"
    )
}

/// A port of shared memory, connected over `socket`.
pub(crate) fn memif(role: &str, socket: &Path) -> String {
    format!(
        "net_memif0,role={role},socket={},socket-abstract=no,rsize=11",
        socket.display()
    )
}

/// A CPU for whoever sends, other than the one that is measured.
pub(crate) fn other_cpu(measured: u16) -> Result<u16> {
    allowed_cpus()?
        .into_iter()
        .find(|&cpu| cpu != measured)
        .with_context(|| format!("there is no CPU beside CPU {measured} for whoever sends"))
}

/// Ends it in good order: its ports say so to the other side.
pub(crate) fn stop(process: &mut Process) -> Result<()> {
    process.stop(Signal::SIGINT, STOP).map(drop)
}

/// Ends it and returns the clocks for each packet it forwarded.
pub(crate) fn clocks(process: &mut Process) -> Result<f64> {
    stop(process)?;
    let log = process.log();
    parse_clocks(&log).with_context(|| format!("dpdk-testpmd tells no clocks:\n{log}"))
}

fn parse_clocks(log: &str) -> Option<f64> {
    let rest = log.split("CPU cycles/packet=").nth(1)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Waits until it has received on its port `port`.
pub(crate) fn wait_received(process: &mut Process, port: usize) -> Result<()> {
    wait_until(START, "packets come back", || {
        let rates = rates(&process.log(), port);
        let flows = rates.iter().rev().take(2).all(|&rate| rate > 0.0);
        ensure!(
            rates.len() > 2 && flows,
            "rates in the last seconds: {rates:?}"
        );
        Ok(())
    })
}

/// The packets a second it received on its port `port`, for each second so far.
pub(crate) fn rates(log: &str, port: usize) -> Vec<f64> {
    let heading = format!("NIC statistics for port {port} ");
    let rate = |block: &str| -> Option<f64> {
        let rest = block.split("Rx-pps:").nth(1)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    log.split(&heading).skip(1).filter_map(rate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_a_port_are_found_among_those_of_others() {
        let log = "
  ######################## NIC statistics for port 0  ########################
  RX-packets: 25001664   RX-missed: 0          RX-bytes:  0
  Throughput (since last show)
  Rx-pps:     12152520          Rx-bps:            0
  Tx-pps:     12152552          Tx-bps:            0
  ######################## NIC statistics for port 1  ########################
  Rx-pps:           77          Rx-bps:            0
  ######################## NIC statistics for port 0  ########################
  Rx-pps:            5          Rx-bps:            0
";
        assert_eq!(rates(log, 0), [12_152_520.0, 5.0]);
        assert_eq!(rates(log, 1), [77.0]);
    }

    #[test]
    fn the_clocks_are_in_what_it_says_at_the_end() {
        let log = "  CPU cycles/packet=189.67 (total cycles=10355239187 / total mac packets=5)";
        assert_eq!(parse_clocks(log), Some(189.67));
    }
}
