//! Running the fuzzer, built with the instrumentation it needs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// What libFuzzer needs to see of a program; the stable compiler has it.
const INSTRUMENTATION: &str = "-Ctarget-cpu=x86-64-v3 -Ctarget-feature=+aes -Cpasses=sancov-module -Ccodegen-units=1 -Cdebug-assertions \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Fuzzes the translate step for some seconds. What it finds of interest stays, for the next time.
///
/// # Errors
/// When it does not build, or a packet ends it: libFuzzer then says where the packet is.
pub(crate) fn run(seconds: u32) -> Result<()> {
    let built = build()?;
    let corpus = built.join("corpus/translate");
    std::fs::create_dir_all(&corpus)
        .with_context(|| format!("cannot make {}", corpus.display()))?;
    let status = Command::new(built.join(TARGET).join("release/fuzz-translate"))
        .arg(format!("-max_total_time={seconds}"))
        .arg("-max_len=4096")
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", built.display()))
        .arg(&corpus)
        .status()
        .context("cannot run the fuzzer")?;
    ensure!(status.success(), "the fuzzer found something");
    Ok(())
}

/// Builds the fuzzer beside everything else, and returns where.
fn build() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = root.parent().unwrap_or(root).join("target/fuzz");
    let status = cargo::command()
        .args(["build", "--release", "--package", "sekisho-fuzz"])
        .args([
            "--features",
            "libfuzzer",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(&directory)
        .env("RUSTFLAGS", INSTRUMENTATION)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the fuzzer does not build");
    Ok(directory)
}
