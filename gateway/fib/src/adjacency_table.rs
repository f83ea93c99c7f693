//! The adjacencies as the writer knows them.

use crate::adjacency::WORDS;
use crate::arena::Arena;
use crate::records::Records;
use crate::{Adjacency, AdjacencyId, FibError};

/// Which adjacencies exist, which record each has, and who names them.
pub(crate) struct AdjacencyWriter {
    ids: Arena,
    records: Arena,
    states: Vec<Option<State>>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    record: u32,
    /// Leaves and path lists that name it.
    uses: u32,
    resolved: bool,
    /// What the control plane says of the way beyond (link, BFD).
    up: bool,
}

impl AdjacencyWriter {
    pub(crate) const fn new(ids: u32, records: u32) -> Self {
        Self {
            ids: Arena::new("adjacencies", ids),
            records: Arena::new("adjacency records", records),
            states: Vec::new(),
        }
    }

    pub(crate) fn create(
        &mut self,
        shared: &Records<WORDS>,
        adjacency: &Adjacency,
    ) -> Result<AdjacencyId, FibError> {
        let record = self.records.allocate()?;
        let id = match self.ids.allocate() {
            Ok(id) => id,
            Err(full) => {
                self.records.release(record);
                return Err(full);
            }
        };
        shared.fill(record, adjacency.encode());
        shared.publish(id, Some(record));
        let state = State {
            record,
            uses: 0,
            resolved: adjacency.is_resolved(),
            up: true,
        };
        let id = AdjacencyId::new(id);
        if self.states.len() <= id.index() {
            self.states.resize(id.index() + 1, None);
        }
        self.states[id.index()] = Some(state);
        Ok(id)
    }

    /// A record with the new content, which is not yet published.
    pub(crate) fn prepare(
        &mut self,
        shared: &Records<WORDS>,
        adjacency: &Adjacency,
    ) -> Result<u32, FibError> {
        let record = self.records.allocate()?;
        shared.fill(record, adjacency.encode());
        Ok(record)
    }

    /// Publishes a prepared record and returns the one it replaces.
    pub(crate) fn replace(
        &mut self,
        shared: &Records<WORDS>,
        id: AdjacencyId,
        record: u32,
    ) -> Result<u32, FibError> {
        let state = self.state(id)?;
        let old = std::mem::replace(&mut state.record, record);
        shared.publish(id.value(), Some(record));
        Ok(old)
    }

    /// Forgets an adjacency nobody names and returns its record; readers may still hold its number.
    pub(crate) fn retire(&mut self, id: AdjacencyId) -> Result<u32, FibError> {
        let state = self.state(id)?;
        if state.uses > 0 {
            let uses = state.uses;
            return Err(FibError::AdjacencyInUse { id, uses });
        }
        let record = state.record;
        self.states[id.index()] = None;
        Ok(record)
    }

    /// Frees the number and record of a retired adjacency no reader holds any more.
    pub(crate) fn release(&mut self, shared: &Records<WORDS>, id: AdjacencyId, record: u32) {
        shared.publish(id.value(), None);
        self.records.release(record);
        self.ids.release(id.value());
    }

    /// Frees a record no reader can reach any more.
    pub(crate) fn release_record(&mut self, record: u32) {
        self.records.release(record);
    }

    /// Whether packets may be sent that way.
    pub(crate) fn is_usable(&self, id: AdjacencyId) -> bool {
        self.states
            .get(id.index())
            .and_then(Option::as_ref)
            .is_some_and(State::is_usable)
    }

    /// Notes whether the neighbour is resolved. Returns whether usability changed.
    pub(crate) fn set_resolved(
        &mut self,
        id: AdjacencyId,
        resolved: bool,
    ) -> Result<bool, FibError> {
        self.change(id, |state| state.resolved = resolved)
    }

    /// Notes whether the way beyond is up. Returns whether usability changed.
    pub(crate) fn set_up(&mut self, id: AdjacencyId, up: bool) -> Result<bool, FibError> {
        self.change(id, |state| state.up = up)
    }

    /// Counts one more who names it.
    pub(crate) fn hold(&mut self, id: AdjacencyId) -> Result<(), FibError> {
        self.state(id)?.uses += 1;
        Ok(())
    }

    /// Counts one fewer who names it.
    pub(crate) fn unhold(&mut self, id: AdjacencyId) {
        if let Ok(state) = self.state(id) {
            state.uses = state.uses.saturating_sub(1);
        }
    }

    pub(crate) fn check(&self, id: AdjacencyId) -> Result<(), FibError> {
        match self.states.get(id.index()) {
            Some(Some(_)) => Ok(()),
            _ => Err(FibError::UnknownAdjacency(id)),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.states.iter().flatten().count()
    }

    fn change(&mut self, id: AdjacencyId, edit: impl FnOnce(&mut State)) -> Result<bool, FibError> {
        let state = self.state(id)?;
        let before = state.is_usable();
        edit(state);
        Ok(state.is_usable() != before)
    }

    fn state(&mut self, id: AdjacencyId) -> Result<&mut State, FibError> {
        match self.states.get_mut(id.index()) {
            Some(Some(state)) => Ok(state),
            _ => Err(FibError::UnknownAdjacency(id)),
        }
    }
}

impl State {
    const fn is_usable(&self) -> bool {
        self.resolved && self.up
    }
}
