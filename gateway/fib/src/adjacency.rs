//! Where a packet goes next and what is put before it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sekisho_types::{InterfaceId, MacAddr, SegmentId, Vni};

use crate::records::Record;

/// The stable number of an adjacency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdjacencyId(u32);

impl AdjacencyId {
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The number as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for AdjacencyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where neighbours are found: on an uplink or in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// An uplink.
    Interface(InterfaceId),
    /// A segment of a tenant.
    Segment(SegmentId),
}

/// Where a packet goes next and what is put before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjacency {
    /// Nowhere.
    Drop,
    /// A resolved neighbour on an uplink.
    Ethernet {
        /// The DPDK port.
        port: u16,
        /// The uplink.
        interface: InterfaceId,
        /// The longest IP packet the uplink takes, in octets.
        mtu: u16,
        /// Ours.
        source: MacAddr,
        /// The neighbour's.
        destination: MacAddr,
        /// The neighbour.
        next_hop: IpAddr,
    },
    /// An endpoint behind a remote VTEP.
    Tunnel {
        /// The segment.
        segment: SegmentId,
        /// The segment's key on the wire.
        vni: Vni,
        /// Where the tunnel ends: the outer destination, to be looked up in the provider VRF.
        vtep: IpAddr,
        /// The longest inner IP packet, in octets.
        mtu: u16,
        /// The segment gateway's inner address.
        inner_source: MacAddr,
        /// The endpoint's inner address.
        inner_destination: MacAddr,
    },
    /// Neighbours of a link that are yet to be found: resolve the packet's destination.
    Glean {
        /// The link.
        link: Link,
    },
    /// One neighbour that is yet to be found.
    Incomplete {
        /// Its link.
        link: Link,
        /// The neighbour.
        next_hop: IpAddr,
    },
}

/// Words of an adjacency's record: one cache line.
pub(crate) const WORDS: usize = 8;

const DROP: u8 = 0;
const ETHERNET: u8 = 1;
const TUNNEL: u8 = 2;
const GLEAN: u8 = 3;
const INCOMPLETE: u8 = 4;

const VIA_INTERFACE: u8 = 0;
const VIA_SEGMENT: u8 = 1;

/// The first word: what every kind has, and the address family of the second and third.
#[derive(Default)]
struct Head {
    kind: u8,
    /// [`VIA_INTERFACE`] or [`VIA_SEGMENT`] in bit 0, IPv6 in bit 1.
    flags: u8,
    link: u16,
    port: u16,
    mtu: u16,
}

const IPV6: u8 = 2;

impl Head {
    const fn pack(&self) -> u64 {
        self.kind as u64
            | (self.flags as u64) << 8
            | (self.link as u64) << 16
            | (self.port as u64) << 32
            | (self.mtu as u64) << 48
    }

    const fn unpack(word: u64) -> Self {
        Self {
            kind: word as u8,
            flags: (word >> 8) as u8,
            link: (word >> 16) as u16,
            port: (word >> 32) as u16,
            mtu: (word >> 48) as u16,
        }
    }

    fn link(&self) -> Link {
        if self.flags & VIA_SEGMENT == 0 {
            Link::Interface(InterfaceId::new(self.link))
        } else {
            Link::Segment(SegmentId::new(self.link))
        }
    }
}

impl Adjacency {
    /// Whether packets can leave this way: a path list uses only such members.
    pub const fn is_resolved(&self) -> bool {
        matches!(self, Self::Ethernet { .. } | Self::Tunnel { .. })
    }

    pub(crate) fn encode(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        let mut head = Head::default();
        let mut address = None;
        let link_of = |link: &Link| match link {
            Link::Interface(id) => (VIA_INTERFACE, id.value()),
            Link::Segment(id) => (VIA_SEGMENT, id.value()),
        };
        match self {
            Self::Drop => head.kind = DROP,
            Self::Ethernet {
                port,
                interface,
                mtu,
                source,
                destination,
                next_hop,
            } => {
                head = Head {
                    kind: ETHERNET,
                    flags: VIA_INTERFACE,
                    link: interface.value(),
                    port: *port,
                    mtu: *mtu,
                };
                address = Some(*next_hop);
                words[3] = mac_word(*source);
                words[4] = mac_word(*destination);
            }
            Self::Tunnel {
                segment,
                vni,
                vtep,
                mtu,
                inner_source,
                inner_destination,
            } => {
                head = Head {
                    kind: TUNNEL,
                    flags: VIA_SEGMENT,
                    link: segment.value(),
                    port: 0,
                    mtu: *mtu,
                };
                address = Some(*vtep);
                words[3] = mac_word(*inner_source);
                words[4] = mac_word(*inner_destination);
                words[5] = vni.value().into();
            }
            Self::Glean { link } => {
                head.kind = GLEAN;
                (head.flags, head.link) = link_of(link);
            }
            Self::Incomplete { link, next_hop } => {
                head.kind = INCOMPLETE;
                (head.flags, head.link) = link_of(link);
                address = Some(*next_hop);
            }
        }
        match address {
            Some(IpAddr::V4(address)) => words[1] = u32::from(address).into(),
            Some(IpAddr::V6(address)) => {
                let bits = u128::from(address);
                head.flags |= IPV6;
                words[1] = bits as u64;
                words[2] = (bits >> 64) as u64;
            }
            None => {}
        }
        words[0] = head.pack();
        words
    }

    #[inline]
    pub(crate) fn decode(record: &Record<'_, WORDS>) -> Self {
        let head = Head::unpack(record.word(0));
        let address = || {
            if head.flags & IPV6 == 0 {
                IpAddr::V4(Ipv4Addr::from(record.word(1) as u32))
            } else {
                let bits = u128::from(record.word(1)) | u128::from(record.word(2)) << 64;
                IpAddr::V6(Ipv6Addr::from(bits))
            }
        };
        match head.kind {
            ETHERNET => Self::Ethernet {
                port: head.port,
                interface: InterfaceId::new(head.link),
                mtu: head.mtu,
                source: mac_from(record.word(3)),
                destination: mac_from(record.word(4)),
                next_hop: address(),
            },
            TUNNEL => {
                let [_, _, _, _, _, a, b, c] = record.word(5).to_be_bytes();
                Self::Tunnel {
                    segment: SegmentId::new(head.link),
                    vni: Vni::from_octets([a, b, c]),
                    vtep: address(),
                    mtu: head.mtu,
                    inner_source: mac_from(record.word(3)),
                    inner_destination: mac_from(record.word(4)),
                }
            }
            GLEAN => Self::Glean { link: head.link() },
            INCOMPLETE => Self::Incomplete {
                link: head.link(),
                next_hop: address(),
            },
            _ => Self::Drop,
        }
    }
}

/// The octets in the word's low six, in memory order on a little-endian machine.
fn mac_word(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.octets();
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

#[inline]
fn mac_from(word: u64) -> MacAddr {
    let [a, b, c, d, e, f, _, _] = word.to_le_bytes();
    MacAddr::new([a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Records;

    #[test]
    fn every_kind_of_adjacency_survives_its_record() {
        let mac = |last| MacAddr::new([2, 0x80, 0, 0xff, 0x10, last]);
        let records = Records::new(1, 1).unwrap();
        for next_hop in ["198.51.100.254", "2001:db8::ff00:1"] {
            let next_hop: IpAddr = next_hop.parse().unwrap();
            for adjacency in [
                Adjacency::Drop,
                Adjacency::Ethernet {
                    port: 0xfedc,
                    interface: InterfaceId::new(0xabcd),
                    mtu: 9216,
                    source: mac(1),
                    destination: mac(2),
                    next_hop,
                },
                Adjacency::Tunnel {
                    segment: SegmentId::new(u16::MAX),
                    vni: Vni::MAX,
                    vtep: next_hop,
                    mtu: 1450,
                    inner_source: mac(3),
                    inner_destination: mac(4),
                },
                Adjacency::Glean {
                    link: Link::Interface(InterfaceId::new(3)),
                },
                Adjacency::Glean {
                    link: Link::Segment(SegmentId::new(4)),
                },
                Adjacency::Incomplete {
                    link: Link::Segment(SegmentId::new(5)),
                    next_hop,
                },
            ] {
                records.fill(0, adjacency.encode());
                records.publish(0, Some(0));
                let decoded = Adjacency::decode(&records.get(0).unwrap());
                assert_eq!(decoded, adjacency);
            }
        }
    }

    #[test]
    fn an_index_without_a_record_and_one_beyond_the_table_name_nothing() {
        let records = Records::<WORDS>::new(1, 1).unwrap();
        assert!(records.get(0).is_none());
        assert!(records.get(1).is_none());
    }
}
