//! From a packet's headers to the way it goes: tables, ownership, translation. Nothing is written
//! to the packet here, except between the two halves of a hairpin.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use sekisho_fib::{Adjacency, AdjacencyId, Leaf, Link};
use sekisho_nat as nat;
use sekisho_packet::build::IcmpError;
use sekisho_types::{InterfaceId, IpProtocol, Ipv4Prefix, VrfId, WorkerId};

use super::Worker;
use super::packet::{Header, Leaving, Origin, Packet, Payload, Rewrite, Scope};
use crate::control::neighbor::Neighbor;
use crate::drops::DropReason;
use crate::snapshot::Uplink;

/// A tenant's packet takes two lookups, a hairpin four; more is a loop of routes.
const MAX_LOOKUPS: usize = 8;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It leaves by this adjacency, which is resolved.
    Out(Adjacency),
    /// It waits for this neighbour.
    Resolve(Neighbor),
    /// Another worker owns its state.
    HandOver(WorkerId),
    /// It waits for the first fragment of its packet.
    AwaitFirst(nat::Place),
    /// It is for the gateway itself.
    Gateway,
    /// It goes no further; the sender may be told why.
    Refuse(DropReason, Option<IcmpError>),
    /// It opens a connection nobody asked for; the sender may be told later.
    Unsolicited(DropReason),
}

const fn refuse(reason: DropReason) -> Way {
    Way::Refuse(reason, None)
}

impl Worker {
    /// Finds the way of a packet, as far as this worker may.
    pub(super) fn find_way(&mut self, packet: &mut Packet) -> Way {
        for _ in 0..MAX_LOOKUPS {
            let leaf = self.reader.lookup(packet.vrf, packet.destination());
            if packet.expires() && leaf != Leaf::Local {
                return Way::Refuse(DropReason::TtlExpired, Some(IcmpError::TtlExceeded));
            }
            let step = match leaf {
                Leaf::None => Err(Way::Refuse(
                    DropReason::NoRoute,
                    Some(IcmpError::NetworkUnreachable),
                )),
                Leaf::Discard => Err(refuse(DropReason::DiscardRoute)),
                Leaf::LookupVrf(vrf) => self.cross(packet, vrf),
                Leaf::Nat | Leaf::Local => self.ours(packet, leaf),
                Leaf::Connected(link) => Err(self.connected(packet, link)),
                Leaf::Adjacency(id) => Err(self.leave_by(packet, id)),
                Leaf::PathList(list) => {
                    let hash = packet.header.path_flow().hash(self.seed);
                    Err(match self.reader.select(list, hash) {
                        Some(id) => self.leave_by(packet, id),
                        None => {
                            Way::Refuse(DropReason::NextHopDown, Some(IcmpError::HostUnreachable))
                        }
                    })
                }
            };
            if let Err(way) = step {
                return way;
            }
        }
        refuse(DropReason::VrfLoop)
    }

    /// A route leads into another VRF. On the way out of a tenant, its rules decide about state
    /// and so about the worker.
    fn cross(&mut self, packet: &mut Packet, vrf: VrfId) -> Result<(), Way> {
        if vrf == VrfId::PROVIDER && packet.vrf != VrfId::PROVIDER {
            if packet.rewrite != Rewrite::None || packet.leaving.is_some() {
                return Err(refuse(DropReason::VrfLoop));
            }
            let scope = self.scope(packet)?;
            if let Scope::Floating(outside) = scope {
                if packet.header.payload == Payload::IcmpError(None) {
                    return Err(refuse(DropReason::NatIcmpError));
                }
                packet.rewrite = source_rewrite(&packet.header, outside, None);
            }
            packet.leaving = Some(Leaving {
                vrf: packet.vrf,
                scope,
            });
        }
        packet.vrf = vrf;
        Ok(())
    }

    /// What the tenant's rules say about the source.
    fn scope(&mut self, packet: &mut Packet) -> Result<Scope, Way> {
        self.learn_ports_outward(packet)?;
        let policy = &self.snapshot.nat;
        let (protocol, source) = inside_tuple(&packet.header);
        let remote = packet.header.flow.dst;
        match policy.scope(packet.vrf, source, remote, protocol) {
            nat::Scope::Floating(outside) => Ok(Scope::Floating(outside)),
            nat::Scope::Stateful if packet.origin == Origin::Gateway => {
                Err(refuse(DropReason::NotTranslated))
            }
            nat::Scope::Stateful => {
                let owner = policy.inside_owner(packet.vrf, *source.ip());
                if owner == self.id {
                    Ok(Scope::Stateful)
                } else {
                    Err(Way::HandOver(owner))
                }
            }
            nat::Scope::Untranslated => {
                let sender = SocketAddrV4::new(packet.header.flow.src, source.port());
                let of_sender = policy.scope(packet.vrf, sender, remote, protocol);
                if of_sender != nat::Scope::Untranslated {
                    return Err(refuse(DropReason::NatIcmpError));
                }
                let exempt = policy.snat(packet.vrf, *source.ip(), remote).is_some();
                if exempt || self.is_advertised(packet) {
                    Ok(Scope::Routed)
                } else {
                    let error = Some(IcmpError::AdministrativelyProhibited);
                    Err(Way::Refuse(DropReason::NotTranslated, error))
                }
            }
        }
    }

    fn is_advertised(&self, packet: &Packet) -> bool {
        let source = packet.header.flow.src;
        let tenant = self.snapshot.tenant(packet.vrf);
        let segments = tenant.map_or(&[][..], |tenant| &tenant.segments);
        segments.iter().any(|&id| {
            self.snapshot
                .segment(id)
                .is_some_and(|segment| segment.advertise && segment.prefix.contains(source))
        })
    }

    /// The destination is one of our outside addresses.
    fn ours(&mut self, packet: &mut Packet, leaf: Leaf) -> Result<(), Way> {
        if packet.vrf != VrfId::PROVIDER {
            return Err(Way::Gateway);
        }
        match packet.origin {
            Origin::Host => Err(refuse(DropReason::NoRoute)),
            Origin::Segment(_) if packet.leaving.is_some() => self.hairpin(packet),
            Origin::Segment(_) => Err(refuse(DropReason::VrfLoop)),
            Origin::Uplink(_) | Origin::Hairpin | Origin::Gateway => self.enter(packet, leaf),
        }
    }

    /// The first half of a hairpin: the source is translated in the packet, which then comes in
    /// again as if from outside.
    fn hairpin(&mut self, packet: &mut Packet) -> Result<(), Way> {
        let destination = packet.destination();
        let owns = |uplink: &Option<Uplink>| {
            uplink
                .as_ref()
                .is_some_and(|uplink| uplink.owns(destination))
        };
        let mut uplinks = self.snapshot.uplinks.iter().zip(0..);
        let uplink = uplinks.find(|(uplink, _)| owns(uplink));
        self.translate_source(packet, uplink.map(|(_, id)| InterfaceId::new(id)))?;
        self.clamp_mss(packet, None);
        packet.translate_header().map_err(refuse)?;
        packet.origin = Origin::Hairpin;
        packet.leaving = None;
        Ok(())
    }

    /// A packet from outside finds the tenant it is for, or its owner worker.
    fn enter(&mut self, packet: &mut Packet, leaf: Leaf) -> Result<(), Way> {
        let destination = packet.header.flow.dst;
        self.learn_ports_inward(packet)?;
        let header = &packet.header;
        let nobody = |reason| match leaf {
            Leaf::Local if packet.origin == Origin::Hairpin => refuse(DropReason::GatewayService),
            Leaf::Local => Way::Gateway,
            _ => refuse(reason),
        };
        if let Payload::IcmpError(quoted) = header.payload
            && quoted.is_none_or(|quoted| quoted.src != destination)
        {
            return Err(nobody(DropReason::NatIcmpError));
        }
        if let Some((vrf, inside)) = self.snapshot.nat.floating_in(destination) {
            packet.rewrite = destination_rewrite(header, inside, None);
            packet.vrf = vrf;
            return Ok(());
        }
        // A ping of a shared address is for the gateway: mappings are for replies.
        let (protocol, port) = match header.payload {
            Payload::Fragment { .. } => return Err(nobody(DropReason::NatNoMapping)),
            Payload::EchoRequest | Payload::Other if leaf == Leaf::Local => {
                return Err(nobody(DropReason::NatNoMapping));
            }
            Payload::IcmpError(Some(quoted)) => (quoted.proto, quoted.sport),
            _ => (header.flow.proto, header.flow.dport),
        };
        match self.snapshot.nat.outside_owner(protocol, destination, port) {
            None if header.is_icmp_error() => Err(nobody(DropReason::NatIcmpError)),
            None if header.opens() && leaf != Leaf::Local => {
                Err(Way::Unsolicited(DropReason::NatNoMapping))
            }
            None => Err(nobody(DropReason::NatNoMapping)),
            Some(owner) if owner != self.id => Err(Way::HandOver(owner)),
            Some(_) => self.translate_destination(packet, leaf),
        }
    }

    /// The destination is on the link itself, and no such neighbour is known yet.
    fn connected(&self, packet: &Packet, link: Link) -> Way {
        let destination = packet.destination();
        if self.is_broadcast(link, destination) {
            return refuse(DropReason::MartianDestination);
        }
        Way::Resolve(Neighbor {
            link,
            address: IpAddr::V4(destination),
        })
    }

    /// The packet leaves by an adjacency: now the uplink is known, and with it what the source
    /// becomes.
    fn leave_by(&mut self, packet: &mut Packet, id: AdjacencyId) -> Way {
        let adjacency = self.reader.adjacency(id);
        let uplink = match adjacency {
            Adjacency::Ethernet { interface, .. } => Some(interface),
            Adjacency::Tunnel { .. } => None,
            Adjacency::Incomplete { link, next_hop } => {
                return Way::Resolve(Neighbor {
                    link,
                    address: next_hop,
                });
            }
            Adjacency::Glean { link } => return self.connected(packet, link),
            Adjacency::Drop => {
                return Way::Refuse(DropReason::NextHopDown, Some(IcmpError::HostUnreachable));
            }
        };
        match self.translate_source(packet, uplink) {
            Ok(()) => Way::Out(adjacency),
            Err(way) => way,
        }
    }

    /// Decides what the source becomes, if it is to be translated with state.
    fn translate_source(
        &mut self,
        packet: &mut Packet,
        uplink: Option<InterfaceId>,
    ) -> Result<(), Way> {
        let Some(Leaving {
            vrf,
            scope: Scope::Stateful,
        }) = packet.leaving
        else {
            return Ok(());
        };
        if packet.rewrite != Rewrite::None {
            return Ok(());
        }
        let (address, port) = self.translate_out(vrf, &packet.header, uplink)?;
        packet.rewrite = source_rewrite(&packet.header, address, Some(port));
        Ok(())
    }

    /// Decides what the destination becomes, by session or port forward.
    fn translate_destination(&mut self, packet: &mut Packet, leaf: Leaf) -> Result<(), Way> {
        match self.translate_in(&packet.header) {
            Ok(inside) => {
                packet.rewrite =
                    destination_rewrite(&packet.header, inside.address, Some(inside.port));
                packet.vrf = inside.vrf;
                Ok(())
            }
            Err(DropReason::NatNoMapping | DropReason::FragmentRefused) if leaf == Leaf::Local => {
                Err(match packet.origin {
                    Origin::Hairpin => refuse(DropReason::GatewayService),
                    _ => Way::Gateway,
                })
            }
            Err(reason @ (DropReason::NatNoMapping | DropReason::NatFiltered))
                if packet.header.opens() =>
            {
                Err(Way::Unsolicited(reason))
            }
            Err(reason) => Err(refuse(reason)),
        }
    }

    fn is_broadcast(&self, link: Link, address: Ipv4Addr) -> bool {
        let edge = |prefix: Ipv4Prefix| {
            prefix.len() < 31 && (address == prefix.addr() || address == prefix.last())
        };
        match link {
            Link::Interface(id) => self
                .snapshot
                .uplink(id)
                .is_some_and(|uplink| uplink.addresses.iter().any(|&(_, prefix)| edge(prefix))),
            Link::Segment(id) => self
                .snapshot
                .segment(id)
                .is_some_and(|segment| edge(segment.prefix)),
        }
    }
}

/// The inside address and port a tenant's packet speaks for: its source, or, of an ICMP error, the
/// destination of the packet it quotes.
fn inside_tuple(header: &Header) -> (IpProtocol, SocketAddrV4) {
    let flow = &header.flow;
    match header.payload {
        Payload::IcmpError(Some(quoted)) => {
            (quoted.proto, SocketAddrV4::new(quoted.dst, quoted.dport))
        }
        _ => (flow.proto, SocketAddrV4::new(flow.src, flow.sport)),
    }
}

fn source_rewrite(header: &Header, address: Ipv4Addr, port: Option<u16>) -> Rewrite {
    if header.is_icmp_error() {
        Rewrite::ErrorSource(address, port)
    } else {
        Rewrite::Source(address, port)
    }
}

fn destination_rewrite(header: &Header, address: Ipv4Addr, port: Option<u16>) -> Rewrite {
    if header.is_icmp_error() {
        Rewrite::ErrorDestination(address, port)
    } else {
        Rewrite::Destination(address, port)
    }
}
