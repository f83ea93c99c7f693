//! The records of sessions and mappings.

use std::net::SocketAddrV4;

use sekisho_mem::zeroable_struct;
use sekisho_types::{InterfaceId, IpProtocol};

use crate::key::{Transport, Word};
use crate::tcp::{Sequences, Tracker};
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
        unused: u16,
        /// Neighbours in the ring of sessions of one outside tuple and one remote address.
        pub(crate) next: u32,
        pub(crate) previous: u32,
    }
}

const _: () = assert!(size_of::<Session>() == 64);

impl Session {
    pub(crate) fn new(inside: Word, peer: Word, outside: Word) -> Self {
        Self {
            inside: inside.0,
            peer: peer.0,
            outside: outside.0,
            ..Self::default()
        }
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

    #[inline]
    pub(crate) const fn set_tcp(&mut self, tracker: Tracker) {
        self.sequences = tracker.sequences;
        self.tcp_flags = tracker.flags;
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

    #[inline(always)]
    pub(crate) const fn is_icmp(&self) -> bool {
        self.peer as u8 == IpProtocol::ICMP.0
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
    /// An inside tuple that got an outside tuple of a pool or uplink.
    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Mapping {
        inside: u64,
        outside: u64,
        pub(crate) block: u32,
        pub(crate) host: u32,
        /// Sessions that use it; it goes with the last one.
        pub(crate) sessions: u32,
        transport: u8,
        /// Out of the index: a policy does not allow it any more, its sessions are going.
        pub(crate) detached: u8,
        unused: [u8; 2],
    }
}

const _: () = assert!(size_of::<Mapping>() == 32);

impl Mapping {
    pub(crate) fn new(inside: Word, outside: Word, transport: Transport) -> Self {
        Self {
            inside: inside.0,
            outside: outside.0,
            transport: transport as u8,
            ..Self::default()
        }
    }

    pub(crate) const fn inside(&self) -> Word {
        Word(self.inside)
    }

    pub(crate) const fn outside(&self) -> Word {
        Word(self.outside)
    }

    pub(crate) fn outside_tuple(&self) -> SocketAddrV4 {
        self.outside().tuple()
    }

    pub(crate) const fn transport(&self) -> Transport {
        match self.transport {
            0 => Transport::Tcp,
            1 => Transport::Udp,
            _ => Transport::Icmp,
        }
    }
}
