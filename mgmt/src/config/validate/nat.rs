//! NAT pools and timers.

use std::time::Duration;

use crate::config::model::{Allocation, NatPool, NatTimers, RuleTimeouts};
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
        check_allocation(pool, p);
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
            block_size: or(&pool.block_size, 64),
            blocks_per_host: pool.blocks_per_host.as_ref().map(|most| most.value),
            allocation: or(&pool.allocation, Allocation::Blocks),
            preserve_parity: or(&pool.preserve_parity, false),
            preserve_class: or(&pool.preserve_class, false),
            advertise: or(&pool.advertise, false),
        })
    }))
}

/// How the ports of a pool are handed out, checked for what contradicts itself.
fn check_allocation(pool: &raw::NatPool, p: &mut Problems<'_>) {
    if let Some(size) = &pool.block_size
        && !size.value.is_power_of_two()
    {
        p.error(
            &size.at,
            "a block has 64, 128, 256, 512, 1024, 2048 or 4096 ports",
        );
    }
    let low = |&(first, _): &(u16, u16)| first < 1024;
    let class = or(&pool.preserve_class, false);
    if let Some(ports) = &pool.ports
        && low(&ports.value)
        && !class
    {
        p.error(
            &ports.at,
            "ports below 1024 are handed out only with preserve-class = true, to hosts that use \
             such ports; let the range begin at 1024",
        );
    }
    if let Some(preserve) = &pool.preserve_class
        && class
        && pool.ports.as_ref().is_some_and(|ports| !low(&ports.value))
    {
        p.warn(
            &preserve.at,
            "the pool has no port below 1024 to preserve the class with; write ports = \"1-65535\"",
        );
    }
    let single = pool.allocation.as_ref().map(|allocation| allocation.value);
    if single == Some(Allocation::Ports) {
        for at in [
            pool.block_size.as_ref().map(|size| &size.at),
            pool.blocks_per_host.as_ref().map(|blocks| &blocks.at),
        ]
        .into_iter()
        .flatten()
        {
            p.error(
                at,
                "hosts have no blocks with allocation = \"ports\"; leave out one of the two",
            );
        }
    }
}

/// A time-out that was written, in its bounds.
fn timeout(
    timeout: &Maybe<Duration>,
    default: u64,
    least: u64,
    rule: &str,
    p: &mut Problems<'_>,
) -> Option<Duration> {
    let timeout = timeout.as_ref()?;
    if timeout.value < Duration::from_secs(1) || timeout.value > Duration::from_secs(7 * 86400) {
        p.error(&timeout.at, "a time-out is 1s to 7d");
    } else if timeout.value < Duration::from_secs(least) {
        let message = format!(
            "less than {least}s breaks applications that rely on {rule}; the default is {default}s"
        );
        p.warn(&timeout.at, message);
    }
    Some(timeout.value)
}

/// Time-outs that were written.
pub(super) fn timeouts(raw: &raw::Timeouts, p: &mut Problems<'_>) -> RuleTimeouts {
    RuleTimeouts {
        udp: timeout(&raw.udp, 300, 120, "RFC 4787 REQ-5", p),
        tcp_established: timeout(&raw.tcp_established, 7440, 7440, "RFC 5382 REQ-5", p),
        tcp_transitory: timeout(&raw.tcp_transitory, 240, 240, "RFC 5382 REQ-5", p),
        icmp: timeout(&raw.icmp, 60, 60, "RFC 5508 REQ-2", p),
    }
}

pub(super) fn timers(raw: Option<&raw::NatTimers>, p: &mut Problems<'_>) -> NatTimers {
    let said = raw.map_or_else(RuleTimeouts::default, |raw| timeouts(&raw.timeouts, p));
    let seconds = Duration::from_secs;
    let udp = said.udp.unwrap_or(seconds(300));
    let (short_udp, short_udp_ports) = raw.map_or((None, Vec::new()), |raw| short_udp(raw, udp, p));
    if let Some(quarantine) = raw.and_then(|raw| raw.port_quarantine.as_ref())
        && quarantine.value > seconds(3600)
    {
        p.error(&quarantine.at, "a port is kept back for 0s to 1h");
    }
    NatTimers {
        udp,
        tcp_established: said.tcp_established.unwrap_or(seconds(7440)),
        tcp_transitory: said.tcp_transitory.unwrap_or(seconds(240)),
        icmp: said.icmp.unwrap_or(seconds(60)),
        short_udp: short_udp.unwrap_or(udp),
        short_udp_ports,
        inbound_refresh: raw.is_none_or(|raw| or(&raw.inbound_refresh, true)),
        port_quarantine: raw.map_or(seconds(120), |raw| or(&raw.port_quarantine, seconds(120))),
    }
}

/// The shorter time-out of UDP toward some ports, which need one another.
fn short_udp(
    raw: &raw::NatTimers,
    udp: Duration,
    p: &mut Problems<'_>,
) -> (Option<Duration>, Vec<u16>) {
    let ports = raw.short_udp_ports.as_deref().unwrap_or_default();
    let short = timeout(&raw.short_udp, 300, 1, "", p);
    match (&raw.short_udp, ports.first()) {
        (Some(short), None) => p.error(
            &short.at,
            "a shorter time-out is for some well-known ports; write short-udp-ports = [53]",
        ),
        (None, Some(port)) => p.error(
            &port.at,
            "these ports need their time-out; write short-udp-timeout = \"20s\"",
        ),
        (Some(short), Some(_)) if short.value > udp && udp >= Duration::from_secs(1) => {
            p.error(
                &short.at,
                "this is longer than udp-timeout; write a shorter one",
            );
        }
        _ => {}
    }
    (short, ports.iter().map(|port| port.value).collect())
}
