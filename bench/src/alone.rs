//! Each row in a process of its own: DPDK's memory and devices begin afresh, and one that fails takes
//! nothing along.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::options::Options;
use crate::report::Report;
use crate::rows::ROWS;
use crate::{borrowed, cleanup};

/// Measures a row in another process and adds its figures, also those from before it failed.
pub(crate) fn run(name: &str, options: &Options, report: &mut Report) -> Result<()> {
    let file = env::temp_dir().join(format!("sekisho-bench-{}-{name}.json", std::process::id()));
    let program = env::current_exe().context("cannot tell where this program is")?;
    let status = Command::new(program)
        .args(options.of_row(name, &file))
        .status()
        .context("cannot start the process that measures")?;
    let read = report.read_json(&file);
    // Nobody minds if it was never written.
    let _ = std::fs::remove_file(&file);
    ensure!(status.success(), "its process ended with {status}");
    read
}

/// Measures the one row asked for, in this process.
pub(crate) fn measure(options: &Options, file: &Path) -> Result<()> {
    cleanup::prepare()?;
    let _lent = borrowed::Guard;
    let name = options.names.first().context("no row is named")?;
    let row = ROWS.iter().find(|row| row.name == name);
    let row = row.with_context(|| format!("there is no row {name:?}"))?;
    let mut report = Report::default();
    let measured = (row.run)(options, &mut report);
    report.write_json(file)?;
    measured
}
