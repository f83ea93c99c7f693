//! Where the clocks go, stage by stage: measured when built with the feature `stage-clocks`, nothing
//! otherwise.

/// The stages of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Frames and their IP headers.
    Frames,
    /// What is in tunnels.
    Tunnels,
    /// Keys and hashes of flows, index lines on their way.
    Keys,
    /// Tables, of what came out of tunnels.
    OutwardTables,
    /// Session lines on their way, of what came out of tunnels.
    OutwardPrefetch,
    /// Endpoint check, of what came out of tunnels.
    OutwardCheck,
    /// Sessions, of what came out of tunnels.
    OutwardSessions,
    /// Tables, of what came from uplinks.
    InwardTables,
    /// Keys, and session lines on their way, of what came from uplinks.
    InwardPrefetch,
    /// Sessions and tenants' tables, of what came from uplinks.
    InwardSessions,
    /// Endpoints or next hops, of what came from uplinks.
    InwardEndpoints,
    /// Frames and headers with IPv6.
    SixFrames,
    /// Ways of what carries IPv6.
    SixWays,
    /// Rewrite of what leaves by a wire as it is.
    Leave,
    /// The wires to VTEPs.
    TunnelTables,
    /// Rewrite and outer headers of what goes into a tunnel.
    Encapsulate,
    /// Transmit queues.
    Emit,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 17] = [
        Self::Frames,
        Self::Tunnels,
        Self::Keys,
        Self::OutwardTables,
        Self::OutwardPrefetch,
        Self::OutwardCheck,
        Self::OutwardSessions,
        Self::InwardTables,
        Self::InwardPrefetch,
        Self::InwardSessions,
        Self::InwardEndpoints,
        Self::SixFrames,
        Self::SixWays,
        Self::Leave,
        Self::TunnelTables,
        Self::Encapsulate,
        Self::Emit,
    ];
}

/// Bursts the median is of.
#[cfg(feature = "stage-clocks")]
const SAMPLES: usize = 1024;

/// TSC clocks of each stage in the latest bursts.
#[derive(Debug, Default)]
pub struct StageClocks {
    #[cfg(feature = "stage-clocks")]
    last: u64,
    /// By stage; the place of the next one.
    #[cfg(feature = "stage-clocks")]
    samples: [(Vec<u32>, usize); Stage::ALL.len()],
}

impl StageClocks {
    /// A burst begins.
    #[inline(always)]
    pub(super) fn begin(&mut self) {
        #[cfg(feature = "stage-clocks")]
        {
            self.last = sekisho_dpdk::rdtsc();
        }
    }

    /// A stage ends.
    #[inline(always)]
    pub(super) fn end(&mut self, stage: Stage) {
        #[cfg(feature = "stage-clocks")]
        {
            let now = sekisho_dpdk::rdtsc();
            let (samples, next) = &mut self.samples[stage as usize];
            samples.resize(SAMPLES, 0);
            samples[*next] = (now - self.last) as u32;
            *next = (*next + 1) % SAMPLES;
            self.last = sekisho_dpdk::rdtsc();
        }
        #[cfg(not(feature = "stage-clocks"))]
        let _ = stage;
    }

    /// The median of each stage that ran, in clocks per burst; none unless built to measure.
    pub fn medians(&self) -> Vec<(Stage, u32)> {
        #[cfg(feature = "stage-clocks")]
        {
            let median = |(samples, _): &(Vec<u32>, usize)| {
                let mut samples = samples.clone();
                samples.sort_unstable();
                samples.get(SAMPLES / 2).copied()
            };
            let stages = Stage::ALL.into_iter().zip(&self.samples);
            return stages
                .filter_map(|(stage, samples)| Some((stage, median(samples)?)))
                .collect();
        }
        #[cfg(not(feature = "stage-clocks"))]
        Vec::new()
    }
}
