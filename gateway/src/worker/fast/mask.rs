//! Sets of packets of a burst, and the order they are looked at.

use std::num::NonZeroU64;
use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

use sekisho_packet::heads::bits;

use super::LANES;

/// Packets of a burst, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mask(pub(super) u64);

impl Mask {
    pub(super) const NONE: Self = Self(0);

    /// The first `count` packets.
    #[inline(always)]
    pub(super) const fn first(count: usize) -> Self {
        match count {
            0 => Self::NONE,
            count => Self(u64::MAX >> (LANES.saturating_sub(count) % LANES)),
        }
    }

    /// The packets of which it is so, asked of every number: best if the answer takes no branch.
    #[inline(always)]
    pub(super) fn of(so: impl Fn(usize) -> bool) -> Self {
        let mut octets = [0; LANES];
        for (lane, octet) in octets.iter_mut().enumerate() {
            *octet = u8::from(so(lane));
        }
        Self(bits(&octets))
    }

    #[inline(always)]
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many packets.
    #[inline(always)]
    pub(super) const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    #[inline(always)]
    pub(super) const fn has(self, lane: usize) -> bool {
        self.0 >> (lane % LANES) & 1 == 1
    }

    /// Adds a packet, if it is so.
    #[inline(always)]
    pub(super) const fn add(&mut self, lane: usize, so: bool) {
        self.0 |= (so as u64) << (lane % LANES);
    }
}

impl BitAnd for Mask {
    type Output = Self;

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Mask {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Mask {
    #[inline(always)]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl Not for Mask {
    type Output = Self;

    #[inline(always)]
    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// The numbers of the packets, from the lowest.
impl Iterator for Mask {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let lane = NonZeroU64::new(self.0)?.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(lane % LANES)
    }
}

/// Packets one after the other, each at a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    lanes: [u8; LANES],
    count: usize,
    /// Each packet is at the place of its own number: mostly, all of a burst are of a kind.
    is_plain: bool,
}

impl Order {
    pub(super) const NONE: Self = Self {
        lanes: [0; LANES],
        count: 0,
        is_plain: true,
    };

    /// These packets, then those: a packet of both would be twice in it, so none is.
    #[inline]
    pub(super) fn set(&mut self, masks: &[Mask]) {
        let all = masks.iter().fold(Mask::NONE, |all, mask| all | *mask);
        self.count = all.len();
        self.is_plain = all == Mask::first(self.count) && masks.contains(&all);
        if self.is_plain {
            self.lanes = const { plain() };
            return;
        }
        let mut place = 0;
        for &mask in masks {
            for lane in mask {
                self.lanes[place % LANES] = lane as u8;
                place += 1;
            }
        }
    }

    #[inline(always)]
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// The packet at a place.
    #[inline(always)]
    pub(super) const fn lane(&self, place: usize) -> usize {
        self.lanes[place % LANES] as usize % LANES
    }

    /// Places and packets.
    #[inline(always)]
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.count).map(|place| (place % LANES, self.lane(place)))
    }

    /// Brings a field of the packets to their places.
    #[inline(always)]
    pub(super) fn gather<T: Copy>(&self, lanes: &[T; LANES], places: &mut [T; LANES]) {
        if self.is_plain {
            *places = *lanes;
        } else {
            for (place, lane) in self.places() {
                places[place] = lanes[lane];
            }
        }
    }

    /// Brings what is at a place to its packet.
    #[inline(always)]
    pub(super) fn scatter<T: Copy>(&self, places: &[T; LANES], lanes: &mut [T; LANES]) {
        if self.is_plain {
            lanes[..self.count].copy_from_slice(&places[..self.count]);
        } else {
            for (place, lane) in self.places() {
                lanes[lane] = places[place];
            }
        }
    }

    /// The packets at these places.
    #[inline(always)]
    pub(super) fn packets(&self, places: Mask) -> Mask {
        if self.is_plain {
            return places & Mask::first(self.count);
        }
        let mut packets = Mask::NONE;
        for (place, lane) in self.places() {
            packets.add(lane, places.has(place));
        }
        packets
    }
}

/// Each packet at the place of its number.
const fn plain() -> [u8; LANES] {
    let mut lanes = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        lanes[lane] = lane as u8;
        lane += 1;
    }
    lanes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mask_is_a_set_and_an_order_a_list_of_it(bits: u64, others: u64, count in 0usize..=64) {
            let slow: Vec<usize> = (0..64).filter(|lane| bits >> lane & 1 == 1).collect();
            prop_assert_eq!(Mask(bits).collect::<Vec<_>>(), slow.clone());
            prop_assert_eq!(Mask::first(count).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
            let mut mask = Mask::NONE;
            for lane in 0..64 {
                mask.add(lane, slow.contains(&lane));
                prop_assert_eq!(mask.has(lane), slow.contains(&lane));
            }
            prop_assert_eq!(mask, Mask(bits));
            let mut order = Order::NONE;
            order.set(&[Mask(bits & others), Mask(bits & !others)]);
            let mut listed: Vec<usize> = order.places().map(|(_, lane)| lane).collect();
            prop_assert_eq!(listed.len(), order.len());
            listed.sort_unstable();
            prop_assert_eq!(listed, slow);
            prop_assert_eq!(Mask::of(|lane| bits >> lane & 1 == 1), Mask(bits));
        }

        #[test]
        fn what_is_gathered_and_scattered_is_where_it_was(
            bits: u64, others: u64, chosen: u64, count in 0usize..=64, plain: bool,
        ) {
            let bits = if plain { Mask::first(count).0 } else { bits };
            let others = if plain { bits } else { others };
            let mut order = Order::NONE;
            order.set(&[Mask(bits & others), Mask(bits & !others)]);
            let lanes: [u64; LANES] = std::array::from_fn(|lane| lane as u64 + 100);
            let (mut places, mut back) = ([0; LANES], [0; LANES]);
            order.gather(&lanes, &mut places);
            order.scatter(&places, &mut back);
            let mut packets = Mask::NONE;
            for (place, lane) in order.places() {
                prop_assert_eq!(places[place], lanes[lane]);
                packets.add(lane, chosen >> place & 1 == 1);
            }
            for lane in 0..LANES {
                prop_assert_eq!(back[lane], if bits >> lane & 1 == 1 { lanes[lane] } else { 0 });
            }
            prop_assert_eq!(order.packets(Mask(chosen)), packets);
        }
    }
}
