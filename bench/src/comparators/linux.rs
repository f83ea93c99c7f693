//! Linux: forwarding, VXLAN, and nftables' masquerade. What is counted: see [`super::kernel`].

use anyhow::Result;

use super::flows::{Capture, Frames};
use super::kernel::Kernel;
use crate::options::Options;
use crate::report::{Metric, Report};

pub(super) const WHO: &str = "Linux";

const CLOCKS: Metric = Metric::LoopClocksPerPacket;

/// Plain IPv4 over one route.
pub(super) fn forward(options: &Options, report: &mut Report) -> Result<()> {
    let kernel = Kernel::new(options.cpu)?;
    let _sending = kernel.send(&capture(Frames::Plain, 1000, options))?;
    let samples = kernel.measure(options.repetitions())?;
    let params = [("routes", 1.into())];
    report.add(super::IP4_FORWARD, &params, CLOCKS, &samples, Some(WHO));
    Ok(())
}

/// Out of VXLAN and on, without translation.
pub(super) fn tunnel(options: &Options, report: &mut Report) -> Result<()> {
    let kernel = Kernel::new(options.cpu)?;
    kernel.add_tunnel()?;
    let _sending = kernel.send(&capture(Frames::Tunnelled, 1000, options))?;
    let samples = kernel.measure(options.repetitions())?;
    report.add(super::VXLAN_FORWARD, &[], CLOCKS, &samples, Some(WHO));
    Ok(())
}

/// Out of VXLAN through masquerade, and back.
pub(super) fn translate(options: &Options, report: &mut Report) -> Result<()> {
    for &sessions in super::sessions(options) {
        let kernel = Kernel::new(options.cpu)?;
        kernel.add_tunnel()?;
        kernel.masquerade()?;
        let params = [("sessions", sessions.into())];
        for (bench, frames) in [
            (super::OUT, Frames::Tunnelled),
            (super::BACK, Frames::Answers),
        ] {
            let _sending = kernel.send(&capture(frames, sessions, options))?;
            kernel.wait_sessions(sessions)?;
            let samples = kernel.measure(options.repetitions())?;
            report.add(bench, &params, CLOCKS, &samples, Some(WHO));
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
