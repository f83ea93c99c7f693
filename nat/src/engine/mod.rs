//! The engine of one worker: the way of a packet through its sessions.

mod age;
mod batch;
mod candidates;
mod errors;
mod filter;
mod hit;
mod inbound;
mod lifecycle;
mod logging;
mod lookup;
mod mappings;
mod memory;
mod outbound;
mod pressure;
mod removal;
mod show;
mod statistics;
mod tally;

#[cfg(test)]
mod model;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod threads;
#[cfg(test)]
mod twins;

use std::net::SocketAddrV4;
use std::sync::Arc;

use sekisho_mem::{HugeSlice, MapError};
use sekisho_types::{VrfId, WorkerId};

pub use batch::Departure;
pub use candidates::Candidate;
pub use filter::{SessionFilter, StateFilter, TupleFilter};
pub use hit::Hit;
pub use lookup::Probe;
pub(crate) use mappings::MappingKey;
pub use memory::Memory;
pub use show::{Cursor, SessionCounts, SessionView};
pub use statistics::{Census, Stats, VrfStats};

use crate::key::TcpSegment;
use crate::policy::Policy;
use crate::ports::Ports;
use crate::rate::Bucket;
use crate::seed::{HashKey, Seed};
use crate::session::{Mapping, Session, SessionId};
use crate::table::{Index, Slab, Tiers};
use crate::tcp::Side;
use crate::time::Time;

/// How full the index of sessions is when all are there. Hits are faster the emptier it is.
const SESSION_PERCENT: usize = 80;
/// How full the index of mappings is when each session has one of its own.
const MAPPING_PERCENT: usize = 82;

/// What an engine is made for.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Whose it is.
    pub worker: WorkerId,
    /// Most sessions at a time. Memory for them is mapped at once and committed as it is used:
    /// 107 octets for a session with a mapping of its own.
    pub max_sessions: u32,
    /// Whether it is counted what each session carries, which takes 32 octets more for each.
    pub count_sessions: bool,
    /// The secret of this boot; the same for all workers.
    pub seed: Seed,
}

/// What an outbound packet becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// Its source becomes this.
    Translated {
        /// The new source address and port (or ICMP identifier).
        source: SocketAddrV4,
        /// The session; `None` for a floating IP, which needs none.
        session: Option<SessionId>,
    },
    /// It goes on as it is: a rule says so, or none matches.
    Untranslated,
}

/// What an inbound packet becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The VRF it goes to.
    pub vrf: VrfId,
    /// The new destination address and port (or ICMP identifier).
    pub destination: SocketAddrV4,
    /// The session; `None` for a floating IP, which needs none.
    pub session: Option<SessionId>,
}

/// The inside of what an ICMP error from outside is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorTarget {
    /// The VRF the error goes to.
    pub vrf: VrfId,
    /// The new outer destination, and the new source of the embedded packet.
    pub inside: SocketAddrV4,
}

/// The NAT state of one worker. Single-threaded: it is owned, never shared. All memory is mapped
/// when it is made.
///
/// A packet between two hosts behind the gateway (hairpin, RFC 4787 REQ-9) is two translations:
/// [`Engine::outbound`] on the owner of its source, then, steered by its destination with the source
/// just got, [`Engine::inbound`] on the owner of that. For SNAT to an uplink the egress of such a
/// packet is the uplink whose address it is sent to.
pub struct Engine {
    policy: Arc<Policy>,
    /// Of the policy.
    rules: hit::Rules,
    key: HashKey,
    sessions: Slab<Session>,
    index: Index,
    mappings: Slab<Mapping>,
    /// Mappings by inside tuple.
    mapping_index: Index,
    /// Mappings that let everybody in, by outside tuple.
    open_index: Tiers,
    /// Whether the policy has a rule that lets everybody in.
    has_open_rules: bool,
    ports: Ports,
    tallies: tally::Tallies,
    records: statistics::Records,
    /// Room kept for VRFs that have less than what is reserved for them.
    reserved: usize,
    /// How long ports are kept back, in milliseconds.
    quarantine: u32,
    /// The time of the latest call.
    clock: Time,
    /// Where the search for sessions that may go first stands.
    search: u32,
    /// What is left of each VRF's new sessions.
    rates: HugeSlice<Bucket>,
    sweep: age::Sweep,
    stats: Stats,
}

impl Engine {
    /// An engine without sessions.
    ///
    /// # Errors
    /// When the kernel refuses the memory.
    pub fn new(config: EngineConfig, policy: Arc<Policy>) -> Result<Self, MapError> {
        let capacity = config.max_sessions;
        let mut random = config.seed.generator(config.worker);
        let key = HashKey::draw(&mut random);
        let owners = Arc::clone(policy.owners());
        let mut ports = Ports::new(config.worker, owners, capacity, random)?;
        ports.log.follow(policy.log_rules());
        Ok(Self {
            sessions: Slab::new(capacity)?,
            index: Index::new(capacity as usize * 2, SESSION_PERCENT)?,
            mappings: Slab::new(capacity)?,
            mapping_index: Index::new(capacity as usize, MAPPING_PERCENT)?,
            open_index: Tiers::new(capacity as usize / 32, capacity as usize)?,
            has_open_rules: policy.has_open_rules(),
            ports,
            tallies: tally::Tallies::new(config.count_sessions, capacity)?,
            records: statistics::Records::new()?,
            reserved: policy
                .reserved()
                .iter()
                .map(|&(_, kept)| kept as usize)
                .sum(),
            quarantine: quarantine(&policy),
            clock: Time::default(),
            search: 1,
            rates: HugeSlice::new(usize::from(u16::MAX) + 1)?,
            sweep: age::Sweep::new(policy.generation()),
            stats: Stats::default(),
            rules: hit::Rules::of(&policy),
            key,
            policy,
        })
    }

    /// The policy in force.
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Puts a policy in force. Sessions it does not allow any more go when a packet of theirs or
    /// [`Self::age`] meets them; the others go on. Returns the policy that was in force, to be
    /// dropped elsewhere.
    ///
    /// Policies of one engine share the [`crate::OutsideOwners`] of its first.
    pub fn set_policy(&mut self, policy: Arc<Policy>) -> Arc<Policy> {
        self.sweep.restart();
        self.rules = hit::Rules::of(&policy);
        self.ports.log.follow(policy.log_rules());
        self.has_open_rules = policy.has_open_rules();
        self.quarantine = quarantine(&policy);
        self.reserved = self.unused_reserves(&policy);
        std::mem::replace(&mut self.policy, policy)
    }

    /// What every packet of a session does to it.
    #[inline]
    fn pass(&mut self, now: Time, number: u32, from: Side, segment: &TcpSegment) {
        let session = &mut self.sessions[number];
        let tcp = session.is_tcp().then_some(segment);
        let fits = session.pass(now, from, tcp, &self.rules);
        self.stats.note_fit(fits);
    }
}

/// How long ports are kept back, in milliseconds. Time counts right for half of its range.
fn quarantine(policy: &Policy) -> u32 {
    let quarantine = policy.timers().quarantine.as_millis();
    quarantine.min(i32::MAX as u128) as u32
}
