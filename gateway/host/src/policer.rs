//! What one worker may punt: a token bucket for each class and origin, so that no flood starves
//! another class, nor tenants the uplinks.

/// The class of a punted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PuntClass {
    /// Bidirectional forwarding detection.
    Bfd,
    /// BGP from a configured peer.
    BgpPeer,
    /// TCP to the BGP port from anybody else.
    BgpOther,
    /// OSPF.
    Ospf,
    /// ARP and IPv6 neighbour discovery.
    Neighbour,
    /// ICMP and ICMPv6 to an address of ours.
    Icmp,
    /// The rest.
    Other,
}

/// From where a packet reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Over an uplink.
    Uplink,
    /// Out of a tenant's tunnel.
    Tenant,
}

impl PuntClass {
    /// Every class, in the order of its index.
    pub const ALL: [Self; 7] = [
        Self::Bfd,
        Self::BgpPeer,
        Self::BgpOther,
        Self::Ospf,
        Self::Neighbour,
        Self::Icmp,
        Self::Other,
    ];
}

impl Origin {
    /// Every origin, in the order of its index.
    pub const ALL: [Self; 2] = [Self::Uplink, Self::Tenant];
}

/// How much a bucket admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Packets per second in the long run; 0: none at all.
    pub rate: u32,
    /// Packets at once after a pause; at least one is admitted if the rate is not 0.
    pub burst: u32,
}

impl Limit {
    /// Admits nothing.
    pub const NONE: Self = Self { rate: 0, burst: 0 };

    const fn new(rate: u32, burst: u32) -> Self {
        Self { rate, burst }
    }
}

/// The limits of one worker, by origin and class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits([[Limit; PuntClass::ALL.len()]; Origin::ALL.len()]);

impl Limits {
    /// What fits most nodes. Routing protocols from tenants are never ours.
    pub const DEFAULT: Self = Self([
        [
            // 100 sessions at 10 ms.
            Limit::new(10_000, 1_000),
            // A full table arrives as fast as we can read it: 1.1 Gbit/s of full segments.
            Limit::new(100_000, 8_192),
            // Enough to refuse a new peer; a SYN flood ends here.
            Limit::new(100, 50),
            // A flood of link-state updates and their acknowledgements after a failure.
            Limit::new(5_000, 1_000),
            // A /22 that asks for us all at once.
            Limit::new(2_000, 1_024),
            // Ping and traceroute to our addresses.
            Limit::new(1_000, 200),
            Limit::new(500, 100),
        ],
        [
            Limit::NONE,
            Limit::NONE,
            Limit::NONE,
            Limit::NONE,
            Limit::new(2_000, 1_024),
            Limit::new(1_000, 200),
            Limit::new(200, 50),
        ],
    ]);

    /// The limit of one bucket.
    pub const fn limit(&self, origin: Origin, class: PuntClass) -> Limit {
        self.0[origin as usize][class as usize]
    }

    /// The same with one bucket's limit replaced.
    #[must_use]
    pub const fn with(mut self, origin: Origin, class: PuntClass, limit: Limit) -> Self {
        self.0[origin as usize][class as usize] = limit;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The buckets of one worker. Time is nanoseconds of any clock that does not go back; a time before
/// the last one is taken for the last one.
#[derive(Clone, Debug)]
pub struct Policer {
    buckets: [[Bucket; PuntClass::ALL.len()]; Origin::ALL.len()],
}

impl Policer {
    /// Full buckets with these limits.
    pub fn new(limits: &Limits) -> Self {
        Self {
            buckets: limits.0.map(|classes| classes.map(Bucket::new)),
        }
    }

    /// Whether one more packet may be punted now.
    pub fn admit(&mut self, now_ns: u64, origin: Origin, class: PuntClass) -> bool {
        self.buckets[origin as usize][class as usize].admit(now_ns)
    }
}

impl Default for Policer {
    fn default() -> Self {
        Self::new(&Limits::DEFAULT)
    }
}

/// A token bucket kept as one point in time (the generic cell rate algorithm, ITU-T I.371): when the
/// bucket will be full again.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Nanoseconds one token takes to come back; 0: the bucket admits nothing.
    interval: u64,
    /// Nanoseconds an empty bucket, less one token, takes to fill.
    tolerance: u64,
    full_at: u64,
}

impl Bucket {
    fn new(limit: Limit) -> Self {
        const SECOND: u64 = 1_000_000_000;
        let interval = SECOND.checked_div(limit.rate.into()).unwrap_or(0);
        Self {
            interval,
            tolerance: interval * u64::from(limit.burst.saturating_sub(1)),
            full_at: 0,
        }
    }

    fn admit(&mut self, now: u64) -> bool {
        let full_at = self.full_at.max(now);
        let admitted = self.interval != 0 && full_at - now <= self.tolerance;
        if admitted {
            self.full_at = full_at.saturating_add(self.interval);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn with_bgp(limit: Limit) -> Policer {
        Policer::new(&Limits::DEFAULT.with(Origin::Uplink, PuntClass::BgpPeer, limit))
    }

    fn admitted(policer: &mut Policer, now: u64, offered: u32) -> u32 {
        (0..offered)
            .filter(|_| policer.admit(now, Origin::Uplink, PuntClass::BgpPeer))
            .count() as u32
    }

    #[test]
    fn a_burst_passes_and_the_rate_follows() {
        let mut policer = with_bgp(Limit::new(10, 5));
        assert_eq!(admitted(&mut policer, 0, 100), 5);
        assert_eq!(admitted(&mut policer, SECOND / 10 - 1, 100), 0);
        assert_eq!(admitted(&mut policer, SECOND / 10, 100), 1);
        assert_eq!(admitted(&mut policer, 3600 * SECOND, 100), 5);
    }

    #[test]
    fn a_flood_of_one_class_starves_no_other() {
        for flooded_origin in Origin::ALL {
            for flooded in PuntClass::ALL {
                let mut policer = Policer::default();
                while policer.admit(0, flooded_origin, flooded) {}
                for origin in Origin::ALL {
                    for class in PuntClass::ALL {
                        let other = (origin, class) != (flooded_origin, flooded);
                        let open = Limits::DEFAULT.limit(origin, class) != Limit::NONE;
                        assert_eq!(policer.admit(0, origin, class), other && open);
                    }
                }
            }
        }
    }

    #[test]
    fn tenants_never_reach_a_routing_protocol() {
        let mut policer = Policer::default();
        for class in [
            PuntClass::Bfd,
            PuntClass::BgpPeer,
            PuntClass::BgpOther,
            PuntClass::Ospf,
        ] {
            assert!(!policer.admit(SECOND, Origin::Tenant, class), "{class:?}");
        }
    }

    #[test]
    fn the_index_of_a_class_is_its_place_in_the_list() {
        for (index, class) in PuntClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index);
        }
        for (index, origin) in Origin::ALL.into_iter().enumerate() {
            assert_eq!(origin as usize, index);
        }
    }

    proptest! {
        #[test]
        fn no_window_admits_more_than_a_burst_and_its_rate(
            rate in 1_u32..1_000_000,
            burst in 1_u32..1_000,
            gaps in prop::collection::vec(0_u64..2_000_000, 1..400),
        ) {
            let mut policer = with_bgp(Limit::new(rate, burst));
            let mut now = 0;
            let mut passed = Vec::new();
            for gap in gaps {
                now += gap;
                if policer.admit(now, Origin::Uplink, PuntClass::BgpPeer) {
                    passed.push(now);
                }
            }
            let interval = SECOND / u64::from(rate);
            for (first, &start) in passed.iter().enumerate() {
                for (last, &end) in passed.iter().enumerate().skip(first) {
                    let count = (last - first + 1) as u64;
                    prop_assert!(count <= u64::from(burst) + (end - start) / interval);
                }
            }
        }

        #[test]
        fn a_packet_within_the_rate_always_passes(
            rate in 1_u32..1_000_000,
            burst in 1_u32..1_000,
            extra in prop::collection::vec(0_u64..2_000_000, 1..200),
        ) {
            let mut policer = with_bgp(Limit::new(rate, burst));
            let mut now = 0;
            for pause in extra {
                now += SECOND / u64::from(rate) + pause;
                prop_assert!(policer.admit(now, Origin::Uplink, PuntClass::BgpPeer));
            }
        }

        #[test]
        fn any_clock_and_limit_are_survived(
            rate in any::<u32>(),
            burst in any::<u32>(),
            times in prop::collection::vec(any::<u64>(), 1..50),
        ) {
            let mut policer = with_bgp(Limit::new(rate, burst));
            for now in times {
                policer.admit(now, Origin::Uplink, PuntClass::BgpPeer);
            }
        }
    }
}
