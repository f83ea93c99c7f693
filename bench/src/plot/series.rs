//! Which lines a plot has: from measurements to points.

use std::collections::BTreeMap;

use super::reference;
use crate::report::{Measurement, Metric};
use crate::table;

/// A line of a plot.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) label: String,
    pub(super) kind: Kind,
    /// By `x`, rising.
    pub(super) points: Vec<Point>,
}

/// Who a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ours,
    Comparator,
    Reference,
}

/// A median with its spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// Every line of clocks against the parameter `key`: of ours the pipeline, of comparators what
/// they have, then the references for the rows that are there.
pub(super) fn all(measurements: &[Measurement], key: &str) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    let mut benches: Vec<&str> = Vec::new();
    for measurement in measurements.iter().filter(|m| is_drawn(m)) {
        let Some(point) = point(measurement, key) else {
            continue;
        };
        if !benches.contains(&measurement.bench.as_str()) {
            benches.push(&measurement.bench);
        }
        let label = label(measurement, key);
        if let Some(line) = series.iter_mut().find(|line| line.label == label) {
            line.points.push(point);
        } else {
            let kind = if measurement.comparator.is_some() {
                Kind::Comparator
            } else {
                Kind::Ours
            };
            series.push(Series {
                label,
                kind,
                points: vec![point],
            });
        }
    }
    for bench in benches {
        let points = reference::vpp(bench, key);
        if !points.is_empty() {
            series.push(Series {
                label: format!("{bench}: {}", reference::LABEL),
                kind: Kind::Reference,
                points,
            });
        }
    }
    for line in &mut series {
        line.points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    series
}

/// Rows whose packets go the whole way: what others would draw over them in the same plot says less.
const DRAWN: [&str; 4] = [
    "vxlan-snat-ecmp4",
    "uplink-dnat-vxlan",
    "ip4-forward",
    "ip6-forward",
];

fn is_drawn(measurement: &Measurement) -> bool {
    if !DRAWN.contains(&measurement.bench.as_str()) {
        return false;
    }
    match measurement.comparator {
        None => measurement.metric == Metric::PipelineClocksPerPacket,
        Some(_) => measurement.metric.is_clocks(),
    }
}

/// `None` where the figure has no such parameter, or none that a logarithmic axis can show.
fn point(measurement: &Measurement, key: &str) -> Option<Point> {
    let x = measurement.params.get(key)?.as_f64()?;
    let Measurement {
        median, min, max, ..
    } = *measurement;
    let shown = x > 0.0 && min > 0.0;
    shown.then_some(Point {
        x,
        median,
        min,
        max,
    })
}

fn label(measurement: &Measurement, key: &str) -> String {
    let rest: BTreeMap<_, _> = measurement
        .params
        .iter()
        .filter(|(name, _)| *name != key)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut label = format!("{}: ", measurement.bench);
    label += measurement.comparator.as_deref().unwrap_or("Sekisho");
    if measurement.comparator.is_some() && measurement.metric == Metric::LoopClocksPerPacket {
        label += " (with receive and transmit)";
    }
    if !rest.is_empty() {
        label += &format!(", {}", table::params(&rest));
    }
    label
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(mix: Option<&str>, sessions: u64, metric: Metric) -> Measurement {
        let mut params = BTreeMap::from([("sessions".to_owned(), json!(sessions))]);
        params.extend(mix.map(|mix| ("mix".to_owned(), json!(mix))));
        Measurement {
            bench: "vxlan-snat-ecmp4".into(),
            params,
            metric,
            unit: "clocks".into(),
            median: 100.0,
            min: 99.0,
            max: 102.0,
            comparator: mix.is_none().then(|| "OVS".to_owned()),
        }
    }

    #[test]
    fn a_plot_has_a_line_for_each_mix_each_comparator_and_the_reference() {
        let measurements = [
            measured(Some("hot"), 1_000_000, Metric::PipelineClocksPerPacket),
            measured(Some("hot"), 1000, Metric::PipelineClocksPerPacket),
            measured(Some("hot"), 1000, Metric::LoopClocksPerPacket),
            measured(Some("full"), 1000, Metric::PipelineClocksPerPacket),
            measured(None, 1000, Metric::LoopClocksPerPacket),
            measured(None, 1000, Metric::RatePerSecond),
        ];
        let series = all(&measurements, "sessions");
        let labels: Vec<&str> = series.iter().map(|line| line.label.as_str()).collect();
        let vpp = format!("vxlan-snat-ecmp4: {}", reference::LABEL);
        let expected = [
            "vxlan-snat-ecmp4: Sekisho, mix hot",
            "vxlan-snat-ecmp4: Sekisho, mix full",
            "vxlan-snat-ecmp4: OVS (with receive and transmit)",
            &vpp,
        ];
        assert_eq!(labels, expected);
        let xs: Vec<f64> = series[0].points.iter().map(|point| point.x).collect();
        assert_eq!(xs, [1e3, 1e6]);
        assert_eq!(series[3].kind, Kind::Reference);
    }

    #[test]
    fn what_has_no_such_parameter_is_in_no_plot() {
        let measurements = [measured(Some("hot"), 1000, Metric::PipelineClocksPerPacket)];
        assert_eq!(all(&measurements, "routes"), []);
    }
}
