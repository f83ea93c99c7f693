//! Which packets of a burst are for another worker, told before any session is looked for.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use sekisho_dpdk::Mbuf;
use sekisho_nat::Scope;
use sekisho_types::{IpProtocol, WorkerId};

use super::outward::CROSSING;
use super::{Exit, LANES, Lane, Lanes, nat_key};
use crate::counters::WorkerCounters;
use crate::worker::Worker;
use crate::worker::handover::{Arrival, Handover};

impl Worker {
    /// Takes out of the burst, of what came out of tunnels, what needs the sessions of another
    /// worker: it leaves its tenant, whose rules translate its source with state.
    #[inline(never)]
    pub(super) fn steer_outward(&self, lanes: &mut Lanes) {
        let policy = &self.snapshot.nat;
        let (mut own, mut others) = (ArrayVec::<u8, LANES>::new(), ArrayVec::<u8, LANES>::new());
        for &index in &lanes.outward {
            let at = usize::from(index) % LANES;
            let lane = &lanes.packets[at];
            let source = Ipv4Addr::from_bits(lane.ip.src);
            let owner = policy.inside_owner(lane.vrf, source);
            let list = if owner == self.id {
                &mut own
            } else {
                lanes.exits[at] = Exit::HandOver(owner);
                &mut others
            };
            let _ = list.try_push(index);
        }
        let count = others.len();
        let tables = &mut lanes.tables;
        for (place, &index) in others.iter().enumerate() {
            let lane = &lanes.packets[usize::from(index) % LANES];
            tables.vrfs[place] = lane.vrf;
            tables.addresses[place] = Ipv4Addr::from_bits(lane.ip.dst);
        }
        self.reader.lookup_batch_mixed(
            &tables.vrfs[..count],
            &tables.addresses[..count],
            &mut tables.leaves[..count],
        );
        for (&index, &leaf) in others.iter().zip(&tables.leaves) {
            let at = usize::from(index) % LANES;
            if leaf != CROSSING || !self.needs_state(&lanes.packets[at]) {
                // Whoever has it runs it.
                lanes.exits[at] = Exit::Special;
                let _ = own.try_push(index);
            }
        }
        lanes.outward = own;
    }

    /// Whether the rules of its tenant translate the source of a packet with state.
    fn needs_state(&self, lane: &Lane) -> bool {
        let key = nat_key(&lane.ip);
        let stateful = |lane: &Lane| {
            let scope = self.snapshot.nat.scope(lane.vrf, key.src, key.protocol);
            scope == Scope::Stateful
        };
        let segment = self.snapshot.tunnels.at(lane.place);
        segment.is_some_and(|segment| segment.nat.stateful) && stateful(lane)
    }

    /// Whom a packet to an outside address is for that no session here knows.
    #[cold]
    pub(super) fn steer_inward(&self, lane: &Lane) -> Exit {
        let outside = Ipv4Addr::from_bits(lane.ip.dst);
        let protocol = IpProtocol(lane.ip.protocol);
        let policy = &self.snapshot.nat;
        match policy.outside_owner(protocol, outside, lane.ip.dport) {
            Some(owner) if owner != self.id => Exit::HandOver(owner),
            _ => Exit::Special,
        }
    }
}

/// Hands a frame to its owner, where it is counted what it was to an uplink; `false` if it goes no
/// further.
pub(super) fn give(
    handover: &mut Handover,
    counters: &WorkerCounters,
    owner: WorkerId,
    mbuf: Mbuf,
    came: Arrival,
) -> bool {
    match handover.send_frame(owner, mbuf, came) {
        Ok(()) => {
            counters.handed_over.add(1);
            true
        }
        Err(reason) => {
            counters.dropped(reason);
            false
        }
    }
}
