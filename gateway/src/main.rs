//! `sekishod`, the gateway's daemon.

#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sekisho_mgmt::config;
use tracing_subscriber::EnvFilter;

/// An edge gateway between a cloud's overlay networks and its physical network.
#[derive(Debug, Parser)]
#[command(name = "sekishod", version)]
struct Arguments {
    /// The startup configuration. A configuration applied while the daemon runs replaces it.
    #[arg(long, value_name = "FILE", default_value = "/etc/sekisho/sekisho.toml")]
    config: PathBuf,
    /// Only check a configuration (by default the startup configuration), and say what is wrong.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    check: Option<Option<PathBuf>>,
    /// Write the log as JSON, one object a line.
    #[arg(long)]
    log_json: bool,
}

fn main() -> ExitCode {
    if let Err(error) = sekisho_gateway::daemon::cpu::check() {
        eprintln!("sekishod: {error}");
        return ExitCode::FAILURE;
    }
    let arguments = Arguments::parse();
    if let Some(file) = &arguments.check {
        return check(file.as_ref().unwrap_or(&arguments.config));
    }
    start_log(arguments.log_json);
    match sekisho_gateway::daemon::run(&arguments.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sekishod: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(file: &std::path::Path) -> ExitCode {
    match config::check(file) {
        Ok((_, warnings)) => {
            for warning in &warnings {
                eprintln!("{warning}");
            }
            println!("{}: the configuration is valid", file.display());
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
    }
}

fn start_log(json: bool) {
    let filter = EnvFilter::try_from_env("SEKISHO_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if json {
        log.json().init();
    } else {
        log.init();
    }
}
