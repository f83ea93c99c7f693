//! Configurations, from text to running. A commit tells each room in an order that never lets a
//! route lead to what is not there: withdrawn first, published last; and one that fails is undone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho_host::HostInterface;
use sekisho_mgmt::config::{
    self, Config, ConfigDiff, Document, Loaded, flatten, load_documents, write_startup,
};
use sekisho_mgmt::server::{BackendError, Running};
use sekisho_nat::PoolId;
use sekisho_routing::RoutingHandle;
use sekisho_types::{InterfaceId, VrfId};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::announcer::Wanted;
use super::dataplane::Request;
use super::links::Watched;
use super::plan::{Plan, Planner};
use super::views::Facts;
use crate::nat_log::Settings;
use crate::snapshot::Snapshot;

/// A worker that has not taken a snapshot after this time never will.
const PATIENCE: Duration = Duration::from_secs(5);

/// How to reach the rooms.
#[derive(Debug)]
pub struct Rooms {
    /// Forwarding tables and workers.
    pub dataplane: mpsc::Sender<Request>,
    /// RIB and BGP.
    pub routing: RoutingHandle,
    /// Announcements.
    pub wanted: watch::Sender<Wanted>,
    /// Links.
    pub watched: watch::Sender<Watched>,
    /// The translation log.
    pub nat_log: watch::Sender<Settings>,
    /// Links that are down.
    pub down: watch::Receiver<BTreeSet<InterfaceId>>,
}

/// What runs, and how to change it.
pub struct Manager {
    pub(super) rooms: Rooms,
    pub(super) facts: Facts,
    pub(super) started: Instant,
    startup: PathBuf,
    state: Mutex<State>,
}

struct State {
    running: Running,
    plan: Plan,
    planner: Planner,
    host: Option<HostInterface>,
}

/// The parts of a manager.
pub struct ManagerParts {
    /// The rooms.
    pub rooms: Rooms,
    /// Where to read counters.
    pub facts: Facts,
    /// The startup configuration.
    pub startup: PathBuf,
    /// What to run first.
    pub loaded: Loaded,
    /// Its plan, whose snapshot the workers have.
    pub plan: Plan,
    /// Who made it.
    pub planner: Planner,
    /// The host interface, with the plan's addresses.
    pub host: HostInterface,
}

impl Manager {
    /// A manager of rooms that run nothing yet but the plan's snapshot.
    pub fn new(parts: ManagerParts) -> Self {
        let running = Running {
            generation: parts.plan.snapshot.generation,
            config: parts.loaded.config,
            documents: parts.loaded.documents,
        };
        Self {
            rooms: parts.rooms,
            facts: parts.facts,
            started: Instant::now(),
            startup: parts.startup,
            state: Mutex::new(State {
                running,
                plan: parts.plan,
                planner: parts.planner,
                host: Some(parts.host),
            }),
        }
    }

    /// Tells every room of the first configuration.
    pub async fn start(&self) -> Result<(), BackendError> {
        let state = self.state.lock().await;
        self.enforce(&state.plan).await
    }

    /// What runs.
    pub(super) async fn current(&self) -> Running {
        self.state.lock().await.running.clone()
    }

    /// The snapshot the workers have, or soon will.
    pub(super) async fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.state.lock().await.plan.snapshot)
    }

    /// The VRF of that name.
    pub(super) async fn vrf(&self, name: &str) -> Result<VrfId, BackendError> {
        if matches!(name, "" | "provider" | "default") {
            return Ok(VrfId::PROVIDER);
        }
        let state = self.state.lock().await;
        state.planner.vrf(name).ok_or_else(|| {
            let names = state
                .running
                .config
                .tenants
                .iter()
                .map(|tenant| tenant.name.to_string());
            let known: Vec<String> = std::iter::once("provider".to_owned())
                .chain(names)
                .collect();
            let known = known.join(", ");
            BackendError::NotFound(format!("there is no VRF {name}; there are: {known}"))
        })
    }

    /// The numbers of the pools of a configuration, in its order.
    pub(super) async fn pool_ids(&self, config: &Config) -> Vec<PoolId> {
        let state = self.state.lock().await;
        config
            .nat_pools
            .iter()
            .map(|pool| state.planner.pool_id(&pool.name))
            .collect()
    }

    /// The numbers of the VRFs of the tenants of a configuration, in its order.
    pub(super) async fn tenant_vrfs(&self, config: &Config) -> Vec<VrfId> {
        let state = self.state.lock().await;
        config
            .tenants
            .iter()
            .map(|tenant| state.planner.vrf_id(&tenant.name))
            .collect()
    }

    /// Makes a checked candidate the running configuration, and then the startup configuration.
    pub(super) async fn apply(&self, candidate: Loaded) -> Result<u64, BackendError> {
        let mut state = self.state.lock().await;
        let generation = state.running.generation + 1;
        let plan = state.planner.plan(&candidate.config, generation);
        let plan = plan.map_err(|error| BackendError::Refused(error.to_string()))?;
        let outcome = self.change(&mut state, &plan).await;
        let outcome = outcome.and_then(|()| self.persist(&candidate.documents));
        let generation = if let Err(error) = outcome {
            self.undo(&mut state, &plan.snapshot, generation + 1).await;
            return Err(error);
        } else {
            generation
        };
        let gone = vrfs_gone(&state.plan.snapshot, &plan.snapshot);
        self.ask(Request::RemoveVrfs(gone)).await?;
        state.planner.retain(&candidate.config);
        state.plan = plan;
        state.running = Running {
            generation,
            config: candidate.config,
            documents: candidate.documents,
        };
        Ok(generation)
    }

    /// Applies the startup configuration anew; a wrong one is logged and changes nothing.
    pub async fn reload(&self, path: &Path) {
        // Whoever rotates logs asks for this.
        self.rooms.nat_log.send_modify(|_| {});
        let loaded = match config::load(path) {
            Ok(loaded) => loaded,
            Err(error) => return tracing::error!("{error}"),
        };
        let running = self.current().await;
        let diff = ConfigDiff::between(&running.config, &loaded.config);
        if let Some(change) = diff.needing_restart().next() {
            return tracing::error!("{change}: this needs a restart; nothing was changed");
        }
        match self.apply(loaded).await {
            Ok(generation) => tracing::info!(generation, "configuration reloaded"),
            Err(error) => tracing::error!(%error, "the configuration was not reloaded"),
        }
    }

    /// Says goodbye to every BGP neighbour; answers whether there was anybody to say it to.
    pub async fn shut_down_routing(&self) -> bool {
        let summary = self.rooms.routing.bgp_summary().await;
        let has_neighbors = matches!(summary, Ok(Some(summary)) if !summary.neighbors.is_empty());
        if self
            .rooms
            .routing
            .shutdown("the gateway is being stopped")
            .await
            .is_err()
        {
            tracing::error!("routing had stopped before");
        }
        has_neighbors
    }

    /// Removes what the gateway put into the kernel.
    pub async fn close(&self) {
        let host = self.state.lock().await.host.take();
        if let Some(Err(error)) = host.map(HostInterface::close) {
            tracing::error!(%error, "the host interface was not removed cleanly");
        }
    }

    async fn change(&self, state: &mut State, plan: &Plan) -> Result<(), BackendError> {
        // What will be gone is withdrawn before it is.
        self.rooms.wanted.send_modify(|wanted| {
            wanted
                .prefixes
                .retain(|prefix| plan.announced.contains(prefix));
        });
        if let Some(host) = &mut state.host {
            let outcome = host.set_addresses(&plan.host_addresses);
            outcome.map_err(|error| BackendError::Refused(error.to_string()))?;
        }
        // It knows the names before the first event comes.
        self.rooms.nat_log.send_replace(plan.nat_log.clone());
        let (done, acknowledged) = oneshot::channel();
        self.ask(Request::Publish(Arc::clone(&plan.snapshot), done))
            .await?;
        let acknowledged = tokio::time::timeout(PATIENCE, acknowledged).await;
        if !matches!(acknowledged, Ok(Ok(()))) {
            let message = "a worker does not take the new configuration; the old one still runs";
            return Err(BackendError::Refused(message.to_owned()));
        }
        self.enforce(plan).await
    }

    /// Tells the rooms above the workers.
    async fn enforce(&self, plan: &Plan) -> Result<(), BackendError> {
        let routing = &self.rooms.routing;
        let stopped = |error| unavailable(&error);
        routing
            .set_connected(plan.connected.clone())
            .await
            .map_err(stopped)?;
        routing
            .set_local(plan.local.clone())
            .await
            .map_err(stopped)?;
        routing.set_nat(plan.nat.clone()).await.map_err(stopped)?;
        routing
            .set_static(plan.statics.clone())
            .await
            .map_err(stopped)?;
        let configured = routing.configure(plan.routing.clone()).await;
        configured.map_err(|error| BackendError::Refused(error.to_string()))?;
        // Links first: whether the underlay is up decides about announcements.
        self.rooms.watched.send_replace(Watched {
            links: plan.watched.clone(),
            underlay: plan.underlay_uplinks.clone(),
        });
        self.rooms
            .wanted
            .send_modify(|wanted| wanted.prefixes.clone_from(&plan.announced));
        Ok(())
    }

    /// Goes back to what ran before a change that failed.
    async fn undo(&self, state: &mut State, failed: &Snapshot, generation: u64) {
        let config = state.running.config.clone();
        let plan = match state.planner.plan(&config, generation) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::error!(%error, "the configuration before cannot be planned again");
                return;
            }
        };
        if let Err(error) = self.change(state, &plan).await {
            tracing::error!(%error, "the configuration before was not restored completely");
        }
        let gone = vrfs_gone(failed, &plan.snapshot);
        if let Err(error) = self.ask(Request::RemoveVrfs(gone)).await {
            tracing::error!(%error, "tables of the refused configuration were not removed");
        }
        state.planner.retain(&config);
        state.running.generation = generation;
        state.plan = plan;
    }

    /// Writes the startup configuration, unless it says the same already.
    fn persist(&self, documents: &[Document]) -> Result<(), BackendError> {
        let texts = |documents: &[Document]| -> Vec<String> {
            documents
                .iter()
                .map(|document| document.text.clone())
                .collect()
        };
        if load_documents(&self.startup).is_ok_and(|old| texts(&old) == texts(documents)) {
            return Ok(());
        }
        let path = self.startup.display();
        write_startup(&self.startup, &flatten(documents)).map_err(|error| {
            BackendError::Refused(format!(
                "cannot write the startup configuration {path}: {error}; nothing was changed"
            ))
        })
    }

    pub(super) async fn ask(&self, request: Request) -> Result<(), BackendError> {
        self.rooms
            .dataplane
            .send(request)
            .await
            .map_err(|error| unavailable(&error))
    }
}

fn vrfs_gone(old: &Snapshot, new: &Snapshot) -> Vec<VrfId> {
    let ids = (0..old.tenants.len()).map(|index| VrfId::new(index as u16));
    ids.filter(|&vrf| old.tenant(vrf).is_some() && new.tenant(vrf).is_none())
        .collect()
}

pub(super) fn unavailable(error: &dyn std::fmt::Display) -> BackendError {
    BackendError::Unavailable(format!("the gateway is shutting down ({error})"))
}
