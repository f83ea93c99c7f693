//! Workflows: `cargo xtask demo | test | bench | vm | clean`.
//!
//! # Limitations
//!
//! They need root and the packages that `./run` installs; `./run` is how people start them.

#![forbid(unsafe_code)]

mod bench;
mod cargo;
mod demo;
mod fuzz;
mod narrator;
mod shell;
mod vm;

use std::process::ExitCode;
use std::thread;

use anyhow::Result;
use clap::{Parser, Subcommand};
use sekisho_tests::lab;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Workflows of the Sekisho repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    workflow: Workflow,
}

#[derive(Debug, Subcommand)]
enum Workflow {
    /// Show the gateway at work among real routers and hypervisors, then open a shell there
    Demo {
        /// Unattended: no shell at the end; end with an error at the first thing wrong
        #[arg(long)]
        check: bool,
        /// Leave everything standing at the end; `cargo xtask clean` removes it
        #[arg(long)]
        keep: bool,
    },
    /// Run all tests
    Test {
        /// Also those that take more than a minute each
        #[arg(long)]
        long: bool,
        /// Only tests whose name holds this
        filter: Option<String>,
    },
    /// Measure the gateway beside others, built for release; `bench --help` tells the options
    #[command(disable_help_flag = true)]
    Bench {
        /// What sekisho-bench is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Let a fuzzer look for packets that the translate step does not stand
    Fuzz {
        /// For how long
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Run the gateway on emulated NICs, in a virtual machine (a minute)
    Vm {
        /// Unattended, as it always is
        #[arg(long)]
        check: bool,
    },
    /// Remove what `demo --keep` left standing
    Clean,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().workflow) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(workflow: &Workflow) -> Result<()> {
    clean_up_on_signals()?;
    match workflow {
        Workflow::Demo { check, keep } => demo::run(*check, *keep),
        Workflow::Test { long, filter } => cargo::test(*long, filter.as_deref()),
        Workflow::Bench { arguments } => bench::run(arguments),
        Workflow::Vm { .. } => vm::run(),
        Workflow::Fuzz { seconds } => fuzz::run(*seconds),
        Workflow::Clean => {
            lab::remove_kept();
            Ok(())
        }
    }
}

/// Ctrl-C and the like run no destructors: what we made is removed here.
fn clean_up_on_signals() -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("interrupted; cleaning up");
            lab::remove_own();
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}
