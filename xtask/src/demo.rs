//! The demo: the gateway at work, step by step, each checked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Host, Sekishod, Server, sum_of_keys};
use sekisho_tests::topology::{GATEWAY_A, ISP_A, ISP_B, SERVER, Topology, next_hops, wait_default};

use crate::narrator::{Narrator, show};
use crate::{cargo, shell};

const SOON: Duration = Duration::from_secs(10);
const STEPS: usize = 13;

/// What the demo plays with. Fields are dropped in order: the laboratory last.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) sekishod: Sekishod,
    web: Vec<Server>,
    pub(crate) topology: Topology,
}

/// Runs the demo.
///
/// # Errors
/// When something is not as it should be.
pub(crate) fn run(check: bool, keep: bool) -> Result<()> {
    cargo::build()?;
    let mut narrator = Narrator::new(STEPS);
    let mut stage = set_up(&mut narrator)?;
    let played = play(&mut narrator, &mut stage);
    if let Err(error) = &played {
        eprintln!(
            "\nerror: {error:#}\n\nsekishod's log:\n{}",
            stage.sekishod.log()
        );
    } else {
        println!("Everything was as it should be.");
    }
    let played = played.context("the demo stopped");
    if !check && (played.is_ok() || keep) {
        shell::open(&stage)?;
    }
    if keep {
        println!("The laboratory is left standing; remove it with: cargo xtask clean");
        stage.topology.lab.keep()?;
        std::mem::forget(stage);
    }
    played
}

fn set_up(narrator: &mut Narrator) -> Result<Stage> {
    let topology = narrator.step(
        "Two hypervisors with five virtual machines of two tenants, two FRR routers, a server",
        Topology::build,
    )?;
    let (sekishod, web) = narrator.step(
        "The gateway starts and both routers have their BGP session with it",
        || {
            let sekishod = topology.start(&Config::default())?;
            let web = [
                &topology.server,
                &topology.blue_web2,
                &topology.blue_db1,
                &topology.green_db1,
            ];
            let web = web.iter().map(|host| Server::web(host, 80));
            Ok((sekishod, web.collect::<Result<_>>()?))
        },
    )?;
    Ok(Stage {
        sekishod,
        web,
        topology,
    })
}

fn play(narrator: &mut Narrator, stage: &mut Stage) -> Result<()> {
    narrator.step("The default route leads over both routers", || {
        let table = gateway(stage, "show ip route")?;
        let mut hops = next_hops(&table, "0.0.0.0/0");
        hops.sort_unstable();
        ensure!(hops == [ISP_A, ISP_B], "next hops in the FIB: {hops:?}");
        Ok(())
    })?;
    narrator.step("BGP as the gateway sees it", || {
        gateway(stage, "show bgp summary").map(drop)
    })?;
    narrator.step("What FRR has heard from the gateway", || heard(stage))?;
    narrator.step(
        "A virtual machine fetches a page; the server sees a pool address",
        || snat(stage),
    )?;
    narrator.step(
        "The server reaches virtual machines by floating IP and port forward",
        || {
            let server = &stage.topology.server;
            expect(
                server,
                "curl -sS --max-time 5 http://203.0.113.10/",
                "hello from blue-db1",
            )?;
            expect(
                server,
                "curl -sS --max-time 5 http://203.0.113.20:8080/",
                "hello from blue-web2",
            )
        },
    )?;
    narrator.step(
        "Both tenants use 172.16.10.11 and 172.16.20.11 at once",
        || overlap(stage),
    )?;
    narrator.step("The way from a virtual machine to the server", || {
        traceroute(stage)
    })?;
    narrator.step("The translations", || {
        let sessions = gateway(stage, "show nat sessions")?;
        ensure!(
            sessions.contains("172.16.10.11"),
            "no session of 172.16.10.11"
        );
        gateway(stage, "show nat pools").map(drop)
    })?;
    narrator.step("A router dies; traffic goes on over the other", || {
        failover(stage)
    })?;
    narrator.step("Two workers share the work and hand packets over", || {
        gateway(stage, "show workers")?;
        let handed_over = sum_of_keys(&stage.sekishod.cli_json("show workers")?, "handed");
        ensure!(handed_over > 0, "no packet was handed over");
        Ok(())
    })?;
    narrator.step("Why packets were dropped", || {
        gateway(stage, "show drops").map(drop)
    })
}

/// Runs a command of the gateway's CLI and shows it.
fn gateway(stage: &Stage, command: &str) -> Result<String> {
    let output = stage.sekishod.cli(command)?;
    show("gateway", &format!("sekisho {command}"), &output);
    Ok(output)
}

/// Runs a command on a host, shows it, and makes sure that it prints `needle`.
fn expect(host: &Host, command: &str, needle: &str) -> Result<()> {
    let output = host.run(command)?;
    show(host.name(), command, &output);
    ensure!(output.contains(needle), "{needle:?} is not in {output:?}");
    Ok(())
}

fn heard(stage: &Stage) -> Result<()> {
    let frr = stage.topology.isp_a.frr()?;
    for prefix in ["203.0.113.64/28", "203.0.113.10/32", "203.0.113.20/32"] {
        frr.wait_prefix(prefix, true, SOON)?;
    }
    let command = format!("show bgp ipv4 unicast neighbors {GATEWAY_A} routes");
    show(
        "isp-a",
        &format!("vtysh -c '{command}'"),
        &frr.vtysh(&command)?,
    );
    Ok(())
}

fn snat(stage: &Stage) -> Result<()> {
    let vm = &stage.topology.blue_web1;
    let command = format!("curl -sS --max-time 5 http://{SERVER}/");
    expect(vm, &command, "hello from server; you are 203.0.113.")?;
    let log = stage.web.first().map(Server::log).unwrap_or_default();
    let last = log.lines().last().unwrap_or_default();
    show("server", "(its access log)", last);
    let seen = pool_host(last);
    ensure!(
        seen.is_some_and(|host| (64..80).contains(&host)),
        "the server saw an address that is not of the pool: {log}"
    );
    Ok(())
}

/// The last octet of an address of 203.0.113.0/24 that `text` begins with.
fn pool_host(text: &str) -> Option<u8> {
    let rest = text.strip_prefix("203.0.113.")?;
    rest.split(':').next()?.parse().ok()
}

fn overlap(stage: &Stage) -> Result<()> {
    let Topology {
        blue_web1,
        green_web1,
        server,
        ..
    } = &stage.topology;
    let _echo = Server::tcp_echo(server, 7000)?;
    let target = format!("{SERVER}:7000");
    let blue = Server::beat(blue_web1, &target)?;
    let green = Server::beat(green_web1, &target)?;
    blue.wait_beats(5, SOON)?;
    green.wait_beats(5, SOON)?;
    for (host, client) in [(blue_web1, &blue), (green_web1, &green)] {
        let address = host.run("ip -4 -o addr show dev eth0")?;
        show(host.name(), "ip -4 -o addr show dev eth0", &address);
        show(
            host.name(),
            "(connected to the server)",
            &format!("seen as {}", client.seen_as()?),
        );
    }
    ensure!(
        blue.seen_as()? != green.seen_as()?,
        "both are seen as the same"
    );
    expect(
        server,
        "curl -sS --max-time 5 http://203.0.113.10/",
        "hello from blue-db1",
    )?;
    expect(
        server,
        "curl -sS --max-time 5 http://203.0.113.11/",
        "hello from green-db1",
    )
}

fn traceroute(stage: &Stage) -> Result<()> {
    let vm = &stage.topology.blue_web1;
    let command = format!("traceroute -n -q 1 -N 1 -w 2 {SERVER}");
    let output = vm.run(&command)?;
    show(vm.name(), &command, &output);
    let hops: Vec<&str> = output
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    ensure!(
        matches!(hops[..], ["172.16.10.1", ISP_A | ISP_B, SERVER]),
        "the hops are {hops:?}"
    );
    Ok(())
}

fn failover(stage: &mut Stage) -> Result<()> {
    let _echo = Server::tcp_echo(&stage.topology.server, 7001)?;
    let target = format!("{SERVER}:7001");
    // Several connections, so that both routers carry some.
    let clients: Vec<Server> = (0..6)
        .map(|_| Server::beat(&stage.topology.blue_web1, &target))
        .collect::<Result<_>>()?;
    stage.topology.isp_a.frr_mut()?.kill_bgpd()?;
    show("isp-a", "kill -9 $(pidof bgpd)", "");
    wait_default(&stage.sekishod, 1)?;
    gateway(stage, "show ip route 0.0.0.0/0")?;
    for client in &clients {
        client.wait_beats(10, Duration::from_secs(20))?;
    }
    show("blue-web1", "(its six connections)", "all go on");
    stage.topology.isp_a.frr_mut()?.start_bgpd()?;
    wait_default(&stage.sekishod, 2)?;
    stage.topology.wait_way_back("203.0.113.64/28")?;
    gateway(stage, "show bgp summary").map(drop)
}
