//! Which outside address and ports an inside host gets.
//!
//! Ports are owned in units of 64, for all protocols at once, by one worker. A host takes blocks of
//! one unit or more of its own on one address (paired pooling, RFC 4787 REQ-2); when none is free it
//! shares the units this worker holds on that address, and only then moves on to another address.
//! How large blocks are, how many a host may have, and whether it has any, is a pool's choice.

mod cooling;
mod fit;
mod lists;
mod log;
mod overload;
mod search;
mod show;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cooling::Cooling;
use overload::Overload;
use rand::rngs::StdRng;
use sekisho_mem::{HugeSlice, MapError, prefetch_write, zeroable_struct};
use sekisho_types::WorkerId;

use crate::engine::MappingKey;
use crate::key::{Transport, Word};
use crate::log::Log;
use crate::owners::OutsideOwners;
use crate::policy::{Limits, Policy, Shared, Target};
use crate::rate::Bucket;
use crate::refusal::Refusal;
use crate::seed::HashKey;
use crate::table::{Slab, Tiers};
use crate::time::Time;

pub use show::{AddressUsage, PoolUsage};

/// Ports of a block.
pub(crate) const BLOCK_PORTS: u16 = 64;
/// Blocks of an address.
pub(crate) const BLOCKS: usize = 65536 / BLOCK_PORTS as usize;

const HOST_DOMAIN: u64 = 0x20;
const BLOCK_DOMAIN: u64 = 0x21;
/// Up to one host, or one block, for so many sessions their indexes cost little memory.
const FEW: usize = 32;

zeroable_struct! {
    /// An inside host with at least one mapping to a pool or uplink.
    #[derive(Clone, Copy, Default)]
    pub(crate) struct Host {
        /// Its address and VRF: an inside word without port.
        inside: u64,
        target: u32,
        /// The address it is paired with; slot 0: not yet.
        address: u32,
        slot: u32,
        /// Mappings it has.
        mappings: u32,
        /// Sessions of them.
        sessions: u32,
        /// The list of its blocks, and how many there are.
        first_block: u32,
        blocks: u32,
        /// The block it last took a port from, by transport.
        current: [u32; Transport::COUNT],
    }
}

const _: () = assert!(size_of::<Host>() == 48);

zeroable_struct! {
    /// A unit of ports this worker owns. What handing out a port needs comes first.
    #[derive(Clone, Copy, Default)]
    pub(crate) struct Block {
        /// The ports that may be handed out, as last seen.
        usable: u64,
        /// The ports that are handed out, by transport.
        used: [u64; Transport::COUNT],
        slot: u32,
        /// In the order of its octets in a packet.
        address_wire: u32,
        target: u32,
        /// The low bits of the generation of the policy it was last compared with.
        checked: u16,
        /// Ports of the block that are handed out or kept back; of the leader only.
        busy: u16,
        number: u16,
        /// Bit per transport: it is in the address's list of blocks with free ports. The highest:
        /// that its host got it is in the log.
        listed: u8,
        /// Ports of this unit that are kept back.
        kept: u8,
        /// The host that took it; 0 once that is gone.
        host: u32,
        host_next: u32,
        host_previous: u32,
        /// Neighbours in those lists.
        next: [u32; Transport::COUNT],
        previous: [u32; Transport::COUNT],
        /// The first unit of its block; the host and its list stand there only.
        leader: u32,
        /// The next unit of its block.
        next_unit: u32,
    }
}

const _: () = assert!(size_of::<Block>() == 96);

zeroable_struct! {
    /// What is used of a pool or uplink by this worker.
    #[derive(Clone, Copy, Default)]
    struct Usage {
        ports: u32,
        blocks: u32,
        cooling: u32,
        /// When no free block was found, and whether that ever happened.
        exhausted_at: u32,
        exhausted: u32,
    }
}

impl Usage {
    fn add(&mut self, blocks: u32, ports: u32) {
        self.blocks += blocks;
        self.ports += ports;
    }

    fn subtract(&mut self, blocks: u32, ports: u32) {
        self.blocks = self.blocks.saturating_sub(blocks);
        self.ports = self.ports.saturating_sub(ports);
    }
}

/// A port handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) host: u32,
    pub(crate) block: u32,
    pub(crate) outside: Word,
}

/// A port's place in its unit, and whose space of ports it is in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) block: u32,
    pub(crate) transport: Transport,
    /// Below 64.
    pub(crate) offset: u16,
}

impl Place {
    const fn bit(self) -> u64 {
        1 << (self.offset % BLOCK_PORTS)
    }
}

impl Lease {
    pub(crate) const fn place(&self, transport: Transport) -> Place {
        Place {
            block: self.block,
            transport,
            offset: self.outside.port() % BLOCK_PORTS,
        }
    }
}

/// The hosts and blocks of one worker.
pub(crate) struct Ports {
    worker: WorkerId,
    owners: Arc<OutsideOwners>,
    hosts: Slab<Host>,
    host_index: Tiers,
    blocks: Slab<Block>,
    /// Blocks by slot and number.
    block_index: Tiers,
    /// Per slot, the first block with a free port, by transport.
    listed: HugeSlice<[u32; Transport::COUNT]>,
    /// One more than the greatest slot ever used.
    slots: u32,
    /// Of pools, then of uplinks: two, so that neither is a huge page.
    usage: [HugeSlice<Usage>; 2],
    /// What is left of each host's new sessions.
    rates: HugeSlice<Bucket>,
    /// Ports kept back after use, oldest first.
    cooling: Cooling,
    /// Ports that serve several sessions, by unit.
    overloads: HugeSlice<Overload>,
    /// Some units with such ports, by slot.
    known: HugeSlice<[u32; overload::KNOWN]>,
    key: HashKey,
    random: StdRng,
    pub(crate) log: Log,
}

impl Ports {
    pub(crate) fn new(
        worker: WorkerId,
        owners: Arc<OutsideOwners>,
        capacity: u32,
        mut random: StdRng,
    ) -> Result<Self, MapError> {
        Ok(Self {
            worker,
            hosts: Slab::new(capacity)?,
            host_index: Tiers::new(capacity as usize / FEW, capacity as usize)?,
            blocks: Slab::new(capacity)?,
            block_index: Tiers::new(capacity as usize / FEW, capacity as usize)?,
            listed: HugeSlice::new(owners.max_addresses() as usize + 1)?,
            slots: 1,
            known: HugeSlice::new(owners.max_addresses() as usize + 1)?,
            usage: [
                HugeSlice::new(Target::COUNT / 2)?,
                HugeSlice::new(Target::COUNT / 2)?,
            ],
            rates: HugeSlice::new(capacity as usize + 1)?,
            cooling: Cooling::new(capacity as usize)?,
            overloads: HugeSlice::new(overload::units(capacity))?,
            owners,
            key: HashKey::draw(&mut random),
            random,
            log: Log::default(),
        })
    }

    /// Hands out a port to an inside host, whose record is `host` if it has one.
    #[inline(always)]
    pub(crate) fn allocate(
        &mut self,
        now: Time,
        policy: &Policy,
        key: &MappingKey,
        host: Option<u32>,
    ) -> Result<Lease, Refusal> {
        if let Some(host) = host
            && let Some(most) = policy.limits(key.inside.vrf()).host_ports
            && self.hosts[host].mappings >= most
        {
            return Err(Refusal::HostLimit);
        }
        if let Some(host) = host
            && let Some((block, port)) = self.current_port(policy, host, key.transport)
        {
            return Ok(self.lease(host, block, port, key.target));
        }
        self.allocate_slowly(now, policy, key, host)
    }

    /// [`Self::allocate`] when the block a host last took a port from has none.
    #[inline(never)]
    fn allocate_slowly(
        &mut self,
        now: Time,
        policy: &Policy,
        key: &MappingKey,
        host: Option<u32>,
    ) -> Result<Lease, Refusal> {
        let host = match host {
            Some(host) => host,
            None => self.add_host(key)?,
        };
        let found = self.find_port(now, policy, host, key);
        if found.is_err() {
            self.drop_unused_host(host);
        }
        found.map(|(block, port)| self.lease(host, block, port, key.target))
    }

    /// Notes that a port of a block is handed out.
    #[inline(always)]
    fn lease(&mut self, host: u32, block: u32, port: u16, target: Target) -> Lease {
        self.hosts[host].mappings += 1;
        self.usage_of(target.0).add(0, 1);
        let leader = self.blocks[block].leader;
        self.blocks[leader].busy += 1;
        let outside = Word::outside_at(self.blocks[block].address_wire, port);
        Lease {
            host,
            block,
            outside,
        }
    }

    /// Takes a port back.
    #[inline]
    pub(crate) fn free(&mut self, host: u32, place: Place) {
        let target = self.blocks[place.block].target;
        usage_in(&mut self.usage, target).subtract(0, 1);
        self.vacate(place);
        self.leave(host);
    }

    /// Makes a port one that may be handed out again. The last of a block takes it along.
    fn vacate(&mut self, place: Place) {
        let record = &mut self.blocks[place.block];
        record.used[place.transport.index()] &= !place.bit();
        let leader = record.leader;
        let busy = &mut self.blocks[leader].busy;
        *busy = busy.saturating_sub(1);
        if *busy == 0 {
            self.release_block(leader);
        } else {
            self.list(place.block, place.transport);
        }
    }

    /// Notes that a host has a mapping less.
    fn leave(&mut self, host: u32) {
        let mappings = &mut self.hosts[host].mappings;
        *mappings = mappings.saturating_sub(1);
        if *mappings == 0 {
            self.drop_unused_host(host);
        }
    }

    /// Whether a host may have another session now; without a record it has none.
    #[inline(always)]
    pub(crate) fn admit(
        &mut self,
        now: Time,
        limits: &Limits,
        host: Option<u32>,
    ) -> Result<(), Refusal> {
        let Some(host) = host else { return Ok(()) };
        if limits
            .host_sessions
            .is_some_and(|most| self.hosts[host].sessions >= most)
        {
            return Err(Refusal::HostSessions);
        }
        match limits.host_new_sessions {
            Some(rate) if !self.rates[host as usize].has_token(now, rate) => Err(Refusal::HostRate),
            _ => Ok(()),
        }
    }

    /// Notes that a host has opened a session, for its rate.
    #[inline]
    pub(crate) fn spend(&mut self, host: u32) {
        self.rates[host as usize].take();
    }

    /// Notes that a host has a session more.
    #[inline(always)]
    pub(crate) fn add_session(&mut self, host: u32) {
        self.hosts[host].sessions += 1;
    }

    /// Notes that a host has a session less.
    #[inline(always)]
    pub(crate) fn remove_session(&mut self, host: u32) {
        let sessions = &mut self.hosts[host].sessions;
        *sessions = sessions.saturating_sub(1);
    }

    /// The inside address and VRF of a host, with a port.
    #[inline]
    pub(crate) fn inside(&self, host: u32, port_wire: u16) -> Word {
        Word(self.hosts[host].inside).with_port_wire(port_wire)
    }

    /// The outside address and port of a place in a block.
    #[inline]
    pub(crate) fn outside(&self, block: u32, offset: u16) -> Word {
        let block = &self.blocks[block];
        let port = block.number * BLOCK_PORTS + offset % BLOCK_PORTS;
        Word::outside_at(block.address_wire, port)
    }

    /// Whether a port is handed out.
    pub(crate) fn is_used(&self, address: &Shared, port: u16, transport: Transport) -> bool {
        let block = self.find_unit(address.slot, port / BLOCK_PORTS);
        block.is_some_and(|block| {
            self.blocks[block].used[transport.index()] >> (port % BLOCK_PORTS) & 1 == 1
        })
    }

    /// The record of a unit this worker owns.
    fn find_unit(&self, slot: u32, number: u16) -> Option<u32> {
        self.block_index
            .find(self.block_hash(slot, number), |block| {
                let block = &self.blocks[block];
                (block.slot, block.number) == (slot, number)
            })
    }

    /// Where an inside host is in the index.
    #[inline(always)]
    pub(crate) fn host_hash(&self, inside: Word, target: Target) -> u64 {
        let host = inside.without_port().0;
        self.key.hash(HOST_DOMAIN, host, u64::from(target.0))
    }

    /// The host of a mapping that is looked for.
    #[inline]
    pub(crate) fn find_host(&self, key: &MappingKey) -> Option<u32> {
        self.host_index
            .find(key.host_hash, |number| self.is_host(number, key))
    }

    /// [`Self::find_host`], likely `candidate`.
    #[inline(always)]
    pub(crate) fn find_host_near(&self, key: &MappingKey, candidate: u32) -> Option<u32> {
        if self.is_host(candidate, key) {
            Some(candidate)
        } else {
            self.find_host(key)
        }
    }

    /// Whether this is the record of the host; 0 is none's.
    #[inline(always)]
    fn is_host(&self, number: u32, key: &MappingKey) -> bool {
        let host = &self.hosts[number];
        (number != 0) & (host.inside == key.inside.without_port().0) & (host.target == key.target.0)
    }

    /// The host of a mapping that is looked for, likely; 0 if there is likely none.
    #[inline(always)]
    pub(crate) fn host_candidate(&self, host_hash: u64) -> u32 {
        self.host_index.candidate(host_hash).unwrap_or(0)
    }

    /// Asks for the index line of a host.
    #[inline]
    pub(crate) fn prefetch_host_index(&self, host_hash: u64) {
        self.host_index.prefetch(host_hash);
    }

    /// Asks for the record of a host.
    #[inline(always)]
    pub(crate) fn prefetch_host(&self, host: u32) {
        self.hosts.prefetch(host);
    }

    /// The block a host will take a port from, if it has one: else 0.
    #[inline(always)]
    pub(crate) fn current_block(&self, host: u32, transport: Transport) -> u32 {
        self.hosts[host].current[transport.index()]
    }

    /// Asks for the lines of a block.
    #[inline]
    pub(crate) fn prefetch_block(&self, block: u32) {
        let block = &self.blocks[block];
        prefetch_write(&block.usable);
        prefetch_write(&block.host);
    }

    /// Octets used.
    pub(crate) fn used_bytes(&self) -> usize {
        let indexes = self.host_index.used_bytes() + self.block_index.used_bytes();
        let records = self.hosts.used_bytes() + self.blocks.used_bytes();
        indexes + records + self.slots as usize * size_of::<[u32; Transport::COUNT]>()
    }

    /// The pool or uplink a host's mappings are of.
    pub(crate) fn target(&self, host: u32) -> Target {
        Target(self.hosts[host].target)
    }

    pub(crate) fn usage(&self, target: Target) -> PoolUsage {
        let uplink = usize::from(target.is_uplink());
        let place = target.0 as usize % (Target::COUNT / 2);
        let Usage {
            ports,
            blocks,
            cooling,
            ..
        } = self.usage[uplink][place];
        PoolUsage {
            ports,
            blocks,
            quarantined: cooling,
        }
    }

    pub(crate) const fn host_count(&self) -> usize {
        self.hosts.len()
    }

    pub(crate) const fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The record of an inside host that has none.
    #[cold]
    fn add_host(&mut self, key: &MappingKey) -> Result<u32, Refusal> {
        let host = Host {
            inside: key.inside.without_port().0,
            target: key.target.0,
            ..Host::default()
        };
        let number = self.hosts.insert(host).ok_or(Refusal::SessionsFull)?;
        if self.host_index.insert(key.host_hash, number).is_err() {
            self.hosts.remove(number);
            return Err(Refusal::SessionsFull);
        }
        self.rates[number as usize] = Bucket::default();
        Ok(number)
    }

    fn usage_of(&mut self, target: u32) -> &mut Usage {
        usage_in(&mut self.usage, target)
    }

    fn block_hash(&self, slot: u32, number: u16) -> u64 {
        self.key
            .hash(BLOCK_DOMAIN, u64::from(slot), u64::from(number))
    }

    fn drop_unused_host(&mut self, number: u32) {
        let host = self.hosts[number];
        if host.mappings > 0 {
            return;
        }
        self.disown_blocks(number);
        let hash = self.host_hash(self.inside(number, 0), Target(host.target));
        self.host_index.remove(hash, number);
        self.hosts.remove(number);
    }

    /// Gives back all units of a block, by its leader.
    fn release_block(&mut self, leader: u32) {
        if self.blocks[leader].host != 0 {
            self.disown(leader);
        }
        let mut unit = leader;
        while unit != 0 {
            let next = self.blocks[unit].next_unit;
            self.release_unit(unit);
            unit = next;
        }
    }

    fn release_unit(&mut self, number: u32) {
        let block = self.blocks[number];
        for transport in Transport::ALL {
            self.unlist(number, transport);
        }
        self.blocks.remove(number);
        let hash = self.block_hash(block.slot, block.number);
        self.block_index.remove(hash, number);
        let usage = self.usage_of(block.target);
        usage.subtract(1, 0);
        usage.exhausted = 0;
        self.owners.release(block.slot, block.number, self.worker);
    }
}

fn usage_in(usage: &mut [HugeSlice<Usage>; 2], target: u32) -> &mut Usage {
    let uplink = usize::from(Target(target).is_uplink());
    &mut usage[uplink][target as usize % (Target::COUNT / 2)]
}

impl Drop for Ports {
    /// Gives back every block, so that an engine never takes ports with it.
    fn drop(&mut self) {
        for number in 1..self.blocks.end() {
            let Block { slot, number, .. } = self.blocks[number];
            if slot != 0 {
                self.owners.release(slot, number, self.worker);
            }
        }
    }
}
