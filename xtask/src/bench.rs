//! Benchmarks: builds `sekisho-bench` in release and becomes it.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo;

/// Runs the benchmarks; every argument is theirs. Does not return unless something fails.
///
/// # Errors
/// When something does not compile or cannot be run.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    // Quiet only once there is nothing left to compile.
    let programs = bench(&[], arguments)
        .arg("--programs")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(
        programs.status.success(),
        "`cargo run` ended with {}",
        programs.status
    );
    for program in String::from_utf8_lossy(&programs.stdout).lines() {
        cargo::run(&["build", "--release", "--workspace", "--bin", program])?;
    }
    // Its signals and its exit code are ours: it takes our place.
    Err(bench(&["--quiet"], arguments).exec()).context("cannot run cargo")
}

fn bench(options: &[&str], arguments: &[String]) -> Command {
    let mut command = cargo::command();
    command
        .args(["run", "--release", "--package", "sekisho-bench"])
        .args(options)
        .arg("--")
        .args(arguments);
    command
}
