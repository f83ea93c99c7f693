//! What a handle asks of the owner task.

use std::net::IpAddr;

use sekisho_types::VrfId;
use tokio::sync::oneshot;

use crate::config::{ConfigureError, RoutingConfig};
use crate::route::{
    ConnectedRoute, InterfaceKey, LinkState, LocalRoute, NatRoute, Originated, StaticRoute,
};
use crate::view::{BgpFilter, BgpRouteView, BgpSummary, NeighborView, RouteFilter, RouteView};

type Reply<T> = oneshot::Sender<T>;

#[derive(Debug)]
pub(super) enum Command {
    Configure(RoutingConfig, Reply<Result<(), ConfigureError>>),
    SetConnected(Vec<ConnectedRoute>, Reply<()>),
    SetLocal(Vec<LocalRoute>, Reply<()>),
    SetStatic(Vec<StaticRoute>, Reply<()>),
    SetNat(Vec<NatRoute>, Reply<()>),
    SetOriginated(Vec<Originated>, Reply<()>),
    InterfaceState(InterfaceKey, LinkState, Reply<()>),
    FibAcknowledged(u64),
    Routes(VrfId, RouteFilter, Reply<Vec<RouteView>>),
    BgpSummary(Reply<Option<BgpSummary>>),
    BgpNeighbors(Option<IpAddr>, Reply<Vec<NeighborView>>),
    BgpRoutes(BgpFilter, Reply<Vec<BgpRouteView>>),
    ClearBgp(IpAddr, Reply<bool>),
    Shutdown(String, Reply<()>),
}
