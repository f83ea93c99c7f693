//! What packets of one flow have in common, and a hash of it for ECMP and tunnels' source ports.

use core::net::Ipv4Addr;

use sekisho_types::{IpProtocol, MacAddr};

use crate::error::PacketError;
use crate::icmpv4::{Icmpv4, Icmpv4Type};
use crate::ipv4::Ipv4;

const SCTP: IpProtocol = IpProtocol(132);
const DCCP: IpProtocol = IpProtocol(33);
pub(crate) const UDP_LITE: IpProtocol = IpProtocol(136);

/// The 5-tuple of an IPv4 flow, in one direction.
///
/// The identifier of an ICMP echo stands on the asking side: a request is from (`src`, id) to
/// (`dst`, 0), its reply from (`src`, 0) to (`dst`, id). Other messages have ports 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The source address.
    pub src: Ipv4Addr,
    /// The destination address.
    pub dst: Ipv4Addr,
    /// The source port, or 0.
    pub sport: u16,
    /// The destination port, or 0.
    pub dport: u16,
    /// The protocol.
    pub proto: IpProtocol,
}

impl FlowKey {
    /// The key with ports, of a packet or first fragment.
    ///
    /// # Errors
    /// [`PacketError::NoTransport`] for a later fragment, or when the L4 header is cut short.
    #[inline]
    pub fn with_ports(packet: &Ipv4<'_>) -> Result<Self, PacketError> {
        let refusal = PacketError::NoTransport;
        if !packet.has_l4_header() {
            return Err(refusal);
        }
        let protocol = packet.protocol();
        let (sport, dport) = if protocol == IpProtocol::ICMP {
            echo_ports(&Icmpv4::new(packet.payload()).map_err(|_| refusal)?)
        } else {
            ports(protocol, packet.payload()).ok_or(refusal)?
        };
        Ok(Self {
            sport,
            dport,
            ..Self::without_ports(packet)
        })
    }

    /// The key with ports 0, which all fragments of a packet share.
    #[inline]
    pub fn without_ports(packet: &Ipv4<'_>) -> Self {
        Self {
            src: packet.src(),
            dst: packet.dst(),
            sport: 0,
            dport: 0,
            proto: packet.protocol(),
        }
    }

    /// The key of packets the other way.
    #[inline]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            proto: self.proto,
        }
    }

    /// A well-mixed hash; another `seed` gives an unrelated one. Not meant to withstand somebody
    /// who chooses keys to collide.
    #[inline]
    pub const fn hash(self, seed: u64) -> u32 {
        let ports = self.sport.swap_bytes() as u32 | (self.dport.swap_bytes() as u32) << 16;
        hash_words(
            u32::from_le_bytes(self.src.octets()),
            u32::from_le_bytes(self.dst.octets()),
            ports,
            self.proto.0,
            seed,
        )
    }
}

/// [`FlowKey::hash`] of addresses and ports as little-endian loads of them give them: steps of 32 bits,
/// so that the packets of a burst can be hashed eight in an instruction.
#[inline(always)]
pub(crate) const fn hash_words(src: u32, dst: u32, ports: u32, protocol: u8, seed: u64) -> u32 {
    let hash = step(seed as u32 ^ src, 0x85eb_ca6b);
    let hash = step(hash ^ dst, 0xc2b2_ae35);
    let hash = step(hash ^ ports, 0x9e37_79b1);
    let last = (seed >> 32) as u32 ^ protocol as u32;
    let hash = step(hash ^ last, 0x85eb_ca6b);
    step(hash, 0xc2b2_ae35)
}

/// A round of MurmurHash3's last mixing.
#[inline(always)]
const fn step(hash: u32, factor: u32) -> u32 {
    let hash = (hash ^ hash >> 16).wrapping_mul(factor);
    hash ^ hash >> 13
}

/// A hash of a frame that is no IPv4 packet, for [`tunnel_source_port`].
#[inline]
pub const fn ethernet_hash(dst: MacAddr, src: MacAddr, seed: u64) -> u32 {
    let [a, b, c, d, e, f] = dst.octets();
    let [g, h, i, j, k, l] = src.octets();
    mix(
        u64::from_be_bytes([0, 0, a, b, c, d, e, f]),
        u64::from_be_bytes([0, 0, g, h, i, j, k, l]),
        seed,
    )
}

/// The outer UDP source port of a tunnel for an inner flow: 49152 to 65535 (RFC 7348 section 5).
///
/// Mixed once more, so that routers that spread by this port do not repeat our own choice of path.
#[inline]
pub const fn tunnel_source_port(hash: u32) -> u16 {
    let mixed = hash.wrapping_mul(0x9e37_79b1);
    0xc000 | (mixed >> 18) as u16
}

/// Two rounds of multiply and fold, as in wyhash.
pub(crate) const fn mix(a: u64, b: u64, seed: u64) -> u32 {
    let first = multiply_fold(a ^ 0xa076_1d64_78bd_642f, seed ^ 0xe703_7ed1_a0b4_28db);
    let second = multiply_fold(b ^ first, seed.rotate_left(32) ^ 0x8ebc_6af0_9c88_c6e3);
    (second ^ (second >> 32)) as u32
}

pub(crate) const fn multiply_fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// Source and destination port at the start of `l4`: 0 and 0 for a protocol without ports, nothing
/// when they are cut off.
#[inline]
pub(crate) fn ports(protocol: IpProtocol, l4: &[u8]) -> Option<(u16, u16)> {
    match protocol {
        IpProtocol::TCP | IpProtocol::UDP | SCTP | DCCP | UDP_LITE => {
            let &[a, b, c, d] = l4.first_chunk()?;
            Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
        }
        _ => Some((0, 0)),
    }
}

/// The ports an ICMP message stands for: see [`FlowKey`].
#[inline]
pub(crate) fn echo_ports(icmp: &Icmpv4<'_>) -> (u16, u16) {
    match icmp.message_type() {
        Icmpv4Type::ECHO_REQUEST => (icmp.identifier(), 0),
        Icmpv4Type::ECHO_REPLY => (0, icmp.identifier()),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key(n: u32) -> FlowKey {
        FlowKey {
            src: Ipv4Addr::from_bits(0x0a00_0000 + n / 100),
            dst: Ipv4Addr::new(192, 0, 2, 1),
            sport: 40_000 + (n % 100) as u16,
            dport: 443,
            proto: IpProtocol::TCP,
        }
    }

    #[test]
    fn v05_source_ports_of_ten_thousand_flows_fill_the_range() {
        let port = |n| tunnel_source_port(key(n).hash(7));
        let ports: HashSet<u16> = (0..10_000).map(port).collect();
        assert!(ports.iter().all(|port| *port >= 49152));
        // 16384 places and 10^4 balls: 7485 are expected to be taken, give or take 50.
        assert!(ports.len() > 7_200, "{}", ports.len());
    }

    #[test]
    fn enc_7_256_flows_give_more_than_200_ports() {
        let ports: HashSet<u16> = (0..256)
            .map(|n| tunnel_source_port(key(n).hash(1)))
            .collect();
        assert!(ports.len() > 200, "{}", ports.len());
    }

    #[test]
    fn every_bit_of_the_hash_spreads_flows_evenly() {
        for bit in 0..32 {
            let ones: u32 = (0..10_000).map(|n| key(n).hash(3) >> bit & 1).sum();
            assert!((4_700..5_300).contains(&ones), "bit {bit}: {ones}");
        }
    }

    #[test]
    fn ports_stay_spread_among_flows_that_took_one_ecmp_path() {
        let took_path: [fn(u32) -> bool; 2] = [|hash| hash % 4 == 0, |hash| hash >> 30 == 0];
        for took_path in took_path {
            let ports: HashSet<u16> = (0..40_000)
                .map(|n| key(n).hash(5))
                .filter(|hash| took_path(*hash))
                .map(tunnel_source_port)
                .collect();
            assert!(ports.len() > 7_000, "{}", ports.len());
        }
    }

    #[test]
    fn each_field_and_the_seed_change_the_hash() {
        let base = key(0);
        let others = [
            FlowKey {
                src: base.dst,
                ..base
            },
            FlowKey {
                dst: base.src,
                ..base
            },
            FlowKey { sport: 1, ..base },
            FlowKey { dport: 1, ..base },
            FlowKey {
                proto: IpProtocol::UDP,
                ..base
            },
            base.reversed(),
        ];
        let mut hashes: HashSet<u32> = others.iter().map(|key| key.hash(9)).collect();
        hashes.insert(base.hash(9));
        hashes.insert(base.hash(10));
        assert_eq!(hashes.len(), 8);
    }

    #[test]
    fn frames_that_are_no_ip_have_a_hash_too() {
        let (a, b) = (MacAddr::BROADCAST, MacAddr::new([2, 0, 0, 0, 0, 1]));
        assert_ne!(ethernet_hash(a, b, 0), ethernet_hash(b, a, 0));
    }
}
