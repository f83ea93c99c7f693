//! The same with IPv6, and with both families in one burst.

use std::net::Ipv6Addr;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::super::frames::{FrameWriter, Segment};
use super::super::{Flows, Mix, Service, World};
use super::{any, compare, few, mend};

/// A frame with IPv6 of a flow, in either direction, right in every way.
fn right(world: &World, random: &mut StdRng, outward: bool) -> Vec<u8> {
    let flows = world.shape.flows;
    let flow = flows.flow(random.random_range(0..flows.count));
    let mut room = [0; FrameWriter::MAX];
    let length = if outward {
        world.frames.out6(&mut room, &flow, Segment::DATA_OUT)
    } else {
        world.frames.back6(&mut room, &flow, Segment::DATA_BACK)
    };
    room[..length].to_vec()
}

/// Does something to a frame that a gateway must notice, or must not mind.
fn change(frame: &mut Vec<u8>, random: &mut StdRng, outward: bool) {
    let inner = if outward { 64 } else { 14 };
    match random.random_range(0..13) {
        0 => {
            let at = random.random_range(0..frame.len());
            frame[at] ^= 1 << random.random_range(0..8);
        }
        1 | 2 => {
            let at = random.random_range(14..inner + 60);
            frame[at] = random.random();
            if outward {
                mend(frame, 14);
            }
        }
        3 => frame.truncate(random.random_range(0..frame.len())),
        4 => frame.extend(std::iter::repeat_n(0xee, random.random_range(1..64))),
        5 => frame[inner + 7] = random.random_range(0..4),
        6 => {
            // Congestion marks and classes, inside and out.
            let class: u8 = random.random();
            frame[inner] = 0x60 | class >> 4;
            frame[inner + 1] = class << 4;
            if outward {
                frame[15] = *[class, random.random()].choose(random).unwrap();
                mend(frame, 14);
            }
        }
        7 => {
            // Another header follows, mostly one that is not there.
            frame[inner + 6] = *[0, 6, 17, 43, 44, 50, 58, 59, 60, 132]
                .choose(random)
                .unwrap();
            frame[inner + 40] = *[6, 17, 58, 128, 135].choose(random).unwrap();
        }
        8 => {
            let address = address(random);
            let at = inner + 8 + random.random_range(0..2) * 16;
            frame[at..at + 16].copy_from_slice(&address.octets());
        }
        9 => {
            // No ports, but a label; lengths of the payload and of a datagram.
            frame[inner + 3] = random.random();
            match random.random_range(0..3) {
                0 => frame[inner + 40..inner + 44].fill(0),
                1 => frame[inner + 5] = random.random_range(0..40),
                _ => frame[inner + 45] = random.random_range(0..40),
            }
        }
        10 => {
            // To somebody else, to a group, from somebody else.
            let station = if outward { 50 } else { 0 };
            match random.random_range(0..3) {
                0 => frame[station + 5] ^= 0x40,
                1 => frame[station..station + 6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]),
                _ => frame[station + 11] ^= 1,
            }
        }
        11 if outward => {
            // Another VTEP, another segment, a bad datagram.
            match random.random_range(0..3) {
                0 => frame[29] ^= random.random_range(1..64),
                1 => frame[48] = frame[48].wrapping_add(1),
                _ => frame[40] = random.random(),
            }
            mend(frame, 14);
        }
        _ => {}
    }
}

fn address(random: &mut StdRng) -> Ipv6Addr {
    let tenant = random.random_range(0..3);
    let special = [
        "::",
        "::1",
        "::ffff:192.0.2.1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        // Ours, and a neighbour's.
        "2001:db8:ffff::1",
        "2001:db8:ffff::2",
        "2001:db8:ffff:1::1",
    ];
    match random.random_range(0..4) {
        0 => special.choose(random).unwrap().parse().unwrap(),
        1 => Flows::address6(tenant, random.random_range(0..2)),
        2 => Flows::address6(tenant, random.random_range(0x10..0x400)),
        _ => Ipv6Addr::from_bits(random.random()),
    }
}

fn any6(world: &World, random: &mut StdRng, outward: bool) -> Vec<u8> {
    let mut frame = right(world, random, outward);
    if random.random_range(0..3) > 0 {
        change(&mut frame, random, outward);
    }
    frame
}

fn either(world: &World, random: &mut StdRng, outward: bool) -> Vec<u8> {
    let make = *[any, any6].choose(random).unwrap();
    make(world, random, outward)
}

/// Compares every mix.
pub(super) fn compare_all() {
    for mix in Mix::ALL {
        compare(few(mix), Service::Routed, any6);
        compare(few(mix), Service::Routed, either);
    }
    compare(few(Mix::Full), Service::Snat, either);
}
