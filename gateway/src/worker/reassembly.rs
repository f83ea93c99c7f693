//! Virtual reassembly: fragments whose translation needs ports wait for the first of their packet, and
//! then go its way (RFC 4787 REQ-14). A tenant's meet at the owner of their source, those to a shared
//! outside address at a worker that follows from what all have in common: the owner of the port is not
//! known before the first has come.

use sekisho_nat::{Datagram, Fragment, Ports, Refused, Verdict};
use sekisho_packet::Ipv4;
use sekisho_types::VrfId;

use super::Worker;
use super::packet::{Header, Origin, Packet, Payload};
use super::route::Way;
use crate::drops::DropReason;

impl From<Refused> for DropReason {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed => Self::FragmentMalformed,
            Refused::Tiny => Self::FragmentTiny,
            Refused::Duplicate => Self::FragmentDuplicate,
            Refused::Overlap => Self::FragmentOverlap,
            Refused::TooMany => Self::FragmentTooMany,
            Refused::Timeout => Self::FragmentTimeout,
            Refused::Full => Self::FragmentTableFull,
        }
    }
}

impl Header {
    fn is_fragment(&self) -> bool {
        matches!(self.payload, Payload::Fragment { .. })
    }

    /// Makes a fragment part of a packet with these ports.
    fn join(&mut self, payload: Payload, ports: Ports) {
        self.payload = payload;
        self.flow.sport = ports.src;
        self.flow.dport = ports.dst;
    }
}

impl Worker {
    /// Finds out the ports of a fragment that leaves its tenant, if its translation needs them.
    pub(super) fn learn_ports_outward(&mut self, packet: &mut Packet) -> Result<(), Way> {
        let flow = packet.header.flow;
        let policy = &self.snapshot.nat;
        if !packet.header.is_fragment()
            || packet.origin == Origin::Gateway
            || !policy.needs_ports(packet.vrf, flow.src, flow.dst, flow.proto)
        {
            return Ok(());
        }
        let owner = policy.inside_owner(packet.vrf, flow.src);
        if owner != self.id {
            return Err(Way::HandOver(owner));
        }
        self.meet(packet)
    }

    /// Finds out the ports of a fragment to an outside address, if the address is shared.
    pub(super) fn learn_ports_inward(&mut self, packet: &mut Packet) -> Result<(), Way> {
        let flow = packet.header.flow;
        let policy = &self.snapshot.nat;
        if !packet.header.is_fragment() || !policy.shares_ports(flow.dst, flow.proto) {
            return Ok(());
        }
        let ip = Ipv4::new(packet.mbuf.data()).map_err(|_| malformed())?;
        let meeting = policy
            .steering()
            .fragment_meeting(&datagram(VrfId::PROVIDER, &ip));
        if meeting != self.id {
            return Err(Way::HandOver(meeting));
        }
        self.meet(packet)
    }

    fn meet(&mut self, packet: &mut Packet) -> Result<(), Way> {
        let ip = Ipv4::new(packet.mbuf.data()).map_err(|_| malformed())?;
        let flow = &packet.header.flow;
        let payload = match packet.header.payload {
            Payload::Fragment { first: true } => Payload::of_first_fragment(&ip).ok(),
            _ => None,
        };
        let fragment = Fragment {
            offset: ip.fragment_offset() as u16,
            len: ip.payload().len() as u16,
            more: ip.more_fragments(),
            ports: payload.map(|_| Ports {
                src: flow.sport,
                dst: flow.dport,
            }),
        };
        let datagram = datagram(packet.vrf, &ip);
        match self.fragments.meet(self.nat_now(), &datagram, &fragment) {
            Verdict::Pass(ports) => {
                let payload = payload.unwrap_or(Payload::Later);
                packet.header.join(payload, ports);
                Ok(())
            }
            Verdict::Wait(place) => Err(Way::AwaitFirst(place)),
            Verdict::Refuse(refused) => Err(Way::Refuse(refused.into(), None)),
        }
    }

    /// Sends fragments whose first has come after it, and drops those that waited in vain.
    pub(super) fn release_fragments(&mut self) {
        if self.fragments.is_settled() {
            return;
        }
        while let Some((mut packet, ports)) = self.fragments.next_ready() {
            packet.header.join(Payload::Later, ports);
            let way = self.find_way(&mut packet);
            self.finish(packet, way);
        }
        while let Some((packet, refused)) = self.fragments.next_lost() {
            self.drop(packet.mbuf, refused.into());
        }
        self.count_held();
    }

    /// Forgets incomplete packets whose time is over.
    pub(super) fn expire_fragments(&mut self) {
        if self.fragments.datagrams() > 0 {
            self.fragments.expire(self.nat_now());
            self.release_fragments();
        }
    }
}

/// What all fragments of a packet have in common.
fn datagram(vrf: VrfId, ip: &Ipv4<'_>) -> Datagram {
    Datagram {
        vrf,
        src: ip.src(),
        dst: ip.dst(),
        protocol: ip.protocol(),
        id: ip.identification(),
    }
}

const fn malformed() -> Way {
    Way::Refuse(DropReason::MalformedIpv4, None)
}
