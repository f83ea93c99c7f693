//! Nothing a packet holds can panic a view, whole, truncated, mutated or arbitrary.

use std::net::Ipv4Addr;

use crate::reader::{self, golden, read_frame};
use proptest::prelude::*;
use sekisho_packet::build::{self, IcmpError};
use sekisho_packet::rewrite::{self, Layout};
use sekisho_packet::{Discovery, FlowKey6, Icmpv6Error, Ipv4, Ipv6, Sum, build6, rewrite6, tcp};

const FRAMES: [&str; 8] = [
    "vxlan-tcp-syn",
    "udp-padded",
    "vlan-fragment",
    "source-route",
    "ipv6-extensions",
    "icmpv6-ns",
    "arp-request",
    "arp-reply",
];
const PACKETS: [&str; 12] = [
    "snat-tcp-before",
    "snat-udp-before",
    "snat-udp-zero-before",
    "snat-echo-before",
    "unnat-echo-before",
    "error-udp-before",
    "error-tcp-before",
    "error-tcp-short-before",
    "error-echo-before",
    "echo-before",
    "too-big-before",
    "ttl-after",
];

/// A golden as a frame.
fn frame(name: &str) -> Vec<u8> {
    if FRAMES.contains(&name) {
        return golden(name);
    }
    let mut bytes = vec![2; 12];
    bytes.extend([8, 0]);
    bytes.extend(golden(name));
    bytes
}

fn names() -> impl Iterator<Item = &'static str> {
    FRAMES.into_iter().chain(PACKETS)
}

/// Reads and changes everything that can be read and changed.
fn handle(frame: &[u8]) {
    read_frame(frame);
    reader::read_arp(frame);
    reader::read_ipv4(frame);
    reader::read_ipv6(frame);
    reader::read_icmpv4(frame);
    reader::read_icmpv6(frame, Sum::new());
    reader::read_tcp(frame, Sum::new());
    reader::read_udp(frame, Sum::new());
    reader::read_vxlan(frame);
    change(frame);
    if let Some(packet) = frame.get(14..) {
        change(packet);
    }
    // Inside VXLAN.
    if let Some(packet) = frame.get(build::VXLAN_OVERHEAD + 14..) {
        change(packet);
    }
}

fn change(packet: &[u8]) {
    let addr = Ipv4Addr::new(203, 0, 113, 9);
    let mut copy = packet.to_vec();
    if let Ok(view) = Ipv4::new(packet) {
        let layout = Layout::of(&view);
        for port in [None, Some(7)] {
            let _ = rewrite::source(&mut copy, layout, addr, port);
            let _ = rewrite::destination(&mut copy, layout, addr, port);
        }
    }
    let _ = rewrite::embedded_source(&mut copy, addr, Some(7));
    let _ = rewrite::embedded_destination(&mut copy, addr, None);
    let _ = rewrite::decrement_ttl(&mut copy);
    let _ = rewrite::set_tos(&mut copy, 0xff);
    let _ = build::echo_reply(&mut copy, 64);
    let _ = tcp::clamp_mss(&mut copy, 536);
    let mut out = [0; 100];
    let _ = IcmpError::TtlExceeded.write(&mut out, addr, 64, packet);
    change_ipv6(packet, &mut copy);
}

fn change_ipv6(packet: &[u8], copy: &mut [u8]) {
    if let Ok(view) = Ipv6::new(packet)
        && let Ok(upper) = view.upper_layer()
    {
        let _ = Discovery::read(&view, &upper);
        let _ = FlowKey6::of(&view, &upper).hash(1);
        let _ = Icmpv6Error::NoRoute.is_allowed_about(&view);
    }
    let _ = rewrite6::decrement_hop_limit(copy);
    let _ = rewrite6::set_traffic_class(copy, 0xff);
    let _ = build6::echo_reply(copy, 64);
    let mut out = [0; 1300];
    let addr = "2001:db8::1".parse().unwrap();
    let _ = Icmpv6Error::HopLimitExceeded.write(&mut out, addr, 64, packet);
}

#[test]
fn v09_a_frame_truncated_at_any_byte_is_refused_and_a_whole_one_is_read() {
    for name in names() {
        let whole = frame(name);
        assert!(read_frame(&whole), "{name}");
        let end = match name {
            "udp-padded" => 14 + 30, // the rest is padding
            _ => whole.len(),
        };
        for length in 0..end {
            assert!(!read_frame(&whole[..length]), "{name} cut at {length}");
            handle(&whole[..length]);
        }
    }
}

#[test]
fn any_one_wrong_byte_in_a_golden_is_harmless() {
    for name in names() {
        let whole = frame(name);
        for at in 0..whole.len().min(200) {
            for value in 0..=255 {
                let mut mutated = whole.clone();
                mutated[at] = value;
                handle(&mutated);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn arbitrary_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        handle(&bytes);
    }

    #[test]
    fn many_wrong_bytes_and_a_cut_are_harmless(
        name in prop::sample::select(names().collect::<Vec<_>>()),
        wrong in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut: prop::sample::Index,
    ) {
        let mut bytes = frame(name);
        for (at, value) in wrong {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        handle(&bytes);
        bytes.truncate(cut.index(bytes.len() + 1));
        handle(&bytes);
    }
}
