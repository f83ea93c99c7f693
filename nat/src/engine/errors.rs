//! Sessions looked up for what is no packet of theirs by itself: what ICMP errors embed (RFC 5508
//! section 4), and later fragments. Neither a timer nor a state changes.

use std::net::SocketAddrV4;

use sekisho_types::VrfId;

use super::{Engine, ErrorTarget};
use crate::key::FlowKey;
use crate::time::Time;

impl Engine {
    /// Finds the inside of what an ICMP error that came from outside is about, by the packet it
    /// embeds, as it stands there (its source is our outside tuple). It changes nothing (RFC 4787
    /// REQ-12, RFC 5382 REQ-10, RFC 5508 REQ-6).
    pub fn error_from_outside(&self, now: Time, embedded: &FlowKey) -> Option<ErrorTarget> {
        if let Some((vrf, inside)) = self.policy.floating_in(*embedded.src.ip()) {
            return Some(ErrorTarget {
                vrf,
                inside: SocketAddrV4::new(inside, embedded.src.port()),
            });
        }
        self.known_inside(now, &embedded.reversed())
    }

    /// The inside of the session a packet sent to an outside address belongs to.
    pub fn known_inside(&self, now: Time, key: &FlowKey) -> Option<ErrorTarget> {
        let number = self.find_inbound(&self.probe_of_inbound(key))?;
        let session = &self.sessions[number];
        self.would_live(now, session).then(|| ErrorTarget {
            vrf: session.inside().vrf(),
            inside: session.inside().tuple(),
        })
    }

    /// Finds the outside tuple that stands for the destination of the packet an ICMP error from a
    /// tenant embeds: the new destination of that packet, and the new outer source if the error
    /// comes from that host itself.
    pub fn error_from_inside(
        &self,
        now: Time,
        vrf: VrfId,
        embedded: &FlowKey,
    ) -> Option<SocketAddrV4> {
        let packet = embedded.reversed();
        self.known_outside(now, vrf, &packet).or_else(|| {
            let outside = self.policy.floating_out(vrf, *packet.src.ip())?;
            Some(SocketAddrV4::new(outside, packet.src.port()))
        })
    }

    /// The outside tuple of the session a tenant's packet belongs to.
    pub fn known_outside(&self, now: Time, vrf: VrfId, key: &FlowKey) -> Option<SocketAddrV4> {
        let number = self.find_outbound(&self.probe_of_outbound(vrf, key))?;
        let session = &self.sessions[number];
        self.would_live(now, session)
            .then(|| session.outside().tuple())
    }
}
