//! What ICMP errors are about (RFC 5508 section 4).

use std::net::SocketAddrV4;

use sekisho_types::VrfId;

use super::{Engine, ErrorTarget};
use crate::key::FlowKey;
use crate::time::Time;

impl Engine {
    /// Finds the inside of what an ICMP error that came from outside is about, by the packet it
    /// embeds, as it stands there (its source is our outside tuple). Neither a timer nor a state
    /// changes (RFC 4787 REQ-12, RFC 5382 REQ-10, RFC 5508 REQ-6).
    pub fn error_from_outside(&self, now: Time, embedded: &FlowKey) -> Option<ErrorTarget> {
        if let Some((vrf, inside)) = self.policy.floating_in(*embedded.src.ip()) {
            return Some(ErrorTarget {
                vrf,
                inside: SocketAddrV4::new(inside, embedded.src.port()),
            });
        }
        let number = self.find_inbound(&self.probe_of_inbound(&embedded.reversed()))?;
        let session = &self.sessions[number];
        self.would_live(now, session).then(|| ErrorTarget {
            vrf: session.inside().vrf(),
            inside: session.inside().tuple(),
        })
    }

    /// Finds the outside tuple that stands for the destination of the packet an ICMP error from a
    /// tenant embeds: the new destination of that packet, and the new outer source if the error
    /// comes from that host itself. Neither a timer nor a state changes.
    pub fn error_from_inside(
        &self,
        now: Time,
        vrf: VrfId,
        embedded: &FlowKey,
    ) -> Option<SocketAddrV4> {
        let probe = self.probe_of_outbound(vrf, &embedded.reversed());
        if let Some(number) = self.find_outbound(&probe) {
            let session = &self.sessions[number];
            if self.would_live(now, session) {
                return Some(session.outside().tuple());
            }
        }
        let outside = self.policy.floating_out(vrf, *embedded.dst.ip())?;
        Some(SocketAddrV4::new(outside, embedded.dst.port()))
    }
}
