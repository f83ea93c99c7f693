//! `vxlan-snat-ecmp4` and `uplink-dnat-vxlan`: a tenant's packets out through SNAT, and back.

use std::net::SocketAddrV4;

use anyhow::Result;

use crate::options::Options;
use crate::report::{Metric, Report};
use crate::rig::{self, Clocks, Flows, Mix, Segment, Service, Shape, World};

/// Packets on their way at once in the full mix: 8192 of them take 2.5 MB.
const AHEAD: usize = 128;

struct Both {
    out: Clocks,
    back: Clocks,
}

/// Measures both ways.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let sizes: &[u32] = if options.quick {
        &[1_000, 100_000]
    } else {
        &[1_000, 100_000, 1_000_000, 4_000_000, 16_000_000]
    };
    for mix in Mix::ALL {
        for &sessions in sizes {
            let (burst, sequential) = (options.burst, options.sequential);
            let repetitions = options.repetitions();
            let both = rig::on_worker(options.cpu, move |eal| {
                let shape = Shape {
                    flows: Flows::new(sessions, mix),
                    service: Service::Snat,
                    max_sessions: sessions + sessions / 8 + 1024,
                };
                let mut world = World::new(eal, &shape)?;
                world.open_flows()?;
                let outside = std::mem::take(&mut world.outside);
                let frames = world.frames;
                let flows = shape.flows;
                let mut drive = world.drive();
                drive.burst = burst.into();
                drive.sequential = sequential;
                drive.repetitions = repetitions;
                drive.ahead = match mix {
                    Mix::Hot => 1,
                    Mix::Full => AHEAD,
                };
                let out = drive.run(&mut |number, room| {
                    frames.out(room, &flows.flow(number), Segment::DATA_OUT)
                })?;
                drive.port = 1;
                let back = drive.run(&mut |number, room| {
                    let (address, port) = outside[number as usize];
                    let outside = SocketAddrV4::new(address, port);
                    frames.back(room, &flows.flow(number), outside, Segment::DATA_BACK)
                })?;
                Ok(Both { out, back })
            })?;
            let params = [("sessions", sessions.into()), ("mix", mix.as_str().into())];
            for (bench, clocks) in [
                ("vxlan-snat-ecmp4", &both.out),
                ("uplink-dnat-vxlan", &both.back),
            ] {
                let metric = Metric::PipelineClocksPerPacket;
                report.ours(bench, &params, metric, &clocks.pipeline);
                report.ours(bench, &params, Metric::LoopClocksPerPacket, &clocks.whole);
            }
        }
    }
    Ok(())
}
