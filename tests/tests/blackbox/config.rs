//! Applying configurations to a running gateway.

use std::time::Duration;

use anyhow::{Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Host, Segment, Server};
use sekisho_tests::topology::{GATEWAY_VTEP, HV1_VTEP, HV2_VTEP, ISP_A, SERVER};

use crate::site::{SOON, Site, play};

const RED: &str = "
[[tenant]]
name = \"red\"

[[tenant.segment]]
name = \"web\"
vni = 7001
gateway = \"172.16.10.1/24\"
vteps = [\"10.1.0.11\", \"10.1.0.12\"]

[[tenant.route]]
prefix = \"0.0.0.0/0\"
vrf = \"provider\"

[[tenant.snat]]
source = \"172.16.0.0/16\"
pool = \"public\"

[[tenant.floating-ip]]
outside = \"203.0.113.40\"
inside = \"172.16.10.21\"
";

/// The default configuration and tenant red.
fn with_red() -> Config {
    let mut config = Config::default();
    config.tenants.push(RED.to_owned());
    config
}

/// A virtual machine of tenant red.
fn red_vm(site: &Site) -> Result<Host> {
    let hv1 = &site.topology.hv1;
    hv1.add_segment(&Segment {
        vni: 7001,
        vteps: vec![GATEWAY_VTEP, HV1_VTEP, HV2_VTEP],
    })?;
    let (address, gateway) = ("172.16.10.21".parse()?, "172.16.10.1".parse()?);
    hv1.add_vm("red-web1", 7001, address, "02:00:00:03:10:21", gateway)
}

/// A connection of blue that has to live through what follows.
fn long_connection(site: &Site) -> Result<(Server, Server)> {
    let echo = Server::tcp_echo(&site.topology.server, 7003)?;
    let client = Server::beat(&site.topology.blue_web1, &format!("{SERVER}:7003"))?;
    Ok((echo, client))
}

#[test]
fn applying_a_tenant_brings_it_up_and_touches_nothing_else() -> Result<()> {
    play(|site| {
        let established = site.established_counts()?;
        let (_echo, client) = long_connection(site)?;
        let vm = red_vm(site)?;
        vm.no_ping("172.16.10.1")?;
        let told = site.sekishod.apply(&with_red().render())?;
        ensure!(told.contains("red"), "{told}");
        vm.wait_ping(SERVER, SOON)?;
        site.topology.server.wait_ping("203.0.113.40", SOON)?;
        client.wait_beats(10, SOON)?;
        ensure!(site.established_counts()? == established);

        site.sekishod.apply(&Config::default().render())?;
        let frr = site.topology.isp_a.frr()?;
        frr.wait_prefix("203.0.113.40/32", false, SOON)?;
        vm.no_ping(SERVER)?;
        client.wait_beats(10, SOON)?;
        ensure!(site.established_counts()? == established);
        Ok(())
    })
}

#[test]
fn a_wrong_configuration_is_refused_by_line_and_leaves_everything_running() -> Result<()> {
    play(|site| {
        let established = site.established_counts()?;
        let (_echo, client) = long_connection(site)?;
        let running = site.sekishod.cli("show config")?;
        let wrong = with_red();
        for (wrong, hint) in [
            (wrong.replace("vni = 7001", "vin = 7001"), "vni"),
            (wrong.replace("vni = 7001", "vni = 5001"), "5001"),
            (
                wrong.replace("203.0.113.40", "203.0.113.65"),
                "203.0.113.65",
            ),
            (wrong.replace("172.16.10.21", "10.99.0.1"), "10.99.0.1"),
        ] {
            let output = site.sekishod.apply_output(&wrong.render())?;
            ensure!(output.code == Some(1), "{output:?}");
            ensure!(
                output.stderr.contains("candidate.toml:"),
                "{}",
                output.stderr
            );
            ensure!(output.stderr.contains(hint), "{}", output.stderr);
        }
        ensure!(site.sekishod.cli("show config")? == running);
        client.wait_beats(10, SOON)?;
        ensure!(site.established_counts()? == established);
        Ok(())
    })
}

#[test]
fn changing_one_neighbour_leaves_the_sessions_of_the_others() -> Result<()> {
    play(|site| {
        let [_, other] = site.established_counts()?;
        let config = Config {
            bgp: Config::default()
                .bgp
                .replacen("hold-time = \"9s\"", "hold-time = \"12s\"", 1),
            ..Config::default()
        };
        site.sekishod.apply(&config.render())?;
        site.topology.wait_established()?;
        site.sekishod
            .wait_cli(&format!("show bgp neighbors {ISP_A}"), "Established", SOON)?;
        ensure!(
            site.established_counts()?[1] == other,
            "isp-b's session was restarted"
        );
        Ok(())
    })
}

#[test]
fn a_policy_that_changes_is_applied_without_a_flap() -> Result<()> {
    play(|site| {
        let established = site.established_counts()?;
        site.sekishod
            .wait_cli("show ip route", "198.18.10.0/24", SOON)?;
        let narrower = Config::default().replace(
            "  { action = \"permit\", prefix = \"0.0.0.0/0\", le = 24 },",
            "  { action = \"permit\", prefix = \"0.0.0.0/0\" },",
        );
        site.sekishod.apply(&narrower.render())?;
        sekisho_tests::lab::wait_gone(SOON, "198.18.10.0/24", || {
            site.sekishod.cli("show ip route")
        })?;
        site.sekishod.apply(&Config::default().render())?;
        site.sekishod
            .wait_cli("show ip route", "198.18.10.0/24", SOON)?;
        ensure!(site.established_counts()? == established);
        Ok(())
    })
}

#[test]
fn a_static_route_is_added_and_removed() -> Result<()> {
    play(|site| {
        let mut config = Config::default();
        config.base += "
[[route]]
prefix = \"10.9.0.0/16\"
next-hop = \"10.1.0.11\"

[[route]]
prefix = \"10.10.0.0/16\"
discard = true
";
        site.sekishod.apply(&config.render())?;
        let table = site
            .sekishod
            .wait_cli("show ip route", "S>* 10.9.0.0/16 [1/0]", SOON)?;
        ensure!(table.contains("S>* 10.10.0.0/16 [1/0]"), "{table}");
        site.sekishod.apply(&Config::default().render())?;
        sekisho_tests::lab::wait_gone(SOON, "10.9.0.0/16", || site.sekishod.cli("show ip route"))
    })
}

#[test]
fn what_was_applied_comes_up_again_after_a_crash() -> Result<()> {
    play(|site| {
        let vm = red_vm(site)?;
        site.sekishod.apply(&with_red().render())?;
        vm.wait_ping(SERVER, SOON)?;
        site.sekishod.kill()?;
        site.sekishod.run()?;
        vm.wait_ping(SERVER, Duration::from_secs(40))
    })
}

#[test]
fn a_check_tells_right_from_wrong_and_changes_nothing() -> Result<()> {
    play(|site| {
        let running = site.sekishod.cli("show config")?;
        let right = site.sekishod.check(&with_red().render())?;
        ensure!(right.code == Some(0), "{right:?}");
        let wrong = site
            .sekishod
            .check(&with_red().replace("vni = 7001", "vin = 7001").render())?;
        ensure!(wrong.code == Some(1), "{wrong:?}");
        ensure!(wrong.stderr.contains("check.toml:"), "{wrong:?}");
        ensure!(site.sekishod.cli("show config")? == running);
        Ok(())
    })
}
