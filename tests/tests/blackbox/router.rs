//! What RFC 1812 asks of a router.

use anyhow::{Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::Capture;
use sekisho_tests::topology::{ISP_A, ISP_B, SERVER};

use crate::raw::Injector;
use crate::site::{SOON, play, play_config};

#[test]
fn l01_the_time_to_live_falls_by_one_per_hop_and_its_end_is_told() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        topology.blue_web1.wait_ping(SERVER, SOON)?;
        let captures = [topology.isp_a.host(), topology.isp_b.host()]
            .map(|host| Capture::start(host, "eth-gw", "icmp"));
        topology.blue_web1.ping(SERVER, "-t 33")?;
        let mut seen = Vec::new();
        for capture in captures {
            seen.extend(capture?.packets("icmp.type == 8", &["ip.ttl"])?.concat());
        }
        ensure!(seen == ["32"], "{seen:?}");
        let output = topology
            .blue_web1
            .output(&format!("ping -n -c 1 -W 2 -t 1 {SERVER}"))?;
        let told = output.stdout.contains("From 172.16.10.1")
            && output.stdout.contains("Time to live exceeded");
        ensure!(told, "{output:?}");
        Ok(())
    })
}

#[test]
fn l01_traceroute_from_a_virtual_machine_shows_every_hop() -> Result<()> {
    play(|site| {
        let vm = &site.topology.blue_web1;
        vm.wait_ping(SERVER, SOON)?;
        let output = vm.run(&format!("traceroute -n -q 1 -N 1 -w 2 {SERVER}"))?;
        let hops: Vec<&str> = output
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().nth(1))
            .collect();
        let right = matches!(hops[..], ["172.16.10.1", ISP_A | ISP_B, SERVER]);
        ensure!(right, "{output}");
        Ok(())
    })
}

#[test]
fn l02_a_malformed_packet_is_dropped_silently() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        for broken in [
            "version=5",
            "ihl=4",
            "ihl=15",
            "len=19",
            "len=2000",
            "chksum=0x1234",
        ] {
            let script = format!("put(vx(echo(1, {broken})))");
            injector.dropped(site, &script, "malformed-ipv4")?;
        }
        Ok(())
    })
}

#[test]
fn l03_a_tenant_without_a_route_is_told_by_its_gateway() -> Result<()> {
    let blue = Config::default().tenants[0].replace(
        "[[tenant.route]]\nprefix = \"0.0.0.0/0\"\nvrf = \"provider\"\n",
        "",
    );
    let config = Config {
        tenants: vec![blue],
        ..Config::default()
    };
    play_config(&config, |site| {
        let vm = &site.topology.blue_web1;
        vm.wait_ping("172.16.10.1", SOON)?;
        let output = vm.output(&format!("ping -n -c 1 -W 2 {SERVER}"))?;
        let told = output.stdout.contains("From 172.16.10.1")
            && output.stdout.contains("Destination Net Unreachable");
        ensure!(told, "{output:?}");
        Ok(())
    })
}

#[test]
fn l04_no_error_is_sent_about_what_must_not_cause_one() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        let errors = injector.send_and_count(
            "about = IP(src='192.0.2.80', dst='172.16.10.11')/UDP(sport=9, dport=9)
put(vx(inner(ICMP(type=3, code=1)/about, dst='192.0.2.80', ttl=1)))
put(vx(inner(UDP(sport=1, dport=9), dst='224.0.0.9', ttl=1)))
put(vx(inner(UDP(sport=1, dport=9), dst='255.255.255.255', ttl=1)))
put(vx(inner(Raw(b'x' * 16), dst='192.0.2.80', ttl=1, proto=17, frag=5)))
put(vx(inner(UDP(sport=1, dport=9), src='127.0.0.1', dst='192.0.2.80', ttl=1)))",
            "icmp.type == 3 || icmp.type == 11",
        )?;
        ensure!(errors == 0, "{errors} errors came back");
        Ok(())
    })
}

#[test]
fn l06_a_martian_is_dropped_wherever_it_comes_from() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        let from = |source: &str| {
            format!("put(vx(inner(UDP(sport=1, dport=9), src='{source}', dst='192.0.2.80')))")
        };
        for source in [
            "0.0.0.1",
            "127.0.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            injector.dropped(site, &from(source), "martian-source")?;
        }
        let isp_a = site.topology.isp_a.host();
        let gateway = site.topology.gateway.mac("eth-isp-a")?;
        for source in ["127.0.0.1", "240.0.0.1"] {
            let before = site.sekishod.drops("martian-source")?;
            isp_a.scapy(&format!(
                "sendp(Ether(dst='{gateway}')/IP(src='{source}', dst='203.0.113.10')\
                 /UDP(sport=1, dport=9), iface='eth-gw')"
            ))?;
            site.wait_dropped("martian-source", before)?;
        }
        Ok(())
    })
}

#[test]
fn l08_a_source_route_is_dropped() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        injector.dropped(
            site,
            "put(vx(echo(1, options=[IPOption_LSRR(routers=['192.0.2.80'])])))",
            "source-route",
        )
    })
}

#[test]
fn a_tenant_reaches_no_service_of_the_gateway() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        topology.blue_web1.wait_ping("172.16.10.1", SOON)?;
        let open = |port: u16| {
            format!("timeout 1 bash -c 'echo > /dev/tcp/172.16.10.1/{port}' 2>/dev/null")
        };
        let before = site.sekishod.drops("gateway-service")?;
        ensure!(topology.blue_web1.output(&open(179))?.code != Some(0));
        site.wait_dropped("gateway-service", before)?;
        let uplink = "timeout 1 bash -c 'echo > /dev/tcp/198.51.100.1/179' 2>/dev/null";
        ensure!(topology.blue_web1.output(uplink)?.code != Some(0));
        Ok(())
    })
}

#[test]
fn the_gateways_own_addresses_answer_ping_from_the_underlay_and_the_uplinks() -> Result<()> {
    play(|site| {
        site.topology.hv1.host().wait_ping("10.1.0.1", SOON)?;
        site.topology.isp_a.host().wait_ping("198.51.100.1", SOON)?;
        site.topology.isp_b.host().wait_ping("198.51.100.3", SOON)?;
        let replies = site
            .topology
            .isp_a
            .host()
            .run("ping -n -c 3 -i 0.2 198.51.100.1")?;
        ensure!(!replies.contains("DUP!"), "{replies}");
        Ok(())
    })
}
