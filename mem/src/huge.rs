//! A fixed-length slice of zeroed memory on huge pages.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use crate::{Zeroable, prefetch};

/// The size and alignment of a huge page, in octets.
const HUGE_PAGE: usize = 2 << 20;
/// The smallest page of any platform we run on; mappings are at least this aligned.
const SMALL_PAGE: usize = 4096;

/// Why memory could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The size overflows the address space.
    #[error("{len} elements of {size} octets do not fit the address space; ask for fewer")]
    TooLarge {
        /// Elements asked for.
        len: usize,
        /// Octets of each.
        size: usize,
    },
    /// The kernel refused.
    #[error(
        "the kernel refused to map {bytes} octets: {source}; check the address-space limit (ulimit -v) and vm.overcommit_memory"
    )]
    Refused {
        /// Octets asked for.
        bytes: usize,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A fixed-length slice of zero-initialised elements, mapped anonymously without reservation.
///
/// Slices of 2 MiB and more start on a 2 MiB boundary and ask for huge pages. Memory is committed
/// page by page as it is first written (a read of an untouched page may commit it too). Elements
/// are never dropped: [`Zeroable`] types have nothing to drop.
pub struct HugeSlice<T> {
    start: NonNull<T>,
    len: usize,
    /// Octets mapped at `start`; zero when nothing is.
    mapped: usize,
    owns: PhantomData<T>,
}

// SAFETY: the mapping is owned by this value alone, as a `Box<[T]>` owns its memory.
unsafe impl<T: Send> Send for HugeSlice<T> {}
// SAFETY: a shared reference gives out `&[T]` only, as a `Box<[T]>` does.
unsafe impl<T: Sync> Sync for HugeSlice<T> {}

impl<T: Zeroable> HugeSlice<T> {
    /// Maps `len` zeroed elements.
    ///
    /// # Errors
    /// When the size overflows or the kernel refuses the mapping.
    pub fn new(len: usize) -> Result<Self, MapError> {
        const {
            assert!(align_of::<T>() <= SMALL_PAGE, "aligned beyond a page");
        }
        let too_large = MapError::TooLarge {
            len,
            size: size_of::<T>(),
        };
        let Some(bytes) = len
            .checked_mul(size_of::<T>())
            .filter(|&bytes| bytes <= isize::MAX as usize - 2 * HUGE_PAGE)
        else {
            return Err(too_large);
        };
        if bytes == 0 {
            return Ok(Self {
                start: NonNull::dangling(),
                len,
                mapped: 0,
                owns: PhantomData,
            });
        }
        let align = if bytes >= HUGE_PAGE {
            HUGE_PAGE
        } else {
            SMALL_PAGE
        };
        let mapped = bytes.next_multiple_of(align);
        let start = map_aligned(mapped, align)?;
        Ok(Self {
            start: start.cast(),
            len,
            mapped,
            owns: PhantomData,
        })
    }
}

impl<T> HugeSlice<T> {
    /// Octets of address space it takes.
    pub const fn mapped_bytes(&self) -> usize {
        self.mapped
    }

    /// Asks for the first line of an element to be brought close, for reading. Without a look whether
    /// there is such an element: a wrong place costs a line of the cache.
    #[inline(always)]
    pub fn prefetch_read(&self, place: usize) {
        prefetch::read_soon(self.start.as_ptr().wrapping_add(place));
    }

    /// [`Self::prefetch_read`] of an element that will be written.
    #[inline(always)]
    pub fn prefetch_write(&self, place: usize) {
        prefetch::write_soon(self.start.as_ptr().wrapping_add(place));
    }
}

/// Maps `bytes` (a multiple of `align`) zeroed octets at a multiple of `align`.
fn map_aligned(bytes: usize, align: usize) -> Result<NonNull<u8>, MapError> {
    let refused = |source| MapError::Refused { bytes, source };
    let slack = if align > SMALL_PAGE { align } else { 0 };
    // SAFETY: a fresh anonymous private mapping at an address of the kernel's choice touches
    // nothing that exists.
    let raw = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes + slack,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if raw == libc::MAP_FAILED {
        return Err(refused(io::Error::last_os_error()));
    }
    let raw: *mut u8 = raw.cast();
    let head = raw.align_offset(align);
    debug_assert!(head <= slack);
    // SAFETY: `head <= slack` (the mapping is page-aligned, and holds an aligned address within
    // its first `slack` octets), so the result stays inside the mapping.
    let start = unsafe { raw.add(head) };
    // SAFETY: both ranges lie inside the mapping just made, before and after the part kept; nobody
    // has a pointer to them. Their bounds are page-aligned. A failure leaves them mapped, unused.
    unsafe {
        if head > 0 {
            libc::munmap(raw.cast(), head);
        }
        if slack > head {
            libc::munmap(start.add(bytes).cast(), slack - head);
        }
        if align == HUGE_PAGE {
            // Advice only: without huge pages the memory is as good, though slower.
            libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE);
        }
    }
    NonNull::new(start).ok_or_else(|| refused(io::ErrorKind::AddrNotAvailable.into()))
}

impl<T> Deref for HugeSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `start` points to `len` elements (`new` mapped at least `len * size_of::<T>()`
        // octets, or that product is zero and the pointer dangles, aligned), zeroed, which `T:
        // Zeroable` makes valid values; they live until `self` is dropped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for HugeSlice<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `&mut self` makes the reference the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for HugeSlice<T> {
    fn drop(&mut self) {
        if self.mapped > 0 {
            // SAFETY: exactly the part of the mapping that `map_aligned` kept, unmapped once; no
            // reference into it outlives `self`.
            unsafe {
                libc::munmap(self.start.as_ptr().cast(), self.mapped);
            }
        }
    }
}

impl<T> fmt::Debug for HugeSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HugeSlice")
            .field("len", &self.len)
            .field("mapped", &self.mapped)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;

    /// Resident octets of the mapping that starts at `start`, by `/proc/self/smaps`.
    fn resident_kib(start: usize) -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let head = format!("{start:x}-");
        smaps
            .lines()
            .skip_while(|line| !line.starts_with(&head))
            .find_map(|line| line.strip_prefix("Rss:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap()
    }

    #[test]
    fn a_big_table_costs_only_the_pages_it_touches() {
        let table = HugeSlice::<AtomicU64>::new(1 << 33).unwrap();
        table[0].store(1, Ordering::Relaxed);
        table[(1 << 33) - 1].store(2, Ordering::Relaxed);
        assert_eq!(table[1 << 32].load(Ordering::Relaxed), 0);
        let start = table.as_ptr() as usize;
        assert!(start.is_multiple_of(HUGE_PAGE));
        assert!(resident_kib(start) <= 3 * HUGE_PAGE / 1024);
    }

    #[test]
    fn a_table_is_given_back_when_dropped() {
        // 256 TiB in all, twice what the address space of a process holds.
        for _ in 0..256 {
            HugeSlice::<u64>::new(1 << 37).unwrap();
        }
    }

    #[test]
    fn a_size_beyond_the_address_space_is_refused() {
        assert!(matches!(
            HugeSlice::<u64>::new(usize::MAX / 8),
            Err(MapError::TooLarge { .. })
        ));
        assert!(matches!(
            HugeSlice::<u64>::new(usize::MAX),
            Err(MapError::TooLarge { .. })
        ));
        assert!(matches!(
            HugeSlice::<u8>::new(1 << 60),
            Err(MapError::Refused { .. })
        ));
    }

    #[test]
    fn an_empty_slice_is_a_slice() {
        assert!(HugeSlice::<u32>::new(0).unwrap().is_empty());
        assert_eq!(HugeSlice::<[u32; 0]>::new(5).unwrap().len(), 5);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_element_starts_zero_and_keeps_what_is_written(len in 1usize..600_000) {
            let mut table = HugeSlice::<u64>::new(len).unwrap();
            prop_assert_eq!(table.len(), len);
            prop_assert!(table.iter().all(|&x| x == 0));
            for (i, x) in table.iter_mut().enumerate() {
                *x = i as u64;
            }
            prop_assert!(table.iter().enumerate().all(|(i, &x)| x == i as u64));
        }
    }
}
