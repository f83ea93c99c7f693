//! Starting what forwards, wiring it to what decides, and stopping it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use sekisho_dpdk::{Eal, EalOptions, HugePages, LcoreHandle, PortLink};
use sekisho_fib::{Capacity, Tables, Writer};
use sekisho_host::{HostInterface, IngressGuard, LinkMonitor};
use sekisho_mgmt::config::Loaded;
use sekisho_mgmt::config::model::{Config, Hugepages, Port, PortKind};
use sekisho_nat::{Engine, EngineConfig, OutsideOwners, Seed, Steering};
use sekisho_routing::{FibBatch, Options};
use sekisho_types::{Name, WorkerId};
use tokio::sync::{mpsc, watch};

use super::ports::{self, Ports};
use super::{Stop, watchdog};
use crate::control::announcer::{self, Wanted};
use crate::control::dataplane::Dataplane;
use crate::control::host::{self, HostCounters};
use crate::control::links::{self, Listeners, Watched};
use crate::control::manager::{Manager, ManagerParts, Rooms};
use crate::control::plan::{Plan, Planner};
use crate::control::views::Facts;
use crate::control::workers::Workers;
use crate::counters::WorkerCounters;
use crate::nat_log::{self, Settings};
use crate::worker::handover::Handover;
use crate::worker::link::{ControlEnd, HostEnd, worker_links};
use crate::worker::{Parts, Worker};

/// Outside addresses of NAT at a time.
const MAX_OUTSIDE_ADDRESSES: u32 = 1 << 16;
/// Batches of routes on their way to the forwarding tables.
const BATCHES: usize = 16;
/// Requests on their way to the data plane's task.
const REQUESTS: usize = 64;

/// The data plane, forwarding by its first snapshot.
pub(super) struct Forwarding {
    facts: Facts,
    nat_log: watch::Sender<Settings>,
    links: BTreeMap<Name, PortLink>,
    ends: Vec<ControlEnd>,
    writer: Writer,
    owners: Arc<OutsideOwners>,
    planner: Planner,
    plan: Plan,
    host: HostInterface,
    /// Last, for what is dropped last lets the kernel have its interfaces back.
    running: Running,
}

/// What is to be stopped.
#[derive(Debug)]
pub(super) struct Running {
    stop: Stop,
    lcores: Vec<LcoreHandle<()>>,
    threads: Vec<JoinHandle<()>>,
    guards: Vec<IngressGuard>,
    _eal: Eal,
}

impl Forwarding {
    pub(super) fn start(config: &Config, generation: u64) -> Result<Self> {
        let workers = config.gateway.workers;
        let eal = start_eal(config)?;
        let pool = ports::pool(&eal, config)?;
        let Ports {
            handles,
            facts,
            links,
            rx,
            tx,
            guards,
        } = ports::attach(&eal, config, &pool)?;

        let seed = Seed::new(random_octets());
        let steering = Steering::new(seed, workers);
        let owners = Arc::new(OutsideOwners::new(MAX_OUTSIDE_ADDRESSES)?);
        let mut planner = Planner::new(facts, workers, steering, Arc::clone(&owners));
        let plan = planner.plan(config, generation)?;
        let mtu = config
            .uplinks
            .iter()
            .map(|uplink| uplink.mtu)
            .min()
            .unwrap_or(1500);
        let host =
            HostInterface::create(&config.gateway.host_interface, &plan.host_addresses, mtu)?;

        let (tables, writer) = Tables::new(workers, Capacity::default())?;
        let stop = Stop::default();
        let epoch = Instant::now();
        let flow_seed = RandomState::new().hash_one("flows");
        let mut running = Running {
            stop: stop.clone(),
            lcores: Vec::new(),
            threads: Vec::new(),
            guards,
            _eal: eal.clone(),
        };
        let mut counters = Vec::new();
        let mut ends = Vec::new();
        let mut host_ends: Vec<HostEnd> = Vec::new();
        let mut rings = Vec::new();
        let parts = rx
            .into_iter()
            .zip(tx)
            .zip(Handover::mesh(workers))
            .zip(eal.workers());
        for (id, (((rx, tx), handover), lcore)) in parts.enumerate() {
            let id = WorkerId::new(id as u8);
            let (end, control_end, host_end, ring) = worker_links();
            let own = Arc::new(WorkerCounters::default());
            counters.push(Arc::clone(&own));
            ends.push(control_end);
            host_ends.push(host_end);
            rings.push(ring);
            let engine = EngineConfig {
                worker: id,
                max_sessions: config.gateway.max_sessions / u32::from(workers),
                count_sessions: config.gateway.session_counters,
                seed,
            };
            let worker = Worker::new(Parts {
                id,
                rx,
                tx,
                pool: pool.clone(),
                reader: tables.reader(id)?,
                nat: Engine::new(engine, Arc::clone(&plan.snapshot.nat))?,
                snapshot: Arc::clone(&plan.snapshot),
                end,
                handover,
                counters: own,
                seed: flow_seed,
                epoch,
                adaptive_idle: shares_cpus(config),
            });
            let flag = stop.flag();
            running
                .lcores
                .push(eal.launch(*lcore, move || worker.run(&flag))?);
        }
        let packets = host.packets().context("cannot open the host interface")?;
        let host_counters = Arc::new(HostCounters::default());
        running
            .threads
            .push(host::spawn(packets, host_ends, host_counters, stop.flag())?);
        running
            .threads
            .push(watchdog::spawn(counters.clone(), &stop)?);
        let (settings, settings_changes) = watch::channel(plan.nat_log.clone());
        let (status, status_changes) = watch::channel(Vec::new());
        running.threads.push(nat_log::spawn(nat_log::Parts {
            rings,
            settings: settings_changes,
            status,
            epoch,
        })?);
        let facts = Facts {
            nat_log: status_changes,
            workers: counters,
            lcores: eal.workers().to_vec(),
            ports: handles,
            dpdk: sekisho_dpdk::version(),
            flow_seed,
        };
        Ok(Self {
            running,
            facts,
            nat_log: settings,
            links,
            ends,
            writer,
            owners,
            planner,
            plan,
            host,
        })
    }

    /// Starts the control tasks on the current runtime and wires everything.
    pub(super) fn wire(self, startup: &Path, loaded: Loaded) -> Result<(Running, Arc<Manager>)> {
        let snapshot = Arc::clone(&self.plan.snapshot);
        let (requests, request_inbox) = mpsc::channel(REQUESTS);
        let (batches, batch_inbox) = mpsc::channel::<FibBatch>(BATCHES);
        let (acknowledged, mut acknowledgements) = watch::channel(0);
        let workers = Workers::new(self.ends, snapshot.generation);
        let dataplane = Dataplane::new(self.writer, workers, &snapshot, self.owners, acknowledged);
        tokio::spawn(dataplane.run(request_inbox, batch_inbox));

        let routing = sekisho_routing::start(Options::default(), batches);
        let acknowledging = routing.clone();
        tokio::spawn(async move {
            while acknowledgements.changed().await.is_ok() {
                let generation = *acknowledgements.borrow_and_update();
                if acknowledging.fib_acknowledged(generation).await.is_err() {
                    return;
                }
            }
        });

        let (wanted, wanted_changes) = watch::channel(Wanted::default());
        tokio::spawn(announcer::run(wanted_changes, routing.clone()));
        let (watched, watched_changes) = watch::channel(Watched::default());
        let (down, down_changes) = watch::channel(std::collections::BTreeSet::new());
        let listeners = Listeners {
            dataplane: requests.clone(),
            routing: routing.clone(),
            wanted: wanted.clone(),
            down,
        };
        tokio::spawn(links::run(
            LinkMonitor::open()?,
            self.links,
            watched_changes,
            listeners,
        ));

        let manager = Manager::new(ManagerParts {
            rooms: Rooms {
                dataplane: requests,
                routing,
                wanted,
                watched,
                nat_log: self.nat_log,
                down: down_changes,
            },
            facts: self.facts,
            startup: startup.to_owned(),
            loaded,
            plan: self.plan,
            planner: self.planner,
            host: self.host,
        });
        Ok((self.running, Arc::new(manager)))
    }
}

impl Running {
    /// Stops the workers, then the threads around them.
    pub(super) fn halt(&mut self) {
        self.stop.set();
        for lcore in self.lcores.drain(..) {
            if let Err(error) = lcore.join() {
                tracing::error!(%error, "a worker ended badly");
            }
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread ended badly");
            }
        }
    }
}

impl Drop for Running {
    /// Lets the kernel have its interfaces back, last of all: until the host interface is gone, it
    /// would answer for our addresses.
    fn drop(&mut self) {
        self.halt();
        for guard in self.guards.drain(..) {
            if let Err(error) = guard.remove() {
                tracing::error!(%error, "an ingress guard was not removed");
            }
        }
    }
}

fn start_eal(config: &Config) -> Result<Eal> {
    let gateway = &config.gateway;
    let cpus = if gateway.cpus.is_empty() {
        spread(usize::from(gateway.workers))?
    } else {
        gateway.cpus.clone()
    };
    let options = EalOptions {
        memory_mib: gateway.memory_mib,
        huge_pages: match gateway.hugepages {
            Hugepages::Auto => HugePages::Auto,
            Hugepages::Never => HugePages::Never,
            Hugepages::Require => HugePages::Require,
        },
        workers: cpus,
        pci: ports::pci(config),
        ..EalOptions::new(&format!("sekisho-{}", std::process::id()))
    };
    Ok(Eal::init(&options)?)
}

/// Whether workers share their CPUs with others, the kernel's network stack above all, and so must
/// leave them some time. Only who gave each worker a CPU, and has NICs alone, has none of that.
fn shares_cpus(config: &Config) -> bool {
    let is_nic = |port: &Port| matches!(port.kind, PortKind::Pci { .. });
    config.gateway.cpus.is_empty() || !config.ports.iter().all(is_nic)
}

/// Workers over the CPUs the process may use, the last ones first: the first is everybody's
/// favourite.
fn spread(workers: usize) -> Result<Vec<u16>> {
    let allowed = sekisho_dpdk::allowed_cpus()?;
    if allowed.is_empty() {
        return Err(anyhow!("the process may use no CPU at all"));
    }
    Ok(allowed
        .iter()
        .rev()
        .copied()
        .cycle()
        .take(workers)
        .collect())
}

/// Octets nobody outside can know.
fn random_octets() -> [u8; 32] {
    let mut octets = [0; 32];
    for (index, chunk) in octets.chunks_exact_mut(8).enumerate() {
        // `RandomState` is keyed by the operating system.
        chunk.copy_from_slice(&RandomState::new().hash_one(index).to_ne_bytes());
    }
    octets
}
