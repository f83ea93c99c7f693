//! What neighbours are told: prefixes we originate, and of those only what policy lets pass.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::Bytes;
use sekisho_types::Prefix;

use super::Speaker;
use crate::bgp::Family;
use crate::bgp::adj_rib_in::PeerId;
use crate::bgp::attributes::{AsPath, Attributes, Interner, Origin, PathAttributes};
use crate::bgp::codec::Encoder;
use crate::bgp::fsm::ConnectionId;
use crate::bgp::peer::{Peer, Session};

impl Speaker {
    /// Replaces the prefixes that may be announced.
    pub(crate) fn originate(&mut self, prefixes: BTreeSet<Prefix>) {
        let changed: Vec<_> = self
            .originated
            .symmetric_difference(&prefixes)
            .copied()
            .collect();
        self.originated = prefixes;
        if !changed.is_empty() {
            self.version += 1;
        }
        for peer in self.peers.values_mut() {
            export(peer, &changed, &self.originated, &mut self.interner);
        }
    }

    /// Brings what a neighbour is to know in line with its export policy.
    pub(super) fn export_all(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            let told = peer
                .session
                .iter()
                .flat_map(|session| session.out.told().keys());
            let all: BTreeSet<_> = told.chain(&self.originated).copied().collect();
            let all: Vec<_> = all.into_iter().collect();
            export(peer, &all, &self.originated, &mut self.interner);
        }
    }

    /// Connections on which there may be something to tell.
    pub(crate) fn talkative(&self) -> Vec<ConnectionId> {
        let sessions = self.peers.values().filter_map(|peer| peer.session.as_ref());
        sessions
            .filter(|session| self.wants(session))
            .map(|session| session.connection)
            .collect()
    }

    fn wants(&self, session: &Session) -> bool {
        let open = session.carries_ipv4() && !self.deferral.is_on();
        open && (session.out.pending() > 0 || !session.end_of_rib_sent)
    }

    /// The next message to tell on a connection. After all there was at the start comes End-of-RIB.
    pub(crate) fn next_message(&mut self, connection: ConnectionId) -> Option<Bytes> {
        let deferred = self.deferral.is_on();
        let peer = self.peers.get_mut(self.owners.get(&connection)?)?;
        let session = peer.session.as_mut()?;
        if session.connection != connection || deferred || !session.carries_ipv4() {
            return None;
        }
        let message = session.out.next_message(session.encoder).or_else(|| {
            let due = !std::mem::replace(&mut session.end_of_rib_sent, true);
            due.then(|| Encoder::end_of_rib(Family::Ipv4Unicast))
        });
        if session.out.pending() == 0 {
            session.version = self.version;
        }
        peer.history.sent.update += u64::from(message.is_some());
        message
    }
}

fn export(
    peer: &mut Peer,
    prefixes: &[Prefix],
    originated: &BTreeSet<Prefix>,
    interner: &mut Interner,
) {
    let internal = peer.internal();
    let local_as = peer.fsm.config().local_as;
    let Some(session) = &mut peer.session else {
        return;
    };
    let Some(next_hop @ IpAddr::V4(_)) = session.local_address() else {
        return;
    };
    // To another AS: ours in front, ourselves as next hop, neither MED nor LOCAL_PREF.
    let path = if internal {
        AsPath::default()
    } else {
        AsPath::new([local_as.value()])
    };
    let mut attributes = PathAttributes::new(Origin::Igp, path, next_hop);
    attributes.local_pref = internal.then_some(PathAttributes::DEFAULT_LOCAL_PREF);
    let attributes: Attributes = interner.intern(attributes);
    for prefix in prefixes {
        let announced = originated.contains(prefix)
            && Family::of(*prefix) == Family::Ipv4Unicast
            && peer.export.permits(*prefix).is_ok();
        if announced {
            session.out.announce(*prefix, &attributes);
        } else {
            session.out.withdraw(*prefix);
        }
    }
}
