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

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn includes_are_read_in_the_order_of_their_names_and_once() {
        let folder = folder(&[
            (
                "sekisho.toml",
                "include = [\"b.toml\", \"*.toml\", \"none/*.toml\"]",
            ),
            ("c.toml", ""),
            ("b.toml", ""),
            ("a.toml", ""),
            (".hidden.toml", "broken"),
        ]);
        let documents = load_documents(&folder.path().join("sekisho.toml")).unwrap();
        let names: Vec<&str> = documents.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["sekisho.toml", "b.toml", "a.toml", "c.toml"]);
    }

    #[test]
    fn an_error_names_the_included_file() {
        let folder = folder(&[
            ("sekisho.toml", "include = [\"tenants.d/*.toml\"]\n"),
            ("tenants.d/blue.toml", "[[tenant]]\nnam = \"blue\"\n"),
        ]);
        let error = load(&folder.path().join("sekisho.toml"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("tenants.d/blue.toml:2:1"), "{error}");
    }

    #[test]
    fn a_named_file_that_is_missing_is_reported_at_the_include() {
        let folder = folder(&[("sekisho.toml", "\ninclude = [\"blue.toml\"]\n")]);
        let error = load(&folder.path().join("sekisho.toml"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("there is no file \"blue.toml\""), "{error}");
        assert!(error.contains("sekisho.toml:2:12"), "{error}");
    }

    #[test]
    fn a_missing_root_is_named() {
        let error = load(Path::new("/nonexistent/sekisho.toml"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot read /nonexistent/sekisho.toml: "),
            "{error}"
        );
    }
}
