//! What packets of one IPv6 flow have in common, and a hash of it for ECMP and tunnels' source
//! ports.

use core::net::Ipv6Addr;

use sekisho_types::IpProtocol;

use crate::flow::{mix, multiply_fold, ports};
use crate::icmpv6::{Icmpv6, Icmpv6Type};
use crate::ipv6::{Ipv6, UpperLayer};

/// The 5-tuple of an IPv6 flow, in one direction.
///
/// The identifier of an ICMPv6 echo stands on the asking side, as in [`crate::FlowKey`]. Where
/// there are no ports to tell flows apart (a fragment, ESP) the flow label stands in for them
/// (RFC 6437 section 3); where there are, it is left out, for some senders change it within a
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey6 {
    /// The source address.
    pub src: Ipv6Addr,
    /// The destination address.
    pub dst: Ipv6Addr,
    /// The source port, or 0.
    pub sport: u16,
    /// The destination port, or 0.
    pub dport: u16,
    /// What follows the extension headers; of a fragment, what follows the fragment header.
    pub proto: IpProtocol,
    /// The flow label, if there are no ports.
    pub label: u32,
}

impl FlowKey6 {
    /// The key of a packet. All fragments of a packet have the same, without ports.
    #[inline]
    pub fn of(packet: &Ipv6<'_>, upper: &UpperLayer<'_>) -> Self {
        let (sport, dport) = match upper.protocol {
            _ if upper.fragment.is_some() => (0, 0),
            IpProtocol::ICMPV6 => {
                Icmpv6::new(upper.payload).map_or((0, 0), |icmp| match icmp.message_type() {
                    Icmpv6Type::ECHO_REQUEST => (icmp.identifier(), 0),
                    Icmpv6Type::ECHO_REPLY => (0, icmp.identifier()),
                    _ => (0, 0),
                })
            }
            protocol => ports(protocol, upper.payload).unwrap_or((0, 0)),
        };
        let label = if (sport, dport) == (0, 0) {
            packet.flow_label()
        } else {
            0
        };
        // Later fragments do not tell what follows the headers behind the fragment header.
        let proto = match upper.fragment {
            Some(_) => IpProtocol(0),
            None => upper.protocol,
        };
        Self {
            src: packet.src(),
            dst: packet.dst(),
            sport,
            dport,
            proto,
            label,
        }
    }

    /// A well-mixed hash; another `seed` gives an unrelated one. Not meant to withstand somebody
    /// who chooses keys to collide.
    #[inline]
    pub const fn hash(self, seed: u64) -> u32 {
        let (src, dst) = (self.src.to_bits(), self.dst.to_bits());
        let src = multiply_fold(
            (src >> 64) as u64 ^ 0x2d35_8dcc_aa6c_78a5,
            src as u64 ^ seed,
        );
        let dst = multiply_fold(
            (dst >> 64) as u64 ^ 0x8bb8_4b93_962e_acc9,
            dst as u64 ^ seed,
        );
        let ports = (self.sport as u64) << 16 | self.dport as u64;
        let rest = (self.proto.0 as u64) << 56 | (self.label as u64) << 32 | ports;
        mix(src ^ dst.rotate_left(32), rest, seed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::flow::tunnel_source_port;
    use crate::ipv6::{HEADER_LEN, Ipv6Fields};

    fn key(n: u32) -> FlowKey6 {
        FlowKey6 {
            src: Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n / 100)),
            dst: "2001:db8:ffff::1".parse().unwrap(),
            sport: 40_000 + (n % 100) as u16,
            dport: 443,
            proto: IpProtocol::TCP,
            label: 0,
        }
    }

    fn key_of(next: u8, label: u8, payload: &[u8]) -> FlowKey6 {
        let mut bytes = vec![0; HEADER_LEN];
        Ipv6Fields {
            traffic_class: 0,
            payload_len: payload.len() as u16,
            next_header: IpProtocol(next),
            hop_limit: 64,
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8::2".parse().unwrap(),
        }
        .write(bytes.first_chunk_mut().unwrap());
        bytes[3] = label;
        bytes.extend(payload);
        let view = Ipv6::new(&bytes).unwrap();
        FlowKey6::of(&view, &view.upper_layer().unwrap())
    }

    #[test]
    fn v05_source_ports_of_ten_thousand_flows_fill_the_range() {
        let port = |n| tunnel_source_port(key(n).hash(7));
        let ports: HashSet<u16> = (0..10_000).map(port).collect();
        assert!(ports.iter().all(|port| *port >= 49152));
        assert!(ports.len() > 7_200, "{}", ports.len());
    }

    #[test]
    fn every_bit_of_the_hash_spreads_flows_evenly() {
        for bit in 0..32 {
            let ones: u32 = (0..10_000).map(|n| key(n).hash(3) >> bit & 1).sum();
            assert!((4_700..5_300).contains(&ones), "bit {bit}: {ones}");
        }
    }

    #[test]
    fn each_field_and_the_seed_change_the_hash() {
        let base = key(0);
        let (src, dst) = (base.dst, base.src);
        let others = [
            FlowKey6 { src, dst, ..base },
            FlowKey6 { src, ..base },
            FlowKey6 { dst, ..base },
            FlowKey6 { sport: 1, ..base },
            FlowKey6 { dport: 1, ..base },
            FlowKey6 { label: 1, ..base },
            FlowKey6 {
                proto: IpProtocol::UDP,
                ..base
            },
        ];
        let mut hashes: HashSet<u32> = others.iter().map(|key| key.hash(9)).collect();
        hashes.insert(base.hash(9));
        hashes.insert(base.hash(10));
        assert_eq!(hashes.len(), 9);
    }

    #[test]
    fn the_label_counts_only_where_there_are_no_ports() {
        let udp = [0x9c, 0x40, 0, 53, 0, 8, 0, 0];
        assert_eq!(key_of(17, 1, &udp), key_of(17, 2, &udp));
        assert_eq!(key_of(17, 1, &udp).dport, 53);
        assert_ne!(key_of(50, 1, &[0; 8]), key_of(50, 2, &[0; 8]));
        let (request, reply) = ([128, 0, 0, 0, 1, 2, 0, 0], [129, 0, 0, 0, 1, 2, 0, 0]);
        assert_eq!(key_of(58, 1, &request).sport, 0x102);
        assert_eq!(key_of(58, 1, &reply).dport, 0x102);
    }

    #[test]
    fn all_fragments_of_a_packet_are_one_flow() {
        let first = [17, 0, 0, 1, 0, 0, 0, 9, 0x9c, 0x40, 0, 53, 0, 8, 0, 0];
        let later = [17, 0, 0, 8, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(key_of(44, 3, &first), key_of(44, 3, &later));
    }
}
