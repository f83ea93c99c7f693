//! Answers to the API: from what the rooms hold to the messages of `sekisho.v1`.

mod flows;
mod nat;
mod overlay;
mod routing;
mod statistics;

use std::net::IpAddr;
use std::sync::Arc;

use sekisho_dpdk::{Lcore, PortHandle};
use sekisho_mgmt::api::v1;
use sekisho_mgmt::config::Loaded;
use sekisho_mgmt::server::{Backend, BackendError, Rows, Running, rows};
use sekisho_mgmt::session_match::SessionMatch;
use sekisho_nat::SessionFilter;
use sekisho_types::VrfId;
use tokio::sync::{mpsc, oneshot, watch};

use self::nat::{stream_sessions, tenant_rules};
use self::overlay::{endpoint_message, neighbor_row};
use self::routing::{
    bgp_message, family_of, neighbor_message, of_family, route_filter, route_message,
};
use super::dataplane::{NeighborView as EndpointView, Request};
use super::manager::{Manager, unavailable};
use super::workers::Query;
use crate::counters::WorkerCounters;
use crate::drops::DropReason;
use crate::nat_log::Status;
use crate::snapshot::Snapshot;

/// Pages of sessions on their way to a client.
const PAGES: usize = 4;

/// Where to read what nobody has to be asked for.
#[derive(Debug)]
pub struct Facts {
    /// Counters of each worker.
    pub workers: Vec<Arc<WorkerCounters>>,
    /// The lcore of each worker.
    pub lcores: Vec<Lcore>,
    /// Ports by index.
    pub ports: Vec<PortHandle>,
    /// Outputs of the translation log.
    pub nat_log: watch::Receiver<Vec<Status>>,
    /// DPDK's version.
    pub dpdk: String,
    /// What the workers hash flows with to choose among next hops.
    pub flow_seed: u64,
}

impl Backend for Manager {
    async fn running(&self) -> Running {
        self.current().await
    }

    async fn commit(&self, candidate: Loaded, _: String) -> Result<u64, BackendError> {
        self.apply(candidate).await
    }

    async fn routes(&self, query: v1::ListRoutesRequest) -> Result<Rows<v1::Route>, BackendError> {
        let vrf = self.vrf(&query.vrf).await?;
        let filter = route_filter(&query.prefix, &query.address)?;
        let filter = of_family(filter, &query.family)?;
        let routes = self.rooms.routing.routes(vrf, filter).await;
        let routes = routes.map_err(|error| unavailable(&error))?;
        let snapshot = self.snapshot().await;
        Ok(rows(
            routes
                .iter()
                .map(|route| route_message(&snapshot, route))
                .collect(),
        ))
    }

    async fn bgp_summary(&self) -> v1::BgpSummary {
        let Ok(Some(summary)) = self.rooms.routing.bgp_summary().await else {
            return v1::BgpSummary::default();
        };
        let running = self.current().await;
        v1::BgpSummary {
            configured: true,
            router_id: summary.router_id.to_string(),
            local_as: summary.asn.value(),
            table_version: summary.table_version,
            prefixes: summary.prefixes as u64,
            paths: summary.paths as u64,
            neighbors: summary
                .neighbors
                .iter()
                .map(|neighbor| neighbor_message(neighbor, &running.config))
                .collect(),
        }
    }

    async fn bgp_routes(
        &self,
        query: v1::ListBgpRoutesRequest,
    ) -> Result<Rows<v1::BgpRoute>, BackendError> {
        let filter = route_filter(&query.prefix, "")?;
        let routes = self.rooms.routing.bgp_routes(filter).await;
        let routes = routes.map_err(|error| unavailable(&error))?;
        let paths = routes
            .iter()
            .flat_map(|route| route.paths.iter().map(move |path| bgp_message(route, path)));
        Ok(rows(paths.collect()))
    }

    async fn interfaces(&self) -> Vec<v1::Interface> {
        let running = self.current().await;
        let snapshot = self.snapshot().await;
        let down = self.rooms.down.borrow().clone();
        let uplinks = snapshot.uplinks.iter().flatten();
        let mut interfaces: Vec<v1::Interface> = uplinks
            .filter_map(|uplink| {
                let port = self.facts.ports.get(usize::from(uplink.port))?;
                let configured = running
                    .config
                    .uplinks
                    .iter()
                    .find(|own| own.name == uplink.name)?;
                let stats = port.stats();
                let id = snapshot.uplink_of_port(uplink.port);
                let is_down = id.is_some_and(|id| down.contains(&id));
                Some(v1::Interface {
                    name: uplink.name.to_string(),
                    port: configured.port.to_string(),
                    driver: port.driver().to_owned(),
                    mac: uplink.mac.to_string(),
                    mtu: uplink.mtu.into(),
                    admin_up: true,
                    oper_up: !is_down,
                    addresses: configured
                        .addresses
                        .iter()
                        .map(|own| format!("{}/{}", own.address, own.prefix.len()))
                        .collect(),
                    rx_packets: stats.rx_packets,
                    rx_bytes: stats.rx_octets,
                    rx_errors: stats.rx_errors,
                    rx_missed: stats.rx_missed,
                    rx_no_buffers: stats.rx_no_buffer,
                    tx_packets: stats.tx_packets,
                    tx_bytes: stats.tx_octets,
                    tx_errors: stats.tx_errors,
                })
            })
            .collect();
        let place = |name: &str| {
            running
                .config
                .uplinks
                .iter()
                .position(|uplink| uplink.name.as_str() == name)
        };
        interfaces.sort_by_key(|interface| place(&interface.name));
        interfaces
    }

    async fn neighbors(
        &self,
        query: v1::ListNeighborsRequest,
    ) -> Result<Rows<v1::Neighbor>, BackendError> {
        let vrf = self.vrf(&query.vrf).await?;
        let family = family_of(&query.family)?;
        let snapshot = self.snapshot().await;
        let views = self.neighbor_views().await?;
        let views = views.iter();
        let neighbors = views.filter(|view| family.is_none_or(|v6| view.is_ipv6() == v6));
        Ok(rows(
            neighbors
                .filter_map(|view| neighbor_row(&snapshot, vrf, view))
                .collect(),
        ))
    }

    async fn tunnels(&self) -> Vec<v1::Tunnel> {
        let snapshot = self.snapshot().await;
        let endpoints = self.neighbor_views().await.unwrap_or_default();
        let Some(underlay) = snapshot.underlay else {
            return Vec::new();
        };
        let mut tunnels = Vec::new();
        for tenant in snapshot.tenants.iter().flatten() {
            let segments = tenant.segments.iter();
            tunnels.extend(segments.filter_map(|&id| {
                overlay::tunnel_message(&snapshot, underlay, tenant, id, &endpoints)
            }));
        }
        tunnels.sort_by(|a, b| (&a.tenant, &a.segment).cmp(&(&b.tenant, &b.segment)));
        tunnels
    }

    async fn endpoints(
        &self,
        query: v1::ListEndpointsRequest,
    ) -> Result<Rows<v1::Endpoint>, BackendError> {
        let vrf = self.vrf(&query.vrf).await?;
        let snapshot = self.snapshot().await;
        let views = self.neighbor_views().await?;
        let wanted = (vrf != VrfId::PROVIDER).then_some(vrf);
        let mut endpoints: Vec<_> = views
            .iter()
            .filter_map(|view| endpoint_message(&snapshot, wanted, view))
            .collect();
        let address = |text: &str| text.parse::<IpAddr>().ok();
        endpoints.sort_by(|a, b| {
            let key = |endpoint: &v1::Endpoint| address(&endpoint.address);
            (&a.tenant, &a.segment, key(a)).cmp(&(&b.tenant, &b.segment, key(b)))
        });
        Ok(rows(endpoints))
    }

    async fn sessions(
        &self,
        query: v1::ListSessionsRequest,
    ) -> Result<Rows<v1::NatSession>, BackendError> {
        let filter = self.session_filter(query.filter).await?;
        let (pages, received) = mpsc::channel(PAGES);
        self.ask(Request::Ask(Query::List(filter, pages))).await?;
        let snapshot = self.snapshot().await;
        Ok(stream_sessions(received, snapshot, query.limit))
    }

    async fn clear_sessions(&self, filter: v1::SessionFilter) -> Result<u64, BackendError> {
        let filter = self.session_filter(Some(filter)).await?;
        let (done, cleared) = oneshot::channel();
        self.ask(Request::Ask(Query::Clear(filter, done))).await?;
        cleared.await.map_err(|error| unavailable(&error))
    }

    async fn flows(&self, query: v1::ListFlowsRequest) -> Result<Rows<v1::Flow>, BackendError> {
        self.list_flows(query.filter.unwrap_or_default()).await
    }

    async fn nat_statistics(
        &self,
        query: v1::GetNatStatisticsRequest,
    ) -> Result<v1::NatStatistics, BackendError> {
        self.count_nat(&query.tenant).await
    }

    async fn pools(&self, query: v1::ListPoolsRequest) -> Result<Vec<v1::NatPool>, BackendError> {
        self.nat_pools(&query.name).await
    }

    async fn nat_tenants(&self) -> Vec<v1::NatTenant> {
        let running = self.current().await;
        let vrfs = self.tenant_vrfs(&running.config).await;
        let (done, sessions) = oneshot::channel();
        let sessions = match self.ask(Request::Ask(Query::Tenants(vrfs, done))).await {
            Ok(()) => sessions.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let sessions = sessions.into_iter().chain(std::iter::repeat(0));
        let tenants = running.config.tenants.iter().zip(sessions);
        tenants
            .map(|(tenant, sessions)| v1::NatTenant {
                name: tenant.name.to_string(),
                sessions,
                max_sessions: tenant.max_sessions,
                max_new_sessions: tenant.max_new_sessions,
                max_ports_per_host: tenant.max_ports_per_host,
            })
            .collect()
    }

    async fn nat_log(&self) -> v1::NatLog {
        let log = self.current().await.config.nat_log;
        let sum = |counter: fn(&WorkerCounters) -> u64| {
            let workers = self.facts.workers.iter();
            workers.map(|worker| counter(worker)).sum()
        };
        v1::NatLog {
            level: log.level.word().to_owned(),
            destinations: log.destinations,
            events: sum(|worker| worker.nat_log_events.get()),
            lost: sum(|worker| worker.nat_log_lost.get() + worker.nat_log_overrun.get()),
            outputs: nat::log_outputs(&self.facts.nat_log.borrow()),
        }
    }

    async fn rules(&self) -> Vec<v1::NatRule> {
        let running = self.current().await;
        running
            .config
            .tenants
            .iter()
            .flat_map(tenant_rules)
            .collect()
    }

    async fn version(&self) -> v1::Version {
        v1::Version {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dpdk: self.facts.dpdk.clone(),
        }
    }

    async fn status(&self) -> v1::Status {
        let running = self.current().await;
        v1::Status {
            hostname: running.config.gateway.hostname.to_string(),
            uptime_seconds: self.started.elapsed().as_secs(),
            generation: running.generation,
            ready: true,
            sessions: self
                .facts
                .workers
                .iter()
                .map(|worker| worker.sessions.get())
                .sum(),
            max_sessions: running.config.gateway.max_sessions.into(),
        }
    }

    async fn workers(&self) -> Vec<v1::Worker> {
        let workers = self.facts.workers.iter().zip(&self.facts.lcores);
        let message = |(id, (counters, lcore)): (usize, (&Arc<WorkerCounters>, &Lcore))| {
            let total = counters.total_ns.get().max(1);
            v1::Worker {
                id: id as u32,
                lcore: lcore.id().into(),
                cpu: Some(lcore.cpu().into()),
                rx_packets: counters.received.get(),
                tx_packets: counters.transmitted.get(),
                handed_out: counters.handed_over.get(),
                handed_in: counters.taken_over.get(),
                punted: counters.punted.get(),
                drops: counters.drops_total(),
                bursts: counters.busy_loops.get(),
                busy_ratio: counters.busy_ns.get() as f64 / total as f64,
                sessions: counters.sessions.get(),
            }
        };
        workers.enumerate().map(message).collect()
    }

    async fn drops(&self) -> Vec<v1::Drop> {
        let message = |&reason: &DropReason| {
            let workers = self.facts.workers.iter();
            let per_worker: Vec<u64> = workers.map(|worker| worker.drops(reason)).collect();
            v1::Drop {
                reason: reason.label().to_owned(),
                description: reason.description().to_owned(),
                total: per_worker.iter().sum(),
                per_worker,
            }
        };
        DropReason::ALL.iter().map(message).collect()
    }
}

impl Manager {
    async fn neighbor_views(&self) -> Result<Vec<EndpointView>, BackendError> {
        let (done, views) = oneshot::channel();
        self.ask(Request::Neighbors(done)).await?;
        views.await.map_err(|error| unavailable(&error))
    }

    async fn session_filter(
        &self,
        filter: Option<v1::SessionFilter>,
    ) -> Result<SessionFilter, BackendError> {
        let filter = SessionMatch::try_from(&filter.unwrap_or_default());
        let filter = filter.map_err(|error| BackendError::Invalid(error.to_string()))?;
        let vrf = match &filter.tenant {
            Some(tenant) => Some(self.vrf(tenant).await?),
            None => None,
        };
        Ok(nat::session_filter(&filter, vrf))
    }
}

/// The name of a VRF: its tenant's, or the provider's.
fn vrf_name(snapshot: &Snapshot, vrf: VrfId) -> String {
    let tenant = snapshot.tenant(vrf);
    tenant.map_or_else(|| "provider".to_owned(), |tenant| tenant.name.to_string())
}
