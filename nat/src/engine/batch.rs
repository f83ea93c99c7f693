//! The first packets of many flows together: each step of making a session asks for the lines of the
//! next, for all of them, so that no packet waits for memory alone.

use sekisho_types::InterfaceId;

use super::mappings::MappingKey;
use super::outbound::Draft;
use super::{Engine, Outbound, Probe};
use crate::key::{TcpSegment, Word};
use crate::refusal::Refusal;
use crate::session::Session;
use crate::time::Time;

/// Packets taken together.
const TOGETHER: usize = 32;

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

/// How far the answer to a packet is.
#[derive(Clone, Copy)]
enum Step {
    /// A session was there when the batch began.
    Known,
    Answered(Result<Outbound, Refusal>),
    /// It needs a session with an outside tuple of this mapping.
    Wanted(MappingKey),
    /// This session is to be stored.
    Reserved(Session),
}

impl Engine {
    /// [`Engine::outbound_probed`] of many packets in their order; tells `answer` of each. For
    /// packets that are not known to have a session: several new ones together cost much less than
    /// one by one.
    pub fn outbound_batch(
        &mut self,
        now: Time,
        packets: &[Departure],
        mut answer: impl FnMut(usize, Result<Outbound, Refusal>),
    ) {
        for (batch, packets) in packets.chunks(TOGETHER).enumerate() {
            let mut steps = [Step::Known; TOGETHER];
            let steps = &mut steps[..packets.len()];
            self.draft_all(packets, steps);
            self.approach(packets, steps);
            self.reserve_all(now, packets, steps);
            for (place, (packet, step)) in packets.iter().zip(steps).enumerate() {
                answer(batch * TOGETHER + place, self.finish(now, packet, step));
            }
        }
    }

    /// Finds out which packets need a mapping, and asks for the index lines of it and its host.
    fn draft_all(&self, packets: &[Departure], steps: &mut [Step]) {
        for packet in packets {
            self.index.prefetch_second(packet.probe.hash);
        }
        for (packet, step) in packets.iter().zip(steps) {
            if self.find_outbound(&packet.probe).is_some() {
                continue;
            }
            *step = match self.draft(&packet.probe, &packet.tcp, packet.egress) {
                Ok(Draft::Done(outbound)) => Step::Answered(Ok(outbound)),
                Ok(Draft::Forward(outside)) => {
                    let outside = Word::outside(outside);
                    let (local, peer) = (packet.probe.local, packet.probe.peer);
                    Step::Reserved(Session::new(local, peer, outside))
                }
                Ok(Draft::Share(key)) => {
                    self.ports.prefetch_host_index(&key.host);
                    self.mapping_index.prefetch(key.hash);
                    Step::Wanted(key)
                }
                Err(refusal) => Step::Answered(Err(refusal)),
            };
        }
    }

    /// Asks for the records of hosts and mappings, then for the blocks of the hosts.
    fn approach(&self, packets: &[Departure], steps: &[Step]) {
        let wanted = || {
            steps.iter().filter_map(|step| match step {
                Step::Wanted(key) => Some(key),
                _ => None,
            })
        };
        for (place, key) in (0..).zip(wanted()) {
            self.ports.prefetch_host(&key.host);
            self.mapping_index.prefetch_second(key.hash);
            let _ = self.mapping_index.candidates(key.hash, |number| {
                self.mappings.prefetch(number);
            });
            self.mappings.prefetch_vacant(place);
        }
        for key in wanted() {
            self.ports.prefetch_current_block(&key.host, key.transport);
        }
        for ahead in (0..).take(packets.len()) {
            self.sessions.prefetch_vacant(ahead);
        }
    }

    /// Gives packets outside tuples, and asks for the lines their sessions will be found by.
    fn reserve_all(&mut self, now: Time, packets: &[Departure], steps: &mut [Step]) {
        for (packet, step) in packets.iter().zip(steps.iter_mut()) {
            if let Step::Wanted(key) = step {
                *step = match self.reserve(now, &packet.probe, key) {
                    Ok(session) => Step::Reserved(session),
                    Err(refusal) => Step::Answered(Err(refusal)),
                };
            }
            if let Step::Reserved(session) = step {
                let toward = self.toward_hash(session.outside(), session.peer());
                self.index.prefetch(toward);
            }
        }
        for step in steps.iter() {
            if let Step::Reserved(session) = step {
                let toward = self.toward_hash(session.outside(), session.peer());
                self.index.prefetch_second(toward);
            }
        }
    }

    fn finish(&mut self, now: Time, packet: &Departure, step: &Step) -> Result<Outbound, Refusal> {
        let Departure { probe, tcp, egress } = packet;
        let result = match *step {
            Step::Known | Step::Wanted(_) => {
                return self.outbound_probed(now, probe, tcp, *egress);
            }
            Step::Answered(result) => result,
            Step::Reserved(session) => {
                if self.find_outbound(probe).is_some() {
                    // An earlier packet of the batch made it.
                    if session.mapping != 0 {
                        self.unuse_mapping(session.mapping);
                    }
                    return self.outbound_probed(now, probe, tcp, *egress);
                }
                self.enter(now, probe, tcp, session)
            }
        };
        self.count(result)
    }
}
