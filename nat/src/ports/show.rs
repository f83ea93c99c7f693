//! What is used of pools and uplink addresses, for people.

use std::net::Ipv4Addr;
use std::ops::AddAssign;

use sekisho_types::VrfId;

use super::{Block, Host, Ports};
use crate::key::{Transport, Word};
use crate::policy::Target;

/// How much of a pool or uplink address a worker uses, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// Ports handed out, all protocols.
    pub ports: u32,
    /// Units of 64 ports owned.
    pub blocks: u32,
    /// Ports that were given back and are kept for a while, all protocols.
    pub quarantined: u32,
}

impl AddAssign for PoolUsage {
    fn add_assign(&mut self, other: Self) {
        self.ports += other.ports;
        self.blocks += other.blocks;
        self.quarantined += other.quarantined;
    }
}

/// How much of one address of a pool a worker uses, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressUsage {
    /// The address.
    pub address: Ipv4Addr,
    /// Blocks of 64 owned.
    pub blocks: u32,
    /// TCP ports handed out.
    pub tcp: u32,
    /// UDP ports handed out.
    pub udp: u32,
    /// ICMP identifiers handed out.
    pub icmp: u32,
}

impl AddressUsage {
    /// Nothing of an address.
    pub const fn none(address: Ipv4Addr) -> Self {
        Self {
            address,
            blocks: 0,
            tcp: 0,
            udp: 0,
            icmp: 0,
        }
    }

    fn add_block(&mut self, block: &Block) {
        self.blocks += 1;
        for transport in Transport::ALL {
            let count = match transport {
                Transport::Tcp => &mut self.tcp,
                Transport::Udp => &mut self.udp,
                Transport::Icmp => &mut self.icmp,
            };
            *count += block.used[transport.index()].count_ones();
        }
    }
}

impl AddAssign for AddressUsage {
    fn add_assign(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.tcp += other.tcp;
        self.udp += other.udp;
        self.icmp += other.icmp;
    }
}

impl Ports {
    /// Tells the VRF and the mappings of `max` hosts from `start` on. Returns where to go on; `None` at
    /// the end.
    pub(crate) fn walk_hosts(
        &self,
        start: u32,
        max: u32,
        mut tell: impl FnMut(VrfId, u32),
    ) -> Option<u32> {
        let end = self.hosts.end();
        let stop = start.saturating_add(max).min(end);
        for number in start..stop {
            let Host {
                inside, mappings, ..
            } = self.hosts[number];
            if mappings > 0 {
                tell(Word(inside).vrf(), mappings);
            }
        }
        (stop < end).then_some(stop)
    }

    /// Adds what is used of `max` blocks from `start` on to the addresses, which are in order, that
    /// are of the target. Returns where to go on; `None` at the end.
    pub(crate) fn walk_blocks(
        &self,
        target: Target,
        start: u32,
        max: u32,
        addresses: &mut [AddressUsage],
    ) -> Option<u32> {
        let end = self.blocks.end();
        let stop = start.saturating_add(max).min(end);
        for number in start..stop {
            let block = &self.blocks[number];
            if block.slot == 0 || block.target != target.0 {
                continue;
            }
            let address = Word::outside_at(block.address_wire, 0).address();
            let place = addresses.binary_search_by_key(&address, |usage| usage.address);
            if let Some(usage) = place.ok().and_then(|place| addresses.get_mut(place)) {
                usage.add_block(block);
            }
        }
        (stop < end).then_some(stop)
    }
}
