//! The end of a burst: transmit queues, other workers, refusals.

use arrayvec::ArrayVec;
use sekisho_dpdk::{Burst, Mbuf};
use sekisho_packet::build::IcmpError;

use super::mask::Mask;
use super::steer::give;
use super::{LANES, Lanes};
use crate::drops::DropReason;
use crate::worker::Worker;
use crate::worker::handover::Arrival;
use crate::worker::packet::{Origin, Packet};

impl Worker {
    /// Puts what is ready into the transmit queues, in the order of arrival; what is special stays.
    pub(super) fn emit(&mut self, lanes: &mut Lanes, burst: &mut Burst, port: u16) {
        let mut gone = lanes.done;
        if lanes.done == Mask::first(burst.len()) {
            for (mbuf, egress) in burst.drain().zip(&lanes.ports) {
                self.output.queue(*egress, mbuf, &self.counters);
            }
        } else {
            gone |= self.emit_some(lanes, burst, port);
        }
        if !gone.is_empty()
            && let Some(interface) = self.snapshot.uplink_of_port(port)
            && let Some(uplink) = self.snapshot.uplink(interface)
        {
            let octets = lanes.received_by(gone);
            uplink.traffic[self.id.index()].received_many(gone.len() as u64, octets);
        }
    }

    /// The end of a burst of which not all leaves. Answers what the uplink is to count besides what
    /// leaves: what is dropped here.
    #[inline(never)]
    fn emit_some(&mut self, lanes: &Lanes, burst: &mut Burst, port: u16) -> Mask {
        let came = Arrival {
            port,
            hops: self.hops,
        };
        let (mut special, mut ended) = (Burst::new(), Mask::NONE);
        let mut refused = ArrayVec::<(Mbuf, usize), LANES>::new();
        for (lane, mbuf) in burst.drain().enumerate() {
            let lane = lane % LANES;
            if lanes.done.has(lane) {
                self.output.queue(lanes.ports[lane], mbuf, &self.counters);
            } else if lanes.refused.has(lane) {
                ended.add(lane, true);
                // There is room for the whole burst, here and below.
                let _ = refused.try_push((mbuf, lane));
            } else if lanes.others.has(lane) {
                let owner = lanes.owners[lane];
                if !give(&mut self.handover, &self.counters, owner, mbuf, came) {
                    ended.add(lane, true);
                    self.count_left(lanes, lane);
                }
            } else {
                drop(special.push(mbuf));
            }
        }
        *burst = special;
        for (mbuf, lane) in refused {
            self.refuse_session(lanes, mbuf, lane);
        }
        ended
    }

    /// Drops a packet for which there is no session, and tells its sender if there will be room again.
    #[cold]
    fn refuse_session(&mut self, lanes: &Lanes, mut mbuf: Mbuf, lane: usize) {
        // Always there.
        let Some(refusal) = lanes.refusals[lane] else {
            return;
        };
        self.count_left(lanes, lane);
        let told = refusal.is_exhaustion();
        let error = told.then_some(IcmpError::AdministrativelyProhibited);
        let reason = refusal.into();
        if !mbuf.trim_front(lanes.at[lane].into()) {
            return self.drop(mbuf, DropReason::BufferShape);
        }
        let origin = Origin::Segment(lanes.tunnel.segment[lane]);
        match Packet::new(mbuf, origin, lanes.tunnel.vrf[lane]) {
            Ok(packet) => self.refuse(packet, reason, error),
            Err((mbuf, reason)) => self.drop(mbuf, reason),
        }
    }
}

impl Lanes {
    /// Octets these packets had when they were received.
    fn received_by(&self, packets: Mask) -> u64 {
        if packets == Mask::first(self.count) {
            let received = self.received[..self.count].iter();
            return received
                .map(|octets| u32::from(*octets))
                .sum::<u32>()
                .into();
        }
        packets.map(|lane| u64::from(self.received[lane])).sum()
    }
}
