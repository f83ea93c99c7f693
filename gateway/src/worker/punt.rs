//! Handing packets to the kernel's sockets through the host interface, policed by class.

use std::net::IpAddr;

use sekisho_dpdk::Mbuf;
use sekisho_host::PuntClass;
use sekisho_packet::FlowKey;
use sekisho_types::IpProtocol;

use super::Worker;
use super::link::FrameKind;
use super::packet::Packet;
use crate::drops::DropReason;
use crate::snapshot::Snapshot;

const BGP_PORT: u16 = 179;
const BFD_PORTS: [u16; 3] = [3784, 3785, 4784];
const OSPF: IpProtocol = IpProtocol(89);

/// The class a packet for one of our provider addresses is policed in.
fn classify(flow: &FlowKey, snapshot: &Snapshot) -> PuntClass {
    class_of(
        flow.proto,
        (flow.sport, flow.dport),
        flow.src.into(),
        snapshot,
    )
}

/// The same of what both families have.
pub(super) fn class_of(
    protocol: IpProtocol,
    (sport, dport): (u16, u16),
    src: IpAddr,
    snapshot: &Snapshot,
) -> PuntClass {
    match protocol {
        IpProtocol::TCP if dport == BGP_PORT || sport == BGP_PORT => {
            if snapshot.bgp_peers.contains(&src) {
                PuntClass::BgpPeer
            } else {
                PuntClass::BgpOther
            }
        }
        IpProtocol::UDP if BFD_PORTS.contains(&dport) => PuntClass::Bfd,
        IpProtocol::ICMP | IpProtocol::ICMPV6 => PuntClass::Icmp,
        OSPF => PuntClass::Ospf,
        _ => PuntClass::Other,
    }
}

impl Worker {
    /// A packet is for one of the gateway's provider addresses.
    pub(super) fn punt(&mut self, packet: Packet) {
        let class = classify(&packet.header.flow, &self.snapshot);
        self.hand_to_kernel(packet.mbuf, class);
    }

    /// Copies an IP packet into the ring of its class, if the policer lets it.
    pub(super) fn hand_to_kernel(&mut self, mbuf: Mbuf, class: PuntClass) {
        let origin = sekisho_host::Origin::Uplink;
        if !self.policer.admit(self.now_ns, origin, class) {
            return self.drop(mbuf, DropReason::PuntPoliced);
        }
        let bytes = mbuf.data();
        let ring = self.end.punt.get_mut(class as usize);
        let sent = ring.is_some_and(|ring| ring.send(|frame| frame.fill(FrameKind::Host, bytes)));
        if sent {
            self.counters.punted.add(1);
        } else {
            self.drop(mbuf, DropReason::PuntFull);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn class(proto: IpProtocol, sport: u16, dport: u16, peers: &[Ipv4Addr]) -> PuntClass {
        let snapshot = Snapshot {
            bgp_peers: peers.iter().copied().map(Into::into).collect(),
            ..Snapshot::for_tests()
        };
        let flow = FlowKey {
            src: Ipv4Addr::new(198, 51, 100, 0),
            dst: Ipv4Addr::new(198, 51, 100, 1),
            sport,
            dport,
            proto,
        };
        classify(&flow, &snapshot)
    }

    #[test]
    fn a_stranger_does_not_share_the_class_of_configured_bgp_peers() {
        let peer = [Ipv4Addr::new(198, 51, 100, 0)];
        assert_eq!(
            class(IpProtocol::TCP, 40000, 179, &peer),
            PuntClass::BgpPeer
        );
        assert_eq!(
            class(IpProtocol::TCP, 179, 40000, &peer),
            PuntClass::BgpPeer
        );
        assert_eq!(class(IpProtocol::TCP, 40000, 179, &[]), PuntClass::BgpOther);
    }

    #[test]
    fn protocols_have_their_classes() {
        assert_eq!(class(IpProtocol::UDP, 50000, 3784, &[]), PuntClass::Bfd);
        assert_eq!(class(OSPF, 0, 0, &[]), PuntClass::Ospf);
        assert_eq!(class(IpProtocol::ICMP, 1, 0, &[]), PuntClass::Icmp);
        assert_eq!(class(IpProtocol::TCP, 1, 22, &[]), PuntClass::Other);
    }
}
