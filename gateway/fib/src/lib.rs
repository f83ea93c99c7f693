//! Forwarding tables: a leaf names a path list, a path list picks an adjacency.
//!
//! ```text
//! Reader::lookup(vrf, address) -> Leaf -> Reader::select(path list, flow hash) -> Reader::adjacency(id)
//! ```
//!
//! A worker does the same for a burst: [`Reader::lookup_batch_mixed`] into [`PackedLeaf`]s,
//! [`Reader::select_batch`], then [`Reader::rewrite`] of each way, one cache line. Where it asks for
//! a neighbour or endpoint, [`Reader::host_batch`] is a third of that: a table by exact address, of
//! what the tree shows.
//!
//! One [`Writer`] (the control thread) changes the [`Tables`] that one [`Reader`] per worker reads.
//! Readers take no lock, allocate nothing and never wait: everything they follow is an index stored
//! with one atomic store after what it names was complete. What the writer unlinks is reused only
//! after every worker has passed a burst boundary ([`Reader::quiesce`]).
//!
//! Who may change what without touching what lies above it:
//! - an adjacency is replaced under a stable [`AdjacencyId`]: a neighbour that resolves or moves
//!   changes no path list;
//! - a path list is rebuilt under a stable [`PathListId`]: the loss of a next hop costs the number
//!   of path lists that hold it, not of routes, and moves only the flows that used it;
//! - a route changes as one store per address range, so that a reader sees the old leaf or the new
//!   one and never a hole.
//!
//! # Limitations
//! - A prefix of at most 18 bits in the provider VRF is one store for each /18 it covers: a new
//!   default route of a full table keeps the writer busy for some hundred microseconds. (A change
//!   of where the default route leads costs one store.)
//! - Free blocks are kept by size and never joined: a table that shrinks and grows otherwise may
//!   need more blocks than it holds.
//! - Counting bits is what a lookup consists of: build for a CPU that has an instruction for it
//!   (`-C target-cpu=x86-64-v3`), or a lookup takes some ten clocks more.
//! - Hosts in IPv6 have no table beside the tree.
//! - A path list has no precomputed backup: the members that remain are the backup.
//! - A tunnel adjacency names its remote VTEP; the path to it is looked up in the provider VRF.

#![forbid(unsafe_code)]

mod address;
mod adjacency;
mod adjacency_lines;
mod adjacency_table;
mod arena;
mod block_arena;
mod error;
mod host_table;
mod leaf;
mod node_writer;
mod nodes;
mod path_list;
mod path_list_table;
mod quiescent;
mod reader;
mod resilient;
mod rewrite;
mod stats;
mod tables;
mod trie;
mod trie_writer;
mod vrf;
mod writer;

pub use address::Address;
pub use adjacency::{Adjacency, AdjacencyId, Link};
pub use error::FibError;
pub use leaf::{Leaf, PackedLeaf};
pub use path_list::{Interned, NextHop, PathListId, PathMember};
pub use quiescent::Epoch;
pub use reader::Reader;
pub use rewrite::{Rewrite, RewriteKind};
pub use stats::{Stats, VrfStats};
pub use tables::{Capacity, Tables};
pub use writer::Writer;
