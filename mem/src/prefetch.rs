//! Hints that a cache line will be needed soon.

/// Asks for the first line of `value` to be brought close, for reading.
#[inline(always)]
pub fn prefetch_read<T>(value: &T) {
    read_soon(value);
}

/// [`prefetch_read`] of the element of `table` with this number. No bound is checked: beyond the
/// table, what lies there is asked for, if anything does.
#[inline(always)]
pub fn prefetch_element<T>(table: &[T], index: usize) {
    read_soon(table.as_ptr().wrapping_add(index));
}

/// [`prefetch_read`] of whatever may be at an address.
#[inline(always)]
pub(crate) fn read_soon<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on caches, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch has no effect but on caches, whatever the address.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Asks for the first line of `value` to be brought close, to be written.
///
/// Takes a shared reference: nothing is written yet.
#[inline(always)]
pub fn prefetch_write<T>(value: &T) {
    write_soon(value);
}

/// [`prefetch_write`] of whatever may be at an address.
#[inline(always)]
pub(crate) fn write_soon<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on caches, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch has no effect but on caches, whatever the address.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefetch_changes_nothing() {
        let table = crate::HugeSlice::<u64>::new(1 << 20).unwrap();
        for value in table.iter().step_by(8) {
            prefetch_read(value);
            prefetch_write(value);
        }
        for place in [0, 1 << 19, 1 << 20, usize::MAX] {
            table.prefetch_read(place);
            table.prefetch_write(place);
        }
        for index in [0, table.len(), usize::MAX] {
            prefetch_element(&table, index);
        }
        assert!(table.iter().all(|&value| value == 0));
    }
}
