//! The outer headers of a tunnel, written from a template.

use core::net::Ipv4Addr;

use sekisho_types::Vni;

use crate::build::VXLAN_OVERHEAD;
use crate::ecn::{self, DscpMode};
use crate::heads::{LANES, fold, halves};
use crate::{ethernet, flow};

const IP: usize = ethernet::HEADER_LEN;
const UDP: usize = IP + 20;
const VXLAN: usize = UDP + 8;
/// Octets of the outer packet that are not the inner packet's.
const OVERHEAD: usize = VXLAN_OVERHEAD;

/// What all VXLAN packets of a gateway have in common.
#[derive(Clone, Copy, Debug)]
pub struct VxlanTemplate {
    /// Without Ethernet addresses, lengths, type of service, checksum, destination, source port, VNI.
    headers: [u8; VXLAN_OVERHEAD],
    /// The sum of the halves of the words of the IPv4 header.
    sum: u32,
    dscp: DscpMode,
}

/// What the outer headers of a burst have apart, word by word as they are in memory: worked out for
/// all packets together.
#[derive(Clone, Debug)]
pub struct VxlanHeaders {
    /// Version and header length, type of service, total length.
    first: [u32; LANES],
    /// Time to live, protocol, checksum.
    third: [u32; LANES],
    dst: [u32; LANES],
    ports: [u32; LANES],
    /// UDP's length; no checksum.
    udp: [u32; LANES],
}

/// What goes into tunnels.
#[derive(Clone, Copy, Debug)]
pub struct Inner<'a> {
    /// Octets of each inner packet, at most 65,485.
    pub lens: &'a [u16; LANES],
    /// Its type of service, or traffic class.
    pub tos: &'a [u8; LANES],
    /// The hash of its flow.
    pub hashes: &'a [u32; LANES],
    /// The VTEP it goes to, as its address is in memory.
    pub vteps: &'a [u32; LANES],
}

impl VxlanTemplate {
    /// The headers of packets from `src` to the UDP port `dst_port`; don't-fragment is set, and there
    /// is no UDP checksum (RFC 7348 section 4.1).
    #[inline]
    pub fn new(src: Ipv4Addr, dst_port: u16, ttl: u8, dscp: DscpMode) -> Self {
        let mut headers = [0; VXLAN_OVERHEAD];
        headers[12] = 0x08;
        headers[IP] = 0x45;
        headers[IP + 6] = 0x40;
        headers[IP + 8] = ttl;
        headers[IP + 9] = 17;
        headers[IP + 12..IP + 16].copy_from_slice(&src.octets());
        headers[UDP + 2..UDP + 4].copy_from_slice(&dst_port.to_be_bytes());
        headers[VXLAN] = 0x08;
        // In memory order: sums of halves are the same but for the order of octets.
        let sum = (IP + 2..UDP)
            .step_by(2)
            .map(|at| u32::from(half(&headers, at)));
        Self {
            headers,
            sum: sum.sum(),
            dscp,
        }
    }

    /// What the headers of a burst have apart.
    #[inline(never)]
    pub fn headers(&self, inner: Inner<'_>) -> VxlanHeaders {
        let mut headers = VxlanHeaders::NONE;
        let port = u32::from(half(&self.headers, UDP + 2)) << 16;
        let third = u32::from(half(&self.headers, IP + 8));
        for lane in 0..LANES {
            let udp = inner.lens[lane].wrapping_add((OVERHEAD - 20) as u16);
            let total = udp.wrapping_add(20);
            let tos = ecn::encapsulate(inner.tos[lane], self.dscp);
            let first = 0x45 | u32::from(tos) << 8 | u32::from(total.swap_bytes()) << 16;
            let dst = inner.vteps[lane];
            let sum = fold(self.sum + halves(first) + halves(dst));
            let source = flow::tunnel_source_port(inner.hashes[lane]);
            headers.first[lane] = first;
            headers.third[lane] = third | !sum << 16;
            headers.dst[lane] = dst;
            headers.ports[lane] = u32::from(source.swap_bytes()) | port;
            headers.udp[lane] = udp.swap_bytes().into();
        }
        headers
    }

    /// Writes the headers before a packet of the burst; `ethernet` writes the outer Ethernet header.
    #[inline(always)]
    pub fn write(
        &self,
        room: &mut [u8; VXLAN_OVERHEAD],
        headers: &VxlanHeaders,
        lane: usize,
        vni: Vni,
        ethernet: impl FnOnce(&mut [u8; ethernet::HEADER_LEN]),
    ) {
        let lane = lane % LANES;
        *room = self.headers;
        if let Some(room) = room.first_chunk_mut() {
            ethernet(room);
        }
        let mut put = |at: usize, word: u32| room[at..at + 4].copy_from_slice(&word.to_le_bytes());
        put(IP, headers.first[lane]);
        put(IP + 8, headers.third[lane]);
        put(IP + 16, headers.dst[lane]);
        put(UDP, headers.ports[lane]);
        put(UDP + 4, headers.udp[lane]);
        put(VXLAN + 4, (vni.value() << 8).swap_bytes());
    }
}

impl VxlanHeaders {
    const NONE: Self = Self {
        first: [0; LANES],
        third: [0; LANES],
        dst: [0; LANES],
        ports: [0; LANES],
        udp: [0; LANES],
    };
}

/// Two octets as they are in memory.
const fn half(octets: &[u8; VXLAN_OVERHEAD], at: usize) -> u16 {
    u16::from_le_bytes([octets[at], octets[at + 1]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sekisho_types::MacAddr;

    use super::*;
    use crate::EtherType;
    use crate::build::VxlanEncap;

    proptest! {
        #[test]
        fn the_template_writes_what_is_written_field_by_field(
            addresses: (u32, u32), dst_port: u16, vni in 0u32..1 << 24, len in 0u16..9000,
            tos: u8, ttl: u8, uniform: bool, macs: ([u8; 6], [u8; 6]), hash: u32, lane in 0usize..64,
        ) {
            let dscp = if uniform { DscpMode::Uniform } else { DscpMode::Pipe(46) };
            let encap = VxlanEncap {
                dst_mac: MacAddr::new(macs.0),
                src_mac: MacAddr::new(macs.1),
                src: Ipv4Addr::from_bits(addresses.0),
                dst: Ipv4Addr::from_bits(addresses.1),
                src_port: flow::tunnel_source_port(hash),
                dst_port,
                vni: Vni::new(vni).unwrap(),
                tos: ecn::encapsulate(tos, dscp),
                ttl,
            };
            let mut right = [0; VXLAN_OVERHEAD];
            encap.write(&mut right, usize::from(len) + ethernet::HEADER_LEN).unwrap();
            let mut header = [0; ethernet::HEADER_LEN];
            ethernet::write_header(&mut header, encap.dst_mac, encap.src_mac, EtherType::IPV4);
            let mut room = [0xff; VXLAN_OVERHEAD];
            let template = VxlanTemplate::new(encap.src, dst_port, ttl, dscp);
            let (mut lens, mut all_tos) = ([7; LANES], [9; LANES]);
            let (mut hashes, mut vteps) = ([5; LANES], [3; LANES]);
            (lens[lane], all_tos[lane], hashes[lane]) = (len, tos, hash);
            vteps[lane] = u32::from_le_bytes(encap.dst.octets());
            let headers = template.headers(Inner {
                lens: &lens,
                tos: &all_tos,
                hashes: &hashes,
                vteps: &vteps,
            });
            template.write(&mut room, &headers, lane, encap.vni, |room| *room = header);
            prop_assert_eq!(room, right);
        }
    }
}
