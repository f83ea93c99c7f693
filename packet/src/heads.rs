//! Regular packets of a burst: what nearly all traffic is, read at fixed offsets and judged together.
//!
//! A regular packet is an IPv4 packet without options and not a fragment, carrying a whole TCP or
//! UDP header, with an intact header checksum, a time to live of at least 2, and addresses that may
//! be routed. Everything else is somebody else's to look at: what is not regular is not necessarily
//! wrong.
//!
//! Headers are kept word by word, each word of all packets in one array, as they are in memory on a
//! little-endian machine: judging them is arithmetic on arrays without a branch, eight packets in an
//! instruction.

use core::net::Ipv4Addr;

use sekisho_types::IpProtocol;

use crate::flow::hash_words;

/// Packets judged together.
pub const LANES: usize = 64;
/// Octets of a packet that are looked at, from its IP header on.
pub const HEAD: usize = 38;

const IP: u32 = 20;
const TCP: u32 = IpProtocol::TCP.0 as u32;
const UDP: u32 = IpProtocol::UDP.0 as u32;
/// More fragments, and the offset of a fragment, in the second word.
const FRAGMENT: u32 = u32::from_le_bytes([0, 0, 0x3f, 0xff]);

/// A word of every packet.
type Words = [u32; LANES];

/// The first octets of the packets of a burst, each in a lane.
#[derive(Clone, Debug)]
pub struct Heads {
    /// Version and header length, type of service, total length.
    first: Words,
    /// Identification, flags, fragment offset.
    second: Words,
    /// Time to live, protocol, checksum.
    third: Words,
    src: Words,
    dst: Words,
    ports: Words,
    /// UDP's length and checksum, or TCP's sequence number.
    l4: Words,
    /// TCP's acknowledgment number.
    ack: Words,
    /// TCP's data offset, flags and window.
    tail: Words,
    /// TCP's checksum.
    tcp_sum: Words,
    /// Octets there are from the IP header on.
    room: Words,
}

/// What a TCP header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Octets of payload.
    pub len: u16,
    /// Flags.
    pub flags: u8,
}

/// What tunnel packets are told by.
#[derive(Clone, Copy, Debug)]
pub struct TunnelEnd {
    dst: u32,
    port: u32,
}

impl TunnelEnd {
    /// Tunnels end at this address and UDP port.
    pub const fn new(dst: Ipv4Addr, port: u16) -> Self {
        Self {
            dst: u32::from_le_bytes(dst.octets()),
            port: port.swap_bytes() as u32,
        }
    }
}

impl Default for Heads {
    fn default() -> Self {
        Self::NONE
    }
}

impl Heads {
    /// Of no packets: none is regular.
    pub const NONE: Self = Self {
        first: [0; LANES],
        second: [0; LANES],
        third: [0; LANES],
        src: [0; LANES],
        dst: [0; LANES],
        ports: [0; LANES],
        l4: [0; LANES],
        ack: [0; LANES],
        tail: [0; LANES],
        tcp_sum: [0; LANES],
        room: [0; LANES],
    };

    /// Puts the packet that begins with `head`, and has `room` octets at most, into a lane. What of
    /// `head` is beyond that is not minded.
    #[inline(always)]
    pub fn set(&mut self, lane: usize, head: &[u8; HEAD], room: u32) {
        let lane = lane % LANES;
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        self.first[lane] = word(0);
        self.second[lane] = word(4);
        self.third[lane] = word(8);
        self.src[lane] = word(12);
        self.dst[lane] = word(16);
        self.ports[lane] = word(20);
        self.l4[lane] = word(24);
        self.ack[lane] = word(28);
        self.tail[lane] = word(32);
        self.tcp_sum[lane] = u16::from_le_bytes([head[36], head[37]]).into();
        self.room[lane] = room;
    }

    /// The lanes whose packets are regular, a bit each.
    #[inline(never)]
    pub fn regular(&self) -> u64 {
        let mut regular = [0; LANES];
        for (lane, regular) in regular.iter_mut().enumerate() {
            let protocol = self.third[lane] >> 8 & 0xff;
            let (is_tcp, is_udp) = (protocol == TCP, protocol == UDP);
            let total = swapped_high(self.first[lane]);
            let l4 = total.wrapping_sub(IP);
            let offset = self.tail[lane] >> 2 & 0x3c;
            let header = if is_tcp { offset } else { 8 };
            let least = if is_tcp { 20 } else { 8 };
            let length = if is_udp {
                swapped_low(self.l4[lane])
            } else {
                8
            };
            let (src, dst) = (self.src[lane], self.dst[lane]);
            let fits = (total <= self.room[lane])
                & (total >= 28)
                & (header >= least)
                & (header <= l4)
                & (length >= 8)
                & (length <= l4)
                & (is_tcp | is_udp);
            let routable = may_route(src) & may_route(dst) & (src != dst);
            let alive = self.third[lane] & 0xfe != 0;
            *regular = u8::from(self.is_sound(lane) & fits & routable & alive);
        }
        bits(&regular)
    }

    /// The lanes whose packets are for this end of tunnels, well formed or not.
    #[inline(never)]
    pub fn for_tunnels(&self, end: TunnelEnd) -> u64 {
        let mut ours = [0; LANES];
        for (lane, ours) in ours.iter_mut().enumerate() {
            let is_ours = (self.dst[lane] == end.dst)
                & (self.ports[lane] >> 16 == end.port)
                & (self.third[lane] >> 8 & 0xff == UDP);
            *ours = u8::from(is_ours);
        }
        bits(&ours)
    }

    /// The lanes of packets without options that are no fragments, with an intact header checksum, and
    /// a datagram, if that is what they hold, that goes to their end. The UDP checksum is not looked at.
    #[inline(never)]
    pub fn datagrams(&self) -> u64 {
        let mut sound = [0; LANES];
        for (lane, sound) in sound.iter_mut().enumerate() {
            let total = swapped_high(self.first[lane]);
            let length = swapped_low(self.l4[lane]);
            let fits =
                (total <= self.room[lane]) & (length == total.wrapping_sub(IP)) & (length >= 8);
            *sound = u8::from(self.is_sound(lane) & fits);
        }
        bits(&sound)
    }

    /// Version 4, no options, no fragment, intact. A sum of 16-bit words is all ones exactly if the
    /// checksum is right, in either byte order (RFC 1071 section 2).
    #[inline(always)]
    fn is_sound(&self, lane: usize) -> bool {
        let (first, second) = (self.first[lane], self.second[lane]);
        let sum = halves(first)
            + halves(second)
            + halves(self.third[lane])
            + halves(self.src[lane])
            + halves(self.dst[lane]);
        let intact = fold(sum) == 0xffff;
        (first & 0xff == 0x45) & (second & FRAGMENT == 0) & intact
    }

    /// Octets of each packet, and its type of service.
    pub fn outline(&self, lens: &mut [u16; LANES], tos: &mut [u8; LANES]) {
        for lane in 0..LANES {
            lens[lane] = swapped_high(self.first[lane]) as u16;
            tos[lane] = (self.first[lane] >> 8) as u8;
        }
    }

    /// Of each packet, that its addresses and ports stay as they are.
    pub fn unchanged(&self, changes: &mut Changes) {
        changes.src = self.src;
        changes.dst = self.dst;
        changes.ports = self.ports;
    }

    /// What the time to live and the checksums of each packet become, once its addresses and ports
    /// are known. A checksum `c` becomes `!fold(!c + delta)`, where the delta is the sum of the
    /// complements of old words and of new ones (RFC 1624 equation 3).
    #[inline(never)]
    pub fn settle(&self, changes: &mut Changes) {
        for lane in 0..LANES {
            let third = self.third[lane];
            let is_udp = third >> 8 & 0xff == UDP;
            let delta = halves(!self.src[lane])
                + halves(changes.src[lane])
                + halves(!self.dst[lane])
                + halves(changes.dst[lane]);
            // The octet of the time to live is the low one of its word.
            let sum = fold((!third >> 16) + delta + TTL_DELTA);
            changes.third[lane] = third.wrapping_sub(1) & 0xffff | (!sum << 16);
            let old = if is_udp {
                self.l4[lane] >> 16
            } else {
                self.tcp_sum[lane]
            };
            let ports = halves(!self.ports[lane]) + halves(changes.ports[lane]);
            let new = !fold((!old & 0xffff) + delta + ports) & 0xffff;
            // RFC 768: a checksum of zero means none, and stays; a computed one is sent as all ones.
            let new = if is_udp & (new == 0) { 0xffff } else { new };
            changes.l4_sum[lane] = if is_udp & (old == 0) { 0 } else { new };
        }
    }

    /// Type of service.
    #[inline(always)]
    pub const fn tos(&self, lane: usize) -> u8 {
        (self.first[lane % LANES] >> 8) as u8
    }

    /// The protocol: 6 or 17 of a regular packet.
    #[inline(always)]
    pub const fn protocol(&self, lane: usize) -> u8 {
        (self.third[lane % LANES] >> 8) as u8
    }

    /// The lanes that hold TCP segments, if they are regular.
    #[inline(never)]
    pub fn tcp(&self) -> u64 {
        let mut tcp = [0; LANES];
        for (tcp, third) in tcp.iter_mut().zip(&self.third) {
            *tcp = u8::from(third >> 8 & 0xff == TCP);
        }
        bits(&tcp)
    }

    /// The source address, as it is in memory.
    #[inline(always)]
    pub const fn src(&self, lane: usize) -> u32 {
        self.src[lane % LANES]
    }

    /// The destination address, as it is in memory.
    #[inline(always)]
    pub const fn dst(&self, lane: usize) -> u32 {
        self.dst[lane % LANES]
    }

    /// The source port and the destination port, as they are in memory.
    #[inline(always)]
    pub const fn ports(&self, lane: usize) -> u32 {
        self.ports[lane % LANES]
    }

    /// The hash of each packet's flow, as [`FlowKey::hash`](crate::flow::FlowKey::hash) has it.
    #[inline(never)]
    pub fn hash(&self, seed: u64, hashes: &mut [u32; LANES]) {
        for (lane, hash) in hashes.iter_mut().enumerate() {
            let protocol = (self.third[lane] >> 8) as u8;
            let (src, dst, ports) = (self.src[lane], self.dst[lane], self.ports[lane]);
            *hash = hash_words(src, dst, ports, protocol, seed);
        }
    }

    /// The source address of each packet.
    #[inline(always)]
    pub fn sources(&self) -> [Ipv4Addr; LANES] {
        self.src
            .map(|word| Ipv4Addr::from_octets(word.to_le_bytes()))
    }

    /// The destination address of each packet.
    #[inline(always)]
    pub fn destinations(&self) -> [Ipv4Addr; LANES] {
        self.dst
            .map(|word| Ipv4Addr::from_octets(word.to_le_bytes()))
    }

    /// What the TCP header says of a regular packet that is a segment.
    #[inline(always)]
    pub const fn segment(&self, lane: usize) -> Segment {
        let lane = lane % LANES;
        let tail = self.tail[lane];
        let headers = IP + (tail >> 2 & 0x3c);
        Segment {
            seq: self.l4[lane].swap_bytes(),
            ack: self.ack[lane].swap_bytes(),
            len: swapped_high(self.first[lane]).saturating_sub(headers) as u16,
            flags: (tail >> 8) as u8,
        }
    }
}

/// What the packets of a burst become.
#[derive(Clone, Debug)]
pub struct Changes {
    src: Words,
    dst: Words,
    ports: Words,
    third: Words,
    l4_sum: Words,
}

impl Changes {
    /// Of no packets.
    pub const NONE: Self = Self {
        src: [0; LANES],
        dst: [0; LANES],
        ports: [0; LANES],
        third: [0; LANES],
        l4_sum: [0; LANES],
    };

    /// Gives a packet another source address and port, as they are in memory.
    #[inline(always)]
    pub const fn set_source(&mut self, lane: usize, address: u32, port: u16) {
        let lane = lane % LANES;
        self.src[lane] = address;
        self.ports[lane] = self.ports[lane] & 0xffff_0000 | port as u32;
    }

    /// Gives a packet another destination address and port, as they are in memory.
    #[inline(always)]
    pub const fn set_destination(&mut self, lane: usize, address: u32, port: u16) {
        let lane = lane % LANES;
        self.dst[lane] = address;
        self.ports[lane] = self.ports[lane] & 0xffff | (port as u32) << 16;
    }

    /// Takes one from the time to live of the packet that begins with `packet`; `false`, and nothing
    /// happens, if it is cut short.
    #[inline(always)]
    pub fn write_hop(&self, lane: usize, packet: &mut [u8]) -> bool {
        let Some(word) = packet.get_mut(8..12) else {
            return false;
        };
        word.copy_from_slice(&self.third[lane % LANES].to_le_bytes());
        true
    }

    /// Writes all changes to the packet that begins with `packet`; `false`, and nothing happens, if it
    /// is cut short.
    #[inline(always)]
    pub fn write(&self, lane: usize, packet: &mut [u8]) -> bool {
        let lane = lane % LANES;
        let third = self.third[lane];
        let sum_at = if third >> 8 & 0xff == UDP { 26 } else { 36 };
        let Some(sum) = packet.get_mut(sum_at..sum_at + 2) else {
            return false;
        };
        sum.copy_from_slice(&(self.l4_sum[lane] as u16).to_le_bytes());
        let Some(head) = packet.first_chunk_mut::<24>() else {
            return false;
        };
        head[8..12].copy_from_slice(&third.to_le_bytes());
        head[12..16].copy_from_slice(&self.src[lane].to_le_bytes());
        head[16..20].copy_from_slice(&self.dst[lane].to_le_bytes());
        head[20..24].copy_from_slice(&self.ports[lane].to_le_bytes());
        true
    }
}

/// What the word of time to live and protocol changes by when the time to live goes down by one, as
/// a delta of checksums: the complement of the old word plus the new one, whatever they are.
const TTL_DELTA: u32 = 0xfffe;

/// The sum of the halves of a word.
#[inline(always)]
pub(crate) const fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

/// Adds the carries of a sum of a few 16-bit words back, until it has 16 bits.
#[inline(always)]
pub(crate) const fn fold(sum: u32) -> u32 {
    halves(halves(sum))
}

/// The upper half of a word, its octets turned round.
#[inline(always)]
const fn swapped_high(word: u32) -> u32 {
    word >> 24 | word >> 8 & 0xff00
}

/// The lower half of a word, its octets turned round.
#[inline(always)]
const fn swapped_low(word: u32) -> u32 {
    word >> 8 & 0xff | word << 8 & 0xff00
}

/// RFC 1812 sections 5.3.7 and 4.2.2.11, RFC 6890: neither this network, nor loopback, nor
/// multicast, nor reserved. The address is as it is in memory.
#[inline(always)]
const fn may_route(address: u32) -> bool {
    let first = address & 0xff;
    (first.wrapping_sub(1) < 223) & (first != 127)
}

/// A bit for each octet that is one; the others are zero.
#[inline(always)]
pub fn bits(octets: &[u8; LANES]) -> u64 {
    let (eights, _) = octets.as_chunks::<8>();
    let mut bits = 0;
    for (number, eight) in eights.iter().enumerate() {
        // Each octet's bit ends up in the highest octet of the product, without carries.
        let product = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080);
        bits |= (product >> 56) << (8 * number);
    }
    bits
}

#[cfg(test)]
pub(crate) mod testing {
    use core::net::SocketAddrV4;

    use proptest::prelude::*;

    use super::*;
    use crate::Ipv4;
    use crate::checksum::checksum;

    /// What [`Heads`] say of a regular packet.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Read {
        pub(crate) src: SocketAddrV4,
        pub(crate) dst: SocketAddrV4,
        pub(crate) protocol: u8,
        pub(crate) total_len: u16,
        pub(crate) tos: u8,
        pub(crate) hash: u32,
        pub(crate) segment: Option<Segment>,
    }

    /// Puts a packet into a lane.
    pub(crate) fn put(heads: &mut Heads, lane: usize, bytes: &[u8]) {
        let mut head = [0; HEAD];
        for (octet, given) in head.iter_mut().zip(bytes) {
            *octet = *given;
        }
        heads.set(lane, &head, bytes.len() as u32);
    }

    /// Reads a packet, alone in its burst.
    pub(crate) fn read(bytes: &[u8]) -> Option<Read> {
        let mut heads = Heads::NONE;
        put(&mut heads, 9, bytes);
        let regular = heads.regular();
        assert_eq!(regular & !(1 << 9), 0);
        let tcp = heads.tcp() == 1 << 9;
        let end = |address: u32, port: u32| {
            let address = Ipv4Addr::from_octets(address.to_le_bytes());
            SocketAddrV4::new(address, (port as u16).swap_bytes())
        };
        let ports = heads.ports(9);
        let (mut lens, mut tos) = ([0; LANES], [0; LANES]);
        heads.outline(&mut lens, &mut tos);
        let mut hashes = [0; LANES];
        heads.hash(5, &mut hashes);
        (regular != 0).then(|| Read {
            src: end(heads.src(9), ports),
            dst: end(heads.dst(9), ports >> 16),
            protocol: heads.protocol(9),
            total_len: lens[9],
            tos: tos[9],
            hash: hashes[9],
            segment: tcp.then(|| heads.segment(9)),
        })
    }

    /// Makes a packet, regular unless the numbers make it otherwise.
    pub(crate) fn made(tcp: bool, payload: &[u8], src: u32, dst: u32, fields: [u8; 8]) -> Vec<u8> {
        let l4 = if tcp { 20 } else { 8 };
        let mut bytes = vec![0; 20 + l4];
        bytes.extend(payload);
        let total = bytes.len() as u16;
        bytes[0] = 0x45;
        bytes[1] = fields[0];
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        bytes[4..6].copy_from_slice(&fields[1..3]);
        bytes[6] = fields[3] & 0x40;
        bytes[8] = fields[4];
        bytes[9] = if tcp { 6 } else { 17 };
        bytes[12..16].copy_from_slice(&src.to_be_bytes());
        bytes[16..20].copy_from_slice(&dst.to_be_bytes());
        bytes[20..24].copy_from_slice(&fields[4..8]);
        if tcp {
            bytes[32] = 5 << 4;
            bytes[33] = fields[5];
        } else {
            bytes[24..26].copy_from_slice(&(total - 20).to_be_bytes());
        }
        mend(&mut bytes);
        bytes
    }

    /// Makes both checksums right.
    fn mend(bytes: &mut [u8]) {
        mend_header(bytes);
        let is_tcp = bytes[9] == 6;
        let at = if is_tcp { 36 } else { 26 };
        bytes[at..at + 2].fill(0);
        let ip = Ipv4::new(bytes).unwrap();
        let length = ip.payload().len() as u16;
        let sum = ip.pseudo_header(length).bytes(ip.payload());
        let sum = if is_tcp {
            sum.checksum()
        } else {
            sum.udp_checksum()
        };
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    pub(crate) fn mend_header(bytes: &mut [u8]) {
        bytes[10..12].fill(0);
        let sum = checksum(&bytes[..20]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    /// Packets of all sorts, most of them regular.
    pub(crate) fn packets() -> impl Strategy<Value = Vec<u8>> {
        let payload = prop::collection::vec(any::<u8>(), 6..64);
        (
            any::<bool>(),
            payload,
            any::<u32>(),
            any::<u32>(),
            any::<[u8; 8]>(),
        )
            .prop_map(|(tcp, payload, src, dst, fields)| made(tcp, &payload, src, dst, fields))
    }
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddrV4;

    use proptest::prelude::*;

    use super::testing::{Read, made, mend_header, packets, put, read};
    use super::*;
    use crate::flow::FlowKey;
    use crate::rewrite::{self, Layout};
    use crate::{Ipv4, Tcp, Udp};

    /// What the views say of a regular packet; nothing if it is not one.
    fn by_views(bytes: &[u8]) -> Option<Read> {
        let ip = Ipv4::new(bytes).ok()?;
        let routable = |address: Ipv4Addr| {
            let first = address.octets()[0];
            first != 0 && first != 127 && first < 224
        };
        let plain = ip.is_intact()
            && !ip.has_options()
            && !ip.is_fragment()
            && ip.ttl() >= 2
            && routable(ip.src())
            && routable(ip.dst())
            && ip.src() != ip.dst();
        let segment = match ip.protocol() {
            IpProtocol::TCP => {
                let tcp = Tcp::new(ip.payload()).ok()?;
                Some(Segment {
                    seq: tcp.sequence(),
                    ack: tcp.acknowledgement(),
                    len: tcp.payload().len() as u16,
                    flags: tcp.flags().0,
                })
            }
            IpProtocol::UDP => Udp::new(ip.payload()).ok().map(|_| None)?,
            _ => return None,
        };
        let flow = FlowKey::with_ports(&ip).ok()?;
        plain.then(|| Read {
            src: SocketAddrV4::new(flow.src, flow.sport),
            dst: SocketAddrV4::new(flow.dst, flow.dport),
            protocol: ip.protocol().0,
            total_len: ip.total_len() as u16,
            tos: ip.tos(),
            hash: flow.hash(5),
            segment,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_read_is_what_the_views_say(mut bytes in packets(), bit in any::<Option<u16>>(),
                                              mended: bool, cut in any::<Option<u8>>()) {
            if let Some(bit) = bit {
                let at = usize::from(bit / 8) % bytes.len().min(40);
                bytes[at] ^= 1 << (bit % 8);
                if mended && at != 0 {
                    mend_header(&mut bytes);
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(usize::from(cut));
            }
            prop_assert_eq!(read(&bytes), by_views(&bytes));
        }

        #[test]
        fn every_lane_is_judged_by_itself(some in prop::collection::vec(packets(), 64), bits: u64) {
            let mut heads = Heads::NONE;
            let mut wanted = 0;
            for (lane, bytes) in some.iter().enumerate() {
                if bits >> lane & 1 == 1 {
                    put(&mut heads, lane, bytes);
                    wanted |= u64::from(read(bytes).is_some()) << lane;
                }
            }
            prop_assert_eq!(heads.regular(), wanted);
        }

        #[test]
        fn changes_are_what_rewriting_field_by_field_makes(
            some in prop::collection::vec(packets(), 64), source: u64, address: u32, port: u16,
            translated: u64, without_checksum: u64,
        ) {
            let is = |bits: u64, lane: usize| bits >> lane & 1 == 1;
            let mut some = some;
            let mut heads = Heads::NONE;
            for (lane, bytes) in some.iter_mut().enumerate() {
                if is(without_checksum, lane) && bytes[9] == 17 {
                    bytes[26..28].fill(0);
                }
                put(&mut heads, lane, bytes);
            }
            let regular = heads.regular();
            let mut changes = Changes::NONE;
            heads.unchanged(&mut changes);
            let wire = (u32::from_le_bytes(address.to_be_bytes()), port.swap_bytes());
            for lane in (0..64).filter(|&lane| is(translated, lane)) {
                if is(source, lane) {
                    changes.set_source(lane, wire.0, wire.1);
                } else {
                    changes.set_destination(lane, wire.0, wire.1);
                }
            }
            heads.settle(&mut changes);
            for (lane, mut bytes) in some.into_iter().enumerate().filter(|(at, _)| is(regular, *at)) {
                let mut slow = bytes.clone();
                let layout = Layout::of(&Ipv4::new(&slow).unwrap());
                if is(translated, lane) {
                    let end = if is(source, lane) { rewrite::source } else { rewrite::destination };
                    end(&mut slow, layout, Ipv4Addr::from_bits(address), Some(port)).unwrap();
                    prop_assert!(changes.write(lane, &mut bytes));
                } else {
                    prop_assert!(changes.write_hop(lane, &mut bytes));
                }
                rewrite::decrement_ttl(&mut slow).unwrap();
                prop_assert_eq!(bytes, slow);
            }
        }

        #[test]
        fn what_is_cut_short_is_not_written(mut bytes in prop::collection::vec(any::<u8>(), 0..37)) {
            let mut changes = Changes::NONE;
            changes.third[3] = 6 << 8;
            prop_assert!(!changes.write(3, &mut bytes));
            bytes.truncate(11);
            prop_assert!(!changes.write_hop(3, &mut bytes));
        }

        #[test]
        fn octets_become_bits(wanted: u64) {
            let octets = core::array::from_fn(|lane| (wanted >> lane & 1) as u8);
            prop_assert_eq!(bits(&octets), wanted);
        }
    }

    #[test]
    fn only_the_datagrams_of_a_tunnel_s_end_are_its() {
        let end = TunnelEnd::new(Ipv4Addr::new(10, 1, 0, 1), 4789);
        let judged = |bytes: &[u8]| {
            let mut heads = Heads::NONE;
            put(&mut heads, 63, bytes);
            let ours = heads.for_tunnels(end);
            (ours >> 63 == 1, (ours & heads.datagrams()) >> 63 == 1)
        };
        let mut bytes = made(false, &[0; 30], 0x0a01_000b, 0x0a01_0001, [0; 8]);
        bytes[22..24].copy_from_slice(&4789_u16.to_be_bytes());
        assert_eq!(judged(&bytes), (true, true));
        // Another port, protocol, address: not its. A damaged header, or more or fewer octets than the
        // packet says: its, but not well formed.
        for (at, value) in [(23, 0), (9, 6), (19, 2)] {
            let mut other = bytes.clone();
            other[at] = value;
            assert_eq!(judged(&other), (false, false), "octet {at}");
        }
        for (at, value) in [(1, 9), (6, 0x20), (25, 7)] {
            let mut other = bytes.clone();
            other[at] = value;
            assert_eq!(judged(&other), (true, false), "octet {at}");
        }
        assert_eq!(judged(&bytes[..57]), (true, false));
    }
}
