//! Open vSwitch with its userspace datapath on DPDK: see [`Switch`] for what is counted.

mod flow_table;
mod switch;

use anyhow::Result;

use self::flow_table::Service;
use self::switch::{Figures, Switch};
use super::flows::{Capture, Frames};
use crate::options::Options;
use crate::report::{Metric, Report};

pub(super) const WHO: &str = "OVS-DPDK";

const CLOCKS: Metric = Metric::LoopClocksPerPacket;

/// Plain IPv4 in one flow of the table.
pub(super) fn forward(options: &Options, report: &mut Report) -> Result<()> {
    let switch = Switch::new(options, Service::Plain)?;
    let figures = switch.measure(&capture(Frames::Plain, 1000, options), options)?;
    let params = [("routes", 1.into())];
    report.add(
        super::IP4_FORWARD,
        &params,
        CLOCKS,
        &figures.clocks,
        Some(WHO),
    );
    Ok(())
}

/// Out of VXLAN and on, without translation.
pub(super) fn tunnel(options: &Options, report: &mut Report) -> Result<()> {
    let switch = Switch::new(options, Service::Tunnel)?;
    let figures = switch.measure(&capture(Frames::Tunnelled, 1000, options), options)?;
    report.add(
        super::VXLAN_FORWARD,
        &[],
        CLOCKS,
        &figures.clocks,
        Some(WHO),
    );
    Ok(())
}

/// Out of VXLAN through connection tracking with SNAT, and back; also how many packets a second
/// that was, for the row between processes.
pub(super) fn translate(options: &Options, report: &mut Report) -> Result<()> {
    for &sessions in super::sessions(options) {
        let switch = Switch::new(options, Service::Translation)?;
        let params = [("sessions", sessions.into())];
        for (bench, frames) in [
            (super::OUT, Frames::Tunnelled),
            (super::BACK, Frames::Answers),
        ] {
            let capture = capture(frames, sessions, options);
            let Figures { clocks, rates } = switch.measure(&capture, options)?;
            report.add(bench, &params, CLOCKS, &clocks, Some(WHO));
            if frames == Frames::Tunnelled {
                let rate = Metric::RatePerSecond;
                report.add(super::MEMIF, &params, rate, &rates, Some(WHO));
            }
        }
    }
    Ok(())
}

fn capture(frames: Frames, flows: u32, options: &Options) -> Capture {
    Capture {
        frames,
        flows,
        sequential: options.sequential,
        neighbours: Vec::new(),
    }
}
