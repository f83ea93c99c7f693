//! The search for a free port.

use std::net::Ipv4Addr;

use rand::RngCore;
use sekisho_mem::nth_bit;

use super::{BLOCK_PORTS, BLOCKS, Block, Host, Ports};
use crate::key::Transport;
use crate::policy::{Policy, Shared, Target};
use crate::time::Time;

/// Blocks of a host, or of an address, looked through for a free port.
const BLOCK_SEARCH: usize = 16;
/// How long a pool that was found full is not searched for a free block, in milliseconds.
const EXHAUSTED_PAUSE: u32 = 100;

impl Ports {
    /// Finds and takes a port, when [`Self::current_port`] has none: on the address a host is paired
    /// with, else on another.
    pub(super) fn find_port(
        &mut self,
        now: Time,
        policy: &Policy,
        host: u32,
        target: Target,
        transport: Transport,
    ) -> Option<(u32, u16)> {
        if let Some(paired) = self.paired(policy, host, target) {
            let found = self
                .own_port(policy, host, &paired, transport)
                .or_else(|| self.new_block_port(policy, host, &paired, transport))
                .or_else(|| self.shared_port(policy, &paired, transport));
            if found.is_some() {
                return found;
            }
        }
        self.other_address_port(now, policy, host, target, transport)
    }

    /// A port of the block the host last took one from, if nothing has changed since.
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

    /// The address a host is paired with, if it still belongs to `target`.
    fn paired(&self, policy: &Policy, host: u32, target: Target) -> Option<Shared> {
        let Host { address, slot, .. } = self.hosts[host];
        policy
            .shared_address(Ipv4Addr::from(address))
            .filter(|shared| shared.slot == slot && shared.target == target)
    }

    /// A port of a block the host holds on its address.
    fn own_port(
        &mut self,
        policy: &Policy,
        host: u32,
        paired: &Shared,
        transport: Transport,
    ) -> Option<(u32, u16)> {
        let current = self.hosts[host].current[transport.index()];
        if current != 0
            && let Some(port) = self.take(policy, paired, current, transport)
        {
            return Some((current, port));
        }
        let mut block = self.hosts[host].first_block;
        for _ in 0..BLOCK_SEARCH {
            if block == 0 {
                break;
            }
            if let Some(port) = self.take(policy, paired, block, transport) {
                self.hosts[host].current[transport.index()] = block;
                return Some((block, port));
            }
            block = self.blocks[block].host_next;
        }
        None
    }

    /// A port of a block nobody owned, chosen at random.
    fn new_block_port(
        &mut self,
        policy: &Policy,
        host: u32,
        address: &Shared,
        transport: Transport,
    ) -> Option<(u32, u16)> {
        let number = self.claim(policy, address)?;
        let block = self.blocks.insert(Block {
            slot: address.slot,
            address_wire: u32::from(address.address).swap_bytes(),
            target: address.target.0,
            number,
            usable: policy.usable(address, number),
            checked: generation_mark(policy),
            ..Block::default()
        });
        let hash = self.block_hash(address.slot, number);
        let filed = block.filter(|&block| self.block_index.insert(hash, block).is_ok());
        let Some(block) = filed else {
            if let Some(block) = block {
                self.blocks.remove(block);
            }
            self.owners.release(address.slot, number, self.worker);
            return None;
        };
        self.usage_of(address.target.0).add(1, 0);
        self.hosts[host].slot = address.slot;
        self.hosts[host].address = u32::from(address.address);
        self.hosts[host].current[transport.index()] = block;
        self.own(host, block);
        for transport in [Transport::Tcp, Transport::Udp, Transport::Icmp] {
            self.list(block, transport);
        }
        let port = self.take(policy, address, block, transport)?;
        Some((block, port))
    }

    /// A port of a block this worker holds on an address, whoever took the block.
    fn shared_port(
        &mut self,
        policy: &Policy,
        address: &Shared,
        transport: Transport,
    ) -> Option<(u32, u16)> {
        // Each failure takes the block off the list.
        for _ in 0..BLOCK_SEARCH {
            let block = self.listed[address.slot as usize][transport.index()];
            if block == 0 {
                break;
            }
            if let Some(port) = self.take(policy, address, block, transport) {
                return Some((block, port));
            }
        }
        None
    }

    /// A port of another address of the pool, which the host is then paired with.
    fn other_address_port(
        &mut self,
        now: Time,
        policy: &Policy,
        host: u32,
        target: Target,
        transport: Transport,
    ) -> Option<(u32, u16)> {
        let usage = self.usage_of(target.0);
        let since = now.since(Time::from_raw(usage.exhausted_at));
        let search_blocks = usage.exhausted == 0 || since >= EXHAUSTED_PAUSE;
        let addresses = policy.addresses(target);
        let start = self.random.next_u64() as usize % addresses.len().max(1);
        let (before, after) = addresses.split_at(start);
        if search_blocks {
            for address in after.iter().chain(before) {
                let found = self.new_block_port(policy, host, address, transport);
                if found.is_some() {
                    self.usage_of(target.0).exhausted = 0;
                    return found;
                }
            }
            let usage = self.usage_of(target.0);
            (usage.exhausted, usage.exhausted_at) = (1, now.raw());
        }
        for address in after.iter().chain(before) {
            let found = self.shared_port(policy, address, transport);
            if found.is_some() {
                self.hosts[host].slot = address.slot;
                self.hosts[host].address = u32::from(address.address);
                return found;
            }
        }
        None
    }

    /// Claims a block of an address: all are tried, in an order nobody can foresee.
    fn claim(&mut self, policy: &Policy, address: &Shared) -> Option<u16> {
        if self.owners.claimed(address.slot) >= address.blocks {
            return None;
        }
        let random = self.random.next_u32();
        let start = random as u16;
        // An odd stride meets each of the 1024 blocks once.
        let stride = (random >> 16) as u16 | 1;
        (0..BLOCKS as u16)
            .map(|step| start.wrapping_add(step.wrapping_mul(stride)) % BLOCKS as u16)
            .find(|&number| {
                self.owners.owner(address.slot, number).is_none()
                    && policy.usable(address, number) != 0
                    && self.owners.claim(address.slot, number, self.worker)
            })
    }

    /// Takes a random free port of a block on `address`.
    fn take(
        &mut self,
        policy: &Policy,
        address: &Shared,
        block: u32,
        transport: Transport,
    ) -> Option<u16> {
        let record = &mut self.blocks[block];
        if record.slot != address.slot {
            return None;
        }
        // A policy may have changed what may be handed out, or whose the address is.
        record.usable = policy.usable(address, record.number);
        record.checked = generation_mark(policy);
        if record.target != address.target.0 {
            let ports = record.used.iter().map(|used| used.count_ones()).sum();
            let old = std::mem::replace(&mut record.target, address.target.0);
            self.usage_of(old).subtract(1, ports);
            self.usage_of(address.target.0).add(1, ports);
        }
        self.take_any(block, transport)
    }

    /// Takes a random free port of a block that was compared with the policy.
    #[inline(always)]
    fn take_any(&mut self, block: u32, transport: Transport) -> Option<u16> {
        let record = &mut self.blocks[block];
        let free = record.usable & !record.used[transport.index()];
        if free == 0 {
            self.unlist(block, transport);
            return None;
        }
        // Drawn by multiplication: no place is likelier than another by more than 2^-26.
        let draw = u64::from(self.random.next_u32()) * u64::from(free.count_ones());
        let bit = nth_bit(free, (draw >> 32) as u32);
        record.used[transport.index()] |= 1 << bit;
        let port = record.number * BLOCK_PORTS + bit as u16;
        if free.count_ones() == 1 {
            self.unlist(block, transport);
        }
        Some(port)
    }
}

/// How blocks name the policy they were compared with.
const fn generation_mark(policy: &Policy) -> u32 {
    policy.generation().value() as u32
}
