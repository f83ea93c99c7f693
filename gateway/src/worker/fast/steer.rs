//! Which packets of a burst are for another worker, told before any session is looked for.

use std::net::Ipv4Addr;

use sekisho_dpdk::Mbuf;
use sekisho_nat::Scope;
use sekisho_types::{IpProtocol, WorkerId};

use super::mask::{Mask, Order};
use super::outward::CROSSING;
use super::{Lanes, nat_flow};
use crate::counters::WorkerCounters;
use crate::worker::Worker;
use crate::worker::handover::{Arrival, Handover};

impl Worker {
    /// Takes out of the burst, of what came out of tunnels, what needs the sessions of another
    /// worker: it leaves its tenant, whose rules translate its source with state.
    #[inline(never)]
    pub(super) fn steer_outward(&self, lanes: &mut Lanes) {
        let policy = &self.snapshot.nat;
        let mut others = Mask::NONE;
        for lane in lanes.out {
            let source = Ipv4Addr::from_octets(lanes.heads.src(lane).to_le_bytes());
            let owner = policy.inside_owner(lanes.tunnel.vrf[lane], source);
            lanes.owners[lane] = owner;
            others.add(lane, owner != self.id);
        }
        let mut order = Order::NONE;
        order.set(&[others]);
        let tables = &mut lanes.tables;
        for (place, lane) in order.places() {
            tables.vrfs[place] = lanes.tunnel.vrf[lane];
            tables.addresses[place] = Ipv4Addr::from_octets(lanes.heads.dst(lane).to_le_bytes());
        }
        let count = order.len();
        self.reader.lookup_batch_mixed(
            &tables.vrfs[..count],
            &tables.addresses[..count],
            &mut tables.leaves[..count],
        );
        let mut given = Mask::NONE;
        for (place, lane) in order.places() {
            let crosses = lanes.tables.leaves[place] == CROSSING;
            // Otherwise whoever has it runs it.
            given.add(lane, crosses && self.needs_state(lanes, lane));
        }
        lanes.others |= given;
        lanes.out = lanes.out & !given;
    }

    /// Whether the rules of its tenant translate the source of a packet with state.
    fn needs_state(&self, lanes: &Lanes, lane: usize) -> bool {
        let key = nat_flow(&lanes.heads, lane);
        let vrf = lanes.tunnel.vrf[lane];
        let scope = || {
            self.snapshot
                .nat
                .scope(vrf, key.src, *key.dst.ip(), key.protocol)
        };
        lanes.stateful.has(lane) && scope() == Scope::Stateful
    }

    /// Whom a packet to an outside address is for that no session here knows, if it is another.
    #[cold]
    pub(super) fn steer_inward(&self, lanes: &Lanes, lane: usize) -> Option<WorkerId> {
        let key = nat_flow(&lanes.heads, lane);
        let protocol = IpProtocol(lanes.heads.protocol(lane));
        let policy = &self.snapshot.nat;
        let owner = policy.outside_owner(protocol, *key.dst.ip(), key.dst.port());
        owner.filter(|owner| *owner != self.id)
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
