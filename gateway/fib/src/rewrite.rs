//! What is put before a packet, ready to be copied.

use std::hint::select_unpredictable;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sekisho_types::{InterfaceId, MacAddr, SegmentId, Vni};

use crate::Link;
use crate::adjacency_lines::Line;

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

/// An adjacency of any kind, as its line is to have it.
///
/// | word | bits 0-31 | bits 32-39 | 40-47 | 48-63 |
/// |------|-----------|------------|-------|-------|
/// | 0 | the line's state, not part of this | kind | flags | link |
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
/// The bits of the first word that are the line's state.
pub(crate) const STATE_MASK: u64 = u32::MAX as u64;

impl Fields {
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
}

/// An adjacency of any kind, as a reader sees it: the first word, and the line whose other words are
/// read as they are asked for. They stay what they are until the reader's next burst boundary.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    head: u64,
    line: &'a Line,
}

impl<'a> Record<'a> {
    #[inline(always)]
    pub(crate) const fn new(head: u64, line: &'a Line) -> Self {
        Self { head, line }
    }

    /// All of it.
    pub(crate) fn fields(self) -> Fields {
        Fields {
            head: self.head & !STATE_MASK,
            egress: self.egress(),
            address: [self.line.word::<2>(), self.line.word::<3>()],
            ethernet: self.ethernet(),
        }
    }

    #[inline(always)]
    fn egress(self) -> u64 {
        self.line.word::<1>()
    }

    #[inline(always)]
    fn ethernet(self) -> [u64; 2] {
        [self.line.word::<4>(), self.line.word::<5>()]
    }

    #[inline(always)]
    pub(crate) const fn kind(self) -> u8 {
        (self.head >> 32) as u8
    }

    #[inline(always)]
    const fn link_number(self) -> u16 {
        (self.head >> 48) as u16
    }

    #[inline(always)]
    const fn is_v6(self) -> bool {
        self.head & IPV6 != 0
    }

    #[inline(always)]
    pub(crate) const fn link(self) -> Link {
        if self.head & VIA_SEGMENT == 0 {
            Link::Interface(InterfaceId::new(self.link_number()))
        } else {
            Link::Segment(SegmentId::new(self.link_number()))
        }
    }

    #[inline(always)]
    pub(crate) fn port(self) -> u16 {
        self.egress() as u16
    }

    #[inline(always)]
    pub(crate) fn mtu(self) -> u16 {
        (self.egress() >> 16) as u16
    }

    #[inline(always)]
    pub(crate) fn vni(self) -> Vni {
        let [_, _, _, _, _, a, b, c] = (self.egress() >> 32).to_be_bytes();
        Vni::from_octets([a, b, c])
    }

    /// The address if it is an IPv4 one.
    #[inline(always)]
    fn address_bits(self) -> u32 {
        self.line.word::<2>() as u32
    }

    #[inline(always)]
    pub(crate) fn address(self) -> IpAddr {
        if self.is_v6() {
            let [low, high] = [self.line.word::<2>(), self.line.word::<3>()];
            IpAddr::V6(Ipv6Addr::from_bits(low as u128 | (high as u128) << 64))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(self.address_bits()))
        }
    }

    pub(crate) fn destination(self) -> MacAddr {
        let [a, b, c, d, e, f, _, _] = self.ethernet()[0].to_le_bytes();
        MacAddr::new([a, b, c, d, e, f])
    }

    pub(crate) fn source(self) -> MacAddr {
        let [first, second] = self.ethernet();
        let [_, _, _, _, _, _, a, b] = first.to_le_bytes();
        let [c, d, e, f, _, _, _, _] = second.to_le_bytes();
        MacAddr::new([a, b, c, d, e, f])
    }

    /// Whether this is the tunnel to the endpoint with this Ethernet address, in the low 48 bits in
    /// memory order on a little-endian machine, in that segment behind that IPv4 VTEP.
    #[inline(always)]
    pub(crate) fn is_endpoint(self, segment: SegmentId, mac: u64, vtep: u32) -> bool {
        let head = (TUNNEL as u64) << 32 | VIA_SEGMENT | (segment.value() as u64) << 48;
        (self.head & !STATE_MASK == head)
            & (self.address_bits() == vtep)
            & (self.line.word::<4>() & MAC == mac)
    }
}

/// The octets of an Ethernet address in the first word of a header.
const MAC: u64 = 0xffff_ffff_ffff;

/// How a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewriteKind {
    /// From a port, to a neighbour.
    Ethernet,
    /// In a tunnel, to an endpoint behind a remote VTEP.
    Tunnel,
}

/// What a resolved adjacency puts before a packet, ready to be copied: one cache line, of which only
/// what is asked for is read. All of it is of one moment, and stays so until the reader's next
/// [`quiesce`](crate::Reader::quiesce).
#[derive(Clone, Copy)]
pub struct Rewrite<'a>(Record<'a>);

impl<'a> Rewrite<'a> {
    /// `None` if packets cannot leave that way.
    #[inline(always)]
    pub(crate) const fn of(record: Record<'a>) -> Option<Self> {
        match record.kind() {
            ETHERNET | TUNNEL => Some(Self(record)),
            _ => None,
        }
    }

    /// How the packet leaves.
    #[inline(always)]
    pub const fn kind(self) -> RewriteKind {
        if self.0.kind() == TUNNEL {
            RewriteKind::Tunnel
        } else {
            RewriteKind::Ethernet
        }
    }

    /// The DPDK port; 0 for a tunnel.
    #[inline(always)]
    pub fn port(self) -> u16 {
        self.0.port()
    }

    /// The uplink, unless this is a tunnel.
    #[inline(always)]
    pub const fn interface(self) -> InterfaceId {
        InterfaceId::new(self.0.link_number())
    }

    /// The segment, if this is a tunnel.
    #[inline(always)]
    pub const fn segment(self) -> SegmentId {
        SegmentId::new(self.0.link_number())
    }

    /// The longest IP packet, the inner one of a tunnel, in octets.
    #[inline(always)]
    pub fn mtu(self) -> u16 {
        self.0.mtu()
    }

    /// The segment's key on the wire; 0 unless this is a tunnel.
    #[inline(always)]
    pub fn vni(self) -> Vni {
        self.0.vni()
    }

    /// The neighbour, or the remote VTEP: the outer destination.
    #[inline(always)]
    pub fn address(self) -> IpAddr {
        self.0.address()
    }

    /// [`Self::address`] if it is an IPv4 address.
    #[inline(always)]
    pub fn address_v4(self) -> Option<Ipv4Addr> {
        (!self.0.is_v6()).then(|| Ipv4Addr::from_bits(self.0.address_bits()))
    }

    /// [`Self::address_v4`] in memory order, without a branch; 0 if it is an IPv6 address.
    #[inline(always)]
    pub fn address_word(self) -> u32 {
        select_unpredictable(self.0.is_v6(), 0, self.0.address_bits().to_be())
    }

    /// The Ethernet header before an IPv4 packet, the inner one of a tunnel.
    #[inline(always)]
    pub fn header_v4(self) -> [u8; HEADER] {
        header(self.0.ethernet())
    }

    /// [`Self::header_v4`], written where it belongs.
    #[inline(always)]
    pub fn write_header_v4(self, room: &mut [u8; HEADER]) {
        let [first, second] = self.0.ethernet();
        let (low, high) = room.split_at_mut(8);
        low.copy_from_slice(&first.to_le_bytes());
        high.copy_from_slice(&second.to_le_bytes()[..6]);
    }

    /// [`Self::header_v4`] in memory order on a little-endian machine; the last two octets are not
    /// part of it, and zero.
    #[inline(always)]
    pub fn ethernet_words(self) -> [u64; 2] {
        self.0.ethernet()
    }

    /// The destination of the Ethernet header, in the low 48 bits in memory order on a little-endian
    /// machine.
    #[inline(always)]
    pub fn destination_word(self) -> u64 {
        self.0.line.word::<4>() & MAC
    }

    /// The Ethernet header before an IPv6 packet, the inner one of a tunnel.
    #[inline(always)]
    pub fn header_v6(self) -> [u8; HEADER] {
        header(Self::ethernet_words_v6(self.0.ethernet()))
    }

    /// What [`Self::ethernet_words`] are before an IPv6 packet.
    #[inline(always)]
    pub const fn ethernet_words_v6([first, second]: [u64; 2]) -> [u64; 2] {
        let other = (ETHERTYPE_V4 ^ ETHERTYPE_V6) << ETHERTYPE_SHIFT;
        [first, second ^ other]
    }
}

#[inline]
const fn header([first, second]: [u64; 2]) -> [u8; HEADER] {
    let [a, b, c, d, e, f, g, h] = first.to_le_bytes();
    let [i, j, k, l, m, n, _, _] = second.to_le_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n]
}
