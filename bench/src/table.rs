//! The results as a table for people: on the terminal, or in Markdown.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::report::{Measurement, Metric};

/// A line told while measuring.
pub(crate) fn progress(measurement: &Measurement) -> String {
    let who = measurement
        .comparator
        .as_ref()
        .map_or(String::new(), |name| format!(", {name}"));
    format!(
        "  {:<18} {:<34} {:<26} {}{who}",
        measurement.bench,
        params(&measurement.params),
        measurement.metric.words(),
        figure(measurement),
    )
}

/// Aligned columns for a terminal.
pub(crate) fn text(measurements: &[Measurement]) -> String {
    let cells = cells(measurements);
    let columns = cells.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let lengths = cells.iter().map(|line| line[column].chars().count());
        lengths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, line) in cells.iter().enumerate() {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        text += padded.join("  ").trim_end();
        text.push('\n');
        if number == 0 {
            let rules: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
            text += &rules.join("  ");
            text.push('\n');
        }
    }
    text
}

/// A Markdown table.
pub(crate) fn markdown(measurements: &[Measurement]) -> String {
    let mut text = String::new();
    for (number, line) in cells(measurements).iter().enumerate() {
        text += &format!("| {} |\n", line.join(" | "));
        if number == 0 {
            text += &format!("|{}\n", "---|".repeat(line.len()));
        }
    }
    text
}

/// The header and one line for each figure of ours, or of a comparator's that has none of ours to
/// stand beside.
fn cells(measurements: &[Measurement]) -> Vec<Vec<String>> {
    let mut names: Vec<&str> = Vec::new();
    for name in measurements.iter().filter_map(|m| m.comparator.as_deref()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let header = ["bench", "params", "what", "ours"];
    let header = header.into_iter().map(str::to_owned);
    let mut cells: Vec<Vec<String>> = vec![
        header
            .chain(names.iter().map(|&name| name.to_owned()))
            .collect(),
    ];
    for line in lines(measurements) {
        let first = line.first;
        let mut texts = vec![
            first.bench.clone(),
            params(&first.params),
            first.metric.words().to_owned(),
            line.ours.map_or("-".into(), figure),
        ];
        texts.extend(names.iter().map(|name| {
            line.others
                .iter()
                .find(|other| other.comparator.as_deref() == Some(name))
                .map_or("-".into(), |other| beside(line.ours, other))
        }));
        cells.push(texts);
    }
    cells
}

/// What stands in one line.
struct Line<'a> {
    /// Gives the line its bench, params and metric.
    first: &'a Measurement,
    ours: Option<&'a Measurement>,
    others: Vec<&'a Measurement>,
}

fn lines(measurements: &[Measurement]) -> Vec<Line<'_>> {
    let (ours, others): (Vec<_>, Vec<_>) =
        measurements.iter().partition(|m| m.comparator.is_none());
    let mut lines: Vec<Line<'_>> = Vec::new();
    for ours in ours {
        lines.push(Line {
            first: ours,
            ours: Some(ours),
            others: others
                .iter()
                .copied()
                .filter(|other| fits(ours, other))
                .collect(),
        });
    }
    for other in others {
        let has_place = |line: &Line<'_>| line.others.iter().any(|o| std::ptr::eq(*o, other));
        if lines.iter().any(has_place) {
            continue;
        }
        let same = |line: &&mut Line<'_>| {
            line.ours.is_none() && fits(line.first, other) && fits(other, line.first)
        };
        if let Some(line) = lines.iter_mut().find(same) {
            line.others.push(other);
        } else {
            lines.push(Line {
                first: other,
                ours: None,
                others: vec![other],
            });
        }
    }
    lines.sort_by_key(|line| {
        let bench = &line.first.bench;
        measurements.iter().position(|m| m.bench == *bench)
    });
    lines
}

/// Whether a comparator's figure can stand beside ours: it was measured with nothing else.
fn fits(ours: &Measurement, other: &Measurement) -> bool {
    ours.bench == other.bench
        && ours.metric == other.metric
        && other
            .params
            .iter()
            .all(|(key, value)| ours.params.get(key) == Some(value))
}

/// A comparator's figure, and how many times better ours is.
fn beside(ours: Option<&Measurement>, other: &Measurement) -> String {
    let text = figure(other);
    match ours {
        Some(ours) if ours.median > 0.0 && other.median > 0.0 => {
            let ratio = if ours.metric == Metric::RatePerSecond {
                ours.median / other.median
            } else {
                other.median / ours.median
            };
            format!("{text}, {ratio:.1}x")
        }
        _ => text,
    }
}

/// `median (min-max)` in a unit that is easily read.
fn figure(measurement: &Measurement) -> String {
    let most = measurement.max;
    let (scale, unit) = match measurement.metric {
        Metric::RatePerSecond if most >= 1e6 => (1e6, " M/s"),
        Metric::RatePerSecond if most >= 1e3 => (1e3, " k/s"),
        Metric::RatePerSecond => (1.0, " /s"),
        Metric::Nanoseconds if most >= 1e9 => (1e9, " s"),
        Metric::Nanoseconds if most >= 1e6 => (1e6, " ms"),
        Metric::Nanoseconds if most >= 1e3 => (1e3, " us"),
        Metric::Nanoseconds => (1.0, " ns"),
        Metric::BytesPerEntry => (1.0, " B"),
        Metric::PipelineClocksPerPacket | Metric::LoopClocksPerPacket => (1.0, ""),
    };
    let [median, min, max] = [measurement.median, measurement.min, measurement.max]
        .map(|value| number(value / scale, most / scale));
    format!("{median} ({min}-{max}){unit}")
}

/// A number with as many digits as mean something where `most` is the largest of its kind.
fn number(value: f64, most: f64) -> String {
    if most < 10.0 {
        format!("{value:.2}")
    } else if most < 100.0 {
        format!("{value:.1}")
    } else {
        thousands(&format!("{value:.0}"))
    }
}

fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `sessions 1 M, mix hot`.
pub(crate) fn params(params: &BTreeMap<String, Value>) -> String {
    let texts: Vec<String> = params
        .iter()
        .map(|(key, value)| format!("{key} {}", param(value)))
        .collect();
    texts.join(", ")
}

fn param(value: &Value) -> String {
    match (value.as_u64(), value) {
        (Some(0), _) => "0".to_owned(),
        (Some(count), _) if count.is_multiple_of(1_000_000) => format!("{} M", count / 1_000_000),
        (Some(count), _) if count.is_multiple_of(1000) => format!("{} k", count / 1000),
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(params: &Value, median: f64, comparator: Option<&str>) -> Measurement {
        Measurement {
            bench: "vxlan-snat-ecmp4".into(),
            params: serde_json::from_value(params.clone()).unwrap(),
            metric: Metric::LoopClocksPerPacket,
            unit: "clocks".into(),
            median,
            min: median - 1.0,
            max: median + 2.0,
            comparator: comparator.map(str::to_owned),
        }
    }

    fn example() -> Vec<Measurement> {
        vec![
            measured(&json!({ "sessions": 1000, "mix": "hot" }), 80.0, None),
            measured(&json!({ "sessions": 1000, "mix": "full" }), 110.0, None),
            measured(&json!({ "sessions": 1000 }), 2200.0, Some("Linux")),
            measured(&json!({ "sessions": 1000 }), 880.0, Some("OVS")),
            measured(&json!({ "sessions": 7 }), 900.0, Some("OVS")),
        ]
    }

    #[test]
    fn a_comparator_stands_beside_every_line_that_it_fits() {
        let expected = "\
bench       params                   what                       ours              Linux                       OVS
----------  -----------------------  -------------------------  ----------------  --------------------------  ------------------
vxlan-snat-ecmp4  mix hot, sessions 1 k    clocks/packet, whole loop  80.0 (79.0-82.0)  2,200 (2,199-2,202), 27.5x  880 (879-882), 11.0x
vxlan-snat-ecmp4  mix full, sessions 1 k   clocks/packet, whole loop  110 (109-112)     2,200 (2,199-2,202), 20.0x  880 (879-882), 8.0x
vxlan-snat-ecmp4  sessions 7               clocks/packet, whole loop  -                 -                           900 (899-902)
";
        let squeeze = |text: &str| -> Vec<Vec<String>> {
            let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
            text.lines().map(words).collect()
        };
        let text = text(&example());
        let without_rule = |mut lines: Vec<Vec<String>>| {
            lines.remove(1);
            lines
        };
        assert_eq!(
            without_rule(squeeze(&text)),
            without_rule(squeeze(expected))
        );
    }

    #[test]
    fn columns_are_aligned() {
        let text = text(&example());
        let lines: Vec<&str> = text.lines().collect();
        let column = lines[0].find("ours").unwrap();
        for line in &lines[2..] {
            assert_eq!(&line[column - 2..column], "  ", "{text}");
            assert_ne!(&line[column..=column], " ", "{text}");
        }
    }

    #[test]
    fn markdown_has_as_many_cells_in_each_line() {
        let text = markdown(&example());
        assert!(text.starts_with("| bench | params | what | ours | Linux | OVS |\n|---|---|"));
        let bars: Vec<usize> = text.lines().map(|line| line.matches('|').count()).collect();
        assert_eq!(bars, [7; 5]);
    }

    #[test]
    fn numbers_are_scaled_and_grouped() {
        let rate = Measurement {
            metric: Metric::RatePerSecond,
            ..measured(&json!({}), 12_345_678.0, None)
        };
        assert_eq!(figure(&rate), "12.3 (12.3-12.3) M/s");
        assert_eq!(thousands("1234567"), "1,234,567");
        assert_eq!(thousands("123"), "123");
        assert_eq!(thousands("-123"), "-123");
    }

    #[test]
    fn a_higher_rate_is_better_and_so_are_fewer_clocks() {
        let rate = |median, comparator| Measurement {
            metric: Metric::RatePerSecond,
            ..measured(&json!({}), median, comparator)
        };
        let (ours, other) = (rate(4e6, None), rate(2e6, Some("OVS")));
        assert!(beside(Some(&ours), &other).ends_with(", 2.0x"));
    }
}
