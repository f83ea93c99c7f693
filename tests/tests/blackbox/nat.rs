//! Source translation.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Capture, Host, Server, sum_of_keys};
use sekisho_tests::topology::{SERVER, SERVER_2};

use crate::site::{SOON, play, play_both};

/// The UDP echo servers of these tests.
const ECHO: [&str; 3] = ["192.0.2.80:7001", "192.0.2.80:7002", "192.0.2.81:7001"];

/// Asks and makes sure that everybody sees the same address of the pool, which is returned.
fn ask_same(vm: &Host, port: u16) -> Result<String> {
    let seen = vm.ask(port, &ECHO)?;
    ensure!(seen.len() == ECHO.len(), "{seen:?}");
    ensure!(seen.iter().all(|other| *other == seen[0]), "{seen:?}");
    ensure!(in_pool(&seen[0]), "{seen:?}");
    Ok(seen[0].clone())
}

/// Whether `ADDRESS:PORT` is one the pool may hand out.
fn in_pool(outside: &str) -> bool {
    let Some((address, port)) = outside.split_once(':') else {
        return false;
    };
    let host = address
        .strip_prefix("203.0.113.")
        .and_then(|host| host.parse::<u8>().ok());
    host.is_some_and(|host| (64..80).contains(&host))
        && port.parse::<u16>().is_ok_and(|port| port >= 1024)
}

#[test]
fn u01_a_mapping_is_the_same_toward_every_destination() -> Result<()> {
    play_both(&Config::default(), |site| {
        let _echo = Server::echo(&site.topology.server, &[7001, 7002])?;
        let first = ask_same(&site.topology.blue_web1, 4000)?;
        ensure!(ask_same(&site.topology.blue_web1, 4000)? == first);
        Ok(())
    })
}

#[test]
fn u02_all_flows_of_a_host_come_from_one_pool_address() -> Result<()> {
    play_both(&Config::default(), |site| {
        let _echo = Server::echo(&site.topology.server, &[7001, 7002])?;
        let mut addresses = HashSet::new();
        let mut ports = HashSet::new();
        for port in 4000..4030 {
            let seen = ask_same(&site.topology.blue_web1, port)?;
            let (address, port) = seen.split_once(':').context("no port")?;
            addresses.insert(address.to_owned());
            ports.insert(port.to_owned());
        }
        ensure!(addresses.len() == 1, "{addresses:?}");
        ensure!(ports.len() == 30, "{ports:?}");
        Ok(())
    })
}

#[test]
fn u03_two_hosts_with_the_same_port_get_two_mappings_and_both_keep_theirs() -> Result<()> {
    play_both(&Config::default(), |site| {
        let _echo = Server::echo(&site.topology.server, &[7001, 7002])?;
        let one = ask_same(&site.topology.blue_web1, 4000)?;
        let two = ask_same(&site.topology.blue_web2, 4000)?;
        ensure!(one != two, "both are {one}");
        ensure!(ask_same(&site.topology.blue_web1, 4000)? == one);
        ensure!(ask_same(&site.topology.blue_web2, 4000)? == two);
        Ok(())
    })
}

#[test]
fn u04_a_low_port_becomes_one_the_pool_may_hand_out() -> Result<()> {
    play(|site| {
        let _echo = Server::echo(&site.topology.server, &[7001, 7002])?;
        ask_same(&site.topology.blue_web1, 500).map(drop)
    })
}

#[test]
fn u09_two_tenants_with_the_same_address_and_port_do_not_mix() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let _udp = Server::echo(&topology.server, &[7001, 7002])?;
        let _tcp = Server::tcp_echo(&topology.server, 7003)?;
        let target = format!("{SERVER}:7003");
        let blue = Server::beat(&topology.blue_web1, &target)?;
        let green = Server::beat(&topology.green_web1, &target)?;
        ensure!(
            blue.seen_as()? != green.seen_as()?,
            "both are {}",
            blue.seen_as()?
        );
        let one = ask_same(&topology.blue_web1, 4000)?;
        let two = ask_same(&topology.green_web1, 4000)?;
        ensure!(one != two, "both are {one}");
        ensure!(ask_same(&topology.blue_web1, 4000)? == one);
        blue.wait_beats(10, SOON)?;
        green.wait_beats(10, SOON)?;
        for (tenant, outside) in [("blue", &one), ("green", &two)] {
            let sessions = site.sekishod.cli("show nat sessions")?;
            let found = sessions
                .lines()
                .any(|line| line.contains(tenant) && line.contains(outside.as_str()));
            ensure!(found, "no session of {tenant} at {outside} in\n{sessions}");
        }
        Ok(())
    })
}

#[test]
fn t01_a_tcp_mapping_is_the_same_toward_every_destination() -> Result<()> {
    play(|site| {
        let _one = Server::tcp_echo(&site.topology.server, 7003)?;
        let _two = Server::tcp_echo(&site.topology.server, 7004)?;
        let vm = &site.topology.blue_web1;
        let first = vm.tcp_ask(4000, &format!("{SERVER}:7003"))?;
        ensure!(in_pool(&first), "{first}");
        ensure!(vm.tcp_ask(4000, &format!("{SERVER}:7004"))? == first);
        ensure!(vm.tcp_ask(4000, &format!("{SERVER_2}:7003"))? == first);
        Ok(())
    })
}

#[test]
fn t02_a_connection_opens_carries_data_and_closes() -> Result<()> {
    play(|site| {
        let mut web = Server::web(&site.topology.server, 80)?;
        for _ in 0..20 {
            let page = site.topology.blue_web1.fetch(SERVER)?;
            ensure!(
                page.starts_with("hello from server; you are 203.0.113."),
                "{page}"
            );
        }
        web.wait_log("GET /", SOON)
    })
}

#[test]
fn i01_echo_identifiers_are_restored_and_do_not_collide() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        topology.blue_web1.wait_ping(SERVER, SOON)?;
        topology.green_web1.wait_ping(SERVER, SOON)?;
        let capture = Capture::start(&topology.server, "eth0", "icmp")?;
        // The same address, the same identifier, from two tenants, at the same time.
        let pings = [
            &topology.blue_web1,
            &topology.green_web1,
            &topology.blue_web2,
        ]
        .map(|vm| vm.spawn("ping", &format!("ping -n -e 77 -c 10 -i 0.1 -W 2 {SERVER}")));
        for ping in pings {
            ping?.wait_for_log(SOON, "10 packets transmitted, 10 received")?;
        }
        let seen: HashSet<Vec<String>> = capture
            .packets("icmp.type == 8", &["ip.src", "icmp.ident"])?
            .into_iter()
            .collect();
        ensure!(seen.len() == 3, "{seen:?}");
        Ok(())
    })
}

#[test]
fn i06_an_error_from_outside_reaches_the_host_with_its_own_packet_quoted() -> Result<()> {
    play(|site| {
        let vm = &site.topology.blue_web1;
        vm.wait_ping(SERVER, SOON)?;
        let capture = Capture::start(vm, "eth0", "icmp[icmptype] == icmp-unreach")?;
        vm.send_datagram(4000, &format!("{SERVER}:7999"), "nobody")?;
        capture.wait("icmp.type == 3 && icmp.code == 3", 1, SOON)?;
        let fields = ["ip.src", "ip.dst", "udp.srcport", "udp.dstport"];
        let errors = capture.packets("icmp.type == 3", &fields)?;
        let quoted = [
            "192.0.2.80,172.16.10.11",
            "172.16.10.11,192.0.2.80",
            "4000",
            "7999",
        ];
        ensure!(errors[0] == quoted, "{errors:?}");
        let bad = "icmp.checksum.status == 0 || ip.checksum.status == 0";
        ensure!(capture.count(bad)? == 0);
        // The kernel believes it only if the quote is one of its own packets.
        let refused = vm.output(&format!(
            "/usr/bin/python3 -c 'import socket
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
s.settimeout(3)
s.connect((\"{SERVER}\",7998))
s.send(b\"x\")
try:
    s.recv(9)
except ConnectionRefusedError:
    print(\"refused\")'"
        ))?;
        ensure!(refused.stdout.contains("refused"), "{refused:?}");
        Ok(())
    })
}

#[test]
fn c03_every_address_of_a_scattered_pool_is_used() -> Result<()> {
    let config = Config::default().replace(
        "addresses = [\"203.0.113.64/28\"]",
        "addresses = [\"203.0.113.5\", \"203.0.113.100-203.0.113.101\"]",
    );
    play_both(&config, |site| {
        let _echo = Server::echo(&site.topology.server, &[7001])?;
        let vm = &site.topology.blue_web1;
        vm.wait_ping(SERVER, SOON)?;
        // Many hosts of the segment, all behind one virtual machine.
        let mut addresses = HashSet::new();
        for host in 30..70 {
            vm.ip(&format!("addr add 172.16.10.{host}/24 dev eth0"))?;
            let seen = vm.run(&format!(
                "/usr/bin/python3 -c 'import socket
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
s.settimeout(1)
s.bind((\"172.16.10.{host}\",4000))
for _ in range(3):
    s.sendto(b\"x\",(\"{SERVER}\",7001))
    try:
        print(s.recv(99).decode())
        break
    except TimeoutError:
        pass'"
            ))?;
            let (address, _) = seen
                .split_once(':')
                .with_context(|| format!("{host}: {seen:?}"))?;
            addresses.insert(address.to_owned());
        }
        let wanted = ["203.0.113.5", "203.0.113.100", "203.0.113.101"].map(str::to_owned);
        ensure!(addresses == HashSet::from(wanted), "{addresses:?}");
        Ok(())
    })
}

#[test]
fn packets_are_handed_over_between_the_workers_and_none_is_lost() -> Result<()> {
    play(|site| {
        let _echo = Server::tcp_echo(&site.topology.server, 7003)?;
        let target = format!("{SERVER}:7003");
        let topology = &site.topology;
        let vms = [
            &topology.blue_web1,
            &topology.blue_web2,
            &topology.green_web1,
        ];
        let clients: Vec<Server> = vms
            .iter()
            .map(|vm| Server::beat(vm, &target))
            .collect::<Result<_>>()?;
        for client in &clients {
            client.wait_beats(20, SOON)?;
        }
        let workers = site.sekishod.cli_json("show workers")?;
        ensure!(sum_of_keys(&workers, "handed") > 0, "{workers:#}");
        ensure!(site.sekishod.drops("handover-full")? == 0);
        ensure!(site.sekishod.drops("steer-loop")? == 0);
        Ok(())
    })
}
