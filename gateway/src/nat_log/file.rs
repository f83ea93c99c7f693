//! A file that is appended to, and followed when it is moved away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often it is looked whether the file is still the one at its path.
const LOOK: Duration = Duration::from_secs(1);

/// One file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Option<File>,
    looked: Option<Instant>,
    /// The last line written may be cut short.
    torn: bool,
}

impl LogFile {
    /// A file that is opened, and made if need be, at the first write.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            open: None,
            looked: None,
            torn: false,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the path anew at the next write.
    pub(super) fn reopen(&mut self) {
        self.open = None;
    }

    /// Appends lines.
    pub(super) fn append(&mut self, lines: &[u8], now: Instant) -> io::Result<()> {
        let looked = self.looked.is_some_and(|looked| now < looked + LOOK);
        if !looked {
            self.looked = Some(now);
            if !self.is_in_place() {
                self.open = None;
            }
        }
        let outcome = self.write(lines);
        if outcome.is_err() {
            self.torn = true;
            self.open = None;
        }
        outcome
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let file = match &mut self.open {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                options.append(true).create(true).mode(0o640);
                self.open.insert(options.open(&self.path)?)
            }
        };
        if self.torn {
            file.write_all(b"\n")?;
            self.torn = false;
        }
        file.write_all(lines)
    }

    /// Whether the open file is the one at the path: logrotate renames it.
    fn is_in_place(&self) -> bool {
        let open = self.open.as_ref().map(File::metadata);
        match (open, fs::metadata(&self.path)) {
            (Some(Ok(open)), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_away_or_removed_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nat.log");
        let mut file = LogFile::new(&path);
        let start = Instant::now();
        file.append(b"one\n", start).unwrap();
        fs::rename(&path, folder.path().join("nat.log.1")).unwrap();
        file.append(b"two\n", start + LOOK / 2).unwrap();
        file.append(b"three\n", start + LOOK).unwrap();
        fs::remove_file(&path).unwrap();
        file.reopen();
        file.append(b"four\n", start + LOOK).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("nat.log.1"), "one\ntwo\n");
        assert_eq!(read("nat.log"), "four\n");
    }

    #[test]
    fn after_a_failure_a_new_line_begins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/nat.log");
        let mut file = LogFile::new(&path);
        let start = Instant::now();
        file.append(b"one\n", start).unwrap_err();
        fs::create_dir(folder.path().join("missing")).unwrap();
        file.append(b"two\n", start).unwrap();
        file.append(b"three\n", start).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "\ntwo\nthree\n");
    }

    #[test]
    fn a_full_disk_is_an_error_and_not_the_end() {
        let mut file = LogFile::new(Path::new("/dev/full"));
        let error = file.append(b"one\n", Instant::now()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
