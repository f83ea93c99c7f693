//! How long sessions may idle, by class: the time-outs of the rule that made them, and their kind.

use std::collections::HashMap;
use std::time::Duration;

use super::{PolicyError, PolicyInput, RuleTimeouts, Timers};
use crate::key::{Transport, Word};

/// What decides about a time-out beside the rule. They stand in the lower bits of a class, so that
/// the lowest bit of TCP's says whether it is established.
const ICMP: u8 = 1;
const TCP_TRANSITORY: u8 = 2;
/// The bit by which established TCP differs from the rest.
pub(crate) const ESTABLISHED: u8 = 1;
const TCP_ESTABLISHED: u8 = TCP_TRANSITORY | ESTABLISHED;
const UDP: u8 = 4;
const UDP_SHORT: u8 = 5;
/// Where the number of a rule's set of time-outs begins.
const SET_SHIFT: u8 = 3;
/// Most sets of time-outs.
const MOST_SETS: usize = 1 << (8 - SET_SHIFT);
/// Ports that may have a shorter time-out lie below.
const WELL_KNOWN: u16 = 1024;

/// Time-outs in milliseconds.
#[derive(Debug)]
pub(crate) struct Timeouts {
    /// By class; zero where there is none.
    by_class: [u32; 256],
    shortest: u32,
    /// Remote UDP ports with the short time-out, a bit each.
    short_ports: [u64; WELL_KNOWN as usize / 64],
    /// By what a rule says; the policy's own is set 0.
    sets: HashMap<RuleTimeouts, u8>,
}

impl Timeouts {
    pub(super) fn new(input: &PolicyInput) -> Result<Self, PolicyError> {
        let mut timeouts = Self {
            by_class: [0; 256],
            shortest: u32::MAX,
            short_ports: [0; WELL_KNOWN as usize / 64],
            sets: HashMap::new(),
        };
        for &port in &input.timers.udp_short_ports {
            if let Some(word) = timeouts.short_ports.get_mut(usize::from(port / 64)) {
                *word |= 1 << (port % 64);
            }
        }
        timeouts.add(RuleTimeouts::default(), &input.timers)?;
        for rule in input.vrfs.iter().flat_map(|vrf| &vrf.snat) {
            timeouts.add(rule.timeouts, &input.timers)?;
        }
        Ok(timeouts)
    }

    fn add(&mut self, rule: RuleTimeouts, timers: &Timers) -> Result<(), PolicyError> {
        let set = self.sets.len();
        if self.sets.contains_key(&rule) {
            return Ok(());
        }
        if set >= MOST_SETS {
            return Err(PolicyError::TooManyTimeouts { most: MOST_SETS });
        }
        self.sets.insert(rule, set as u8);
        let short = !timers.udp_short_ports.is_empty();
        for (kind, timeout) in [
            (ICMP, rule.icmp.unwrap_or(timers.icmp)),
            (
                TCP_TRANSITORY,
                rule.tcp_transitory.unwrap_or(timers.tcp_transitory),
            ),
            (
                TCP_ESTABLISHED,
                rule.tcp_established.unwrap_or(timers.tcp_established),
            ),
            (UDP, rule.udp.unwrap_or(timers.udp)),
            (UDP_SHORT, if short { timers.udp_short } else { timers.udp }),
        ] {
            let millis = millis(timeout);
            self.by_class[usize::from((set as u8) << SET_SHIFT | kind)] = millis;
            self.shortest = self.shortest.min(millis);
        }
        Ok(())
    }

    /// The number of a rule's set of time-outs.
    pub(super) fn set(&self, rule: &RuleTimeouts) -> u8 {
        self.sets.get(rule).copied().unwrap_or(0)
    }

    /// Whether all rules have the policy's.
    #[inline(always)]
    pub(super) fn is_one_set(&self) -> bool {
        self.sets.len() == 1
    }

    /// The class of a new session toward `peer`; 0 if that is no session's.
    #[inline(always)]
    pub(super) fn class(&self, set: u8, peer: Word) -> u8 {
        let kind = match peer.transport() {
            Some(Transport::Tcp) => TCP_TRANSITORY,
            Some(Transport::Udp) => UDP | u8::from(self.is_short(peer.port())),
            Some(Transport::Icmp) => ICMP,
            None => return 0,
        };
        set << SET_SHIFT | kind
    }

    fn is_short(&self, port: u16) -> bool {
        let word = self.short_ports.get(usize::from(port / 64));
        word.is_some_and(|word| word >> (port % 64) & 1 == 1)
    }

    /// By class; zero where there is none.
    pub(crate) const fn by_class(&self) -> &[u32; 256] {
        &self.by_class
    }

    /// The shortest of all.
    pub(crate) const fn shortest(&self) -> u32 {
        self.shortest
    }
}

/// Time counts right for half of its range.
fn millis(timeout: Duration) -> u32 {
    timeout.as_millis().min(i32::MAX as u128) as u32
}
