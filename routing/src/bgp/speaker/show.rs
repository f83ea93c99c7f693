//! The speaker as operators read it.

use std::net::IpAddr;
use std::time::Instant;

use sekisho_types::Prefix;

use super::{Speaker, capabilities};
use crate::bgp::adj_rib_in::Received;
use crate::bgp::codec::Notification;
use crate::bgp::fsm::{ConnectionId, Negotiated};
use crate::bgp::peer::{Peer, Session};
use crate::policy::Policy;
use crate::rib::Rib;
use crate::view::{
    BgpFilter, BgpPathView, BgpRouteView, BgpSummary, NeighborView, NotificationView, RouteFilter,
};

/// Messages that wait on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queues {
    /// Received, not yet processed.
    pub(crate) received: usize,
    /// To be sent.
    pub(crate) sent: usize,
}

impl Speaker {
    pub(crate) fn summary(
        &self,
        refused_connections: u64,
        queues: impl Fn(ConnectionId) -> Queues,
        now: Instant,
    ) -> Option<BgpSummary> {
        let bgp = self.config.as_ref()?;
        Some(BgpSummary {
            asn: bgp.asn,
            router_id: bgp.router_id,
            table_version: self.version,
            prefixes: self.table.prefixes(),
            paths: self.table.total_paths(),
            attribute_sets: self.interner.len(),
            originated: self.originated.len(),
            announcements_deferred: self.deferral.is_on(),
            refused_connections,
            neighbors: self.neighbors(None, queues, now),
        })
    }

    pub(crate) fn neighbors(
        &self,
        address: Option<IpAddr>,
        queues: impl Fn(ConnectionId) -> Queues,
        now: Instant,
    ) -> Vec<NeighborView> {
        let ids = self.addresses.iter();
        ids.filter(|(other, _)| address.is_none_or(|address| **other == address))
            .filter_map(|(_, id)| self.peers.get(id))
            .map(|peer| self.neighbor_view(peer, &queues, now))
            .collect()
    }

    fn neighbor_view(
        &self,
        peer: &Peer,
        queues: impl Fn(ConnectionId) -> Queues,
        now: Instant,
    ) -> NeighborView {
        let session = peer.session.as_ref();
        let negotiated = session.map(|session| &session.negotiated);
        let connection = session.map(|session| session.connection);
        let queues = connection.map(queues).unwrap_or_default();
        let count = self.table.count(peer.id);
        let history = &peer.history;
        let ends = session.and_then(|session| session.ends);
        let ends = ends.or_else(|| peer.connections.values().next().copied());
        let ago = |then: Instant| now.saturating_duration_since(then);
        let since = session.map(|session| session.since).or(history.down_since);
        let names = |negotiated: &Negotiated| negotiated.capabilities.names();
        NeighborView {
            address: peer.config.address,
            remote_as: peer.config.remote_as,
            local_as: peer.fsm.config().local_as,
            description: peer.config.description.clone(),
            remote_router_id: negotiated.map(|negotiated| negotiated.router_id),
            state: peer.fsm.state(),
            admin_down: peer.config.shutdown,
            passive: peer.config.passive,
            since: since.map(ago),
            established: history.established,
            next_attempt: peer
                .fsm
                .next_attempt()
                .map(|at| at.saturating_duration_since(now)),
            local: ends.map(|ends| ends.local),
            remote: ends.map(|ends| ends.remote),
            received: history.received,
            sent: history.sent,
            in_queue: queues.received,
            out_queue: queues.sent + session.map_or(0, |session| session.out.pending()),
            table_version: session.map_or(0, |session| session.version),
            prefixes_received: count.received,
            prefixes_accepted: count.accepted,
            prefixes_sent: session.map_or(0, |session| session.out.told().len()),
            treated_as_withdraw: history.treated_as_withdraw,
            import: peer.config.import.clone(),
            export: peer.config.export.clone(),
            import_blocked: peer.import == Policy::Missing,
            export_blocked: peer.export == Policy::Missing,
            configured_hold_time: peer.config.hold_time,
            hold_time: negotiated.map(|negotiated| negotiated.hold_time),
            keepalive_interval: negotiated.map(Negotiated::keepalive_interval),
            capabilities_sent: capabilities(false).names(),
            capabilities_received: negotiated.map(names).unwrap_or_default(),
            end_of_rib_sent: session.is_some_and(|session| session.end_of_rib_sent),
            end_of_rib_received: session.is_some_and(|session| session.end_of_rib_received),
            last_error: history.last_error.clone(),
            last_notification_sent: notification(history.notification_sent.as_ref(), now),
            last_notification_received: notification(history.notification_received.as_ref(), now),
        }
    }

    pub(crate) fn routes(&self, rib: &Rib, filter: BgpFilter, now: Instant) -> Vec<BgpRouteView> {
        let learnt = self.table.iter().map(|(prefix, _)| prefix);
        let mut prefixes: Vec<Prefix> = learnt.chain(self.originated.iter().copied()).collect();
        prefixes.sort();
        prefixes.dedup();
        match filter {
            RouteFilter::All => {}
            RouteFilter::Exact(wanted) => prefixes.retain(|prefix| *prefix == wanted),
            RouteFilter::Longer(wanted) => prefixes.retain(|prefix| wanted.covers(*prefix)),
            RouteFilter::Lookup(address) => {
                prefixes.retain(|prefix| prefix.contains(address));
                let longest = prefixes.iter().map(|prefix| prefix.len()).max();
                prefixes.retain(|prefix| Some(prefix.len()) == longest);
            }
        }
        let views = prefixes.into_iter();
        views
            .map(|prefix| self.route_view(rib, prefix, now))
            .collect()
    }

    fn route_view(&self, rib: &Rib, prefix: Prefix, now: Instant) -> BgpRouteView {
        let own = self.originated.contains(&prefix);
        let mut paths: Vec<_> = own.then(|| self.own_path()).flatten().into_iter().collect();
        let (usable, selection) = self.ranked(rib, prefix);
        for (rank, &position) in selection.ranking.iter().enumerate() {
            let (path, peer) = usable[position];
            let mut view = path_view(path, peer, now);
            view.valid = true;
            view.best = rank == 0 && !own;
            view.multipath = rank < selection.multipath && selection.multipath > 1;
            view.reason = match selection.lost[position] {
                None => selection
                    .decisive()
                    .map_or("only path", |rung| rung.won())
                    .to_owned(),
                Some(rung) if view.multipath => format!("shares the traffic; {}", rung.lost()),
                Some(rung) => rung.lost().to_owned(),
            };
            paths.push(view);
        }
        for path in self.table.paths(prefix) {
            let chosen = usable.iter().any(|(other, _)| other.peer == path.peer);
            if let (false, Some(peer)) = (chosen, self.peers.get(&path.peer)) {
                let mut view = path_view(path, peer, now);
                view.rejected_by = path.rejected.as_ref().map(ToString::to_string);
                view.reason = match &view.rejected_by {
                    Some(rejection) => format!("rejected: {rejection}"),
                    None => "next hop unreachable".to_owned(),
                };
                paths.push(view);
            }
        }
        let sessions = self.peers.values();
        let told = |session: &Session| session.out.told().contains_key(&prefix);
        BgpRouteView {
            prefix,
            paths,
            announced_to: sessions
                .filter(|peer| peer.session.as_ref().is_some_and(told))
                .map(|peer| peer.config.address)
                .collect(),
        }
    }

    fn own_path(&self) -> Option<BgpPathView> {
        let bgp = self.config.as_ref()?;
        Some(BgpPathView {
            peer: None,
            peer_as: bgp.asn,
            peer_router_id: bgp.router_id,
            internal: true,
            next_hop: None,
            as_path: String::new(),
            origin: crate::bgp::attributes::Origin::Igp.as_str(),
            med: None,
            local_pref: crate::bgp::attributes::PathAttributes::DEFAULT_LOCAL_PREF,
            communities: Vec::new(),
            large_communities: Vec::new(),
            valid: true,
            best: true,
            multipath: false,
            reason: "originated here".to_owned(),
            rejected_by: None,
            age: None,
        })
    }
}

fn path_view(path: &Received, peer: &Peer, now: Instant) -> BgpPathView {
    let attributes = &path.attributes;
    let router_id = peer
        .session
        .as_ref()
        .map(|session| session.negotiated.router_id);
    let large = attributes.large_communities.iter();
    BgpPathView {
        peer: Some(peer.config.address),
        peer_as: peer.config.remote_as,
        peer_router_id: router_id.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
        internal: peer.internal(),
        next_hop: Some(attributes.next_hop),
        as_path: attributes.as_path.to_string(),
        origin: attributes.origin.as_str(),
        med: attributes.med,
        local_pref: attributes.local_pref(),
        communities: attributes
            .communities
            .iter()
            .map(|c| community(*c))
            .collect(),
        large_communities: large
            .map(|[admin, a, b]| format!("{admin}:{a}:{b}"))
            .collect(),
        valid: false,
        best: false,
        multipath: false,
        reason: String::new(),
        rejected_by: None,
        age: Some(now.saturating_duration_since(path.since)),
    }
}

/// RFC 1997, with the names of the registry for those everybody knows.
fn community(value: u32) -> String {
    match value {
        0xffff_0000 => "graceful-shutdown".to_owned(),
        0xffff_029a => "blackhole".to_owned(),
        0xffff_ff01 => "no-export".to_owned(),
        0xffff_ff02 => "no-advertise".to_owned(),
        other => format!("{}:{}", other >> 16, other & 0xffff),
    }
}

fn notification(last: Option<&(Notification, Instant)>, now: Instant) -> Option<NotificationView> {
    last.map(|(notification, then)| NotificationView {
        code: notification.code,
        subcode: notification.subcode,
        name: notification.name(),
        message: notification.communication(),
        age: now.saturating_duration_since(*then),
    })
}
