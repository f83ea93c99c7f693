//! The search for a free port.

use std::net::Ipv4Addr;

use rand::RngCore;
use sekisho_mem::nth_bit;

use super::fit::Fit;
use super::{BLOCK_PORTS, BLOCKS, Block, Host, Ports};
use crate::engine::MappingKey;
use crate::key::Transport;
use crate::policy::{Allocation, Policy, Shared};
use crate::refusal::Refusal;
use crate::time::Time;

/// Blocks of a host, or of an address, looked through for a free port.
const BLOCK_SEARCH: usize = 16;
/// Units with free ports that are kept on an address whose ports are handed out singly, and among
/// which one is drawn.
const SINGLE_UNITS: usize = 16;
/// How long a pool that was found full is not searched for a free block, in milliseconds.
const EXHAUSTED_PAUSE: u32 = 100;

/// What a port is searched for.
#[derive(Clone, Copy)]
struct Search {
    host: u32,
    transport: Transport,
    fit: Fit,
    allocation: Allocation,
}

impl Search {
    /// Whether a host has blocks of its own and any free port of theirs is as good as another: then
    /// the unit it last took one from is where to look first.
    fn is_plain(&self) -> bool {
        let Allocation {
            block_size,
            single_ports,
            preserve_parity,
            preserve_class,
            ..
        } = self.allocation;
        block_size == BLOCK_PORTS && !(single_ports | preserve_parity | preserve_class)
    }

    /// Units of a block.
    const fn units(&self) -> u16 {
        if self.allocation.single_ports {
            1
        } else {
            self.allocation.block_size / BLOCK_PORTS
        }
    }
}

impl Ports {
    /// Finds and takes a port, when [`Self::current_port`] has none: on the address a host is paired
    /// with, else on another; one that suits the inside port best, else any it may have.
    pub(super) fn find_port(
        &mut self,
        now: Time,
        policy: &Policy,
        host: u32,
        key: &MappingKey,
    ) -> Result<(u32, u16), Refusal> {
        let allocation = policy.allocation(key.target);
        let mut search = Search {
            host,
            transport: key.transport,
            fit: Fit::best(&allocation, key),
            allocation,
        };
        let found = self.find_fitting(now, policy, key, &search);
        if found.is_ok() || search.fit.is_any() {
            return found;
        }
        search.fit = search.fit.any();
        self.find_fitting(now, policy, key, &search)
    }

    fn find_fitting(
        &mut self,
        now: Time,
        policy: &Policy,
        key: &MappingKey,
        search: &Search,
    ) -> Result<(u32, u16), Refusal> {
        if let Some(paired) = self.paired(policy, key, search.host) {
            let found = self.port_on(policy, &paired, search);
            if let Some(found) = found {
                return Ok(found);
            }
        }
        if self.has_all_blocks(search) {
            return Err(Refusal::HostLimit);
        }
        self.other_address_port(now, policy, key, search)
            .ok_or(Refusal::PortsExhausted)
    }

    /// A port on the address a host is paired with.
    fn port_on(&mut self, policy: &Policy, paired: &Shared, search: &Search) -> Option<(u32, u16)> {
        if search.allocation.single_ports {
            return self.single_port(policy, paired, search);
        }
        let own = self.own_port(policy, paired, search);
        if own.is_some() || self.has_all_blocks(search) {
            return own;
        }
        self.new_block_port(policy, paired, search)
            .or_else(|| self.shared_port(policy, paired, search))
    }

    /// Whether a host may have no further block.
    fn has_all_blocks(&self, search: &Search) -> bool {
        let most = search.allocation.blocks_per_host;
        let blocks = self.hosts[search.host].blocks;
        !search.allocation.single_ports && most.is_some_and(|most| blocks >= u32::from(most))
    }

    /// A port of the unit the host last took one from, if nothing has changed since.
    #[inline(always)]
    pub(super) fn current_port(
        &mut self,
        policy: &Policy,
        host: u32,
        transport: Transport,
    ) -> Option<(u32, u16)> {
        let host = &self.hosts[host];
        let number = host.current[transport.index()];
        let block = &self.blocks[number];
        let same = number != 0
            && block.checked == generation_mark(policy)
            && (block.slot, block.target) == (host.slot, host.target);
        if !same {
            return None;
        }
        Some((number, self.take_any(number, transport)?))
    }

    /// The address a host is paired with, if it still belongs to the pool or uplink.
    fn paired(&self, policy: &Policy, key: &MappingKey, host: u32) -> Option<Shared> {
        let Host { address, slot, .. } = self.hosts[host];
        policy
            .shared_address(Ipv4Addr::from(address))
            .filter(|shared| shared.slot == slot && shared.target == key.target)
    }

    /// A port of a block the host holds on its address.
    fn own_port(
        &mut self,
        policy: &Policy,
        paired: &Shared,
        search: &Search,
    ) -> Option<(u32, u16)> {
        let Search {
            host, transport, ..
        } = *search;
        let current = self.hosts[host].current[transport.index()];
        if current != 0
            && search.is_plain()
            && let Some(port) = self.take(policy, paired, current, search)
        {
            return Some((current, port));
        }
        let mut leader = self.hosts[host].first_block;
        for _ in 0..BLOCK_SEARCH {
            if leader == 0 {
                break;
            }
            if let Some((unit, port)) = self.block_port(policy, paired, leader, search) {
                self.note_current(unit, search);
                return Some((unit, port));
            }
            leader = self.blocks[leader].host_next;
        }
        None
    }

    /// A port of a block, from a unit of it drawn at random on.
    fn block_port(
        &mut self,
        policy: &Policy,
        address: &Shared,
        leader: u32,
        search: &Search,
    ) -> Option<(u32, u16)> {
        let units = search.units();
        let mut unit = leader;
        if units > 1 {
            for _ in 0..self.random.next_u32() % u32::from(units) {
                unit = self.unit_after(unit);
            }
        }
        for _ in 0..units {
            if let Some(port) = self.take(policy, address, unit, search) {
                return Some((unit, port));
            }
            unit = self.unit_after(unit);
        }
        None
    }

    /// The next unit of a block, round.
    fn unit_after(&self, unit: u32) -> u32 {
        let Block {
            next_unit, leader, ..
        } = self.blocks[unit];
        if next_unit == 0 { leader } else { next_unit }
    }

    /// Remembers where a host took a port from, if that is where to look next.
    fn note_current(&mut self, unit: u32, search: &Search) {
        let current = if search.is_plain() { unit } else { 0 };
        self.hosts[search.host].current[search.transport.index()] = current;
    }

    /// A port of a block nobody owned, chosen at random.
    fn new_block_port(
        &mut self,
        policy: &Policy,
        address: &Shared,
        search: &Search,
    ) -> Option<(u32, u16)> {
        let leader = self.add_block(policy, address, search)?;
        self.pair(search.host, address);
        if !search.allocation.single_ports {
            self.own(search.host, leader);
        }
        let found = self.block_port(policy, address, leader, search);
        match found {
            Some((unit, _)) => self.note_current(unit, search),
            None => self.release_block(leader),
        }
        found
    }

    fn pair(&mut self, host: u32, address: &Shared) {
        let host = &mut self.hosts[host];
        (host.slot, host.address) = (address.slot, u32::from(address.address));
    }

    /// Claims a block and makes records of its units. Gives the leader.
    fn add_block(&mut self, policy: &Policy, address: &Shared, search: &Search) -> Option<u32> {
        let first = self.claim(policy, address, search)?;
        let numbers = usable_units(policy, address, first, search);
        let (mut leader, mut last) = (0, 0);
        for number in numbers.clone() {
            let Some(unit) = self.add_unit(policy, address, number) else {
                for number in numbers.skip_while(|&other| other != number) {
                    self.owners.release(address.slot, number, self.worker);
                }
                if leader != 0 {
                    self.release_block(leader);
                }
                return None;
            };
            if leader == 0 {
                leader = unit;
            } else {
                self.blocks[last].next_unit = unit;
            }
            self.blocks[unit].leader = leader;
            last = unit;
        }
        Some(leader)
    }

    /// Makes the record of a unit that was claimed.
    fn add_unit(&mut self, policy: &Policy, address: &Shared, number: u16) -> Option<u32> {
        let unit = self.blocks.insert(Block {
            slot: address.slot,
            address_wire: u32::from(address.address).swap_bytes(),
            target: address.target.0,
            number,
            usable: policy.usable(address, number),
            checked: generation_mark(policy),
            ..Block::default()
        })?;
        let hash = self.block_hash(address.slot, number);
        if self.block_index.insert(hash, unit).is_err() {
            self.blocks.remove(unit);
            return None;
        }
        self.usage_of(address.target.0).add(1, 0);
        self.slots = self.slots.max(address.slot + 1);
        for transport in Transport::ALL {
            self.list(unit, transport);
        }
        Some(unit)
    }

    /// A port of a unit this worker holds on an address, whoever took the block.
    fn shared_port(
        &mut self,
        policy: &Policy,
        address: &Shared,
        search: &Search,
    ) -> Option<(u32, u16)> {
        let t = search.transport.index();
        let mut unit = self.listed[address.slot as usize][t];
        for _ in 0..BLOCK_SEARCH {
            if unit == 0 {
                break;
            }
            // One without a free port is taken off the list.
            let next = self.blocks[unit].next[t];
            if let Some(port) = self.take(policy, address, unit, search) {
                return Some((unit, port));
            }
            unit = next;
        }
        None
    }

    /// A port of a unit drawn among those of an address with free ports, of which some are kept.
    fn single_port(
        &mut self,
        policy: &Policy,
        address: &Shared,
        search: &Search,
    ) -> Option<(u32, u16)> {
        let t = search.transport.index();
        let mut units = [0; SINGLE_UNITS];
        let mut count = 0;
        let mut unit = self.listed[address.slot as usize][t];
        while unit != 0 && count < SINGLE_UNITS {
            units[count] = unit;
            count += 1;
            unit = self.blocks[unit].next[t];
        }
        if count < SINGLE_UNITS
            && let Some(found) = self.new_block_port(policy, address, search)
        {
            return Some(found);
        }
        let start = self.random.next_u32() as usize % count.max(1);
        let (before, after) = units[..count].split_at(start);
        after.iter().chain(before).find_map(|&unit| {
            let port = self.take(policy, address, unit, search)?;
            Some((unit, port))
        })
    }

    /// A port of another address of the pool, which the host is then paired with.
    fn other_address_port(
        &mut self,
        now: Time,
        policy: &Policy,
        key: &MappingKey,
        search: &Search,
    ) -> Option<(u32, u16)> {
        let usage = self.usage_of(key.target.0);
        let since = now.since(Time::from_raw(usage.exhausted_at));
        let search_blocks = usage.exhausted == 0 || since >= EXHAUSTED_PAUSE;
        let addresses = policy.addresses(key.target);
        let start = self.random.next_u64() as usize % addresses.len().max(1);
        let (before, after) = addresses.split_at(start);
        if search_blocks {
            for address in after.iter().chain(before) {
                let found = self.new_block_port(policy, address, search);
                if found.is_some() {
                    self.usage_of(key.target.0).exhausted = 0;
                    return found;
                }
            }
            // Blocks that do not suit one port may suit another.
            if search.fit.is_any() {
                let usage = self.usage_of(key.target.0);
                (usage.exhausted, usage.exhausted_at) = (1, now.raw());
            }
        }
        if search.allocation.blocks_per_host.is_some() && !search.allocation.single_ports {
            return None;
        }
        for address in after.iter().chain(before) {
            let found = self.shared_port(policy, address, search);
            if found.is_some() {
                self.pair(search.host, address);
                return found;
            }
        }
        None
    }

    /// Claims all units of a block of an address and gives the first. All blocks are tried, in an
    /// order nobody can foresee.
    fn claim(&mut self, policy: &Policy, address: &Shared, search: &Search) -> Option<u16> {
        if self.owners.claimed(address.slot) >= address.blocks {
            return None;
        }
        let units = search.units();
        let blocks = BLOCKS as u16 / units;
        let random = self.random.next_u32();
        let start = random as u16;
        // An odd stride meets each of them once: they are a power of two.
        let stride = (random >> 16) as u16 | 1;
        (0..blocks)
            .map(|step| start.wrapping_add(step.wrapping_mul(stride)) % blocks * units)
            .find(|&first| self.claim_block(policy, address, first, search))
    }

    fn claim_block(&self, policy: &Policy, address: &Shared, first: u16, search: &Search) -> bool {
        if search.units() == 1 {
            return self.owners.owner(address.slot, first).is_none()
                && policy.usable(address, first) & search.fit.mask(first) != 0
                && self.owners.claim(address.slot, first, self.worker);
        }
        let numbers = usable_units(policy, address, first, search);
        let free = |number| self.owners.owner(address.slot, number).is_none();
        let suits = |number| policy.usable(address, number) & search.fit.mask(number) != 0;
        if !numbers.clone().all(free) || !numbers.clone().any(suits) {
            return false;
        }
        for number in numbers.clone() {
            if !self.owners.claim(address.slot, number, self.worker) {
                for claimed in numbers.take_while(|&other| other != number) {
                    self.owners.release(address.slot, claimed, self.worker);
                }
                return false;
            }
        }
        true
    }

    /// Takes a random free port that suits, of a unit on `address`.
    fn take(
        &mut self,
        policy: &Policy,
        address: &Shared,
        unit: u32,
        search: &Search,
    ) -> Option<u16> {
        let record = &mut self.blocks[unit];
        if record.slot != address.slot {
            return None;
        }
        // A policy may have changed what may be handed out, or whose the address is.
        record.usable = policy.usable(address, record.number);
        record.checked = generation_mark(policy);
        if record.target != address.target.0 {
            self.move_usage(unit, address);
        }
        let suits = search.fit.mask(self.blocks[unit].number);
        if suits == u64::MAX {
            return self.take_any(unit, search.transport);
        }
        let record = &self.blocks[unit];
        let free = record.usable & !record.used[search.transport.index()];
        if free == 0 {
            self.unlist(unit, search.transport);
        }
        self.take_of(unit, search.transport, free & suits)
    }

    /// Counts what is used of a unit for the pool or uplink its address is of now.
    fn move_usage(&mut self, unit: u32, address: &Shared) {
        let record = &mut self.blocks[unit];
        let used: u32 = record.used.iter().map(|used| used.count_ones()).sum();
        let kept = u32::from(record.kept);
        let old = std::mem::replace(&mut record.target, address.target.0);
        let usage = self.usage_of(old);
        usage.subtract(1, used - kept);
        usage.cooling -= kept;
        let usage = self.usage_of(address.target.0);
        usage.add(1, used - kept);
        usage.cooling += kept;
    }

    /// Takes a random free port of a unit that was compared with the policy.
    #[inline(always)]
    fn take_any(&mut self, unit: u32, transport: Transport) -> Option<u16> {
        let record = &self.blocks[unit];
        let free = record.usable & !record.used[transport.index()];
        if free == 0 {
            self.unlist(unit, transport);
            return None;
        }
        self.take_of(unit, transport, free)
    }

    /// Takes a random one of `free` ports of a unit.
    #[inline(always)]
    fn take_of(&mut self, unit: u32, transport: Transport, free: u64) -> Option<u16> {
        if free == 0 {
            return None;
        }
        // Drawn by multiplication: no place is likelier than another by more than 2^-26.
        let draw = u64::from(self.random.next_u32()) * u64::from(free.count_ones());
        let bit = nth_bit(free, (draw >> 32) as u32);
        let record = &mut self.blocks[unit];
        record.used[transport.index()] |= 1 << bit;
        let port = record.number * BLOCK_PORTS + bit as u16;
        if record.usable & !record.used[transport.index()] == 0 {
            self.unlist(unit, transport);
        }
        Some(port)
    }
}

/// The units of a block that have ports to hand out.
fn usable_units<'a>(
    policy: &'a Policy,
    address: &'a Shared,
    first: u16,
    search: &Search,
) -> impl Iterator<Item = u16> + Clone + use<'a> {
    let units = search.units();
    // Of a single one that is known.
    (first..first + units).filter(move |&number| units == 1 || policy.usable(address, number) != 0)
}

/// How units name the policy they were compared with.
const fn generation_mark(policy: &Policy) -> u16 {
    policy.generation().value() as u16
}
