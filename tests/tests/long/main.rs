//! Tests that take more than a minute each: `cargo xtask test --long`.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::Server;
use sekisho_tests::topology::{GATEWAY_A, SERVER, Topology};

/// How long B06 wants a session without keepalives to hold.
const WITHOUT_KEEPALIVES: Duration = Duration::from_secs(210);
/// RFC 4787 REQ-5: no UDP mapping expires before two minutes; an outside host still gets in.
const IDLE: Duration = Duration::from_secs(119);

#[test]
fn b06_a_hold_time_of_zero_means_no_keepalives_and_the_session_holds() -> Result<()> {
    let topology = Topology::build()?;
    let config = Config::default().replace("hold-time = \"9s\"", "hold-time = \"0s\"");
    let sekishod = topology.start(&config)?;
    let frr = topology.isp_a.frr()?;
    let first = frr.neighbor(GATEWAY_A)?;
    ensure!(first["bgpTimerHoldTimeMsecs"] == 0, "{first:#}");
    let end = Instant::now() + WITHOUT_KEEPALIVES;
    while Instant::now() < end {
        let now = frr.neighbor(GATEWAY_A)?;
        ensure!(
            now["bgpState"] == "Established",
            "{now:#}\n{}",
            sekishod.log()
        );
        thread::sleep(Duration::from_secs(5));
    }
    let last = frr.neighbor(GATEWAY_A)?;
    ensure!(last["connectionsEstablished"] == first["connectionsEstablished"]);
    let received = |value: &serde_json::Value| value["messageStats"]["keepalivesRecv"].clone();
    ensure!(received(&first) == received(&last), "{last:#}");
    Ok(())
}

#[test]
fn u06_an_idle_udp_mapping_still_forwards_after_119_seconds() -> Result<()> {
    let topology = Topology::build()?;
    let sekishod = topology.start(&Config::default())?;
    let _echo = Server::echo(&topology.server, &[7001])?;
    let mut client = Server::hold(&topology.blue_web1, 4000, &format!("{SERVER}:7001"))?;
    let outside = client.seen_as()?;
    // Time itself is what is tested here.
    thread::sleep(IDLE);
    topology.server.send_datagram(9, &outside, "late")?;
    client.wait_log(&format!("{SERVER}:9 late"), Duration::from_secs(5))?;
    drop(sekishod);
    Ok(())
}
