//! What people and metrics are shown, and what they may clear.

use std::net::{Ipv4Addr, SocketAddrV4};

use sekisho_types::{InterfaceId, IpProtocol, VrfId};

use super::Engine;
use crate::key::Transport;
use crate::policy::{PoolId, Target};
use crate::ports::PoolUsage;
use crate::refusal::Refusal;
use crate::session::{Session, SessionId};
use crate::tcp::TcpState;
use crate::time::Time;

/// Where a walk over the sessions stands; the default is the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u32);

/// A session, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its number.
    pub id: SessionId,
    /// The protocol.
    pub protocol: IpProtocol,
    /// The inside VRF.
    pub vrf: VrfId,
    /// Inside address and port.
    pub inside: SocketAddrV4,
    /// Outside address and port.
    pub outside: SocketAddrV4,
    /// Remote address and port; port 0 for ICMP.
    pub remote: SocketAddrV4,
    /// How far a TCP connection is.
    pub tcp: Option<TcpState>,
    /// Whether it came by a port forward.
    pub forward: bool,
    /// Milliseconds since the packet that last kept it alive.
    pub idle_ms: u32,
    /// Milliseconds after which it expires if nothing comes.
    pub expires_in_ms: u32,
}

/// Which sessions are meant; what is `None` does not restrict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// The inside VRF.
    pub vrf: Option<VrfId>,
    /// The inside address.
    pub inside: Option<Ipv4Addr>,
    /// The outside address.
    pub outside: Option<Ipv4Addr>,
    /// The remote address.
    pub remote: Option<Ipv4Addr>,
    /// The protocol.
    pub protocol: Option<IpProtocol>,
}

impl SessionFilter {
    fn matches(&self, session: &Session) -> bool {
        let fits = |wanted: Option<Ipv4Addr>, found| wanted.is_none_or(|wanted| wanted == found);
        self.vrf.is_none_or(|vrf| vrf == session.inside().vrf())
            && fits(self.inside, session.inside().address())
            && fits(self.outside, session.outside().address())
            && fits(self.remote, session.peer().address())
            && self.protocol.is_none_or(|protocol| {
                session.transport().map(Transport::protocol) == Some(protocol)
            })
    }
}

/// Counters of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// TCP sessions held.
    pub tcp_sessions: u64,
    /// UDP sessions held.
    pub udp_sessions: u64,
    /// ICMP query sessions held.
    pub icmp_sessions: u64,
    /// Mappings held.
    pub mappings: u64,
    /// Inside hosts with a mapping, once per pool or uplink.
    pub hosts: u64,
    /// Blocks of ports owned.
    pub blocks: u64,
    /// Sessions ever created.
    pub created: u64,
    /// Sessions ever removed: expired, disallowed by a new policy, or cleared.
    pub removed: u64,
    /// TCP segments translated without a change of state, because they do not fit the connection.
    pub tcp_ignored: u64,
    /// Events the log has lost for want of room.
    pub log_lost: u64,
    /// Packets refused, by [`Refusal::index`].
    pub refusals: [u64; Refusal::COUNT],
}

impl Stats {
    pub(super) fn session_created(&mut self, transport: Option<Transport>) {
        self.created += 1;
        if let Some(sessions) = self.sessions(transport) {
            *sessions += 1;
        }
    }

    /// Notes whether a segment fits its connection, which nearly all do.
    #[inline(always)]
    pub(super) fn note_fit(&mut self, fits: bool) {
        if !fits {
            self.tcp_ignored += 1;
        }
    }

    pub(super) fn session_removed(&mut self, transport: Option<Transport>) {
        self.removed += 1;
        if let Some(sessions) = self.sessions(transport) {
            *sessions -= 1;
        }
    }

    fn sessions(&mut self, transport: Option<Transport>) -> Option<&mut u64> {
        Some(match transport? {
            Transport::Tcp => &mut self.tcp_sessions,
            Transport::Udp => &mut self.udp_sessions,
            Transport::Icmp => &mut self.icmp_sessions,
        })
    }
}

impl Engine {
    /// The counters.
    pub fn stats(&self) -> Stats {
        Stats {
            mappings: self.mappings.len() as u64,
            hosts: self.ports.host_count() as u64,
            blocks: self.ports.block_count() as u64,
            log_lost: self.ports.log.lost(),
            ..self.stats
        }
    }

    /// What this worker uses of a pool.
    pub fn pool_usage(&self, pool: PoolId) -> PoolUsage {
        self.ports.usage(Target::pool(pool))
    }

    /// What this worker uses of an uplink's address.
    pub fn uplink_usage(&self, uplink: InterfaceId) -> PoolUsage {
        self.ports.usage(Target::uplink(uplink))
    }

    /// Sessions of a VRF, expired ones that were not yet met by [`Self::age`] included.
    pub fn sessions_of_vrf(&self, vrf: VrfId) -> u32 {
        self.sessions_by_vrf[vrf.index()]
    }

    /// Looks at `max` session records from `cursor` on and appends the live ones that match to
    /// `views`. Returns where to go on; `None` at the end.
    pub fn snapshot(
        &self,
        now: Time,
        filter: &SessionFilter,
        cursor: Cursor,
        max: u32,
        views: &mut Vec<SessionView>,
    ) -> Option<Cursor> {
        let start = cursor.0.max(1);
        let stop = start.saturating_add(max).min(self.sessions.end());
        for number in start..stop {
            let session = &self.sessions[number];
            if filter.matches(session) && self.would_live(now, session) {
                views.extend(self.view(now, number));
            }
        }
        (stop < self.sessions.end()).then_some(Cursor(stop))
    }

    /// Looks at `max` session records from `cursor` on and removes those that match. Returns how
    /// many went, and where to go on; `None` at the end.
    pub fn clear(
        &mut self,
        filter: &SessionFilter,
        cursor: Cursor,
        max: u32,
    ) -> (u32, Option<Cursor>) {
        let start = cursor.0.max(1);
        let stop = start.saturating_add(max).min(self.sessions.end());
        let mut gone = 0;
        for number in start..stop {
            let session = &self.sessions[number];
            if session.transport().is_some() && filter.matches(session) {
                self.remove_session(number);
                gone += 1;
            }
        }
        let next = (stop < self.sessions.end()).then_some(Cursor(stop));
        (gone, next)
    }

    /// One session, if it is there.
    pub fn session(&self, now: Time, id: SessionId) -> Option<SessionView> {
        (id.0 < self.sessions.end()).then(|| self.view(now, id.0))?
    }

    fn view(&self, now: Time, number: u32) -> Option<SessionView> {
        let session = &self.sessions[number];
        let transport = session.transport()?;
        let tcp = (transport == Transport::Tcp).then(|| session.tcp().state());
        let timeout = self
            .policy
            .timeout(transport, tcp == Some(TcpState::Established));
        let idle_ms = now.since(session.last_seen());
        Some(SessionView {
            id: SessionId(number),
            protocol: transport.protocol(),
            vrf: session.inside().vrf(),
            inside: session.inside().tuple(),
            outside: session.outside().tuple(),
            remote: session.peer().tuple(),
            tcp,
            forward: session.mapping == 0,
            idle_ms,
            expires_in_ms: timeout.saturating_sub(idle_ms),
        })
    }
}
