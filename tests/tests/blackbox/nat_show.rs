//! Seeing NAT at work: sessions, filters, counters, pools and flows are what the traffic made them.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Capture, Server, wait_until};
use sekisho_tests::topology::{SERVER, SERVER_2};
use serde_json::Value;

use crate::site::{SOON, Site, play, play_config};

/// The rows a command has as JSON.
fn rows(site: &Site, command: &str) -> Result<Vec<Value>> {
    let value = site.sekishod.cli_json(command)?;
    let rows = value.as_array().cloned();
    rows.with_context(|| format!("{command}: {value:#}"))
}

/// The only row of a command.
fn row(site: &Site, command: &str) -> Result<Value> {
    let mut rows = rows(site, command)?;
    ensure!(rows.len() == 1, "{command}: {rows:#?}");
    rows.pop().context("no row")
}

/// The default configuration, with sessions counted.
fn counting() -> Config {
    Config::default().replace(
        "max-sessions = 100000",
        "max-sessions = 1000000\nsession-counters = true",
    )
}

/// A connection of blue, a datagram's session of blue and one of green, from the same address and
/// to the same server. Their servers stay up as long as they are held.
struct Talk {
    _servers: [Server; 2],
    tcp: Server,
    blue: Server,
    green: Server,
}

impl Talk {
    fn start(site: &Site) -> Result<Self> {
        let topology = &site.topology;
        let tcp_echo = Server::tcp_echo(&topology.server, 7003)?;
        let echo = Server::echo(&topology.server, &[7001])?;
        let target = format!("{SERVER}:7001");
        Ok(Self {
            _servers: [tcp_echo, echo],
            tcp: Server::beat(&topology.blue_web1, &format!("{SERVER}:7003"))?,
            blue: Server::hold(&topology.blue_web1, 4000, &target)?,
            green: Server::hold(&topology.green_web1, 4000, &target)?,
        })
    }
}

#[test]
fn a_session_shows_what_it_carried() -> Result<()> {
    play_config(&counting(), |site| {
        let topology = &site.topology;
        let _listener = Server::listen(&topology.server, 7001)?;
        for _ in 0..3 {
            topology
                .blue_web1
                .send_datagram(5000, &format!("{SERVER}:7001"), "hello")?;
        }
        let out = "show nat sessions tenant blue protocol udp remote 192.0.2.80:7001";
        let session = wait_until(SOON, "three packets are counted", || {
            let session = row(site, out)?;
            ensure!(session["counts"]["packets_out"] == 3, "{session:#}");
            Ok(session)
        })?;
        // A header of 20 octets, one of 8, and five of text.
        ensure!(session["counts"]["octets_out"] == 3 * 33, "{session:#}");
        ensure!(session["counts"]["packets_in"] == 0, "{session:#}");
        ensure!(session["counts"]["octets_in"] == 0, "{session:#}");
        ensure!(session["counts"]["age_seconds"].as_u64() < Some(10));
        ensure!(session["inside_address"] == "172.16.10.11", "{session:#}");
        ensure!(session["inside_port"] == 5000, "{session:#}");
        ensure!(session["origin"] == "snat 172.16.0.0/16", "{session:#}");
        let outside = format!(
            "{}:{}",
            session["outside_address"].as_str().unwrap_or_default(),
            session["outside_port"]
        );
        topology.server.send_datagram(7002, &outside, "goodbye")?;
        wait_until(SOON, "a packet from outside is counted", || {
            let session = row(site, "show nat sessions remote 192.0.2.80:7002")?;
            let counts = &session["counts"];
            ensure!(counts["packets_in"] == 1, "{session:#}");
            ensure!(counts["octets_in"] == 35, "{session:#}");
            ensure!(counts["packets_out"] == 0, "{session:#}");
            Ok(())
        })
    })
}

#[test]
fn a_connection_counts_as_much_as_the_wire_saw() -> Result<()> {
    play_config(&counting(), |site| {
        let topology = &site.topology;
        let _web = Server::web(&topology.blue_web2, 80)?;
        let capture = Capture::start(&topology.blue_web2, "eth0", "tcp port 80")?;
        wait_until(SOON, "the port forward answers", || {
            topology.server.fetch("203.0.113.20:8080")
        })?;
        let sessions = "show nat sessions tenant blue outside 203.0.113.20:8080 state closing";
        wait_until(SOON, "every packet is counted", || {
            let (mut out, mut back) = (0, 0);
            for session in rows(site, sessions)? {
                ensure!(session["origin"] == "port-forward", "{session:#}");
                out += session["counts"]["packets_out"].as_u64().unwrap_or(0);
                back += session["counts"]["packets_in"].as_u64().unwrap_or(0);
            }
            let seen = (
                capture.count("ip.src == 172.16.10.12")? as u64,
                capture.count("ip.dst == 172.16.10.12")? as u64,
            );
            ensure!(out > 3 && (out, back) == seen, "{out}, {back}; {seen:?}");
            Ok(())
        })
    })
}

#[test]
fn filters_select_and_what_is_cleared_is_gone_alone() -> Result<()> {
    play(|site| {
        let talk = Talk::start(site)?;
        let count = |filter: &str| -> Result<usize> {
            Ok(rows(site, &format!("show nat sessions {filter}"))?.len())
        };
        let (blue, green) = (talk.blue.seen_as()?, talk.green.seen_as()?);
        for (filter, expected) in [
            ("remote 192.0.2.80:7001".to_owned(), 2),
            ("remote 192.0.2.80:7001 tenant green".to_owned(), 1),
            ("tenant blue state established".to_owned(), 1),
            ("state established protocol udp".to_owned(), 0),
            ("inside 172.16.10.11:4000 state active".to_owned(), 2),
            ("inside 172.16.10.8/29 remote 192.0.2.80:7003".to_owned(), 1),
            (format!("outside {blue}"), 1),
            (format!("outside {green} tenant blue"), 0),
            ("remote 192.0.2.80:7001 --limit 1".to_owned(), 1),
        ] {
            let found = count(&filter)?;
            ensure!(found == expected, "{filter}: {found}");
        }
        let session = row(site, &format!("show nat sessions outside {blue}"))?;
        ensure!(session["counts"].is_null(), "{session:#}");
        let cleared = site
            .sekishod
            .cli("clear nat sessions remote 192.0.2.80:7001 tenant blue")?;
        ensure!(cleared == "1 session cleared\n", "{cleared}");
        ensure!(count(&format!("outside {blue}"))? == 0);
        ensure!(count(&format!("outside {green}"))? == 1);
        talk.tcp.wait_beats(5, SOON)?;
        ensure!(count("tenant blue state established")? == 1);
        Ok(())
    })
}

#[test]
fn a_wrong_filter_says_what_would_be_right() -> Result<()> {
    play(|site| {
        for (command, code, part) in [
            (
                "show nat sessions protocol gre",
                2,
                "write tcp, udp or icmp",
            ),
            (
                "show nat sessions state open",
                2,
                "write opening, established",
            ),
            (
                "clear nat sessions inside host",
                2,
                "write inside 192.0.2.1",
            ),
            ("clear nat sessions", 2, "--all"),
            (
                "show nat sessions tenant red",
                1,
                "there are: provider, blue",
            ),
            ("show nat statistics tenant red", 1, "blue, green"),
            ("show nat pools private", 1, "there is public"),
        ] {
            let output = site.sekishod.cli_output(command)?;
            ensure!(output.code == Some(code), "{command}: {output:?}");
            ensure!(output.stderr.contains(part), "{command}: {output:?}");
        }
        Ok(())
    })
}

/// A number of a tenant's statistics.
fn counted(site: &Site, tenant: &str, key: &str) -> Result<u64> {
    let value = site
        .sekishod
        .cli_json(&format!("show nat statistics tenant {tenant}"))?;
    ensure!(value["gateway"].is_null(), "{value:#}");
    let counts = &value["tenants"][0]["counts"];
    let number = match counts[key].as_u64() {
        Some(number) => Some(number),
        None => counts["refusals"]
            .as_array()
            .and_then(|all| all.iter().find(|refusal| refusal["reason"] == key))
            .and_then(|refusal| refusal["total"].as_u64()),
    };
    number.with_context(|| format!("no {key} in {value:#}"))
}

#[test]
fn c10_sessions_and_refusals_are_counted_for_each_tenant() -> Result<()> {
    let mut config = Config::default();
    config.tenants[0] =
        config.tenants[0].replacen("[[tenant]]\n", "[[tenant]]\nmax-sessions = 8\n", 1);
    play_config(&config, |site| {
        let topology = &site.topology;
        let _talk = Talk::start(site)?;
        ensure!(counted(site, "blue", "tcp_established")? == 1);
        ensure!(counted(site, "green", "tcp_established")? == 0);
        ensure!(counted(site, "green", "udp")? == 1);
        ensure!(counted(site, "green", "hosts")? == 1);
        let before = site.sekishod.drops("nat-tenant-limit")?;
        // The tenant may have eight sessions, and two are there.
        for port in 5000..5009 {
            let target = format!("{SERVER}:7001");
            topology.blue_web1.send_datagram(port, &target, "x")?;
        }
        site.wait_dropped("nat-tenant-limit", before + 2)?;
        let refused = site.sekishod.drops("nat-tenant-limit")?;
        ensure!(counted(site, "blue", "nat-tenant-limit")? == refused);
        ensure!(counted(site, "green", "nat-tenant-limit")? == 0);
        let all = site.sekishod.cli_json("show nat statistics")?;
        let created = all["gateway"]["created"].as_u64();
        let of_both = counted(site, "blue", "created")? + counted(site, "green", "created")?;
        ensure!(created == Some(of_both), "{all:#}");
        Ok(())
    })
}

#[test]
fn c10_a_pool_shows_what_is_used_of_it_and_of_each_address() -> Result<()> {
    play(|site| {
        let talk = Talk::start(site)?;
        let pool = row(site, "show nat pools public")?;
        let number = |key: &str| pool[key].as_u64().with_context(|| format!("{pool:#}"));
        ensure!(number("address_count")? == 16 && number("block_size")? == 64);
        ensure!(number("ports_total")? == 3 * 16 * (65536 - 1024));
        let (used, quarantined) = (number("ports_used")?, number("ports_quarantined")?);
        ensure!(used >= 3 && number("ports_free")? == number("ports_total")? - used - quarantined);
        let details = pool["details"].as_array().context("no addresses")?;
        ensure!(details.len() == 16, "{pool:#}");
        let sum = |key: &str| -> u64 { details.iter().filter_map(|own| own[key].as_u64()).sum() };
        ensure!(sum("tcp") + sum("udp") + sum("icmp") == used, "{pool:#}");
        ensure!(sum("blocks") == number("blocks_used")?, "{pool:#}");
        let seen = talk.green.seen_as()?;
        let address = seen.split(':').next().context("no address")?;
        let own = details.iter().find(|own| own["address"] == address);
        ensure!(
            own.is_some_and(|own| own["udp"].as_u64() > Some(0)),
            "{pool:#}"
        );
        Ok(())
    })
}

#[test]
fn flows_lead_where_the_packets_go() -> Result<()> {
    play_config(&counting(), |site| {
        let topology = &site.topology;
        let captures = [
            (
                "isp-a",
                Capture::start(topology.isp_a.host(), "eth-gw", "udp port 7001")?,
            ),
            (
                "isp-b",
                Capture::start(topology.isp_b.host(), "eth-gw", "udp port 7001")?,
            ),
        ];
        let talk = Talk::start(site)?;
        let (address, port) = {
            let seen = talk.blue.seen_as()?;
            let (address, port) = seen.split_once(':').context("no port")?;
            (address.to_owned(), port.parse::<u16>()?)
        };
        let flows = rows(
            site,
            "show dataplane flows tenant blue remote 192.0.2.80:7001",
        )?;
        let [out, back] = &flows[..] else {
            anyhow::bail!("{flows:#?}");
        };
        ensure!(out["direction"] == "out" && back["direction"] == "in");
        ensure!(
            out["match"]["vni"] == 5001 && out["match"]["vtep"] == "10.1.0.11",
            "{out:#}"
        );
        ensure!(out["match"]["source_address"] == "172.16.10.11", "{out:#}");
        ensure!(out["match"]["source_port"] == 4000, "{out:#}");
        ensure!(
            out["actions"]["set_source_address"] == address.as_str(),
            "{out:#}"
        );
        ensure!(out["actions"]["set_source_port"] == port, "{out:#}");
        ensure!(out["packets"] == 1 && back["packets"] == 1, "{flows:#?}");
        let outside = format!("udp.srcport == {port} && ip.src == {address}");
        for (uplink, capture) in &captures {
            let left = capture.count(&outside)?;
            let expected = usize::from(out["actions"]["output"] == *uplink);
            ensure!(left == expected, "{left} by {uplink}; {out:#}");
        }
        ensure!(
            back["match"]["destination_address"] == address.as_str(),
            "{back:#}"
        );
        let actions = &back["actions"];
        ensure!(
            actions["set_destination_address"] == "172.16.10.11",
            "{back:#}"
        );
        ensure!(actions["set_mac"] == "02:00:00:01:10:11", "{back:#}");
        ensure!(actions["tunnel"]["vni"] == 5001, "{back:#}");
        ensure!(actions["tunnel"]["source"] == "10.1.0.1", "{back:#}");
        ensure!(actions["tunnel"]["destination"] == "10.1.0.11", "{back:#}");
        ensure!(actions["output"] == "fabric", "{back:#}");
        let floating = rows(site, "show dataplane flows outside 203.0.113.11")?;
        ensure!(floating.len() == 2, "{floating:#?}");
        ensure!(floating[0]["state"] == "stateless" && floating[0]["tenant"] == "green");
        ensure!(floating[0]["match"]["source_address"] == "172.16.20.11");
        ensure!(floating[1]["actions"]["set_destination_address"] == "172.16.20.11");
        Ok(())
    })
}

/// Sends a datagram to each port of both addresses of the server, some at a time.
const FLOOD: &str = "import socket, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((\"\", 5000))
for port in range(1024, 65024):
    for server in (\"192.0.2.80\", \"192.0.2.81\"):
        sock.sendto(b\"x\", (server, port))
    if port % 64 == 0:
        time.sleep(0.003)
";

#[test]
fn among_a_hundred_thousand_sessions_one_is_found_at_once_while_packets_flow() -> Result<()> {
    play_config(&counting(), |site| {
        let talk = Talk::start(site)?;
        let script = site.topology.blue_web1.lab().dir().join("flood.py");
        std::fs::write(&script, FLOOD)?;
        ensure!(SERVER_2 == "192.0.2.81");
        wait_until(SOON, "there are many sessions", || {
            let flood = format!("/usr/bin/python3 {}", script.display());
            site.topology.blue_web1.run(&flood)?;
            let held = counted(site, "blue", "udp")?;
            ensure!(held >= 128_000, "{held}");
            Ok(())
        })?;
        let lost = |site: &Site| -> Result<u64> {
            let full = ["no-buffer", "tx-full", "handover-full"];
            full.iter().map(|reason| site.sekishod.drops(reason)).sum()
        };
        let (beats, before) = (talk.tcp.beats(), lost(site)?);
        for command in [
            "show nat sessions state established",
            "show nat sessions inside 172.16.10.11:5000 --limit 100",
            "show nat statistics",
            "show nat pools public",
        ] {
            let start = Instant::now();
            site.sekishod.cli(command)?;
            let took = start.elapsed();
            ensure!(took < SOON / 10, "{command} took {took:?}");
        }
        ensure!(rows(site, "show nat sessions state established")?.len() == 1);
        let all = site
            .sekishod
            .cli("show nat sessions inside 172.16.10.11:5000")?;
        ensure!(all.ends_with("\n128000 sessions\n"), "{}", all.len());
        talk.tcp.wait_beats(10, SOON)?;
        ensure!(talk.tcp.beats() > beats && lost(site)? == before);
        Ok(())
    })
}
