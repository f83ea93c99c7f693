//! `vxlan-snat-ecmp4` and `uplink-dnat-vxlan`: a tenant's packets out through SNAT, and back.

use std::net::SocketAddrV4;

use anyhow::Result;

use crate::options::Options;
use crate::report::{Metric, Report};
use crate::rig::{self, Clocks, Segment, Service, Shape, World};

/// Out; measures the way back in the same run.
pub(crate) const OUT: &str = "vxlan-snat-ecmp4";
/// Back.
pub(crate) const BACK: &str = "uplink-dnat-vxlan";

/// Measures both ways.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    measure(options, report, true)
}

/// Measures the way back; not needed where the way out is measured too.
pub(super) fn run_back(options: &Options, report: &mut Report) -> Result<()> {
    measure(options, report, false)
}

fn measure(options: &Options, report: &mut Report, out: bool) -> Result<()> {
    let sizes = options.sizes(
        &[1_000, 100_000],
        &[1_000, 100_000, 1_000_000, 4_000_000, 16_000_000],
    );
    for mix in options.mixes() {
        for &sessions in &sizes {
            let own = options.clone();
            let both = rig::on_worker(options.cpu, move |eal| {
                let mut world = World::new(eal, &Shape::new(sessions, mix, Service::Snat))?;
                world.open_flows()?;
                let outside = std::mem::take(&mut world.outside);
                let (frames, flows) = (world.frames, world.shape.flows);
                let mut drive = world.drive(&own, mix);
                let mut clocks: Vec<(&str, Clocks)> = Vec::new();
                if out {
                    let out = drive.run(&mut |number, room| {
                        frames.out(room, &flows.flow(number), Segment::DATA_OUT)
                    })?;
                    clocks.push((OUT, out));
                }
                drive.port = 1;
                let back = drive.run(&mut |number, room| {
                    let (address, port) = outside[number as usize];
                    let outside = SocketAddrV4::new(address, port);
                    frames.back(room, &flows.flow(number), outside, Segment::DATA_BACK)
                })?;
                clocks.push((BACK, back));
                Ok(clocks)
            })?;
            let params = [("sessions", sessions.into()), ("mix", mix.as_str().into())];
            for (bench, clocks) in both {
                let metric = Metric::PipelineClocksPerPacket;
                report.ours(bench, &params, metric, &clocks.pipeline);
                report.ours(bench, &params, Metric::LoopClocksPerPacket, &clocks.whole);
            }
        }
    }
    Ok(())
}
