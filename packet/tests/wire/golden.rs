//! Packets made by scapy (`golden/make.py`) are read as they were meant, and changed to the byte.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::reader::golden;
use sekisho_packet::build::{self, IcmpError};
use sekisho_packet::rewrite::{self, Layout};
use sekisho_packet::*;
use sekisho_types::{IpProtocol, MacAddr};

const VM: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0x0a]);
const GATEWAY: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
const GATEWAY_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 80);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 33);

#[test]
fn a_tcp_syn_in_vxlan_is_read_layer_by_layer() {
    let bytes = golden("vxlan-tcp-syn");
    let outer = Ethernet::new(&bytes).unwrap();
    assert_eq!(outer.ethertype(), EtherType::IPV4);
    let ip = Ipv4::new(outer.payload()).unwrap();
    assert!(ip.is_intact() && ip.dont_fragment());
    assert_eq!((ip.tos(), ip.ttl(), ip.total_len()), (2, 64, 110));
    assert_eq!(ip.src(), Ipv4Addr::new(192, 0, 2, 11));
    let udp = Udp::new(ip.payload()).unwrap();
    assert_eq!((udp.src_port(), udp.dst_port()), (51234, vxlan::UDP_PORT));
    assert_eq!((udp.len(), udp.checksum()), (90, 0));
    let vxlan = Vxlan::new(udp.payload()).unwrap();
    assert_eq!(vxlan.vni().value(), 0x01_2345);
    let inner = Ethernet::new(vxlan.payload()).unwrap();
    assert_eq!((inner.dst(), inner.src()), (GATEWAY, VM));
    let ip = Ipv4::new(inner.payload()).unwrap();
    assert!(ip.is_intact());
    assert_eq!(
        (ip.src(), ip.dst(), ip.identification()),
        (A, REMOTE, 0x1234)
    );
    let tcp = Tcp::new(ip.payload()).unwrap();
    assert!(tcp.is_intact(ip.pseudo_header(tcp.len() as u16)));
    assert_eq!((tcp.src_port(), tcp.dst_port()), (40000, 443));
    assert_eq!((tcp.sequence(), tcp.acknowledgement()), (0x0102_0304, 0));
    assert_eq!(tcp.flags(), TcpFlags(0xc2));
    assert_eq!((tcp.window(), tcp.header_len()), (64240, 40));
    assert_eq!(tcp.mss(), Some(1460));
    let kinds: Vec<u8> = tcp.options().map(|option| option.unwrap().kind).collect();
    assert_eq!(kinds, [2, 4, 8, 3]);
    let key = FlowKey {
        src: A,
        dst: REMOTE,
        sport: 40000,
        dport: 443,
        proto: IpProtocol::TCP,
    };
    assert_eq!(FlowKey::with_ports(&ip), Ok(key));
}

#[test]
fn outer_headers_are_written_as_scapy_writes_them() {
    let bytes = golden("vxlan-tcp-syn");
    let encap = build::VxlanEncap {
        dst_mac: MacAddr::new([2, 0, 0, 0, 1, 1]),
        src_mac: MacAddr::new([2, 0, 0, 0, 1, 2]),
        src: Ipv4Addr::new(192, 0, 2, 11),
        dst: Ipv4Addr::new(192, 0, 2, 1),
        src_port: 51234,
        dst_port: vxlan::UDP_PORT,
        vni: 0x01_2345.try_into().unwrap(),
        tos: 2,
        ttl: 64,
    };
    let mut out = [0xff; build::VXLAN_OVERHEAD];
    let frame_len = bytes.len() - out.len();
    encap.write(&mut out, frame_len).unwrap();
    assert_eq!(out, bytes[..build::VXLAN_OVERHEAD]);
}

#[test]
fn padding_of_a_short_frame_is_no_payload() {
    let bytes = golden("udp-padded");
    let ip = Ipv4::new(&bytes[14..]).unwrap();
    let udp = Udp::new(ip.payload()).unwrap();
    assert_eq!((bytes.len(), udp.payload()), (60, b"hi".as_slice()));
    assert!(udp.is_intact(ip.pseudo_header(udp.len())));
}

#[test]
fn a_tagged_fragment_has_a_vlan_and_no_ports() {
    let bytes = golden("vlan-fragment");
    let frame = Ethernet::new(&bytes).unwrap();
    let tag = frame.vlan().unwrap();
    assert_eq!((tag.id(), tag.priority()), (42, 5));
    let ip = Ipv4::new(frame.payload()).unwrap();
    assert!(ip.is_fragment() && ip.more_fragments() && !ip.has_l4_header());
    assert_eq!((ip.fragment_offset(), ip.identification()), (1480, 77));
    assert_eq!(FlowKey::with_ports(&ip), Err(PacketError::NoTransport));
    assert_eq!(FlowKey::without_ports(&ip).src, A);
}

#[test]
fn l08_a_loose_source_route_is_seen() {
    let bytes = golden("source-route");
    let ip = Ipv4::new(&bytes[14..]).unwrap();
    assert_eq!((ip.has_source_route(), ip.len()), (Ok(true), 28));
    assert!(ip.is_intact());
}

#[test]
fn ipv6_extension_headers_lead_to_udp() {
    let bytes = golden("ipv6-extensions");
    let ip = Ipv6::new(&bytes[14..]).unwrap();
    assert_eq!((ip.traffic_class(), ip.flow_label()), (0x2e, 0xa_bcde));
    assert_eq!(ip.hop_limit(), 63);
    assert_eq!(ip.src(), "2001:db8::a".parse::<Ipv6Addr>().unwrap());
    let upper = ip.upper_layer().unwrap();
    assert!(upper.has_routing_header);
    assert_eq!(upper.fragment.unwrap().identification, 0xcafe);
    let udp = Udp::new(upper.payload).unwrap();
    assert!(udp.is_intact(ip.pseudo_header(upper.protocol, udp.len().into())));
    assert_eq!((udp.dst_port(), udp.payload()), (2000, b"six".as_slice()));
}

#[test]
fn a_neighbour_solicitation_verifies() {
    let bytes = golden("icmpv6-ns");
    let ip = Ipv6::new(&bytes[14..]).unwrap();
    let icmp = Icmpv6::new(ip.payload()).unwrap();
    assert_eq!(icmp.message_type(), Icmpv6Type::NEIGHBOUR_SOLICITATION);
    let length = ip.payload().len() as u32;
    assert!(icmp.is_intact(ip.pseudo_header(IpProtocol::ICMPV6, length)));
}

#[test]
fn arp_frames_are_written_as_scapy_writes_them() {
    let mut out = [0; arp::FRAME_LEN];
    let question = ArpFrame::request(GATEWAY, GATEWAY_IP, A);
    question.write(&mut out).unwrap();
    assert_eq!(out, golden("arp-request")[..]);
    let request = golden("arp-request");
    ArpFrame::reply(&Arp::new(&request[14..]).unwrap(), VM)
        .write(&mut out)
        .unwrap();
    assert_eq!(out, golden("arp-reply")[..]);
}

/// Asserts that `change` makes `NAME-before` to `NAME-after`.
fn becomes(name: &str, change: impl Fn(&mut [u8]) -> Result<(), PacketError>) {
    let mut packet = golden(&format!("{name}-before"));
    change(&mut packet).unwrap();
    assert_eq!(packet, golden(&format!("{name}-after")), "{name}");
}

fn layout(packet: &[u8]) -> Layout {
    Layout::of(&Ipv4::new(packet).unwrap())
}

#[test]
fn source_nat_gives_the_packets_scapy_gives() {
    let snat = |port| move |p: &mut [u8]| rewrite::source(p, layout(p), POOL, Some(port));
    becomes("snat-tcp", snat(61001));
    becomes("snat-udp", snat(61002));
    becomes("snat-udp-zero", snat(61002));
    becomes("snat-echo", snat(61003));
    becomes("unnat-echo", |p| {
        rewrite::destination(p, layout(p), A, Some(0x77))
    });
}

#[test]
fn i06_errors_from_outside_reach_the_inside_as_scapy_gives_them() {
    let unnat = |port| {
        move |p: &mut [u8]| {
            rewrite::destination(p, layout(p), A, None)?;
            rewrite::embedded_source(p, A, Some(port))
        }
    };
    becomes("error-udp", unnat(5353));
    becomes("error-tcp-short", unnat(40000));
    becomes("error-tcp", unnat(40000));
    becomes("error-echo", unnat(0x77));
}

#[test]
fn i07_errors_from_inside_leave_with_the_embedded_destination_rewritten() {
    let mut packet = golden("error-tcp-before");
    rewrite::embedded_destination(&mut packet, ROUTER, Some(8443)).unwrap();
    let ip = Ipv4::new(&packet).unwrap();
    let icmp = Icmpv4::new(ip.payload()).unwrap();
    assert!(icmp.is_intact());
    assert_eq!(icmp.next_hop_mtu(), 1400);
    let embedded = icmp.embedded().unwrap();
    let key = embedded.flow_key().unwrap();
    assert_eq!((key.src, key.sport), (POOL, 61001));
    assert_eq!((key.dst, key.dport), (ROUTER, 8443));
    let tcp = Tcp::new(embedded.payload()).unwrap();
    let length = tcp.len() as u16;
    let pseudo = Sum::pseudo_v4(key.src, key.dst, IpProtocol::TCP, length);
    assert!(tcp.is_intact(pseudo));
}

#[test]
fn a_hop_an_echo_and_a_clamped_mss_give_the_packets_scapy_gives() {
    becomes("hop", |p| rewrite::decrement_ttl(p).map(drop));
    becomes("echo", |p| build::echo_reply(p, 255));
    becomes("mss", |p| tcp::clamp_mss(&mut p[20..], 1410).map(drop));
}

#[test]
fn l07_our_errors_quote_what_fits_576_bytes_as_scapy_gives_them() {
    let error = |error: IcmpError, ttl, name: &str| {
        let mut out = [0xff; 1500];
        let offending = golden(&format!("{name}-before"));
        let length = error.write(&mut out, GATEWAY_IP, ttl, &offending).unwrap();
        assert_eq!(out[..length], golden(&format!("{name}-after")));
        length
    };
    let too_big = IcmpError::FragmentationNeeded { mtu: 1450 };
    assert_eq!(error(too_big, 64, "too-big"), IcmpError::MAX_LEN);
    error(IcmpError::TtlExceeded, 255, "ttl");
}
