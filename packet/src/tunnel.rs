//! The outer headers of a tunnel, written from a template.

use core::net::Ipv4Addr;

use sekisho_types::Vni;

use crate::build::VXLAN_OVERHEAD;
use crate::checksum::Sum;
use crate::ecn::{self, DscpMode};
use crate::ethernet;

const IP: usize = ethernet::HEADER_LEN;
const UDP: usize = IP + 20;
const VXLAN: usize = UDP + 8;

/// What all VXLAN packets of a gateway have in common.
#[derive(Clone, Copy, Debug)]
pub struct VxlanTemplate {
    /// Without Ethernet addresses, lengths, type of service, checksum, destination, source port, VNI.
    headers: [u8; VXLAN_OVERHEAD],
    /// The sum of the words of the IPv4 header.
    sum: u32,
    dscp: DscpMode,
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
        let sum = Sum::new().bytes(&headers[IP..UDP]).fold();
        Self {
            headers,
            sum: sum.into(),
            dscp,
        }
    }

    /// Writes the headers before an inner frame of `frame_len` octets, at most 65,499, whose packet
    /// has the type of service `tos`. `ethernet` writes the outer
    /// Ethernet header.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "one field of the headers each")]
    pub fn write(
        &self,
        room: &mut [u8; VXLAN_OVERHEAD],
        ethernet: impl FnOnce(&mut [u8; ethernet::HEADER_LEN]),
        dst: Ipv4Addr,
        vni: Vni,
        src_port: u16,
        frame_len: u16,
        tos: u8,
    ) {
        let udp_len = frame_len.wrapping_add(16);
        let total_len = udp_len.wrapping_add(20);
        let tos = ecn::encapsulate(tos, self.dscp);
        let address = dst.to_bits();
        let sum =
            self.sum + u32::from(tos) + u32::from(total_len) + (address >> 16) + (address & 0xffff);
        let sum = (sum & 0xffff) + (sum >> 16);
        let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
        *room = self.headers;
        if let Some(room) = room.first_chunk_mut() {
            ethernet(room);
        }
        room[IP + 1] = tos;
        room[IP + 2..IP + 4].copy_from_slice(&total_len.to_be_bytes());
        room[IP + 10..IP + 12].copy_from_slice(&checksum.to_be_bytes());
        room[IP + 16..UDP].copy_from_slice(&dst.octets());
        room[UDP..UDP + 2].copy_from_slice(&src_port.to_be_bytes());
        room[UDP + 4..UDP + 6].copy_from_slice(&udp_len.to_be_bytes());
        room[VXLAN + 4..].copy_from_slice(&(vni.value() << 8).to_be_bytes());
    }
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
            addresses: (u32, u32), ports: (u16, u16), vni in 0u32..1 << 24, frame_len in 14u16..9000,
            tos: u8, ttl: u8, uniform: bool, macs: ([u8; 6], [u8; 6]),
        ) {
            let dscp = if uniform { DscpMode::Uniform } else { DscpMode::Pipe(46) };
            let encap = VxlanEncap {
                dst_mac: MacAddr::new(macs.0),
                src_mac: MacAddr::new(macs.1),
                src: Ipv4Addr::from_bits(addresses.0),
                dst: Ipv4Addr::from_bits(addresses.1),
                src_port: ports.0,
                dst_port: ports.1,
                vni: Vni::new(vni).unwrap(),
                tos: ecn::encapsulate(tos, dscp),
                ttl,
            };
            let mut right = [0; VXLAN_OVERHEAD];
            encap.write(&mut right, frame_len.into()).unwrap();
            let mut header = [0; ethernet::HEADER_LEN];
            ethernet::write_header(&mut header, encap.dst_mac, encap.src_mac, EtherType::IPV4);
            let mut room = [0xff; VXLAN_OVERHEAD];
            VxlanTemplate::new(encap.src, encap.dst_port, ttl, dscp).write(
                &mut room, |room| *room = header, encap.dst, encap.vni, encap.src_port, frame_len, tos,
            );
            prop_assert_eq!(room, right);
        }
    }
}
