//! Where a packet goes next and what is put before it.

use std::fmt;
use std::net::IpAddr;

use sekisho_types::{InterfaceId, MacAddr, SegmentId, Vni};

use crate::rewrite::{ETHERNET, Fields, GLEAN, INCOMPLETE, Record, TUNNEL};

/// The stable number of an adjacency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdjacencyId(u32);

impl AdjacencyId {
    /// No adjacency's number.
    pub const NONE: Self = Self(u32::MAX);

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

impl Adjacency {
    /// Whether packets can leave this way: a path list uses only such members.
    pub const fn is_resolved(&self) -> bool {
        matches!(self, Self::Ethernet { .. } | Self::Tunnel { .. })
    }

    pub(crate) fn encode(&self) -> Fields {
        let mut fields = Fields::default();
        match self {
            Self::Drop => {}
            Self::Ethernet {
                port,
                interface,
                mtu,
                source,
                destination,
                next_hop,
            } => {
                fields.set_kind(ETHERNET);
                fields.set_link(Link::Interface(*interface));
                fields.set_egress(*port, *mtu, 0);
                fields.set_ethernet(*source, *destination);
                fields.set_address(*next_hop);
            }
            Self::Tunnel {
                segment,
                vni,
                vtep,
                mtu,
                inner_source,
                inner_destination,
            } => {
                fields.set_kind(TUNNEL);
                fields.set_link(Link::Segment(*segment));
                fields.set_egress(0, *mtu, vni.value());
                fields.set_ethernet(*inner_source, *inner_destination);
                fields.set_address(*vtep);
            }
            Self::Glean { link } => {
                fields.set_kind(GLEAN);
                fields.set_link(*link);
            }
            Self::Incomplete { link, next_hop } => {
                fields.set_kind(INCOMPLETE);
                fields.set_link(*link);
                fields.set_address(*next_hop);
            }
        }
        fields
    }

    pub(crate) fn decode(record: Record<'_>) -> Self {
        let link = record.link();
        match (record.kind(), link) {
            (ETHERNET, Link::Interface(interface)) => Self::Ethernet {
                port: record.port(),
                interface,
                mtu: record.mtu(),
                source: record.source(),
                destination: record.destination(),
                next_hop: record.address(),
            },
            (TUNNEL, Link::Segment(segment)) => Self::Tunnel {
                segment,
                vni: record.vni(),
                vtep: record.address(),
                mtu: record.mtu(),
                inner_source: record.source(),
                inner_destination: record.destination(),
            },
            (GLEAN, link) => Self::Glean { link },
            (INCOMPLETE, link) => Self::Incomplete {
                link,
                next_hop: record.address(),
            },
            _ => Self::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adjacency_lines::AdjacencyLines;
    use crate::{Rewrite, RewriteKind};

    #[test]
    fn every_kind_of_adjacency_survives_its_record() {
        let mac = |last| MacAddr::new([2, 0x80, 0, 0xff, 0x10, last]);
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
                let (lines, id) = (AdjacencyLines::new(1, 0).unwrap(), AdjacencyId::new(0));
                lines.create(id, &adjacency.encode());
                let record = lines.get(id).unwrap();
                assert_eq!(record.fields(), adjacency.encode());
                assert_eq!(Adjacency::decode(record), adjacency);
                let rewrite = Rewrite::of(record);
                assert_eq!(rewrite.is_some(), adjacency.is_resolved());
                if let Some(rewrite) = rewrite {
                    says_the_same(rewrite, &adjacency);
                }
            }
        }
    }

    fn says_the_same(rewrite: Rewrite<'_>, adjacency: &Adjacency) {
        let (macs, ours) = match *adjacency {
            Adjacency::Ethernet {
                port,
                interface,
                mtu,
                source,
                destination,
                next_hop,
            } => {
                assert_eq!(rewrite.kind(), RewriteKind::Ethernet);
                assert_eq!((rewrite.port(), rewrite.mtu()), (port, mtu));
                assert_eq!(rewrite.interface(), interface);
                assert_eq!(rewrite.address(), next_hop);
                (destination, source)
            }
            Adjacency::Tunnel {
                segment,
                vni,
                vtep,
                mtu,
                inner_source,
                inner_destination,
            } => {
                assert_eq!(rewrite.kind(), RewriteKind::Tunnel);
                assert_eq!((rewrite.segment(), rewrite.mtu()), (segment, mtu));
                assert_eq!((rewrite.vni(), rewrite.address()), (vni, vtep));
                let v4 = rewrite.address_v4();
                assert_eq!(v4.map(IpAddr::V4), Some(vtep).filter(IpAddr::is_ipv4));
                let word = v4.map_or(0, |address| u32::from_ne_bytes(address.octets()));
                assert_eq!(rewrite.address_word(), word);
                (inner_destination, inner_source)
            }
            _ => panic!("{adjacency:?} has no rewrite"),
        };
        let header = |ethertype: [u8; 2]| {
            let header = [&macs.octets()[..], &ours.octets(), &ethertype].concat();
            <[u8; 14]>::try_from(header).unwrap()
        };
        assert_eq!(rewrite.header_v4(), header([0x08, 0x00]));
        let words = rewrite.ethernet_words().map(u64::to_le_bytes);
        assert_eq!(words.concat()[..14], header([0x08, 0x00]));
        assert_eq!(rewrite.header_v6(), header([0x86, 0xdd]));
    }
}
