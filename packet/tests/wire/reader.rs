//! Goldens, and a reader that calls everything there is to call on bytes.

use std::hint::black_box;
use std::path::Path;

use sekisho_packet::options::HeaderOptions;
use sekisho_packet::*;

/// The bytes of `tests/golden/NAME.hex`.
pub(crate) fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let text = std::fs::read_to_string(folder.join(format!("{name}.hex"))).unwrap();
    let text = text.trim();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Reads `frame` down to its innermost payload, through every getter. Says whether each layer
/// that was announced could be read.
pub(crate) fn read_frame(frame: &[u8]) -> bool {
    let Ok(view) = Ethernet::new(frame) else {
        return false;
    };
    black_box((view.dst(), view.src(), view.header_len()));
    black_box(view.vlan().map(|tag| (tag.id(), tag.priority())));
    match view.ethertype() {
        EtherType::ARP => read_arp(view.payload()),
        EtherType::IPV4 => read_ipv4(view.payload()),
        EtherType::IPV6 => read_ipv6(view.payload()),
        _ => true,
    }
}

pub(crate) fn read_arp(bytes: &[u8]) -> bool {
    let Ok(view) = Arp::new(bytes) else {
        return false;
    };
    black_box((view.operation(), view.is_gratuitous()));
    black_box((view.sender_mac(), view.sender_ip()));
    black_box((view.target_mac(), view.target_ip()));
    true
}

pub(crate) fn read_ipv4(bytes: &[u8]) -> bool {
    let Ok(view) = Ipv4::new(bytes) else {
        return false;
    };
    read_ipv4_header(&view);
    black_box(build::IcmpError::is_allowed_about(&view));
    let key = FlowKey::with_ports(&view).unwrap_or(FlowKey::without_ports(&view));
    black_box(flow::tunnel_source_port(key.reversed().hash(1)));
    if !view.has_l4_header() {
        return true;
    }
    let payload = view.payload();
    match view.protocol().0 {
        1 => read_icmpv4(payload),
        6 => read_tcp(payload, view.pseudo_header(payload.len() as u16)),
        17 => read_udp(payload, view.pseudo_header(payload.len() as u16)),
        _ => true,
    }
}

fn read_ipv4_header(view: &Ipv4Header<'_>) {
    black_box((view.len(), view.tos(), view.total_len(), view.ttl()));
    black_box((view.identification(), view.fragment_offset()));
    black_box((view.dont_fragment(), view.more_fragments()));
    black_box((view.is_fragment(), view.has_options()));
    black_box((view.checksum(), view.is_intact()));
    let _ = black_box(view.has_source_route());
    black_box((view.src(), view.dst(), view.protocol()));
    read_options(view.options());
}

fn read_options(options: HeaderOptions<'_>) {
    black_box(options.count());
}

pub(crate) fn read_ipv6(bytes: &[u8]) -> bool {
    let Ok(view) = Ipv6::new(bytes) else {
        return false;
    };
    black_box((view.traffic_class(), view.flow_label(), view.hop_limit()));
    black_box((view.src(), view.dst(), view.next_header(), view.payload()));
    let Ok(upper) = view.upper_layer() else {
        return false;
    };
    let pseudo = view.pseudo_header(upper.protocol, upper.payload.len() as u32);
    match (upper.fragment.map_or(0, |f| f.offset), upper.protocol.0) {
        (0, 6) => read_tcp(upper.payload, pseudo),
        (0, 17) => read_udp(upper.payload, pseudo),
        (0, 58) => read_icmpv6(upper.payload, pseudo),
        _ => true,
    }
}

pub(crate) fn read_icmpv6(bytes: &[u8], pseudo: Sum) -> bool {
    let Ok(view) = Icmpv6::new(bytes) else {
        return false;
    };
    black_box((view.message_type().is_error(), view.code(), view.body()));
    black_box((view.checksum(), view.is_intact(pseudo)));
    true
}

pub(crate) fn read_icmpv4(bytes: &[u8]) -> bool {
    let Ok(view) = Icmpv4::new(bytes) else {
        return false;
    };
    black_box((view.message_type(), view.code(), view.checksum()));
    black_box((view.is_intact(), view.identifier(), view.sequence()));
    black_box((view.pointer(), view.next_hop_mtu(), view.body()));
    if !view.message_type().is_error() {
        return true;
    }
    let Ok(embedded) = view.embedded() else {
        return false;
    };
    read_ipv4_header(&embedded);
    black_box(embedded.payload());
    let _ = black_box(embedded.flow_key());
    true
}

pub(crate) fn read_tcp(bytes: &[u8], pseudo: Sum) -> bool {
    let Ok(view) = Tcp::new(bytes) else {
        return false;
    };
    black_box((view.src_port(), view.dst_port(), view.window()));
    black_box((view.sequence(), view.acknowledgement(), view.flags()));
    black_box((view.header_len(), view.len(), view.sequence_len()));
    black_box((view.checksum(), view.is_intact(pseudo), view.mss()));
    black_box(view.payload());
    read_options(view.options());
    true
}

pub(crate) fn read_udp(bytes: &[u8], pseudo: Sum) -> bool {
    let Ok(view) = Udp::new(bytes) else {
        return false;
    };
    black_box((view.src_port(), view.dst_port(), view.len()));
    black_box((view.checksum(), view.is_intact(pseudo)));
    view.dst_port() != vxlan::UDP_PORT || read_vxlan(view.payload())
}

pub(crate) fn read_vxlan(bytes: &[u8]) -> bool {
    let Ok(view) = Vxlan::new(bytes) else {
        return false;
    };
    black_box(view.vni());
    read_frame(view.payload())
}
