//! What cargo does for us: building the programs, running the tests.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Builds the daemon and the CLI.
///
/// # Errors
/// When they do not compile.
pub(crate) fn build() -> Result<()> {
    run(&["build", "--workspace", "--bins"])
}

/// Runs the tests of the whole workspace; the black-box tests find the programs built before.
///
/// # Errors
/// When one fails.
pub(crate) fn test(long: bool, filter: Option<&str>) -> Result<()> {
    build()?;
    let mut arguments = vec!["test", "--workspace", "--no-fail-fast"];
    if long {
        arguments.extend(["--features", "sekisho-tests/long,sekisho-nat/long"]);
    }
    arguments.extend(filter);
    run(&arguments)
}

/// Runs cargo.
///
/// # Errors
/// When it fails.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let status = command()
        .args(arguments)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "`cargo {}` failed", arguments.join(" "));
    Ok(())
}

/// The cargo that runs us.
pub(crate) fn command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
