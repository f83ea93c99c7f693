//! Handing packets to the worker that owns their state: one single-producer ring for each ordered
//! pair of workers. Rings are drained first and never waited for.

use rtrb::{Consumer, Producer, RingBuffer};
use sekisho_types::WorkerId;

use super::packet::Packet;
use crate::drops::DropReason;

const RING_SIZE: usize = 1024;
/// A packet that changed hands more often is one the workers disagree about.
const MAX_HOPS: u8 = 3;

/// One worker's ends of the rings between workers.
#[derive(Debug)]
pub struct Handover {
    /// By receiving worker; none to itself.
    to: Vec<Option<Producer<Packet>>>,
    /// By sending worker; none from itself.
    from: Vec<Option<Consumer<Packet>>>,
}

impl Handover {
    /// The rings among `workers` workers, by worker.
    pub fn mesh(workers: u8) -> Vec<Self> {
        let count = usize::from(workers);
        let mut mesh: Vec<Self> = (0..count)
            .map(|_| Self {
                to: (0..count).map(|_| None).collect(),
                from: (0..count).map(|_| None).collect(),
            })
            .collect();
        for sender in 0..count {
            for receiver in (0..count).filter(|&receiver| receiver != sender) {
                let (producer, consumer) = RingBuffer::new(RING_SIZE);
                mesh[sender].to[receiver] = Some(producer);
                mesh[receiver].from[sender] = Some(consumer);
            }
        }
        mesh
    }

    /// Gives a packet to its owner.
    pub fn send(&mut self, owner: WorkerId, mut packet: Packet) -> Result<(), DropReason> {
        if packet.hops >= MAX_HOPS {
            return Err(DropReason::SteerLoop);
        }
        packet.hops += 1;
        let ring = self.to.get_mut(owner.index()).and_then(Option::as_mut);
        let ring = ring.ok_or(DropReason::SteerLoop)?;
        ring.push(packet).map_err(|_| DropReason::HandoverFull)
    }

    /// Takes the next packet another worker gave.
    pub fn receive(&mut self) -> Option<Packet> {
        self.from
            .iter_mut()
            .flatten()
            .find_map(|ring| ring.pop().ok())
    }
}
