//! The first packets of many flows together: each step of making a session asks for the lines of the
//! next, for all of them, so that no packet waits for memory alone.

use arrayvec::ArrayVec;
use sekisho_types::InterfaceId;

use super::lifecycle::Order;
use super::mappings::MappingKey;
use super::{Engine, Outbound, Probe};
use crate::key::{TcpSegment, Word};
use crate::refusal::Refusal;
use crate::table::Candidate;
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
struct Wish {
    /// Its place in the batch.
    place: usize,
    /// Whether it may have a session.
    suspected: bool,
    key: MappingKey,
    /// The record of its host, likely; else 0.
    host: u32,
    /// The block its port will likely be of.
    block: u32,
    /// The mapping it uses, once it has one; else 0.
    mapping: u32,
    outside: Word,
    toward: u64,
}

type Wishes = ArrayVec<Wish, TOGETHER>;

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
        self.clock = now;
        for (batch, packets) in packets.chunks(TOGETHER).enumerate() {
            let mut wishes = Wishes::new();
            self.wish(packets, &mut wishes);
            self.approach(&mut wishes);
            self.reserve(now, packets, &mut wishes);
            let mut wishes = &wishes[..];
            for (place, packet) in packets.iter().enumerate() {
                let mut granted = None;
                if let Some((wish, rest)) = wishes.split_first()
                    && wish.place == place
                {
                    wishes = rest;
                    self.sessions.prefetch_vacant(AHEAD as u32);
                    if let Some(next) = wishes.get(AHEAD - 1) {
                        self.index.prefetch(next.toward);
                    }
                    granted = Some(wish).filter(|wish| wish.mapping != 0);
                }
                let outcome = match granted {
                    Some(wish) => self.grant(now, packet, wish),
                    None => self.outbound_probed(now, &packet.probe, &packet.tcp, packet.egress),
                };
                answer(batch * TOGETHER + place, outcome);
            }
        }
    }

    /// Finds out which packets need a mapping, and asks for the index lines of it and its host.
    #[inline(never)]
    fn wish(&self, packets: &[Departure], wishes: &mut Wishes) {
        for (place, packet) in packets.iter().enumerate() {
            let probe = &packet.probe;
            let suspected = self.index.approach(probe.hash) != Candidate::None;
            let (Some(transport), Some(target)) = (
                probe.transport(),
                self.target_of_new(probe, &packet.tcp, packet.egress),
            ) else {
                continue;
            };
            let key = self.mapping_key(probe.local, transport, target);
            self.ports.prefetch_host_index(key.host_hash);
            self.mapping_index.prefetch(key.hash);
            // As many as there are packets.
            let _ = wishes.try_push(Wish {
                place,
                suspected,
                key,
                host: 0,
                block: 0,
                mapping: 0,
                outside: Word(0),
                toward: 0,
            });
        }
    }

    /// Asks for the records of hosts and mappings, then for the blocks of the hosts.
    #[inline(never)]
    fn approach(&self, wishes: &mut [Wish]) {
        for place in 0..wishes.len() {
            if let Some(next) = wishes.get(place + AHEAD) {
                self.ports.prefetch_host_index(next.key.host_hash);
                self.mapping_index.prefetch(next.key.hash);
            }
            let wish = &mut wishes[place];
            wish.host = self.ports.host_candidate(wish.key.host_hash);
            self.ports.prefetch_host(wish.host);
            if let Candidate::Likely(mapping) = self.mapping_index.approach(wish.key.hash) {
                self.mappings.prefetch(mapping);
            }
        }
        for place in 0..wishes.len() {
            if let Some(next) = wishes.get(place + AHEAD) {
                self.ports.prefetch_host(next.host);
            }
            let Wish {
                key, host, block, ..
            } = &mut wishes[place];
            *host = self.ports.find_host_near(key, *host).unwrap_or(0);
            *block = self.ports.current_block(*host, key.transport);
            self.ports.prefetch_block(*block);
        }
    }

    /// Gives packets outside tuples, and asks for the lines their sessions will be found by.
    #[inline(never)]
    fn reserve(&mut self, now: Time, packets: &[Departure], wishes: &mut [Wish]) {
        // What is refused here is refused again, and counted, when its turn comes.
        if self.sessions.vacant() == 0 {
            return;
        }
        for place in 0..wishes.len() {
            if let Some(next) = wishes.get(place + AHEAD) {
                self.ports.prefetch_block(next.block);
                self.mapping_index.prefetch(next.key.hash);
            }
            self.mappings.prefetch_vacant(AHEAD as u32);
            let wish = &mut wishes[place];
            let Some(Departure { probe, .. }) = packets.get(wish.place) else {
                continue;
            };
            if wish.suspected && self.find_outbound(probe).is_some() {
                continue;
            }
            let Ok(used) = self.use_mapping(now, &wish.key, wish.host) else {
                continue;
            };
            wish.mapping = used.mapping;
            wish.outside = used.outside;
            wish.toward = self.toward_hash(used.outside, probe.peer);
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

    /// Stores the session of a packet that has a mapping.
    #[inline(never)]
    fn grant(&mut self, now: Time, packet: &Departure, wish: &Wish) -> Result<Outbound, Refusal> {
        let Departure { probe, tcp, egress } = packet;
        let order = Order {
            inside: probe.local,
            peer: probe.peer,
            outside: wish.outside,
            mapping: wish.mapping,
            uplink: wish.key.uplink(),
            admitted: false,
            outbound: probe.hash,
            toward: wish.toward,
        };
        match self.enter(now, tcp, &order) {
            // An earlier packet of the batch made it.
            Err(Refusal::Conflict) => self.outbound_probed(now, probe, tcp, *egress),
            result => self.count_for(probe.local.vrf(), result),
        }
    }
}
