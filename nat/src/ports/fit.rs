//! Which outside ports suit an inside port (RFC 4787 REQ-3 and REQ-4).

use super::BLOCK_PORTS;
use crate::engine::MappingKey;
use crate::key::Transport;
use crate::policy::Allocation;

/// The first port that is no well-known one.
const DYNAMIC: u16 = 1024;
const EVEN: u64 = 0x5555_5555_5555_5555;

/// Ports a mapping may or should get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    /// Which ports of a unit.
    parity: u64,
    /// Whether units below 1024 suit, and those above.
    low: bool,
    high: bool,
}

impl Fit {
    /// What suits a mapping best.
    pub(super) fn best(allocation: &Allocation, key: &MappingKey) -> Self {
        let port = key.inside.port();
        let has_ports = key.transport != Transport::Icmp;
        let parity = if allocation.preserve_parity && has_ports {
            EVEN << (port % 2)
        } else {
            u64::MAX
        };
        let low = allocation.preserve_class && has_ports && port < DYNAMIC;
        Self {
            parity,
            low,
            high: !low,
        }
    }

    /// What a mapping may have if nothing suits it best. Nobody gets a well-known port who has none
    /// inside.
    pub(super) const fn any(self) -> Self {
        Self {
            parity: u64::MAX,
            low: self.low,
            high: true,
        }
    }

    /// Whether [`Self::any`] is the same.
    pub(super) const fn is_any(self) -> bool {
        self.parity == u64::MAX && self.high
    }

    /// The ports of a unit that suit.
    pub(super) const fn mask(self, unit: u16) -> u64 {
        let suits = if unit < DYNAMIC / BLOCK_PORTS {
            self.low
        } else {
            self.high
        };
        if suits { self.parity } else { 0 }
    }
}
