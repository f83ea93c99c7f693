//! Ports of other kinds than the topology's: the gateway routes between them, and says what is wrong
//! with them.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use sekisho_tests::lab::{Host, Lab, Sekishod, wait_until};

use crate::site::SOON;

const MTU: u16 = 1500;

/// A host behind one of the gateway's uplinks, at the second address of its prefix; the gateway
/// has the first, and everything beyond it.
fn neighbor(lab: &Lab, name: &str, gateway: &Host, interface: &str, prefix: &str) -> Result<Host> {
    let host = lab.host(name)?;
    gateway.cable(interface, &host, "eth0", MTU)?;
    host.ip(&format!(
        "addr add {prefix}.2/24 dev eth0
         route add default via {prefix}.1"
    ))?;
    Ok(host)
}

/// A configuration with one worker and these ports, each the uplink of a prefix.
fn config(ports: &[(&str, &str, &str)]) -> String {
    let mut text =
        "[gateway]\nmemory-mib = 128\nmax-sessions = 1024\napi-socket = \"{socket}\"\n".to_owned();
    for (name, kind, prefix) in ports {
        let _ = write!(
            text,
            "\n[[port]]\nname = \"{name}\"\n{kind}\n\
             \n[[uplink]]\nname = \"{name}\"\nport = \"{name}\"\naddresses = [\"{prefix}\"]\n"
        );
    }
    text
}

fn xdp(interface: &str) -> String {
    format!("kind = \"af_xdp\"\ninterface = \"{interface}\"")
}

fn interfaces_say(sekishod: &Sekishod, needle: &str) -> Result<()> {
    wait_until(SOON, &format!("show interfaces says {needle:?}"), || {
        let text = sekishod.cli("show interfaces")?;
        ensure!(text.contains(needle), "{text}");
        Ok(())
    })
}

#[test]
fn af_xdp_ports_forward_and_a_killed_gateway_leaves_nothing_in_the_way() -> Result<()> {
    let lab = Lab::new()?;
    let gateway = lab.host("gateway")?;
    let west = neighbor(&lab, "west", &gateway, "eth-west", "10.7.1")?;
    let east = neighbor(&lab, "east", &gateway, "eth-east", "10.7.2")?;
    let (west_port, east_port) = (xdp("eth-west"), xdp("eth-east"));
    let config = config(&[
        ("west", &west_port, "10.7.1.1/24"),
        ("east", &east_port, "10.7.2.1/24"),
    ]);
    let mut sekishod = Sekishod::start(&gateway, &config)?;
    west.wait_ping("10.7.2.2", SOON)?;
    east.wait_ping("10.7.1.2", SOON)?;
    west.wait_ping("10.7.1.1", SOON)?;
    // As large as can be, and whole.
    west.ping("10.7.2.2", "-M do -s 1472")?;
    let replies = west.run("ping -n -c 5 -i 0.2 10.7.2.2")?;
    ensure!(!replies.contains("DUP!"), "{replies}");
    interfaces_say(&sekishod, "port west, driver net_af_xdp")?;
    ensure!(
        sekishod.log().contains("ethtool -K PEER tx off"),
        "the log does not say what a veth's peer must not do"
    );

    west.ip("link set eth0 down")?;
    interfaces_say(&sekishod, "Interface west is up, link is down")?;
    west.ip("link set eth0 up\nroute add default via 10.7.1.1")?;
    west.wait_ping("10.7.2.2", SOON)?;

    sekishod.kill()?;
    let links = gateway.run("ip link")?;
    ensure!(links.contains("prog/xdp"), "no program stays: {links}");
    sekishod.run()?;
    west.wait_ping("10.7.2.2", SOON)?;
    sekishod.terminate()?;
    let links = gateway.run("ip link")?;
    ensure!(!links.contains("prog/xdp"), "a program stays: {links}");
    Ok(())
}

#[test]
fn an_af_xdp_port_says_how_many_workers_its_interface_can_serve() -> Result<()> {
    let lab = Lab::new()?;
    let gateway = lab.host("gateway")?;
    let _west = neighbor(&lab, "west", &gateway, "eth-west", "10.7.1")?;
    let config = config(&[("west", &xdp("eth-west"), "10.7.1.1/24")])
        .replace("[gateway]", "[gateway]\nworkers = 2");
    let (status, log) = Sekishod::prepare(&gateway, &config)?.run_to_end()?;
    ensure!(!status.success(), "{log}");
    ensure!(log.contains("use gateway.workers = 1"), "{log}");
    Ok(())
}

#[test]
fn two_gateways_route_to_each_other_over_a_memif() -> Result<()> {
    let lab = Lab::new()?;
    let socket = lab.dir().join("memif.sock");
    let start = |name: &str, role: &str, (own, other): (&str, &str), end: &str| {
        let gateway = lab.host(&format!("gw-{name}"))?;
        let host = neighbor(&lab, name, &gateway, "eth-host", own)?;
        let memif = format!(
            "kind = \"memif\"\nsocket = \"{}\"\nrole = \"{role}\"\nid = 7\nsecret = \"s3cret\"",
            socket.display()
        );
        let host_port = "kind = \"af_packet\"\ninterface = \"eth-host\"";
        let next_hop = if end == "1" { "2" } else { "1" };
        let mut text = config(&[
            ("host", host_port, &format!("{own}.1/24")),
            ("peer", &memif, &format!("10.8.0.{end}/24")),
        ]);
        let _ = write!(
            text,
            "\n[[route]]\nprefix = \"{other}.0/24\"\nnext-hop = \"10.8.0.{next_hop}\"\n"
        );
        Ok::<_, anyhow::Error>((Sekishod::start(&gateway, &text)?, host))
    };
    let (server, west) = start("west", "server", ("10.8.1", "10.8.2"), "1")?;
    interfaces_say(&server, "Interface peer is up, link is down")?;
    let (mut client, east) = start("east", "client", ("10.8.2", "10.8.1"), "2")?;
    interfaces_say(&server, "Interface peer is up, link is up")?;
    interfaces_say(&client, "port peer, driver net_memif")?;
    west.wait_ping("10.8.2.2", SOON)?;
    east.wait_ping("10.8.1.2", SOON)?;
    east.ping("10.8.1.2", "-M do -s 1472")?;

    client.kill()?;
    interfaces_say(&server, "Interface peer is up, link is down")?;
    west.no_ping("10.8.2.2")?;
    client.run()?;
    interfaces_say(&server, "Interface peer is up, link is up")?;
    west.wait_ping("10.8.2.2", SOON)?;
    client.terminate()
}

#[test]
fn a_memif_client_without_a_server_and_a_nic_that_is_not_there_end_the_start() -> Result<()> {
    let lab = Lab::new()?;
    let gateway = lab.host("gateway")?;
    let memif = format!(
        "kind = \"memif\"\nsocket = \"{}/none.sock\"\nrole = \"client\"",
        lab.dir().display()
    );
    let cases = [
        (memif.as_str(), "start the server first"),
        (
            "kind = \"pci\"\naddress = \"ffff:ff:1f.7\"",
            "there is no PCI device ffff:ff:1f.7",
        ),
    ];
    for (kind, message) in cases {
        let text = config(&[("peer", kind, "10.8.0.1/24")]);
        let (status, log) = Sekishod::prepare(&gateway, &text)?.run_to_end()?;
        ensure!(!status.success() && log.contains(message), "{log}");
    }
    Ok(())
}
