//! How mappings come and go.

use super::Engine;
use crate::key::{Transport, Word};
use crate::policy::{SnatTarget, Target};
use crate::refusal::Refusal;
use crate::session::{Mapping, uplink_mark};
use crate::time::Time;

impl Engine {
    /// Whether the policy would still give a mapping its outside tuple.
    pub(super) fn mapping_allowed(&self, number: u32) -> bool {
        let mapping = &self.mappings[number];
        let (vrf, inside) = (mapping.inside().vrf(), mapping.inside().tuple());
        let target = self.ports.target(mapping.host);
        let by_rule = match self.policy.snat(vrf, *inside.ip()).map(|rule| rule.target) {
            Some(SnatTarget::Pool(pool)) => target == Target::pool(pool),
            Some(SnatTarget::Uplink) => target.is_uplink(),
            Some(SnatTarget::NoNat) | None => false,
        };
        let protocol = mapping.transport().protocol();
        by_rule
            && self.policy.floating_out(vrf, *inside.ip()).is_none()
            && self.policy.forward_back(vrf, protocol, inside).is_none()
            && self.policy.may_hand_out(mapping.outside_tuple(), target)
    }

    /// The mapping of an inside tuple, made if there is none. A new one has no sessions yet.
    pub(super) fn mapping(
        &mut self,
        now: Time,
        inside: Word,
        transport: Transport,
        target: Target,
    ) -> Result<u32, Refusal> {
        if let Some(number) = self.find_mapping_inside(inside, transport, target) {
            if self.mapping_allowed(number) {
                return Ok(number);
            }
            self.detach_mapping(number);
        }
        if self.policy.addresses(target).is_empty() && target.is_uplink() {
            return Err(Refusal::NoUplinkAddress);
        }
        let lease = self.ports.allocate(
            now,
            &self.policy,
            inside.vrf(),
            inside.address(),
            target,
            transport,
        )?;
        let outside = Word::outside(lease.outside);
        let mut mapping = Mapping::new(inside, outside, transport);
        (mapping.host, mapping.block) = (lease.host, lease.block);
        let stored = self.mappings.insert(mapping);
        let inserted = stored.filter(|&number| self.file_mapping(number, target));
        if inserted.is_none() {
            if let Some(number) = stored {
                self.mappings.remove(number);
            }
            self.ports
                .free(lease.host, lease.block, transport, lease.outside.port());
        }
        inserted.ok_or(Refusal::SessionsFull)
    }

    /// Puts a mapping into the index, both ways; whether there was room.
    fn file_mapping(&mut self, number: u32, target: Target) -> bool {
        let mapping = self.mappings[number];
        let inside = self.mapping_inside_hash(mapping.inside(), mapping.transport(), target);
        let outside = self.mapping_outside_hash(mapping.outside(), mapping.transport());
        if self.mapping_index.insert(inside, number).is_err() {
            return false;
        }
        if self.mapping_index.insert(outside, number).is_err() {
            self.mapping_index.remove(inside, number);
            return false;
        }
        true
    }

    /// Takes a mapping out of the index. It keeps its port until its sessions are gone.
    fn detach_mapping(&mut self, number: u32) {
        let mapping = self.mappings[number];
        if mapping.detached == 0 {
            let target = self.ports.target(mapping.host);
            let inside = self.mapping_inside_hash(mapping.inside(), mapping.transport(), target);
            let outside = self.mapping_outside_hash(mapping.outside(), mapping.transport());
            self.mapping_index.remove(inside, number);
            self.mapping_index.remove(outside, number);
            self.mappings[number].detached = 1;
        }
    }

    /// Notes that one session less uses a mapping; the last one takes it along.
    pub(super) fn unuse_mapping(&mut self, number: u32) {
        let mapping = &mut self.mappings[number];
        mapping.sessions = mapping.sessions.saturating_sub(1);
        if mapping.sessions == 0 {
            self.remove_mapping(number);
        }
    }

    fn remove_mapping(&mut self, number: u32) {
        self.detach_mapping(number);
        let mapping = self.mappings[number];
        self.mappings.remove(number);
        let port = mapping.outside().port();
        self.ports
            .free(mapping.host, mapping.block, mapping.transport(), port);
    }

    /// How sessions of a mapping name their uplink.
    pub(super) fn uplink_of(&self, mapping: u32) -> u16 {
        let target = self.ports.target(self.mappings[mapping].host);
        target.uplink_id().map_or(0, uplink_mark)
    }
}
