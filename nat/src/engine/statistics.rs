//! What is counted for the gateway and for each tenant.

use std::ops::AddAssign;

use sekisho_mem::{HugeSlice, MapError, zeroable_struct};
use sekisho_types::VrfId;

use super::Engine;
use crate::key::Transport;
use crate::owners::OutsideOwners;
use crate::policy::Limits;
use crate::quota::Quota;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::tcp::TcpState;

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
    /// Of those removed: half-open connections at a limit, and closed ones whose port was wanted.
    pub evicted: u64,
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

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.tcp_sessions += other.tcp_sessions;
        self.udp_sessions += other.udp_sessions;
        self.icmp_sessions += other.icmp_sessions;
        self.mappings += other.mappings;
        self.hosts += other.hosts;
        self.blocks += other.blocks;
        self.created += other.created;
        self.removed += other.removed;
        self.evicted += other.evicted;
        self.tcp_ignored += other.tcp_ignored;
        self.log_lost += other.log_lost;
        add_refusals(&mut self.refusals, &other.refusals);
    }
}

fn add_refusals(sum: &mut [u64; Refusal::COUNT], more: &[u64; Refusal::COUNT]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

/// What a VRF has and had, on one worker or, added up, on several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VrfStats {
    /// Established TCP sessions.
    pub tcp_established: u64,
    /// TCP sessions that open or close.
    pub tcp_transitory: u64,
    /// UDP sessions.
    pub udp: u64,
    /// ICMP query sessions.
    pub icmp: u64,
    /// Mappings.
    pub mappings: u64,
    /// Inside hosts with a mapping, once per pool or uplink.
    pub hosts: u64,
    /// Sessions ever created.
    pub created: u64,
    /// Sessions ever removed.
    pub removed: u64,
    /// Packets refused, by [`Refusal::index`]. Those of which nobody knows whose they are stand in
    /// [`Stats::refusals`] alone.
    pub refusals: [u64; Refusal::COUNT],
}

impl AddAssign for VrfStats {
    fn add_assign(&mut self, other: Self) {
        self.tcp_established += other.tcp_established;
        self.tcp_transitory += other.tcp_transitory;
        self.udp += other.udp;
        self.icmp += other.icmp;
        self.mappings += other.mappings;
        self.hosts += other.hosts;
        self.created += other.created;
        self.removed += other.removed;
        add_refusals(&mut self.refusals, &other.refusals);
    }
}

impl VrfStats {
    fn add_session(&mut self, session: &Session) {
        let count = match session.transport() {
            None => return,
            Some(Transport::Udp) => &mut self.udp,
            Some(Transport::Icmp) => &mut self.icmp,
            Some(Transport::Tcp) if session.tcp().state() == TcpState::Established => {
                &mut self.tcp_established
            }
            Some(Transport::Tcp) => &mut self.tcp_transitory,
        };
        *count += 1;
    }

    fn add_record(&mut self, record: &Record) {
        self.created += record.created;
        self.removed += record.created.saturating_sub(record.sessions.into());
        add_refusals(&mut self.refusals, &record.refusals);
    }
}

zeroable_struct! {
    /// What is counted of a VRF as it happens.
    #[derive(Clone, Copy, Debug, Default)]
    struct Record {
        sessions: u32,
        /// Outside ports, by mappings.
        ports: u32,
        /// Of both, what this worker has leased where there is a limit.
        leased_sessions: u32,
        leased_ports: u32,
        created: u64,
        refusals: [u64; Refusal::COUNT],
    }
}

/// What is counted of each VRF as it happens: when a session comes or goes, or is refused.
pub(super) struct Records(HugeSlice<Record>);

impl Records {
    pub(super) fn new() -> Result<Self, MapError> {
        HugeSlice::new(usize::from(u16::MAX) + 1).map(Self)
    }

    #[inline(always)]
    pub(super) fn sessions(&self, vrf: VrfId) -> u32 {
        self.0[vrf.index()].sessions
    }

    #[inline(always)]
    pub(super) fn session_created(&mut self, vrf: VrfId) {
        let record = &mut self.0[vrf.index()];
        record.sessions += 1;
        record.created += 1;
    }

    #[inline(always)]
    pub(super) fn session_removed(&mut self, vrf: VrfId) {
        let sessions = &mut self.0[vrf.index()].sessions;
        *sessions = sessions.saturating_sub(1);
    }

    #[inline(always)]
    pub(super) fn port_taken(&mut self, vrf: VrfId) {
        self.0[vrf.index()].ports += 1;
    }

    #[inline(always)]
    pub(super) fn port_given_back(&mut self, vrf: VrfId) {
        let ports = &mut self.0[vrf.index()].ports;
        *ports = ports.saturating_sub(1);
    }

    /// Whether a tenant may have a session more, of `most` on all workers.
    #[inline(always)]
    pub(super) fn may_have_session(&mut self, quota: &Quota, vrf: VrfId, most: u32) -> bool {
        let Record {
            sessions,
            leased_sessions,
            ..
        } = &mut self.0[vrf.index()];
        quota.ensure(vrf, leased_sessions, *sessions, most)
    }

    /// Whether a tenant may have a port more, of `most` on all workers.
    #[inline(always)]
    pub(super) fn may_have_port(&mut self, quota: &Quota, vrf: VrfId, most: u32) -> bool {
        let Record {
            ports,
            leased_ports,
            ..
        } = &mut self.0[vrf.index()];
        quota.ensure(vrf, leased_ports, *ports, most)
    }

    /// Gives back what a tenant's limits lease to this worker and it does not use.
    #[inline(always)]
    pub(super) fn settle(&mut self, owners: &OutsideOwners, vrf: VrfId, limits: &Limits) {
        let record = &mut self.0[vrf.index()];
        if record.leased_sessions | record.leased_ports != 0 {
            let leased = &mut record.leased_sessions;
            owners
                .sessions
                .settle(vrf, leased, record.sessions, limits.sessions);
            let leased = &mut record.leased_ports;
            owners.ports.settle(vrf, leased, record.ports, limits.ports);
        }
    }

    fn refused(&mut self, vrf: VrfId, refusal: Refusal) {
        self.0[vrf.index()].refusals[refusal.index()] += 1;
    }
}

/// Where a walk over sessions, then hosts, then VRFs stands; the default is the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Census {
    /// At the session of this number.
    Sessions(u32),
    /// At the host of this number.
    Hosts(u32),
    /// At the VRF of this number.
    Vrfs(u32),
}

impl Default for Census {
    fn default() -> Self {
        Self::Sessions(1)
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

    /// Sessions of a VRF, expired ones that were not yet met by [`Self::age`] included.
    pub fn sessions_of_vrf(&self, vrf: VrfId) -> u32 {
        self.records.sessions(vrf)
    }

    /// Adds up to `max` records to what `vrfs`, by number, have: sessions, then hosts, then what was
    /// counted of each VRF as it happened. Returns where to go on; `None` at the end. VRFs beyond those
    /// of `vrfs` are left out.
    pub fn take_census(&self, at: Census, max: u32, vrfs: &mut [VrfStats]) -> Option<Census> {
        match at {
            Census::Sessions(start) => {
                let stop = start.saturating_add(max).min(self.sessions.end());
                for number in start..stop {
                    let session = &self.sessions[number];
                    if let Some(vrf) = vrfs.get_mut(session.inside().vrf().index()) {
                        vrf.add_session(session);
                    }
                }
                Some(if stop < self.sessions.end() {
                    Census::Sessions(stop)
                } else {
                    Census::Hosts(1)
                })
            }
            Census::Hosts(start) => {
                let next = self.ports.walk_hosts(start, max, |vrf, mappings| {
                    if let Some(vrf) = vrfs.get_mut(vrf.index()) {
                        vrf.hosts += 1;
                        vrf.mappings += u64::from(mappings);
                    }
                });
                Some(next.map_or(Census::Vrfs(0), Census::Hosts))
            }
            Census::Vrfs(start) => {
                let stop = start.saturating_add(max).min(vrfs.len() as u32);
                let range = start.min(stop) as usize..stop as usize;
                let records = self.records.0.get(range.clone());
                for (vrf, record) in vrfs[range].iter_mut().zip(records.unwrap_or_default()) {
                    vrf.add_record(record);
                }
                (stop < vrfs.len() as u32).then_some(Census::Vrfs(stop))
            }
        }
    }

    /// Counts a refusal of which nobody knows whose packet it was.
    pub(super) fn count<T>(&mut self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        if let Err(refusal) = result {
            self.stats.refusals[refusal.index()] += 1;
        }
        result
    }

    /// Counts a refusal for the VRF whose packet it was, too.
    pub(super) fn count_for<T>(
        &mut self,
        vrf: VrfId,
        result: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let result = self.blame(vrf, result);
        self.count(result)
    }

    /// Counts a refusal for the VRF whose packet it was, and not yet for the gateway.
    pub(super) fn blame<T>(
        &mut self,
        vrf: VrfId,
        result: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if let Err(refusal) = result {
            self.records.refused(vrf, refusal);
        }
        result
    }
}
