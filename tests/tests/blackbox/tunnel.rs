//! VXLAN with the Linux kernel as the hypervisor.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Capture, Host, Server};
use sekisho_tests::topology::SERVER;

use crate::site::{SOON, Site, play, play_config};

#[test]
fn a_segment_gateway_answers_every_virtual_machine_of_every_tenant() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        for (vm, gateway) in [
            (&topology.blue_web1, "172.16.10.1"),
            (&topology.blue_web2, "172.16.10.1"),
            (&topology.blue_db1, "172.16.20.1"),
            (&topology.green_web1, "172.16.10.1"),
            (&topology.green_db1, "172.16.20.1"),
        ] {
            vm.wait_ping(gateway, SOON)?;
        }
        Ok(())
    })
}

#[test]
fn segments_of_a_tenant_are_routed_and_tenants_are_apart() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let _blue = Server::web(&topology.blue_db1, 80)?;
        let _green = Server::web(&topology.green_db1, 80)?;
        for (vm, expected) in [
            (
                &topology.blue_web1,
                "hello from blue-db1; you are 172.16.10.11:",
            ),
            (
                &topology.green_web1,
                "hello from green-db1; you are 172.16.10.11:",
            ),
        ] {
            vm.wait_ping("172.16.20.11", SOON)?;
            let page = vm.fetch("172.16.20.11")?;
            ensure!(page.starts_with(expected), "{} got {page}", vm.name());
        }
        // blue-web2 has an address that green has not.
        topology.green_web1.no_ping("172.16.10.12")
    })
}

#[test]
fn large_transfers_pass_both_ways() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        topology.blue_web1.wait_ping(SERVER, SOON)?;
        let transfer = |from: &Host, to: &Host, address: &str| -> Result<()> {
            let mut receiver = to.spawn(
                "receiver",
                "/usr/bin/python3 -u -c 'import socket,hashlib
s=socket.create_server((\"0.0.0.0\",7009))
print(\"ready\")
c,_=s.accept()
h=hashlib.sha256()
while d:=c.recv(65536): h.update(d)
print(\"sum\", h.hexdigest())'",
            )?;
            receiver.wait_for_log(SOON, "ready")?;
            let sent = from.run(&format!(
                "/usr/bin/python3 -c 'import socket,hashlib,os
d=os.urandom(4000000)
s=socket.create_connection((\"{address}\",7009),5)
s.sendall(d)
print(hashlib.sha256(d).hexdigest())'"
            ))?;
            receiver.wait_for_log(SOON, &format!("sum {}", sent.trim()))
        };
        transfer(&topology.blue_web1, &topology.server, SERVER)?;
        transfer(&topology.server, &topology.blue_db1, "203.0.113.10")
    })
}

#[test]
fn v05_the_outer_source_port_is_stable_per_flow_and_spreads_over_the_upper_range() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        topology.server.wait_ping("203.0.113.10", SOON)?;
        let hv2 = topology.hv2.host();
        let capture = Capture::start(hv2, "eth0", "src host 10.1.0.1 and udp dst port 4789")?;
        for _ in 0..2 {
            topology.server.run(
                "/usr/bin/python3 -c '
import socket, time
for port in range(30000, 30256):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((\"192.0.2.80\", port))
    s.sendto(b\"x\", (\"203.0.113.10\", 9))
    s.close()
    time.sleep(0.0005)'",
            )?;
        }
        let filter = "udp.dstport == 9 && vxlan";
        capture.wait(filter, 512, SOON)?;
        let mut outer: HashMap<u16, HashSet<u16>> = HashMap::new();
        for packet in capture.packets(filter, &["udp.srcport"])? {
            let (outside, inside) = packet[0].split_once(',').unwrap_or_default();
            outer
                .entry(inside.parse()?)
                .or_default()
                .insert(outside.parse()?);
        }
        ensure!(outer.len() == 256, "{} flows", outer.len());
        ensure!(outer.values().all(|ports| ports.len() == 1), "{outer:?}");
        let ports: HashSet<u16> = outer.values().flatten().copied().collect();
        ensure!(ports.iter().all(|&port| port >= 49152), "{ports:?}");
        ensure!(ports.len() > 200, "256 flows have {} ports", ports.len());
        Ok(())
    })
}

#[test]
fn enc09_what_the_gateway_encapsulates_is_never_fragmented_and_has_df_set() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        topology.server.wait_ping("203.0.113.10", SOON)?;
        let capture = Capture::start(topology.hv2.host(), "eth0", "src host 10.1.0.1")?;
        topology.server.ping("203.0.113.10", "-M do -s 1422")?;
        let outer = capture.packets("icmp && vxlan", &["ip.flags.df", "ip.len", "ip.flags.mf"])?;
        ensure!(outer.len() == 1, "{outer:?}");
        ensure!(
            outer[0][0].starts_with("1,") || outer[0][0].starts_with("True,"),
            "{outer:?}"
        );
        ensure!(outer[0][1] == "1500,1450", "{outer:?}");
        Ok(())
    })
}

#[test]
fn arp01_the_gateway_resolves_a_virtual_machine_it_has_not_heard_of() -> Result<()> {
    play(|site| {
        // Nothing has been sent by green-db1 yet.
        site.topology.server.wait_ping("203.0.113.11", SOON)?;
        let endpoints = site.sekishod.cli("show endpoints vrf green")?;
        let line = endpoints.lines().find(|line| line.contains("172.16.20.11"));
        ensure!(
            line.is_some_and(|line| {
                line.contains("02:00:00:02:20:11") && line.contains("10.1.0.12")
            }),
            "{endpoints}"
        );
        Ok(())
    })
}

#[test]
fn mac01_a_virtual_machine_that_moves_is_followed() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        topology.blue_web1.wait_ping(SERVER, SOON)?;
        wait_endpoint(site, "10.1.0.11")?;
        // The same addresses come up behind the other hypervisor.
        topology.blue_web1.ip("link set eth0 down")?;
        let gateway = "172.16.10.1".parse()?;
        let moved = topology.hv2.add_vm(
            "moved",
            5001,
            "172.16.10.11".parse()?,
            "02:00:00:01:10:11",
            gateway,
        )?;
        moved.wait_ping(SERVER, SOON)?;
        wait_endpoint(site, "10.1.0.12")
    })
}

fn wait_endpoint(site: &Site, vtep: &str) -> Result<()> {
    sekisho_tests::lab::wait_until(SOON, &format!("172.16.10.11 is behind {vtep}"), || {
        let endpoints = site.sekishod.cli("show endpoints vrf blue")?;
        let line = endpoints.lines().find(|line| line.contains("172.16.10.11"));
        ensure!(line.is_some_and(|line| line.contains(vtep)), "{endpoints}");
        Ok(())
    })
}

#[test]
fn m01_too_big_for_the_tunnel_is_told_to_the_outside_sender() -> Result<()> {
    play(|site| {
        let server = &site.topology.server;
        server.wait_ping("203.0.113.10", SOON)?;
        let output = server.output("ping -n -c 1 -W 2 -M do -s 1472 203.0.113.10")?;
        ensure!(output.stdout.contains("mtu = 1450"), "{output:?}");
        // Having learnt the path MTU, the server's connections pass.
        let _web = Server::web(&site.topology.blue_db1, 80)?;
        server.fetch("203.0.113.10").map(drop)
    })
}

#[test]
fn m01_too_big_for_the_next_segment_is_told_to_the_virtual_machine() -> Result<()> {
    let config = Config {
        tenants: vec![
            Config::default().tenants[0].replace("vni = 5002\n", "vni = 5002\nmtu = 1300\n"),
        ],
        ..Config::default()
    };
    play_config(&config, |site| {
        let vm = &site.topology.blue_web1;
        vm.wait_ping("172.16.20.11", SOON)?;
        let output = vm.output("ping -n -c 1 -W 2 -M do -s 1400 172.16.20.11")?;
        let told =
            output.stdout.contains("From 172.16.10.1") && output.stdout.contains("mtu = 1300");
        ensure!(told, "{output:?}");
        Ok(())
    })
}

#[test]
fn m01_too_big_for_the_uplink_is_told_to_the_virtual_machine() -> Result<()> {
    let config = Config::default()
        .replace("\"198.51.100.1/31\"]", "\"198.51.100.1/31\"]\nmtu = 1300")
        .replace("\"198.51.100.3/31\"]", "\"198.51.100.3/31\"]\nmtu = 1300");
    play_config(&config, |site| {
        let vm = &site.topology.blue_web1;
        vm.wait_ping(SERVER, SOON)?;
        let output = vm.output(&format!("ping -n -c 1 -W 2 -M do -s 1400 {SERVER}"))?;
        let told =
            output.stdout.contains("From 172.16.10.1") && output.stdout.contains("mtu = 1300");
        ensure!(told, "{output:?}");
        Ok(())
    })
}

#[test]
fn m02_what_may_be_fragmented_arrives_whole_both_ways() -> Result<()> {
    play(|site| {
        let server = &site.topology.server;
        server.wait_ping("203.0.113.10", SOON)?;
        // 1,500 octets do not fit the tunnel, and the answer does not fit the machine's link.
        let output = server.output("ping -n -c 3 -W 2 -M dont -s 1472 203.0.113.10")?;
        ensure!(output.stdout.contains(" 0% packet loss"), "{output:?}");
        Ok(())
    })
}
