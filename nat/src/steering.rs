//! Which worker owns an inside address.

use std::net::Ipv4Addr;

use sekisho_types::{VrfId, WorkerId};

use crate::seed::{HashKey, Seed};

const INSIDE_DOMAIN: u64 = 0x10;

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
