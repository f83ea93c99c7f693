//! Address resolution on uplinks and segments: who has which Ethernet address, and, on a segment,
//! behind which VTEP. A pure state machine: events and time in, actions out (RFC 826, and the
//! reachability states of RFC 4861 section 7.3, which serve IPv4 just as well).

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use sekisho_fib::Link;
use sekisho_types::MacAddr;

/// A neighbour: an address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbor {
    /// The link.
    pub link: Link,
    /// Its address there.
    pub address: IpAddr,
}

/// Where frames for a neighbour go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// The VTEP behind which it lives; none on an uplink.
    pub vtep: Option<IpAddr>,
}

/// Time since the process started.
pub type Now = Duration;

/// What the caller must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for the neighbour: by broadcast, or of `known` alone when only its reachability is in
    /// doubt.
    Request {
        /// Whom to ask for.
        neighbor: Neighbor,
        /// Where it was last seen.
        known: Option<Location>,
    },
    /// Frames for the neighbour go to `location` from now on.
    Resolved {
        /// Who.
        neighbor: Neighbor,
        /// Where.
        location: Location,
    },
    /// The neighbour does not answer (any more).
    Lost {
        /// Who.
        neighbor: Neighbor,
    },
}

/// How a neighbour stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked for, not answered yet.
    Incomplete,
    /// Known and answering.
    Reachable(Location),
    /// Known, being asked whether it is still there.
    Probe(Location),
    /// Did not answer.
    Failed,
}

const RETRANSMIT: Duration = Duration::from_secs(1);
const ATTEMPTS: u8 = 3;
/// A next hop of a route is probed this often, so that its loss is noticed without traffic.
const NEXT_HOP_LIFETIME: Duration = Duration::from_secs(10);
/// Everybody else lives this long without a sign of life (the usual MAC ageing time).
const LIFETIME: Duration = Duration::from_secs(300);
/// How long a neighbour that did not answer is remembered, and how often a next hop is asked again.
const FAILED_HOLD: Duration = Duration::from_secs(3);
/// A location may change once in this time, so that two claimants cannot churn the tables.
const MOVE_INTERVAL: Duration = Duration::from_millis(500);
/// Most neighbours remembered; more are not asked for.
const MAX_ENTRIES: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    attempts: u8,
    deadline: Now,
    moved: Now,
    heard: Now,
    next_hop: bool,
}

/// All neighbours.
#[derive(Debug, Default)]
pub struct Neighbors {
    entries: HashMap<Neighbor, Entry>,
    deadlines: BTreeSet<(Now, Neighbor)>,
    actions: Vec<Action>,
}

impl Neighbors {
    /// A packet waits for `neighbor`.
    pub fn needed(&mut self, neighbor: Neighbor, now: Now) {
        if self.entries.contains_key(&neighbor) || self.entries.len() >= MAX_ENTRIES {
            return;
        }
        self.ask(neighbor, false, now);
    }

    /// `neighbor` is, or is no longer, a next hop of a route: it is resolved before any packet
    /// needs it, and watched.
    pub fn set_next_hop(&mut self, neighbor: Neighbor, next_hop: bool, now: Now) {
        match self.entries.get_mut(&neighbor) {
            Some(entry) => {
                entry.next_hop = next_hop;
                if next_hop && matches!(entry.state, State::Reachable(_)) {
                    let deadline = entry.heard + NEXT_HOP_LIFETIME;
                    self.reschedule(neighbor, deadline);
                }
            }
            None if next_hop => self.ask(neighbor, true, now),
            None => {}
        }
    }

    /// `neighbor` was heard at `location`: it spoke ARP, or sent a packet through its tunnel.
    /// Unknown neighbours are remembered only with `learn`.
    pub fn heard(&mut self, neighbor: Neighbor, location: Location, learn: bool, now: Now) {
        let Some(entry) = self.entries.get_mut(&neighbor) else {
            if learn && self.entries.len() < MAX_ENTRIES {
                let deadline = now + LIFETIME;
                let state = State::Reachable(location);
                let entry = Entry {
                    state,
                    attempts: 0,
                    deadline,
                    moved: now,
                    heard: now,
                    next_hop: false,
                };
                self.entries.insert(neighbor, entry);
                self.deadlines.insert((deadline, neighbor));
                self.actions.push(Action::Resolved { neighbor, location });
            }
            return;
        };
        let known = match entry.state {
            State::Reachable(known) | State::Probe(known) => Some(known),
            State::Incomplete | State::Failed => None,
        };
        if known != Some(location) {
            if known.is_some() && now < entry.moved + MOVE_INTERVAL {
                return;
            }
            entry.moved = now;
            self.actions.push(Action::Resolved { neighbor, location });
        }
        entry.state = State::Reachable(location);
        entry.attempts = 0;
        entry.heard = now;
        let lifetime = if entry.next_hop {
            NEXT_HOP_LIFETIME
        } else {
            LIFETIME
        };
        self.reschedule(neighbor, now + lifetime);
    }

    /// Forgets every neighbour for which `gone` says so, without a word.
    pub fn forget(&mut self, gone: impl Fn(&Neighbor) -> bool) {
        self.entries.retain(|neighbor, _| !gone(neighbor));
        self.deadlines.retain(|(_, neighbor)| !gone(neighbor));
    }

    /// Lets time pass: at most `budget` neighbours are looked after.
    pub fn tick(&mut self, now: Now, budget: usize) {
        for _ in 0..budget {
            match self.deadlines.first() {
                Some(&(deadline, neighbor)) if deadline <= now => self.expired(neighbor, now),
                _ => return,
            }
        }
    }

    /// When `tick` is next worth calling.
    pub fn next_deadline(&self) -> Option<Now> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// What is to be done since the last call, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Every neighbour, its state and when it was last heard.
    pub fn iter(&self) -> impl Iterator<Item = (Neighbor, State, Now)> {
        self.entries
            .iter()
            .map(|(neighbor, entry)| (*neighbor, entry.state, entry.heard))
    }

    /// How one neighbour stands.
    pub fn state(&self, neighbor: Neighbor) -> Option<State> {
        self.entries.get(&neighbor).map(|entry| entry.state)
    }

    fn ask(&mut self, neighbor: Neighbor, next_hop: bool, now: Now) {
        let deadline = now + RETRANSMIT;
        let entry = Entry {
            state: State::Incomplete,
            attempts: 1,
            deadline,
            moved: Now::ZERO,
            heard: now,
            next_hop,
        };
        self.entries.insert(neighbor, entry);
        self.deadlines.insert((deadline, neighbor));
        self.actions.push(Action::Request {
            neighbor,
            known: None,
        });
    }

    fn expired(&mut self, neighbor: Neighbor, now: Now) {
        let Some(entry) = self.entries.get_mut(&neighbor) else {
            self.deadlines.pop_first();
            return;
        };
        let wait = match entry.state {
            State::Reachable(known) => {
                entry.state = State::Probe(known);
                entry.attempts = 1;
                self.actions.push(Action::Request {
                    neighbor,
                    known: Some(known),
                });
                RETRANSMIT
            }
            State::Probe(_) | State::Incomplete if entry.attempts < ATTEMPTS => {
                // The last probe goes to everybody: the neighbour may have moved.
                let known = match entry.state {
                    State::Probe(known) if entry.attempts + 1 < ATTEMPTS => Some(known),
                    _ => None,
                };
                entry.attempts += 1;
                self.actions.push(Action::Request { neighbor, known });
                RETRANSMIT
            }
            State::Probe(_) | State::Incomplete => {
                entry.state = State::Failed;
                self.actions.push(Action::Lost { neighbor });
                FAILED_HOLD
            }
            State::Failed if entry.next_hop => {
                entry.state = State::Incomplete;
                entry.attempts = 1;
                self.actions.push(Action::Request {
                    neighbor,
                    known: None,
                });
                RETRANSMIT
            }
            State::Failed => {
                let deadline = entry.deadline;
                self.deadlines.remove(&(deadline, neighbor));
                self.entries.remove(&neighbor);
                return;
            }
        };
        self.reschedule(neighbor, now + wait);
    }

    fn reschedule(&mut self, neighbor: Neighbor, deadline: Now) {
        if let Some(entry) = self.entries.get_mut(&neighbor) {
            self.deadlines.remove(&(entry.deadline, neighbor));
            entry.deadline = deadline;
            self.deadlines.insert((deadline, neighbor));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use sekisho_types::InterfaceId;

    use super::*;

    const ROUTER: Neighbor = Neighbor {
        link: Link::Interface(InterfaceId::new(1)),
        address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 0)),
    };
    const HERE: Location = Location {
        mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
        vtep: None,
    };
    const THERE: Location = Location {
        mac: MacAddr::new([2, 0, 0, 0, 0, 2]),
        vtep: None,
    };

    const fn at(seconds: u64) -> Now {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_needed_neighbour_is_asked_for_once_a_second_and_then_given_up() {
        let mut neighbors = Neighbors::default();
        for second in 0..10 {
            neighbors.needed(ROUTER, at(second));
            if second == 3 {
                assert_eq!(neighbors.state(ROUTER), Some(State::Incomplete));
            }
            neighbors.tick(at(second), 100);
            if second == 3 {
                break;
            }
        }
        let actions = neighbors.take_actions();
        let requests = actions
            .iter()
            .filter(|action| matches!(action, Action::Request { .. }))
            .count();
        assert_eq!(requests, usize::from(ATTEMPTS));
        assert_eq!(actions.last(), Some(&Action::Lost { neighbor: ROUTER }));
        neighbors.tick(at(60), 100);
        assert_eq!(neighbors.state(ROUTER), None);
    }

    #[test]
    fn an_answer_resolves_and_a_repeated_one_changes_nothing() {
        let mut neighbors = Neighbors::default();
        neighbors.needed(ROUTER, at(0));
        neighbors.heard(ROUTER, HERE, false, at(0));
        neighbors.heard(ROUTER, HERE, false, at(1));
        let resolved = neighbors
            .take_actions()
            .into_iter()
            .filter(|action| matches!(action, Action::Resolved { .. }))
            .count();
        assert_eq!(resolved, 1);
    }

    #[test]
    fn strangers_are_learnt_only_where_learning_is_on() {
        let mut neighbors = Neighbors::default();
        neighbors.heard(ROUTER, HERE, false, at(0));
        assert_eq!(neighbors.state(ROUTER), None);
        neighbors.heard(ROUTER, HERE, true, at(0));
        assert_eq!(neighbors.state(ROUTER), Some(State::Reachable(HERE)));
    }

    #[test]
    fn a_next_hop_is_probed_and_its_death_noticed_and_it_is_asked_again() {
        let mut neighbors = Neighbors::default();
        neighbors.set_next_hop(ROUTER, true, at(0));
        neighbors.heard(ROUTER, HERE, false, at(0));
        let mut lost_at = None;
        for second in 0..30 {
            neighbors.tick(at(second), 100);
            if neighbors
                .take_actions()
                .contains(&Action::Lost { neighbor: ROUTER })
            {
                lost_at = Some(second);
                break;
            }
        }
        assert_eq!(lost_at, Some(13));
        neighbors.tick(at(17), 100);
        assert_eq!(
            neighbors.take_actions(),
            [Action::Request {
                neighbor: ROUTER,
                known: None
            }]
        );
    }

    #[test]
    fn a_neighbour_may_move_but_not_flap() {
        let mut neighbors = Neighbors::default();
        neighbors.heard(ROUTER, HERE, true, at(0));
        neighbors.heard(ROUTER, THERE, true, Duration::from_millis(100));
        assert_eq!(neighbors.state(ROUTER), Some(State::Reachable(HERE)));
        neighbors.heard(ROUTER, THERE, true, at(1));
        assert_eq!(neighbors.state(ROUTER), Some(State::Reachable(THERE)));
    }

    #[test]
    fn one_tick_does_bounded_work() {
        let mut neighbors = Neighbors::default();
        for host in 1..=100 {
            let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
            neighbors.needed(
                Neighbor {
                    link: ROUTER.link,
                    address,
                },
                at(0),
            );
        }
        neighbors.take_actions();
        neighbors.tick(at(1), 10);
        assert_eq!(neighbors.take_actions().len(), 10);
    }
}
