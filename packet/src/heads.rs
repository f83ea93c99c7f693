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
use crate::tcp::TcpFlags;

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

    /// The lanes that hold TCP segments with SYN, if they are regular.
    #[inline(never)]
    pub fn syns(&self) -> u64 {
        let mut syns = [0; LANES];
        for ((syn, third), tail) in syns.iter_mut().zip(&self.third).zip(&self.tail) {
            let flags = TcpFlags((tail >> 8) as u8);
            *syn = u8::from((third >> 8 & 0xff == TCP) & flags.contains(TcpFlags::SYN));
        }
        bits(&syns)
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
mod tests;
