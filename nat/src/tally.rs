//! What a session has carried, and since when.

use sekisho_mem::zeroable_struct;

use crate::tcp::Side;
use crate::time::Time;

zeroable_struct! {
    /// The cold record of a session, beside its line: half a cache line.
    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Tally {
        created: u32,
        /// The upper bits of `packets`.
        upper: [u16; 2],
        /// By side.
        packets: [u32; 2],
        octets: [u64; 2],
    }
}

const _: () = assert!(size_of::<Tally>() == 32);

/// Packets and octets of IP packets, headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub octets: u64,
}

impl Tally {
    pub(crate) const fn begin(now: Time) -> Self {
        Self {
            created: now.raw(),
            upper: [0; 2],
            packets: [0; 2],
            octets: [0; 2],
        }
    }

    /// Counts a packet of a side.
    #[inline(always)]
    pub(crate) const fn count(&mut self, from: Side, octets: u16) {
        let side = from as usize;
        let (packets, carry) = self.packets[side].overflowing_add(1);
        self.packets[side] = packets;
        self.upper[side] = self.upper[side].wrapping_add(carry as u16);
        self.octets[side] = self.octets[side].wrapping_add(octets as u64);
    }

    pub(crate) const fn created(&self) -> Time {
        Time::from_raw(self.created)
    }

    pub(crate) const fn traffic(&self, from: Side) -> Traffic {
        let side = from as usize;
        Traffic {
            packets: (self.upper[side] as u64) << 32 | self.packets[side] as u64,
            octets: self.octets[side],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_beyond_32_bits() {
        let mut tally = Tally::begin(Time::from_millis(7));
        tally.packets[1] = u32::MAX;
        tally.count(Side::Outside, 1500);
        tally.count(Side::Outside, 40);
        let back = Traffic {
            packets: (1 << 32) + 1,
            octets: 1540,
        };
        assert_eq!(tally.traffic(Side::Outside), back);
        assert_eq!(tally.traffic(Side::Inside), Traffic::default());
        assert_eq!(tally.created(), Time::from_millis(7));
    }
}
