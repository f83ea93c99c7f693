//! The rows: one file each.

mod commit;
mod drop;
mod fib;
mod floor;
mod forward;
mod forward6;
mod memif;
mod nat_engine;
mod new_sessions;
mod routed;
mod tenants;
mod translate;
mod two_workers;

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

/// Whether a row's figures come with those of another that is measured too.
pub(crate) fn is_included(name: &str, selected: &[&str]) -> bool {
    name == translate::BACK && selected.contains(&translate::OUT)
}

const fn row(name: &'static str, run: fn(&Options, &mut Report) -> Result<()>) -> Row {
    Row { name, run }
}

/// All rows, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    row("l2-floor", floor::run),
    row("ip4-forward", forward::run),
    row("ip6-forward", forward6::run),
    row(translate::OUT, translate::run),
    row(translate::BACK, translate::run_back),
    row("vxlan-fwd-ecmp4", routed::forward),
    row("floating-ip", routed::floating),
    row("new-sessions", new_sessions::run),
    row("miss-drop", drop::run),
    row("many-tenants", tenants::run),
    row("two-workers", two_workers::run),
    row("commit", commit::run),
    row("fib-lookup", fib::lookup),
    row("fib-update", fib::update),
    row("nat-engine", nat_engine::run),
    row(MEMIF, memif::run),
];
