//! Benchmarks: the real worker code on packets in memory, one core, beside comparators.
//!
//! `cargo xtask bench [NAME...]` builds this in release and runs it. What is measured and what a
//! comparator includes: `docs/performance.md`.
//!
//! # Limitations
//!
//! - Root is needed for huge pages, for comparators and for rows between processes.
//! - No NIC is measured: packets are in memory, or go through shared memory between processes.

#![forbid(unsafe_code)]

mod alone;
mod borrowed;
mod cleanup;
mod comparators;
mod hugepages;
mod machine;
mod options;
mod plot;
mod report;
mod rig;
mod rows;
mod selection;
mod table;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use self::comparators::socket_sender;
use self::hugepages::HugePages;
use self::machine::Machine;
use self::options::Options;
use self::report::Report;
use self::selection::Selected;

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
    if let (Some(capture), Some(interface)) = (&options.send, &options.into) {
        return socket_sender::run(capture, interface);
    }
    if let Some(file) = &options.plots_of {
        let mut report = Report::default();
        report.read_json(file)?;
        return report.draw(options);
    }
    if let Some(file) = &options.alone {
        return alone::measure(options, file);
    }
    let selected = selection::selected(options)?;
    if options.list {
        selected.iter().for_each(|row| println!("{row}"));
        return Ok(());
    }
    if options.programs {
        let programs = selected.iter().flat_map(Selected::programs);
        programs.for_each(|program| println!("{program}"));
        return Ok(());
    }
    cleanup::prepare()?;
    let _lent = borrowed::Guard;
    let huge_pages = HugePages::reserve(options.huge_pages());
    let machine = Machine::look(options, &huge_pages);
    println!("{machine}");
    let mut report = Report::default();
    let measured = measure(&selected, options, &mut report);
    // What was measured before something failed is worth as much as without the failure.
    report.finish(options, &machine)?;
    measured
}

fn measure(selected: &[Selected], options: &Options, report: &mut Report) -> Result<()> {
    let names: Vec<&str> = selected.iter().map(|selected| selected.name).collect();
    for Selected {
        name,
        row,
        comparators,
    } in selected
    {
        println!("{name}");
        if row.is_some() && !rows::is_included(name, &names) {
            alone::run(name, options, report).with_context(|| format!("row {name}"))?;
        }
        for comparator in comparators.iter().filter(|_| options.compare) {
            // A comparator is a guest: that one does not work here must not cost our figures.
            if let Err(error) = (comparator.run)(options, report) {
                println!("  {name}, {}: not measured: {error:#}", comparator.who);
            }
        }
    }
    Ok(())
}
