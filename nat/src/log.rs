//! What the translation log is told: who got which outside address and ports, and until when
//! (RFC 6888 REQ-12 and REQ-14, RFC 8158).
//!
//! An engine writes events into a queue of fixed size, which its owner empties once a turn. What does
//! not fit is lost and counted. Every beginning that is told has its end told, whatever the rules say
//! by then: sessions, mappings and blocks remember that they are in the log.

use std::net::SocketAddrV4;
use std::sync::Arc;

use sekisho_types::{InterfaceId, IpProtocol, VrfId};

use crate::policy::{PoolId, Target};
use crate::refusal::Refusal;
use crate::time::Time;

/// Events an engine keeps until its owner takes them.
const QUEUE: usize = 8192;
/// How long a refusal of one kind in one VRF is not told again, in milliseconds.
const REFUSAL_PAUSE: u32 = 1000;
/// VRFs that are told apart when refusals are told: some share a place if there are more.
const REFUSAL_PLACES: usize = 64;

/// How much of a tenant's translations is logged. Each answers who had an outside address and port at
/// a time, to the precision it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Nothing.
    #[default]
    None,
    /// Blocks of ports, and mappings of ports in blocks of other hosts.
    Blocks,
    /// Mappings.
    Mappings,
    /// Sessions.
    Sessions,
}

/// What is logged of whom.
#[derive(Clone, Debug, Default)]
pub struct LogRules {
    /// By VRF number.
    levels: Vec<LogLevel>,
    destinations: bool,
}

impl LogRules {
    /// Rules by VRF; a VRF that is not named is not logged. `destinations`: whether sessions are
    /// logged with their remote side.
    pub fn new(of: impl IntoIterator<Item = (VrfId, LogLevel)>, destinations: bool) -> Self {
        let mut levels = Vec::new();
        for (vrf, level) in of {
            if levels.len() <= vrf.index() {
                levels.resize(vrf.index() + 1, LogLevel::None);
            }
            levels[vrf.index()] = level;
        }
        Self {
            levels,
            destinations,
        }
    }

    fn level(&self, vrf: VrfId) -> LogLevel {
        self.levels.get(vrf.index()).copied().unwrap_or_default()
    }

    fn is_on(&self) -> bool {
        self.levels.iter().any(|&level| level != LogLevel::None)
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// A session began.
    SessionCreated,
    /// A session ended.
    SessionDeleted,
    /// A mapping began.
    MappingCreated,
    /// A mapping ended.
    MappingDeleted,
    /// A host got a block of ports.
    BlockAllocated,
    /// A host has given a block of ports back.
    BlockReleased,
    /// Something could not be had. Told once a second for each reason and VRF.
    Refused(Refusal),
}

/// Where an outside address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// A pool.
    Pool(PoolId),
    /// An uplink's own address.
    Uplink(InterfaceId),
    /// A port forward, or what was refused was none of an address.
    Other,
}

/// One line of the log, without the time: that of the turn it is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// What happened.
    pub kind: LogKind,
    /// Of which protocol; 0 of blocks, whose ports are for all protocols, and where it is not known.
    pub protocol: IpProtocol,
    /// Where the inside address is meant.
    pub vrf: VrfId,
    /// Where the outside address comes from.
    pub from: LogSource,
    /// The inside address and port (or ICMP identifier); port 0 of blocks.
    pub inside: SocketAddrV4,
    /// The outside address and port; the first port of blocks; of refusals the uplink's address, or
    /// unspecified.
    pub outside: SocketAddrV4,
    /// The last port of a block.
    pub last_port: u16,
    /// The remote side of a session, if the rules ask for it.
    pub remote: Option<SocketAddrV4>,
}

impl From<Target> for LogSource {
    fn from(target: Target) -> Self {
        match target.uplink_id() {
            Some(uplink) => Self::Uplink(uplink),
            None => Self::Pool(PoolId::new(target.0 as u16)),
        }
    }
}

/// The log of one engine.
pub(crate) struct Log {
    rules: Arc<LogRules>,
    /// Whether anything is logged of anybody.
    on: bool,
    /// Never beyond its capacity.
    queue: Vec<LogEvent>,
    lost: u64,
    /// When a refusal was last told, by reason and VRF.
    told: Vec<Option<Time>>,
}

impl Default for Log {
    /// A log of nothing.
    fn default() -> Self {
        Self {
            on: false,
            rules: Arc::default(),
            queue: Vec::with_capacity(QUEUE),
            lost: 0,
            told: vec![None; Refusal::COUNT * REFUSAL_PLACES],
        }
    }
}

impl Log {
    /// Follows other rules from now on.
    pub(crate) fn follow(&mut self, rules: &Arc<LogRules>) {
        self.on = rules.is_on();
        self.rules = Arc::clone(rules);
    }

    /// Whether anything is logged of anybody.
    #[inline(always)]
    pub(crate) const fn is_on(&self) -> bool {
        self.on
    }

    pub(crate) fn level(&self, vrf: VrfId) -> LogLevel {
        self.rules.level(vrf)
    }

    /// Whether sessions are logged with their remote side.
    pub(crate) fn has_destinations(&self) -> bool {
        self.rules.destinations
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }

    pub(crate) fn push(&mut self, event: LogEvent) {
        if self.queue.len() < self.queue.capacity() {
            self.queue.push(event);
        } else {
            self.lost += 1;
        }
    }

    /// Tells what was refused, unless the same was just told of the VRF.
    pub(crate) fn refuse(&mut self, now: Time, event: LogEvent) {
        let LogKind::Refused(refusal) = event.kind else {
            return;
        };
        if self.level(event.vrf) == LogLevel::None {
            return;
        }
        let place = refusal.index() * REFUSAL_PLACES + event.vrf.index() % REFUSAL_PLACES;
        if self.told[place].is_none_or(|told| now.since(told) >= REFUSAL_PAUSE) {
            self.told[place] = Some(now);
            self.push(event);
        }
    }

    pub(crate) fn drain(&mut self, take: impl FnMut(LogEvent)) {
        self.queue.drain(..).for_each(take);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: LogKind, vrf: u16) -> LogEvent {
        let nowhere = SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0);
        LogEvent {
            kind,
            protocol: IpProtocol::UDP,
            vrf: VrfId::new(vrf),
            from: LogSource::Other,
            inside: nowhere,
            outside: nowhere,
            last_port: 0,
            remote: None,
        }
    }

    fn log() -> Log {
        let levels = (1..3).map(|vrf| (VrfId::new(vrf), LogLevel::Blocks));
        let mut log = Log::default();
        log.follow(&Arc::new(LogRules::new(levels, false)));
        log
    }

    #[test]
    fn a_full_queue_loses_and_counts_and_never_grows() {
        let mut log = log();
        let capacity = log.queue.capacity();
        for _ in 0..capacity + 3 {
            log.push(event(LogKind::MappingCreated, 1));
        }
        assert_eq!((log.lost(), log.queue.capacity()), (3, capacity));
        let mut taken = 0;
        log.drain(|_| taken += 1);
        assert_eq!(taken, capacity);
        log.push(event(LogKind::MappingCreated, 1));
        assert_eq!((log.lost(), log.queue.len()), (3, 1));
    }

    #[test]
    fn a_refusal_is_told_once_a_second_for_each_reason_and_vrf() {
        let mut log = log();
        let exhausted = LogKind::Refused(Refusal::PortsExhausted);
        let limit = LogKind::Refused(Refusal::HostLimit);
        for millis in 0..2500 {
            let now = Time::from_millis(millis);
            for vrf in [1, 2, 3] {
                log.refuse(now, event(exhausted, vrf));
                log.refuse(now, event(limit, vrf));
            }
        }
        // Three times each; nothing is logged of the third VRF.
        assert_eq!(log.queue.len(), 3 * 2 * 2);
    }
}
