//! Who is measured beside us, for the row of the same name.

use anyhow::Result;

use crate::options::Options;
use crate::report::Report;

/// A comparator of one row.
pub(crate) struct Comparator {
    /// The row beside which it stands; there may be none of ours.
    pub(crate) row: &'static str,
    /// Who it is.
    pub(crate) who: &'static str,
    /// Measures it, or says what this machine lacks.
    pub(crate) run: fn(&Options, &mut Report) -> Result<()>,
}

/// All comparators.
pub(crate) const COMPARATORS: &[Comparator] = &[];
