//! Maximum segment sizes that fit the way (`mss-clamp`), for TCP over tunnels whose path MTU
//! discovery somebody breaks.

use sekisho_packet::{Ipv6, ipv4, ipv6, tcp};
use sekisho_types::IpProtocol;

use super::Worker;
use super::forward::Exit;
use super::packet::{Origin, Packet, Payload};
use super::packet6::Packet6;
use crate::snapshot::Segment;

/// Octets of an IPv4 and a TCP header without options.
const HEADERS: u16 = (ipv4::MIN_HEADER_LEN + tcp::MIN_HEADER_LEN) as u16;
/// The same of IPv6.
const HEADERS6: u16 = (ipv6::HEADER_LEN + tcp::MIN_HEADER_LEN) as u16;

impl Worker {
    /// Lowers the segment size that a SYN offers to what its segments ask for. Without `exit` only
    /// the side counts that it came from.
    pub(super) fn clamp_mss(&self, packet: &mut Packet, exit: Option<&Exit>) {
        if !matches!(packet.header.payload, Payload::Tcp(_)) {
            return;
        }
        let Some(most) = self.most(packet.origin, exit, HEADERS) else {
            return;
        };
        let at = usize::from(packet.header.len);
        if let Some(segment) = packet.mbuf.data_mut().get_mut(at..) {
            // Whatever is no whole segment stays as it is.
            let _ = tcp::clamp_mss(segment, most);
        }
    }

    /// The same for IPv6.
    pub(super) fn clamp_mss6(&self, packet: &mut Packet6, exit: &Exit) {
        if packet.header.flow.proto != IpProtocol::TCP {
            return;
        }
        let Some(most) = self.most(packet.origin, Some(exit), HEADERS6) else {
            return;
        };
        let bytes = packet.mbuf.data();
        let upper = Ipv6::new(bytes).and_then(|ip| {
            let upper = ip.upper_layer()?;
            Ok(upper.fragment.is_none().then_some(upper.payload.len()))
        });
        let Ok(Some(length)) = upper else {
            return;
        };
        let range = packet.header.total_len - length..packet.header.total_len;
        if let Some(segment) = packet.mbuf.data_mut().get_mut(range) {
            let _ = tcp::clamp_mss(segment, most);
        }
    }

    /// Most octets of a segment, if the segments on either side ask for a limit.
    fn most(&self, origin: Origin, exit: Option<&Exit>, headers: u16) -> Option<u16> {
        let from = match origin {
            Origin::Segment(id) => self.snapshot.segment(id),
            _ => None,
        };
        let to = exit.and_then(Exit::segment);
        let to = to.and_then(|id| self.snapshot.segment(id));
        let clamp = |segment: Option<&Segment>| segment.and_then(|segment| segment.mss_clamp);
        let most = [clamp(from), clamp(to)].into_iter().flatten().min()?;
        let came = match origin {
            Origin::Segment(_) => from.map(|segment| segment.mtu),
            Origin::Uplink(id) => self.snapshot.uplink(id).map(|uplink| uplink.mtu),
            Origin::Hairpin | Origin::Host | Origin::Gateway => None,
        };
        let mtu = came.into_iter().chain(exit.map(Exit::mtu)).min()?;
        Some(most.min(mtu.saturating_sub(headers)))
    }
}
