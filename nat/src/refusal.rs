//! Why a packet is not translated.

/// Why a packet is not translated; the gateway drops it under this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// The outside tuple belongs to no mapping, forward or session.
    NoMapping,
    /// A mapping exists, but its filter does not let this remote in (RFC 4787 REQ-8); or one did, and
    /// its port is kept back.
    Filtered,
    /// A protocol without ports that cannot share an address.
    Protocol,
    /// A TCP segment that neither belongs to a session nor opens one.
    NotSyn,
    /// No room for another session.
    SessionsFull,
    /// The tenant has as many sessions as it may have.
    TenantLimit,
    /// The tenant opens more sessions in a second than it may.
    TenantRate,
    /// The tenant has as many ports as it may have.
    TenantPorts,
    /// The host has as many ports, or blocks of them, as one of its tenant may have.
    HostLimit,
    /// The host has as many sessions as one of its tenant may have.
    HostSessions,
    /// The host opens more sessions in a second than one of its tenant may.
    HostRate,
    /// No port left in the pool or on the uplink's address.
    PortsExhausted,
    /// SNAT to the uplink, but the uplink the packet leaves by has no IPv4 address.
    NoUplinkAddress,
    /// Another session of the same inside and remote tuple holds a different outside tuple.
    Conflict,
}

impl Refusal {
    /// All of them, in order of [`Self::index`].
    pub const ALL: [Self; 14] = [
        Self::NoMapping,
        Self::Filtered,
        Self::Protocol,
        Self::NotSyn,
        Self::SessionsFull,
        Self::TenantLimit,
        Self::TenantRate,
        Self::TenantPorts,
        Self::HostLimit,
        Self::HostSessions,
        Self::HostRate,
        Self::PortsExhausted,
        Self::NoUplinkAddress,
        Self::Conflict,
    ];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its place in an array of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name of the drop counter.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoMapping => "nat-no-mapping",
            Self::Filtered => "nat-filtered",
            Self::Protocol => "nat-protocol",
            Self::NotSyn => "nat-not-syn",
            Self::SessionsFull => "nat-sessions-full",
            Self::TenantLimit => "nat-tenant-limit",
            Self::TenantRate => "nat-tenant-rate",
            Self::TenantPorts => "nat-tenant-ports",
            Self::HostLimit => "nat-host-limit",
            Self::HostSessions => "nat-host-sessions",
            Self::HostRate => "nat-host-rate",
            Self::PortsExhausted => "nat-ports-exhausted",
            Self::NoUplinkAddress => "nat-no-uplink-address",
            Self::Conflict => "nat-conflict",
        }
    }

    /// Whether the sender is told by ICMP 3/13, rate-limited, that resources ran out (RFC 5508
    /// REQ-8, RFC 6888 REQ-11).
    pub const fn is_exhaustion(self) -> bool {
        matches!(
            self,
            Self::SessionsFull
                | Self::TenantLimit
                | Self::TenantRate
                | Self::TenantPorts
                | Self::HostLimit
                | Self::HostSessions
                | Self::HostRate
                | Self::PortsExhausted
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_place_and_name() {
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal.index(), place);
            let same_name = |other: &&Refusal| other.label() == refusal.label();
            assert_eq!(Refusal::ALL.iter().filter(same_name).count(), 1);
        }
    }
}
