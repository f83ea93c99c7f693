//! `vxlan-fwd-ecmp4` and `floating-ip`: tenants without sessions.

use std::net::SocketAddrV4;

use anyhow::Result;

use crate::options::Options;
use crate::report::{Metric, Report};
use crate::rig::{
    self, Clocks, Flows, Mix, Segment, Service, Shape, World, floating as outside_of,
};

/// Flows: what they are matters little, there is no state.
const FLOWS: u32 = 100_000;

/// Tenants routed without NAT, out.
pub(super) fn forward(options: &Options, report: &mut Report) -> Result<()> {
    for mix in options.mixes() {
        let own = options.clone();
        let clocks = rig::on_worker(options.cpu, move |eal| {
            let mut world = World::new(eal, &Shape::new(FLOWS, mix, Service::Routed))?;
            out(&mut world, &own, mix)
        })?;
        tell(
            report,
            "vxlan-fwd-ecmp4",
            &[("mix", mix.as_str().into())],
            &clocks,
        );
    }
    Ok(())
}

/// A floating IP for each virtual machine, both ways.
pub(super) fn floating(options: &Options, report: &mut Report) -> Result<()> {
    for mix in options.mixes() {
        let own = options.clone();
        let ways = rig::on_worker(options.cpu, move |eal| {
            let mut shape = Shape::new(FLOWS, mix, Service::Floating);
            shape.flows.hosts = 512;
            let mut world = World::new(eal, &shape)?;
            let out = out(&mut world, &own, mix)?;
            let (frames, flows): (_, Flows) = (world.frames, world.shape.flows);
            let mut drive = world.drive(&own, mix);
            drive.port = 1;
            let back = drive.run(&mut |number, room| {
                let flow = flows.flow(number);
                let outside = SocketAddrV4::new(outside_of(number % flows.hosts), flow.sport);
                frames.back(room, &flow, outside, Segment::DATA_BACK)
            })?;
            Ok([("out", out), ("back", back)])
        })?;
        for (direction, clocks) in ways {
            let params = [
                ("mix", mix.as_str().into()),
                ("direction", direction.into()),
            ];
            tell(report, "floating-ip", &params, &clocks);
        }
    }
    Ok(())
}

fn out(world: &mut World, options: &Options, mix: Mix) -> Result<Clocks> {
    let (frames, flows) = (world.frames, world.shape.flows);
    let mut drive = world.drive(options, mix);
    drive.run(&mut |number, room| frames.out(room, &flows.flow(number), Segment::DATA_OUT))
}

fn tell(report: &mut Report, bench: &str, params: &[(&str, serde_json::Value)], clocks: &Clocks) {
    report.ours(
        bench,
        params,
        Metric::PipelineClocksPerPacket,
        &clocks.pipeline,
    );
    report.ours(bench, params, Metric::LoopClocksPerPacket, &clocks.whole);
}
