//! Queues: where bursts come in and go out.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use sekisho_dpdk_sys as sys;

use super::handle::Attached;
use crate::burst::Burst;

/// One receive queue. It moves between threads, but only its owner polls it.
#[derive(Debug)]
pub struct RxQueue(Queue);

/// One transmit queue. It moves between threads, but only its owner sends on it.
#[derive(Debug)]
pub struct TxQueue(Queue);

#[derive(Debug)]
struct Queue {
    port: u16,
    number: u16,
    /// Keeps the port started.
    attached: Arc<Attached>,
    /// Queues are not to be shared, not even behind `&`.
    _not_sync: PhantomData<Cell<()>>,
}

impl Queue {
    fn new(attached: &Arc<Attached>, number: u16) -> Self {
        let attached = Arc::clone(attached);
        Self {
            port: attached.id(),
            number,
            attached,
            _not_sync: PhantomData,
        }
    }
}

impl RxQueue {
    pub(super) fn new(attached: &Arc<Attached>, number: u16) -> Self {
        Self(Queue::new(attached, number))
    }

    /// Its number in the port, from 0.
    pub fn number(&self) -> u16 {
        self.0.number
    }

    /// The name of its port.
    pub fn port(&self) -> &str {
        self.0.attached.name()
    }

    /// Appends what has arrived, as far as the burst has room; tells how many packets.
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        let room = burst.room();
        if room == 0 {
            return 0;
        }
        // SAFETY: the port is started as long as `attached` lives, and this is the only handle of
        // the queue; the driver writes at most `room` mbufs and gives them to us.
        unsafe {
            let spare = burst.spare_ptr();
            let count = sys::sekisho_rx_burst(self.0.port, self.0.number, spare, room as u16);
            burst.adopt(count.into());
            count.into()
        }
    }
}

impl TxQueue {
    pub(super) fn new(attached: &Arc<Attached>, number: u16) -> Self {
        Self(Queue::new(attached, number))
    }

    /// Its number in the port, from 0.
    pub fn number(&self) -> u16 {
        self.0.number
    }

    /// The name of its port.
    pub fn port(&self) -> &str {
        self.0.attached.name()
    }

    /// Sends the burst from its front; tells how many packets the driver took. The others stay in
    /// the burst, in order: try again, or clear it and count them as dropped.
    ///
    /// A TAP stops at a frame longer than its MTU allows, and at any the kernel refuses: the same
    /// packet would stop it again. A packet port takes and frees a frame that is too long.
    #[inline]
    pub fn transmit(&mut self, burst: &mut Burst) -> usize {
        let count = burst.len() as u16;
        if count == 0 {
            return 0;
        }
        // SAFETY: the port is started as long as `attached` lives, and this is the only handle of
        // the queue; the driver owns exactly the mbufs it says it took, which are the first.
        unsafe {
            let first = burst.as_mut_ptr();
            let taken = sys::sekisho_tx_burst(self.0.port, self.0.number, first, count).min(count);
            burst.release_front(taken.into());
            taken.into()
        }
    }
}
