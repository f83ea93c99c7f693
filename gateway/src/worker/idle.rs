//! What a worker does when there is nothing to do. A core that also serves the kernel's network
//! stack must not be polled without pause (the peer would starve), a dedicated one should.

use std::time::Duration;

/// Polls that find nothing before the first pause.
const PATIENCE: u32 = 256;
const SHORTEST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_micros(200);

/// Grows its pauses while there is nothing to do, and ends them with the first packet.
#[derive(Debug)]
pub(super) struct Idle {
    adaptive: bool,
    empty_polls: u32,
    pause: Duration,
}

impl Idle {
    /// `adaptive`: pause at all; otherwise poll for ever.
    pub(super) fn new(adaptive: bool) -> Self {
        Self {
            adaptive,
            empty_polls: 0,
            pause: SHORTEST,
        }
    }

    /// Something was found.
    pub(super) fn busy(&mut self) {
        self.empty_polls = 0;
        self.pause = SHORTEST;
    }

    /// Nothing was found: how long to pause before the next poll, if at all.
    pub(super) fn empty(&mut self) -> Option<Duration> {
        if !self.adaptive {
            return None;
        }
        self.empty_polls = self.empty_polls.saturating_add(1);
        if self.empty_polls < PATIENCE {
            return None;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_start_late_grow_and_end_with_work() {
        let mut idle = Idle::new(true);
        assert!((1..PATIENCE).all(|_| idle.empty().is_none()));
        assert_eq!(idle.empty(), Some(SHORTEST));
        assert_eq!(idle.empty(), Some(SHORTEST * 2));
        for _ in 0..10 {
            idle.empty();
        }
        assert_eq!(idle.empty(), Some(LONGEST));
        idle.busy();
        assert_eq!(idle.empty(), None);
    }

    #[test]
    fn a_dedicated_core_never_pauses() {
        let mut idle = Idle::new(false);
        assert!((0..10 * PATIENCE).all(|_| idle.empty().is_none()));
    }
}
