//! Connections from outside that nobody asked for. Their SYN is dropped without a word, for a
//! connection may be opened from both sides at once; only when six seconds have passed without a
//! SYN from inside is the sender told (RFC 5382 REQ-4).

use std::collections::{HashSet, VecDeque};

use sekisho_packet::FlowKey;
use sekisho_packet::build::IcmpError;
use sekisho_types::VrfId;

use super::Worker;
use super::packet::{Origin, Packet};
use crate::drops::DropReason;

/// How long nothing is said, in nanoseconds.
const SILENCE: u64 = 6_000_000_000;
/// Most SYNs whose senders wait for an answer.
const MOST: usize = 1024;
/// Octets of an error: its headers, and of the SYN the IP header, however long, and eight octets.
const ERROR: usize = 20 + 8 + 60 + 8;

/// Errors that will be sent unless the connection is opened from inside.
pub(super) struct Unsolicited {
    /// The oldest first. Room for [`MOST`] was made at the start, and so below.
    waiting: VecDeque<Waiting>,
    flows: HashSet<FlowKey>,
}

struct Waiting {
    due: u64,
    flow: FlowKey,
    vrf: VrfId,
    error: [u8; ERROR],
    length: usize,
}

impl Unsolicited {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(MOST),
            flows: HashSet::with_capacity(2 * MOST),
        }
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= MOST
    }

    fn wait(&mut self, waiting: Waiting) {
        self.flows.insert(waiting.flow);
        self.waiting.push_back(waiting);
    }

    /// The next whose time has come.
    fn due(&mut self, now: u64) -> Option<Waiting> {
        let waiting = self.waiting.pop_front_if(|waiting| waiting.due <= now)?;
        self.flows.remove(&waiting.flow);
        Some(waiting)
    }
}

impl Worker {
    /// Drops a SYN nobody asked for; its sender may be told later. A SYN that comes again changes
    /// nothing.
    pub(super) fn refuse_unsolicited(&mut self, packet: Packet, reason: DropReason) {
        let reason = if !self.answers_syns(packet.origin) {
            reason
        } else if self.unsolicited.is_full() {
            DropReason::NatSynBacklog
        } else {
            if !self.unsolicited.flows.contains(&packet.header.flow) {
                self.tell_later(&packet);
            }
            reason
        };
        self.drop(packet.mbuf, reason);
    }

    fn answers_syns(&self, origin: Origin) -> bool {
        match origin {
            Origin::Uplink(id) => self.snapshot.uplink(id).is_some_and(|own| own.answers_syns),
            _ => true,
        }
    }

    fn tell_later(&mut self, packet: &Packet) {
        let mut error = [0; ERROR];
        let written = self.write_error(packet, IcmpError::PortUnreachable, &mut error);
        if let Some((length, vrf)) = written {
            self.unsolicited.wait(Waiting {
                due: self.now_ns.saturating_add(SILENCE),
                flow: packet.header.flow,
                vrf,
                error,
                length,
            });
        }
    }

    /// Tells those whose time has come.
    pub(super) fn answer_unsolicited(&mut self) {
        while let Some(waiting) = self.unsolicited.due(self.now_ns) {
            if !self.was_opened(&waiting.flow) {
                self.tell(&waiting.error[..waiting.length], waiting.vrf);
            }
        }
    }

    /// Whether the connection was opened from inside meanwhile. If another worker answers for the
    /// outside port by now, it may have been.
    fn was_opened(&self, flow: &FlowKey) -> bool {
        let owner = self
            .snapshot
            .nat
            .outside_owner(flow.proto, flow.dst, flow.dport);
        owner.is_some_and(|owner| owner != self.id) || self.has_session_from(flow)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use sekisho_types::IpProtocol;

    use super::*;

    fn waiting(due: u64, sport: u16) -> Waiting {
        let flow = FlowKey {
            src: Ipv4Addr::new(192, 0, 2, 80),
            dst: Ipv4Addr::new(203, 0, 113, 64),
            sport,
            dport: 80,
            proto: IpProtocol::TCP,
        };
        Waiting {
            due,
            flow,
            vrf: VrfId::PROVIDER,
            error: [0; ERROR],
            length: ERROR,
        }
    }

    #[test]
    fn t05_each_waits_its_time_and_no_more_wait_than_there_is_room_for() {
        let mut unsolicited = Unsolicited::new();
        let room = (unsolicited.waiting.capacity(), unsolicited.flows.capacity());
        for round in 0..100 {
            for number in 0..MOST as u16 {
                assert!(!unsolicited.is_full());
                unsolicited.wait(waiting(round * 10_000 + u64::from(number), number));
            }
            assert!(unsolicited.is_full());
            let now = round * 10_000 + 511;
            let count = std::iter::from_fn(|| unsolicited.due(now)).count();
            assert_eq!((count, unsolicited.flows.len()), (512, MOST - 512));
            let rest = std::iter::from_fn(|| unsolicited.due(u64::MAX)).count();
            assert_eq!((rest, unsolicited.flows.len()), (MOST - 512, 0));
        }
        // Nothing was allocated besides.
        assert_eq!(unsolicited.waiting.capacity(), room.0);
        assert!(unsolicited.flows.capacity() <= room.1);
    }
}
