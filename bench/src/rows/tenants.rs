//! `many-tenants`: 10,000 tenants with ten routes and ten sessions each.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use sekisho_fib::Leaf;
use sekisho_types::{Ipv4Prefix, Prefix, VrfId};

use crate::options::Options;
use crate::report::{Metric, Report};
use crate::rig::{self, Flows, Mix, Segment, Service, Shape, World};

const SESSIONS_EACH: u32 = 10;
/// Beside the default route and those of the segment itself.
const ROUTES_EACH: u32 = 10;

/// Measures 1,000 and 10,000 tenants.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    for tenants in options.sizes(&[100], &[1_000, 10_000]) {
        let own = options.clone();
        let (clocks, bytes) = rig::on_worker(options.cpu, move |eal| {
            let mut shape = Shape::new(tenants * SESSIONS_EACH, Mix::Hot, Service::Snat);
            shape.flows = Flows {
                tenants,
                hosts: tenants,
                vteps: 64,
                ..shape.flows
            };
            let mut world = World::new(eal, &shape)?;
            add_routes(&mut world, tenants)?;
            world.open_flows()?;
            let bytes = bytes(&world, tenants)?;
            let (frames, flows) = (world.frames, world.shape.flows);
            let clocks = world.drive(&own, Mix::Hot).run(&mut |number, room| {
                frames.out(room, &flows.flow(number), Segment::DATA_OUT)
            })?;
            Ok((clocks, bytes))
        })?;
        let params = [("tenants", tenants.into())];
        let metric = Metric::PipelineClocksPerPacket;
        report.ours("many-tenants", &params, metric, &clocks.pipeline);
        report.ours(
            "many-tenants",
            &params,
            Metric::LoopClocksPerPacket,
            &clocks.whole,
        );
        report.ours("many-tenants", &params, Metric::BytesPerEntry, &[bytes]);
    }
    Ok(())
}

fn add_routes(world: &mut World, tenants: u32) -> Result<()> {
    for tenant in 0..tenants {
        let vrf = VrfId::new(tenant as u16 + 1);
        for route in 0..ROUTES_EACH {
            let prefix = Ipv4Prefix::new(Ipv4Addr::from_bits(0x0a00_0000 | route << 16), 16)?;
            let leaf = Leaf::LookupVrf(VrfId::PROVIDER);
            world.writer.insert(vrf, Prefix::V4(prefix), leaf)?;
        }
    }
    Ok(())
}

/// Octets of forwarding tables of one tenant.
fn bytes(world: &World, tenants: u32) -> Result<f64> {
    let mut total = 0;
    for tenant in 0..tenants {
        let vrf = VrfId::new(tenant as u16 + 1);
        total += world.writer.vrf_stats(vrf).context("a VRF")?.bytes;
    }
    Ok(total as f64 / f64::from(tenants))
}
