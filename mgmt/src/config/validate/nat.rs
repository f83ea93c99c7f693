//! NAT pools and timers.

use std::time::Duration;

use crate::config::model::{NatPool, NatTimers};
use crate::config::problem::Problems;
use crate::config::raw::{self, Maybe, Raw};

use super::{all, or};

pub(super) fn pools(raw: &Raw, p: &mut Problems<'_>) -> Option<Vec<NatPool>> {
    all(raw.nat_pools.iter().map(|pool| {
        let addresses = pool.addresses.as_deref().unwrap_or_default();
        if addresses.is_empty() {
            p.error(
                &pool.at,
                "a pool needs addresses; write addresses = [\"203.0.113.64/28\"]",
            );
        }
        for prefix in addresses.iter().flat_map(|part| part.iter()) {
            let first = prefix.addr();
            if first.is_multicast() || first.is_loopback() || first.octets()[0] == 0 {
                let message = format!("{prefix} holds no host's addresses; use unicast addresses");
                p.error(&pool.at, message);
            }
        }
        if let Some(advertise) = &pool.advertise
            && advertise.value
            && raw.bgp.is_none()
        {
            p.warn(
                &advertise.at,
                "nothing announces this pool: there is no [bgp]",
            );
        }
        Some(NatPool {
            name: pool.name.as_ref()?.value.clone(),
            addresses: addresses
                .iter()
                .flat_map(|part| part.value.clone())
                .collect(),
            ports: or(&pool.ports, (1024, 65535)),
            advertise: or(&pool.advertise, false),
        })
    }))
}

pub(super) fn timers(raw: Option<&raw::NatTimers>, p: &mut Problems<'_>) -> NatTimers {
    let mut timer = |field: fn(&raw::NatTimers) -> &Maybe<Duration>, default, least, rule| {
        let Some(timeout) = raw.and_then(|raw| field(raw).as_ref()) else {
            return Duration::from_secs(default);
        };
        if timeout.value < Duration::from_secs(1) || timeout.value > Duration::from_secs(7 * 86400)
        {
            p.error(&timeout.at, "a time-out is 1s to 7d");
        } else if timeout.value < Duration::from_secs(least) {
            let message = format!(
                "less than {least}s breaks applications that rely on {rule}; the default is \
                 {default}s"
            );
            p.warn(&timeout.at, message);
        }
        timeout.value
    };
    NatTimers {
        udp: timer(|raw| &raw.udp, 300, 120, "RFC 4787 REQ-5"),
        tcp_established: timer(|raw| &raw.tcp_established, 7440, 7440, "RFC 5382 REQ-5"),
        tcp_transitory: timer(|raw| &raw.tcp_transitory, 240, 240, "RFC 5382 REQ-5"),
        icmp: timer(|raw| &raw.icmp, 60, 60, "RFC 5508 REQ-2"),
    }
}
