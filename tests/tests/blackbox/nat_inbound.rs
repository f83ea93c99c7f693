//! What comes in: floating IPs, port forwards, filters, hairpins.

use anyhow::{Context, Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Server, wait_until};
use sekisho_tests::topology::{ISP_A, SERVER};

use crate::site::{SOON, Site, play, play_both, play_config};

#[test]
fn a_floating_ip_works_both_ways_and_shows_the_client() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let _inside = Server::web(&topology.blue_db1, 80)?;
        let _outside = Server::web(&topology.server, 80)?;
        topology.server.wait_ping("203.0.113.10", SOON)?;
        let page = topology.server.fetch("203.0.113.10")?;
        ensure!(
            page.starts_with("hello from blue-db1; you are 192.0.2.80:"),
            "{page}"
        );
        let page = topology.blue_db1.fetch(SERVER)?;
        ensure!(
            page.starts_with("hello from server; you are 203.0.113.10:"),
            "{page}"
        );
        Ok(())
    })
}

#[test]
fn floating_ips_of_two_tenants_lead_to_the_same_address_of_each() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let _blue = Server::web(&topology.blue_db1, 80)?;
        let _green = Server::web(&topology.green_db1, 80)?;
        for (outside, name) in [("203.0.113.10", "blue-db1"), ("203.0.113.11", "green-db1")] {
            topology.server.wait_ping(outside, SOON)?;
            let page = topology.server.fetch(outside)?;
            ensure!(
                page.starts_with(&format!("hello from {name};")),
                "{outside}: {page}"
            );
        }
        Ok(())
    })
}

#[test]
fn c01_a_floating_ip_carries_protocols_without_ports() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        topology.server.wait_ping("203.0.113.10", SOON)?;
        let capture = sekisho_tests::lab::Capture::start(
            &topology.blue_db1,
            "eth0",
            "ip proto 132 or ip proto 50",
        )?;
        topology.server.scapy(
            "for protocol in (132, 50):
    send(IP(dst='203.0.113.10', proto=protocol)/Raw(b'x' * 32))",
        )?;
        capture.wait("ip.src == 192.0.2.80 && ip.dst == 172.16.20.11", 2, SOON)
    })
}

#[test]
fn a_port_forward_leads_to_its_host_and_no_other_port_does() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let _web = Server::web(&topology.blue_web2, 80)?;
        let _other = Server::web(&topology.blue_web2, 81)?;
        let server = &topology.server;
        wait_until(SOON, "the port forward answers", || {
            server.fetch("203.0.113.20:8080")
        })?;
        let page = server.fetch("203.0.113.20:8080")?;
        ensure!(
            page.starts_with("hello from blue-web2; you are 192.0.2.80:"),
            "{page}"
        );
        for closed in ["203.0.113.20:81", "203.0.113.20:80", "203.0.113.20:8081"] {
            let output = server.output(&format!("curl -sS --max-time 1 http://{closed}/"))?;
            ensure!(
                output.code != Some(0),
                "{closed} answered {}",
                output.stdout
            );
        }
        Ok(())
    })
}

#[test]
fn u10_a_host_not_contacted_does_not_get_in_and_another_port_of_one_contacted_does() -> Result<()> {
    play_both(&Config::default(), |site| {
        let topology = &site.topology;
        let _echo = Server::echo(&topology.server, &[7001])?;
        let client = Server::hold(&topology.blue_web1, 4000, &format!("{SERVER}:7001"))?;
        let outside = client.seen_as()?;
        let before = site.sekishod.drops("nat-filtered")?;
        topology
            .isp_a
            .host()
            .send_datagram(9, &outside, "stranger")?;
        site.wait_dropped("nat-filtered", before)?;
        topology.server.send_datagram(9, &outside, "friend")?;
        wait_until(SOON, "the friend's datagram arrives", || {
            ensure!(
                client.log().contains(&format!("{SERVER}:9 friend")),
                "{}",
                client.log()
            );
            Ok(())
        })?;
        ensure!(!client.log().contains("stranger"), "{}", client.log());
        Ok(())
    })
}

/// Whether a stranger and another port of a server that was contacted get in, by the filter.
fn filters(filtering: &str, stranger: bool, other_port: bool) -> Result<()> {
    let config = Config::default().replace(
        "pool = \"public\"",
        &format!("pool = \"public\"\nfiltering = \"{filtering}\""),
    );
    play_both(&config, |site| {
        let topology = &site.topology;
        let _echo = Server::echo(&topology.server, &[7001])?;
        let client = Server::hold(&topology.blue_web1, 4000, &format!("{SERVER}:7001"))?;
        let outside = client.seen_as()?;
        let isp_a = topology.isp_a.host();
        for (sender, word, enters) in [
            (isp_a, "stranger", stranger),
            (&topology.server, "friend", other_port),
        ] {
            let before = site.sekishod.drops("nat-filtered")?;
            sender.send_datagram(9, &outside, word)?;
            if enters {
                wait_until(SOON, "a datagram arrives", || {
                    ensure!(client.log().contains(word), "{}", client.log());
                    Ok(())
                })?;
            } else {
                site.wait_dropped("nat-filtered", before)?;
                ensure!(!client.log().contains(word), "{}", client.log());
            }
        }
        Ok(())
    })
}

#[test]
fn u10_with_endpoint_independent_filtering_everybody_gets_in() -> Result<()> {
    filters("endpoint-independent", true, true)
}

#[test]
fn u10_with_address_and_port_dependent_filtering_not_even_another_port_gets_in() -> Result<()> {
    filters("address-and-port-dependent", false, false)
}

#[test]
fn c04_a_tenant_beyond_its_sessions_is_told_and_others_go_on() -> Result<()> {
    let mut config = Config::default();
    config.tenants[0] =
        config.tenants[0].replacen("[[tenant]]\n", "[[tenant]]\nmax-sessions = 8\n", 1);
    play_both(&config, |site| {
        let topology = &site.topology;
        let _echo = Server::echo(&topology.server, &[7001])?;
        let target = format!("{SERVER}:7001");
        let capture = sekisho_tests::lab::Capture::start(&topology.blue_web1, "eth0", "icmp")?;
        let before = site.sekishod.drops("nat-tenant-limit")?;
        for port in 5000..5012 {
            topology.blue_web1.send_datagram(port, &target, "x")?;
        }
        wait_until(SOON, "what exceeds the limit is dropped", || {
            let dropped = site.sekishod.drops("nat-tenant-limit")? - before;
            ensure!(dropped == 12 - 8, "{dropped} dropped");
            Ok(())
        })?;
        ensure!(capture.count("icmp.type == 3 && icmp.code == 13")? > 0);
        let other = Server::hold(&topology.green_db1, 4000, &target)?;
        other.seen_as()?;
        Ok(())
    })
}

#[test]
fn c05_a_tenant_that_opens_sessions_too_fast_is_slowed_down_and_others_are_not() -> Result<()> {
    let mut config = Config::default();
    config.tenants[0] =
        config.tenants[0].replacen("[[tenant]]\n", "[[tenant]]\nmax-new-sessions = 2\n", 1);
    play_config(&config, |site| {
        let topology = &site.topology;
        let _echo = Server::echo(&topology.server, &[7001])?;
        let target = format!("{SERVER}:7001");
        let before = site.sekishod.drops("nat-tenant-rate")?;
        // A worker lets the tenant open one in a second.
        let mut port = 5000;
        wait_until(SOON, "the tenant is too fast", || {
            port += 1;
            topology.blue_web1.send_datagram(port, &target, "x")?;
            let dropped = site.sekishod.drops("nat-tenant-rate")? - before;
            ensure!(dropped >= 3, "{dropped} dropped");
            Ok(())
        })?;
        let other = Server::hold(&topology.green_db1, 4000, &target)?;
        other.seen_as()?;
        Ok(())
    })
}

#[test]
fn i05_what_nobody_asked_for_is_dropped_without_an_answer() -> Result<()> {
    play(|site| {
        let isp_a = site.topology.isp_a.host();
        let capture = sekisho_tests::lab::Capture::start(isp_a, "eth-gw", "icmp")?;
        let before = site.sekishod.drops("nat-no-mapping")?;
        isp_a.send_datagram(9, "203.0.113.70:5000", "x")?;
        site.wait_dropped("nat-no-mapping", before)?;
        let before = site.sekishod.drops("nat-icmp-error")?;
        isp_a.scapy(&format!(
            "about = IP(src='203.0.113.70', dst='192.0.2.80')/UDP(sport=5000, dport=9)
send(IP(src='{ISP_A}', dst='203.0.113.70')/ICMP(type=3, code=1)/about)"
        ))?;
        site.wait_dropped("nat-icmp-error", before)?;
        // An unmapped pool address never follows the default route back out.
        ensure!(capture.count("ip.src == 198.51.100.1 && icmp")? == 0);
        ensure!(capture.count("ip.dst == 203.0.113.70")? == 1);
        Ok(())
    })
}

#[test]
fn u11_a_hairpin_to_a_port_forward_shows_the_outside_source() -> Result<()> {
    play_both(&Config::default(), |site| {
        let topology = &site.topology;
        let _web = Server::web(&topology.blue_web2, 80)?;
        let page = hairpin(site, "203.0.113.20:8080")?;
        ensure!(
            page.starts_with("hello from blue-web2; you are 203.0.113."),
            "{page}"
        );
        Ok(())
    })
}

#[test]
fn u11_a_hairpin_to_the_floating_ip_of_another_tenant_passes() -> Result<()> {
    play_both(&Config::default(), |site| {
        let _web = Server::web(&site.topology.green_db1, 80)?;
        let page = hairpin(site, "203.0.113.11")?;
        ensure!(
            page.starts_with("hello from green-db1; you are 203.0.113."),
            "{page}"
        );
        Ok(())
    })
}

#[test]
fn u11_hairpins_pass_between_any_two_kinds_of_address_and_to_ones_own() -> Result<()> {
    play_both(&Config::default(), |site| {
        let topology = &site.topology;
        let _forwarded = Server::web(&topology.blue_web2, 80)?;
        let _blue = Server::web(&topology.blue_db1, 80)?;
        let _green = Server::web(&topology.green_db1, 80)?;
        // Those of a pool are seen as one of its addresses, those with a floating IP as that.
        let clients = [
            (&topology.blue_web1, "203.0.113."),
            (&topology.blue_web2, "203.0.113."),
            (&topology.green_web1, "203.0.113."),
            (&topology.blue_db1, "203.0.113.10:"),
            (&topology.green_db1, "203.0.113.11:"),
        ];
        let targets = [
            ("203.0.113.20:8080", "blue-web2"),
            ("203.0.113.10", "blue-db1"),
            ("203.0.113.11", "green-db1"),
        ];
        for (client, seen) in clients {
            for (target, name) in targets {
                let what = format!("{target} answers {}", client.name());
                let page = wait_until(SOON, &what, || client.fetch(target))?;
                let right = format!("hello from {name}; you are {seen}");
                ensure!(
                    page.starts_with(&right),
                    "{} to {target}: {page}",
                    client.name()
                );
            }
        }
        Ok(())
    })
}

fn hairpin(site: &Site, target: &str) -> Result<String> {
    let what = format!("{target} answers blue-web1");
    wait_until(SOON, &what, || site.topology.blue_web1.fetch(target))
}

#[test]
fn c06_a_source_that_is_not_translated_is_routed_as_it_is() -> Result<()> {
    let mut config = Config::default();
    config.tenants[0] = config.tenants[0]
        .replace("vni = 5001\n", "vni = 5001\nadvertise = true\n")
        .replace("pool = \"public\"", "to = \"none\"");
    let config = config.replace(
        "  { action = \"permit\", prefix = \"203.0.113.0/24\", ge = 24, le = 32 },",
        "  { action = \"permit\", prefix = \"203.0.113.0/24\", ge = 24, le = 32 },\n  \
           { action = \"permit\", prefix = \"172.16.10.0/24\" },",
    );
    play_config(&config, |site| {
        let topology = &site.topology;
        topology
            .isp_a
            .frr()?
            .wait_prefix("172.16.10.0/24", true, SOON)?;
        let isp_a = topology.isp_a.host();
        isp_a.wait_ping("172.16.10.11", SOON)?;
        let capture = sekisho_tests::lab::Capture::start(isp_a, "eth-gw", "icmp")?;
        topology.blue_web1.ping(ISP_A, "")?;
        let seen = capture.packets("icmp.type == 8", &["ip.src"])?;
        ensure!(seen.concat() == ["172.16.10.11"], "{seen:?}");
        Ok(())
    })
}

#[test]
fn snat_to_the_uplink_uses_its_own_address() -> Result<()> {
    let config = Config::default().replace("pool = \"public\"", "to = \"uplink\"");
    play_config(&config, |site| {
        let topology = &site.topology;
        topology.blue_web1.wait_ping("198.51.100.0", SOON)?;
        let capture = sekisho_tests::lab::Capture::start(topology.isp_a.host(), "eth-gw", "icmp")?;
        topology.blue_web1.ping(ISP_A, "")?;
        let seen = capture.packets("icmp.type == 8", &["ip.src"])?;
        ensure!(seen.concat() == ["198.51.100.1"], "{seen:?}");
        Ok(())
    })
}

#[test]
fn t16_an_error_for_a_connection_does_not_end_it() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let _echo = Server::tcp_echo(&topology.server, 7003)?;
        let client = Server::beat(&topology.blue_web1, &format!("{SERVER}:7003"))?;
        let seen = client.seen_as()?;
        let (address, port) = seen.split_once(':').context("no port")?;
        topology.isp_a.host().scapy(&format!(
            "about = IP(src='{address}', dst='{SERVER}')/TCP(sport={port}, dport=7003, seq=1)
for code in (1, 3, 13):
    send(IP(dst='{address}')/ICMP(type=3, code=code)/about)
send(IP(dst='{address}')/ICMP(type=11, code=0)/about)"
        ))?;
        client.wait_beats(10, SOON)
    })
}

#[test]
fn t09_a_spoofed_reset_does_not_end_a_connection() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let _echo = Server::tcp_echo(&topology.server, 7003)?;
        let client = Server::beat(&topology.blue_web1, &format!("{SERVER}:7003"))?;
        let seen = client.seen_as()?;
        let (address, port) = seen.split_once(':').context("no port")?;
        topology.isp_a.host().scapy(&format!(
            "for sequence in range(0, 2**32, 2**32 // 64):
    send(IP(src='{SERVER}', dst='{address}')/TCP(sport=7003, dport={port}, flags='R', seq=sequence))"
        ))?;
        client.wait_beats(20, SOON)
    })
}
