//! What shared memory between two processes carries at most: `dpdk-testpmd` sends, another one
//! sends everything back as it is.

use std::time::Duration;

use anyhow::{Result, ensure};
use sekisho_tests::lab::{Lab, Process, wait_until};

use super::flows::{Capture, Frames, Player};
use super::testpmd::{self, Testpmd};
use crate::options::Options;
use crate::report::{Metric, Report};

pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("ceiling")?;
    let socket = lab.dir().join("memif.sock");
    let mut mirror = Testpmd::new("mirror", options.cpu, options.burst);
    mirror.ports = vec![testpmd::memif("server", &socket)];
    let mut mirror = mirror.start(&host)?;
    mirror.wait_for_log(Duration::from_secs(20), "Port statistics")?;
    let capture = Capture {
        frames: Frames::Tunnelled,
        flows: 1000,
        sequential: options.sequential,
        neighbours: Vec::new(),
    };
    let player = Player::new(&capture, lab.dir(), 1)?;
    let port = testpmd::memif("client", &socket);
    let cpu = testpmd::other_cpu(options.cpu)?;
    let mut sender = Testpmd::sender(&player, port, cpu, options).start(&host)?;
    testpmd::wait_received(&mut sender, 1)?;
    let rates = rates(&sender, options.repetitions())?;
    let metric = Metric::RatePerSecond;
    report.add(super::MEMIF, &[], metric, &rates, Some("testpmd"));
    Ok(())
}

/// What comes back to a sender in each of the next seconds.
pub(crate) fn rates(sender: &Process, repetitions: usize) -> Result<Vec<f64>> {
    // The first of them began before.
    let before = testpmd::rates(&sender.log(), 1).len() + 1;
    // It tells them every second; a busy machine makes it late.
    let patience = Duration::from_secs(10 + 4 * repetitions as u64);
    wait_until(patience, "the sender has told its rates", || {
        let mut rates = testpmd::rates(&sender.log(), 1);
        ensure!(rates.len() >= before + repetitions, "{rates:?}");
        rates.truncate(before + repetitions);
        Ok(rates.split_off(before))
    })
}
