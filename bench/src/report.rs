//! What was measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::machine::Machine;
use crate::options::Options;
use crate::plot;
use crate::table;

/// One figure, as it stands in the JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// The row.
    pub(crate) bench: String,
    /// What the figure was measured with: `sessions`, `routes`, `live`, `tenants`, `workers`,
    /// `protocol`, `mix`, ...
    pub(crate) params: BTreeMap<String, Value>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// TSC clocks from parsing to the transmit queue.
    PipelineClocksPerPacket,
    /// TSC clocks of the whole loop: for us with the generator and the freeing of packets, for a
    /// comparator with its receiving and transmitting.
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

    /// What it is, for people.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::PipelineClocksPerPacket => "clocks/packet, pipeline",
            Self::LoopClocksPerPacket => "clocks/packet, whole loop",
            Self::RatePerSecond => "rate",
            Self::BytesPerEntry => "octets/entry",
            Self::Nanoseconds => "time",
        }
    }

    /// Whether it counts clocks.
    pub(crate) const fn is_clocks(self) -> bool {
        matches!(
            self,
            Self::PipelineClocksPerPacket | Self::LoopClocksPerPacket
        )
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
        params: &[(&str, Value)],
        metric: Metric,
        samples: &[f64],
    ) {
        self.add(bench, params, metric, samples, None);
    }

    /// Adds a figure of a comparator, which stands beside every figure of ours of the same row and
    /// metric whose params include the comparator's; tells it as progress.
    pub(crate) fn add(
        &mut self,
        bench: &str,
        params: &[(&str, Value)],
        metric: Metric,
        samples: &[f64],
        comparator: Option<&str>,
    ) {
        let Some(Spread { median, min, max }) = Spread::of(samples) else {
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
            median,
            min,
            max,
            comparator: comparator.map(str::to_owned),
        };
        println!("{}", table::progress(&measurement));
        self.measurements.push(measurement);
    }

    /// Writes all figures as JSON.
    pub(crate) fn write_json(&self, file: &Path) -> Result<()> {
        write(file, &serde_json::to_string_pretty(&self.measurements)?)
    }

    /// Adds what another process wrote by [`Self::write_json`].
    pub(crate) fn read_json(&mut self, file: &Path) -> Result<()> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut measurements: Vec<Measurement> = serde_json::from_str(&text)?;
        self.measurements.append(&mut measurements);
        Ok(())
    }

    /// Prints the table, draws the plots, and writes what was asked for.
    pub(crate) fn finish(&self, options: &Options, machine: &Machine) -> Result<()> {
        if self.measurements.is_empty() {
            return Ok(());
        }
        print!("\n{}", table::text(&self.measurements));
        if let Some(file) = &options.json {
            self.write_json(file)?;
        }
        if let Some(file) = &options.markdown {
            let table = table::markdown(&self.measurements);
            write(file, &format!("{}\n{table}", machine.markdown()))?;
        }
        self.draw(options)
    }

    /// Draws the plots.
    pub(crate) fn draw(&self, options: &Options) -> Result<()> {
        for file in plot::draw_all(&options.plots, &self.measurements)? {
            println!("plot: {}", file.display());
        }
        Ok(())
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// The median of some samples, and the least and the most of them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// `None` without samples.
    fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_median_of_an_odd_and_of_an_even_number_of_samples() {
        let spread = |samples: &[f64]| Spread::of(samples).unwrap();
        let expected = Spread {
            median: 2.0,
            min: 1.0,
            max: 9.0,
        };
        assert_eq!(spread(&[9.0, 1.0, 2.0]), expected);
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_figure_in_json_has_the_keys_that_readers_rely_on() {
        let mut report = Report::default();
        report.ours(
            "vxlan-snat-ecmp4",
            &[("sessions", json!(1000)), ("mix", json!("hot"))],
            Metric::PipelineClocksPerPacket,
            &[80.0, 79.0, 82.0],
        );
        report.add(
            "vxlan-snat-ecmp4",
            &[("sessions", json!(1000))],
            Metric::RatePerSecond,
            &[1e6],
            Some("Linux"),
        );
        let expected = json!([
            {
                "bench": "vxlan-snat-ecmp4",
                "params": { "sessions": 1000, "mix": "hot" },
                "metric": "pipeline_clocks_per_packet",
                "unit": "clocks",
                "median": 80.0,
                "min": 79.0,
                "max": 82.0,
                "comparator": null,
            },
            {
                "bench": "vxlan-snat-ecmp4",
                "params": { "sessions": 1000 },
                "metric": "rate_per_second",
                "unit": "1/s",
                "median": 1e6,
                "min": 1e6,
                "max": 1e6,
                "comparator": "Linux",
            },
        ]);
        assert_eq!(
            serde_json::to_value(&report.measurements).unwrap(),
            expected
        );
    }

    #[test]
    fn a_figure_without_samples_is_no_figure() {
        let mut report = Report::default();
        report.ours("empty", &[], Metric::Nanoseconds, &[]);
        assert!(report.measurements.is_empty());
    }
}
