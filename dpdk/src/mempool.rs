//! Pools of packet buffers.

use std::ffi::{CString, c_int};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use sekisho_dpdk_sys as sys;

use crate::burst::Burst;
use crate::eal::Eal;
use crate::mbuf::Mbuf;
use crate::{error_text, last_error};

/// Tolerates that a thread is taken off its CPU amid an operation, as happens when workers share
/// CPUs: the others go on instead of spinning until it is back.
const RING: &std::ffi::CStr = c"ring_mt_rts";
const ANY_SOCKET: c_int = -1;

/// How to make a [`Mempool`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MempoolOptions {
    /// A name, unique in the process; at most 25 octets.
    pub name: String,
    /// Buffers in all. One less than a power of two wastes the least memory.
    pub count: u32,
    /// Buffers an lcore keeps for itself; at most 512, and 1.5 times it at most `count`.
    pub cache: u32,
    /// Octets of one buffer, [`Mempool::HEADROOM`] included;
    /// see [`PortOptions::data_room`](crate::PortOptions::data_room).
    pub data_room: u16,
    /// The NUMA node; any by default.
    pub numa_node: Option<u16>,
}

impl MempoolOptions {
    /// `count` buffers for packets up to 2048 octets, with a cache per lcore of 256 (or fewer for
    /// a small pool).
    pub fn new(name: &str, count: u32) -> Self {
        Self {
            name: name.to_owned(),
            count,
            cache: (count / 2).min(256),
            data_room: Mempool::HEADROOM + 2048,
            numa_node: None,
        }
    }
}

/// Why there is no pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MempoolError {
    /// The name cannot be used.
    #[error("{0:?} cannot name a buffer pool; use 1 to 25 octets without NUL")]
    Name(String),
    /// DPDK refused.
    #[error(
        "no buffer pool {name:?} of {count} buffers of {data_room} octets ({reason}); \
         is gateway.memory-mib large enough, and the name unused?"
    )]
    Refused {
        /// Its name.
        name: String,
        /// Buffers asked for.
        count: u32,
        /// Octets of each.
        data_room: u16,
        /// What DPDK says.
        reason: String,
    },
}

/// A pool of packet buffers. Clones are the same pool.
///
/// It is freed when its last clone, and every port that receives into it, is gone and all its
/// buffers came back. Should buffers still be out then, the pool (and EAL) stays until the process
/// ends, rather than being pulled from under them.
#[derive(Clone, Debug)]
pub struct Mempool(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    raw: NonNull<sys::rte_mempool>,
    name: String,
    count: u32,
    data_room: u16,
    /// Declared last: the pool's memory is EAL's. `None` only after `drop` has given it away.
    eal: Option<Eal>,
}

// SAFETY: all functions of a mempool but its destruction may be called from any thread at once.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Mempool {
    /// Octets left free before a packet that is received or allocated.
    pub const HEADROOM: u16 = sys::RTE_PKTMBUF_HEADROOM as u16;

    /// Allocates a pool.
    pub fn new(eal: &Eal, options: &MempoolOptions) -> Result<Self, MempoolError> {
        let name = CString::new(options.name.as_str())
            .ok()
            .filter(|name| (1..=25).contains(&name.as_bytes().len()))
            .ok_or_else(|| MempoolError::Name(options.name.clone()))?;
        // SAFETY: EAL is up; both texts are NUL-terminated and copied.
        let raw = unsafe {
            sys::rte_pktmbuf_pool_create_by_ops(
                name.as_ptr(),
                options.count,
                options.cache,
                0,
                options.data_room,
                options.numa_node.map_or(ANY_SOCKET, c_int::from),
                RING.as_ptr(),
            )
        };
        let raw = NonNull::new(raw).ok_or_else(|| MempoolError::Refused {
            name: options.name.clone(),
            count: options.count,
            data_room: options.data_room,
            reason: error_text(last_error()),
        })?;
        Ok(Self(Arc::new(Pool {
            raw,
            name: options.name.clone(),
            count: options.count,
            data_room: options.data_room,
            eal: Some(eal.clone()),
        })))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Buffers in all.
    pub fn count(&self) -> usize {
        self.0.count as usize
    }

    /// Octets of one buffer, headroom included.
    pub fn data_room(&self) -> u16 {
        self.0.data_room
    }

    /// Buffers that are free now, those in the caches of lcores included. Exact only while nobody
    /// else uses the pool.
    pub fn free_count(&self) -> usize {
        self.0.free_count() as usize
    }

    /// An empty packet; `None` when no buffer is free.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        let mut raw = ptr::null_mut();
        // SAFETY: a live pool, and room for one pointer.
        let failed = unsafe { sys::sekisho_mbuf_alloc_bulk(self.0.raw.as_ptr(), &mut raw, 1) };
        if failed != 0 {
            return None;
        }
        // SAFETY: freshly allocated, reset, with a reference count of 1.
        NonNull::new(raw).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    /// Appends `count` empty packets to `burst`: all of them, or, when so many are not free or do
    /// not fit, none (`false`).
    #[inline]
    pub fn alloc_bulk(&self, burst: &mut Burst, count: usize) -> bool {
        if count > burst.room() {
            return false;
        }
        // SAFETY: a live pool; the burst has room for `count` pointers, and owns them once they
        // were written.
        unsafe {
            let spare = burst.spare_ptr();
            if sys::sekisho_mbuf_alloc_bulk(self.0.raw.as_ptr(), spare, count as u32) != 0 {
                return false;
            }
            burst.adopt(count);
        }
        true
    }

    /// Whether all buffers lie in one piece of memory.
    pub(crate) fn is_contiguous(&self) -> bool {
        // SAFETY: a live pool.
        unsafe { sys::sekisho_mempool_pieces(self.0.raw.as_ptr()) == 1 }
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.0.raw.as_ptr()
    }
}

impl Pool {
    fn free_count(&self) -> u32 {
        // SAFETY: a live pool.
        unsafe { sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.free_count() == self.count {
            // SAFETY: no handle and no port allocates from it any more, and all buffers are back,
            // so nobody can reach it.
            unsafe { sys::rte_mempool_free(self.raw.as_ptr()) };
        } else {
            std::mem::forget(self.eal.take());
        }
    }
}
