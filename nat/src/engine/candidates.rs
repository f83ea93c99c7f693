//! The sessions of a burst, guessed from the index alone, so that their lines can be asked for together.

use super::{Engine, Probe};

/// Packets of a burst, at most.
const BURST: usize = 64;

/// The session a packet likely has: the first one its index line names. The session itself tells
/// whether it is the one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candidate(u32);

impl Candidate {
    /// No session.
    pub const NONE: Self = Self(0);

    #[inline(always)]
    pub(super) const fn number(self) -> u32 {
        self.0
    }
}

impl Engine {
    /// Tells which sessions the packets of a burst likely have, and brings those close, once the index
    /// lines have arrived. Of more than 64 probes, the rest is not looked at.
    #[inline(never)]
    pub fn prefetch_burst(&self, probes: &[Probe], candidates: &mut [Candidate; BURST]) {
        let mut elsewhere = [0; BURST];
        let mut count = 0;
        for (place, (probe, candidate)) in probes.iter().zip(&mut *candidates).enumerate() {
            if let Some(number) = self.index.first_candidate(probe.hash) {
                *candidate = Candidate(number);
                self.sessions.prefetch_read(number);
            } else {
                *candidate = Candidate::NONE;
                elsewhere[count % BURST] = place as u8;
                count += usize::from(self.index.approach_second(probe.hash));
            }
        }
        for &place in &elsewhere[..count] {
            let place = usize::from(place) % BURST;
            if let Some(number) = self.index.second_candidate(probes[place].hash) {
                candidates[place] = Candidate(number);
                self.sessions.prefetch_read(number);
            }
        }
    }

    /// Asks once more for a session to be brought close.
    ///
    /// A CPU drops such requests when it has many under way. To be called for the packet eight ahead of
    /// the one being translated: that costs 8 clocks when the session is in the cache, and took 45 of 155
    /// off at 1 M sessions.
    #[inline(always)]
    pub fn ask_again(&self, candidate: Candidate) {
        self.sessions.prefetch_read(candidate.0);
    }
}
