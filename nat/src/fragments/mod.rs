//! Virtual reassembly (RFC 4787 REQ-14): what the fragments of a packet have in common is kept for as
//! long as they come, so that those without ports go the way of the first, which has them.
//!
//! Nothing is put together. Later fragments that come before the first wait for it, as whatever the
//! caller holds (`T`). Fragments that contradict each other end their datagram (RFC 5722): no two that
//! overlap pass while it is incomplete. All memory is there from the start; a VRF, and the outside,
//! has a share of it, and what exceeds a share costs that VRF's own oldest datagram.

mod extents;
mod fifo;
mod waiting;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use rand::SeedableRng;
use rand::rngs::StdRng;
use sekisho_types::{IpProtocol, VrfId};

use self::extents::{Extents, Fit};
use self::fifo::{Fifo, Links, NONE};
use self::waiting::{Queue, Waiting};
use crate::seed::HashKey;
use crate::time::Time;

/// How long a datagram may take from its first fragment seen to its last.
const LIFETIME_MS: u32 = 2000;
/// Most fragments of a datagram: 64 KiB over an MTU of 1,044.
const MAX_FRAGMENTS: usize = 64;
/// Most datagrams whose time is over that one call looks at.
const EXPIRED_PER_CALL: usize = 64;

/// What the fragments of a packet have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Datagram {
    /// The VRF it came from; the provider's if it came from outside.
    pub vrf: VrfId,
    /// Its source.
    pub src: Ipv4Addr,
    /// Its destination.
    pub dst: Ipv4Addr,
    /// Its protocol.
    pub protocol: IpProtocol,
    /// Its identification.
    pub id: u16,
}

/// What a fragment has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where its payload stands in the packet's, in octets.
    pub offset: u16,
    /// How long its payload is, in octets.
    pub len: u16,
    /// Whether others follow.
    pub more: bool,
    /// Source and destination port, which the first has.
    pub ports: Option<Ports>,
}

/// The source and destination port of a packet, as its first fragment gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// The source port, or the identifier of an echo request.
    pub src: u16,
    /// The destination port, or the identifier of an echo reply.
    pub dst: u16,
}

/// What becomes of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as a part of a packet with these ports.
    Pass(Ports),
    /// The first has not come yet: to be given to [`Fragments::wait`].
    Wait(Place),
    /// It goes no further.
    Refuse(Refused),
}

/// Why a fragment goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It can be part of no packet: empty, of a length that is no multiple of eight though others
    /// follow, or beyond 65,535 octets.
    Malformed,
    /// It stands where the L4 header belongs (RFC 1858, RFC 3128).
    Tiny,
    /// It is there already.
    Duplicate,
    /// It, or one before it, contradicts another of its datagram.
    Overlap,
    /// The datagram has too many.
    TooMany,
    /// The first did not come in time.
    Timeout,
    /// Its datagram had to make room for a newer one, or it found no room to wait.
    Full,
}

/// Where a datagram stands in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub struct FragmentLimits {
    /// Datagrams that are incomplete.
    pub datagrams: u32,
    /// Of these, those of a VRF, and those from outside.
    pub datagrams_of_vrf: u32,
    /// See [`Self::datagrams_of_vrf`].
    pub datagrams_from_outside: u32,
    /// Fragments that wait.
    pub waiting: u32,
    /// Of these, those of a VRF, and those from outside.
    pub waiting_of_vrf: u32,
    /// See [`Self::waiting_of_vrf`].
    pub waiting_from_outside: u32,
    /// Of these, those of a datagram.
    pub waiting_of_datagram: u32,
}

impl Default for FragmentLimits {
    fn default() -> Self {
        Self {
            datagrams: 4096,
            datagrams_of_vrf: 512,
            datagrams_from_outside: 2048,
            waiting: 1024,
            waiting_of_vrf: 128,
            waiting_from_outside: 512,
            waiting_of_datagram: 48,
        }
    }
}

/// What is known of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not its ports.
    Unknown,
    Known(Ports),
    /// Its fragments contradict each other: none passes any more.
    Poisoned(Refused),
}

#[derive(Debug)]
struct Entry {
    key: Datagram,
    born: Time,
    state: State,
    extents: Extents,
    waiting: Queue,
    /// The next in its bucket.
    chain: u32,
}

/// What a VRF has in the table.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// Its datagrams, the oldest first.
    datagrams: Fifo,
    waiting: u32,
}

/// The incomplete datagrams of one worker, and the fragments that wait.
#[derive(Debug)]
pub struct Fragments<T> {
    limits: FragmentLimits,
    hash: HashKey,
    /// The first entry of each bucket.
    buckets: Vec<u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// All datagrams, the oldest first.
    ages: Fifo,
    by_age: Vec<Links>,
    by_share: Vec<Links>,
    /// By VRF number.
    shares: Vec<Share>,
    waiting: Waiting<T>,
    ready: VecDeque<(T, Ports)>,
    lost: VecDeque<(T, Refused)>,
}

impl<T> Fragments<T> {
    /// An empty table. Whoever does not know `secret` cannot choose datagrams that collide in it.
    pub fn new(limits: FragmentLimits, secret: u64) -> Self {
        let size = limits.datagrams as usize;
        let entry = || Entry {
            key: Datagram {
                vrf: VrfId::PROVIDER,
                src: Ipv4Addr::UNSPECIFIED,
                dst: Ipv4Addr::UNSPECIFIED,
                protocol: IpProtocol(0),
                id: 0,
            },
            born: Time::default(),
            state: State::Unknown,
            extents: Extents::default(),
            waiting: Queue::default(),
            chain: NONE,
        };
        let waiting = limits.waiting as usize;
        Self {
            limits,
            hash: HashKey::draw(&mut StdRng::seed_from_u64(secret)),
            buckets: vec![NONE; (size * 2).next_power_of_two()],
            entries: std::iter::repeat_with(entry).take(size).collect(),
            free: (0..limits.datagrams).rev().collect(),
            ages: Fifo::default(),
            by_age: vec![Links::default(); size],
            by_share: vec![Links::default(); size],
            shares: vec![Share::default(); usize::from(u16::MAX) + 1],
            waiting: Waiting::new(limits.waiting),
            ready: VecDeque::with_capacity(waiting),
            lost: VecDeque::with_capacity(waiting),
        }
    }

    /// How many datagrams are incomplete.
    pub const fn datagrams(&self) -> u32 {
        self.ages.len()
    }

    /// How many fragments are held, whatever for.
    pub fn held(&self) -> usize {
        self.waiting.len() as usize + self.ready.len() + self.lost.len()
    }

    /// A fragment came. The first one of a datagram that was waited for makes those that wait
    /// [`Self::next_ready`].
    pub fn meet(&mut self, now: Time, key: &Datagram, fragment: &Fragment) -> Verdict {
        if let Err(refused) = fragment.check(key.protocol) {
            return Verdict::Refuse(refused);
        }
        let bucket = self.bucket(key);
        let place = match self.find(bucket, key) {
            Some(place) if self.is_over(now, place) => {
                self.remove(place, Refused::Timeout);
                self.insert(now, bucket, key)
            }
            Some(place) => Some(place),
            None => self.insert(now, bucket, key),
        };
        let Some(place) = place else {
            return Verdict::Refuse(Refused::Full);
        };
        self.join(place, fragment)
    }

    /// Lets a fragment wait that [`Self::meet`] just answered [`Verdict::Wait`] for.
    ///
    /// # Errors
    /// Gives it back when there is no room, even after the VRF's older datagrams made way.
    pub fn wait(&mut self, place: Place, packet: T) -> Result<(), T> {
        let index = place.0 as usize;
        let (vrf, most) = {
            let vrf = self.entries[index].key.vrf;
            (vrf, self.limits.waiting_of(vrf))
        };
        if self.entries[index].waiting.len() >= self.limits.waiting_of_datagram {
            return Err(packet);
        }
        while self.shares[vrf.index()].waiting >= most {
            let oldest = self.shares[vrf.index()].datagrams.first();
            if oldest == NONE || oldest == place.0 {
                return Err(packet);
            }
            self.remove(oldest, Refused::Full);
        }
        while self.waiting.is_full() {
            let oldest = self.ages.first();
            if oldest == NONE || oldest == place.0 {
                return Err(packet);
            }
            self.remove(oldest, Refused::Full);
        }
        self.waiting
            .push(&mut self.entries[index].waiting, packet)?;
        self.shares[vrf.index()].waiting += 1;
        Ok(())
    }

    /// Whether nothing is ready or lost.
    pub fn is_settled(&self) -> bool {
        self.ready.is_empty() && self.lost.is_empty()
    }

    /// The next fragment that waited and need not any longer, in the order they came, with the ports
    /// of its packet.
    pub fn next_ready(&mut self) -> Option<(T, Ports)> {
        self.ready.pop_front()
    }

    /// The next fragment that waited in vain.
    pub fn next_lost(&mut self) -> Option<(T, Refused)> {
        self.lost.pop_front()
    }

    /// Forgets datagrams whose time is over, a bounded number of them.
    pub fn expire(&mut self, now: Time) {
        for _ in 0..EXPIRED_PER_CALL {
            let oldest = self.ages.first();
            if oldest == NONE || !self.is_over(now, oldest) {
                return;
            }
            self.remove(oldest, Refused::Timeout);
        }
    }

    /// What a fragment means to its datagram.
    fn join(&mut self, place: u32, fragment: &Fragment) -> Verdict {
        let entry = &mut self.entries[place as usize];
        if let State::Poisoned(why) = entry.state {
            return Verdict::Refuse(why);
        }
        let refused = match entry.extents.add(fragment) {
            Fit::New => {
                return self.admit(place, fragment);
            }
            Fit::Duplicate => return Verdict::Refuse(Refused::Duplicate),
            Fit::Overlap => Refused::Overlap,
            Fit::TooMany => Refused::TooMany,
        };
        entry.state = State::Poisoned(refused);
        self.release(place, |lost, packet| lost.1.push_back((packet, refused)));
        Verdict::Refuse(refused)
    }

    /// A fragment that contradicts no other goes on as soon as the ports are known.
    fn admit(&mut self, place: u32, fragment: &Fragment) -> Verdict {
        let entry = &mut self.entries[place as usize];
        if let Some(ports) = fragment.ports {
            entry.state = State::Known(ports);
            self.release(place, |queues, packet| queues.0.push_back((packet, ports)));
        }
        let entry = &self.entries[place as usize];
        let State::Known(ports) = entry.state else {
            return Verdict::Wait(Place(place));
        };
        if entry.extents.is_complete() {
            // Nothing waits any longer.
            self.remove(place, Refused::Timeout);
        }
        Verdict::Pass(ports)
    }

    /// Gives what waits for a datagram to one of the queues: `ready` or `lost`.
    fn release(&mut self, place: u32, mut give: impl FnMut(&mut Queues<'_, T>, T)) {
        let entry = &mut self.entries[place as usize];
        let share = &mut self.shares[entry.key.vrf.index()];
        let mut queues = (&mut self.ready, &mut self.lost);
        while let Some(packet) = self.waiting.pop(&mut entry.waiting) {
            share.waiting -= 1;
            give(&mut queues, packet);
        }
    }

    /// A new entry, the last of its VRF. Whose share is full, or who finds the table full, costs the
    /// oldest.
    fn insert(&mut self, now: Time, bucket: usize, key: &Datagram) -> Option<u32> {
        let share = self.shares[key.vrf.index()].datagrams;
        if share.len() >= self.limits.datagrams_of(key.vrf) {
            self.remove(share.first(), Refused::Full);
        } else if self.free.is_empty() {
            self.remove(self.ages.first(), Refused::Full);
        }
        let place = self.free.pop()?;
        let entry = &mut self.entries[place as usize];
        entry.key = *key;
        entry.born = now;
        entry.state = State::Unknown;
        entry.extents = Extents::default();
        entry.chain = self.buckets[bucket];
        self.buckets[bucket] = place;
        self.ages.push(&mut self.by_age, place);
        let share = &mut self.shares[key.vrf.index()].datagrams;
        share.push(&mut self.by_share, place);
        Some(place)
    }

    /// Forgets a datagram; what waits for it is lost.
    fn remove(&mut self, place: u32, why: Refused) {
        if place == NONE {
            return;
        }
        self.release(place, |queues, packet| queues.1.push_back((packet, why)));
        let key = self.entries[place as usize].key;
        let bucket = self.bucket(&key);
        self.unchain(bucket, place);
        self.ages.remove(&mut self.by_age, place);
        let share = &mut self.shares[key.vrf.index()].datagrams;
        share.remove(&mut self.by_share, place);
        self.free.push(place);
    }

    fn unchain(&mut self, bucket: usize, place: u32) {
        let next = self.entries[place as usize].chain;
        let mut at = self.buckets[bucket];
        if at == place {
            self.buckets[bucket] = next;
            return;
        }
        while at != NONE {
            let entry = &mut self.entries[at as usize];
            if entry.chain == place {
                entry.chain = next;
                return;
            }
            at = entry.chain;
        }
    }

    fn find(&self, bucket: usize, key: &Datagram) -> Option<u32> {
        let mut at = self.buckets[bucket];
        while at != NONE {
            let entry = &self.entries[at as usize];
            if entry.key == *key {
                return Some(at);
            }
            at = entry.chain;
        }
        None
    }

    fn bucket(&self, key: &Datagram) -> usize {
        let addresses = u64::from(u32::from(key.src)) << 32 | u64::from(u32::from(key.dst));
        let rest =
            u64::from(key.vrf.value()) << 24 | u64::from(key.id) << 8 | u64::from(key.protocol.0);
        self.hash.hash(0, addresses, rest) as usize & (self.buckets.len() - 1)
    }

    fn is_over(&self, now: Time, place: u32) -> bool {
        now.since(self.entries[place as usize].born) >= LIFETIME_MS
    }
}

/// Those that are ready, and those that are lost.
type Queues<'a, T> = (&'a mut VecDeque<(T, Ports)>, &'a mut VecDeque<(T, Refused)>);

impl FragmentLimits {
    fn datagrams_of(&self, vrf: VrfId) -> u32 {
        if vrf == VrfId::PROVIDER {
            self.datagrams_from_outside
        } else {
            self.datagrams_of_vrf
        }
    }

    fn waiting_of(&self, vrf: VrfId) -> u32 {
        if vrf == VrfId::PROVIDER {
            self.waiting_from_outside
        } else {
            self.waiting_of_vrf
        }
    }
}

impl Fragment {
    /// Whether it can be part of a packet at all, and does not stand where the L4 header belongs.
    fn check(&self, protocol: IpProtocol) -> Result<(), Refused> {
        const MIN_TCP: u16 = 20;
        const MIN_IP: u32 = 20;
        let end = MIN_IP + u32::from(self.offset) + u32::from(self.len);
        let beyond = end > u32::from(u16::MAX);
        if self.len == 0 || beyond || (self.more && !self.len.is_multiple_of(8)) {
            return Err(Refused::Malformed);
        }
        let in_header = self.offset > 0 && protocol == IpProtocol::TCP && self.offset < MIN_TCP;
        if in_header || (self.offset == 0 && self.ports.is_none()) {
            return Err(Refused::Tiny);
        }
        Ok(())
    }
}
