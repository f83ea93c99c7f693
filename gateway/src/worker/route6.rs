//! From an IPv6 packet's headers to the way it goes: tables only. There is no translation, so no
//! worker owns a flow, and a packet leaves its tenant as it is, or not at all.

use std::net::IpAddr;
use std::time::Duration;

use sekisho_fib::{Adjacency, AdjacencyId, Leaf, Link};
use sekisho_packet::Icmpv6Error;
use sekisho_types::VrfId;

use super::Worker;
use super::hold::Release;
use super::is_resolved;
use super::packet::Origin;
use super::packet6::Packet6;
use super::route::Way;
use crate::control::neighbor::Neighbor;
use crate::drops::DropReason;

/// A tenant's packet takes two lookups, or three into another tenant; more is a loop of routes.
const MAX_LOOKUPS: usize = 8;

/// What becomes of an IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way6 {
    /// It leaves by this adjacency, which is resolved.
    Out(Adjacency),
    /// It waits for this neighbour; of a tunnel's way, an IPv4 one.
    Resolve(Neighbor),
    /// It is for the gateway itself.
    Gateway,
    /// It goes no further; the sender may be told why.
    Refuse(DropReason, Option<Icmpv6Error>),
}

const fn refuse(reason: DropReason) -> Way6 {
    Way6::Refuse(reason, None)
}

/// How the underlay, which is IPv4, stands in the way of a tunnel.
impl From<Way> for Way6 {
    fn from(way: Way) -> Self {
        match way {
            Way::Resolve(neighbor) => Self::Resolve(neighbor),
            Way::Refuse(reason, Some(_)) => {
                Self::Refuse(reason, Some(Icmpv6Error::AddressUnreachable))
            }
            Way::Refuse(reason, None) => refuse(reason),
            Way::Out(_)
            | Way::HandOver(_)
            | Way::AwaitFirst(_)
            | Way::Gateway
            | Way::Unsolicited(_) => refuse(DropReason::NoTunnelRoute),
        }
    }
}

impl Worker {
    /// Runs a packet from its VRF to its verdict.
    pub(super) fn route6(&mut self, mut packet: Packet6) {
        let way = self.find_way6(&mut packet);
        self.finish6(packet, way);
    }

    pub(super) fn finish6(&mut self, packet: Packet6, way: Way6) {
        match way {
            Way6::Out(adjacency) => self.forward6(packet, &adjacency),
            Way6::Gateway if packet.vrf == VrfId::PROVIDER => self.punt6(packet),
            Way6::Gateway => self.answer_tenant6(packet),
            Way6::Refuse(reason, error) => self.refuse6(packet, reason, error),
            Way6::Resolve(neighbor) => {
                self.need(neighbor);
                let now = Duration::from_nanos(self.now_ns);
                if let Err((packet, reason)) = self.hold6.hold(packet, neighbor, now) {
                    self.drop(packet.mbuf, reason);
                }
                self.count_held();
            }
        }
    }

    /// Packets whose neighbour is known by now, and those that waited in vain.
    pub(super) fn release_held6(&mut self) {
        let (reader, snapshot) = (&self.reader, &self.snapshot);
        let known = |neighbor: Neighbor| is_resolved(reader, snapshot, neighbor);
        let now = Duration::from_nanos(self.now_ns);
        let mut released = std::mem::take(&mut self.released6);
        self.hold6.release(now, known, &mut released);
        for packet in released.drain(..) {
            match packet {
                Release::Retry(packet) => self.route6(packet),
                Release::GiveUp(packet) => {
                    let error = Some(Icmpv6Error::AddressUnreachable);
                    self.refuse6(packet, DropReason::NeighborUnresolved, error);
                }
            }
            self.count_held();
        }
        self.released6 = released;
    }

    fn find_way6(&self, packet: &mut Packet6) -> Way6 {
        let unreachable = Some(Icmpv6Error::AddressUnreachable);
        for _ in 0..MAX_LOOKUPS {
            let leaf = self.reader.lookup(packet.vrf, packet.header.flow.dst);
            if packet.expires() && leaf != Leaf::Local {
                let error = Some(Icmpv6Error::HopLimitExceeded);
                return Way6::Refuse(DropReason::TtlExpired, error);
            }
            match leaf {
                Leaf::None | Leaf::Nat => {
                    return Way6::Refuse(DropReason::NoRoute, Some(Icmpv6Error::NoRoute));
                }
                Leaf::Discard => return refuse(DropReason::DiscardRoute),
                Leaf::Local => return ours(packet),
                Leaf::Connected(link) => return connected(packet, link),
                Leaf::Adjacency(id) => return self.leave_by6(packet, id),
                Leaf::PathList(list) => {
                    return match self.reader.select(list, packet.header.flow.hash(self.seed)) {
                        Some(id) => self.leave_by6(packet, id),
                        None => Way6::Refuse(DropReason::NextHopDown, unreachable),
                    };
                }
                Leaf::LookupVrf(vrf) => {
                    if let Err(way) = self.cross6(packet, vrf) {
                        return way;
                    }
                }
            }
        }
        refuse(DropReason::VrfLoop)
    }

    /// A route leads into another VRF. Out of a tenant goes only what the way back leads to.
    fn cross6(&self, packet: &mut Packet6, vrf: VrfId) -> Result<(), Way6> {
        if vrf == VrfId::PROVIDER && packet.vrf != VrfId::PROVIDER {
            if packet.left_tenant {
                return Err(refuse(DropReason::VrfLoop));
            }
            if !self.is_advertised6(packet) {
                let error = Some(Icmpv6Error::AdministrativelyProhibited);
                return Err(Way6::Refuse(DropReason::NotAdvertised, error));
            }
            packet.left_tenant = true;
        }
        packet.vrf = vrf;
        Ok(())
    }

    fn is_advertised6(&self, packet: &Packet6) -> bool {
        let tenant = self.snapshot.tenant(packet.vrf);
        let segments = tenant.map_or(&[][..], |tenant| &tenant.segments);
        segments.iter().any(|&id| {
            let segment = self.snapshot.segment(id);
            let ipv6 = segment.and_then(|segment| segment.ipv6.as_ref());
            ipv6.is_some_and(|ipv6| ipv6.advertise && ipv6.prefix.contains(packet.header.flow.src))
        })
    }

    fn leave_by6(&self, packet: &Packet6, id: AdjacencyId) -> Way6 {
        match self.reader.adjacency(id) {
            Adjacency::Incomplete { link, next_hop } => Way6::Resolve(Neighbor {
                link,
                address: next_hop,
            }),
            Adjacency::Glean { link } => connected(packet, link),
            Adjacency::Drop => Way6::Refuse(
                DropReason::NextHopDown,
                Some(Icmpv6Error::AddressUnreachable),
            ),
            adjacency => Way6::Out(adjacency),
        }
    }
}

/// The destination is one of the gateway's own addresses.
fn ours(packet: &Packet6) -> Way6 {
    match packet.origin {
        _ if packet.vrf != VrfId::PROVIDER => Way6::Gateway,
        Origin::Host => refuse(DropReason::NoRoute),
        // A tenant does not reach what the kernel serves.
        Origin::Segment(_) | Origin::Hairpin => refuse(DropReason::GatewayService),
        Origin::Uplink(_) | Origin::Gateway => Way6::Gateway,
    }
}

/// The destination is on the link itself, and no such neighbour is known yet.
fn connected(packet: &Packet6, link: Link) -> Way6 {
    Way6::Resolve(Neighbor {
        link,
        address: IpAddr::V6(packet.header.flow.dst),
    })
}
