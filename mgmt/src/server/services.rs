//! The services that show what is, and the one that clears sessions.

use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use crate::api::v1::interface_service_server::InterfaceService;
use crate::api::v1::nat_service_server::NatService;
use crate::api::v1::routing_service_server::RoutingService;
use crate::api::v1::system_service_server::SystemService;
use crate::api::v1::tunnel_service_server::TunnelService;
use crate::api::v1::{
    self, BgpRoute, BgpSummary, ClearSessionsRequest, ClearSessionsResponse, Endpoint, Flow,
    GetBgpSummaryRequest, GetNatLogRequest, GetNatStatisticsRequest, GetStatusRequest,
    GetVersionRequest, ListBgpNeighborsRequest, ListBgpNeighborsResponse, ListBgpRoutesRequest,
    ListDropsRequest, ListDropsResponse, ListEndpointsRequest, ListFlowsRequest,
    ListInterfacesRequest, ListInterfacesResponse, ListNatTenantsRequest, ListNatTenantsResponse,
    ListNeighborsRequest, ListPoolsRequest, ListPoolsResponse, ListRoutesRequest, ListRulesRequest,
    ListRulesResponse, ListSessionsRequest, ListTunnelsRequest, ListTunnelsResponse,
    ListWorkersRequest, ListWorkersResponse, NatLog, NatSession, NatStatistics, Neighbor, Route,
    SessionFilter, Version,
};

use super::apply::peer_uid;
use super::{Backend, BackendError, Rows};

pub(super) struct ReadApi<B> {
    backend: Arc<B>,
}

impl<B> ReadApi<B> {
    pub(super) fn new(backend: Arc<B>) -> Self {
        Self { backend }
    }
}

impl<B> Clone for ReadApi<B> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.backend))
    }
}

type Reply<T> = Result<Response<T>, Status>;
type RowStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn stream<T: Send + 'static>(rows: Result<Rows<T>, BackendError>) -> Reply<RowStream<T>> {
    let rows: RowStream<T> = Box::pin(rows?.map(Ok));
    Ok(Response::new(rows))
}

/// At most so many rows; 0: all.
fn limited<T: Send + 'static>(
    rows: Result<Rows<T>, BackendError>,
    limit: u64,
) -> Reply<RowStream<T>> {
    match usize::try_from(limit) {
        Ok(limit) if limit > 0 => stream(rows.map(|rows| Box::pin(rows.take(limit)) as Rows<T>)),
        _ => stream(rows),
    }
}

#[tonic::async_trait]
impl<B: Backend> RoutingService for ReadApi<B> {
    type ListRoutesStream = RowStream<Route>;
    type ListBgpRoutesStream = RowStream<BgpRoute>;

    async fn list_routes(&self, request: Request<ListRoutesRequest>) -> Reply<RowStream<Route>> {
        let query = request.into_inner();
        if !query.prefix.is_empty() && !query.address.is_empty() {
            let message = "ask for a prefix or for an address, not for both";
            return Err(BackendError::Invalid(message.into()).into());
        }
        stream(self.backend.routes(query).await)
    }

    async fn get_bgp_summary(&self, _: Request<GetBgpSummaryRequest>) -> Reply<BgpSummary> {
        Ok(Response::new(self.backend.bgp_summary().await))
    }

    async fn list_bgp_neighbors(
        &self,
        request: Request<ListBgpNeighborsRequest>,
    ) -> Reply<ListBgpNeighborsResponse> {
        let wanted = request.into_inner().address;
        let mut neighbors = self.backend.bgp_summary().await.neighbors;
        if !wanted.is_empty() {
            let known: Vec<String> = neighbors.iter().map(|n| n.address.clone()).collect();
            neighbors.retain(|neighbor| neighbor.address == wanted);
            if neighbors.is_empty() {
                let message = match known.as_slice() {
                    [] => format!("there is no BGP neighbor {wanted}, nor any other"),
                    _ => format!(
                        "there is no BGP neighbor {wanted}; there is {}",
                        known.join(", ")
                    ),
                };
                return Err(BackendError::NotFound(message).into());
            }
        }
        Ok(Response::new(ListBgpNeighborsResponse { neighbors }))
    }

    async fn list_bgp_routes(
        &self,
        request: Request<ListBgpRoutesRequest>,
    ) -> Reply<RowStream<BgpRoute>> {
        stream(self.backend.bgp_routes(request.into_inner()).await)
    }
}

#[tonic::async_trait]
impl<B: Backend> InterfaceService for ReadApi<B> {
    type ListNeighborsStream = RowStream<Neighbor>;

    async fn list_neighbors(
        &self,
        request: Request<ListNeighborsRequest>,
    ) -> Reply<RowStream<Neighbor>> {
        stream(self.backend.neighbors(request.into_inner()).await)
    }

    async fn list_interfaces(
        &self,
        _: Request<ListInterfacesRequest>,
    ) -> Reply<ListInterfacesResponse> {
        let interfaces = self.backend.interfaces().await;
        Ok(Response::new(ListInterfacesResponse { interfaces }))
    }
}

#[tonic::async_trait]
impl<B: Backend> TunnelService for ReadApi<B> {
    type ListEndpointsStream = RowStream<Endpoint>;

    async fn list_tunnels(&self, _: Request<ListTunnelsRequest>) -> Reply<ListTunnelsResponse> {
        let tunnels = self.backend.tunnels().await;
        Ok(Response::new(ListTunnelsResponse { tunnels }))
    }

    async fn list_endpoints(
        &self,
        request: Request<ListEndpointsRequest>,
    ) -> Reply<RowStream<Endpoint>> {
        stream(self.backend.endpoints(request.into_inner()).await)
    }
}

#[tonic::async_trait]
impl<B: Backend> NatService for ReadApi<B> {
    type ListSessionsStream = RowStream<NatSession>;
    type ListFlowsStream = RowStream<Flow>;

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Reply<RowStream<NatSession>> {
        let query = request.into_inner();
        let limit = query.limit;
        limited(self.backend.sessions(query).await, limit)
    }

    async fn list_flows(&self, request: Request<ListFlowsRequest>) -> Reply<RowStream<Flow>> {
        let query = request.into_inner();
        let limit = query.limit;
        limited(self.backend.flows(query).await, limit)
    }

    async fn get_nat_statistics(
        &self,
        request: Request<GetNatStatisticsRequest>,
    ) -> Reply<NatStatistics> {
        let statistics = self.backend.nat_statistics(request.into_inner()).await?;
        Ok(Response::new(statistics))
    }

    async fn clear_sessions(
        &self,
        request: Request<ClearSessionsRequest>,
    ) -> Reply<ClearSessionsResponse> {
        let uid = peer_uid(&request);
        let request = request.into_inner();
        let filter = request.filter.unwrap_or_default();
        if filter == SessionFilter::default() && !request.all {
            let message = "the filter names no session; set all to remove every one";
            return Err(BackendError::Invalid(message.into()).into());
        }
        let cleared = self.backend.clear_sessions(filter.clone()).await?;
        tracing::info!(cleared, uid, ?filter, "NAT sessions cleared");
        Ok(Response::new(ClearSessionsResponse { cleared }))
    }

    async fn list_pools(&self, request: Request<ListPoolsRequest>) -> Reply<ListPoolsResponse> {
        let pools = self.backend.pools(request.into_inner()).await?;
        Ok(Response::new(ListPoolsResponse { pools }))
    }

    async fn list_nat_tenants(
        &self,
        _: Request<ListNatTenantsRequest>,
    ) -> Reply<ListNatTenantsResponse> {
        let tenants = self.backend.nat_tenants().await;
        Ok(Response::new(ListNatTenantsResponse { tenants }))
    }

    async fn get_nat_log(&self, _: Request<GetNatLogRequest>) -> Reply<NatLog> {
        Ok(Response::new(self.backend.nat_log().await))
    }

    async fn list_rules(&self, _: Request<ListRulesRequest>) -> Reply<ListRulesResponse> {
        let rules = self.backend.rules().await;
        Ok(Response::new(ListRulesResponse { rules }))
    }
}

#[tonic::async_trait]
impl<B: Backend> SystemService for ReadApi<B> {
    async fn get_version(&self, _: Request<GetVersionRequest>) -> Reply<Version> {
        Ok(Response::new(self.backend.version().await))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Reply<v1::Status> {
        Ok(Response::new(self.backend.status().await))
    }

    async fn list_workers(&self, _: Request<ListWorkersRequest>) -> Reply<ListWorkersResponse> {
        let workers = self.backend.workers().await;
        Ok(Response::new(ListWorkersResponse { workers }))
    }

    async fn list_drops(&self, _: Request<ListDropsRequest>) -> Reply<ListDropsResponse> {
        let drops = self.backend.drops().await;
        Ok(Response::new(ListDropsResponse { drops }))
    }
}
