//! Keeping the drivers' file descriptors out of child processes.
//!
//! Drivers open them inheritable, so a child would keep a TAP alive after its port, and even after
//! the process.

use std::collections::BTreeSet;
use std::fs;

/// The file descriptors of the process.
pub(super) struct Descriptors(BTreeSet<i32>);

impl Descriptors {
    pub(super) fn now() -> Self {
        let entries = fs::read_dir("/proc/self/fd")
            .into_iter()
            .flatten()
            .flatten();
        Self(
            entries
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .collect(),
        )
    }

    /// Closes on exec those that were opened since. What other threads opened meanwhile is touched
    /// too; Rust opens them so anyway.
    pub(super) fn seal_newer(&self) {
        for &descriptor in Self::now().0.difference(&self.0) {
            // SAFETY: sets a flag; a descriptor that was closed meanwhile is an error without
            // effect.
            unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}
