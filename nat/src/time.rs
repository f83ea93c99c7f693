//! Time as the engine counts it.

use std::time::Duration;

/// Milliseconds since some start that all callers of an engine agree on. Wraps after 49 days;
/// differences are right as long as every session is looked at once in 24 days, which aging does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time(u32);

impl Time {
    /// From milliseconds since the start; the excess over 32 bits is cut off.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis as u32)
    }

    /// From nanoseconds since the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self::from_millis(nanos / 1_000_000)
    }

    /// The time `duration` later.
    pub const fn after(self, duration: Duration) -> Self {
        Self(self.0.wrapping_add(duration.as_millis() as u32))
    }

    /// Milliseconds from `earlier` until now; zero if `earlier` is in the future.
    pub(crate) const fn since(self, earlier: Self) -> u32 {
        let passed = self.0.wrapping_sub(earlier.0);
        if passed as i32 >= 0 { passed } else { 0 }
    }

    /// Milliseconds from `earlier`, which is in the past, until now.
    pub(crate) const fn passed_since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    pub(crate) const fn raw(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_survive_the_wrap() {
        let before = Time::from_millis(u64::from(u32::MAX) - 10);
        let after = before.after(Duration::from_millis(100));
        assert_eq!(after.since(before), 100);
        assert_eq!(before.since(after), 0);
    }
}
