//! The rows: one file each.

mod fib;

use anyhow::{Result, bail};

use crate::options::Options;
use crate::report::Report;

/// A row by its name.
pub(crate) struct Row {
    /// What `cargo xtask bench NAME` calls it.
    pub(crate) name: &'static str,
    /// Measures it.
    pub(crate) run: fn(&Options, &mut Report) -> Result<()>,
}

const ROWS: &[Row] = &[
    Row {
        name: "fib-lookup",
        run: fib::lookup,
    },
    Row {
        name: "fib-update",
        run: fib::update,
    },
];

/// The rows of those names; all without a name.
pub(crate) fn selected(names: &[String]) -> Result<Vec<&'static Row>> {
    if names.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    let mut rows = Vec::new();
    for name in names {
        let Some(row) = ROWS.iter().find(|row| row.name == name) else {
            let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            bail!(
                "there is no benchmark {name:?}; there are: {}",
                known.join(", ")
            );
        };
        rows.push(row);
    }
    Ok(rows)
}
