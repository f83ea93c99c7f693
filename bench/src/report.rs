//! What was measured.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::options::Options;

/// One figure, as it stands in the JSON.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    /// The row.
    pub(crate) bench: String,
    /// What the figure was measured with: `sessions`, `routes`, `live`, `tenants`, `workers`,
    /// `protocol`, `mix`, ...
    pub(crate) params: BTreeMap<String, serde_json::Value>,
    /// What was measured.
    pub(crate) metric: Metric,
    /// Its unit.
    pub(crate) unit: String,
    /// The median of all repetitions.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The most.
    pub(crate) max: f64,
    /// Who was measured; `None` for us.
    pub(crate) comparator: Option<String>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// TSC clocks from parsing to the transmit queue.
    PipelineClocksPerPacket,
    /// TSC clocks with the generator and the freeing of packets.
    LoopClocksPerPacket,
    /// Events in a second.
    RatePerSecond,
    /// Octets for each entry of a table.
    BytesPerEntry,
    /// Time.
    Nanoseconds,
}

impl Metric {
    const fn unit(self) -> &'static str {
        match self {
            Self::PipelineClocksPerPacket | Self::LoopClocksPerPacket => "clocks",
            Self::RatePerSecond => "1/s",
            Self::BytesPerEntry => "B",
            Self::Nanoseconds => "ns",
        }
    }
}

/// Everything measured in one run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    measurements: Vec<Measurement>,
}

impl Report {
    /// Adds a figure of ours: the median of `samples` with their spread.
    pub(crate) fn ours(
        &mut self,
        bench: &str,
        params: &[(&str, serde_json::Value)],
        metric: Metric,
        samples: &[f64],
    ) {
        self.add(bench, params, metric, samples, None);
    }

    /// Adds a figure of a comparator.
    pub(crate) fn add(
        &mut self,
        bench: &str,
        params: &[(&str, serde_json::Value)],
        metric: Metric,
        samples: &[f64],
        comparator: Option<&str>,
    ) {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            return;
        };
        let params = params
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()));
        let measurement = Measurement {
            bench: bench.to_owned(),
            params: params.collect(),
            metric,
            unit: metric.unit().to_owned(),
            median: median(&sorted),
            min,
            max,
            comparator: comparator.map(str::to_owned),
        };
        println!("{measurement:?}");
        self.measurements.push(measurement);
    }

    /// Writes what was asked for.
    pub(crate) fn finish(&self, options: &Options) -> Result<()> {
        if let Some(file) = &options.json {
            let text = serde_json::to_string_pretty(&self.measurements)?;
            std::fs::write(file, text)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}
