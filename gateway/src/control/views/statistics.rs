//! What was counted of NAT, and how full pools are, as messages.

use sekisho_mgmt::api::v1;
use sekisho_mgmt::config::Config;
use sekisho_mgmt::config::model::SnatTarget;
use sekisho_mgmt::server::BackendError;
use sekisho_nat::{
    AddressUsage, DYNAMIC_PORTS, PoolCapacity, PoolId, PoolUsage, Refusal, Stats, VrfStats,
};
use tokio::sync::oneshot;

use super::super::dataplane::Request;
use super::super::manager::{Manager, unavailable};
use super::super::workers::Query;
use crate::snapshot::Snapshot;
use crate::worker::link::{PoolSet, Statistics};

/// Ports of a block, which one worker owns as a whole.
const UNIT_PORTS: u32 = 64;
/// TCP, UDP and ICMP: each has its own ports.
const PROTOCOLS: u64 = 3;

impl Manager {
    /// What was counted; of one tenant, if it is named.
    pub(super) async fn count_nat(&self, tenant: &str) -> Result<v1::NatStatistics, BackendError> {
        let running = self.current().await;
        let names = running.config.tenants.iter().map(|own| &own.name);
        let vrfs = self.tenant_vrfs(&running.config).await;
        let tenants = names.zip(vrfs);
        let mut tenants: Vec<_> = tenants.map(|(name, vrf)| (name.to_string(), vrf)).collect();
        if !tenant.is_empty() {
            // Says which there are, if it is none.
            let wanted = self.vrf(tenant).await?;
            tenants.retain(|(_, vrf)| *vrf == wanted);
        }
        let room = self.snapshot().await.tenants.len();
        let (done, counted) = oneshot::channel();
        self.ask(Request::Ask(Query::Statistics(room, done)))
            .await?;
        let Statistics { all, vrfs } = counted.await.map_err(|error| unavailable(&error))?;
        let of_tenants = tenants.iter().map(|(name, vrf)| v1::NatTenantStatistics {
            name: name.clone(),
            counts: vrfs.get(vrf.index()).map(counts_message),
        });
        Ok(v1::NatStatistics {
            gateway: tenant.is_empty().then(|| all_message(&all, &vrfs)),
            tcp_ignored: if tenant.is_empty() {
                all.tcp_ignored
            } else {
                0
            },
            tenants: of_tenants.collect(),
        })
    }

    /// Pools, then uplinks whose own addresses are shared; or one pool with its addresses.
    pub(super) async fn nat_pools(&self, name: &str) -> Result<Vec<v1::NatPool>, BackendError> {
        let running = self.current().await;
        let snapshot = self.snapshot().await;
        let ids = self.pool_ids(&running.config).await;
        let mut sets = pools_of(&running.config, &ids);
        sets.extend(shared_uplinks(&running.config, &snapshot));
        if !name.is_empty() {
            let known: Vec<String> = sets.iter().map(|(_, pool)| pool.name.clone()).collect();
            sets.retain(|(_, pool)| pool.name == name);
            if sets.is_empty() {
                let message = match known.as_slice() {
                    [] => format!("there is no pool {name}, nor any other"),
                    _ => format!("there is no pool {name}; there is {}", known.join(", ")),
                };
                return Err(BackendError::NotFound(message));
            }
        }
        let (done, usage) = oneshot::channel();
        let asked = sets.iter().map(|(set, _)| *set).collect();
        self.ask(Request::Ask(Query::Pools(asked, done))).await?;
        let usage = usage.await.map_err(|error| unavailable(&error))?;
        let mut pools = Vec::new();
        for ((set, mut pool), usage) in sets.into_iter().zip(usage) {
            let capacity = match set {
                PoolSet::Pool(pool) => snapshot.nat.pool_capacity(pool),
                PoolSet::Uplink(uplink) => snapshot.nat.uplink_capacity(uplink),
            };
            fill(&mut pool, capacity, usage);
            if let (PoolSet::Pool(id), false) = (set, name.is_empty()) {
                pool.details = self.pool_details(id, &snapshot).await?;
            }
            pools.push(pool);
        }
        Ok(pools)
    }

    async fn pool_details(
        &self,
        pool: PoolId,
        snapshot: &Snapshot,
    ) -> Result<Vec<v1::NatPoolAddress>, BackendError> {
        let addresses = snapshot.nat.pool_addresses(pool);
        let (done, usage) = oneshot::channel();
        self.ask(Request::Ask(Query::Addresses(pool, addresses, done)))
            .await?;
        let usage = usage.await.map_err(|error| unavailable(&error))?;
        Ok(usage.iter().map(address_message).collect())
    }
}

fn pools_of(config: &Config, ids: &[PoolId]) -> Vec<(PoolSet, v1::NatPool)> {
    let pools = config.nat_pools.iter().zip(ids);
    pools
        .map(|(pool, id)| {
            let message = v1::NatPool {
                name: pool.name.to_string(),
                kind: "pool".to_owned(),
                addresses: pool.addresses.iter().map(ToString::to_string).collect(),
                first_port: pool.ports.0.into(),
                last_port: pool.ports.1.into(),
                block_size: pool.block_size.into(),
                ..v1::NatPool::default()
            };
            (PoolSet::Pool(*id), message)
        })
        .collect()
}

/// The uplinks, if a rule gives sources their addresses.
fn shared_uplinks(config: &Config, snapshot: &Snapshot) -> Vec<(PoolSet, v1::NatPool)> {
    let mut rules = config.tenants.iter().flat_map(|tenant| &tenant.snat);
    if !rules.any(|rule| rule.to == SnatTarget::Uplink) {
        return Vec::new();
    }
    let uplinks = (0..).zip(&snapshot.uplinks);
    uplinks
        .filter_map(|(id, uplink)| {
            let uplink = uplink
                .as_ref()
                .filter(|uplink| !uplink.addresses.is_empty())?;
            let addresses = uplink.addresses.iter();
            let message = v1::NatPool {
                name: uplink.name.to_string(),
                kind: "uplink".to_owned(),
                addresses: addresses.map(|(address, _)| address.to_string()).collect(),
                first_port: (*DYNAMIC_PORTS.start()).into(),
                last_port: (*DYNAMIC_PORTS.end()).into(),
                block_size: UNIT_PORTS,
                ..v1::NatPool::default()
            };
            Some((
                PoolSet::Uplink(sekisho_types::InterfaceId::new(id)),
                message,
            ))
        })
        .collect()
}

fn fill(pool: &mut v1::NatPool, capacity: PoolCapacity, usage: PoolUsage) {
    pool.address_count = capacity.addresses;
    pool.ports_total = capacity.ports * PROTOCOLS;
    pool.ports_used = usage.ports.into();
    pool.ports_quarantined = usage.quarantined.into();
    pool.ports_free = pool
        .ports_total
        .saturating_sub(pool.ports_used + pool.ports_quarantined);
    let units = u64::from((pool.block_size / UNIT_PORTS).max(1));
    pool.blocks_total = capacity.blocks.div_ceil(units);
    pool.blocks_used = u64::from(usage.blocks).div_ceil(units);
    pool.blocks_free = pool.blocks_total.saturating_sub(pool.blocks_used);
}

fn address_message(usage: &AddressUsage) -> v1::NatPoolAddress {
    v1::NatPoolAddress {
        address: usage.address.to_string(),
        blocks: usage.blocks,
        tcp: usage.tcp,
        udp: usage.udp,
        icmp: usage.icmp,
    }
}

fn counts_message(stats: &VrfStats) -> v1::NatCounts {
    v1::NatCounts {
        tcp_established: stats.tcp_established,
        tcp_transitory: stats.tcp_transitory,
        udp: stats.udp,
        icmp: stats.icmp,
        mappings: stats.mappings,
        hosts: stats.hosts,
        created: stats.created,
        removed: stats.removed,
        refusals: refusals(&stats.refusals),
    }
}

/// The gateway's: how far TCP is, is known for each VRF alone.
fn all_message(all: &Stats, vrfs: &[VrfStats]) -> v1::NatCounts {
    let mut sum = VrfStats::default();
    for vrf in vrfs {
        sum += *vrf;
    }
    v1::NatCounts {
        tcp_established: sum.tcp_established,
        tcp_transitory: sum.tcp_transitory,
        udp: all.udp_sessions,
        icmp: all.icmp_sessions,
        mappings: all.mappings,
        hosts: all.hosts,
        created: all.created,
        removed: all.removed,
        refusals: refusals(&all.refusals),
    }
}

fn refusals(counts: &[u64; Refusal::COUNT]) -> Vec<v1::NatRefusal> {
    let message = |refusal: Refusal| v1::NatRefusal {
        reason: refusal.label().to_owned(),
        total: counts[refusal.index()],
    };
    Refusal::ALL.into_iter().map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c10_what_is_not_used_of_a_pool_is_free() {
        let mut pool = v1::NatPool::default();
        let capacity = PoolCapacity {
            addresses: 2,
            blocks: 20,
            ports: 1000,
        };
        let usage = PoolUsage {
            ports: 30,
            blocks: 2,
            quarantined: 5,
        };
        fill(&mut pool, capacity, usage);
        assert_eq!((pool.ports_total, pool.ports_free), (3000, 2965));
        assert_eq!((pool.blocks_total, pool.blocks_free), (20, 18));
    }

    #[test]
    fn c10_the_gateway_has_what_its_tenants_have_and_what_is_nobodys() {
        let mut all = Stats {
            created: 9,
            ..Stats::default()
        };
        all.refusals[Refusal::NoMapping.index()] = 4;
        let vrf = |tcp_established, tcp_transitory| VrfStats {
            tcp_established,
            tcp_transitory,
            ..VrfStats::default()
        };
        let message = all_message(&all, &[vrf(1, 2), vrf(3, 4)]);
        assert_eq!((message.tcp_established, message.tcp_transitory), (4, 6));
        assert_eq!(message.created, 9);
        let unknown = &message.refusals[Refusal::NoMapping.index()];
        assert_eq!(
            (unknown.reason.as_str(), unknown.total),
            ("nat-no-mapping", 4)
        );
    }
}
