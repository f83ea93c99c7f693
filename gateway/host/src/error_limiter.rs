//! How many ICMP errors a worker may send for each VRF.

use std::hash::{BuildHasher, RandomState};

use sekisho_types::VrfId;

/// Length of a window, in nanoseconds.
const WINDOW_NS: u64 = 50_000_000;
/// Windows in a second.
const WINDOWS_PER_SECOND: u32 = 20;

/// Limits ICMP errors with one budget per VRF, renewed every 50 ms.
///
/// A fixed budget can be counted from outside: whoever fills it up learns from the missing answer
/// which ports are open (SAD DNS, CVE-2020-25705). So a VRF's budget is drawn anew for each window,
/// evenly from half to one and a half of the mean, by a keyed hash nobody outside can predict; and no
/// VRF's errors are counted against another's budget.
#[derive(Clone, Debug)]
pub struct ErrorLimiter {
    mean_per_window: u32,
    key: RandomState,
    vrfs: Box<[Budget]>,
}

#[derive(Clone, Copy, Debug)]
struct Budget {
    window: u64,
    left: u32,
}

impl Budget {
    /// Of no window there will be.
    const UNUSED: Self = Self {
        window: u64::MAX,
        left: 0,
    };
}

impl ErrorLimiter {
    /// Errors per second and VRF that [`ErrorLimiter::default`] admits on average, as Linux does.
    pub const DEFAULT_RATE: u32 = 1_000;
    /// VRFs that [`ErrorLimiter::default`] has room for.
    pub const DEFAULT_VRFS: usize = 16_384;

    /// A limiter for VRF ids below `vrfs` (16 octets each) that admits `rate` errors per second for
    /// each of them on average; at least 20.
    pub fn new(vrfs: usize, rate: u32) -> Self {
        Self {
            mean_per_window: (rate / WINDOWS_PER_SECOND).max(1),
            key: RandomState::new(),
            vrfs: vec![Budget::UNUSED; vrfs].into(),
        }
    }

    /// Whether one more error may be sent for `vrf` now. Never, for a VRF there is no room for.
    pub fn admit(&mut self, now_ns: u64, vrf: VrfId) -> bool {
        let Some(budget) = self.vrfs.get_mut(vrf.index()) else {
            return false;
        };
        let window = now_ns / WINDOW_NS;
        if budget.window != window {
            let mean = self.mean_per_window;
            let span = u64::from(mean) + 1;
            let draw = self.key.hash_one((vrf.value(), window)) % span;
            *budget = Budget {
                window,
                left: mean - mean / 2 + draw as u32,
            };
        }
        let admitted = budget.left > 0;
        budget.left = budget.left.saturating_sub(1);
        admitted
    }
}

impl Default for ErrorLimiter {
    fn default() -> Self {
        Self::new(Self::DEFAULT_VRFS, Self::DEFAULT_RATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn spend(limiter: &mut ErrorLimiter, now: u64, vrf: VrfId) -> u32 {
        (0..10_000).filter(|_| limiter.admit(now, vrf)).count() as u32
    }

    #[test]
    fn budgets_vary_unpredictably_around_the_rate() {
        let mut limiter = ErrorLimiter::new(2, 1_000);
        let mut twin = ErrorLimiter::new(2, 1_000);
        let vrf = VrfId::new(1);
        let windows = 0..2_000;
        let budgets: Vec<u32> = windows
            .clone()
            .map(|window| spend(&mut limiter, window * WINDOW_NS, vrf))
            .collect();
        let others: Vec<u32> = windows
            .map(|window| spend(&mut twin, window * WINDOW_NS, vrf))
            .collect();
        assert_ne!(budgets, others, "two gateways draw differently");
        assert!(budgets.iter().all(|budget| (25..=75).contains(budget)));
        let distinct: BTreeSet<_> = budgets.iter().collect();
        assert!(distinct.len() > 40, "{distinct:?}");
        let mean = budgets.iter().sum::<u32>() / budgets.len() as u32;
        assert!((48..=52).contains(&mean), "{mean}");
    }

    #[test]
    fn one_vrf_does_not_spend_what_another_has() {
        let mut limiter = ErrorLimiter::new(2, 1_000);
        assert!(spend(&mut limiter, 0, VrfId::new(0)) >= 25);
        assert!(limiter.admit(0, VrfId::new(1)));
        assert!(!limiter.admit(0, VrfId::new(0)));
        assert!(limiter.admit(WINDOW_NS, VrfId::new(0)));
    }

    #[test]
    fn extremes_are_survived() {
        let mut slow = ErrorLimiter::new(1, 0);
        assert!(slow.admit(u64::MAX, VrfId::PROVIDER));
        assert!(!slow.admit(0, VrfId::new(7)), "there is no room for VRF 7");
        assert!(ErrorLimiter::new(1, u32::MAX).admit(0, VrfId::PROVIDER));
    }
}
