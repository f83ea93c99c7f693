//! One packet buffer.

use std::fmt;
use std::ptr::NonNull;
use std::slice;

use sekisho_dpdk_sys as sys;

/// One packet, owned: a buffer of a [`Mempool`](crate::Mempool), or a chain of them. Dropping it
/// gives the buffers back.
///
/// The first buffer of the chain holds the headers; [`data`](Self::data) is its part of the
/// packet. All drivers of this crate deliver packets of one buffer.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: an `Mbuf` is the only owner of its chain (reference counts are 1, it is never cloned);
// freeing works from any thread, by the cache of an lcore or, elsewhere, the pool's common ring.
unsafe impl Send for Mbuf {}
// SAFETY: through a shared reference the chain is only read.
unsafe impl Sync for Mbuf {}

/// The packet does not fit into its first buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {length} octets does not fit into one buffer; {room} would")]
pub struct LinearizeError {
    /// The packet's length, in octets.
    pub length: usize,
    /// What the first buffer can hold behind its headroom, in octets.
    pub room: usize,
}

impl Mbuf {
    fn raw(&self) -> &sys::rte_mbuf {
        // SAFETY: points to a live mbuf that only this value (or its borrower) touches.
        unsafe { self.0.as_ref() }
    }

    fn raw_mut(&mut self) -> &mut sys::rte_mbuf {
        // SAFETY: as in `raw`, and `self` is borrowed exclusively.
        unsafe { self.0.as_mut() }
    }

    /// Takes over an mbuf.
    ///
    /// # Safety
    ///
    /// It was allocated from a pool that is still there, its reference count is 1, and nobody else
    /// uses it.
    pub(crate) unsafe fn from_raw(mbuf: NonNull<sys::rte_mbuf>) -> Self {
        Self(mbuf)
    }

    /// Octets of the whole packet.
    #[inline]
    pub fn len(&self) -> usize {
        self.raw().pkt_len as usize
    }

    /// Whether the packet has no octets.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the whole packet lies in the first buffer.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.raw().nb_segs == 1
    }

    /// The part of the packet in the first buffer.
    #[inline]
    pub fn data(&self) -> &[u8] {
        let raw = self.raw();
        // SAFETY: `data_off + data_len <= buf_len` holds for every mbuf a driver delivers and is
        // kept by all methods here; pool memory is initialised (mapped zeroed) and ours alone.
        unsafe { slice::from_raw_parts(first_octet(raw), raw.data_len.into()) }
    }

    /// The part of the packet in the first buffer.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let raw = self.raw_mut();
        // SAFETY: as in `data`; borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(first_octet(raw), raw.data_len.into()) }
    }

    /// Moves the whole packet into the first buffer. Does nothing when it is there already.
    pub fn linearize(&mut self) -> Result<(), LinearizeError> {
        if self.is_contiguous() {
            return Ok(());
        }
        // SAFETY: a chain of which we are the only owner.
        if unsafe { sys::sekisho_mbuf_linearize(self.0.as_ptr()) } == 0 {
            return Ok(());
        }
        let room = usize::from(self.raw().buf_len.saturating_sub(self.raw().data_off));
        Err(LinearizeError {
            length: self.len(),
            room,
        })
    }

    /// Octets free before the packet.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.raw().data_off.into()
    }

    /// Octets free behind the packet, in its last buffer.
    #[inline]
    pub fn tailroom(&self) -> usize {
        tailroom(self.last())
    }

    /// Puts `count` octets before the packet and returns them, their content left as it was;
    /// `None` when the headroom is shorter.
    #[inline]
    pub fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        if count > self.headroom() {
            return None;
        }
        let raw = self.raw_mut();
        raw.data_off -= count as u16;
        raw.data_len += count as u16;
        raw.pkt_len += count as u32;
        Some(&mut self.data_mut()[..count])
    }

    /// Puts `count` octets behind the packet and returns them, their content left as it was;
    /// `None` when the tailroom is shorter.
    #[inline]
    pub fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        if count > self.tailroom() {
            return None;
        }
        self.raw_mut().pkt_len += count as u32;
        let last = self.last_mut();
        let at = usize::from(last.data_len);
        last.data_len += count as u16;
        // SAFETY: the tailroom check keeps `data_off + data_len <= buf_len`; see `data`.
        Some(unsafe { slice::from_raw_parts_mut(first_octet(last).add(at), count) })
    }

    /// Takes `count` octets off the packet's front; `false`, and nothing happens, when the first
    /// buffer holds fewer.
    #[inline]
    pub fn trim_front(&mut self, count: usize) -> bool {
        let raw = self.raw_mut();
        if count > usize::from(raw.data_len) {
            return false;
        }
        raw.data_off += count as u16;
        raw.data_len -= count as u16;
        raw.pkt_len -= count as u32;
        true
    }

    /// Takes `count` octets off the packet's end; `false`, and nothing happens, when the last
    /// buffer holds fewer.
    #[inline]
    pub fn trim_back(&mut self, count: usize) -> bool {
        let last = self.last_mut();
        if count > usize::from(last.data_len) {
            return false;
        }
        last.data_len -= count as u16;
        self.raw_mut().pkt_len -= count as u32;
        true
    }

    /// Makes the packet begin `front` octets further on (before its present start, in the headroom,
    /// if that is negative) and be `len` octets long, and hands it out; `None`, and nothing happens,
    /// when the headroom is shorter, the packet ends before that, or it is not in one buffer.
    #[inline(always)]
    pub fn reframe(&mut self, front: i32, len: u32) -> Option<&mut [u8]> {
        let raw = self.raw_mut();
        let offset = i32::from(raw.data_off);
        let start = offset.wrapping_add(front);
        let room = (offset + i32::from(raw.data_len)).wrapping_sub(start);
        if (start < 0) | (room < 0) | (raw.nb_segs != 1) || len > room as u32 {
            return None;
        }
        raw.data_off = start as u16;
        raw.data_len = len as u16;
        raw.pkt_len = len;
        // SAFETY: `0 <= start` and `start + len` is at most where the packet ended; see `data`.
        Some(unsafe {
            let first = raw.buf_addr.cast::<u8>().add(start as usize);
            slice::from_raw_parts_mut(first, len as usize)
        })
    }

    /// Asks the CPU to bring the packet's bookkeeping (lengths and offsets) near.
    #[inline]
    pub fn prefetch_header(&self) {
        prefetch(self.0.as_ptr().cast());
    }

    /// Asks the CPU to bring the first 64 octets of the packet near.
    #[inline]
    pub fn prefetch_data(&self) {
        prefetch(first_octet(self.raw()));
    }

    /// Asks the CPU to bring the 64 octets from `offset` on near, which may lie before the packet
    /// (in the headroom) or behind it.
    #[inline(always)]
    pub fn prefetch_at(&self, offset: isize) {
        prefetch(first_octet(self.raw()).wrapping_offset(offset));
    }

    /// [`Self::prefetch_at`] of octets that will be written.
    #[inline(always)]
    pub fn prefetch_write_at(&self, offset: isize) {
        let address = first_octet(self.raw()).wrapping_offset(offset);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint; any address is allowed.
        unsafe {
            use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_ET0>(address.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }

    /// The last buffer of the chain.
    fn last_raw(&self) -> NonNull<sys::rte_mbuf> {
        let mut last = self.0;
        // SAFETY: the chain ends in a null pointer and belongs to us alone.
        while let Some(next) = NonNull::new(unsafe { last.as_ref().next }) {
            last = next;
        }
        last
    }

    fn last(&self) -> &sys::rte_mbuf {
        // SAFETY: a buffer of our own chain.
        unsafe { self.last_raw().as_ref() }
    }

    fn last_mut(&mut self) -> &mut sys::rte_mbuf {
        // SAFETY: a buffer of our own chain; `self` is borrowed exclusively.
        unsafe { self.last_raw().as_mut() }
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: owned, and not used again.
        unsafe { sys::sekisho_mbuf_free(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("len", &self.len())
            .field("buffers", &self.raw().nb_segs)
            .finish()
    }
}

#[inline]
fn first_octet(raw: &sys::rte_mbuf) -> *mut u8 {
    // SAFETY: `data_off <= buf_len`, so it stays within (or one past) the buffer.
    unsafe { raw.buf_addr.cast::<u8>().add(raw.data_off.into()) }
}

#[inline]
fn tailroom(raw: &sys::rte_mbuf) -> usize {
    usize::from(raw.buf_len).saturating_sub(usize::from(raw.data_off) + usize::from(raw.data_len))
}

#[inline]
fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; any address is allowed.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
