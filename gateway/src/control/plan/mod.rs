//! From a configuration to what each room is told: the workers' snapshot, routes, BGP, addresses of
//! the host interface, prefixes to announce.

mod bgp;
mod ipv6;
mod routes;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::Arc;

use sekisho_mgmt::config::model::{
    self, Config, MssClamp, PortKind, Segment as SegmentConfig, SnatTarget, UnsolicitedSyn,
};
use sekisho_nat::{
    Allocation, Filtering, FloatingIp, Generation, Limits, LogLevel, LogRules, MappingMode,
    OutsideOwners, Policy, PolicyError, PolicyInput, PoolId, PoolInput, PortForward, RuleTimeouts,
    SnatRule, Steering, Timers, UplinkInput, VrfInput,
};
use sekisho_routing::{
    ConnectedRoute, InterfaceRef, LocalRoute, NatRoute, RoutingConfig, StaticRoute,
};
use sekisho_types::{InterfaceId, Ipv4Prefix, MacAddr, Name, Prefix, SegmentId, VrfId};

use super::ids::{Ids, IdsExhausted};
use super::neighbor::Location;
use crate::control::links::LinkName;
use crate::counters::TrafficCounters;
use crate::nat_log::{Names, Settings};
use crate::own_sources::OwnSources;
use crate::snapshot::{Segment, Snapshot, Tenant, Underlay, Uplink};
use crate::tunnel_table::{TenantNat, TunnelTable};

/// Ports of the kernel's own outgoing connections, which share the uplinks' addresses.
const EPHEMERAL_PORTS: RangeInclusive<u16> = 32768..=60999;

/// Why a valid configuration cannot run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// NAT refuses.
    #[error(transparent)]
    Nat(#[from] PolicyError),
    /// Too many of something.
    #[error("{what}: {error}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        error: IdsExhausted,
    },
}

/// What the planner must know of a port that runs.
#[derive(Clone, Debug)]
pub struct PortFacts {
    /// Its name.
    pub name: Name,
    /// Its Ethernet address.
    pub mac: MacAddr,
}

/// What each room is told.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The workers.
    pub snapshot: Arc<Snapshot>,
    /// BGP and policy.
    pub routing: RoutingConfig,
    /// Connected routes.
    pub connected: Vec<ConnectedRoute>,
    /// The gateway's own addresses in all VRFs.
    pub local: Vec<LocalRoute>,
    /// Static routes.
    pub statics: Vec<StaticRoute>,
    /// Outside addresses that belong to NAT.
    pub nat: Vec<NatRoute>,
    /// Prefixes to announce while they are forwarded.
    pub announced: BTreeSet<Prefix>,
    /// Addresses of the host interface.
    pub host_addresses: Vec<IpAddr>,
    /// The uplinks without which no tunnel works: any of them suffices.
    pub underlay_uplinks: Vec<InterfaceId>,
    /// The link under each uplink, where its state can be watched.
    pub watched: HashMap<LinkName, InterfaceId>,
    /// The translation log.
    pub nat_log: Settings,
}

/// Makes plans; remembers the numbers it gave to names, so that an unchanged thing keeps its own.
pub struct Planner {
    ports: Vec<PortFacts>,
    workers: u8,
    steering: Steering,
    owners: Arc<OutsideOwners>,
    uplinks: Ids<Name>,
    segments: Ids<(Name, Name)>,
    vrfs: Ids<Name>,
    pools: Ids<Name>,
    uplink_traffic: HashMap<InterfaceId, Arc<[TrafficCounters]>>,
    segment_traffic: HashMap<SegmentId, Arc<[TrafficCounters]>>,
}

impl Planner {
    /// A planner for a gateway with these ports, by index.
    pub fn new(
        ports: Vec<PortFacts>,
        workers: u8,
        steering: Steering,
        owners: Arc<OutsideOwners>,
    ) -> Self {
        Self {
            ports,
            workers,
            steering,
            owners,
            uplinks: Ids::new(0, u16::MAX),
            segments: Ids::new(0, u16::MAX),
            vrfs: Ids::new(1, u16::MAX),
            pools: Ids::new(0, u16::MAX),
            uplink_traffic: HashMap::new(),
            segment_traffic: HashMap::new(),
        }
    }

    /// What each room is to be told for `config` to run as `generation`.
    pub fn plan(&mut self, config: &Config, generation: u64) -> Result<Plan, PlanError> {
        self.assign(config)?;
        let policy = self.policy(config, generation)?;
        let snapshot = Arc::new(self.snapshot(config, generation, policy));
        let (nat, announced) = self.outside(config);
        Ok(Plan {
            routing: bgp::routing_config(config),
            connected: self.connected(config),
            local: self.local(config),
            statics: self.statics(config),
            nat,
            announced,
            host_addresses: host_addresses(config),
            underlay_uplinks: self.underlay_uplinks(config),
            watched: self.watched(config),
            nat_log: self.nat_log(config),
            snapshot,
        })
    }

    /// Takes back the numbers of what `config` no longer names.
    pub fn retain(&mut self, config: &Config) {
        let tenants: HashMap<_, _> = config
            .tenants
            .iter()
            .map(|tenant| (&tenant.name, tenant))
            .collect();
        self.uplinks
            .retain(|name| config.uplinks.iter().any(|uplink| uplink.name == *name));
        self.pools
            .retain(|name| config.nat_pools.iter().any(|pool| pool.name == *name));
        self.vrfs.retain(|name| tenants.contains_key(name));
        self.segments.retain(|(tenant, name)| {
            tenants
                .get(tenant)
                .is_some_and(|tenant| tenant.segments.iter().any(|segment| segment.name == *name))
        });
    }

    /// The VRF of a tenant.
    pub fn vrf(&self, tenant: &str) -> Option<VrfId> {
        self.vrfs.find(tenant).map(VrfId::new)
    }

    fn assign(&mut self, config: &Config) -> Result<(), PlanError> {
        let too_many = |what| move |error| PlanError::TooMany { what, error };
        for uplink in &config.uplinks {
            self.uplinks
                .assign(&uplink.name)
                .map_err(too_many("uplinks"))?;
        }
        for pool in &config.nat_pools {
            self.pools
                .assign(&pool.name)
                .map_err(too_many("NAT pools"))?;
        }
        for tenant in &config.tenants {
            self.vrfs
                .assign(&tenant.name)
                .map_err(too_many("tenants"))?;
            for segment in &tenant.segments {
                let key = (tenant.name.clone(), segment.name.clone());
                self.segments.assign(&key).map_err(too_many("segments"))?;
            }
        }
        Ok(())
    }

    // Every name was given a number by `assign`.

    fn uplink_id(&self, name: &Name) -> InterfaceId {
        InterfaceId::new(self.uplinks.find(name).unwrap_or(u16::MAX))
    }

    pub(super) fn vrf_id(&self, tenant: &Name) -> VrfId {
        VrfId::new(self.vrfs.find(tenant).unwrap_or(u16::MAX))
    }

    fn segment_id(&self, tenant: &Name, segment: &Name) -> SegmentId {
        let key = (tenant.clone(), segment.clone());
        SegmentId::new(self.segments.find(&key).unwrap_or(u16::MAX))
    }

    /// The number of a pool.
    pub(super) fn pool_id(&self, name: &Name) -> PoolId {
        PoolId::new(self.pools.find(name).unwrap_or(u16::MAX))
    }

    fn segment_ref(&self, tenant: &Name, segment: &SegmentConfig) -> InterfaceRef {
        InterfaceRef::segment(
            self.segment_id(tenant, &segment.name),
            segment.name.as_str(),
        )
    }

    fn snapshot(&mut self, config: &Config, generation: u64, nat: Policy) -> Snapshot {
        let mut ports = vec![None; self.ports.len()];
        let mut uplinks: Vec<_> = (0..self.uplinks.bound()).map(|_| None).collect();
        for uplink in &config.uplinks {
            let Some(port) = self.ports.iter().position(|port| port.name == uplink.port) else {
                continue;
            };
            let id = self.uplink_id(&uplink.name);
            let traffic = traffic(self.uplink_traffic.entry(id), self.workers);
            ports[port] = Some(id);
            uplinks[id.index()] = Some(Uplink {
                name: uplink.name.clone(),
                port: port as u16,
                mac: self.ports[port].mac,
                mtu: uplink.mtu,
                addresses: uplink.addresses.iter().filter_map(ipv4_address).collect(),
                ipv6: ipv6::uplink(uplink, self.ports[port].mac),
                icmp_errors: uplink.icmp_errors,
                answers_syns: uplink.unsolicited_syn == UnsolicitedSyn::Unreachable,
                traffic,
            });
        }
        let mut segments: Vec<_> = (0..self.segments.bound()).map(|_| None).collect();
        let mut tenants: Vec<_> = (0..self.vrfs.bound()).map(|_| None).collect();
        let mut segment_by_vni = HashMap::new();
        for tenant in &config.tenants {
            let vrf = self.vrf_id(&tenant.name);
            let mut ids = Vec::new();
            for segment in &tenant.segments {
                let id = self.segment_id(&tenant.name, &segment.name);
                let traffic = traffic(self.segment_traffic.entry(id), self.workers);
                if let Some(built) = build_segment(segment, vrf, traffic) {
                    segments[id.index()] = Some(built);
                    segment_by_vni.insert(segment.vni, id);
                    ids.push(id);
                }
            }
            tenants[vrf.index()] = Some(Tenant {
                name: tenant.name.clone(),
                segments: ids,
            });
        }
        let nat_of: HashMap<VrfId, TenantNat> = config
            .tenants
            .iter()
            .map(|tenant| (self.vrf_id(&tenant.name), tenant_nat(tenant)))
            .collect();
        let nat_of = |vrf| nat_of.get(&vrf).copied().unwrap_or_default();
        let tunnels = TunnelTable::new(&segments, nat_of);
        let local = self.local(config).into_iter();
        let local = local.filter(|route| route.vrf == VrfId::PROVIDER);
        let (outside, _) = self.outside(config);
        let outside = outside.into_iter().map(|route| route.prefix);
        let own = OwnSources::new(local.map(|route| route.address), outside);
        let neighbors = config.bgp.iter().flat_map(|bgp| &bgp.neighbors);
        let clamps = |segment: &Segment| segment.mss_clamp.is_some();
        Snapshot {
            generation,
            clamps_mss: segments.iter().flatten().any(clamps),
            ports,
            uplinks,
            segments,
            tenants,
            segment_by_vni,
            tunnels,
            own,
            underlay: config.underlay.as_ref().map(|underlay| Underlay {
                address: underlay.address,
                vxlan_port: underlay.vxlan_port,
            }),
            bgp_peers: neighbors.map(|neighbor| neighbor.address).collect(),
            nat: Arc::new(nat),
        }
    }

    fn policy(&self, config: &Config, generation: u64) -> Result<Policy, PolicyError> {
        let pools = config.nat_pools.iter().map(|pool| PoolInput {
            id: self.pool_id(&pool.name),
            addresses: pool.addresses.clone(),
            ports: pool.ports.0..=pool.ports.1,
            allocation: allocation(pool),
        });
        let uplinks = config.uplinks.iter().map(|uplink| UplinkInput {
            id: self.uplink_id(&uplink.name),
            addresses: uplink
                .addresses
                .iter()
                .filter_map(ipv4_address)
                .map(|(address, _)| address)
                .collect(),
        });
        let input = PolicyInput {
            pools: pools.collect(),
            uplinks: uplinks.collect(),
            uplink_reserved: vec![EPHEMERAL_PORTS],
            vrfs: config
                .tenants
                .iter()
                .map(|tenant| self.vrf_input(tenant))
                .collect(),
            timers: Timers {
                udp: config.nat.udp,
                tcp_established: config.nat.tcp_established,
                tcp_transitory: config.nat.tcp_transitory,
                icmp: config.nat.icmp,
                inbound_refresh: config.nat.inbound_refresh,
                udp_short: config.nat.short_udp,
                udp_short_ports: config.nat.short_udp_ports.clone(),
                quarantine: config.nat.port_quarantine,
            },
        };
        let policy = Policy::build(
            &input,
            Generation::new(generation),
            self.steering,
            &self.owners,
        )?;
        Ok(policy.with_log(self.log_rules(config)))
    }

    fn log_rules(&self, config: &Config) -> LogRules {
        let level = |tenant: &model::Tenant| {
            let level = match tenant.nat_log.unwrap_or(config.nat_log.level) {
                model::LogLevel::None => LogLevel::None,
                model::LogLevel::Blocks => LogLevel::Blocks,
                model::LogLevel::Mappings => LogLevel::Mappings,
                model::LogLevel::Sessions => LogLevel::Sessions,
            };
            (self.vrf_id(&tenant.name), level)
        };
        let levels = config.tenants.iter().map(level);
        LogRules::new(levels, config.nat_log.destinations)
    }

    fn nat_log(&self, config: &Config) -> Settings {
        let tenant = |tenant: &model::Tenant| {
            let name = tenant.name.clone();
            (self.vrf_id(&name).value(), name)
        };
        let pool = |pool: &model::NatPool| (self.pool_id(&pool.name).value(), pool.name.clone());
        let uplink = |uplink: &model::Uplink| {
            let name = uplink.name.clone();
            (self.uplink_id(&name).value(), name)
        };
        Settings {
            config: config.nat_log.clone(),
            names: Arc::new(Names {
                tenants: config.tenants.iter().map(tenant).collect(),
                pools: config.nat_pools.iter().map(pool).collect(),
                uplinks: config.uplinks.iter().map(uplink).collect(),
            }),
        }
    }

    fn vrf_input(&self, tenant: &model::Tenant) -> VrfInput {
        let target = |to: &SnatTarget| match to {
            SnatTarget::Pool(name) => sekisho_nat::SnatTarget::Pool(self.pool_id(name)),
            SnatTarget::Uplink => sekisho_nat::SnatTarget::Uplink,
            SnatTarget::None => sekisho_nat::SnatTarget::NoNat,
        };
        let rule = |rule: &model::SnatRule| SnatRule {
            source: rule.source,
            destination: rule.destination,
            target: target(&rule.to),
            mapping: match rule.mapping {
                model::MappingMode::EndpointIndependent => MappingMode::EndpointIndependent,
                model::MappingMode::EndpointDependent => MappingMode::EndpointDependent,
            },
            timeouts: RuleTimeouts {
                udp: rule.timeouts.udp,
                tcp_established: rule.timeouts.tcp_established,
                tcp_transitory: rule.timeouts.tcp_transitory,
                icmp: rule.timeouts.icmp,
            },
            filtering: match rule.filtering {
                model::Filtering::EndpointIndependent => Filtering::EndpointIndependent,
                model::Filtering::AddressDependent => Filtering::AddressDependent,
                model::Filtering::AddressAndPortDependent => Filtering::AddressAndPortDependent,
            },
        };
        let floating = |floating: &model::FloatingIp| FloatingIp {
            outside: floating.outside,
            inside: floating.inside,
        };
        let forward = |forward: &model::PortForward| PortForward {
            protocol: forward.protocol,
            outside: SocketAddrV4::new(forward.outside.0, forward.outside.1),
            inside: SocketAddrV4::new(forward.inside.0, forward.inside.1),
        };
        // Each worker has an equal part of what is a rate or room, and nobody's is none.
        let share = |sessions: u32| sessions.div_ceil(self.workers.max(1).into());
        VrfInput {
            id: self.vrf_id(&tenant.name),
            snat: tenant.snat.iter().map(rule).collect(),
            floating_ips: tenant.floating_ips.iter().map(floating).collect(),
            port_forwards: tenant.port_forwards.iter().map(forward).collect(),
            limits: Limits {
                sessions: tenant.max_sessions,
                new_sessions: tenant.max_new_sessions.map(share),
                ports: tenant.max_ports,
                reserved_sessions: share(tenant.reserved_sessions),
                // A host is one worker's.
                host_sessions: tenant.max_sessions_per_host,
                host_new_sessions: tenant.max_new_sessions_per_host,
                host_ports: tenant.max_ports_per_host,
            },
        }
    }

    fn underlay_uplinks(&self, config: &Config) -> Vec<InterfaceId> {
        let Some(underlay) = &config.underlay else {
            return Vec::new();
        };
        let owns = |uplink: &&model::Uplink| {
            let address = IpAddr::V4(underlay.address);
            uplink.addresses.iter().any(|own| own.address == address)
        };
        match config.uplinks.iter().find(owns) {
            Some(uplink) => vec![self.uplink_id(&uplink.name)],
            None => config
                .uplinks
                .iter()
                .map(|uplink| self.uplink_id(&uplink.name))
                .collect(),
        }
    }

    fn watched(&self, config: &Config) -> HashMap<LinkName, InterfaceId> {
        let link = |uplink: &model::Uplink| {
            let port = config.ports.iter().find(|port| port.name == uplink.port)?;
            let name = match &port.kind {
                PortKind::AfPacket { interface } | PortKind::AfXdp { interface } => {
                    LinkName::Interface(interface.clone())
                }
                PortKind::Memif(_) | PortKind::Pci { .. } => LinkName::Port(port.name.clone()),
                // The daemon itself keeps a TAP up.
                PortKind::Tap { .. } => return None,
            };
            Some((name, self.uplink_id(&uplink.name)))
        };
        config.uplinks.iter().filter_map(link).collect()
    }
}

fn tenant_nat(tenant: &model::Tenant) -> TenantNat {
    let exempts = |rule: &model::SnatRule| matches!(rule.to, SnatTarget::None);
    let shares = |rule: &model::SnatRule| !exempts(rule);
    TenantNat {
        stateful: tenant.snat.iter().any(shares) || !tenant.port_forwards.is_empty(),
        floating: !tenant.floating_ips.is_empty(),
        exempt: tenant.snat.iter().any(exempts),
    }
}

fn traffic<K>(
    entry: std::collections::hash_map::Entry<'_, K, Arc<[TrafficCounters]>>,
    workers: u8,
) -> Arc<[TrafficCounters]> {
    let fresh = || (0..workers).map(|_| TrafficCounters::default()).collect();
    Arc::clone(entry.or_insert_with(fresh))
}

fn ipv4_address(address: &model::InterfaceAddress) -> Option<(Ipv4Addr, Ipv4Prefix)> {
    match address.address {
        IpAddr::V4(own) => Some((own, address.prefix.v4()?)),
        IpAddr::V6(_) => None,
    }
}

fn build_segment(
    segment: &SegmentConfig,
    vrf: VrfId,
    traffic: Arc<[TrafficCounters]>,
) -> Option<Segment> {
    let (gateway, prefix) = ipv4_address(&segment.gateway)?;
    let mut vteps = segment.vteps.clone();
    vteps.sort_unstable();
    vteps.dedup();
    let endpoint = |endpoint: &model::StaticEndpoint| match endpoint.address {
        IpAddr::V4(address) => {
            let location = Location {
                mac: endpoint.mac,
                vtep: Some(IpAddr::V4(endpoint.vtep)),
            };
            Some((address, location))
        }
        IpAddr::V6(_) => None,
    };
    Some(Segment {
        name: segment.name.clone(),
        vrf,
        vni: segment.vni,
        gateway,
        prefix,
        mac: segment.mac,
        mtu: segment.mtu,
        vteps,
        learning: segment.learning,
        advertise: segment.advertise,
        static_endpoints: segment.endpoints.iter().filter_map(endpoint).collect(),
        ipv6: ipv6::segment(segment),
        icmp_errors: segment.icmp_errors,
        mss_clamp: match segment.mss_clamp {
            MssClamp::Off => None,
            MssClamp::Auto => Some(u16::MAX),
            MssClamp::To(octets) => Some(octets),
        },
        traffic,
    })
}

/// All addresses at which the kernel's sockets are reached.
fn host_addresses(config: &Config) -> Vec<IpAddr> {
    let uplinks = config.uplinks.iter().flat_map(|uplink| &uplink.addresses);
    let underlay = config
        .underlay
        .iter()
        .map(|underlay| IpAddr::V4(underlay.address));
    let all: BTreeSet<IpAddr> = uplinks
        .map(|address| address.address)
        .chain(underlay)
        .collect();
    all.into_iter().collect()
}

/// How the ports of a pool are handed out.
fn allocation(pool: &model::NatPool) -> Allocation {
    Allocation {
        block_size: pool.block_size,
        blocks_per_host: pool.blocks_per_host,
        single_ports: pool.allocation == model::Allocation::Ports,
        preserve_parity: pool.preserve_parity,
        preserve_class: pool.preserve_class,
    }
}
