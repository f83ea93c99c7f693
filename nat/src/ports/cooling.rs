//! Ports that are kept back for a while after use (RFC 6888 REQ-8): who was spoken to through one must
//! not find another host behind it at once.

use sekisho_mem::{HugeSlice, MapError, zeroable_struct};

use super::{Place, Ports, usage_in};
use crate::key::Transport;
use crate::time::Time;

/// Room for ports kept back at least, however few sessions there can be.
const LEAST: usize = 4096;

zeroable_struct! {
    #[derive(Clone, Copy, Default)]
    struct Kept {
        block: u32,
        since: u32,
        /// The offset; the transport in the upper octet.
        place: u32,
    }
}

/// Ports kept back, oldest first. When it is full the oldest goes early.
pub(super) struct Cooling {
    ring: HugeSlice<Kept>,
    first: usize,
    count: usize,
}

impl Cooling {
    pub(super) fn new(capacity: usize) -> Result<Self, MapError> {
        Ok(Self {
            ring: HugeSlice::new(capacity.max(LEAST).next_power_of_two())?,
            first: 0,
            count: 0,
        })
    }

    fn push(&mut self, kept: Kept) {
        let place = (self.first + self.count) % self.ring.len();
        self.ring[place] = kept;
        self.count += 1;
    }

    fn pop(&mut self) {
        self.first = (self.first + 1) % self.ring.len();
        self.count -= 1;
    }

    fn oldest(&self) -> Option<Kept> {
        (self.count > 0).then(|| self.ring[self.first])
    }

    fn is_full(&self) -> bool {
        self.count == self.ring.len()
    }
}

impl Kept {
    fn place(self) -> Place {
        Place {
            block: self.block,
            transport: Transport::ALL[(self.place >> 8) as usize % Transport::COUNT],
            offset: self.place as u16 & 0xff,
        }
    }
}

impl Ports {
    /// Takes a port back, to be handed out again later ([`Self::cool`]).
    pub(crate) fn keep_back(&mut self, now: Time, host: u32, place: Place) {
        if self.cooling.is_full() {
            self.release_oldest();
        }
        let block = &mut self.blocks[place.block];
        block.kept += 1;
        let usage = usage_in(&mut self.usage, block.target);
        usage.subtract(0, 1);
        usage.cooling += 1;
        self.cooling.push(Kept {
            block: place.block,
            since: now.raw(),
            place: u32::from(place.offset) | (place.transport.index() as u32) << 8,
        });
        self.leave(host);
    }

    /// Lets go of up to `most` ports that were kept back for `quarantine` milliseconds.
    #[inline]
    pub(crate) fn cool(&mut self, now: Time, quarantine: u32, most: u32) {
        for _ in 0..most {
            let due = self
                .cooling
                .oldest()
                .is_some_and(|kept| now.since(Time::from_raw(kept.since)) >= quarantine);
            if !due {
                return;
            }
            self.release_oldest();
        }
    }

    fn release_oldest(&mut self) {
        let Some(kept) = self.cooling.oldest() else {
            return;
        };
        self.cooling.pop();
        let block = &mut self.blocks[kept.block];
        block.kept -= 1;
        usage_in(&mut self.usage, block.target).cooling -= 1;
        self.vacate(kept.place());
    }
}
