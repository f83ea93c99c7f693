//! Numbers that workers share: those of the machine, or those of a model checker.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// A shared number. Who reads what another has put there by [`Self::swap`] sees all that the other did
/// before.
pub(crate) trait Shared<N> {
    fn read(&self) -> N;

    /// Puts `new` in the place of `old`; what is there if that is something else.
    fn swap(&self, old: N, new: N) -> Result<(), N>;

    /// Counts, which says nothing of anything else.
    fn add(&self, more: N);

    fn subtract(&self, less: N);
}

macro_rules! shared {
    ($($atomic:ty, $number:ty;)+) => {$(
        impl Shared<$number> for $atomic {
            fn read(&self) -> $number {
                self.load(Ordering::Acquire)
            }

            fn swap(&self, old: $number, new: $number) -> Result<(), $number> {
                self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
                    .map(drop)
            }

            fn add(&self, more: $number) {
                self.fetch_add(more, Ordering::Relaxed);
            }

            fn subtract(&self, less: $number) {
                self.fetch_sub(less, Ordering::Relaxed);
            }
        }
    )+};
}

shared! {
    AtomicU16, u16;
    AtomicU32, u32;
}

#[cfg(test)]
shared! {
    loom::sync::atomic::AtomicU16, u16;
    loom::sync::atomic::AtomicU32, u32;
}
