//! What the command line says.

use std::path::PathBuf;

use clap::Parser;

/// Benchmarks of the gateway.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
pub(crate) struct Options {
    /// Rows to run; all of them by default
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Smaller tables and fewer repetitions: to see that it works, not to quote
    #[arg(long)]
    pub(crate) quick: bool,
    /// Run the comparators this machine has beside our rows
    #[arg(long)]
    pub(crate) compare: bool,
    /// Flows in order of their numbers instead of at random
    #[arg(long)]
    pub(crate) sequential: bool,
    /// Packets of a burst
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) burst: u16,
    /// The CPU to measure on
    #[arg(long, default_value_t = 1)]
    pub(crate) cpu: u16,
}

impl Options {
    /// How often each figure is measured: the median of these is reported.
    pub(crate) fn repetitions(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }
}
