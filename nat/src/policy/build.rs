//! From input to policy: every outside address and port gets one use.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::Arc;

use sekisho_types::{IpProtocol, VrfId};

use super::keys::{
    address_key, block_key, forward_back_key, forward_host_key, forward_key, host_key,
};
use super::{
    Allocation, DYNAMIC_PORTS, Filtering, Forward, GATEWAY_PORTS, Generation, Limits,
    OutsideAddress, OutsideUse, Policy, PolicyError, PolicyInput, PoolInput, PortForward, Rule,
    Shared, SharedSet, SnatRule, SnatTarget, Target, Tenant, Timeouts, VrfInput,
};
use crate::log::LogRules;
use crate::owners::OutsideOwners;
use crate::ports::{BLOCK_PORTS, BLOCKS};
use crate::steering::Steering;
use crate::table::FlatMap;

type Masks = [u64; BLOCKS];

/// The shortest prefix a pool may hold.
const SHORTEST_POOL_PREFIX: u8 = 16;
/// Most ports of a block.
const LARGEST_BLOCK: u16 = 4096;

pub(super) fn build(
    input: &PolicyInput,
    generation: Generation,
    steering: Steering,
    owners: &Arc<OutsideOwners>,
) -> Result<Policy, PolicyError> {
    let uses = outside_uses(input)?;
    let forwards = forwards(input, &uses)?;
    check_vrfs(input)?;
    let timeouts = Timeouts::new(input)?;

    let plain = shared_addresses(input, &uses);
    let slots = owners
        .assign(&plain, generation)
        .ok_or_else(|| PolicyError::TooManyAddresses {
            needed: plain.len(),
            room: owners.max_addresses(),
        })?;
    let places: HashMap<Ipv4Addr, u32> = plain.iter().copied().zip(slots).collect();

    let forwarded = forwarded_ports(&forwards, &places);
    let mut sets = shared_sets(input, &places, &forwarded);
    sets.sort_by_key(|(target, _)| *target);

    let shared: HashMap<Ipv4Addr, Shared> = sets
        .iter()
        .flat_map(|(_, set)| &set.addresses)
        .map(|shared| (shared.address, *shared))
        .collect();
    let outside = |(&address, &used_for): (&Ipv4Addr, &OutsideUse)| {
        let shared = shared.get(&address).copied();
        (address_key(address), OutsideAddress { used_for, shared })
    };
    let key = steering.key();
    let open = |rule: &SnatRule| rule.filter() == Filtering::EndpointIndependent;
    Ok(Policy {
        has_open_rules: input.vrfs.iter().flat_map(|vrf| &vrf.snat).any(open),
        generation,
        steering,
        owners: Arc::clone(owners),
        timers: input.timers.clone(),
        vrfs: tenants(input, &timeouts),
        timeouts,
        has_limits: input.vrfs.iter().any(|vrf| vrf.limits != Limits::NONE),
        reserved: reserved(input),
        shared: sets,
        outside: FlatMap::new(key, &uses.iter().map(outside).collect::<Vec<_>>()),
        floating: FlatMap::new(key, &floating(input)),
        forwards: FlatMap::new(key, &by_outside(&forwards)),
        forwards_back: FlatMap::new(key, &by_inside(&forwards)),
        forwarded: FlatMap::new(key, &forwarded.into_iter().collect::<Vec<_>>()),
        log: Arc::new(LogRules::default()),
    })
}

/// The use of every outside address; floating IPs are carved out of pools.
fn outside_uses(input: &PolicyInput) -> Result<BTreeMap<Ipv4Addr, OutsideUse>, PolicyError> {
    let mut uses = BTreeMap::new();
    let floating: HashSet<Ipv4Addr> = all_vrfs(input, |vrf| &vrf.floating_ips)
        .map(|(_, floating)| floating.outside)
        .collect();
    let mut uplinks = HashSet::new();
    for uplink in &input.uplinks {
        if !uplinks.insert(uplink.id) {
            return Err(PolicyError::UplinkTwice(uplink.id));
        }
        for &address in &uplink.addresses {
            claim(&mut uses, address, OutsideUse::Uplink(uplink.id))?;
        }
    }
    let mut pools = HashSet::new();
    for pool in &input.pools {
        if !pools.insert(pool.id) {
            return Err(PolicyError::PoolTwice(pool.id));
        }
        check_ports(pool)?;
        let mut left = 0;
        for prefix in &pool.addresses {
            if prefix.len() < SHORTEST_POOL_PREFIX {
                return Err(PolicyError::PoolTooLarge {
                    pool: pool.id,
                    prefix: *prefix,
                });
            }
            let all = u32::from(prefix.addr())..=u32::from(prefix.last());
            for address in all.map(Ipv4Addr::from) {
                if !floating.contains(&address) {
                    claim(&mut uses, address, OutsideUse::Pool(pool.id))?;
                    left += 1;
                }
            }
        }
        if left == 0 {
            return Err(PolicyError::PoolEmpty(pool.id));
        }
    }
    for (vrf, floating) in all_vrfs(input, |vrf| &vrf.floating_ips) {
        let inside = floating.inside;
        claim(
            &mut uses,
            floating.outside,
            OutsideUse::Floating { vrf, inside },
        )?;
    }
    for (_, forward) in all_vrfs(input, |vrf| &vrf.port_forwards) {
        let address = *forward.outside.ip();
        match uses.get(&address) {
            Some(OutsideUse::Floating { .. }) => {
                claim(&mut uses, address, OutsideUse::Forwards)?;
            }
            Some(_) => {}
            None => {
                uses.insert(address, OutsideUse::Forwards);
            }
        }
    }
    Ok(uses)
}

fn check_ports(pool: &PoolInput) -> Result<(), PolicyError> {
    let least = if pool.allocation.preserve_class {
        1
    } else {
        *DYNAMIC_PORTS.start()
    };
    if pool.ports.is_empty() || *pool.ports.start() < least {
        return Err(PolicyError::PoolPorts {
            pool: pool.id,
            ports: pool.ports.clone(),
            least,
        });
    }
    let size = pool.allocation.block_size;
    if !size.is_power_of_two() || !(BLOCK_PORTS..=LARGEST_BLOCK).contains(&size) {
        return Err(PolicyError::BlockSize {
            pool: pool.id,
            size,
        });
    }
    Ok(())
}

fn claim(
    uses: &mut BTreeMap<Ipv4Addr, OutsideUse>,
    address: Ipv4Addr,
    second: OutsideUse,
) -> Result<(), PolicyError> {
    match uses.insert(address, second) {
        None => Ok(()),
        Some(first) => Err(PolicyError::AddressTwice {
            address,
            first: describe(first),
            second: describe(second),
        }),
    }
}

fn describe(used_for: OutsideUse) -> String {
    match used_for {
        OutsideUse::Floating { vrf, inside } => format!("the floating IP of {inside} in VRF {vrf}"),
        OutsideUse::Pool(pool) => format!("pool {pool}"),
        OutsideUse::Uplink(uplink) => format!("uplink {uplink}"),
        OutsideUse::Forwards => "a port forward".to_owned(),
    }
}

/// The addresses whose ports are handed out: all of pools, and the first of each uplink.
fn shared_addresses(input: &PolicyInput, uses: &BTreeMap<Ipv4Addr, OutsideUse>) -> Vec<Ipv4Addr> {
    let pools = uses
        .iter()
        .filter(|(_, used_for)| matches!(used_for, OutsideUse::Pool(_)))
        .map(|(&address, _)| address);
    let uplinks = input
        .uplinks
        .iter()
        .filter_map(|uplink| uplink.addresses.first().copied());
    pools.chain(uplinks).collect()
}

/// The forwards, each outside tuple once.
fn forwards(
    input: &PolicyInput,
    uses: &BTreeMap<Ipv4Addr, OutsideUse>,
) -> Result<Vec<(VrfId, PortForward)>, PolicyError> {
    let mut seen = HashSet::new();
    let mut forwards = Vec::new();
    for (vrf, &forward) in all_vrfs(input, |vrf| &vrf.port_forwards) {
        let PortForward {
            protocol,
            outside,
            inside,
        } = forward;
        if protocol != IpProtocol::TCP && protocol != IpProtocol::UDP {
            return Err(PolicyError::ForwardProtocol { outside, protocol });
        }
        if outside.port() == 0 || inside.port() == 0 {
            return Err(PolicyError::ForwardPortZero(outside));
        }
        let on_uplink = matches!(uses.get(outside.ip()), Some(OutsideUse::Uplink(_)));
        if on_uplink && is_reserved(input, outside.port()) {
            return Err(PolicyError::ForwardReserved(outside));
        }
        if !seen.insert((protocol, outside)) {
            return Err(PolicyError::ForwardTwice { outside, protocol });
        }
        forwards.push((vrf, forward));
    }
    Ok(forwards)
}

fn check_vrfs(input: &PolicyInput) -> Result<(), PolicyError> {
    let pools: HashSet<_> = input.pools.iter().map(|pool| pool.id).collect();
    let mut seen = HashSet::new();
    for vrf in &input.vrfs {
        if !seen.insert(vrf.id) {
            return Err(PolicyError::VrfTwice(vrf.id));
        }
        for rule in &vrf.snat {
            if let SnatTarget::Pool(pool) = rule.target
                && !pools.contains(&pool)
            {
                return Err(PolicyError::NoSuchPool { vrf: vrf.id, pool });
            }
        }
        let mut insides = HashMap::new();
        for floating in &vrf.floating_ips {
            if let Some(first) = insides.insert(floating.inside, floating.outside) {
                return Err(PolicyError::InsideTwice {
                    vrf: vrf.id,
                    inside: floating.inside,
                    first,
                    second: floating.outside,
                });
            }
        }
    }
    Ok(())
}

/// The ports forwards take of shared addresses, by slot and block.
fn forwarded_ports(
    forwards: &[(VrfId, PortForward)],
    places: &HashMap<Ipv4Addr, u32>,
) -> HashMap<u128, u64> {
    let mut taken = HashMap::new();
    for (_, forward) in forwards {
        if let Some(&slot) = places.get(forward.outside.ip()) {
            let port = forward.outside.port();
            let mask: &mut u64 = taken
                .entry(block_key(slot, port / BLOCK_PORTS))
                .or_default();
            *mask |= 1 << (port % BLOCK_PORTS);
        }
    }
    taken
}

fn shared_sets(
    input: &PolicyInput,
    places: &HashMap<Ipv4Addr, u32>,
    forwarded: &HashMap<u128, u64>,
) -> Vec<(u32, SharedSet)> {
    let set = |target: Target,
               addresses: &mut dyn Iterator<Item = Ipv4Addr>,
               masks: Arc<Masks>,
               allocation: Allocation| {
        let addresses = addresses
            .filter_map(|address| Some((address, *places.get(&address)?)))
            .map(|(address, slot)| {
                let (blocks, ports) = usable(&masks, slot, forwarded);
                Shared {
                    address,
                    slot,
                    target,
                    blocks,
                    ports,
                }
            })
            .collect();
        (
            target.0,
            SharedSet {
                addresses,
                masks,
                allocation,
            },
        )
    };
    let uplink_masks = Arc::new(uplink_masks(input));
    let uplinks = input.uplinks.iter().map(|uplink| {
        let mut addresses = uplink.addresses.iter().copied();
        let target = Target::uplink(uplink.id);
        set(
            target,
            &mut addresses,
            Arc::clone(&uplink_masks),
            Allocation::default(),
        )
    });
    let pools = input.pools.iter().map(|pool| {
        let mut addresses = pool.addresses.iter().flat_map(|prefix| {
            (u32::from(prefix.addr())..=u32::from(prefix.last())).map(Ipv4Addr::from)
        });
        let masks = Arc::new(masks_of(&pool.ports));
        set(
            Target::pool(pool.id),
            &mut addresses,
            masks,
            pool.allocation,
        )
    });
    uplinks.chain(pools).collect()
}

/// The blocks of an address with at least one port to hand out, and such ports.
fn usable(masks: &Masks, slot: u32, forwarded: &HashMap<u128, u64>) -> (u16, u16) {
    let usable = (0..).zip(masks).map(|(block, mask)| {
        let taken = forwarded.get(&block_key(slot, block)).copied();
        mask & !taken.unwrap_or(0)
    });
    usable.fold((0, 0), |(blocks, ports), mask| {
        (
            blocks + u16::from(mask != 0),
            ports + mask.count_ones() as u16,
        )
    })
}

fn uplink_masks(input: &PolicyInput) -> Masks {
    let mut masks = masks_of(&DYNAMIC_PORTS);
    for port in 0..=u16::MAX {
        if is_reserved(input, port) {
            masks[usize::from(port / BLOCK_PORTS)] &= !(1 << (port % BLOCK_PORTS));
        }
    }
    masks
}

fn is_reserved(input: &PolicyInput, port: u16) -> bool {
    GATEWAY_PORTS.contains(&port) || input.uplink_reserved.iter().any(|r| r.contains(&port))
}

fn masks_of(ports: &RangeInclusive<u16>) -> Masks {
    let mut masks = [0; BLOCKS];
    for port in ports.clone() {
        masks[usize::from(port / BLOCK_PORTS)] |= 1 << (port % BLOCK_PORTS);
    }
    masks
}

fn reserved(input: &PolicyInput) -> Vec<(VrfId, u32)> {
    let reserved = input
        .vrfs
        .iter()
        .map(|vrf| (vrf.id, vrf.limits.reserved_sessions));
    reserved.filter(|(_, sessions)| *sessions > 0).collect()
}

fn tenants(input: &PolicyInput, timeouts: &Timeouts) -> Vec<Option<Tenant>> {
    let last = input.vrfs.iter().map(|vrf| vrf.id.index()).max();
    let mut tenants = Vec::new();
    tenants.resize_with(last.map_or(0, |last| last + 1), || None);
    for vrf in &input.vrfs {
        tenants[vrf.id.index()] = Some(Tenant {
            snat: vrf
                .snat
                .iter()
                .map(|&rule| Rule {
                    rule,
                    timeouts: timeouts.set(&rule.timeouts),
                })
                .collect(),
            has_floating: !vrf.floating_ips.is_empty(),
            has_forwards: !vrf.port_forwards.is_empty(),
            limits: Limits {
                new_sessions: vrf.limits.new_sessions.map(|most| most.max(1)),
                host_new_sessions: vrf.limits.host_new_sessions.map(|most| most.max(1)),
                ..vrf.limits
            },
        });
    }
    tenants
}

fn floating(input: &PolicyInput) -> Vec<(u128, Ipv4Addr)> {
    all_vrfs(input, |vrf| &vrf.floating_ips)
        .map(|(vrf, floating)| (host_key(vrf, floating.inside), floating.outside))
        .collect()
}

fn by_outside(forwards: &[(VrfId, PortForward)]) -> Vec<(u128, Forward)> {
    let entry = |&(vrf, forward): &(VrfId, PortForward)| {
        let inside = forward.inside;
        let key = forward_key(forward.protocol, forward.outside);
        (key, Forward { vrf, inside })
    };
    forwards.iter().map(entry).collect()
}

fn by_inside(forwards: &[(VrfId, PortForward)]) -> Vec<(u128, SocketAddrV4)> {
    let entry = |&(vrf, forward): &(VrfId, PortForward)| {
        let PortForward {
            protocol,
            outside,
            inside,
        } = forward;
        [
            (forward_back_key(vrf, protocol, inside), outside),
            (forward_host_key(vrf, protocol, *inside.ip()), outside),
        ]
    };
    forwards.iter().flat_map(entry).collect()
}

/// The items of all VRFs, each with its VRF.
fn all_vrfs<'a, T: 'a>(
    input: &'a PolicyInput,
    items: impl Fn(&'a VrfInput) -> &'a Vec<T>,
) -> impl Iterator<Item = (VrfId, &'a T)> {
    input
        .vrfs
        .iter()
        .flat_map(move |vrf| items(vrf).iter().map(|item| (vrf.id, item)))
}
