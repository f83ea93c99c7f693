//! What is wrong with a document, where, and what would be right.

use std::fmt::{self, Write as _};
use std::ops::Range;

use super::Document;

/// Whether a configuration with this problem can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but somebody should look.
    Warning,
}

/// One finding, with its place resolved so that it can be shown without the documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong and what would be right.
    pub message: String,
    /// The document's name.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line's text.
    pub source: String,
    /// How many characters of the line are meant; at least 1.
    pub width: usize,
}

impl Problem {
    /// `file:line:column`.
    pub fn location(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Display for Problem {
    /// Several lines: the message, the place, the source line and a caret below what is meant.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(self.column.saturating_sub(1));
        let carets = "^".repeat(self.width);
        writeln!(f, "{severity}: {}", self.message)?;
        writeln!(f, "{margin}--> {}", self.location())?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {}", self.source)?;
        writeln!(f, "{margin} | {indent}{carets}")
    }
}

/// Why a configuration was refused: every error found, and the warnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// Errors and warnings in the order of the documents; at least one error.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// The errors alone.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(&self.problems))
    }
}

impl std::error::Error for ConfigErrors {}

/// All of `problems` as text, with a closing line that counts the errors.
pub fn render(problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{problem}");
    }
    let errors = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .count();
    match errors {
        0 => {}
        1 => text.push_str("1 error; the configuration was not applied\n"),
        n => {
            let _ = writeln!(text, "{n} errors; the configuration was not applied");
        }
    }
    text
}

/// A span of one of the documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) document: usize,
    pub(super) span: Range<usize>,
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: Place,
}

impl<T> std::ops::Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Collects problems while the documents are read and checked.
pub(super) struct Problems<'d> {
    documents: &'d [Document],
    found: Vec<(Place, Problem)>,
}

impl<'d> Problems<'d> {
    pub(super) fn new(documents: &'d [Document]) -> Self {
        Self {
            documents,
            found: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, at: &Place, message: impl Into<String>) {
        self.push(Severity::Error, at, message.into());
    }

    pub(super) fn warn(&mut self, at: &Place, message: impl Into<String>) {
        self.push(Severity::Warning, at, message.into());
    }

    /// `file:line` of a place, for messages that point at a second one.
    pub(super) fn line_of(&self, at: &Place) -> String {
        let problem = self.resolve(Severity::Error, at, String::new());
        format!("{}:{}", problem.file, problem.line)
    }

    /// Everything found, in the order of the documents.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.found
            .sort_by_key(|(at, _)| (at.document, at.span.start));
        self.found.into_iter().map(|(_, problem)| problem).collect()
    }

    fn push(&mut self, severity: Severity, at: &Place, message: String) {
        let problem = self.resolve(severity, at, message);
        self.found.push((at.clone(), problem));
    }

    fn resolve(&self, severity: Severity, at: &Place, message: String) -> Problem {
        let (file, text) = match self.documents.get(at.document) {
            Some(document) => (document.name.as_str(), document.text.as_str()),
            None => ("", ""),
        };
        let start = floor_char_boundary(text, at.span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let end = floor_char_boundary(text, at.span.end).clamp(start, line_end.max(start));
        Problem {
            severity,
            message,
            file: file.to_owned(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            source: text[line_start..line_end]
                .trim_end_matches('\r')
                .replace('\t', " "),
            width: text[start..end].chars().count().max(1),
        }
    }
}

/// The greatest character boundary of `text` at or below `index`.
fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}
