//! The laboratory itself, without the daemon: what the other tests stand on.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use sekisho_tests::lab::{Capture, Lab, Server, wait_until};
use sekisho_tests::topology::{RouterConfig, SERVER, Topology};

const SOON: Duration = Duration::from_secs(10);

fn netns_list() -> String {
    let names = std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten();
    names
        .map(|entry| entry.file_name().to_string_lossy().into_owned() + "\n")
        .collect()
}

#[test]
fn two_laboratories_stand_side_by_side_and_leave_nothing() -> Result<()> {
    let one = Lab::new()?;
    let two = Lab::new()?;
    for lab in [&one, &two] {
        let (a, b) = (lab.host("a")?, lab.host("b")?);
        a.cable("eth0", &b, "eth0", 1500)?;
        a.ip("addr add 192.0.2.1/24 dev eth0")?;
        b.ip("addr add 192.0.2.2/24 dev eth0")?;
        a.wait_ping("192.0.2.2", SOON)?;
    }
    let sleeper = two.host("c")?.spawn("sleep", "sleep 1000")?;
    let pid = sleeper.pid();
    std::mem::forget(sleeper);
    let prefixes = [one.netns_prefix(), two.netns_prefix()];
    let dirs = [one.dir().to_owned(), two.dir().to_owned()];
    drop((one, two));
    for (prefix, dir) in prefixes.iter().zip(&dirs) {
        ensure!(!netns_list().contains(prefix.as_str()), "{}", netns_list());
        ensure!(!dir.exists(), "{}", dir.display());
    }
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    ensure!(state.is_empty() || state.contains(") Z "), "{state}");
    Ok(())
}

#[test]
fn a_panic_leaves_nothing() {
    let lab = Lab::new().unwrap();
    let prefix = lab.netns_prefix();
    let result = std::panic::catch_unwind(move || {
        let host = lab.host("a").unwrap();
        host.run("false").expect("this panic is the test");
    });
    assert!(result.is_err());
    assert!(!netns_list().contains(&prefix));
}

#[test]
fn what_a_killed_owner_left_is_swept_by_the_next() -> Result<()> {
    // No process has the largest id there is.
    let dead = "sekisho-lab-4194304-0-orphan";
    let made = Command::new("ip").args(["netns", "add", dead]).status()?;
    ensure!(made.success());
    let lab = Lab::new()?;
    ensure!(!netns_list().contains(dead));
    ensure!(Path::new(lab.dir()).exists());
    Ok(())
}

#[test]
fn virtual_machines_of_a_segment_reach_each_other_over_vxlan_and_no_other_tenant() -> Result<()> {
    let topology = Topology::build()?;
    let capture = Capture::start(topology.hv1.host(), "eth0", "udp port 4789")?;
    topology.blue_web1.wait_ping("172.16.10.12", SOON)?;
    capture.wait("vxlan.vni == 5001 && icmp", 2, SOON)?;
    let echoes = capture.packets("icmp.type == 8", &["ip.src", "ip.dst"])?;
    ensure!(
        echoes[0] == ["10.1.0.11,172.16.10.11", "10.1.0.12,172.16.10.12"],
        "{echoes:?}"
    );
    topology.green_web1.no_ping("172.16.10.12")?;
    Ok(())
}

#[test]
fn upstream_routers_and_server_hold_their_sessions() -> Result<()> {
    let topology = Topology::build_with(&RouterConfig::frr_a(), &RouterConfig::bird_b())?;
    topology.server_frr.wait_established("192.0.2.1", SOON)?;
    topology.server_frr.wait_established("192.0.2.2", SOON)?;
    topology.isp_b.bird()?.wait_established("server", SOON)?;
    topology.isp_a.host().wait_ping(SERVER, SOON)?;
    // The other end of the cables is nobody yet.
    let state = topology.isp_a.frr()?.neighbor("198.51.100.1")?;
    ensure!(state["bgpState"] != "Established", "{state}");
    Ok(())
}

#[test]
fn servers_tell_their_clients_how_they_see_them() -> Result<()> {
    let topology = Topology::build()?;
    let peer = topology.isp_a.host();
    let mut web = Server::web(&topology.server, 80)?;
    let _echo = Server::echo(&topology.server, &[7001, 7002])?;
    let _tcp = Server::tcp_echo(&topology.server, 7003)?;
    let page = peer.fetch(SERVER)?;
    ensure!(
        page.starts_with("hello from server; you are 192.0.2.1:"),
        "{page}"
    );
    web.wait_log("192.0.2.1:", SOON)?;
    let seen = peer.ask(
        4000,
        &["192.0.2.80:7001", "192.0.2.81:7002", "192.0.2.80:7009"],
    )?;
    ensure!(
        seen == ["192.0.2.1:4000", "192.0.2.1:4000", "nothing"],
        "{seen:?}"
    );
    ensure!(peer.tcp_ask(4001, "192.0.2.80:7003")? == "192.0.2.1:4001");
    let beat = Server::beat(peer, "192.0.2.80:7003")?;
    beat.wait_beats(5, SOON)?;
    let hold = Server::hold(peer, 4002, "192.0.2.80:7001")?;
    ensure!(hold.seen_as()? == "192.0.2.1:4002");
    topology
        .server
        .send_datagram(9, "192.0.2.1:4002", "unasked")?;
    wait_until(SOON, "the datagram arrives", || {
        ensure!(
            hold.log().contains("192.0.2.80:9 unasked"),
            "{}",
            hold.log()
        );
        Ok(())
    })
}

#[test]
fn scapy_sends_what_it_is_told() -> Result<()> {
    let topology = Topology::build()?;
    let capture = Capture::start(&topology.server, "eth0", "udp port 9")?;
    topology.isp_a.host().scapy(
        "sendp(Ether(dst='ff:ff:ff:ff:ff:ff')/IP(src='192.0.2.1',dst='192.0.2.80',ttl=7)\
         /UDP(sport=1,dport=9), iface='eth-inet')",
    )?;
    capture.wait("ip.ttl == 7", 1, SOON)
}
