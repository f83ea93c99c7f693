//! Which worker owns an inside address.

use std::net::Ipv4Addr;

use sekisho_types::{VrfId, WorkerId};

use crate::fragments::Datagram;
use crate::seed::{HashKey, Seed};

const INSIDE_DOMAIN: u64 = 0x10;
const FRAGMENT_DOMAIN: u64 = 0x11;

/// The pure function that spreads inside addresses over workers. Fixed from start to end: every
/// worker and the control plane hold the same one.
#[derive(Clone, Copy, Debug)]
pub struct Steering {
    key: HashKey,
    workers: u8,
}

impl Steering {
    /// Steering over `workers` workers (zero counts as one).
    pub fn new(seed: Seed, workers: u8) -> Self {
        Self {
            key: seed.shared_key(),
            workers: workers.max(1),
        }
    }

    /// The worker that holds all mappings and sessions of an inside address.
    ///
    /// Outbound packets go there by their source, ICMP errors that come from inside by the
    /// destination of the packet they embed.
    #[inline]
    pub fn inside_owner(&self, vrf: VrfId, inside: Ipv4Addr) -> WorkerId {
        let hash = self.key.hash(
            INSIDE_DOMAIN,
            u64::from(u32::from(inside)),
            u64::from(vrf.value()),
        );
        self.worker(hash)
    }

    /// The worker at which the fragments of a packet to a shared outside address meet, until the
    /// first has told the port and so the owner.
    pub fn fragment_meeting(&self, packet: &Datagram) -> WorkerId {
        let addresses = u64::from(u32::from(packet.src)) << 32 | u64::from(u32::from(packet.dst));
        let rest = u64::from(packet.id) << 8 | u64::from(packet.protocol.0);
        self.worker(self.key.hash(FRAGMENT_DOMAIN, addresses, rest))
    }

    #[inline]
    fn worker(&self, hash: u64) -> WorkerId {
        WorkerId::new((((hash >> 32) * u64::from(self.workers)) >> 32) as u8)
    }

    pub(crate) const fn key(&self) -> HashKey {
        self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_addresses_spread_evenly() {
        let steering = Steering::new(Seed::new([9; 32]), 4);
        let mut counts = [0; 4];
        for host in 0..4000 {
            counts[steering
                .inside_owner(VrfId::new(1), Ipv4Addr::from(host))
                .index()] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }
}
