//! Forwarding tables: lookups and updates, apart from the packets around them.

mod lookup;
mod others;
mod routes;
mod update;

use anyhow::Result;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use sekisho_fib::{Adjacency, AdjacencyId, Capacity, Link, Writer};
use sekisho_types::InterfaceId;

pub(super) use self::lookup::run as lookup;
pub(super) use self::update::run as update;

/// Addresses looked up together, as a burst is.
const BATCH: usize = 64;
/// What routes lead to.
const LEAVES: usize = 256;

/// Room for whatever a row puts in.
fn capacity() -> Capacity {
    Capacity {
        adjacencies: 1 << 12,
        ..Capacity::default()
    }
}

/// What routes lead to: every route of a full table has one of these next hops.
fn next_hops(writer: &mut Writer) -> Result<Vec<AdjacencyId>> {
    let adjacency = Adjacency::Glean {
        link: Link::Interface(InterfaceId::new(0)),
    };
    (0..LEAVES)
        .map(|_| Ok(writer.create_adjacency(&adjacency)?))
        .collect()
}

/// Keeps the calling thread on a CPU.
fn pin(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cpus)?)
}

/// Octets of memory the process holds.
fn resident() -> Result<usize> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = match text.split_whitespace().nth(1) {
        Some(pages) => pages.parse()?,
        None => anyhow::bail!("/proc/self/statm has no second field: {text:?}"),
    };
    Ok(pages * 4096)
}
