//! Pauses that grow and never march in step.

use std::time::Duration;

/// Pauses between attempts: they double from a first value to two minutes, each shortened by up to
/// a quarter at random (RFC 4271 section 10).
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    failures: u32,
    random: u64,
}

impl Backoff {
    const LONGEST: Duration = Duration::from_secs(120);

    /// Starts at `first`; `seed` makes its jitter differ from others'.
    pub fn new(first: Duration, seed: u64) -> Self {
        Self {
            first,
            failures: 0,
            random: seed | 1,
        }
    }

    /// Forgets past failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure.
    pub fn next_pause(&mut self) -> Duration {
        let longest = Self::LONGEST.max(self.first);
        let pause = self.first.saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        self.jitter(pause.min(longest))
    }

    /// `interval`, shortened by up to a quarter.
    pub fn jitter(&mut self, interval: Duration) -> Duration {
        // xorshift64 (Marsaglia): evenness is enough, nobody gains by guessing it.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let per_mille = 750 + u32::try_from(self.random % 251).unwrap_or(0);
        interval * per_mille / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_two_minutes_with_a_jitter_of_a_quarter() {
        let mut backoff = Backoff::new(Duration::from_secs(1), 42);
        let mut expected = 1.0;
        for _ in 0..40 {
            let pause = backoff.next_pause().as_secs_f64();
            assert!(
                pause <= expected && pause >= expected * 0.749,
                "{pause} of {expected}"
            );
            expected = f64::min(expected * 2.0, 120.0);
        }
        backoff.reset();
        assert!(backoff.next_pause() <= Duration::from_secs(1));
    }

    #[test]
    fn jitter_spreads() {
        let mut backoff = Backoff::new(Duration::from_secs(1), 7);
        let drawn: std::collections::BTreeSet<_> = (0..100)
            .map(|_| backoff.jitter(Duration::from_secs(1)))
            .collect();
        assert!(drawn.len() > 50);
    }
}
