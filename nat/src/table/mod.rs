//! Tables of fixed size: an index from hashes to numbers, records by number, and a constant map.

mod flat;
mod index;
mod slab;
mod tiers;
mod vacancies;

pub(crate) use flat::FlatMap;
pub(crate) use index::{Candidate, Full, Index, Obstacle};
pub(crate) use slab::Slab;
pub(crate) use tiers::Tiers;
