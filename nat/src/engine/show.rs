//! What people and metrics are shown, and what they may clear.

use std::net::SocketAddrV4;

use sekisho_types::{InterfaceId, IpProtocol, VrfId};

use super::{Engine, SessionFilter};
use crate::key::Transport;
use crate::policy::{PoolId, Target};
use crate::ports::{AddressUsage, PoolUsage};
use crate::session::SessionId;
use crate::tally::Traffic;
use crate::tcp::{Side, TcpState};
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
    /// Whether a port forward, and not a rule for sources, gave it its outside tuple.
    pub forward: bool,
    /// Milliseconds since the packet that last kept it alive.
    pub idle_ms: u32,
    /// Milliseconds after which it expires if nothing comes.
    pub expires_in_ms: u32,
    /// What it has carried, if that is counted.
    pub counts: Option<SessionCounts>,
}

/// What a session has carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCounts {
    /// Milliseconds since it was created; right up to 49 days.
    pub age_ms: u32,
    /// What left the tenant.
    pub outbound: Traffic,
    /// What came in.
    pub inbound: Traffic,
}

impl Engine {
    /// What this worker uses of a pool.
    pub fn pool_usage(&self, pool: PoolId) -> PoolUsage {
        self.ports.usage(Target::pool(pool))
    }

    /// What this worker uses of an uplink's address.
    pub fn uplink_usage(&self, uplink: InterfaceId) -> PoolUsage {
        self.ports.usage(Target::uplink(uplink))
    }

    /// Looks at `max` blocks of this worker from `cursor` on and adds what is used of them to those of
    /// `addresses`, which are in order, that are of the pool. Returns where to go on; `None` at the
    /// end.
    pub fn address_usage(
        &self,
        pool: PoolId,
        cursor: Cursor,
        max: u32,
        addresses: &mut [AddressUsage],
    ) -> Option<Cursor> {
        let (target, start) = (Target::pool(pool), cursor.0.max(1));
        let next = self.ports.walk_blocks(target, start, max, addresses);
        next.map(Cursor)
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
        let timeout = self.policy.timeouts().by_class()[usize::from(self.renewed(session).class())];
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
            counts: self.tallies.get(number).map(|tally| SessionCounts {
                age_ms: now.passed_since(tally.created()),
                outbound: tally.traffic(Side::Inside),
                inbound: tally.traffic(Side::Outside),
            }),
        })
    }
}
