//! One neighbour: its configuration, its session, and what is remembered of past ones.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::Family;
use super::adj_rib_in::{Import, PeerId};
use super::adj_rib_out::AdjRibOut;
use super::codec::{Encoder, Message, Notification};
use super::fsm::{self, ConnectionId, Ended, Fsm, Negotiated, Outgoing};
use crate::config::{BgpConfig, NeighborConfig, PrefixList};
use crate::policy::Policy;
use crate::view::MessageCounters;

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// An established session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: ConnectionId,
    pub(crate) ends: Option<Ends>,
    pub(crate) negotiated: Negotiated,
    pub(crate) encoder: Encoder,
    pub(crate) out: AdjRibOut,
    pub(crate) since: Instant,
    pub(crate) end_of_rib_sent: bool,
    pub(crate) end_of_rib_received: bool,
    /// It said KEEPALIVE after it came up.
    pub(crate) alive: bool,
    /// The version of the table it has been told.
    pub(crate) version: u64,
}

impl Session {
    pub(crate) fn new(
        connection: ConnectionId,
        ends: Option<Ends>,
        negotiated: Negotiated,
        now: Instant,
    ) -> Self {
        Self {
            connection,
            ends,
            encoder: Encoder::new(negotiated.capabilities.four_octet_as),
            negotiated,
            out: AdjRibOut::default(),
            since: now,
            end_of_rib_sent: false,
            end_of_rib_received: false,
            alive: false,
            version: 0,
        }
    }

    /// Whether IPv4 routes may flow.
    pub(crate) fn carries_ipv4(&self) -> bool {
        self.negotiated.capabilities.carries(Family::Ipv4Unicast)
    }

    /// Whether the neighbour has told all it had when the session came up. One that cannot say so
    /// has when it says KEEPALIVE; one that has just restarted itself waits for us (RFC 4724).
    pub(crate) fn has_dumped(&self) -> bool {
        match self.negotiated.capabilities.end_of_rib {
            Some(restarted) => restarted || self.end_of_rib_received || !self.carries_ipv4(),
            None => self.alive || self.end_of_rib_received,
        }
    }

    /// Our address, which announcements name as next hop.
    pub(crate) fn local_address(&self) -> Option<IpAddr> {
        self.ends.map(|ends| ends.local.ip())
    }
}

/// What is remembered of past sessions.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) established: u64,
    /// When the last session was lost.
    pub(crate) down_since: Option<Instant>,
    pub(crate) last_error: Option<String>,
    pub(crate) notification_sent: Option<(Notification, Instant)>,
    pub(crate) notification_received: Option<(Notification, Instant)>,
    pub(crate) received: MessageCounters,
    pub(crate) sent: MessageCounters,
    pub(crate) treated_as_withdraw: u64,
}

impl History {
    pub(crate) fn count_received(&mut self, message: &Message) {
        let counters = &mut self.received;
        match message {
            Message::Open(_) => counters.open += 1,
            Message::Update(_) => counters.update += 1,
            Message::Notification(_) => counters.notification += 1,
            Message::Keepalive => counters.keepalive += 1,
            Message::RouteRefresh(_) => counters.route_refresh += 1,
        }
    }

    pub(crate) fn count_sent(&mut self, message: &Outgoing, now: Instant) {
        match message {
            Outgoing::Open => self.sent.open += 1,
            Outgoing::Keepalive => self.sent.keepalive += 1,
            Outgoing::Notification(notification) => {
                self.sent.notification += 1;
                self.notification_sent = Some((notification.clone(), now));
            }
        }
    }

    pub(crate) fn ended(&mut self, why: &Ended, now: Instant) {
        if let Ended::Received(notification) = why {
            self.notification_received = Some((notification.clone(), now));
        }
        // That it cannot be reached again does not hide why the last session ended.
        if self.established == 0 || !matches!(why, Ended::Unreachable(_)) {
            self.last_error = Some(why.to_string());
        }
    }
}

/// One neighbour.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) config: NeighborConfig,
    pub(crate) fsm: Fsm,
    pub(crate) import: Policy,
    pub(crate) export: Policy,
    pub(crate) session: Option<Session>,
    pub(crate) connections: BTreeMap<ConnectionId, Ends>,
    pub(crate) history: History,
}

impl Peer {
    pub(crate) fn new(
        id: PeerId,
        bgp: &BgpConfig,
        config: NeighborConfig,
        lists: &[PrefixList],
        seed: u64,
    ) -> Self {
        let session = fsm::Config {
            local_as: bgp.asn,
            router_id: bgp.router_id,
            remote_as: config.remote_as,
            hold_time: u16::try_from(config.hold_time.as_secs()).unwrap_or(u16::MAX),
            connect_retry: config.connect_retry_time,
            passive: config.passive,
        };
        let internal = session.internal();
        Self {
            id,
            import: Policy::new(config.import.as_ref(), internal, lists),
            export: Policy::new(config.export.as_ref(), internal, lists),
            fsm: Fsm::new(session, seed),
            config,
            session: None,
            connections: BTreeMap::new(),
            history: History::default(),
        }
    }

    pub(crate) fn internal(&self) -> bool {
        self.fsm.config().internal()
    }

    /// Whether the session can go on under `config`: only people's words, policy and the
    /// administrative state differ.
    pub(crate) fn can_become(&self, config: &NeighborConfig) -> bool {
        let now = NeighborConfig {
            description: config.description.clone(),
            import: config.import.clone(),
            export: config.export.clone(),
            shutdown: config.shutdown,
            shutdown_message: config.shutdown_message.clone(),
            ..self.config.clone()
        };
        now == *config
    }

    pub(crate) fn importer(&self) -> Import<'_> {
        Import {
            local_as: self.fsm.config().local_as,
            remote_as: self.fsm.config().remote_as,
            local_address: self.session.as_ref().and_then(Session::local_address),
            policy: &self.import,
        }
    }

    /// What the neighbour is told when it is shut down.
    pub(crate) fn farewell(&self) -> Notification {
        Notification::shutdown(self.config.shutdown_message.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_attempts_do_not_hide_why_the_last_session_ended() {
        let mut history = History::default();
        let refused = Ended::Unreachable("refused".to_owned());
        let now = Instant::now();
        history.ended(&refused, now);
        assert_eq!(
            history.last_error.as_deref(),
            Some("cannot connect: refused")
        );
        history.established = 1;
        history.ended(&Ended::Lost("reset".to_owned()), now);
        history.ended(&refused, now);
        assert_eq!(
            history.last_error.as_deref(),
            Some("connection lost: reset")
        );
    }
}
