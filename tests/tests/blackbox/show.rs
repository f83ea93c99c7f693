//! What the CLI shows of a gateway at work.

use anyhow::{Result, ensure};
use sekisho_tests::lab::Server;
use sekisho_tests::topology::{ISP_A, ISP_B, SERVER};

use crate::site::{SOON, Site, play};

/// Commands that show something of a gateway at work, and what it must hold.
const SHOWS: [(&str, &[&str]); 18] = [
    ("show version", &["sekisho"]),
    (
        "show ip route",
        &[
            "Codes:",
            "B>* 0.0.0.0/0 [20/0] via 198.51.100.0",
            "C>* 10.1.0.0/24",
        ],
    ),
    (
        "show ip route vrf blue",
        &["172.16.10.0/24", "172.16.20.0/24", "0.0.0.0/0"],
    ),
    (
        "show ip route 192.0.2.0/24",
        &["Routing entry for 192.0.2.0/24", "Known via \"bgp\""],
    ),
    (
        "show bgp summary",
        &["65010", "Neighbor", "State/PfxRcd", ISP_A, ISP_B],
    ),
    ("show bgp neighbors", &[ISP_A, "Established", ISP_B]),
    ("show bgp ipv4 unicast", &["192.0.2.0/24", "65001", "65002"]),
    (
        "show interfaces",
        &["fabric", "isp-a", "isp-b", "198.51.100.1"],
    ),
    (
        "show tunnels",
        &["5001", "6002", "10.1.0.12", "blue", "green"],
    ),
    (
        "show endpoints",
        &["172.16.10.11", "02:00:00:01:10:11", "10.1.0.11"],
    ),
    (
        "show nat sessions",
        &["blue", "172.16.10.11", "203.0.113.", SERVER],
    ),
    (
        "show nat statistics",
        &["gateway", "blue", "green", "TCP established"],
    ),
    (
        "show dataplane flows",
        &["out(blue)", "in(blue)", "vni=5001", "203.0.113.", "flows"],
    ),
    ("show nat tenants", &["blue", "green", "no limit"]),
    ("show nat pools", &["public", "203.0.113.64/28"]),
    (
        "show nat rules",
        &["blue", "203.0.113.10", "203.0.113.20:8080", "public"],
    ),
    ("show workers", &["0", "1"]),
    ("show config", &["[gateway]", "hostname = \"gw1\""]),
];

/// A connection of blue that stays up while its two ends are held.
fn with_traffic(site: &Site) -> Result<(Server, Server)> {
    let echo = Server::tcp_echo(&site.topology.server, 7003)?;
    let client = Server::beat(&site.topology.blue_web1, &format!("{SERVER}:7003"))?;
    Ok((echo, client))
}

#[test]
fn every_command_shows_what_is_there() -> Result<()> {
    play(|site| {
        let _connection = with_traffic(site)?;
        for (command, needles) in SHOWS {
            let text = site.sekishod.cli(command)?;
            for needle in needles {
                ensure!(
                    text.contains(needle),
                    "{needle:?} is not in `{command}`:\n{text}"
                );
            }
            ensure!(
                !text.contains('\x1b'),
                "`{command}` is coloured where no terminal is"
            );
        }
        Ok(())
    })
}

#[test]
fn every_command_has_json() -> Result<()> {
    play(|site| {
        let _connection = with_traffic(site)?;
        for (command, _) in SHOWS {
            let value = site.sekishod.cli_json(command)?;
            ensure!(!value.is_null(), "{command}");
        }
        Ok(())
    })
}

#[test]
fn commands_may_be_abbreviated() -> Result<()> {
    play(|site| {
        for (short, long) in [
            ("sh ip ro", "show ip route"),
            ("sh bgp sum", "show bgp summary"),
        ] {
            // The times within may differ by a second.
            let words = |text: String| -> Vec<String> {
                text.split_whitespace()
                    .filter(|word| !word.contains(':'))
                    .map(str::to_owned)
                    .collect()
            };
            let (short, long) = (site.sekishod.cli(short)?, site.sekishod.cli(long)?);
            ensure!(words(short).len() == words(long).len());
        }
        Ok(())
    })
}

#[test]
fn a_route_in_the_fib_says_so_and_connected_routes_are_there() -> Result<()> {
    play(|site| {
        let table = site.sekishod.cli("show ip route")?;
        for prefix in ["198.51.100.0/31", "198.51.100.2/31", "10.1.0.0/24"] {
            let line = table
                .lines()
                .find(|line| line.starts_with("C>*") && line.contains(prefix));
            ensure!(
                line.is_some_and(|line| line.contains("is directly connected")),
                "{prefix} in\n{table}"
            );
        }
        Ok(())
    })
}

#[test]
fn cleared_sessions_are_gone() -> Result<()> {
    play(|site| {
        let (_echo, client) = with_traffic(site)?;
        let outside = client.seen_as()?;
        site.sekishod
            .wait_cli("show nat sessions", &outside, SOON)?;
        drop(client);
        site.sekishod.cli("clear nat sessions --all")?;
        sekisho_tests::lab::wait_gone(SOON, &outside, || site.sekishod.cli("show nat sessions"))
    })
}

#[test]
fn without_a_daemon_the_cli_says_so_in_one_sentence() -> Result<()> {
    play(|site| {
        site.sekishod.terminate()?;
        let output = site.sekishod.cli_output("show version")?;
        ensure!(output.code == Some(1), "{output:?}");
        let socket = site.sekishod.socket().display().to_string();
        ensure!(output.stderr.contains(&socket), "{output:?}");
        let output = site.sekishod.cli_output("--json show version")?;
        ensure!(output.code == Some(1), "{output:?}");
        let text = if output.stdout.is_empty() {
            &output.stderr
        } else {
            &output.stdout
        };
        let error: serde_json::Value = serde_json::from_str(text)?;
        ensure!(error["error"].is_object(), "{text}");
        Ok(())
    })
}

#[test]
fn a_command_that_is_none_is_a_usage_error() -> Result<()> {
    play(|site| {
        let output = site.sekishod.cli_output("show nonsense")?;
        ensure!(output.code == Some(2), "{output:?}");
        ensure!(output.stderr.contains("nonsense"), "{output:?}");
        Ok(())
    })
}
