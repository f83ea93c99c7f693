//! The adjacencies as the writer knows them.

use crate::adjacency_lines::AdjacencyLines;
use crate::arena::Arena;
use crate::{Adjacency, AdjacencyId, FibError};

/// Which adjacencies exist, which of them are in a spare line, and who names them.
pub(crate) struct AdjacencyWriter {
    ids: Arena,
    spares: Arena,
    states: Vec<Option<State>>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// The spare line that holds it, while it has not moved to its own.
    spare: Option<u32>,
    /// Leaves and path lists that name it.
    uses: u32,
    resolved: bool,
    /// What the control plane says of the way beyond (link, BFD).
    up: bool,
}

impl AdjacencyWriter {
    pub(crate) const fn new(ids: u32, spares: u32) -> Self {
        Self {
            ids: Arena::new("adjacencies", ids),
            spares: Arena::new("replaced adjacencies", spares),
            states: Vec::new(),
        }
    }

    pub(crate) fn create(
        &mut self,
        shared: &AdjacencyLines,
        adjacency: &Adjacency,
    ) -> Result<AdjacencyId, FibError> {
        let id = AdjacencyId::new(self.ids.allocate()?);
        shared.create(id, &adjacency.encode());
        let state = State {
            spare: None,
            uses: 0,
            resolved: adjacency.is_resolved(),
            up: true,
        };
        if self.states.len() <= id.index() {
            self.states.resize(id.index() + 1, None);
        }
        self.states[id.index()] = Some(state);
        Ok(id)
    }

    /// A spare line with the new content, which no adjacency names yet.
    pub(crate) fn prepare(
        &mut self,
        shared: &AdjacencyLines,
        adjacency: &Adjacency,
    ) -> Result<u32, FibError> {
        let spare = self.spares.allocate()?;
        shared.fill(spare, &adjacency.encode());
        Ok(spare)
    }

    /// Publishes a prepared line. Returns the spare line it replaces, if it was in one.
    pub(crate) fn replace(
        &mut self,
        shared: &AdjacencyLines,
        id: AdjacencyId,
        spare: u32,
    ) -> Result<Option<u32>, FibError> {
        let old = self.state(id)?.spare.replace(spare);
        shared.divert(id, spare);
        Ok(old)
    }

    /// Moves an adjacency from the spare line it is in to its own, which no reader reads any more.
    /// Returns the spare line; `None` if the adjacency was retired meanwhile.
    pub(crate) fn settle(&mut self, shared: &AdjacencyLines, id: AdjacencyId) -> Option<u32> {
        let state = self.states.get_mut(id.index())?.as_mut()?;
        let spare = state.spare.take()?;
        shared.settle(id, spare);
        Some(spare)
    }

    /// Forgets an adjacency nobody names and returns the spare line it is in, if any; readers may
    /// still hold its number.
    pub(crate) fn retire(&mut self, id: AdjacencyId) -> Result<Option<u32>, FibError> {
        let state = self.state(id)?;
        if state.uses > 0 {
            let uses = state.uses;
            return Err(FibError::AdjacencyInUse { id, uses });
        }
        let spare = state.spare;
        self.states[id.index()] = None;
        Ok(spare)
    }

    /// Frees the number of a retired adjacency no reader holds any more, and the spare line it is in.
    pub(crate) fn release(&mut self, shared: &AdjacencyLines, id: AdjacencyId, spare: Option<u32>) {
        shared.remove(id);
        spare
            .into_iter()
            .for_each(|spare| self.release_spare(spare));
        self.ids.release(id.value());
    }

    /// Frees a spare line no reader can reach any more.
    pub(crate) fn release_spare(&mut self, spare: u32) {
        self.spares.release(spare);
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
