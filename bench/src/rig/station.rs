//! One worker of the gateway that is measured, and what runs between it and everybody else.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use sekisho_dpdk::{Mempool, RxQueue, TxQueue};
use sekisho_fib::Tables;
use sekisho_gateway::control::plan::Plan;
use sekisho_gateway::counters::WorkerCounters;
use sekisho_gateway::worker::handover::Handover;
use sekisho_gateway::worker::link::{ControlEnd, HostEnd, worker_links};
use sekisho_gateway::worker::{Parts, Worker};
use sekisho_nat::{Engine, EngineConfig, Seed};
use sekisho_types::WorkerId;

use super::world::Shape;

/// A worker with its queues, counters and rings.
pub(crate) struct Station {
    pub(crate) worker: Worker,
    /// What the worker sent, by port.
    pub(crate) sent: Vec<RxQueue>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) control: ControlEnd,
    pub(super) host: HostEnd,
}

/// What all workers of a gateway have in common.
pub(super) struct Common<'a> {
    pub(super) shape: &'a Shape,
    pub(super) pool: &'a Mempool,
    pub(super) tables: &'a Arc<Tables>,
    pub(super) plan: &'a Plan,
}

impl Station {
    pub(super) fn new(
        common: &Common<'_>,
        id: WorkerId,
        (sent, tx): (Vec<RxQueue>, Vec<TxQueue>),
        handover: Handover,
    ) -> Result<Self> {
        let (end, control, host, _) = worker_links();
        let counters = Arc::new(WorkerCounters::default());
        let engine = EngineConfig {
            worker: id,
            max_sessions: common.shape.max_sessions,
            count_sessions: common.shape.count_sessions,
            seed: Seed::new(common.shape.seed),
        };
        let worker = Worker::new(Parts {
            id,
            rx: Vec::new(),
            tx,
            pool: common.pool.clone(),
            reader: common.tables.reader(id)?,
            nat: Engine::new(engine, Arc::clone(&common.plan.snapshot.nat))?,
            snapshot: Arc::clone(&common.plan.snapshot),
            end,
            handover,
            counters: Arc::clone(&counters),
            seed: u64::from_le_bytes([common.shape.seed[0]; 8]),
            epoch: Instant::now(),
            adaptive_idle: false,
        });
        Ok(Self {
            worker,
            sent,
            counters,
            control,
            host,
        })
    }
}
