//! The time-stamp counter.

/// The time-stamp counter of this CPU, in ticks of [`Eal::tsc_hz`](crate::Eal::tsc_hz) per second.
#[inline]
pub fn rdtsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has the instruction; it has no preconditions.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: reads a CPU counter; no preconditions.
    unsafe {
        sekisho_dpdk_sys::sekisho_tsc()
    }
}
