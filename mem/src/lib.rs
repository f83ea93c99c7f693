//! Memory for tables: huge-page slices, prefetch, and what tables do with a few instructions.
//!
//! [`HugeSlice`] is a fixed-length slice of zeroed elements mapped straight from the kernel. Pages
//! never touched cost address space only, so a table may be sized for its worst case. Elements are
//! [`Zeroable`]: integers, atomics, arrays of them, and structs declared through
//! [`zeroable_struct!`], which needs no unsafe code in the crate that declares them.
//!
//! # Limitations
//! Huge pages are asked for with `madvise(MADV_HUGEPAGE)`; whether the kernel grants them depends on
//! `/sys/kernel/mm/transparent_hugepage/enabled`. No hugetlbfs, no NUMA binding: memory comes from
//! the node of the thread that first touches it.

mod bits;
#[cfg(all(target_arch = "x86_64", target_feature = "aes"))]
mod hash;
mod huge;
mod pair;
mod prefetch;
mod tags;
mod windows;
mod zeroable;

pub use bits::nth_bit;
#[cfg(all(target_arch = "x86_64", target_feature = "aes"))]
pub use hash::aes_hash;
pub use huge::{HugeSlice, MapError};
pub use pair::load_pair;
pub use prefetch::{prefetch_element, prefetch_read, prefetch_write};
pub use tags::{BUCKET_TAGS, equal_tags};
pub use windows::Windows;
pub use zeroable::Zeroable;
