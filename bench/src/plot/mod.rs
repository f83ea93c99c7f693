//! The plots: clocks against the size of a table, as SVG.

mod draw;
mod reference;
mod series;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::draw::Plot;
use crate::report::Measurement;

/// The plots there are: file, what is on the horizontal axis, titles.
const PLOTS: [Plot; 2] = [
    Plot {
        file: "clocks-sessions.svg",
        key: "sessions",
        title: "Clocks per packet against live sessions, one core",
        x_title: "live sessions",
    },
    Plot {
        file: "clocks-routes.svg",
        key: "routes",
        title: "Clocks per packet against routes, one core",
        x_title: "routes in the table",
    },
];

/// Draws what there are figures for into `folder`; the files it made.
pub(crate) fn draw_all(folder: &Path, measurements: &[Measurement]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for plot in &PLOTS {
        let series = series::all(measurements, plot.key);
        if series.is_empty() {
            continue;
        }
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let file = folder.join(plot.file);
        plot.draw(&file, &series)
            .with_context(|| format!("cannot draw {}", file.display()))?;
        files.push(file);
    }
    Ok(files)
}
