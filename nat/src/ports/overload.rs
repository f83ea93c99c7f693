//! Ports that serve several sessions at a time, toward different remotes (endpoint-dependent mapping).

use std::net::Ipv4Addr;

use rand::RngCore;
use sekisho_mem::{nth_bit, zeroable_struct};

use super::{BLOCK_PORTS, BLOCKS, Lease, Place, Ports};
use crate::engine::MappingKey;
use crate::key::{Transport, Word};
use crate::policy::{Policy, Shared};
use crate::refusal::Refusal;

/// Units drawn until one with such ports is found.
const SEARCH: usize = 16;
/// Units with such ports that are noted for each address.
pub(super) const KNOWN: usize = 16;
/// Units that can have such ports, of so many sessions.
const FEW: u32 = 16;
const LEAST: u32 = 2048;

zeroable_struct! {
    /// The ports of a unit that serve sessions one by one.
    #[derive(Clone, Copy)]
    pub(super) struct Overload {
        ports: [u64; Transport::COUNT],
        /// Sessions, by transport and port.
        sessions: [u16; Transport::COUNT * BLOCK_PORTS as usize],
    }
}

/// How many units can have such ports; in those beyond, each session has a port of its own.
pub(super) const fn units(capacity: u32) -> usize {
    let few = capacity / FEW;
    let units = if few < LEAST { LEAST } else { few };
    (if units < capacity { units } else { capacity }) as usize + 1
}

/// The place of a port in [`Overload::sessions`].
const fn cell(place: Place) -> usize {
    place.transport.index() * BLOCK_PORTS as usize + (place.offset % BLOCK_PORTS) as usize
}

impl Ports {
    /// Notes that a port just handed out serves one session, and may serve more.
    pub(crate) fn begin_sharing(&mut self, place: Place) {
        if let Some(overload) = self.overloads.get_mut(place.block as usize) {
            overload.ports[place.transport.index()] |= place.bit();
            overload.sessions[cell(place)] = 1;
            let slot = self.blocks[place.block].slot as usize;
            let known = &mut self.known[slot];
            if !known.contains(&place.block) {
                known[self.random.next_u32() as usize % KNOWN] = place.block;
            }
        }
    }

    /// A port on the host's address that serves sessions one by one and may serve another, drawn at
    /// random; the caller looks whether the remote is free there. `None` if none was found.
    pub(crate) fn shared_candidate(
        &mut self,
        policy: &Policy,
        key: &MappingKey,
        host: Option<u32>,
    ) -> Option<(Place, Word)> {
        let paired = host.and_then(|host| {
            let address = Ipv4Addr::from(self.hosts[host].address);
            let shared = policy.shared_address(address)?;
            (shared.slot == self.hosts[host].slot && shared.target == key.target).then_some(shared)
        });
        let addresses = policy.addresses(key.target);
        let any = self.random.next_u64() as usize % addresses.len().max(1);
        let address = paired.or_else(|| addresses.get(any).copied())?;
        // Any unit of a large pool likely has such ports; of a small one, the known units.
        let block = if self.random.next_u32().is_multiple_of(2) {
            self.random_unit(policy, &address, key.transport)
        } else {
            None
        };
        let block = block.or_else(|| self.known_unit(policy, &address, key.transport))?;
        let usable = self.shared_ports(policy, &address, block, key.transport);
        let nth = self.random.next_u32() % usable.count_ones().max(1);
        let place = Place {
            block,
            transport: key.transport,
            offset: nth_bit(usable, nth) as u16,
        };
        let full = self.overloads[block as usize].sessions[cell(place)] == u16::MAX;
        (!full).then(|| (place, self.outside(block, place.offset)))
    }

    /// A unit of an address with ports that serve sessions one by one, among some drawn at random.
    fn random_unit(
        &mut self,
        policy: &Policy,
        address: &Shared,
        transport: Transport,
    ) -> Option<u32> {
        for _ in 0..SEARCH {
            let number = self.random.next_u32() as u16 % BLOCKS as u16;
            if self.owners.owner(address.slot, number) == Some(self.worker)
                && let Some(block) = self.find_unit(address.slot, number)
                && self.shared_ports(policy, address, block, transport) != 0
            {
                return Some(block);
            }
        }
        None
    }

    /// The same, among those noted.
    fn known_unit(
        &mut self,
        policy: &Policy,
        address: &Shared,
        transport: Transport,
    ) -> Option<u32> {
        let known = self.known[address.slot as usize];
        let start = self.random.next_u32() as usize % KNOWN;
        let (before, after) = known.split_at(start);
        after.iter().chain(before).copied().find(|&block| {
            block != 0
                && self.blocks[block].slot == address.slot
                && self.shared_ports(policy, address, block, transport) != 0
        })
    }

    /// The ports of a unit that serve sessions one by one and may be handed out.
    fn shared_ports(
        &self,
        policy: &Policy,
        address: &Shared,
        block: u32,
        transport: Transport,
    ) -> u64 {
        let ports = self.overloads.get(block as usize);
        let ports = ports.map_or(0, |overload| overload.ports[transport.index()]);
        if ports == 0 {
            return 0;
        }
        ports & policy.usable(address, self.blocks[block].number)
    }

    /// Gives a port that serves others to one more session of a host, whose record is `host` if it
    /// has one.
    pub(crate) fn share(
        &mut self,
        key: &MappingKey,
        host: Option<u32>,
        place: Place,
    ) -> Result<Lease, Refusal> {
        let host = match host {
            Some(host) => host,
            None => self.add_host(key)?,
        };
        if let Some(overload) = self.overloads.get_mut(place.block as usize) {
            overload.sessions[cell(place)] += 1;
        }
        let record = &mut self.hosts[host];
        record.mappings += 1;
        if record.slot == 0 {
            let block = &self.blocks[place.block];
            (record.slot, record.address) = (block.slot, block.address_wire.swap_bytes());
        }
        Ok(Lease {
            host,
            block: place.block,
            outside: self.outside(place.block, place.offset),
        })
    }

    /// Takes a port back from one session; the last one frees it.
    pub(crate) fn free_shared(&mut self, host: u32, place: Place) {
        if let Some(overload) = self.overloads.get_mut(place.block as usize) {
            let sessions = &mut overload.sessions[cell(place)];
            *sessions = sessions.saturating_sub(1);
            if *sessions > 0 {
                self.leave(host);
                return;
            }
            overload.ports[place.transport.index()] &= !place.bit();
        }
        self.free(host, place);
    }
}
