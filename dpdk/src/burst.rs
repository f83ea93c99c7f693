//! A burst: up to 64 owned packets.

use std::ops::{Deref, DerefMut};

use arrayvec::{ArrayVec, CapacityError};
use sekisho_dpdk_sys as sys;

use crate::mbuf::Mbuf;

/// Up to [`Burst::CAPACITY`] packets, in order. Dropping or clearing it frees them in bulk.
#[derive(Debug, Default)]
pub struct Burst(ArrayVec<Mbuf, { Burst::CAPACITY }>);

impl Burst {
    /// Most packets it can hold.
    pub const CAPACITY: usize = 64;

    /// An empty burst.
    pub fn new() -> Self {
        Self(ArrayVec::new())
    }

    /// How many more packets fit.
    pub fn room(&self) -> usize {
        self.0.remaining_capacity()
    }

    /// Whether no packet fits any more.
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// Appends a packet, or gives it back when the burst is full.
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        self.0.try_push(mbuf).map_err(CapacityError::element)
    }

    /// Takes the last packet.
    pub fn pop(&mut self) -> Option<Mbuf> {
        self.0.pop()
    }

    /// Takes the packet at `index` and puts the last one in its place.
    pub fn swap_pop(&mut self, index: usize) -> Option<Mbuf> {
        self.0.swap_pop(index)
    }

    /// Takes all packets, in order; those the iterator did not hand out are freed.
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = Mbuf> + '_ {
        self.0.drain(..)
    }

    /// Frees all packets.
    pub fn clear(&mut self) {
        let count = self.0.len() as u32;
        if count == 0 {
            return;
        }
        // SAFETY: `Mbuf` is a transparent non-null pointer to an mbuf, of which this burst owns
        // `count`; `release_all` has made it forget them, so that none is freed a second time.
        unsafe {
            let mbufs = self.as_mut_ptr();
            self.release_all();
            sys::rte_pktmbuf_free_bulk(mbufs, count);
        }
    }

    /// Where the driver finds the packets.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut *mut sys::rte_mbuf {
        self.0.as_mut_ptr().cast()
    }

    /// Where the driver may write further packets, up to [`room`](Self::room).
    pub(crate) fn spare_ptr(&mut self) -> *mut *mut sys::rte_mbuf {
        // SAFETY: the length is at most the capacity, so it stays within the array.
        unsafe { self.as_mut_ptr().add(self.0.len()) }
    }

    /// Takes over `count` packets that were written at [`spare_ptr`](Self::spare_ptr).
    ///
    /// # Safety
    ///
    /// `count` is at most [`room`](Self::room), and that many valid mbufs, owned by nobody else,
    /// were written there.
    pub(crate) unsafe fn adopt(&mut self, count: usize) {
        let length = self.0.len() + count;
        debug_assert!(length <= Self::CAPACITY);
        // SAFETY: the caller's contract.
        unsafe { self.0.set_len(length) };
    }

    /// Forgets the first `count` packets, which somebody else now owns; the rest moves up.
    ///
    /// # Safety
    ///
    /// `count` is at most the length, and another owner has taken exactly those packets.
    pub(crate) unsafe fn release_front(&mut self, count: usize) {
        let rest = self.0.len() - count;
        let base = self.0.as_mut_ptr();
        // SAFETY: both ranges lie within the initialised part of the array. The packets before
        // `count` are not ours any more, so overwriting them without a drop is right; those after
        // the new length are bitwise duplicates of moved ones.
        unsafe {
            self.0.set_len(0);
            std::ptr::copy(base.add(count), base, rest);
            self.0.set_len(rest);
        }
    }

    /// Forgets all packets.
    ///
    /// # Safety
    ///
    /// As for [`release_front`](Self::release_front), for all of them.
    unsafe fn release_all(&mut self) {
        // SAFETY: shorter is always initialised; the caller owns what is forgotten.
        unsafe { self.0.set_len(0) };
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Deref for Burst {
    type Target = [Mbuf];

    fn deref(&self) -> &[Mbuf] {
        &self.0
    }
}

impl DerefMut for Burst {
    fn deref_mut(&mut self) -> &mut [Mbuf] {
        &mut self.0
    }
}

/// Appends packets; those beyond the capacity are freed.
impl Extend<Mbuf> for Burst {
    fn extend<T: IntoIterator<Item = Mbuf>>(&mut self, mbufs: T) {
        for mbuf in mbufs {
            let _ = self.push(mbuf);
        }
    }
}
