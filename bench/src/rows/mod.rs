//! The rows: one file each.

mod memif;
mod translate;

use anyhow::Result;

use crate::comparators::MEMIF;
use crate::options::Options;
use crate::report::Report;

/// A row by its name.
pub(crate) struct Row {
    /// What `cargo xtask bench NAME` calls it.
    pub(crate) name: &'static str,
    /// Measures it.
    pub(crate) run: fn(&Options, &mut Report) -> Result<()>,
}

/// All rows, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "vxlan-snat-ecmp4",
        run: translate::run,
    },
    Row {
        name: MEMIF,
        run: memif::run,
    },
];
