//! Benchmarks: the real worker code on packets in memory, one core, beside comparators.
//!
//! `cargo xtask bench [NAME...]` builds this in release and runs it.

#![forbid(unsafe_code)]

mod options;
mod report;
mod rig;
mod rows;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use self::options::Options;
use self::report::Report;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let mut report = Report::default();
    for row in rows::selected(&options.names)? {
        (row.run)(options, &mut report)?;
    }
    report.finish(options)
}
