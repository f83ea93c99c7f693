//! What is accepted and what is announced.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Capture, wait_until};
use sekisho_tests::topology::{
    BEHIND_A, GATEWAY_A, GATEWAY_B, ISP_A, RouterConfig, next_hops, wait_default,
};

use crate::site::{SOON, play, play_config, play_routers, play_unstarted};

/// How long an announcement or a withdrawal may take (B33).
const AT_ONCE: Duration = Duration::from_millis(200);

const FLOATING_IP: &str = "
[[tenant.floating-ip]]
outside = \"203.0.113.30\"
inside = \"172.16.10.11\"
";

#[test]
fn b30_without_policy_nothing_comes_in_and_nothing_goes_out() -> Result<()> {
    let config = Config {
        bgp: Config::default()
            .bgp
            .replacen("import = \"from-isp\"\nexport = \"to-isp\"\n", "", 1),
        ..Config::default()
    };
    let (a, b) = (RouterConfig::frr_a(), RouterConfig::frr_b());
    play_unstarted(&config, &a, &b, |site| {
        site.sekishod.run()?;
        site.topology
            .isp_a
            .frr()?
            .wait_established(GATEWAY_A, SOON)?;
        wait_default(&site.sekishod, 1)?;
        site.topology
            .isp_b
            .frr()?
            .wait_prefix("203.0.113.64/28", true, SOON)?;
        let table = site.topology.isp_a.frr()?.vtysh("show bgp ipv4 unicast")?;
        ensure!(!table.contains("203.0.113"), "{table}");
        let routes = site.sekishod.cli("show ip route")?;
        ensure!(!routes.contains(&format!("via {ISP_A}")), "{routes}");
        let summary = site.sekishod.cli("show bgp summary")?;
        let line = summary.lines().find(|line| line.contains(ISP_A));
        ensure!(
            line.is_some_and(|line| line.contains("(Policy)")),
            "{summary}"
        );
        Ok(())
    })
}

#[test]
fn b30_a_prefix_the_import_list_denies_stays_out() -> Result<()> {
    let config = Config::default().replace(
        "  { action = \"permit\", prefix = \"0.0.0.0/0\", le = 24 },\n",
        "  { action = \"deny\", prefix = \"198.18.10.0/24\" },\n  \
           { action = \"permit\", prefix = \"0.0.0.0/0\", le = 24 },\n",
    );
    play_config(&config, |site| {
        site.sekishod
            .wait_cli("show ip route", "198.18.20.0/24", SOON)?;
        let routes = site.sekishod.cli("show ip route")?;
        ensure!(!routes.contains("198.18.10.0/24"), "{routes}");
        Ok(())
    })
}

#[test]
fn routes_of_one_upstream_are_not_exported_to_the_other() -> Result<()> {
    let config = Config::default().replace(
        "  { action = \"permit\", prefix = \"203.0.113.0/24\", ge = 24, le = 32 },",
        "  { action = \"permit\", prefix = \"0.0.0.0/0\", le = 32 },",
    );
    play_config(&config, |site| {
        let frr = site.topology.isp_b.frr()?;
        frr.wait_prefix("203.0.113.64/28", true, SOON)?;
        let command = format!("show bgp ipv4 unicast neighbors {GATEWAY_B} routes");
        let heard = frr.vtysh(&command)?;
        ensure!(!heard.contains("198.18.10.0"), "{heard}");
        ensure!(!heard.contains("172.16."), "{heard}");
        let table = site.sekishod.cli("show ip route")?;
        ensure!(next_hops(&table, "198.18.10.0/24") == [ISP_A], "{table}");
        site.topology.blue_web1.wait_ping(BEHIND_A, SOON)
    })
}

#[test]
fn b33_a_floating_ip_is_announced_and_withdrawn_at_once() -> Result<()> {
    let (frr, bird) = (RouterConfig::frr_a(), RouterConfig::bird_b());
    play_routers(&Config::default(), &frr, &bird, |site| {
        let isp_a = &site.topology.isp_a;
        let isp_b = site.topology.isp_b.bird()?;
        let settled = Duration::from_secs(40);
        isp_a.frr()?.wait_prefix("203.0.113.10/32", true, settled)?;
        let mut config = Config::default();
        config.tenants[0] += FLOATING_IP;
        let capture = Capture::start(isp_a.host(), "eth-gw", "src port 179 or dst port 179")?;
        for (config, present) in [(config, true), (Config::default(), false)] {
            let updates = format!("ip.src == {GATEWAY_A} && bgp.type == 2");
            let before = capture.count(&updates)?;
            site.sekishod.apply(&config.render())?;
            let applied = now()?;
            isp_a.frr()?.wait_prefix("203.0.113.30/32", present, SOON)?;
            wait_until(SOON, "BIRD sees it too", || {
                // Without a route birdc fails, and says so.
                let table = match isp_b.birdc("show route 203.0.113.30/32") {
                    Ok(table) => table,
                    Err(error) => format!("{error:#}"),
                };
                let absent = table.contains("Network not found");
                ensure!(absent != present, "{table}");
                Ok(())
            })?;
            capture.wait(&updates, before + 1, SOON)?;
            let times = capture.packets(&updates, &["frame.time_epoch"])?;
            let sent: f64 = times[before][0].parse()?;
            let late = sent - applied;
            ensure!(
                late < AT_ONCE.as_secs_f64(),
                "{late:.3} s after apply returned"
            );
        }
        Ok(())
    })
}

/// Seconds since the epoch.
fn now() -> Result<f64> {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Ok(time.context("the clock is before 1970")?.as_secs_f64())
}

#[test]
fn pools_floating_ips_and_port_forwards_are_announced_and_nothing_else() -> Result<()> {
    play(|site| {
        let frr = site.topology.isp_a.frr()?;
        let wanted = [
            "203.0.113.10/32",
            "203.0.113.11/32",
            "203.0.113.20/32",
            "203.0.113.64/28",
        ];
        for prefix in wanted {
            frr.wait_prefix(prefix, true, SOON)?;
        }
        let heard = frr.json(&format!(
            "show bgp ipv4 unicast neighbors {GATEWAY_A} routes"
        ))?;
        let routes = heard["routes"].as_object().context("FRR shows no routes")?;
        let mut prefixes: Vec<&str> = routes.keys().map(String::as_str).collect();
        prefixes.sort_unstable();
        ensure!(prefixes == wanted, "{prefixes:?}");
        for (prefix, paths) in routes {
            ensure!(paths[0]["path"] == "65010", "{prefix}: {paths:#}");
            ensure!(
                paths[0]["nexthops"][0]["ip"] == GATEWAY_A,
                "{prefix}: {paths:#}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_pool_that_is_not_to_be_advertised_is_not() -> Result<()> {
    let config = Config::default().replace("advertise = true", "advertise = false");
    play_config(&config, |site| {
        let frr = site.topology.isp_a.frr()?;
        frr.wait_prefix("203.0.113.10/32", true, SOON)?;
        ensure!(!frr.has_prefix("203.0.113.64/28")?);
        Ok(())
    })
}

#[test]
fn nothing_is_announced_while_the_underlay_is_down() -> Result<()> {
    play(|site| {
        let frr = site.topology.isp_a.frr()?;
        let outside = ["203.0.113.10/32", "203.0.113.64/28"];
        for (state, present) in [("up", true), ("down", false), ("up", true)] {
            site.topology
                .fabric
                .ip(&format!("link set gateway {state}"))?;
            for prefix in outside {
                frr.wait_prefix(prefix, present, SOON)?;
            }
        }
        site.topology.server.wait_ping("203.0.113.10", SOON)
    })
}
