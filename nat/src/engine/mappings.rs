//! How mappings come and go.
//!
//! A mapping is in the index by its inside tuple. By its outside tuple it is in another, and only
//! where everybody is let in (endpoint-independent filtering): elsewhere a session of it leads to it.

use super::{Engine, Probe};
use crate::key::{Transport, Word};
use crate::policy::{Filtering, SnatRule, Target};
use crate::ports::{Lease, Place};
use crate::refusal::Refusal;
use crate::session::{Mapping, uplink_mark};
use crate::time::Time;

/// Ports that serve others tried for one session.
const SHARED_CANDIDATES: usize = 64;
/// Ports kept back that are let go of at a time.
const COOLED_AT_ONCE: u32 = 256;

const MAPPING_INSIDE: u64 = 4;
const MAPPING_OUTSIDE: u64 = 5;

/// A mapping as it is looked for, with its places in the indexes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MappingKey {
    pub(crate) inside: Word,
    pub(crate) transport: Transport,
    pub(crate) target: Target,
    pub(crate) host_hash: u64,
    pub(crate) hash: u64,
}

impl MappingKey {
    /// How sessions of the mapping name their uplink.
    #[inline]
    pub(super) fn uplink(&self) -> u16 {
        self.target.uplink_id().map_or(0, uplink_mark)
    }
}

/// A mapping that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) mapping: u32,
    pub(super) outside: Word,
}

impl Engine {
    #[inline(always)]
    pub(super) fn mapping_key(
        &self,
        inside: Word,
        transport: Transport,
        target: Target,
    ) -> MappingKey {
        MappingKey {
            inside,
            transport,
            target,
            host_hash: self.ports.host_hash(inside, target),
            hash: self.mapping_hash(inside, transport, target),
        }
    }

    #[inline(always)]
    fn mapping_hash(&self, inside: Word, transport: Transport, target: Target) -> u64 {
        let place = u64::from(target.0) << 8 | transport.index() as u64;
        self.key.hash(MAPPING_INSIDE, inside.0, place)
    }

    fn open_hash(&self, outside: Word, transport: Transport) -> u64 {
        self.key
            .hash(MAPPING_OUTSIDE, outside.0, transport.index() as u64)
    }

    #[inline]
    pub(super) fn outside_of(&self, number: u32) -> Word {
        let mapping = &self.mappings[number];
        self.ports.outside(mapping.block, mapping.offset())
    }

    pub(super) fn inside_of(&self, mapping: &Mapping) -> Word {
        self.ports.inside(mapping.host, mapping.port_wire)
    }

    /// A mapping that lets everybody in.
    pub(super) fn find_open_mapping(&self, probe: &Probe) -> Option<u32> {
        let transport = probe.transport()?;
        let hash = self.open_hash(probe.local, transport);
        self.open_index.find(hash, |number| {
            let mapping = &self.mappings[number];
            mapping.transport() == transport && self.outside_of(number) == probe.local
        })
    }

    /// The mapping of a host whose record is `host`.
    #[inline]
    fn find_mapping(&self, key: &MappingKey, host: u32) -> Option<u32> {
        self.mapping_index.find(key.hash, |number| {
            let mapping = &self.mappings[number];
            (mapping.host == host)
                & (mapping.port_wire == key.inside.port_wire())
                & (mapping.transport() == key.transport)
        })
    }

    /// Whether the policy would still give a mapping its outside tuple.
    pub(super) fn mapping_allowed(&self, number: u32) -> bool {
        let mapping = &self.mappings[number];
        let inside = self.inside_of(mapping);
        let (vrf, inside) = (inside.vrf(), inside.tuple());
        let target = self.ports.target(mapping.host);
        let by_rule = self.rules_of(mapping).next().is_some();
        let protocol = mapping.transport().protocol();
        let outside = self.ports.outside(mapping.block, mapping.offset());
        by_rule
            && self.policy.floating_out(vrf, *inside.ip()).is_none()
            && self.policy.forward_back(vrf, protocol, inside).is_none()
            && self.policy.may_hand_out(outside.tuple(), target)
    }

    /// The rules a mapping may be of.
    fn rules_of(&self, mapping: &Mapping) -> impl Iterator<Item = &SnatRule> {
        let target = self.ports.target(mapping.host);
        self.policy.rules_toward(self.inside_of(mapping), target)
    }

    /// The mapping of an inside tuple, made if there is none, with one session more, which is about
    /// to be stored. The host's record likely is `candidate`.
    #[inline(always)]
    pub(super) fn use_mapping(
        &mut self,
        now: Time,
        key: &MappingKey,
        candidate: u32,
    ) -> Result<Used, Refusal> {
        let host = self.ports.find_host_near(key, candidate);
        let limits = self.policy.limits(key.inside.vrf());
        if let Err(refusal) = self.ports.admit(now, limits, host) {
            return Err(self.log_port_refusal(now, key, refusal));
        }
        let known = host.and_then(|host| self.find_mapping(key, host));
        let used = match known.and_then(|number| self.known_mapping(number)) {
            Some(used) => used,
            None => self.make_mapping(now, key, host)?,
        };
        self.add_session_to(used.mapping);
        if self.has_open_rules | self.mappings[used.mapping].is_open() {
            self.follow_filter(used.mapping);
        }
        if self.ports.log.is_on() {
            self.log_mapping(used.mapping);
        }
        Ok(used)
    }

    /// Notes that one session more, which is about to be stored, uses a mapping.
    #[inline(always)]
    pub(super) fn add_session_to(&mut self, mapping: u32) {
        let mapping = &mut self.mappings[mapping];
        mapping.sessions += 1;
        self.ports.add_session(mapping.host);
    }

    /// A mapping of its own for one session (RFC 4787 section 4.1): a port nobody has, or one that
    /// serves others toward other remotes.
    pub(super) fn use_own_mapping(
        &mut self,
        now: Time,
        key: &MappingKey,
        peer: Word,
    ) -> Result<Used, Refusal> {
        let host = self.ports.find_host(key);
        let limits = self.policy.limits(key.inside.vrf());
        if let Err(refusal) = self.ports.admit(now, limits, host) {
            return Err(self.log_port_refusal(now, key, refusal));
        }
        self.check_ports(now, key)?;
        let lease = match self.ports.allocate(now, &self.policy, key, host) {
            Ok(lease) => {
                self.ports.begin_sharing(lease.place(key.transport));
                lease
            }
            Err(Refusal::PortsExhausted) => self
                .share_port(key, peer)
                .map_err(|refusal| self.log_port_refusal(now, key, refusal))?,
            Err(refusal) => return Err(self.log_port_refusal(now, key, refusal)),
        };
        let Some(number) = self.mappings.take() else {
            self.ports
                .free_shared(lease.host, lease.place(key.transport));
            return Err(Refusal::SessionsFull);
        };
        self.mappings[number].make_own();
        Ok(self.begin_mapping(number, key, &lease))
    }

    /// A port that serves other sessions, but none toward `peer`.
    fn share_port(&mut self, key: &MappingKey, peer: Word) -> Result<Lease, Refusal> {
        let host = self.ports.find_host(key);
        for _ in 0..SHARED_CANDIDATES {
            let candidate = self.ports.shared_candidate(&self.policy, key, host);
            let Some((place, outside)) = candidate else {
                continue;
            };
            let hash = self.toward_hash(outside, peer);
            let first = self.find_toward_by(hash, outside, peer);
            let inbound = self.inbound_hash(outside, peer);
            let taken = first.and_then(|first| self.find_beside(first, inbound, outside, peer));
            if taken.is_none() {
                return self.ports.share(key, host, place);
            }
        }
        Err(Refusal::PortsExhausted)
    }

    /// Whether a tenant may have another port.
    #[inline(always)]
    fn check_ports(&mut self, now: Time, key: &MappingKey) -> Result<(), Refusal> {
        let vrf = key.inside.vrf();
        let most = self.policy.limits(vrf).ports;
        let may = most.is_none_or(|most| {
            let quota = &self.policy.owners().ports;
            self.records.may_have_port(quota, vrf, most)
        });
        if may {
            Ok(())
        } else {
            Err(self.log_port_refusal(now, key, Refusal::TenantPorts))
        }
    }

    /// Fills in the record of a mapping that has got its port, with no session yet.
    #[inline(always)]
    fn begin_mapping(&mut self, number: u32, key: &MappingKey, lease: &Lease) -> Used {
        let mapping = &mut self.mappings[number];
        mapping.begin(key.inside.port_wire(), lease.outside.port(), key.transport);
        (mapping.host, mapping.block) = (lease.host, lease.block);
        self.records.port_taken(key.inside.vrf());
        Used {
            mapping: number,
            outside: lease.outside,
        }
    }

    /// A mapping that is there, if the policy still allows it; else it is out of the way.
    #[inline(never)]
    fn known_mapping(&mut self, mapping: u32) -> Option<Used> {
        if !self.mapping_allowed(mapping) {
            self.detach_mapping(mapping);
            return None;
        }
        let outside = self.outside_of(mapping);
        Some(Used { mapping, outside })
    }

    /// A new mapping without sessions.
    #[inline(always)]
    fn make_mapping(
        &mut self,
        now: Time,
        key: &MappingKey,
        host: Option<u32>,
    ) -> Result<Used, Refusal> {
        if key.target.is_uplink() && self.policy.addresses(key.target).is_empty() {
            return Err(Refusal::NoUplinkAddress);
        }
        self.check_ports(now, key)?;
        let lease = match self.ports.allocate(now, &self.policy, key, host) {
            Err(Refusal::PortsExhausted) => self.allocate_after_all(now, key),
            result => result,
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(refusal) => return Err(self.log_port_refusal(now, key, refusal)),
        };
        let stored = self.mappings.take();
        let filed = stored.filter(|&number| self.mapping_index.insert(key.hash, number).is_ok());
        let Some(number) = filed else {
            return Err(self.give_up_mapping(&lease, key.transport, stored));
        };
        Ok(self.begin_mapping(number, key, &lease))
    }

    /// A port when there is none left: one whose connections have closed, or that was kept back long
    /// enough (RFC 6888 REQ-8).
    #[cold]
    #[inline(never)]
    fn allocate_after_all(&mut self, now: Time, key: &MappingKey) -> Result<Lease, Refusal> {
        self.cool(now);
        self.release_closed(key.target);
        let host = self.ports.find_host(key);
        self.ports.allocate(now, &self.policy, key, host)
    }

    /// Takes back what a mapping was given that finds no room.
    #[cold]
    #[inline(never)]
    fn give_up_mapping(
        &mut self,
        lease: &Lease,
        transport: Transport,
        stored: Option<u32>,
    ) -> Refusal {
        if let Some(number) = stored {
            self.mappings.remove(number);
        }
        self.ports.free(lease.host, lease.place(transport));
        Refusal::SessionsFull
    }

    /// Files a mapping by its outside tuple if everybody is let in now, and only then. Without room
    /// for that it lets in whom its sessions lead to.
    pub(super) fn follow_filter(&mut self, number: u32) {
        let mapping = self.mappings[number];
        if !self.has_open_rules && !mapping.is_open() {
            return;
        }
        let open = !mapping.is_detached() && self.rules_of(&mapping).any(lets_everybody_in);
        if open == mapping.is_open() {
            return;
        }
        let hash = self.open_hash(self.outside_of(number), mapping.transport());
        if !open {
            self.open_index.remove(hash, number);
            self.mappings[number].close();
        } else if self.open_index.insert(hash, number).is_ok() {
            self.mappings[number].open();
        }
    }

    /// Where a mapping is in the index.
    #[inline]
    pub(super) fn hash_of_mapping(&self, mapping: &Mapping) -> u64 {
        let target = self.ports.target(mapping.host);
        self.mapping_hash(self.inside_of(mapping), mapping.transport(), target)
    }

    /// Takes a mapping out of the index. It keeps its port until its sessions are gone.
    fn detach_mapping(&mut self, number: u32) {
        let hash = self.hash_of_mapping(&self.mappings[number]);
        self.unfile_mapping(number, hash);
    }

    /// [`Self::detach_mapping`] whose place in the index is known.
    #[inline(always)]
    fn unfile_mapping(&mut self, number: u32, hash: u64) {
        let mapping = &mut self.mappings[number];
        let (is_open, transport) = (mapping.is_open(), mapping.transport());
        if !mapping.is_detached() {
            mapping.detach();
            self.mapping_index.remove(hash, number);
        }
        if is_open {
            let hash = self.open_hash(self.outside_of(number), transport);
            self.open_index.remove(hash, number);
            self.mappings[number].close();
        }
    }

    /// Notes that one session less uses a mapping; the last one takes it along. `hash` is its place in
    /// the index, 0 if that is not known.
    #[inline]
    pub(super) fn unuse_mapping(&mut self, number: u32, hash: u64) {
        let mapping = &mut self.mappings[number];
        mapping.sessions = mapping.sessions.saturating_sub(1);
        self.ports.remove_session(mapping.host);
        if mapping.sessions > 0 {
            return;
        }
        let was_open = mapping.is_open();
        let hash = if hash == 0 {
            self.hash_of_mapping(&self.mappings[number])
        } else {
            hash
        };
        self.unfile_mapping(number, hash);
        let mapping = self.mappings[number];
        let vrf = self.inside_of(&mapping).vrf();
        self.records.port_given_back(vrf);
        self.settle_leases(vrf);
        if mapping.is_logged() {
            self.log_mapping_end(number);
        }
        self.mappings.remove(number);
        let place = Place {
            block: mapping.block,
            transport: mapping.transport(),
            offset: mapping.offset(),
        };
        if mapping.is_own() {
            self.ports.free_shared(mapping.host, place);
        } else if was_open && self.quarantine > 0 {
            self.ports.keep_back(self.clock, mapping.host, place);
        } else {
            self.ports.free(mapping.host, place);
        }
    }

    /// Lets go of ports that were kept back long enough, some of them.
    pub(super) fn cool(&mut self, now: Time) {
        self.ports.cool(now, self.quarantine, COOLED_AT_ONCE);
    }

    /// The pool or uplink a mapping is of.
    pub(super) fn target_of(&self, mapping: u32) -> Target {
        self.ports.target(self.mappings[mapping].host)
    }

    /// How sessions of a mapping name their uplink.
    pub(super) fn uplink_of(&self, mapping: u32) -> u16 {
        self.target_of(mapping).uplink_id().map_or(0, uplink_mark)
    }
}

/// Whether a rule keeps mappings that everybody may use.
fn lets_everybody_in(rule: &SnatRule) -> bool {
    rule.filter() == Filtering::EndpointIndependent
}
