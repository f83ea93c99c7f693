//! Finding sessions and mappings by the keys of packets.

use sekisho_types::VrfId;

use super::Engine;
use crate::key::{FlowKey, Transport, Word};
use crate::policy::Target;
use crate::session::Session;
use crate::time::Time;

const OUTBOUND: u64 = 1;
/// Inbound, by outside tuple and remote address: finds the first session of the two.
const TOWARD: u64 = 2;
/// Inbound, by outside tuple and remote tuple: finds the others.
const INBOUND: u64 = 3;
const MAPPING_INSIDE: u64 = 4;
const MAPPING_OUTSIDE: u64 = 5;

/// Expired sessions toward one remote address removed for one packet.
const EXPIRED_PER_PACKET: usize = 4;

/// The key of a packet, hashed, with its index line on the way to the cache. A burst is probed
/// whole, then prefetched whole, then translated.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Inside tuple and VRF (outbound), or outside tuple (inbound).
    pub(super) local: Word,
    pub(super) peer: Word,
    pub(super) transport: Option<Transport>,
    hash: u64,
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

    /// Brings the session of a probe close, once its index line has arrived.
    #[inline]
    pub fn prefetch(&self, probe: &Probe) {
        self.index.candidates(probe.hash, |number| {
            sekisho_mem::prefetch_write(&self.sessions[number]);
        });
    }

    #[inline]
    pub(super) fn probe_of_outbound(&self, vrf: VrfId, key: &FlowKey) -> Probe {
        let transport = Transport::of(key.protocol);
        let (local, peer) = (
            Word::inside(vrf, key.src),
            Word::peer(key.dst, key.protocol),
        );
        let hash = self.key.hash(OUTBOUND, local.0, peer.0);
        Probe {
            local,
            peer,
            transport,
            hash,
        }
    }

    #[inline]
    pub(super) fn probe_of_inbound(&self, key: &FlowKey) -> Probe {
        let transport = Transport::of(key.protocol);
        let (local, peer) = (Word::outside(key.dst), Word::peer(key.src, key.protocol));
        Probe {
            local,
            peer,
            transport,
            hash: self.toward_hash(local, peer),
        }
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
        let first = self.find_toward(probe.local, probe.peer)?;
        if self.sessions[first].is_inbound(probe.local, probe.peer) {
            return Some(first);
        }
        let hash = self.inbound_hash(probe.local, probe.peer);
        self.index.find(hash, |number| {
            self.sessions[number].is_inbound(probe.local, probe.peer)
        })
    }

    /// The first session from an outside tuple to a remote address.
    pub(super) fn find_toward(&self, outside: Word, peer: Word) -> Option<u32> {
        self.index.find(self.toward_hash(outside, peer), |number| {
            self.sessions[number].is_toward(outside, peer)
        })
    }

    /// Whether a live session leads to the remote address, on whatever port: the filter of
    /// RFC 4787 REQ-8. Removes expired ones it meets.
    pub(super) fn has_session_toward(&mut self, now: Time, probe: &Probe) -> bool {
        for _ in 0..EXPIRED_PER_PACKET {
            match self.find_toward(probe.local, probe.peer) {
                None => return false,
                Some(number) if self.is_live(now, number) => return true,
                Some(number) => self.remove_session(number),
            }
        }
        false
    }

    pub(super) fn find_mapping_inside(
        &self,
        inside: Word,
        transport: Transport,
        target: Target,
    ) -> Option<u32> {
        let hash = self.mapping_inside_hash(inside, transport, target);
        self.mapping_index.find(hash, |number| {
            let mapping = &self.mappings[number];
            mapping.inside() == inside
                && mapping.transport() == transport
                && self.ports.target(mapping.host) == target
        })
    }

    pub(super) fn find_mapping_outside(&self, probe: &Probe) -> Option<u32> {
        let transport = probe.transport?;
        let hash = self.mapping_outside_hash(probe.local, transport);
        self.mapping_index.find(hash, |number| {
            let mapping = &self.mappings[number];
            mapping.outside() == probe.local && mapping.transport() == transport
        })
    }

    pub(super) const fn outbound_hash(&self, session: &Session) -> u64 {
        self.key
            .hash(OUTBOUND, session.inside().0, session.peer().0)
    }

    pub(super) const fn toward_hash(&self, outside: Word, peer: Word) -> u64 {
        self.key.hash(TOWARD, outside.0, peer.without_port().0)
    }

    pub(super) const fn inbound_hash(&self, outside: Word, peer: Word) -> u64 {
        self.key.hash(INBOUND, outside.0, peer.0)
    }

    pub(super) fn mapping_inside_hash(
        &self,
        inside: Word,
        transport: Transport,
        target: Target,
    ) -> u64 {
        let place = u64::from(target.0) << 8 | transport.index() as u64;
        self.key.hash(MAPPING_INSIDE, inside.0, place)
    }

    pub(super) const fn mapping_outside_hash(&self, outside: Word, transport: Transport) -> u64 {
        self.key
            .hash(MAPPING_OUTSIDE, outside.0, transport.index() as u64)
    }
}
