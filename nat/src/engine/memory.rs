//! What an engine takes of the machine's memory.

use super::Engine;

/// Octets of memory an engine has used so far; what it may come to use is mapped but not committed.
/// Counters by pool and by VRF are left out: some pages of 4 KiB, and 104 octets for each VRF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Records of sessions, their time-outs included, and what is kept of free ones.
    pub sessions: usize,
    /// The index of sessions, both ways.
    pub session_index: usize,
    /// Records of mappings, and what is kept of free ones.
    pub mappings: usize,
    /// The indexes of mappings.
    pub mapping_index: usize,
    /// Hosts and blocks of ports with their indexes.
    pub hosts: usize,
    /// What is counted of each session, if that is wanted.
    pub tallies: usize,
}

impl Memory {
    /// All of it.
    pub const fn total(&self) -> usize {
        let mappings = self.mappings + self.mapping_index + self.hosts;
        self.sessions + self.session_index + mappings + self.tallies
    }
}

impl Engine {
    /// The memory used so far: records ever given out, and whole indexes once they hold something.
    pub fn memory(&self) -> Memory {
        Memory {
            sessions: self.sessions.used_bytes(),
            session_index: self.index.used_bytes(),
            mappings: self.mappings.used_bytes(),
            mapping_index: self.mapping_index.used_bytes() + self.open_index.used_bytes(),
            hosts: self.ports.used_bytes(),
            tallies: self.tallies.used_bytes(self.sessions.end()),
        }
    }
}
