//! The first packets of many flows together: each step of making a session asks for the lines of the
//! next, for all of them, so that no packet waits for memory alone.

use sekisho_types::InterfaceId;

use super::lifecycle::Order;
use super::mappings::MappingKey;
use super::{Engine, Outbound, Probe};
use crate::key::{TcpSegment, Word};
use crate::refusal::Refusal;
use crate::time::Time;

/// Packets taken together.
const TOGETHER: usize = 32;
/// How many packets ahead a step asks again for what it will need: a CPU with many lines under way
/// drops requests, and those it did not drop cost nothing.
const AHEAD: usize = 8;

/// A packet that leaves a tenant, as [`Engine::outbound_batch`] takes it.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    /// Its key, probed.
    pub probe: Probe,
    /// What it says of its connection, if it is TCP.
    pub tcp: TcpSegment,
    /// The uplink it leaves by.
    pub egress: InterfaceId,
}

/// How far a packet is. Written and read field by field: copies of it would have to wait for that.
#[derive(Clone, Copy)]
struct Wish {
    /// Its place in the batch.
    place: usize,
    key: MappingKey,
    /// The block its port will likely be of.
    block: u32,
    /// The mapping it uses, once it has one; else 0.
    mapping: u32,
    outside: Word,
    toward: u64,
}

impl Engine {
    /// [`Engine::outbound_probed`] of many packets; tells `answer` of each, in their order. For
    /// packets that are not known to have a session: several new ones together cost much less than
    /// one by one.
    pub fn outbound_batch(
        &mut self,
        now: Time,
        packets: &[Departure],
        mut answer: impl FnMut(usize, Result<Outbound, Refusal>),
    ) {
        for (batch, packets) in packets.chunks(TOGETHER).enumerate() {
            let mut wishes = [const { Wish::NONE }; TOGETHER];
            let count = self.wish(packets, &mut wishes);
            let wishes = &mut wishes[..count];
            self.approach(wishes);
            self.reserve(now, packets, wishes);
            let mut wishes = &*wishes;
            for (place, packet) in packets.iter().enumerate() {
                let wish = wishes.first().filter(|wish| wish.place == place);
                if wish.is_some() {
                    wishes = &wishes[1..];
                    self.sessions.prefetch_vacant(AHEAD as u32);
                }
                if let Some(next) = wishes.get(AHEAD) {
                    self.index.prefetch(next.toward);
                }
                let outcome = self.finish(now, packet, wish);
                answer(batch * TOGETHER + place, outcome);
            }
        }
    }

    /// Finds out which packets need a mapping, and asks for the index lines of it and its host.
    #[inline]
    fn wish(&self, packets: &[Departure], wishes: &mut [Wish; TOGETHER]) -> usize {
        let mut count = 0;
        for (place, packet) in packets.iter().enumerate() {
            let probe = &packet.probe;
            self.index.prefetch_second(probe.hash);
            let (Some(transport), Some(target)) = (
                probe.transport(),
                self.target_of_new(probe, &packet.tcp, packet.egress),
            ) else {
                continue;
            };
            let wish = &mut wishes[count];
            wish.place = place;
            self.mapping_key_into(&mut wish.key, probe.local, transport, target);
            self.ports.prefetch_host_index(wish.key.host_hash);
            self.mapping_index.prefetch(wish.key.hash);
            count += 1;
        }
        count
    }

    /// Asks for the records of hosts and mappings, then for the blocks of the hosts.
    #[inline]
    fn approach(&self, wishes: &mut [Wish]) {
        for (place, wish) in wishes.iter().enumerate() {
            if let Some(next) = wishes.get(place + AHEAD) {
                self.ports.prefetch_host_index(next.key.host_hash);
                self.mapping_index.prefetch(next.key.hash);
            }
            let hash = wish.key.hash;
            self.ports.prefetch_host(wish.key.host_hash);
            self.mapping_index.prefetch_second(hash);
            self.mapping_index.candidates(hash, |number| {
                self.mappings.prefetch(number);
            });
        }
        for place in 0..wishes.len() {
            if let Some(next) = wishes.get(place + AHEAD) {
                self.ports.prefetch_host(next.key.host_hash);
            }
            let wish = &mut wishes[place];
            wish.block = self.ports.current_block(&wish.key);
            self.ports.prefetch_block(wish.block);
        }
    }

    /// Gives packets outside tuples, and asks for the lines their sessions will be found by.
    #[inline]
    fn reserve(&mut self, now: Time, packets: &[Departure], wishes: &mut [Wish]) {
        for place in 0..wishes.len() {
            if let Some(next) = wishes.get(place + AHEAD) {
                self.ports.prefetch_block(next.block);
                self.mapping_index.prefetch(next.key.hash);
            }
            self.mappings.prefetch_vacant(AHEAD as u32);
            let wish = &mut wishes[place];
            let probe = &packets[wish.place].probe;
            // What is refused here is refused again, and counted, when its turn comes.
            let known = self.find_outbound(probe).is_some();
            if known || self.make_room(now).is_err() {
                continue;
            }
            let Ok(mapping) = self.use_mapping(now, &wish.key) else {
                continue;
            };
            wish.mapping = mapping;
            wish.outside = self.outside_of(mapping);
            wish.toward = self.toward_hash(wish.outside, probe.peer);
            self.index.prefetch(wish.toward);
        }
        for ahead in 0..AHEAD as u32 {
            self.sessions.prefetch_vacant(ahead);
        }
        for wish in wishes.iter() {
            if wish.mapping != 0 {
                self.index.prefetch_second(wish.toward);
            }
        }
    }

    #[inline]
    fn finish(
        &mut self,
        now: Time,
        packet: &Departure,
        wish: Option<&Wish>,
    ) -> Result<Outbound, Refusal> {
        let Departure { probe, tcp, egress } = packet;
        let Some(wish) = wish.filter(|wish| wish.mapping != 0) else {
            return self.outbound_probed(now, probe, tcp, *egress);
        };
        let order = Order {
            inside: probe.local,
            peer: probe.peer,
            outside: wish.outside,
            mapping: wish.mapping,
            uplink: wish.key.uplink(),
            outbound: probe.hash,
            toward: wish.toward,
        };
        match self.enter(now, tcp, &order) {
            // An earlier packet of the batch made it.
            Err(Refusal::Conflict) => self.outbound_probed(now, probe, tcp, *egress),
            result => self.count(result),
        }
    }
}

impl Wish {
    const NONE: Self = Self {
        place: 0,
        key: MappingKey::NONE,
        block: 0,
        mapping: 0,
        outside: Word(0),
        toward: 0,
    };
}
