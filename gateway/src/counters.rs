//! Counters a worker writes and everybody may read.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::drops::DropReason;

/// A counter with one writer: no locked instruction on the packet path.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, from the one thread that owns it.
    #[inline]
    pub fn add(&self, amount: u64) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.wrapping_add(amount), Ordering::Relaxed);
    }

    /// Overwrites, from the one thread that owns it.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value, from any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker counts. Every packet received ends in exactly one of `transmitted`, `punted`,
/// `handed_over`, `answered` or a drop, or is held for the moment.
#[derive(Debug)]
pub struct WorkerCounters {
    /// Packets from ports.
    pub received: Counter,
    /// Packets from the host interface or made by the control plane.
    pub injected: Counter,
    /// Packets made here: ARP, neighbour discovery and echo replies, ICMP errors.
    pub originated: Counter,
    /// Packets given to a port.
    pub transmitted: Counter,
    /// Packets given to the control plane or the host interface.
    pub punted: Counter,
    /// Packets consumed here: questions of ARP, neighbour discovery and ping that were answered.
    pub answered: Counter,
    /// Packets given to another worker.
    pub handed_over: Counter,
    /// Packets got from another worker.
    pub taken_over: Counter,
    /// Packets that wait for ARP, neighbour discovery or their first fragment at this moment.
    pub held: Counter,
    /// The kernel's number of the worker's thread.
    pub thread: Counter,
    /// NAT sessions it owns at this moment.
    pub sessions: Counter,
    /// Events told to the translation log.
    pub nat_log_events: Counter,
    /// Events it had no room for.
    pub nat_log_lost: Counter,
    /// Events beyond what the engine may tell it in one turn.
    pub nat_log_overrun: Counter,
    /// Turns of the loop.
    pub loops: Counter,
    /// Turns of the loop that found work.
    pub busy_loops: Counter,
    /// Nanoseconds in turns that found work.
    pub busy_ns: Counter,
    /// Nanoseconds in all.
    pub total_ns: Counter,
    drops: [Counter; DropReason::COUNT],
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self {
            received: Counter::default(),
            injected: Counter::default(),
            originated: Counter::default(),
            transmitted: Counter::default(),
            punted: Counter::default(),
            answered: Counter::default(),
            handed_over: Counter::default(),
            taken_over: Counter::default(),
            held: Counter::default(),
            thread: Counter::default(),
            sessions: Counter::default(),
            nat_log_events: Counter::default(),
            nat_log_lost: Counter::default(),
            nat_log_overrun: Counter::default(),
            loops: Counter::default(),
            busy_loops: Counter::default(),
            busy_ns: Counter::default(),
            total_ns: Counter::default(),
            drops: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl WorkerCounters {
    /// Counts a drop.
    #[inline]
    pub fn dropped(&self, reason: DropReason) {
        self.drops[reason as usize].add(1);
    }

    /// Drops for one reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].get()
    }

    /// Drops in all.
    pub fn drops_total(&self) -> u64 {
        self.drops.iter().map(Counter::get).sum()
    }
}

/// Packets and octets through a tunnel segment or interface, both ways. A cache line of its own:
/// each worker writes to its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct TrafficCounters {
    /// Packets that arrived.
    pub rx_packets: Counter,
    /// Octets of IP that arrived.
    pub rx_bytes: Counter,
    /// Packets sent.
    pub tx_packets: Counter,
    /// Octets of IP sent.
    pub tx_bytes: Counter,
}

impl TrafficCounters {
    /// Counts a packet of `bytes` octets that arrived.
    #[inline]
    pub fn received(&self, bytes: usize) {
        self.rx_packets.add(1);
        self.rx_bytes.add(bytes as u64);
    }

    /// Counts `packets` packets of `bytes` octets together that arrived.
    #[inline]
    pub fn received_many(&self, packets: u64, bytes: u64) {
        self.rx_packets.add(packets);
        self.rx_bytes.add(bytes);
    }

    /// Counts `packets` packets of `bytes` octets together that were sent.
    #[inline]
    pub fn sent_many(&self, packets: u64, bytes: u64) {
        self.tx_packets.add(packets);
        self.tx_bytes.add(bytes);
    }

    /// Counts a packet of `bytes` octets that was sent.
    #[inline]
    pub fn sent(&self, bytes: usize) {
        self.tx_packets.add(1);
        self.tx_bytes.add(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_counted_by_reason() {
        let counters = WorkerCounters::default();
        counters.dropped(DropReason::NoRoute);
        counters.dropped(DropReason::NoRoute);
        assert_eq!(counters.drops(DropReason::NoRoute), 2);
        assert_eq!(counters.drops(DropReason::TtlExpired), 0);
        assert_eq!(counters.drops_total(), 2);
    }
}
