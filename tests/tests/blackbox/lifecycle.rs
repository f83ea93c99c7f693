//! Starting, ending, crashing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Host, Sekishod, Server, wait_until};
use sekisho_tests::topology::{GATEWAY_A, RouterConfig, SERVER, Topology, wait_default};

use crate::site::{SOON, Site, play, play_unstarted};

/// Everything in the gateway's namespace that could be left behind.
fn traces(host: &Host) -> Result<String> {
    host.run(
        "ip -o link | cut -d: -f2
         ip -4 -o address | awk '{print $2, $4}'
         ip -4 rule
         ip -4 route show table all
         nft list ruleset
         tc qdisc | grep -v noqueue || true",
    )
}

fn unstarted(scene: impl FnOnce(&mut Site) -> Result<()>) -> Result<()> {
    let (a, b) = (RouterConfig::frr_a(), RouterConfig::frr_b());
    play_unstarted(&Config::default(), &a, &b, scene)
}

#[test]
fn sigterm_tells_the_peers_and_leaves_nothing_behind() -> Result<()> {
    unstarted(|site| {
        let gateway = site.topology.gateway.clone();
        let before = traces(&gateway)?;
        site.sekishod.run()?;
        site.topology.wait_established()?;
        site.topology.blue_web1.wait_ping(SERVER, SOON)?;
        ensure!(
            traces(&gateway)? != before,
            "a running gateway leaves no traces at all"
        );
        site.sekishod.terminate()?;
        wait_until(SOON, "FRR has Cease, administrative shutdown", || {
            let neighbor = site.topology.isp_a.frr()?.neighbor(GATEWAY_A)?;
            ensure!(neighbor["lastErrorCodeSubcode"] == "0602", "{neighbor:#}");
            Ok(())
        })?;
        let after = traces(&gateway)?;
        ensure!(after == before, "before:\n{before}\nafter:\n{after}");
        ensure!(!site.sekishod.socket().exists());
        Ok(())
    })
}

#[test]
fn traffic_goes_on_while_the_peers_are_told_of_the_end() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        topology.blue_web1.wait_ping(SERVER, SOON)?;
        let mut ping = topology
            .blue_web1
            .spawn("ping", &format!("ping -n -i 0.02 -w 20 -O {SERVER}"))?;
        ping.wait_for_log(SOON, "icmp_seq=10 ")?;
        site.sekishod.process()?.signal(Signal::SIGTERM)?;
        // Both routers have withdrawn before the first request is lost.
        site.topology
            .server_frr
            .wait_prefix("203.0.113.64/28", false, SOON)?;
        site.sekishod.terminate()?;
        ping.stop(Signal::SIGINT, SOON)?;
        let log = ping.log();
        let lost = log
            .lines()
            .take_while(|line| !line.contains("no answer yet"))
            .count();
        ensure!(lost > 10, "{log}");
        Ok(())
    })
}

#[test]
fn killed_and_started_again_it_recovers_and_leaves_nothing_double() -> Result<()> {
    unstarted(|site| {
        let gateway = site.topology.gateway.clone();
        let before = traces(&gateway)?;
        site.sekishod.run()?;
        wait_default(&site.sekishod, 2)?;
        site.topology.blue_web1.wait_ping(SERVER, SOON)?;
        let running = gateway.run("ip -4 rule; nft list ruleset")?;
        for _ in 0..2 {
            site.sekishod.kill()?;
            site.sekishod.run()?;
            site.topology.wait_established()?;
            wait_default(&site.sekishod, 2)?;
            site.topology
                .blue_web1
                .wait_ping(SERVER, Duration::from_secs(40))?;
        }
        let again = gateway.run("ip -4 rule; nft list ruleset")?;
        ensure!(again == running, "before:\n{running}\nafter:\n{again}");
        site.sekishod.terminate()?;
        let after = traces(&gateway)?;
        ensure!(after == before, "before:\n{before}\nafter:\n{after}");
        Ok(())
    })
}

#[test]
fn a_second_start_is_refused_and_harms_nothing() -> Result<()> {
    play(|site| {
        let established = site.established_counts()?;
        let (status, log) = site.sekishod.run_to_end()?;
        ensure!(!status.success(), "{log}");
        let socket = site.sekishod.socket();
        ensure!(log.contains(&socket.display().to_string()), "{log}");
        site.sekishod.process()?;
        site.sekishod.cli("show version")?;
        site.topology.blue_web1.wait_ping(SERVER, SOON)?;
        ensure!(site.established_counts()? == established);
        Ok(())
    })
}

#[test]
fn a_start_without_the_interface_of_a_port_is_refused_by_name() -> Result<()> {
    let topology = Topology::build()?;
    let before = traces(&topology.gateway)?;
    let config = Config::default().replace("\"eth-isp-b\"", "\"eth-absent\"");
    let sekishod = Sekishod::prepare(&topology.gateway, &config.render())?;
    let (status, log) = sekishod.run_to_end()?;
    ensure!(
        status.code().is_some_and(|code| code != 0),
        "{status}: {log}"
    );
    ensure!(log.contains("eth-absent"), "{log}");
    let after = traces(&topology.gateway)?;
    ensure!(after == before, "before:\n{before}\nafter:\n{after}");
    Ok(())
}

#[test]
fn a_start_with_a_wrong_configuration_is_refused_by_line() -> Result<()> {
    let topology = Topology::build()?;
    let config = Config::default().replace("workers = 2", "wrokers = 2");
    let sekishod = Sekishod::prepare(&topology.gateway, &config.render())?;
    let (status, log) = sekishod.run_to_end()?;
    ensure!(
        status.code().is_some_and(|code| code != 0),
        "{status}: {log}"
    );
    let place = format!("{}:3:1", sekishod.config_path().display());
    ensure!(
        log.contains(&place) || log.contains("sekisho.toml:3:1"),
        "{log}"
    );
    ensure!(log.contains("wrokers") && log.contains("workers"), "{log}");
    Ok(())
}

#[test]
fn one_worker_does_it_all_too() -> Result<()> {
    let config = Config::default().replace("workers = 2", "workers = 1");
    crate::site::play_config(&config, |site| {
        let _web = Server::web(&site.topology.server, 80)?;
        site.topology.blue_web1.wait_ping(SERVER, SOON)?;
        site.topology.blue_web1.fetch(SERVER).map(drop)
    })
}

#[test]
fn a_tap_port_in_another_namespace_carries_the_underlay() -> Result<()> {
    let topology = Topology::build()?;
    let config = Config::default().replace(
        "kind = \"af_packet\"\ninterface = \"eth-fabric\"",
        &format!(
            "kind = \"tap\"\ninterface = \"tap-gateway\"\nnamespace = \"{}\"",
            topology.fabric.netns()
        ),
    );
    let sekishod = topology.start(&config)?;
    topology
        .fabric
        .ip("link set tap-gateway master br0\nlink set tap-gateway up")?;
    topology
        .blue_web1
        .wait_ping(SERVER, SOON)
        .with_context(|| sekishod.log())?;
    let _web = Server::web(&topology.blue_db1, 80)?;
    let page = topology.server.fetch("203.0.113.10")?;
    ensure!(page.starts_with("hello from blue-db1;"), "{page}");
    drop(sekishod);
    let links = topology.fabric.run("ip -o link")?;
    ensure!(!links.contains("tap-gateway"), "{links}");
    Ok(())
}
