//! Drawing one plot: both axes logarithmic, because a table grows by powers of ten and a kernel
//! costs as many times what we do.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::element::{DashedPathElement, DynElement};
use plotters::prelude::*;

use super::series::{Kind, Point, Series};

const WIDTH: u32 = 1200;
const CHART_HEIGHT: u32 = 640;
/// Of a line of the legend.
const LINE_HEIGHT: u32 = 24;
const FONT: &str = "sans-serif";

/// Colours that people who see fewer of them tell apart too (after Okabe and Ito).
const COLOURS: [RGBColor; 10] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
    RGBColor(140, 86, 75),
    RGBColor(117, 79, 178),
    RGBColor(0, 0, 0),
];

/// A plot: its file, its parameter, its titles.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) file: &'static str,
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) x_title: &'static str,
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

impl Plot {
    /// Draws it; there is at least one line, each with at least one point.
    pub(super) fn draw(&self, file: &Path, series: &[Series]) -> Result<()> {
        let height = CHART_HEIGHT + LINE_HEIGHT * (series.len() as u32 + 1);
        let root = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
        // plotters' errors borrow the canvas; their text is all that is left of use.
        root.fill(&WHITE).map_err(|e| anyhow!("{e}"))?;
        let (chart, legend) = root.split_vertically(CHART_HEIGHT);
        self.chart(&chart, series).map_err(|e| anyhow!("{e}"))?;
        self::legend(&legend, series).map_err(|e| anyhow!("{e}"))?;
        root.present().map_err(|e| anyhow!("{e}"))
    }

    fn chart<'a>(&self, area: &Canvas<'a>, series: &[Series]) -> Drawn<'a> {
        let points = || series.iter().flat_map(|line| &line.points);
        let (left, right) = around(points().map(|point| (point.x, point.x)), 1.6);
        let (low, high) = around(points().map(|point| (point.min, point.max)), 1.2);
        let low = round_below(low);
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, (FONT, 24))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(56)
            .y_label_area_size(84)
            .build_cartesian_2d((left..right).log_scale(), (low..high).log_scale())?;
        chart
            .configure_mesh()
            .x_desc(format!("{} (logarithmic)", self.x_title))
            .y_desc("clocks per packet (logarithmic)")
            .axis_desc_style((FONT, 18))
            .label_style((FONT, 15))
            .x_label_formatter(&|x| tick(*x))
            .y_label_formatter(&|y| tick(*y))
            // Enough for every digit of a decade; most stay without a label.
            .x_labels(100)
            .y_labels(100)
            .max_light_lines(0)
            .bold_line_style(RGBColor(222, 222, 222))
            .draw()?;
        for (number, line) in series.iter().enumerate() {
            let colour = colour(number);
            let medians = line.points.iter().map(|point| (point.x, point.median));
            let stroke = colour.stroke_width(2);
            if line.kind == Kind::Reference {
                chart.draw_series(DashedLineSeries::new(medians.clone(), 8, 6, stroke))?;
            } else {
                chart.draw_series(LineSeries::new(medians.clone(), stroke))?;
            }
            chart.draw_series(line.points.iter().map(|point| {
                PathElement::new([(point.x, point.min), (point.x, point.max)], stroke)
            }))?;
            for end in [|point: &Point| point.min, |point: &Point| point.max] {
                chart.draw_series(line.points.iter().map(|point| {
                    EmptyElement::at((point.x, end(point)))
                        + PathElement::new([(-6, 0), (6, 0)], stroke)
                }))?;
            }
            chart.draw_series(medians.map(|place| marker(line.kind, place, colour)))?;
        }
        Ok(())
    }
}

fn legend<'a>(area: &Canvas<'a>, series: &[Series]) -> Drawn<'a> {
    for (number, line) in series.iter().enumerate() {
        let colour = colour(number);
        let y = (LINE_HEIGHT * number as u32 + LINE_HEIGHT / 2) as i32;
        let ends = [(96, y), (144, y)];
        let stroke = colour.stroke_width(2);
        if line.kind == Kind::Reference {
            area.draw(&DashedPathElement::new(ends, 8, 6, stroke))?;
        } else {
            area.draw(&PathElement::new(ends, stroke))?;
        }
        area.draw(&marker(line.kind, (120, y), colour))?;
        let text = line.label.clone();
        area.draw(&Text::new(text, (156, y - 8), (FONT, 16)))?;
    }
    Ok(())
}

fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
}

/// The least and the most, with room around them on a logarithmic axis.
fn around(spans: impl Iterator<Item = (f64, f64)>, room: f64) -> (f64, f64) {
    let (least, most) = spans.fold(
        (f64::MAX, f64::MIN_POSITIVE),
        |(least, most), (min, max)| (least.min(min), most.max(max)),
    );
    (least.min(most) / room, most * room)
}

/// A little less than 1 or 5 times a power of ten: the grid begins at full decades only.
fn round_below(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let start = if value < 5.0 * decade {
        decade
    } else {
        5.0 * decade
    };
    start * 0.999
}

/// The label of a line of the grid: only those of 1, 2 and 5 have one.
fn tick(value: f64) -> String {
    let digit = value / 10_f64.powf((value.log10() + 1e-9).floor());
    let labelled = [1.0, 2.0, 5.0]
        .iter()
        .any(|place| (digit - place).abs() < 0.01);
    if labelled {
        short(value)
    } else {
        String::new()
    }
}

/// A dot for us, a triangle for a comparator, a cross for a reference.
fn marker<'a, Place: Clone + 'static>(
    kind: Kind,
    place: Place,
    colour: RGBColor,
) -> DynElement<'static, SVGBackend<'a>, Place> {
    match kind {
        Kind::Ours => Circle::new(place, 5, colour.filled()).into_dyn(),
        Kind::Comparator => TriangleMarker::new(place, 8, colour.filled()).into_dyn(),
        Kind::Reference => Cross::new(place, 5, colour.stroke_width(2)).into_dyn(),
    }
}

/// `1`, `30`, `200 k`, `1 M`.
fn short(value: f64) -> String {
    let text = |value: f64| {
        let text = format!("{value:.1}");
        text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
    };
    if value >= 1e6 {
        format!("{} M", text(value / 1e6))
    } else if value >= 1e4 {
        format!("{} k", text(value / 1e3))
    } else {
        text(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::PLOTS;
    use super::*;

    fn line(label: &str, kind: Kind) -> Series {
        let point = |x, median| Point {
            x,
            median,
            min: median * 0.9,
            max: median * 1.2,
        };
        Series {
            label: label.into(),
            kind,
            points: vec![point(1e3, 80.0), point(1e5, 90.0), point(1e6, 115.0)],
        }
    }

    #[test]
    fn a_plot_has_titles_units_every_line_and_its_spread() {
        let file = std::env::temp_dir().join(format!("sekisho-plot-{}.svg", std::process::id()));
        let series = [
            line("ours, mix hot", Kind::Ours),
            line("a comparator", Kind::Comparator),
            line("a reference", Kind::Reference),
        ];
        PLOTS[0].draw(&file, &series).unwrap();
        let svg = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let texts = [
            "live sessions (logarithmic)",
            "clocks per packet (logarithmic)",
            "100 k",
            "ours, mix hot",
            "a comparator",
            "a reference",
        ];
        for text in texts {
            assert!(svg.contains(text), "{text:?} is not in {svg}");
        }
    }

    #[test]
    fn a_single_figure_can_be_drawn() {
        let (low, high) = around([(5.0, 5.0)].into_iter(), 2.0);
        assert_eq!((low, high), (2.5, 10.0));
    }

    #[test]
    fn a_vertical_axis_begins_below_its_least_figure() {
        let starts = [55.0, 150.0, 480.0, 700.0].map(|value| round_below(value).round());
        assert_eq!(starts, [50.0, 100.0, 100.0, 500.0]);
        let ticks = [100.0, 200.0, 300.0, 1000.0, 9000.0].map(tick);
        assert_eq!(ticks, ["100", "200", "", "1000", ""]);
    }

    #[test]
    fn axis_labels_are_short() {
        let labels = [1.0, 30.0, 2000.0, 20_000.0, 1_000_000.0, 2.5e6].map(short);
        assert_eq!(labels, ["1", "30", "2000", "20 k", "1 M", "2.5 M"]);
    }
}
