//! `miss-drop`: packets that are refused.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;

use crate::options::Options;
use crate::report::{Metric, Report};
use crate::rig::{self, Clocks, Mix, Segment, Service, Shape, World};

/// Addresses and ports strangers try.
const STRANGERS: u32 = 1 << 20;

/// Measures what strangers send to a pool, and tenants beyond what there is room for.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let own = options.clone();
    let refused = rig::on_worker(options.cpu, move |eal| {
        let mut shape = Shape::new(1_000, Mix::Hot, Service::Snat);
        shape.max_sessions = 1_024;
        let mut world = World::new(eal, &shape)?;
        world.open_flows()?;
        let stranger = strangers(&mut world, &own)?;
        let full = beyond_room(&mut world, &own)?;
        Ok([("no-mapping", stranger), ("sessions-full", full)])
    })?;
    for (reason, clocks) in refused {
        let params = [("reason", reason.into())];
        let metric = Metric::PipelineClocksPerPacket;
        report.ours("miss-drop", &params, metric, &clocks.pipeline);
        report.ours(
            "miss-drop",
            &params,
            Metric::LoopClocksPerPacket,
            &clocks.whole,
        );
    }
    Ok(())
}

/// Outside packets to ports nobody has.
fn strangers(world: &mut World, options: &Options) -> Result<Clocks> {
    let (frames, flows) = (world.frames, world.shape.flows);
    let mut drive = world.drive(options, Mix::Hot);
    drive.port = 1;
    drive.numbers = STRANGERS;
    drive.forwarded = false;
    drive.run(&mut |number, room| {
        let address = Ipv4Addr::from_bits(0xcb00_0000 | number >> 10 & 0x3ff);
        let port = 1024 + (number as u16 & 0x3ff);
        let flow = flows.flow(number % flows.count);
        frames.back(room, &flow, SocketAddrV4::new(address, port), Segment::SYN)
    })
}

/// Tenants' packets that would open more sessions than there may be. Who is told so, by ICMP, is
/// told rarely: the answers are not among what is forwarded here.
fn beyond_room(world: &mut World, options: &Options) -> Result<Clocks> {
    let (frames, flows) = (world.frames, world.shape.flows);
    let mut drive = world.drive(options, Mix::Hot);
    drive.numbers = STRANGERS;
    drive.forwarded = false;
    // Nothing expires meanwhile.
    drive.step_ns = Some(0);
    drive.run(&mut |number, room| {
        let mut flow = flows.flow(number % flows.count);
        flow.sport = 40_000 + (number % 10_000) as u16;
        flow.dport = 8443;
        frames.out(room, &flow, Segment::DATA_OUT)
    })
}
