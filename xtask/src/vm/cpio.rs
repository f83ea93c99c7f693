//! The archive a kernel unpacks into its first file system: cpio, format "newc"
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).

use std::collections::BTreeSet;
use std::path::Path;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that grows.
#[derive(Debug, Default)]
pub(super) struct Archive {
    octets: Vec<u8>,
    entries: u32,
    there: BTreeSet<String>,
}

impl Archive {
    /// Adds an executable file at an absolute path, with the folders above it.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, content);
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK, target.as_bytes());
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.append("TRAILER!!!", 0, &[]);
        self.octets
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        let path = path.trim_start_matches('/').to_owned();
        let above: Vec<&str> = Path::new(&path)
            .ancestors()
            .skip(1)
            .filter_map(Path::to_str)
            .filter(|folder| !folder.is_empty())
            .collect();
        for folder in above.into_iter().rev() {
            if self.there.insert(folder.to_owned()) {
                self.append(folder, FOLDER, &[]);
            }
        }
        if self.there.insert(path.clone()) {
            self.append(&path, mode, content);
        }
    }

    fn append(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        // Inode, mode, owner, group, links, time, size, device (4), length of the name, checksum.
        let size = content.len() as u32;
        let name_size = name.len() as u32 + 1;
        let numbers = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.octets.extend(b"070701");
        for number in numbers {
            self.octets.extend(format!("{number:08x}").bytes());
        }
        self.octets.extend(name.bytes());
        self.octets.push(0);
        self.align();
        self.octets.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.octets.resize(self.octets.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them_and_once() {
        let mut archive = Archive::default();
        archive.file("/usr/bin/a", b"one");
        archive.link("/usr/bin/b", "a");
        let octets = archive.finish();
        let text = String::from_utf8_lossy(&octets);
        let places: Vec<usize> = [
            "usr\0",
            "usr/bin\0",
            "usr/bin/a\0",
            "usr/bin/b\0",
            "TRAILER!!!\0",
        ]
        .iter()
        .map(|name| text.find(name).unwrap())
        .collect();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(text.matches("070701").count(), 5);
        assert_eq!(octets.len() % 4, 0);
    }
}
