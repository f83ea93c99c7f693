//! Several paths: spreading flows, losing a path.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Capture, Frr, Server, wait_until};
use sekisho_tests::topology::{ISP_B, RouterConfig, SERVER, Topology, next_hops, wait_default};

use crate::site::{SOON, Site, play, play_unstarted};

/// Two more upstream routers: name, AS, router's address, gateway's address.
const MORE: [(&str, u32, &str, &str); 2] = [
    ("isp-c", 65003, "198.51.100.4", "198.51.100.5"),
    ("isp-d", 65004, "198.51.100.6", "198.51.100.7"),
];
const FLOWS: usize = 4000;

fn config_for_four() -> Config {
    let mut config = Config::default();
    for (name, asn, router, gateway) in MORE {
        config.base += &format!(
            "
[[port]]
name = \"{name}\"
kind = \"af_packet\"
interface = \"eth-{name}\"
mtu = 1500

[[uplink]]
name = \"{name}\"
port = \"{name}\"
addresses = [\"{gateway}/31\"]
"
        );
        config.bgp += &format!(
            "
[[bgp.neighbor]]
address = \"{router}\"
remote-as = {asn}
import = \"from-isp\"
export = \"to-isp\"
hold-time = \"9s\"
connect-retry-time = \"1s\"
"
        );
    }
    config
}

fn add_router(
    topology: &Topology,
    name: &str,
    asn: u32,
    router: &str,
    gateway: &str,
) -> Result<Frr> {
    let host = topology.lab.host(name)?;
    topology
        .gateway
        .cable(&format!("eth-{name}"), &host, "eth-gw", 1500)?;
    host.ip(&format!("addr add {router}/31 dev eth-gw"))?;
    Frr::start(
        &host,
        &format!(
            "router bgp {asn}
 bgp router-id {router}
 no bgp ebgp-requires-policy
 timers bgp 3 9
 neighbor {gateway} remote-as 65010
 neighbor {gateway} timers connect 1
 address-family ipv4 unicast
  neighbor {gateway} default-originate
 exit-address-family
"
        ),
    )
}

/// Sends one datagram per flow and returns, per flow, which router it left over.
fn spread(site: &Site, hosts: &[sekisho_tests::lab::Host]) -> Result<HashMap<String, usize>> {
    let captures: Vec<Capture> = hosts
        .iter()
        .map(|host| Capture::start(host, "eth-gw", "udp dst port 9"))
        .collect::<Result<_>>()?;
    // Paced, so that no queue on the way overflows.
    site.topology.blue_web1.run(&format!(
        "/usr/bin/python3 -c '
import socket, time
for port in range(20000, 20000 + {FLOWS}):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((\"0.0.0.0\", port))
    s.sendto(str(port).encode(), (\"203.0.112.1\", 9))
    s.close()
    time.sleep(0.0005)'"
    ))?;
    let mut routers = HashMap::new();
    wait_until(SOON, "every flow has left", || {
        routers.clear();
        for (router, capture) in captures.iter().enumerate() {
            for packet in capture.packets("udp.dstport == 9", &["udp.payload"])? {
                routers.insert(packet[0].clone(), router);
            }
        }
        ensure!(routers.len() == FLOWS, "{} of {FLOWS}", routers.len());
        Ok(())
    })?;
    Ok(routers)
}

#[test]
fn b23_four_paths_share_the_flows_and_losing_one_moves_only_its_own() -> Result<()> {
    let (a, b) = (RouterConfig::frr_a(), RouterConfig::frr_b());
    play_unstarted(&config_for_four(), &a, &b, |site| {
        let mut more = Vec::new();
        for (name, asn, router, gateway) in MORE {
            more.push(add_router(&site.topology, name, asn, router, gateway)?);
        }
        site.sekishod.run()?;
        wait_default(&site.sekishod, 4)?;
        let mut hosts = vec![
            site.topology.isp_a.host().clone(),
            site.topology.isp_b.host().clone(),
        ];
        hosts.extend(more.iter().map(|frr| frr.host().clone()));
        site.topology.blue_web1.wait_ping("172.16.10.1", SOON)?;

        let before = spread(site, &hosts)?;
        let share = FLOWS / 4;
        for router in 0..4 {
            let flows = before.values().filter(|&&other| other == router).count();
            let low = share - share / 10;
            let high = share + share / 10;
            ensure!(
                (low..=high).contains(&flows),
                "router {router} has {flows} of {FLOWS}"
            );
        }

        more[1].kill_bgpd()?;
        wait_default(&site.sekishod, 3)?;
        let after = spread(site, &hosts)?;
        for (flow, router) in &before {
            let now = after[flow];
            ensure!(now != 3, "flow {flow} left over the dead router");
            ensure!(
                *router == 3 || now == *router,
                "flow {flow}: from {router} to {now}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_dead_router_costs_no_connection() -> Result<()> {
    play(|site| {
        let _echo = Server::tcp_echo(&site.topology.server, 7000)?;
        let target = format!("{SERVER}:7000");
        let clients: Vec<Server> = (0..8)
            .map(|_| Server::beat(&site.topology.blue_web1, &target))
            .collect::<Result<_>>()?;
        site.topology.isp_a.frr_mut()?.kill_bgpd()?;
        wait_default(&site.sekishod, 1)?;
        for client in &clients {
            client.wait_beats(10, Duration::from_secs(20))?;
        }
        Ok(())
    })
}

#[test]
fn a_link_that_goes_down_takes_its_routes_along() -> Result<()> {
    play(|site| {
        let isp_a = site.topology.isp_a.host();
        isp_a.ip("link set eth-gw down")?;
        wait_until(
            Duration::from_secs(3),
            "the default route leads over isp-b alone",
            || {
                let table = site.sekishod.cli("show ip route")?;
                let hops = next_hops(&table, "0.0.0.0/0");
                ensure!(hops == [ISP_B], "{hops:?} in\n{table}");
                let line = table.lines().find(|line| line.contains("198.51.100.0/31"));
                ensure!(!line.is_some_and(|line| line.contains('*')), "{table}");
                Ok(())
            },
        )?;
        site.topology.blue_web1.wait_ping(SERVER, SOON)?;
        isp_a.ip("link set eth-gw up")?;
        wait_default(&site.sekishod, 2)
    })
}

#[test]
fn flows_spread_over_both_upstream_routers() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let routers = [topology.isp_a.host(), topology.isp_b.host()];
        let captures: Vec<Capture> = routers
            .iter()
            .map(|host| Capture::start(host, "eth-gw", "udp dst port 7001"))
            .collect::<Result<_>>()?;
        let _echo = Server::echo(&topology.server, &[7001])?;
        let target = format!("{SERVER}:7001");
        for port in 4000..4024 {
            let seen = topology.blue_web1.ask(port, &[&target])?;
            ensure!(seen[0].starts_with("203.0.113."), "{seen:?}");
        }
        for capture in &captures {
            let flows = capture.count("udp.dstport == 7001")?;
            ensure!(
                (1..24).contains(&flows),
                "one router has {flows} of 24 flows"
            );
        }
        let total: usize = captures
            .iter()
            .map(|capture| capture.count("udp.dstport == 7001"))
            .sum::<Result<usize>>()
            .context("tshark counts")?;
        ensure!(total >= 24, "{total}");
        Ok(())
    })
}
