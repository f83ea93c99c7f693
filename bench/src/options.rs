//! What the command line says.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::rig::Mix;

/// Benchmarks of the gateway.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
pub(crate) struct Options {
    /// Rows to run; all of them by default
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// List the rows and what each measures
    #[arg(long)]
    pub(crate) list: bool,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the results to this file as a Markdown table
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Where the plots are drawn
    #[arg(long, value_name = "FOLDER", default_value = "bench/out")]
    pub(crate) plots: PathBuf,
    /// Measure nothing: draw the plots of results that `--json` wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) plots_of: Option<PathBuf>,
    /// Smaller tables and fewer repetitions: to see that it works, not to quote
    #[arg(long)]
    pub(crate) quick: bool,
    /// Run the comparators this machine has beside our rows
    #[arg(long)]
    pub(crate) compare: bool,
    /// Only this many sessions, in rows that have several sizes
    #[arg(long, value_name = "N")]
    pub(crate) sessions: Option<u32>,
    /// Only this mix of tenants and traffic, in rows that have both
    #[arg(long)]
    pub(crate) mix: Option<Mix>,
    /// Flows in order of their numbers instead of at random
    #[arg(long)]
    pub(crate) sequential: bool,
    /// Packets of a burst
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) burst: u16,
    /// The CPU to measure on
    #[arg(long, default_value_t = 1)]
    pub(crate) cpu: u16,
    /// Measure one row of ours, print nothing else, and write the results to this file
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) alone: Option<PathBuf>,
    /// Send this capture into an interface instead of measuring
    #[arg(long, hide = true, value_name = "FILE", requires = "into")]
    pub(crate) send: Option<PathBuf>,
    /// The interface that `--send` sends into
    #[arg(long, hide = true, value_name = "INTERFACE")]
    pub(crate) into: Option<String>,
    /// Print which programs the rows need beside this one
    #[arg(long, hide = true)]
    pub(crate) programs: bool,
}

impl Options {
    /// The mixes to measure.
    pub(crate) fn mixes(&self) -> impl Iterator<Item = Mix> {
        let only = self.mix;
        Mix::ALL
            .into_iter()
            .filter(move |mix| only.is_none_or(|only| only == *mix))
    }

    /// The sizes to measure, of those a row has.
    pub(crate) fn sizes(&self, quick: &[u32], full: &[u32]) -> Vec<u32> {
        match self.sessions {
            Some(sessions) => vec![sessions],
            None if self.quick => quick.to_vec(),
            None => full.to_vec(),
        }
    }

    /// What a process that measures one row alone is told.
    pub(crate) fn of_row(&self, name: &str, file: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![name.into(), "--alone".into(), file.into()];
        arguments.extend(["--burst".into(), self.burst.to_string().into()]);
        arguments.extend(["--cpu".into(), self.cpu.to_string().into()]);
        if let Some(sessions) = self.sessions {
            arguments.extend(["--sessions".into(), sessions.to_string().into()]);
        }
        if let Some(mix) = self.mix {
            arguments.extend(["--mix".into(), mix.as_str().into()]);
        }
        arguments.extend(self.quick.then(|| "--quick".into()));
        arguments.extend(self.sequential.then(|| "--sequential".into()));
        arguments
    }

    /// How often each figure is measured: the median of these is reported.
    pub(crate) fn repetitions(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }

    /// How many huge pages of 2 MiB a run asks the machine for, if it has none.
    pub(crate) fn huge_pages(&self) -> u64 {
        if self.quick { 640 } else { 1536 }
    }

    /// The order of flows, in words.
    pub(crate) fn flow_order(&self) -> &'static str {
        if self.sequential {
            "sequential"
        } else {
            "uniformly random"
        }
    }
}
