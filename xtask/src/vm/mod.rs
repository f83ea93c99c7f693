//! The gateway on NICs: in a virtual machine, by DPDK's driver for them.
//!
//! ```text
//!   web 172.16.10.11 --VXLAN-- hypervisor 10.1.0.11 --- NIC --+---------+-- NIC --- server 198.51.100.2
//!                                                     10.1.0.1| sekishod|198.51.100.1
//!                                                             +---------+ virtual machine
//! ```
//!
//! QEMU emulates a PC with two virtio NICs of two queues, which hash flows (RSS). Debian's kernel
//! boots in it with a file system that holds a shell and the gateway; the NICs are bound to
//! uio_pci_generic. Their other ends are TAPs, each in a bridge with a cable to a host of the
//! laboratory. Neither KVM nor any rights beyond those of the tests are needed.

mod cpio;
mod image;
mod machine;
mod packages;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sekisho_tests::lab::{Host, Lab, Server};

use self::machine::{Machine, Nic};
use self::packages::Packages;
use crate::cargo;
use crate::narrator::{Narrator, show};

const SOON: Duration = Duration::from_secs(20);
const STEPS: usize = 7;
const SERVER: &str = "198.51.100.2";

const FABRIC: Nic = Nic {
    tap: "tap-fabric",
    slot: 4,
    queues: 2,
};
const ISP: Nic = Nic {
    tap: "tap-isp",
    slot: 5,
    queues: 2,
};

/// Who is outside the machine.
#[derive(Debug)]
struct Around {
    /// A virtual machine of the tenant, behind `hypervisor`.
    web: Host,
    hypervisor: Host,
    server: Host,
    /// Where QEMU runs.
    pc: Host,
}

/// Runs everything.
///
/// # Errors
/// At the first thing that is not as it should be.
pub(crate) fn run() -> Result<()> {
    let cache = cache()?;
    cargo::build()?;
    let mut narrator = Narrator::new(STEPS);
    let packages = narrator.step(
        "QEMU and a kernel are fetched, or are there already",
        || Packages::fetch(&cache),
    )?;
    let image = cache.join("initramfs");
    narrator.step("The gateway is packed for the virtual machine", || {
        let nics = [FABRIC.address(), ISP.address()];
        image::write(&packages, &nics.each_ref().map(String::as_str), &image)
    })?;
    let around = narrator.step(
        "A hypervisor, a virtual machine of a tenant, a server",
        Around::build,
    )?;
    let mut machine = narrator.step(
        "The virtual machine boots, the gateway takes both NICs",
        || {
            let mut machine = Machine::start(&around.pc, &packages, &image, &[FABRIC, ISP])?;
            let said = machine.wait_ready()?;
            show("vm", "sekishod", &said);
            Ok(machine)
        },
    )?;
    let played = play(&mut narrator, &around, &mut machine);
    if played.is_err() {
        for command in ["show interfaces", "show drops", "log"] {
            let text = machine.cli(command).unwrap_or_else(|e| format!("{e:#}"));
            eprintln!("vm# {command}\n{text}");
        }
    }
    played?;
    narrator.step("The gateway ends in good order", || {
        let said = machine.end()?;
        show("vm", "kill $(pidof sekishod)", &said);
        ensure!(said.contains("ended with 0"), "it did not: {said}");
        Ok(())
    })?;
    println!("Everything was as it should be.");
    Ok(())
}

fn play(narrator: &mut Narrator, around: &Around, machine: &mut Machine) -> Result<()> {
    narrator.step("Packets pass between the NICs, in both directions", || {
        around.hypervisor.wait_ping(SERVER, SOON)?;
        let ping = format!("ping -n -c 5 -i 0.2 -W 2 {SERVER}");
        show("hypervisor", &ping, &around.hypervisor.run(&ping)?);
        around.hypervisor.ping(SERVER, "-M do -s 1472 -W 2")?;
        around.server.wait_ping("10.1.0.11", SOON)
    })?;
    narrator.step(
        "A tenant reaches the server: VXLAN, translation, TCP",
        || {
            let _web = Server::web(&around.server, 80)?;
            around.web.wait_ping(SERVER, SOON)?;
            let page = around.web.fetch(SERVER)?;
            show("web", &format!("curl http://{SERVER}/"), &page);
            ensure!(page.contains("203.0.113."), "the server saw {page}");
            // Many flows, so that every queue gets some.
            for _ in 0..20 {
                around.web.fetch(SERVER)?;
            }
            for command in ["show interfaces", "show workers", "show drops"] {
                show("vm", &format!("sekisho {command}"), &machine.cli(command)?);
            }
            let workers = machine.cli("show workers")?;
            let received: Vec<&str> = workers
                .lines()
                .skip_while(|line| !line.starts_with("Worker"))
                .skip(1)
                .filter_map(|line| line.split_whitespace().nth(3))
                .collect();
            ensure!(
                received.len() == 2 && !received.contains(&"0"),
                "a worker received nothing, RSS does not spread flows: {received:?}"
            );
            let interfaces = machine.cli("show interfaces")?;
            ensure!(
                interfaces.matches("driver net_virtio").count() == 2,
                "not both are virtio NICs: {interfaces}"
            );
            Ok(())
        },
    )
}

impl Around {
    fn build() -> Result<Self> {
        let lab = Lab::new()?;
        let [pc, hypervisor, server, web] =
            ["pc", "hypervisor", "server", "web"].map(|name| lab.host(name));
        let (pc, hypervisor, server, web) = (pc?, hypervisor?, server?, web?);
        for (nic, cable, host) in [
            (FABRIC, "eth-fabric", &hypervisor),
            (ISP, "eth-isp", &server),
        ] {
            pc.cable(cable, host, "eth0", 1500)?;
            let (tap, bridge) = (nic.tap, format!("br{}", nic.slot));
            pc.ip(&format!(
                "tuntap add dev {tap} mode tap multi_queue
                 link add {bridge} type bridge forward_delay 0
                 link set {cable} master {bridge}
                 link set {tap} master {bridge} up
                 link set {bridge} up"
            ))?;
        }
        hypervisor.ip("addr add 10.1.0.11/24 dev eth0
             route add default via 10.1.0.1
             link add vxlan5001 type vxlan id 5001 local 10.1.0.11 remote 10.1.0.1 dstport 4789")?;
        // The tunnel stays where it was made.
        hypervisor.ip(&format!("link set vxlan5001 netns {}", web.netns()))?;
        web.ip("link set vxlan5001 mtu 1450 up
             addr add 172.16.10.11/24 dev vxlan5001
             route add default via 172.16.10.1")?;
        server.ip(&format!(
            "addr add {SERVER}/24 dev eth0
             route add default via 198.51.100.1"
        ))?;
        Ok(Self {
            web,
            hypervisor,
            server,
            pc,
        })
    }
}

/// A folder that outlives us, beside what cargo builds.
fn cache() -> Result<PathBuf> {
    let bin = sekisho_tests::lab::bin_dir()?;
    let target = bin.parent().unwrap_or(Path::new("target"));
    let cache = target.join("vm");
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    Ok(cache)
}
