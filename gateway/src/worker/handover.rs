//! Handing packets to the worker that owns their state: single-producer rings for each ordered pair
//! of workers. Rings are drained first and never waited for.
//!
//! What is seen to be somebody else's before anything is done to it is handed over as the frame that
//! arrived, and its owner runs it with others as a burst. What is found out on the way of a single
//! packet, like a hairpin's second half, is handed over as the packet it has become.

use rtrb::{Consumer, Producer, RingBuffer};
use sekisho_dpdk::{Burst, Mbuf};
use sekisho_types::WorkerId;

use super::packet::Packet;
use crate::drops::DropReason;

const RING_SIZE: usize = 1024;
/// A packet that changed hands more often is one the workers disagree about.
const MAX_HOPS: u8 = 3;

/// A frame as it arrived.
#[derive(Debug)]
struct Frame {
    mbuf: Mbuf,
    came: Arrival,
}

/// How the frames of a burst came to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// The port they arrived on.
    pub(super) port: u16,
    /// How often they changed workers.
    pub(super) hops: u8,
}

/// A worker's ends of the rings to and from one other.
#[derive(Debug)]
struct Sender {
    packets: Producer<Packet>,
    frames: Producer<Frame>,
}

#[derive(Debug)]
struct Receiver {
    packets: Consumer<Packet>,
    frames: Consumer<Frame>,
}

/// One worker's ends of the rings between workers.
#[derive(Debug)]
pub struct Handover {
    /// By receiving worker; none to itself.
    to: Vec<Option<Sender>>,
    /// By sending worker; none from itself.
    from: Vec<Option<Receiver>>,
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
                let (packets, packets_out) = RingBuffer::new(RING_SIZE);
                let (frames, frames_out) = RingBuffer::new(RING_SIZE);
                mesh[sender].to[receiver] = Some(Sender { packets, frames });
                mesh[receiver].from[sender] = Some(Receiver {
                    packets: packets_out,
                    frames: frames_out,
                });
            }
        }
        mesh
    }

    /// Whether there is no other worker.
    #[inline(always)]
    pub(super) const fn is_alone(&self) -> bool {
        self.to.len() <= 1
    }

    /// Gives a packet to its owner.
    pub fn send(&mut self, owner: WorkerId, mut packet: Packet) -> Result<(), DropReason> {
        packet.hops = next_hop(packet.hops)?;
        let ring = &mut self.sender(owner)?.packets;
        ring.push(packet).map_err(|_| DropReason::HandoverFull)
    }

    /// Gives a frame, as it arrived, to its owner.
    pub(super) fn send_frame(
        &mut self,
        owner: WorkerId,
        mbuf: Mbuf,
        came: Arrival,
    ) -> Result<(), DropReason> {
        let came = Arrival {
            hops: next_hop(came.hops)?,
            ..came
        };
        let ring = &mut self.sender(owner)?.frames;
        ring.push(Frame { mbuf, came })
            .map_err(|_| DropReason::HandoverFull)
    }

    fn sender(&mut self, owner: WorkerId) -> Result<&mut Sender, DropReason> {
        let sender = self.to.get_mut(owner.index()).and_then(Option::as_mut);
        sender.ok_or(DropReason::SteerLoop)
    }

    /// Takes the next packet another worker gave.
    pub fn receive(&mut self) -> Option<Packet> {
        let mut rings = self.from.iter_mut().flatten();
        rings.find_map(|ring| ring.packets.pop().ok())
    }

    /// Fills an empty burst with frames that others gave and that came the same way.
    pub(super) fn receive_frames(&mut self, burst: &mut Burst) -> Option<Arrival> {
        let mut came = None;
        for ring in self.from.iter_mut().flatten() {
            while !burst.is_full()
                && let Ok(next) = ring.frames.peek()
                && *came.get_or_insert(next.came) == next.came
                && let Ok(frame) = ring.frames.pop()
            {
                // There is room.
                let _ = burst.push(frame.mbuf);
            }
        }
        came
    }
}

/// How often a packet has changed workers when it does once more.
const fn next_hop(hops: u8) -> Result<u8, DropReason> {
    if hops < MAX_HOPS {
        Ok(hops + 1)
    } else {
        Err(DropReason::SteerLoop)
    }
}
