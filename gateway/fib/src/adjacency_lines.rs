//! The adjacencies as readers see them: one cache line each, at the adjacency's own number.
//!
//! A reader gets all of the old content or all of the new, from one line and without a second look.
//! For this the writer changes no line that a reader may be reading. A replacement is written to a
//! spare line first and the adjacency's line says where, by one store. When every worker has passed
//! a burst boundary nobody reads the adjacency's own line any more: the content moves there, one
//! store says so, and after the next boundary the spare line is free.

use std::sync::atomic::{AtomicU64, Ordering};

use sekisho_mem::{HugeSlice, prefetch_element};

use crate::rewrite::{FIELD_WORDS, Fields, Record, STATE_MASK};
use crate::{AdjacencyId, FibError};

sekisho_mem::zeroable_struct! {
    /// One adjacency: its state in the low half of the first word, then [`Fields`].
    #[repr(align(64))]
    pub(crate) struct Line {
        words: [AtomicU64; 8],
    }
}

const _: () = assert!(size_of::<Line>() == 64 && align_of::<Line>() == 64);
const _: () = assert!(FIELD_WORDS <= 8);

/// There is no such adjacency.
const ABSENT: u32 = 0;
/// The content is in the line itself.
const HERE: u32 = 1;
/// The content is in spare line `state - SPARE`.
const SPARE: u32 = 2;

impl Line {
    /// A word other than the first, which says whether this one may be read.
    #[inline(always)]
    pub(crate) fn word<const AT: usize>(&self) -> u64 {
        const { assert!(AT > 0 && AT < FIELD_WORDS) };
        self.words[AT].load(Ordering::Relaxed)
    }

    /// All of a line that nobody changes.
    fn record(&self) -> Record<'_> {
        Record::new(self.words[0].load(Ordering::Relaxed), self)
    }

    fn write(&self, fields: &Fields) {
        let [head, rest @ ..] = fields.words();
        for (word, value) in self.words[1..].iter().zip(rest) {
            word.store(value, Ordering::Relaxed);
        }
        self.words[0].store(head | u64::from(HERE), Ordering::Release);
    }
}

/// The adjacencies as readers see them.
pub(crate) struct AdjacencyLines {
    lines: HugeSlice<Line>,
    spares: HugeSlice<Line>,
}

/// Where the lines are, in registers.
#[derive(Clone, Copy)]
pub(crate) struct Ahead<'a>(&'a [Line]);

impl Ahead<'_> {
    /// Brings the adjacency's line close.
    #[inline(always)]
    pub(crate) fn prefetch(self, id: AdjacencyId) {
        prefetch_element(self.0, id.index());
    }
}

impl AdjacencyLines {
    pub(crate) fn new(adjacencies: u32, spares: u32) -> Result<Self, FibError> {
        Ok(Self {
            lines: HugeSlice::new(adjacencies as usize)?,
            spares: HugeSlice::new(spares as usize)?,
        })
    }

    /// What the number stands for now.
    #[inline(always)]
    pub(crate) fn get(&self, id: AdjacencyId) -> Option<Record<'_>> {
        let line = self.lines.get(id.index())?;
        // Acquire: what the state names is complete before the state is stored.
        let head = line.words[0].load(Ordering::Acquire);
        if (head & STATE_MASK) as u32 == HERE {
            Some(Record::new(head, line))
        } else {
            self.elsewhere(head)
        }
    }

    #[cold]
    #[inline(never)]
    fn elsewhere(&self, head: u64) -> Option<Record<'_>> {
        let spare = ((head & STATE_MASK) as usize).checked_sub(SPARE as usize)?;
        self.spares.get(spare).map(Line::record)
    }

    /// Where the lines are, to bring them close.
    #[inline(always)]
    pub(crate) fn ahead(&self) -> Ahead<'_> {
        Ahead(&self.lines)
    }

    /// Writes an adjacency no reader can reach. Only the writer does, here and below.
    pub(crate) fn create(&self, id: AdjacencyId, fields: &Fields) {
        self.lines[id.index()].write(fields);
    }

    /// Writes a spare line no adjacency names.
    pub(crate) fn fill(&self, spare: u32, fields: &Fields) {
        self.spares[spare as usize].write(fields);
    }

    /// Leads readers of `id` to a filled spare line.
    pub(crate) fn divert(&self, id: AdjacencyId, spare: u32) {
        self.lines[id.index()].words[0].store((spare + SPARE).into(), Ordering::Release);
    }

    /// Moves the content of the spare line that `id` names into its own line, which no reader has
    /// read since it names the spare one.
    pub(crate) fn settle(&self, id: AdjacencyId, spare: u32) {
        let fields = self.spares[spare as usize].record().fields();
        self.lines[id.index()].write(&fields);
    }

    /// Forgets an adjacency no reader can reach any more.
    pub(crate) fn remove(&self, id: AdjacencyId) {
        self.lines[id.index()].words[0].store(ABSENT.into(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Adjacency;

    #[test]
    fn a_number_without_an_adjacency_and_one_beyond_the_table_name_nothing() {
        let lines = AdjacencyLines::new(1, 1).unwrap();
        for id in [AdjacencyId::new(0), AdjacencyId::new(1), AdjacencyId::NONE] {
            assert!(lines.get(id).is_none());
        }
        lines.create(AdjacencyId::new(0), &Adjacency::Drop.encode());
        assert!(lines.get(AdjacencyId::new(0)).is_some());
    }
}
