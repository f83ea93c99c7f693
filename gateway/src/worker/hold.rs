//! Packets that wait for ARP or neighbour discovery, within bounds.

use std::time::Duration;

use crate::control::neighbor::{Neighbor, Now};
use crate::drops::DropReason;

/// Most packets that wait.
pub(super) const MAX_HELD: usize = 256;
const MAX_PER_NEIGHBOR: usize = 4;
/// Three requests, one a second.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the tables are asked whether the neighbour is known by now.
const RETRY: Duration = Duration::from_micros(500);

#[derive(Debug)]
struct Held<P> {
    packet: P,
    neighbor: Neighbor,
    deadline: Now,
}

/// Packets of one family that wait for a neighbour.
#[derive(Debug)]
pub(super) struct Hold<P> {
    held: Vec<Held<P>>,
    next_retry: Now,
}

/// What becomes of a packet that waited.
#[derive(Debug)]
pub(super) enum Release<P> {
    /// Try its way again.
    Retry(P),
    /// Nobody answered.
    GiveUp(P),
}

impl<P> Hold<P> {
    pub(super) fn new() -> Self {
        Self {
            held: Vec::with_capacity(MAX_HELD),
            next_retry: Now::ZERO,
        }
    }

    /// Lets a packet wait. A packet that waited before keeps its deadline.
    pub(super) fn hold(
        &mut self,
        packet: P,
        neighbor: Neighbor,
        now: Now,
    ) -> Result<(), (P, DropReason)> {
        let of_neighbor = self
            .held
            .iter()
            .filter(|held| held.neighbor == neighbor)
            .count();
        if self.held.len() >= MAX_HELD || of_neighbor >= MAX_PER_NEIGHBOR {
            return Err((packet, DropReason::HoldFull));
        }
        self.held.push(Held {
            packet,
            neighbor,
            deadline: now + PATIENCE,
        });
        Ok(())
    }

    /// How many packets wait.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Hands out the packets that are worth another look: those whose neighbour `is_known` by now,
    /// and those that waited in vain.
    pub(super) fn release(
        &mut self,
        now: Now,
        is_known: impl Fn(Neighbor) -> bool,
        out: &mut Vec<Release<P>>,
    ) {
        if self.held.is_empty() || now < self.next_retry {
            return;
        }
        self.next_retry = now + RETRY;
        let mut index = 0;
        while let Some(held) = self.held.get(index) {
            if is_known(held.neighbor) {
                out.push(Release::Retry(self.held.remove(index).packet));
            } else if held.deadline <= now {
                out.push(Release::GiveUp(self.held.remove(index).packet));
            } else {
                index += 1;
            }
        }
    }
}
