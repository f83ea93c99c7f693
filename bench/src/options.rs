//! What the command line says.

use std::path::PathBuf;

use clap::Parser;

use crate::rig::Mix;

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

    /// How often each figure is measured: the median of these is reported.
    pub(crate) fn repetitions(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }
}
