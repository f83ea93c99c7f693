//! The thin asynchronous edge: sockets, clocks and channels around the pure cores.
//!
//! One task owns every table and state machine and never waits for anything but its own inbox and
//! the next timer. One task serves each TCP connection. A full channel toward a connection or
//! toward the forwarding tables holds back only what was meant for it.

mod command;
mod connection;
mod listener;
mod owner;
mod sources;

use std::net::IpAddr;
use std::time::Duration;

use sekisho_types::VrfId;
use tokio::sync::{mpsc, oneshot};

use self::command::Command;
use crate::config::{ConfigureError, RoutingConfig};
use crate::fib::FibBatch;
use crate::route::{
    ConnectedRoute, InterfaceKey, LinkState, LocalRoute, NatRoute, Originated, StaticRoute,
};
use crate::view::{BgpFilter, BgpRouteView, BgpSummary, NeighborView, RouteFilter, RouteView};

/// How the service runs, fixed at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long announcements wait, at most, for every neighbour's End-of-RIB and the first
    /// acknowledged forwarding generation.
    pub deferral: Duration,
    /// Most changes in one batch for the forwarding tables.
    pub fib_batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deferral: Duration::from_secs(30),
            fib_batch: 1024,
        }
    }
}

/// The service has ended and answers no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the routing service has stopped; restart the gateway")]
pub struct Stopped;

/// How the rest of the gateway speaks to the routing service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RoutingHandle {
    commands: mpsc::Sender<Command>,
}

/// Commands that may wait for the owner task.
const COMMANDS: usize = 64;

/// Starts the service on the current tokio runtime. It ends after
/// [`shutdown`](RoutingHandle::shutdown), or when every handle is dropped.
///
/// # Panics
/// Outside a tokio runtime.
pub fn start(options: Options, fib: mpsc::Sender<FibBatch>) -> RoutingHandle {
    let (commands, inbox) = mpsc::channel(COMMANDS);
    tokio::spawn(owner::run(options, inbox, fib));
    RoutingHandle { commands }
}

impl RoutingHandle {
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Makes `config` the running configuration. Sessions whose neighbour did not change stay up;
    /// a changed policy is applied to what was received without asking for it again. On error the
    /// running configuration stays as it was.
    pub async fn configure(&self, config: RoutingConfig) -> Result<(), ConfigureError> {
        self.ask(|reply| Command::Configure(config, reply)).await?
    }

    /// Replaces all connected routes.
    pub async fn set_connected(&self, routes: Vec<ConnectedRoute>) -> Result<(), Stopped> {
        self.ask(|reply| Command::SetConnected(routes, reply)).await
    }

    /// Replaces all addresses of the gateway.
    pub async fn set_local(&self, routes: Vec<LocalRoute>) -> Result<(), Stopped> {
        self.ask(|reply| Command::SetLocal(routes, reply)).await
    }

    /// Replaces all static routes.
    pub async fn set_static(&self, routes: Vec<StaticRoute>) -> Result<(), Stopped> {
        self.ask(|reply| Command::SetStatic(routes, reply)).await
    }

    /// Replaces all prefixes that belong to NAT.
    pub async fn set_nat(&self, routes: Vec<NatRoute>) -> Result<(), Stopped> {
        self.ask(|reply| Command::SetNat(routes, reply)).await
    }

    /// Replaces the set of prefixes that may be announced now. What is gone from it is withdrawn
    /// at once.
    pub async fn set_originated(&self, prefixes: Vec<Originated>) -> Result<(), Stopped> {
        self.ask(|reply| Command::SetOriginated(prefixes, reply))
            .await
    }

    /// Tells that an interface can carry packets, or no longer can. Interfaces are up until told
    /// otherwise.
    pub async fn interface_state(
        &self,
        interface: InterfaceKey,
        state: LinkState,
    ) -> Result<(), Stopped> {
        self.ask(|reply| Command::InterfaceState(interface, state, reply))
            .await
    }

    /// Tells that every worker forwards by the batch of this generation and all before it.
    pub async fn fib_acknowledged(&self, generation: u64) -> Result<(), Stopped> {
        let command = Command::FibAcknowledged(generation);
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    /// The routes of a table, by prefix, the selected candidate of each first.
    pub async fn routes(&self, vrf: VrfId, filter: RouteFilter) -> Result<Vec<RouteView>, Stopped> {
        self.ask(|reply| Command::Routes(vrf, filter, reply)).await
    }

    /// The BGP speaker with its neighbours; `None` when it is not configured.
    pub async fn bgp_summary(&self) -> Result<Option<BgpSummary>, Stopped> {
        self.ask(Command::BgpSummary).await
    }

    /// All BGP neighbours, or the one with this address.
    pub async fn bgp_neighbors(
        &self,
        address: Option<IpAddr>,
    ) -> Result<Vec<NeighborView>, Stopped> {
        self.ask(|reply| Command::BgpNeighbors(address, reply))
            .await
    }

    /// Prefixes learnt by BGP or originated, each with all its paths.
    pub async fn bgp_routes(&self, filter: BgpFilter) -> Result<Vec<BgpRouteView>, Stopped> {
        self.ask(|reply| Command::BgpRoutes(filter, reply)).await
    }

    /// Resets the session with a neighbour (Cease, administrative reset), which then comes up
    /// again. Answers whether there is such a neighbour.
    pub async fn clear_bgp(&self, neighbor: IpAddr) -> Result<bool, Stopped> {
        self.ask(|reply| Command::ClearBgp(neighbor, reply)).await
    }

    /// Ends the service: Cease (administrative shutdown) with `message` to every neighbour (RFC
    /// 9003), flushed to the sockets before this returns, but for 2 s at most.
    pub async fn shutdown(&self, message: &str) -> Result<(), Stopped> {
        let message = message.to_owned();
        self.ask(|reply| Command::Shutdown(message, reply)).await
    }
}
