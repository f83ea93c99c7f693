//! The floor of a DPDK forwarder: `dpdk-testpmd` swaps MAC addresses between two `net_null` queues.
//!
//! Included: both drivers, which do nothing, and the buffers' way from and to their pool.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use sekisho_tests::lab::Lab;

use super::testpmd::{self, Testpmd};
use crate::options::Options;
use crate::report::{Metric, Report};

pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("floor")?;
    let mut testpmd = Testpmd::new("floor", options.cpu, options.burst);
    testpmd.ports = vec!["net_null0,size=64".into()];
    testpmd.mode = "mac";
    let mut samples = Vec::new();
    for _ in 0..options.repetitions() {
        let mut process = testpmd.start(&host)?;
        process.wait_for_log(Duration::from_secs(20), "Port statistics")?;
        thread::sleep(Duration::from_secs(2));
        samples.push(testpmd::clocks(&mut process)?);
    }
    let metric = Metric::LoopClocksPerPacket;
    report.add(super::L2_FLOOR, &[], metric, &samples, Some("testpmd"));
    Ok(())
}
