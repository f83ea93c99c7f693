//! Which rows and comparators a run is made of.

use anyhow::{Result, bail};

use crate::comparators::{COMPARATORS, Comparator, MEMIF};
use crate::options::Options;
use crate::rows::{ROWS, Row};

/// One name of the command line, and everything that bears it.
pub(crate) struct Selected {
    /// The name.
    pub(crate) name: &'static str,
    /// Our row.
    pub(crate) row: Option<&'static Row>,
    /// Those beside it.
    pub(crate) comparators: Vec<&'static Comparator>,
}

/// What the command line names; everything if it names nothing.
pub(crate) fn selected(options: &Options) -> Result<Vec<Selected>> {
    let all = names();
    let mut chosen = Vec::new();
    if options.names.is_empty() {
        chosen.clone_from(&all);
    }
    for asked in &options.names {
        let Some(name) = all.iter().find(|name| *name == asked) else {
            bail!(
                "there is no benchmark {asked:?}; there are: {}",
                all.join(", ")
            );
        };
        chosen.push(name);
    }
    Ok(chosen.into_iter().map(Selected::named).collect())
}

/// The names of all rows, then of comparators without a row.
fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    let rows = ROWS.iter().map(|row| row.name);
    for name in rows.chain(COMPARATORS.iter().map(|comparator| comparator.row)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

impl Selected {
    fn named(name: &'static str) -> Self {
        let comparators = COMPARATORS.iter().filter(|other| other.row == name);
        Self {
            name,
            row: ROWS.iter().find(|row| row.name == name),
            comparators: comparators.collect(),
        }
    }
}

impl Selected {
    /// The programs of ours it runs, which then have to be built.
    pub(crate) fn programs(&self) -> &'static [&'static str] {
        match self.name {
            MEMIF => &["sekishod", "sekisho"],
            _ => &[],
        }
    }
}

impl std::fmt::Display for Selected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ours = self.row.map(|_| "ours");
        let others = self.comparators.iter().map(|other| other.who);
        let who: Vec<&str> = ours.into_iter().chain(others).collect();
        write!(f, "{:<18} {}", self.name, who.join(", "))
    }
}
