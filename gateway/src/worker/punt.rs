//! Handing packets to the kernel's sockets through the host interface, policed by class.

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
    match flow.proto {
        IpProtocol::TCP if flow.dport == BGP_PORT || flow.sport == BGP_PORT => {
            if snapshot.bgp_peers.contains(&flow.src.into()) {
                PuntClass::BgpPeer
            } else {
                PuntClass::BgpOther
            }
        }
        IpProtocol::UDP if BFD_PORTS.contains(&flow.dport) => PuntClass::Bfd,
        IpProtocol::ICMP => PuntClass::Icmp,
        OSPF => PuntClass::Ospf,
        _ => PuntClass::Other,
    }
}

impl Worker {
    /// A packet is for one of the gateway's provider addresses.
    pub(super) fn punt(&mut self, packet: Packet) {
        let class = classify(&packet.header.flow, &self.snapshot);
        let origin = sekisho_host::Origin::Uplink;
        if !self.policer.admit(self.now_ns, origin, class) {
            return self.drop(packet.mbuf, DropReason::PuntPoliced);
        }
        let bytes = packet.mbuf.data();
        let ring = self.end.punt.get_mut(class as usize);
        let sent = ring.is_some_and(|ring| ring.send(|frame| frame.fill(FrameKind::Host, bytes)));
        if sent {
            self.counters.punted.add(1);
        } else {
            self.drop(packet.mbuf, DropReason::PuntFull);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn class_of(proto: IpProtocol, sport: u16, dport: u16, peers: &[Ipv4Addr]) -> PuntClass {
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
            class_of(IpProtocol::TCP, 40000, 179, &peer),
            PuntClass::BgpPeer
        );
        assert_eq!(
            class_of(IpProtocol::TCP, 179, 40000, &peer),
            PuntClass::BgpPeer
        );
        assert_eq!(
            class_of(IpProtocol::TCP, 40000, 179, &[]),
            PuntClass::BgpOther
        );
    }

    #[test]
    fn protocols_have_their_classes() {
        assert_eq!(class_of(IpProtocol::UDP, 50000, 3784, &[]), PuntClass::Bfd);
        assert_eq!(class_of(OSPF, 0, 0, &[]), PuntClass::Ospf);
        assert_eq!(class_of(IpProtocol::ICMP, 1, 0, &[]), PuntClass::Icmp);
        assert_eq!(class_of(IpProtocol::TCP, 1, 22, &[]), PuntClass::Other);
    }
}
