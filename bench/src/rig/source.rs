//! Traffic of some of the flows, drawn at random.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use sekisho_dpdk::{Burst, Mempool};

use super::flows::Flows;
use super::frames::{Direction, FrameWriter, Segment};
use super::world::World;

/// Fills bursts with packets of its flows.
pub(crate) struct Source {
    pool: Mempool,
    frames: FrameWriter,
    flows: Flows,
    outside: Arc<[(Ipv4Addr, u16)]>,
    numbers: Vec<u32>,
    direction: Direction,
    random: SmallRng,
}

impl Source {
    /// Packets of these flows of a world, which must be open if they come back.
    pub(crate) fn new(world: &World, numbers: Vec<u32>, direction: Direction) -> Self {
        Self {
            pool: world.pool.clone(),
            frames: world.frames,
            flows: world.shape.flows,
            outside: world.outside.as_slice().into(),
            numbers,
            direction,
            random: SmallRng::from_os_rng(),
        }
    }

    /// The port its packets arrive on.
    pub(crate) const fn port(&self) -> u16 {
        match self.direction {
            Direction::Out => 0,
            Direction::Back => 1,
        }
    }

    /// Puts `count` packets into an empty burst.
    pub(crate) fn fill(&mut self, burst: &mut Burst, count: usize) -> Result<()> {
        ensure!(self.pool.alloc_bulk(burst, count), "no buffers left");
        let mut frame = [0; FrameWriter::MAX];
        for mbuf in burst.iter_mut() {
            let number = *self.numbers.choose(&mut self.random).context("no flows")?;
            let flow = self.flows.flow(number);
            let length = match self.direction {
                Direction::Out => self.frames.out(&mut frame, &flow, Segment::DATA_OUT),
                Direction::Back => {
                    let (address, port) = self.outside[number as usize];
                    let outside = SocketAddrV4::new(address, port);
                    let segment = Segment::DATA_BACK;
                    self.frames.back(&mut frame, &flow, outside, segment)
                }
            };
            mbuf.append(length)
                .context("a buffer is too small")?
                .copy_from_slice(&frame[..length]);
        }
        Ok(())
    }
}
