//! BGP sessions: how they come up and go down.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Capture, wait_until};
use sekisho_tests::topology::{
    GATEWAY_A, GATEWAY_B, ISP_A, ISP_B, RouterConfig, next_hops, wait_default,
};

use crate::site::{SOON, Site, play, play_config, play_routers, play_unstarted};

/// FRR's account of the NOTIFICATION last sent or received, as `0302` for code 3, subcode 2.
fn last_notification(site: &Site) -> Result<String> {
    let neighbor = site.topology.isp_a.frr()?.neighbor(GATEWAY_A)?;
    neighbor["lastErrorCodeSubcode"]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("FRR knows of no NOTIFICATION: {neighbor:#}"))
}

fn wait_notification(site: &Site, code: &str) -> Result<()> {
    wait_until(SOON, &format!("FRR has NOTIFICATION {code}"), || {
        let seen = last_notification(site)?;
        ensure!(seen == code, "{seen}");
        Ok(())
    })
}

#[test]
fn b01_frr_is_established_within_five_seconds_with_the_lower_hold_time() -> Result<()> {
    let config = Config {
        bgp: Config::default()
            .bgp
            .replacen("hold-time = \"9s\"", "hold-time = \"30s\"", 1)
            .replacen("hold-time = \"9s\"", "hold-time = \"6s\"", 1),
        ..Config::default()
    };
    let (a, b) = (RouterConfig::frr_a(), RouterConfig::frr_b());
    play_unstarted(&config, &a, &b, |site| {
        site.sekishod.run()?;
        let five = Duration::from_secs(5);
        let start = Instant::now();
        let a = site
            .topology
            .isp_a
            .frr()?
            .wait_established(GATEWAY_A, five)?;
        let b = site
            .topology
            .isp_b
            .frr()?
            .wait_established(GATEWAY_B, five)?;
        ensure!(start.elapsed() < five, "{:?}", start.elapsed());
        for (neighbor, hold) in [(a, 9000), (b, 6000)] {
            ensure!(neighbor["bgpTimerHoldTimeMsecs"] == hold, "{neighbor:#}");
            ensure!(
                neighbor["bgpTimerKeepAliveIntervalMsecs"] == hold / 3,
                "{neighbor:#}"
            );
        }
        Ok(())
    })
}

#[test]
fn b02_passive_frr_and_passive_bird_are_connected_to() -> Result<()> {
    let frr = RouterConfig::frr_a().replace(
        &format!(" neighbor {GATEWAY_A} timers connect 1\n"),
        &format!(" neighbor {GATEWAY_A} passive\n"),
    );
    let bird = RouterConfig::bird_b().replace(
        "  neighbor 198.51.100.3 as 65010;\n",
        "  neighbor 198.51.100.3 as 65010;\n  passive yes;\n",
    );
    play_routers(&Config::default(), &frr, &bird, |site| {
        wait_default(&site.sekishod, 2)
    })
}

#[test]
fn b02_a_passive_gateway_is_connected_to() -> Result<()> {
    let config = Config {
        bgp: Config::default()
            .bgp
            .replace("hold-time = \"9s\"", "hold-time = \"9s\"\npassive = true"),
        ..Config::default()
    };
    play_config(&config, |site| wait_default(&site.sekishod, 2))
}

#[test]
fn b04_a_wrong_as_is_refused_with_2_2_and_the_other_session_comes_up() -> Result<()> {
    let config = Config::default().replace("remote-as = 65001", "remote-as = 65099");
    let (a, b) = (RouterConfig::frr_a(), RouterConfig::frr_b());
    play_unstarted(&config, &a, &b, |site| {
        site.sekishod.run()?;
        wait_notification(site, "0202")?;
        site.topology
            .isp_b
            .frr()?
            .wait_established(GATEWAY_B, SOON)?;
        wait_default(&site.sekishod, 1)?;
        let summary = site.sekishod.cli("show bgp summary")?;
        ensure!(
            summary.contains(ISP_A) && summary.contains(ISP_B),
            "{summary}"
        );
        Ok(())
    })
}

#[test]
fn b11_a_silent_peer_is_left_with_4_0_after_the_hold_time() -> Result<()> {
    play(|site| {
        // Nothing the router says arrives; what it is told does.
        let isp_a = site.topology.isp_a.host();
        isp_a.run(
            "nft add table ip mute &&
             nft 'add chain ip mute out { type filter hook output priority 0; }' &&
             nft add rule ip mute out oifname eth-gw tcp sport 179 drop &&
             nft add rule ip mute out oifname eth-gw tcp dport 179 drop",
        )?;
        let start = Instant::now();
        wait_until(
            Duration::from_secs(14),
            "the routes over isp-a are gone",
            || {
                let table = site.sekishod.cli("show ip route")?;
                let hops = next_hops(&table, "0.0.0.0/0");
                ensure!(hops == [ISP_B], "{hops:?}");
                Ok(())
            },
        )?;
        let silent = start.elapsed();
        ensure!(silent > Duration::from_secs(5), "after {silent:?} already");
        wait_notification(site, "0400")?;
        isp_a.run("nft delete table ip mute")?;
        wait_default(&site.sekishod, 2)
    })
}

#[test]
fn b12_routes_of_a_killed_peer_are_gone_within_a_second_and_it_is_reconnected() -> Result<()> {
    play(|site| {
        site.topology.isp_a.frr_mut()?.kill_bgpd()?;
        wait_until(
            Duration::from_secs(1),
            "the routes over isp-a are gone",
            || {
                let table = site.sekishod.cli("show ip route")?;
                ensure!(!table.contains(&format!("via {ISP_A}")), "{table}");
                Ok(())
            },
        )?;
        site.topology.isp_a.frr_mut()?.start_bgpd()?;
        wait_default(&site.sekishod, 2)
    })
}

#[test]
fn b13_a_peer_shut_down_by_its_operator_is_shown_with_the_message() -> Result<()> {
    play(|site| {
        site.topology.isp_a.frr()?.configure(&[
            "router bgp 65001",
            &format!("neighbor {GATEWAY_A} shutdown message fibre works until noon"),
        ])?;
        site.sekishod.wait_cli(
            &format!("show bgp neighbors {ISP_A}"),
            "fibre works until noon",
            SOON,
        )?;
        wait_default(&site.sekishod, 1)
    })
}

#[test]
fn b34_end_of_rib_is_sent_after_the_initial_dump() -> Result<()> {
    let (a, b) = (RouterConfig::frr_a(), RouterConfig::frr_b());
    play_unstarted(&Config::default(), &a, &b, |site| {
        let host = site.topology.isp_a.host().clone();
        let capture = Capture::start(&host, "eth-gw", "tcp port 179")?;
        site.sekishod.run()?;
        site.topology
            .isp_a
            .frr()?
            .wait_prefix("203.0.113.64/28", true, SOON)?;
        // An UPDATE of 23 octets has nothing in it: End-of-RIB (RFC 4724, 2).
        let eor = format!("ip.src == {GATEWAY_A} && bgp.type == 2 && bgp.length == 23");
        capture.wait(&eor, 1, SOON)
    })
}
