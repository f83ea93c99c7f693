//! Transmit queues of a worker, one per port, filled during a burst and emptied after it.

use sekisho_dpdk::{Burst, Mbuf, TxQueue};

use crate::counters::WorkerCounters;
use crate::drops::DropReason;

/// How often a full port is asked again before packets are given up.
const ATTEMPTS: usize = 4;

/// The transmit side of every port.
#[derive(Debug)]
pub(super) struct Output {
    /// By port index.
    ports: Vec<PortOutput>,
}

#[derive(Debug)]
struct PortOutput {
    queue: TxQueue,
    waiting: Burst,
}

impl Output {
    pub(super) fn new(queues: Vec<TxQueue>) -> Self {
        let output = |queue| PortOutput {
            queue,
            waiting: Burst::new(),
        };
        Self {
            ports: queues.into_iter().map(output).collect(),
        }
    }

    /// Puts a frame into the queue of a port.
    pub(super) fn queue(&mut self, port: u16, mbuf: Mbuf, counters: &WorkerCounters) {
        let Some(port) = self.ports.get_mut(usize::from(port)) else {
            return counters.dropped(DropReason::UnknownPort);
        };
        if let Err(mbuf) = port.waiting.push(mbuf) {
            port.flush(counters);
            // There is room after a flush.
            let _ = port.waiting.push(mbuf);
        }
    }

    /// Sends everything that waits.
    pub(super) fn flush(&mut self, counters: &WorkerCounters) {
        for port in &mut self.ports {
            if !port.waiting.is_empty() {
                port.flush(counters);
            }
        }
    }
}

impl PortOutput {
    fn flush(&mut self, counters: &WorkerCounters) {
        for _ in 0..ATTEMPTS {
            let sent = self.queue.transmit(&mut self.waiting);
            counters.transmitted.add(sent as u64);
            if self.waiting.is_empty() {
                return;
            }
        }
        for _ in 0..self.waiting.len() {
            counters.dropped(DropReason::TxFull);
        }
        self.waiting.clear();
    }
}
