//! A switch of its own: database, daemon, bridges, all in one namespace and one folder.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sekisho_tests::lab::{Host, Lab, Process, wait_until};

use super::super::flows::{Capture, GATEWAY_MAC, Player, SENDER_MAC, UNDERLAY, VTEP};
use super::super::testpmd::{self, Testpmd};
use super::super::tools;
use super::flow_table::{self, Service};
use crate::hugepages;
use crate::options::Options;

const PACKAGE: &str = "openvswitch-switch-dpdk";
/// A polling thread of the switch transmits on a queue of its own number, and the main thread has
/// one too: a port of shared memory must have both.
const QUEUES: u16 = 2;
const MEMORY_MIB: u64 = 400;
const START: Duration = Duration::from_secs(30);
/// For the first packet of every session.
const PATIENCE: Duration = Duration::from_secs(120);

/// A switch whose one port is shared memory with a sender.
///
/// Clocks are what its polling thread says of itself (`pmd-stats-show`, "avg processing cycles per
/// packet"): receiving from shared memory, everything in the datapath, transmitting to it; not the
/// turns that found nothing.
#[derive(Debug)]
pub(super) struct Switch {
    lab: Lab,
    host: Host,
    /// Environment of every command.
    environment: String,
    dir: PathBuf,
    cpu: u16,
    service: Service,
    /// Ended before the laboratory.
    processes: Vec<Process>,
}

/// What was measured at once.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) clocks: Vec<f64>,
    /// Packets that came back to the sender in a second.
    pub(super) rates: Vec<f64>,
}

impl Switch {
    /// Starts it and gives it its flows.
    pub(super) fn new(options: &Options, service: Service) -> Result<Self> {
        let vswitchd = tools::find("ovs-vswitchd-dpdk", PACKAGE)?
            .display()
            .to_string();
        let schema = tools::find("vswitch.ovsschema", PACKAGE)?;
        let server = tools::find("ovsdb-server", PACKAGE)?;
        let programs = [
            tools::find("ovs-vsctl", PACKAGE)?,
            tools::find("ovsdb-tool", PACKAGE)?,
        ];
        let folders = programs
            .iter()
            .chain([&server])
            .filter_map(|program| Some(program.parent()?.display().to_string()));
        let folders: Vec<String> = folders.collect();
        let lab = Lab::new()?;
        let host = lab.host("switch")?;
        let dir = lab.make_dir("ovs")?;
        let place = dir.display();
        let environment = format!(
            "PATH={}:$PATH OVS_RUNDIR={place} OVS_LOGDIR={place} OVS_DBDIR={place} \
             OVS_SYSCONFDIR={place}",
            folders.join(":")
        );
        let mut switch = Self {
            lab,
            host,
            environment,
            cpu: options.cpu,
            service,
            processes: Vec::new(),
            dir: dir.clone(),
        };
        switch.run(&format!(
            "ovsdb-tool create {place}/conf.db {}",
            schema.display()
        ))?;
        switch.spawn(
            "ovsdb",
            &format!("ovsdb-server {place}/conf.db --remote=punix:{place}/db.sock --no-chdir"),
        )?;
        let socket = dir.join("db.sock");
        wait_until(START, "the database listens", || {
            ensure!(socket.exists(), "{} is not there", socket.display());
            Ok(())
        })?;
        switch.configure(testpmd::other_cpu(options.cpu)?)?;
        switch.spawn(
            "vswitchd",
            &format!(
                "{vswitchd} unix:{place}/db.sock --no-chdir --disable-system \
                 --unixctl={place}/control"
            ),
        )?;
        if let Err(error) = switch.add_bridges() {
            let log = switch.processes.last().map(Process::log);
            let log = log.unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(3).collect();
            return Err(error.context(format!("ovs-vswitchd said last: {}", last.join(" | "))));
        }
        switch.add_flows(service)?;
        Ok(switch)
    }

    fn configure(&self, other: u16) -> Result<()> {
        let memory = if hugepages::free_mib() > MEMORY_MIB + 100 {
            "--in-memory --single-file-segments".to_owned()
        } else {
            // Otherwise it adds `--in-memory`, which is not to be had without huge pages.
            format!("--no-huge --legacy-mem --no-shconf -m {MEMORY_MIB}")
        };
        self.vsctl("--no-wait init")?;
        self.vsctl(&format!(
            "--no-wait set Open_vSwitch . other_config:dpdk-init=true \
             other_config:dpdk-extra='{memory} --no-pci --iova-mode=va' \
             other_config:per-port-memory=true \
             other_config:pmd-cpu-mask={:#x} other_config:dpdk-lcore-mask={:#x}",
            1_u64 << self.cpu,
            1_u64 << other,
        ))
    }

    fn add_bridges(&self) -> Result<()> {
        let memif = testpmd::memif("server", &self.memif());
        let bridge = "datapath_type=netdev fail-mode=secure";
        for command in [
            format!(
                "add-br physical -- set bridge physical {bridge} \
                 other_config:hwaddr=\\\"{GATEWAY_MAC}\\\""
            ),
            format!("add-br tenant -- set bridge tenant {bridge}"),
            format!(
                "add-port physical port -- set interface port type=dpdk ofport_request=1 \
                 options:n_rxq={QUEUES} options:dpdk-devargs='\"{memif}\"'"
            ),
            "add-port tenant tunnel -- set interface tunnel type=vxlan ofport_request=2 \
             options:remote_ip=flow options:key=flow"
                .to_owned(),
            "add-port tenant up -- set interface up type=patch ofport_request=3 \
             options:peer=down -- \
             add-port physical down -- set interface down type=patch ofport_request=4 \
             options:peer=up"
                .to_owned(),
        ] {
            self.vsctl(&command)?;
        }
        self.host.ip(&format!(
            "link set physical up
             address add {UNDERLAY}/24 dev physical"
        ))
    }

    fn add_flows(&self, service: Service) -> Result<()> {
        let bridges = [
            ("physical", flow_table::physical(service)),
            ("tenant", flow_table::tenant(service)),
        ];
        for (bridge, flows) in bridges {
            let socket = self.dir.join(format!("{bridge}.mgmt"));
            let add = format!("ovs-ofctl add-flows unix:{} -", socket.display());
            self.run(&format!(
                "printf '%s' '{flows}' | {}",
                self.with_environment(&add)
            ))?;
        }
        self.control(&format!("tnl/neigh/set physical {VTEP} {SENDER_MAC}"))
            .map(drop)
    }

    /// Sends it these frames and counts.
    pub(super) fn measure(&self, capture: &Capture, options: &Options) -> Result<Figures> {
        let player = Player::new(capture, self.lab.dir(), QUEUES)?;
        let port = testpmd::memif("client", &self.memif());
        let cpu = testpmd::other_cpu(self.cpu)?;
        let testpmd = Testpmd::sender(&player, port, cpu, options);
        let mut sender = testpmd.start(&self.host)?;
        if testpmd::wait_received(&mut sender, 1).is_err() {
            // Who comes while the switch still holds the connection of the sender before is
            // refused, and does not ask again.
            testpmd::stop(&mut sender)?;
            sender = testpmd.start(&self.host)?;
            testpmd::wait_received(&mut sender, 1)?;
        }
        if self.service == Service::Translation {
            self.wait_sessions(capture.flows)?;
        }
        let seconds = testpmd::rates(&sender.log(), 1).len();
        let mut clocks = Vec::new();
        for _ in 0..options.repetitions() {
            self.control("dpif-netdev/pmd-stats-clear")?;
            thread::sleep(Duration::from_secs(1));
            let stats = self.control("dpif-netdev/pmd-stats-show")?;
            clocks.push(
                parse_clocks(&stats)
                    .with_context(|| format!("no clocks per packet in:\n{stats}"))?,
            );
        }
        let rates = testpmd::rates(&sender.log(), 1).split_off(seconds);
        testpmd::stop(&mut sender)?;
        Ok(Figures { clocks, rates })
    }

    /// Waits until nearly so many connections are tracked.
    fn wait_sessions(&self, sessions: u32) -> Result<()> {
        wait_until(PATIENCE, "the connections are tracked", || {
            let stats = self.control("dpctl/ct-stats-show")?;
            let total = parse_total(&stats).with_context(|| stats.clone())?;
            ensure!(total >= sessions - sessions / 50, "{total} of {sessions}");
            Ok(())
        })
    }

    fn memif(&self) -> PathBuf {
        self.dir.join("memif.sock")
    }

    fn vsctl(&self, command: &str) -> Result<()> {
        let database = self.dir.join("db.sock");
        self.run(&format!(
            "ovs-vsctl --timeout=30 --db=unix:{} {command}",
            database.display()
        ))
    }

    fn control(&self, command: &str) -> Result<String> {
        let socket = self.dir.join("control");
        let command = format!("ovs-appctl --target={} {command}", socket.display());
        self.host.run(&self.with_environment(&command))
    }

    fn run(&self, command: &str) -> Result<()> {
        self.host.run(&self.with_environment(command)).map(drop)
    }

    fn spawn(&mut self, name: &str, command: &str) -> Result<()> {
        let process = self.host.spawn(name, &self.with_environment(command))?;
        self.processes.push(process);
        Ok(())
    }

    fn with_environment(&self, command: &str) -> String {
        format!("env {} {command}", self.environment)
    }
}

/// The clocks a packet took its first polling thread.
fn parse_clocks(stats: &str) -> Option<f64> {
    let rest = stats.split("avg processing cycles per packet:").nth(1)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// How many connections are tracked.
fn parse_total(stats: &str) -> Option<u32> {
    let rest = stats.split("Total:").nth(1)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_of_a_polling_thread_are_found() {
        let stats = "pmd thread numa_id 0 core_id 1:
  packets received: 616960
  avg cycles per packet: 8568.84 (5286631090/616960)
  avg processing cycles per packet: 7107.14 (4384823845/616960)
main thread:
  packets received: 0
";
        assert_eq!(parse_clocks(stats), Some(7107.14));
        assert_eq!(parse_clocks("main thread:"), None);
        let stats = "Connections Stats:\n    Total: 1000\n  UDP: 1000\n";
        assert_eq!(parse_total(stats), Some(1000));
    }
}
