//! `l2-floor`: receive, touch, transmit. What no packet can cost less than.

use anyhow::Result;

use crate::options::Options;
use crate::report::{Metric, Report};
use crate::rig::{self, Mix, Segment, Service, Shape, World};

/// Swaps the Ethernet addresses of frames and sends them out of the port they came by.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let own = options.clone();
    let clocks = rig::on_worker(options.cpu, move |eal| {
        let mut world = World::new(eal, &Shape::new(1_000, Mix::Hot, Service::Snat))?;
        let (frames, flows) = (world.frames, world.shape.flows);
        let mut drive = world.drive(&own, Mix::Hot);
        drive.pipeline = |world, burst, port| {
            for mbuf in burst.iter_mut() {
                if let Some(addresses) = mbuf.data_mut().first_chunk_mut::<12>() {
                    addresses.rotate_left(6);
                }
            }
            world.worker.send_as_is(burst, port);
        };
        drive.run(&mut |number, room| frames.out(room, &flows.flow(number), Segment::DATA_OUT))
    })?;
    report.ours(
        "l2-floor",
        &[],
        Metric::PipelineClocksPerPacket,
        &clocks.pipeline,
    );
    report.ours("l2-floor", &[], Metric::LoopClocksPerPacket, &clocks.whole);
    Ok(())
}
