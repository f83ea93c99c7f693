//! What is put before a packet, ready to be copied.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sekisho_types::{InterfaceId, MacAddr, SegmentId, Vni};

use crate::Link;

// Kinds; 0 is `Adjacency::Drop`.
pub(crate) const ETHERNET: u8 = 1;
pub(crate) const TUNNEL: u8 = 2;
pub(crate) const GLEAN: u8 = 3;
pub(crate) const INCOMPLETE: u8 = 4;

const VIA_SEGMENT: u64 = 1 << 40;
const IPV6: u64 = 1 << 41;

/// Octets of an Ethernet header.
const HEADER: usize = 14;
const ETHERTYPE_V4: u64 = u16::from_le_bytes([0x08, 0x00]) as u64;
const ETHERTYPE_V6: u64 = u16::from_le_bytes([0x86, 0xdd]) as u64;
/// Where the Ethernet type is in the second word of the header.
const ETHERTYPE_SHIFT: u32 = 32;

/// An adjacency of any kind, as its record has it.
///
/// | word | bits 0-31 | bits 32-39 | 40-47 | 48-63 |
/// |------|-----------|------------|-------|-------|
/// | 0 | the record's state, not part of this | kind | flags | link |
/// | 1 | port 16, MTU 16 | VNI (32-63) | | |
/// | 2, 3 | next hop or VTEP, IPv4 in the low 32 bits | | | |
/// | 4, 5 | Ethernet header for IPv4, in memory order | | | |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Fields {
    head: u64,
    egress: u64,
    address: [u64; 2],
    ethernet: [u64; 2],
}

/// Words of [`Fields`].
pub(crate) const FIELD_WORDS: usize = 6;
const _: () = assert!(size_of::<Fields>() == FIELD_WORDS * 8);
/// The bits of the first word that are the record's.
pub(crate) const STATE_MASK: u64 = u32::MAX as u64;

impl Fields {
    #[inline]
    pub(crate) const fn from_words(words: [u64; FIELD_WORDS]) -> Self {
        let [head, egress, a, b, c, d] = words;
        Self {
            head: head & !STATE_MASK,
            egress,
            address: [a, b],
            ethernet: [c, d],
        }
    }

    pub(crate) const fn words(&self) -> [u64; FIELD_WORDS] {
        let ([a, b], [c, d]) = (self.address, self.ethernet);
        [self.head, self.egress, a, b, c, d]
    }

    pub(crate) const fn set_kind(&mut self, kind: u8) {
        self.head |= (kind as u64) << 32;
    }

    pub(crate) const fn set_link(&mut self, link: Link) {
        self.head |= match link {
            Link::Interface(id) => (id.value() as u64) << 48,
            Link::Segment(id) => (id.value() as u64) << 48 | VIA_SEGMENT,
        };
    }

    pub(crate) const fn set_egress(&mut self, port: u16, mtu: u16, vni: u32) {
        self.egress = port as u64 | (mtu as u64) << 16 | (vni as u64) << 32;
    }

    pub(crate) fn set_address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.address[0] = u32::from(address).into(),
            IpAddr::V6(address) => {
                let bits = u128::from(address);
                self.head |= IPV6;
                self.address = [bits as u64, (bits >> 64) as u64];
            }
        }
    }

    pub(crate) const fn set_ethernet(&mut self, source: MacAddr, destination: MacAddr) {
        let [a, b, c, d, e, f] = destination.octets();
        let [g, h, i, j, k, l] = source.octets();
        self.ethernet = [
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            u64::from_le_bytes([i, j, k, l, 0, 0, 0, 0]) | ETHERTYPE_V4 << ETHERTYPE_SHIFT,
        ];
    }

    #[inline]
    pub(crate) const fn kind(&self) -> u8 {
        (self.head >> 32) as u8
    }

    #[inline]
    const fn link_number(&self) -> u16 {
        (self.head >> 48) as u16
    }

    #[inline]
    pub(crate) const fn link(&self) -> Link {
        if self.head & VIA_SEGMENT == 0 {
            Link::Interface(InterfaceId::new(self.link_number()))
        } else {
            Link::Segment(SegmentId::new(self.link_number()))
        }
    }

    #[inline]
    pub(crate) const fn port(&self) -> u16 {
        self.egress as u16
    }

    #[inline]
    pub(crate) const fn mtu(&self) -> u16 {
        (self.egress >> 16) as u16
    }

    #[inline]
    pub(crate) const fn vni(&self) -> Vni {
        let [_, _, _, _, _, a, b, c] = (self.egress >> 32).to_be_bytes();
        Vni::from_octets([a, b, c])
    }

    #[inline]
    pub(crate) const fn address(&self) -> IpAddr {
        let [low, high] = self.address;
        if self.head & IPV6 == 0 {
            IpAddr::V4(Ipv4Addr::from_bits(low as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(low as u128 | (high as u128) << 64))
        }
    }

    #[inline]
    pub(crate) const fn destination(&self) -> MacAddr {
        let [a, b, c, d, e, f, _, _] = self.ethernet[0].to_le_bytes();
        MacAddr::new([a, b, c, d, e, f])
    }

    #[inline]
    pub(crate) const fn source(&self) -> MacAddr {
        let [_, _, _, _, _, _, a, b] = self.ethernet[0].to_le_bytes();
        let [c, d, e, f, _, _, _, _] = self.ethernet[1].to_le_bytes();
        MacAddr::new([a, b, c, d, e, f])
    }
}

/// How a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewriteKind {
    /// From a port, to a neighbour.
    Ethernet,
    /// In a tunnel, to an endpoint behind a remote VTEP.
    Tunnel,
}

/// What a resolved adjacency puts before a packet, ready to be copied: the content of one cache
/// line, decoded as far as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Rewrite(Fields);

const _: () = assert!(size_of::<Rewrite>() == 48);

impl Rewrite {
    /// `None` if packets cannot leave that way.
    #[inline]
    pub(crate) const fn of(fields: Fields) -> Option<Self> {
        match fields.kind() {
            ETHERNET | TUNNEL => Some(Self(fields)),
            _ => None,
        }
    }

    /// How the packet leaves.
    #[inline]
    pub const fn kind(&self) -> RewriteKind {
        if self.0.kind() == TUNNEL {
            RewriteKind::Tunnel
        } else {
            RewriteKind::Ethernet
        }
    }

    /// The DPDK port; 0 for a tunnel.
    #[inline]
    pub const fn port(&self) -> u16 {
        self.0.port()
    }

    /// The uplink, unless this is a tunnel.
    #[inline]
    pub const fn interface(&self) -> InterfaceId {
        InterfaceId::new(self.0.link_number())
    }

    /// The segment, if this is a tunnel.
    #[inline]
    pub const fn segment(&self) -> SegmentId {
        SegmentId::new(self.0.link_number())
    }

    /// The longest IP packet, the inner one of a tunnel, in octets.
    #[inline]
    pub const fn mtu(&self) -> u16 {
        self.0.mtu()
    }

    /// The segment's key on the wire; 0 unless this is a tunnel.
    #[inline]
    pub const fn vni(&self) -> Vni {
        self.0.vni()
    }

    /// The neighbour, or the remote VTEP: the outer destination.
    #[inline]
    pub const fn address(&self) -> IpAddr {
        self.0.address()
    }

    /// [`Self::address`] if it is an IPv4 address.
    #[inline]
    pub const fn address_v4(&self) -> Option<Ipv4Addr> {
        match self.0.address() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    /// The Ethernet header before an IPv4 packet, the inner one of a tunnel.
    #[inline]
    pub const fn header_v4(&self) -> [u8; HEADER] {
        header(self.0.ethernet)
    }

    /// The Ethernet header before an IPv6 packet, the inner one of a tunnel.
    #[inline]
    pub const fn header_v6(&self) -> [u8; HEADER] {
        let [first, second] = self.0.ethernet;
        header([
            first,
            second ^ (ETHERTYPE_V4 ^ ETHERTYPE_V6) << ETHERTYPE_SHIFT,
        ])
    }
}

#[inline]
const fn header([first, second]: [u64; 2]) -> [u8; HEADER] {
    let [a, b, c, d, e, f, g, h] = first.to_le_bytes();
    let [i, j, k, l, m, n, _, _] = second.to_le_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n]
}
