//! What the forwarding tables were sent and what they have.

use std::collections::BTreeSet;

use sekisho_types::{Prefix, VrfId};

use super::Rib;
use super::table::Entry;
use crate::fib::{FibBatch, FibChange};

/// Batches count from 1; 0 is the empty table everyone starts with.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Prefixes that may have to be sent.
    unsent: BTreeSet<(VrfId, Prefix)>,
    /// The last batch sent.
    sent: u64,
    /// The last batch every worker has.
    acknowledged: u64,
}

impl Progress {
    pub(super) fn mark(&mut self, vrf: VrfId, prefix: Prefix) {
        self.unsent.insert((vrf, prefix));
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unsent.is_empty() && self.acknowledged == self.sent
    }

    /// Whether every worker forwards by what the entry wants.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        entry.wanted == entry.sent && entry.generation <= self.acknowledged
    }
}

impl Rib {
    /// At most `limit` changes the forwarding tables need; `None` if they need none.
    pub fn drain(&mut self, limit: usize) -> Option<FibBatch> {
        let generation = self.fib.sent + 1;
        let mut changes = Vec::new();
        while changes.len() < limit
            && let Some((vrf, prefix)) = self.fib.unsent.pop_first()
        {
            let Some(table) = self.tables.get_mut(&vrf) else {
                continue;
            };
            if let Some(entry) = table.get_mut(prefix)
                && entry.sent != entry.wanted
            {
                changes.push(match entry.wanted.clone() {
                    Some(entry) => FibChange::Set { vrf, prefix, entry },
                    None => FibChange::Remove { vrf, prefix },
                });
                entry.sent.clone_from(&entry.wanted);
                entry.generation = generation;
            }
            table.prune(prefix);
        }
        if changes.is_empty() {
            return None;
        }
        self.fib.sent = generation;
        Some(FibBatch {
            generation,
            changes,
        })
    }

    /// Every worker has the batch of this generation and all before it. A generation never sent, or
    /// one already passed, means nothing.
    pub fn acknowledge(&mut self, generation: u64) {
        if generation <= self.fib.sent {
            self.fib.acknowledged = self.fib.acknowledged.max(generation);
        }
    }
}
