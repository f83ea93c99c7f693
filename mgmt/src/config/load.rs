//! Reads the root document and those it includes from disk.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::problem::{Place, Problems};
use super::{ConfigErrors, Document, Loaded, parse};

/// Why a configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or folder could not be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// What was read is not a configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
}

/// Reads the configuration rooted at `path` and checks it.
///
/// # Errors
///
/// If a file cannot be read, or the configuration is wrong.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    Ok(parse(load_documents(path)?)?)
}

/// Reads the document at `path` and those its `include` patterns name, in the order of the patterns
/// and, within one, of the names. Patterns are relative to the root's folder; a file that several
/// patterns match is read once.
///
/// # Errors
///
/// If a file cannot be read, or a pattern is wrong.
pub fn load_documents(path: &Path) -> Result<Vec<Document>, LoadError> {
    let name = path.file_name().map_or_else(
        || path.display().to_string(),
        |n| n.to_string_lossy().into_owned(),
    );
    let mut documents = vec![Document {
        name,
        text: read_file(path)?,
    }];
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files: Vec<PathBuf> = Vec::new();
    for (pattern, at) in patterns(&documents[0].text) {
        for file in expand(&documents, folder, &pattern, at)? {
            if !files.contains(&file) && file != path {
                files.push(file);
            }
        }
    }
    for file in files {
        let shown = file.strip_prefix(folder).unwrap_or(&file);
        documents.push(Document {
            name: shown.display().to_string(),
            text: read_file(&file)?,
        });
    }
    Ok(documents)
}

/// The include patterns of a root document with their places; none if it is not understood, which
/// the full check reports.
fn patterns(text: &str) -> Vec<(String, std::ops::Range<usize>)> {
    let Ok(root) = DeTable::parse(text) else {
        return Vec::new();
    };
    let include = root.get_ref().get("include");
    let Some(list) = include.and_then(|value| value.get_ref().as_array()) else {
        return Vec::new();
    };
    list.iter()
        .filter_map(|item| Some((item.get_ref().as_str()?.to_owned(), item.span())))
        .collect()
}

fn expand(
    documents: &[Document],
    folder: &Path,
    pattern: &str,
    span: std::ops::Range<usize>,
) -> Result<Vec<PathBuf>, LoadError> {
    let refuse = |message: String| {
        let mut problems = Problems::new(documents);
        problems.error(
            &Place {
                document: 0,
                span: span.clone(),
            },
            message,
        );
        LoadError::Config(ConfigErrors {
            problems: problems.finish(),
        })
    };
    let folder = glob::Pattern::escape(&folder.to_string_lossy());
    let joined = Path::new(&folder).join(pattern);
    let options = glob::MatchOptions {
        require_literal_leading_dot: true,
        require_literal_separator: true,
        ..glob::MatchOptions::default()
    };
    let paths = glob::glob_with(&joined.to_string_lossy(), options)
        .map_err(|error| refuse(format!("{pattern:?} is not a file pattern: {}", error.msg)))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| LoadError::Read {
            path: error.path().to_owned(),
            error: error.into(),
        })?;
        if path.is_file() {
            files.push(path);
        }
    }
    // A pattern may match nothing yet; a plain name that does not exist is a mistake.
    if files.is_empty() && !pattern.contains(['*', '?', '[']) {
        return Err(refuse(format!(
            "there is no file {pattern:?}; names are relative to the root document's folder"
        )));
    }
    Ok(files)
}

fn read_file(path: &Path) -> Result<String, LoadError> {
    std::fs::read_to_string(path).map_err(|error| LoadError::Read {
        path: path.to_owned(),
        error,
    })
}
