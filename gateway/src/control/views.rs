//! Answers to the API: from what the rooms hold to the messages of `sekisho.v1`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sekisho_dpdk::{Lcore, PortHandle};
use sekisho_fib::Link;
use sekisho_mgmt::api::v1;
use sekisho_mgmt::config::Loaded;
use sekisho_mgmt::config::model::{NatPool, SnatTarget, Tenant};
use sekisho_mgmt::server::{Backend, BackendError, Rows, Running, rows};
use sekisho_nat::{SessionFilter, SessionView, TcpState};
use sekisho_routing::{
    BgpPathView, BgpRouteView, NeighborView, PathView, RouteFilter, RouteKind, RouteView,
};
use sekisho_types::{IpProtocol, Name, Prefix, VrfId};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::dataplane::{NeighborState, NeighborView as EndpointView, Request};
use super::manager::{Manager, unavailable};
use super::neighbor::{Location, State};
use super::workers::Query;
use crate::counters::{TrafficCounters, WorkerCounters};
use crate::drops::DropReason;
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
    /// What drives each port.
    pub drivers: Vec<&'static str>,
    /// DPDK's version.
    pub dpdk: String,
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
        v1::BgpSummary {
            configured: true,
            router_id: summary.router_id.to_string(),
            local_as: summary.asn.value(),
            table_version: summary.table_version,
            prefixes: summary.prefixes as u64,
            paths: summary.paths as u64,
            memory_bytes: 0,
            neighbors: summary.neighbors.iter().map(neighbor_message).collect(),
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
                    driver: self.facts.drivers[usize::from(uplink.port)].to_owned(),
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

    async fn tunnels(&self) -> Vec<v1::Tunnel> {
        let snapshot = self.snapshot().await;
        let endpoints = self.neighbor_views().await.unwrap_or_default();
        let Some(underlay) = snapshot.underlay else {
            return Vec::new();
        };
        let mut tunnels = Vec::new();
        for tenant in snapshot.tenants.iter().flatten() {
            for &id in &tenant.segments {
                let Some(segment) = snapshot.segment(id) else {
                    continue;
                };
                let known = |view: &&EndpointView| {
                    view.neighbor.link == Link::Segment(id) && location_of(view.state).is_some()
                };
                let sum = |counter: fn(&TrafficCounters) -> u64| -> u64 {
                    segment.traffic.iter().map(counter).sum()
                };
                tunnels.push(v1::Tunnel {
                    kind: "vxlan".to_owned(),
                    vni: segment.vni.value(),
                    tenant: tenant.name.to_string(),
                    segment: segment.name.to_string(),
                    local: underlay.address.to_string(),
                    remotes: segment.vteps.iter().map(Ipv4Addr::to_string).collect(),
                    port: underlay.vxlan_port.into(),
                    mtu: segment.mtu.into(),
                    gateway: format!("{}/{}", segment.gateway, segment.prefix.len()),
                    mac: segment.mac.to_string(),
                    rx_packets: sum(|traffic| traffic.rx_packets.get()),
                    rx_bytes: sum(|traffic| traffic.rx_bytes.get()),
                    tx_packets: sum(|traffic| traffic.tx_packets.get()),
                    tx_bytes: sum(|traffic| traffic.tx_bytes.get()),
                    endpoints: endpoints.iter().filter(known).count() as u64,
                });
            }
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
    async fn pools(&self) -> Vec<v1::NatPool> {
        let running = self.current().await;
        let ids = self.pool_ids(&running.config).await;
        let (done, usage) = oneshot::channel();
        let usage = match self.ask(Request::Ask(Query::Pools(ids, done))).await {
            Ok(()) => usage.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let message = |(index, pool): (usize, &NatPool)| {
            let usage = usage.get(index).copied().unwrap_or_default();
            let addresses: u64 = pool
                .addresses
                .iter()
                .map(|prefix| 1 << (32 - u32::from(prefix.len())))
                .sum();
            let ports = u64::from(pool.ports.1 - pool.ports.0) + 1;
            let blocks = u64::from(pool.ports.1 / 64 - pool.ports.0 / 64) + 1;
            v1::NatPool {
                name: pool.name.to_string(),
                addresses: pool.addresses.iter().map(ToString::to_string).collect(),
                first_port: pool.ports.0.into(),
                last_port: pool.ports.1.into(),
                ports_total: addresses * ports,
                ports_used: usage.ports.into(),
                blocks_total: addresses * blocks,
                blocks_used: usage.blocks.into(),
                ..v1::NatPool::default()
            }
        };
        running
            .config
            .nat_pools
            .iter()
            .enumerate()
            .map(message)
            .collect()
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
        let filter = filter.unwrap_or_default();
        let vrf = match filter.tenant.as_str() {
            "" => None,
            tenant => Some(self.vrf(tenant).await?),
        };
        let protocol = match filter.protocol.as_str() {
            "" => None,
            "tcp" => Some(IpProtocol::TCP),
            "udp" => Some(IpProtocol::UDP),
            "icmp" => Some(IpProtocol::ICMP),
            other => {
                let message = format!("{other} has no sessions; use tcp, udp or icmp");
                return Err(BackendError::Invalid(message));
            }
        };
        Ok(SessionFilter {
            vrf,
            inside: ipv4(&filter.inside)?,
            outside: ipv4(&filter.outside)?,
            remote: ipv4(&filter.remote)?,
            protocol,
        })
    }
}

fn ipv4(text: &str) -> Result<Option<Ipv4Addr>, BackendError> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            BackendError::Invalid(format!(
                "{text} is not an IPv4 address; write it like 192.0.2.1"
            ))
        }),
    }
}

fn route_filter(prefix: &str, address: &str) -> Result<RouteFilter, BackendError> {
    let invalid = |message: String| BackendError::Invalid(message);
    match (prefix, address) {
        ("", "") => Ok(RouteFilter::All),
        ("", address) => address.parse().map(RouteFilter::Lookup).map_err(|_| {
            invalid(format!(
                "{address} is not an IP address; write it like 192.0.2.1"
            ))
        }),
        (prefix, _) => {
            let prefix: Prefix = prefix
                .parse()
                .map_err(|error: sekisho_types::PrefixError| invalid(error.to_string()))?;
            Ok(RouteFilter::Exact(prefix))
        }
    }
}

fn vrf_name(snapshot: &Snapshot, vrf: VrfId) -> String {
    let tenant = snapshot.tenant(vrf);
    tenant.map_or_else(|| "provider".to_owned(), |tenant| tenant.name.to_string())
}

fn route_message(snapshot: &Snapshot, route: &RouteView) -> v1::Route {
    let mut next_hops = Vec::new();
    match route.kind {
        RouteKind::Paths => {
            for path in &route.paths {
                push_path(&mut next_hops, path);
            }
        }
        RouteKind::Connected | RouteKind::Local => {
            let interface = route.paths.first().and_then(|path| path.interface.as_ref());
            next_hops.push(v1::NextHop {
                kind: "connected".to_owned(),
                interface: interface.map_or_else(String::new, |own| own.name.to_string()),
                weight: 1,
                active: true,
                ..v1::NextHop::default()
            });
        }
        RouteKind::Nat | RouteKind::Discard | RouteKind::LookupVrf(_) => {
            let (kind, vrf) = match route.kind {
                RouteKind::Nat => ("nat", String::new()),
                RouteKind::LookupVrf(vrf) => ("vrf", vrf_name(snapshot, vrf)),
                _ => ("discard", String::new()),
            };
            next_hops.push(v1::NextHop {
                kind: kind.to_owned(),
                weight: 1,
                active: true,
                vrf,
                ..v1::NextHop::default()
            });
        }
    }
    v1::Route {
        vrf: vrf_name(snapshot, route.vrf),
        prefix: route.prefix.to_string(),
        protocol: route.protocol.as_str().to_owned(),
        distance: route.distance.into(),
        metric: route.metric,
        selected: route.selected,
        installed: route.installed,
        uptime_seconds: route.age.as_secs(),
        next_hops,
    }
}

/// A path, and behind a recursive one what it resolves to.
fn push_path(next_hops: &mut Vec<v1::NextHop>, path: &PathView) {
    next_hops.push(v1::NextHop {
        kind: "gateway".to_owned(),
        address: path
            .next_hop
            .map_or_else(String::new, |address| address.to_string()),
        interface: path
            .interface
            .as_ref()
            .map_or_else(String::new, |own| own.name.to_string()),
        weight: path.weight.into(),
        active: path.active,
        vrf: String::new(),
    });
    for resolved in &path.recursive_via {
        push_path(next_hops, resolved);
    }
}

fn neighbor_message(neighbor: &NeighborView) -> v1::BgpNeighbor {
    let seconds =
        |duration: std::time::Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let list = |name: &Option<Name>| name.as_ref().map_or_else(String::new, Name::to_string);
    let is_up = neighbor.state == sekisho_routing::SessionState::Established;
    v1::BgpNeighbor {
        address: neighbor.address.to_string(),
        remote_as: neighbor.remote_as.value(),
        local_as: neighbor.local_as.value(),
        description: neighbor.description.clone().unwrap_or_default(),
        state: neighbor.state.as_str().to_owned(),
        shutdown: neighbor.admin_down,
        uptime_seconds: neighbor.since.map_or(0, |since| since.as_secs()),
        never_established: neighbor.established == 0,
        router_id: neighbor
            .remote_router_id
            .map_or_else(String::new, |id| id.to_string()),
        local_address: neighbor
            .local
            .map_or_else(String::new, |own| own.ip().to_string()),
        local_port: neighbor.local.map_or(0, |own| own.port().into()),
        remote_port: neighbor.remote.map_or(0, |remote| remote.port().into()),
        hold_time_seconds: seconds(neighbor.hold_time.unwrap_or(neighbor.configured_hold_time)),
        keepalive_seconds: neighbor.keepalive_interval.map_or(0, seconds),
        connect_retry_seconds: neighbor.next_attempt.map_or(0, seconds),
        messages_received: neighbor.received.total(),
        messages_sent: neighbor.sent.total(),
        updates_received: neighbor.received.update,
        updates_sent: neighbor.sent.update,
        keepalives_received: neighbor.received.keepalive,
        keepalives_sent: neighbor.sent.keepalive,
        notifications_received: neighbor.received.notification,
        notifications_sent: neighbor.sent.notification,
        in_queue: neighbor.in_queue as u64,
        out_queue: neighbor.out_queue as u64,
        table_version: neighbor.table_version,
        prefixes_received: neighbor.prefixes_received as u64,
        prefixes_accepted: neighbor.prefixes_accepted as u64,
        prefixes_sent: neighbor.prefixes_sent as u64,
        import: list(&neighbor.import),
        export: list(&neighbor.export),
        capabilities: neighbor.capabilities_received.clone(),
        established_count: neighbor.established,
        dropped_count: neighbor.established.saturating_sub(is_up.into()),
        last_reset: neighbor.last_error.clone().unwrap_or_default(),
        end_of_rib_received: neighbor.end_of_rib_received,
    }
}

fn bgp_message(route: &BgpRouteView, path: &BgpPathView) -> v1::BgpRoute {
    v1::BgpRoute {
        prefix: route.prefix.to_string(),
        neighbor: path.peer.map_or_else(String::new, |peer| peer.to_string()),
        neighbor_as: path.peer.map_or(0, |_| path.peer_as.value()),
        router_id: path.peer_router_id.to_string(),
        next_hop: path
            .next_hop
            .unwrap_or(Ipv4Addr::UNSPECIFIED.into())
            .to_string(),
        valid: path.valid,
        best: path.best,
        multipath: path.multipath,
        internal: path.internal,
        origin: path.origin.to_lowercase(),
        as_path: path.as_path.clone(),
        med: path.med,
        local_pref: Some(path.local_pref),
        weight: 0,
        communities: path.communities.clone(),
        large_communities: path.large_communities.clone(),
        uptime_seconds: path.age.map_or(0, |age| age.as_secs()),
        reason: path.reason.clone(),
    }
}

fn location_of(state: NeighborState) -> Option<Location> {
    match state {
        NeighborState::Static(location)
        | NeighborState::Dynamic(State::Reachable(location) | State::Probe(location)) => {
            Some(location)
        }
        NeighborState::Dynamic(State::Incomplete | State::Failed) => None,
    }
}

fn endpoint_message(
    snapshot: &Snapshot,
    wanted: Option<VrfId>,
    view: &EndpointView,
) -> Option<v1::Endpoint> {
    let Link::Segment(id) = view.neighbor.link else {
        return None;
    };
    let segment = snapshot.segment(id)?;
    if wanted.is_some_and(|vrf| vrf != segment.vrf) {
        return None;
    }
    let location = location_of(view.state);
    let state = match (view.state, location) {
        (NeighborState::Static(_), _) => "static",
        (_, Some(_)) => "learned",
        (_, None) => "incomplete",
    };
    let vtep = location.and_then(|location| location.vtep);
    Some(v1::Endpoint {
        tenant: vrf_name(snapshot, segment.vrf),
        segment: segment.name.to_string(),
        address: view.neighbor.address.to_string(),
        mac: location.map_or_else(String::new, |location| location.mac.to_string()),
        vtep: vtep.map_or_else(String::new, |vtep| vtep.to_string()),
        state: state.to_owned(),
        age_seconds: view.age.as_secs(),
    })
}

fn stream_sessions(
    mut pages: mpsc::Receiver<Vec<SessionView>>,
    snapshot: Arc<Snapshot>,
    limit: u64,
) -> Rows<v1::NatSession> {
    let (sender, receiver) = mpsc::channel(256);
    tokio::spawn(async move {
        let mut left = if limit == 0 { u64::MAX } else { limit };
        while let Some(page) = pages.recv().await {
            for session in &page {
                let message = session_message(&snapshot, session);
                if left == 0 || sender.send(message).await.is_err() {
                    return;
                }
                left -= 1;
            }
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

fn session_message(snapshot: &Snapshot, session: &SessionView) -> v1::NatSession {
    let state = match session.tcp {
        None => "active",
        Some(TcpState::Opening) => "opening",
        Some(TcpState::Established) => "established",
        Some(TcpState::Closing) => "closing",
    };
    v1::NatSession {
        tenant: vrf_name(snapshot, session.vrf),
        protocol: session.protocol.to_string(),
        inside_address: session.inside.ip().to_string(),
        inside_port: session.inside.port().into(),
        outside_address: session.outside.ip().to_string(),
        outside_port: session.outside.port().into(),
        remote_address: session.remote.ip().to_string(),
        remote_port: session.remote.port().into(),
        state: state.to_owned(),
        idle_seconds: (session.idle_ms / 1000).into(),
        expires_seconds: (session.expires_in_ms / 1000).into(),
        worker: snapshot
            .nat
            .inside_owner(session.vrf, *session.inside.ip())
            .value()
            .into(),
        ..v1::NatSession::default()
    }
}

fn tenant_rules(tenant: &Tenant) -> Vec<v1::NatRule> {
    let rule = |kind: &str, matches: String, becomes: String| v1::NatRule {
        tenant: tenant.name.to_string(),
        kind: kind.to_owned(),
        matches,
        becomes,
        ..v1::NatRule::default()
    };
    let forwards = tenant.port_forwards.iter().map(|forward| {
        let ((outside, outside_port), (inside, inside_port)) = (forward.outside, forward.inside);
        let matches = format!("{}/{outside}:{outside_port}", forward.protocol);
        rule("port-forward", matches, format!("{inside}:{inside_port}"))
    });
    let floating = tenant.floating_ips.iter().map(|floating| {
        rule(
            "floating-ip",
            floating.outside.to_string(),
            floating.inside.to_string(),
        )
    });
    let snat = tenant.snat.iter().map(|snat| {
        let becomes = match &snat.to {
            SnatTarget::Pool(pool) => format!("pool {pool}"),
            SnatTarget::Uplink => "uplink".to_owned(),
            SnatTarget::None => "none".to_owned(),
        };
        rule("snat", snat.source.to_string(), becomes)
    });
    forwards.chain(floating).chain(snat).collect()
}
