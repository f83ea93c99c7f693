//! The records of sessions and mappings.

use sekisho_mem::zeroable_struct;
use sekisho_types::{InterfaceId, IpProtocol};

use crate::key::{TcpSegment, Transport, Word};
use crate::policy::ESTABLISHED;
use crate::ports::BLOCK_PORTS;
use crate::tcp::{Effect, Sequences, Side, Tracker, follow, is_established};
use crate::time::Time;

/// A session of an engine, valid until it is removed; then the number may name another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub(crate) u32);

impl SessionId {
    /// The number, from 1.
    pub const fn value(self) -> u32 {
        self.0
    }
}

zeroable_struct! {
    /// One flow: all that a packet of it needs, in one cache line.
    #[derive(Clone, Copy, Debug, Default)]
    #[repr(align(64))]
    pub(crate) struct Session {
        /// Inside tuple and VRF. With `peer`: the key of what goes outbound.
        inside: u64,
        /// Remote tuple and protocol; zero when the record is free.
        peer: u64,
        /// Outside tuple. With `peer`: the key of what comes inbound.
        outside: u64,
        pub(crate) last_seen: u32,
        /// Its mapping; 0 for a port forward.
        pub(crate) mapping: u32,
        sequences: Sequences,
        tcp_flags: u8,
        /// 1: filed inbound by the remote address alone.
        pub(crate) filed_first: u8,
        /// The low bits of the generation that last found it valid.
        pub(crate) generation: u16,
        /// The uplink whose address it uses, plus one; 0 for a pool.
        pub(crate) uplink: u16,
        /// Which of the policy's time-outs is its; zero when the record is free.
        class: u8,
        /// 1: its beginning is in the log.
        pub(crate) logged: u8,
        /// Neighbours in the ring of sessions of one outside tuple and one remote address.
        pub(crate) next: u32,
        pub(crate) previous: u32,
    }
}

const _: () = assert!(size_of::<Session>() == 64);

impl Session {
    /// Makes a free record a session. In place: a copy of it would have to wait until it is written.
    #[inline(always)]
    pub(crate) const fn begin(&mut self, inside: Word, peer: Word, outside: Word, class: u8) {
        self.inside = inside.0;
        self.peer = peer.0;
        self.outside = outside.0;
        self.class = class;
    }

    pub(crate) const fn inside(&self) -> Word {
        Word(self.inside)
    }

    pub(crate) const fn peer(&self) -> Word {
        Word(self.peer)
    }

    pub(crate) const fn outside(&self) -> Word {
        Word(self.outside)
    }

    /// What is known of its TCP connection.
    #[inline]
    pub(crate) const fn tcp(&self) -> Tracker {
        Tracker {
            sequences: self.sequences,
            flags: self.tcp_flags,
        }
    }

    /// Takes note of a segment of its connection; it must be TCP.
    #[inline(always)]
    pub(crate) fn follow(&mut self, from: Side, segment: &TcpSegment) -> Effect {
        let effect = follow(&mut self.sequences, &mut self.tcp_flags, from, segment);
        self.class = self.class & !ESTABLISHED | u8::from(is_established(self.tcp_flags));
        effect
    }

    /// Whether the record is free.
    #[inline(always)]
    pub(crate) const fn is_free(&self) -> bool {
        self.class == 0
    }

    /// Which of the time-outs is its.
    #[inline(always)]
    pub(crate) const fn class(&self) -> u8 {
        self.class
    }

    /// Notes that a generation of the policy found it valid, and in which class.
    pub(crate) const fn renew(&mut self, generation: u16, class: u8) {
        let established = if self.is_tcp() {
            self.class & ESTABLISHED
        } else {
            0
        };
        self.generation = generation;
        self.class = class | established;
    }

    /// Its generation, and above that its uplink: both are compared at once.
    #[inline(always)]
    pub(crate) const fn terms(&self) -> u32 {
        self.generation as u32 | (self.uplink as u32) << 16
    }

    /// Its protocol; `None` when the record is free.
    #[inline]
    pub(crate) const fn transport(&self) -> Option<Transport> {
        self.peer().transport()
    }

    #[inline(always)]
    pub(crate) const fn is_tcp(&self) -> bool {
        self.peer as u8 == IpProtocol::TCP.0
    }

    pub(crate) const fn last_seen(&self) -> Time {
        Time::from_raw(self.last_seen)
    }

    #[inline]
    pub(crate) const fn is_outbound(&self, inside: Word, peer: Word) -> bool {
        self.inside == inside.0 && self.peer == peer.0
    }

    #[inline]
    pub(crate) const fn is_inbound(&self, outside: Word, peer: Word) -> bool {
        self.outside == outside.0 && self.peer == peer.0
    }

    /// Whether it goes to the address and protocol of `peer`, whatever the port.
    #[inline]
    pub(crate) const fn is_toward(&self, outside: Word, peer: Word) -> bool {
        self.outside == outside.0 && self.peer().without_port().0 == peer.without_port().0
    }

    /// Whether it uses another uplink's address than that of `egress`.
    #[inline]
    pub(crate) const fn left_by_another(&self, egress: InterfaceId) -> bool {
        self.uplink != 0 && self.uplink != uplink_mark(egress)
    }
}

/// How a session names its uplink.
pub(crate) const fn uplink_mark(uplink: InterfaceId) -> u16 {
    uplink.value().wrapping_add(1)
}

zeroable_struct! {
    /// An inside tuple that got an outside tuple of a pool or uplink. What it shares with others
    /// stands in the records of its host (inside address, VRF, pool) and its block (outside address).
    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Mapping {
        pub(crate) host: u32,
        pub(crate) block: u32,
        /// Sessions that use it; it goes with the last one.
        pub(crate) sessions: u32,
        /// The inside port, in the order of its octets in a packet.
        pub(crate) port_wire: u16,
        /// The place of the outside port in its block; the transport in the upper two bits.
        place: u8,
        flags: u8,
    }
}

const _: () = assert!(size_of::<Mapping>() == 16);

/// Out of the index: a policy does not allow it any more, its sessions are going.
const DETACHED: u8 = 1;
/// Filed by its outside tuple: everybody is let in.
const OPEN: u8 = 2;
/// Of one session alone: endpoint-dependent. It never was in the index.
const OWN: u8 = 4;
/// Its beginning is in the log.
const LOGGED: u8 = 8;

impl Mapping {
    /// Makes a free record a mapping without sessions, in place.
    #[inline]
    pub(crate) const fn begin(&mut self, port_wire: u16, outside_port: u16, transport: Transport) {
        self.port_wire = port_wire;
        self.place = (outside_port % BLOCK_PORTS) as u8 | (transport as u8) << 6;
    }

    /// The place of its outside port in its block.
    pub(crate) const fn offset(&self) -> u16 {
        self.place as u16 % BLOCK_PORTS
    }

    pub(crate) const fn transport(&self) -> Transport {
        match self.place >> 6 {
            0 => Transport::Tcp,
            1 => Transport::Udp,
            _ => Transport::Icmp,
        }
    }

    pub(crate) const fn is_detached(&self) -> bool {
        self.flags & DETACHED != 0
    }

    pub(crate) const fn detach(&mut self) {
        self.flags |= DETACHED;
    }

    pub(crate) const fn is_own(&self) -> bool {
        self.flags & OWN != 0
    }

    pub(crate) const fn make_own(&mut self) {
        self.flags |= OWN | DETACHED;
    }

    pub(crate) const fn is_logged(&self) -> bool {
        self.flags & LOGGED != 0
    }

    pub(crate) const fn set_logged(&mut self) {
        self.flags |= LOGGED;
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.flags & OPEN != 0
    }

    pub(crate) const fn open(&mut self) {
        self.flags |= OPEN;
    }

    pub(crate) const fn close(&mut self) {
        self.flags &= !OPEN;
    }
}
