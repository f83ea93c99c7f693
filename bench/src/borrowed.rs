//! Settings of the whole machine that a run changes, and gives back when it ends.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

/// File and what it held before, in the order of the changes.
static BEFORE: Mutex<Vec<(&'static str, String)>> = Mutex::new(Vec::new());

/// Writes `value` into a file below `/proc` or `/sys` until [`give_back`].
///
/// # Errors
/// When the file cannot be read or written; nothing is changed then.
pub(crate) fn set(file: &'static str, value: &str) -> Result<()> {
    let before = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let before = before.trim();
    if before == value {
        return Ok(());
    }
    // Noted first: a signal may come between.
    lock().push((file, before.to_owned()));
    let written = fs::write(file, value).with_context(|| format!("cannot write {file}"));
    if written.is_err() {
        lock().pop();
    }
    written
}

/// Gives back everything that was changed, the last first.
pub(crate) fn give_back() {
    for (file, before) in lock().drain(..).rev() {
        if let Err(error) = fs::write(file, &before) {
            eprintln!("{file} cannot be given back: {error}; write {before} into it by hand");
        }
    }
}

/// Gives back when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        give_back();
    }
}

fn lock() -> MutexGuard<'static, Vec<(&'static str, String)>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}
