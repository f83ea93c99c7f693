//! VXLAN, packet by packet.

use anyhow::{Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::Capture;
use sekisho_tests::topology::SERVER;

use crate::raw::Injector;
use crate::site::{SOON, play, play_config};

#[test]
fn v01_a_vni_not_marked_valid_is_dropped() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        injector.dropped(site, "put(vx(echo(1), flags=0))", "vxlan-flags")?;
        injector.dropped(site, "put(vx(echo(2), flags=0xf7))", "vxlan-flags")
    })
}

#[test]
fn v02_reserved_bits_are_ignored_when_received_and_zero_when_sent() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        injector.answered("put(vx(echo(1), flags=0xff, r1=0xffffff, r2=0xff))", 1)?;
        let fields = ["vxlan.flags", "vxlan.gbp", "vxlan.reserved8"];
        for header in injector.capture().packets("vxlan", &fields)? {
            ensure!(header == ["0x0800", "0", "0"], "{header:?}");
        }
        Ok(())
    })
}

#[test]
fn v03_an_unknown_vni_and_the_vni_of_other_vteps_reach_nobody() -> Result<()> {
    let mut config = Config::default();
    let all = "vteps = [\"10.1.0.11\", \"10.1.0.12\"]";
    config.tenants[1] = config.tenants[1].replace(all, "vteps = [\"10.1.0.12\"]");
    play_config(&config, |site| {
        let injector = Injector::new(site)?;
        let server = Capture::start(&site.topology.server, "eth0", "icmp")?;
        let out = "inner(ICMP(id=7)/b'x', dst='192.0.2.80')";
        injector.dropped(site, &format!("put(vx({out}, vni=4999))"), "unknown-vni")?;
        injector.dropped(site, &format!("put(vx({out}, vni=6001))"), "unknown-vtep")?;
        site.topology.blue_web1.wait_ping(SERVER, SOON)?;
        server.wait("icmp.type == 8", 1, SOON)?;
        let leaked = server.count("data.data == 78")?;
        ensure!(leaked == 0, "{leaked} packets reached the server");
        Ok(())
    })
}

#[test]
fn v04_outer_checksum_zero_or_right_is_accepted_and_wrong_is_dropped() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        let packet = |ident: u16, udp: &str| {
            format!("put(outer(vxlan() + bytes(echo({ident})), udp={udp}))")
        };
        injector.answered(&packet(1, "{'chksum': 0}"), 1)?;
        injector.answered(&packet(2, "{}"), 2)?;
        injector.dropped(site, &packet(3, "{'chksum': 0x1234}"), "outer-checksum")
    })
}

#[test]
fn v06_only_the_configured_port_is_a_tunnel() -> Result<()> {
    let config = Config::default().replace("vxlan-port = 4789", "vxlan-port = 8472");
    play_config(&config, |site| {
        // The kernel hypervisors speak on 4789: their tenants are cut off, and exact packets to
        // the other port are not. Any Ethernet address asks for the segment's gateway's by ARP.
        let hv1 = site.topology.hv1.host();
        let gateway = site.topology.gateway.mac("eth-fabric")?;
        let capture = Capture::start(hv1, "eth0", "src host 10.1.0.1 and udp")?;
        hv1.scapy(&format!(
            "arp = Ether(src='02:00:00:01:10:11', dst='ff:ff:ff:ff:ff:ff')/ARP(
    hwsrc='02:00:00:01:10:11', psrc='172.16.10.11', pdst='172.16.10.1')
vni = bytes([8, 0, 0, 0]) + (5001).to_bytes(3, 'big') + bytes([0])
for port in (4789, 8472):
    sendp(Ether(src=get_if_hwaddr('eth0'), dst='{gateway}')/IP(src='10.1.0.11', dst='10.1.0.1')
          /UDP(sport=50000 + port % 10, dport=port)/Raw(vni + bytes(arp)), iface='eth0')"
        ))?;
        capture.wait("udp.dstport == 8472", 1, SOON)?;
        ensure!(capture.count("udp.dstport == 4789")? == 0);
        Ok(())
    })
}

#[test]
fn v07_an_outer_fragment_is_not_decapsulated() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        // The kernel keeps it for reassembly before a packet socket sees it.
        let answers = injector.send_and_count(
            "packet = vx(echo(1))\npacket[IP].flags = 'MF'\nput(packet)",
            "icmp.type == 0 && icmp.ident == 1",
        )?;
        ensure!(answers == 0, "{answers} were decapsulated");
        Ok(())
    })
}

#[test]
fn v08_an_inner_vlan_tag_is_dropped() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        injector.dropped(
            site,
            "tagged = Ether(src=vm, dst=seg)/Dot1Q(vlan=5)/echo(1)[IP]\nput(vx(tagged))",
            "inner-vlan",
        )
    })
}

#[test]
fn v09_a_packet_truncated_anywhere_is_dropped_and_harms_nobody() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        // Cut with the lengths left as they were, and cut with the lengths made to fit.
        let answers = injector.send_and_count(
            "whole = bytes(vx(echo(1)))
for size in range(14, len(whole)):
    put(Raw(whole[:size]))
payload = vxlan() + bytes(echo(2))
for size in range(0, len(payload)):
    put(outer(payload[:size]))",
            "icmp.type == 0 && icmp.ident <= 2",
        )?;
        // What is left of an echo request without all of its five octets of data is no longer
        // what its IP header says.
        ensure!(answers == 0, "{answers} truncated packets were answered");
        site.topology.blue_web1.wait_ping(SERVER, SOON)
    })
}

#[test]
fn v10_a_source_that_is_no_vtep_is_dropped_before_anything_else() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        let from = |source: &str| format!("put(outer(vxlan() + bytes(echo(1)), src='{source}'))");
        injector.dropped(site, &from("10.1.0.99"), "unknown-vtep")?;
        injector.dropped(site, &from("198.51.100.0"), "unknown-vtep")?;
        injector.dropped(site, &from("127.0.0.1"), "martian-source")?;
        injector.dropped(site, &from("224.0.0.1"), "martian-source")?;
        injector.dropped(site, &from("10.1.0.1"), "martian-source")
    })
}

#[test]
fn r08_other_tunnels_to_our_address_are_not_decapsulated() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        let answers = injector.send_and_count(
            "base = Ether(src=hv, dst=gw)/IP(src='10.1.0.11', dst='10.1.0.1')
put(base/GRE(proto=0x6558)/echo(1))
put(base/GRE(proto=0x6558, key_present=1, key=5001)/echo(1))
put(base/GRE(proto=0x0800)/echo(1)[IP])
put(base/echo(1)[IP])
put(base/UDP(sport=50000, dport=6081)/Raw(bytes([0,0,0x65,0x58,0,0x13,0x89,0]) + bytes(echo(1))))",
            "icmp.type == 0 && icmp.ident == 1",
        )?;
        ensure!(answers == 0, "{answers} were decapsulated");
        Ok(())
    })
}

#[test]
fn r09_a_tunnel_within_a_tunnel_is_decapsulated_once() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        let answers = injector.send_and_count(
            "within = inner(UDP(sport=50000, dport=4789)/Raw(vxlan() + bytes(echo(1))), dst='10.1.0.1')
put(vx(within))",
            "icmp.type == 0 && icmp.ident == 1",
        )?;
        ensure!(answers == 0, "{answers} were decapsulated twice");
        Ok(())
    })
}

#[test]
fn sec01_a_tenant_cannot_send_in_anothers_name() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        let server = Capture::start(&site.topology.server, "eth0", "udp port 9")?;
        injector.dropped(
            site,
            "put(vx(inner(UDP(sport=1, dport=9), src='172.31.0.1', dst='192.0.2.80')))",
            "spoofed-source",
        )?;
        ensure!(server.count("udp.dstport == 9")? == 0);
        Ok(())
    })
}
