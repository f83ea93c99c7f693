//! How the demo tells what it does: a line per step, and what each command printed.

use std::time::Instant;

use anyhow::{Context, Result};

/// Counts and times the steps.
#[derive(Debug)]
pub(crate) struct Narrator {
    step: usize,
    steps: usize,
    start: Instant,
}

impl Narrator {
    /// For a story of this many steps.
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            step: 0,
            steps,
            start: Instant::now(),
        }
    }

    /// Tells a step's title and takes it.
    ///
    /// # Errors
    /// The step's own, with its title.
    pub(crate) fn step<T>(&mut self, title: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        self.step += 1;
        println!(
            "[{:>2}/{}] {title}  ({:.1} s)",
            self.step,
            self.steps,
            self.start.elapsed().as_secs_f64()
        );
        step().with_context(|| format!("step {}, {title}", self.step))
    }
}

/// Shows a command typed on `host` and what it printed.
pub(crate) fn show(host: &str, command: &str, output: &str) {
    println!("        {host}# {command}");
    for line in output.lines() {
        println!("        {line}");
    }
    println!();
}
