//! Finding sessions and mappings by the keys of packets.

use sekisho_types::VrfId;

use super::Engine;
use crate::key::{FlowKey, Transport, WireFlow, Word};
use crate::time::Time;

const OUTBOUND: u64 = 1;
/// Inbound, by outside tuple and remote address: finds the first session of the two.
const TOWARD: u64 = 2;
/// Inbound, by outside tuple and remote tuple: finds the others.
const INBOUND: u64 = 3;

/// Expired sessions toward one remote address removed for one packet.
const EXPIRED_PER_PACKET: usize = 4;

/// The key of a packet, hashed, with its index line on the way to the cache. A burst is probed
/// whole, then prefetched whole ([`Engine::prefetch_burst`]), then translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Inside tuple and VRF (outbound), or outside tuple (inbound).
    pub(super) local: Word,
    pub(super) peer: Word,
    pub(super) hash: u64,
}

impl Probe {
    pub(super) const fn transport(&self) -> Option<Transport> {
        self.peer.transport()
    }
}

impl Engine {
    /// Starts the lookup of a packet that leaves a tenant.
    #[inline]
    pub fn probe_outbound(&self, vrf: VrfId, key: &FlowKey) -> Probe {
        let probe = self.probe_of_outbound(vrf, key);
        self.index.prefetch(probe.hash);
        probe
    }

    /// Starts the lookup of a packet that was sent to an outside address.
    #[inline]
    pub fn probe_inbound(&self, key: &FlowKey) -> Probe {
        let probe = self.probe_of_inbound(key);
        self.index.prefetch(probe.hash);
        probe
    }

    /// [`Self::probe_outbound`] of a TCP or UDP packet.
    #[inline(always)]
    pub fn probe_outbound_wire(&self, vrf: VrfId, flow: &WireFlow) -> Probe {
        let (local, peer) = (Word::wire_inside(vrf, flow), Word::wire_peer_out(flow));
        let hash = self.outbound_hash(local, peer);
        self.index.prefetch(hash);
        Probe { local, peer, hash }
    }

    /// [`Self::probe_inbound`] of a TCP or UDP packet.
    #[inline(always)]
    pub fn probe_inbound_wire(&self, flow: &WireFlow) -> Probe {
        let (local, peer) = (Word::wire_outside(flow), Word::wire_peer_in(flow));
        let hash = self.toward_hash(local, peer);
        self.index.prefetch(hash);
        Probe { local, peer, hash }
    }

    #[inline]
    pub(super) fn probe_of_outbound(&self, vrf: VrfId, key: &FlowKey) -> Probe {
        let local = Word::inside(vrf, key.src);
        let peer = Word::peer(key.dst, key.protocol);
        let hash = self.outbound_hash(local, peer);
        Probe { local, peer, hash }
    }

    #[inline]
    pub(super) fn probe_of_inbound(&self, key: &FlowKey) -> Probe {
        let (local, peer) = (Word::outside(key.dst), Word::peer(key.src, key.protocol));
        let hash = self.toward_hash(local, peer);
        Probe { local, peer, hash }
    }

    #[inline]
    pub(super) fn find_outbound(&self, probe: &Probe) -> Option<u32> {
        self.index.find(probe.hash, |number| {
            self.sessions[number].is_outbound(probe.local, probe.peer)
        })
    }

    /// The session of exactly this remote tuple: the first toward its address, or one filed by its
    /// whole key.
    #[inline]
    pub(super) fn find_inbound(&self, probe: &Probe) -> Option<u32> {
        let first = self.find_toward(probe)?;
        if self.sessions[first].is_inbound(probe.local, probe.peer) {
            return Some(first);
        }
        let inbound = self.inbound_hash(probe.local, probe.peer);
        self.find_beside(first, inbound, probe.local, probe.peer)
    }

    /// The first session from an outside tuple to a remote address.
    #[inline]
    pub(super) fn find_toward(&self, probe: &Probe) -> Option<u32> {
        self.find_toward_by(probe.hash, probe.local, probe.peer)
    }

    /// [`Self::find_toward`] by its hash.
    #[inline]
    pub(super) fn find_toward_by(&self, hash: u64, outside: Word, peer: Word) -> Option<u32> {
        self.index.find(hash, |number| {
            self.sessions[number].is_toward(outside, peer)
        })
    }

    /// The session of exactly a remote tuple, beside the first toward its address; `inbound` is the
    /// hash of the whole key.
    pub(super) fn find_beside(
        &self,
        first: u32,
        inbound: u64,
        outside: Word,
        peer: Word,
    ) -> Option<u32> {
        if self.sessions[first].is_inbound(outside, peer) {
            return Some(first);
        }
        self.index.find(inbound, |number| {
            self.sessions[number].is_inbound(outside, peer)
        })
    }

    /// A live session to the remote address, on whatever port: the filter of RFC 4787 REQ-8. Removes
    /// expired ones it meets.
    pub(super) fn live_session_toward(&mut self, now: Time, probe: &Probe) -> Option<u32> {
        for _ in 0..EXPIRED_PER_PACKET {
            let number = self.find_toward(probe)?;
            if self.is_live(now, number) {
                return Some(number);
            }
            self.remove_session(number);
        }
        None
    }

    #[inline(always)]
    pub(super) fn outbound_hash(&self, inside: Word, peer: Word) -> u64 {
        self.key.hash(OUTBOUND, inside.0, peer.0)
    }

    #[inline(always)]
    pub(super) fn toward_hash(&self, outside: Word, peer: Word) -> u64 {
        self.key.hash(TOWARD, outside.0, peer.without_port().0)
    }

    #[inline(always)]
    pub(super) fn inbound_hash(&self, outside: Word, peer: Word) -> u64 {
        self.key.hash(INBOUND, outside.0, peer.0)
    }
}
