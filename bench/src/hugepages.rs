//! Huge pages for the time of a run.
//!
//! Packet buffers lie in them; tables ask for transparent ones themselves. A machine that has
//! reserved some keeps them as they are. One that has none lends us some: they are given back when
//! the run ends, also when it fails or is interrupted.

use std::fmt;
use std::fs;

use crate::borrowed;

const RESERVED: &str = "/proc/sys/vm/nr_hugepages";

/// The huge pages of a run.
#[derive(Debug)]
pub(crate) struct HugePages {
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The machine had them before.
    There { total: u64, free: u64, kib: u64 },
    /// Reserved for this run.
    Ours { pages: u64, kib: u64 },
    /// None, and why.
    None { reason: String },
}

impl HugePages {
    /// Reserves `wanted` pages if the machine has reserved none.
    pub(crate) fn reserve(wanted: u64) -> Self {
        let memory = Memory::read();
        let state = if memory.total > 0 {
            let Memory { total, free, kib } = memory;
            State::There { total, free, kib }
        } else {
            borrow(wanted, memory.kib)
        };
        Self { state }
    }
}

fn borrow(wanted: u64, kib: u64) -> State {
    if let Err(error) = borrowed::set(RESERVED, &wanted.to_string()) {
        let reason = format!("{error:#}");
        return State::None { reason };
    }
    // The kernel reserves what it finds and tells no error.
    match Memory::read().total {
        0 => {
            let reason = "the kernel found no free memory in one piece".to_owned();
            State::None { reason }
        }
        pages => State::Ours { pages, kib },
    }
}

/// MiB of huge pages that nobody uses.
pub(crate) fn free_mib() -> u64 {
    let memory = Memory::read();
    memory.free * memory.kib / 1024
}

impl fmt::Display for HugePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::There { total, free, kib } => write!(
                f,
                "{total} x {} MiB reserved on this machine, {free} of them free",
                kib / 1024
            ),
            State::Ours { pages, kib } => {
                write!(f, "{pages} x {} MiB reserved for this run", kib / 1024)
            }
            State::None { reason } => write!(f, "none: transparent ({reason})"),
        }
    }
}

/// What `/proc/meminfo` says of huge pages.
#[derive(Debug, Default, PartialEq, Eq)]
struct Memory {
    total: u64,
    free: u64,
    kib: u64,
}

impl Memory {
    fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let number = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
                .and_then(|word| word.parse().ok())
        };
        Self {
            total: number("HugePages_Total:").unwrap_or(0),
            free: number("HugePages_Free:").unwrap_or(0),
            kib: number("Hugepagesize:").unwrap_or(2048),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_tells_how_many_huge_pages_there_are() {
        let text = "MemFree: 17 kB\nHugePages_Total:     512\nHugePages_Free:      500\n\
                    Hugepagesize:       2048 kB\n";
        let expected = Memory {
            total: 512,
            free: 500,
            kib: 2048,
        };
        assert_eq!(Memory::parse(text), expected);
    }

    #[test]
    fn a_run_says_which_memory_it_got() {
        let said = |state| HugePages { state }.to_string();
        let ours = State::Ours {
            pages: 512,
            kib: 2048,
        };
        assert_eq!(said(ours), "512 x 2 MiB reserved for this run");
        let none = State::None {
            reason: "not root".into(),
        };
        assert_eq!(said(none), "none: transparent (not root)");
    }
}
