//! Configuration: what the documents may say, whether they agree with themselves, and what differs
//! between two of them.
//!
//! The way of a document: [`load`] reads the root and what it includes, [`parse`] reads the texts
//! into places and values, compares all of it, and makes a [`Config`] or a list of [`Problem`]s;
//! [`flatten`] joins the texts again for the startup file.

mod diff;
mod fields;
mod flatten;
mod load;
pub mod model;
mod problem;
mod raw;
mod read;
mod startup;
mod text;
mod validate;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use diff::{Change, ChangeKind, ConfigDiff, text_diff};
pub use flatten::flatten;
pub use load::{LoadError, load, load_documents};
pub use model::Config;
pub use problem::{ConfigErrors, Problem, Severity, render};
pub use startup::write_startup;

/// A text with the name messages show for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The file's path relative to the root document's folder; the root's file name.
    pub name: String,
    /// Its TOML text.
    pub text: String,
}

/// A configuration that may run, with the texts it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The checked configuration.
    pub config: Config,
    /// Its texts, the root first.
    pub documents: Vec<Document>,
    /// What somebody should look at.
    pub warnings: Vec<Problem>,
}

/// Checks documents, the root first, whose includes have been expanded already.
///
/// # Errors
///
/// Every problem found, if one of them is an error.
pub fn parse(documents: Vec<Document>) -> Result<Loaded, ConfigErrors> {
    let mut problems = problem::Problems::new(&documents);
    let raw = read::read(&documents, &mut problems);
    let config = validate::validate(&raw, &mut problems);
    let problems = problems.finish();
    let refused = problems
        .iter()
        .any(|problem| problem.severity == Severity::Error);
    match config {
        Some(config) if !refused => Ok(Loaded {
            config,
            documents,
            warnings: problems,
        }),
        _ => Err(ConfigErrors { problems }),
    }
}

/// Reads and checks the configuration rooted at `path`, for a `--check` option.
///
/// # Errors
///
/// The text to show.
pub fn check(path: &Path) -> Result<(Config, Vec<Problem>), String> {
    load(path)
        .map(|loaded| (loaded.config, loaded.warnings))
        .map_err(|error| error.to_string())
}
