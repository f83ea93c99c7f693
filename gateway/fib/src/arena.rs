//! Which of a fixed number of slots are free; the writer's side of every table.

use crate::FibError;

/// Hands out slot numbers below a capacity, used ones first: memory never touched stays untouched.
#[derive(Debug)]
pub(crate) struct Arena {
    what: &'static str,
    capacity: u32,
    /// Slots below this have been handed out at least once.
    touched: u32,
    free: Vec<u32>,
}

impl Arena {
    /// `what` names the slots in errors, in the plural.
    pub(crate) const fn new(what: &'static str, capacity: u32) -> Self {
        Self {
            what,
            capacity,
            touched: 0,
            free: Vec::new(),
        }
    }

    pub(crate) fn allocate(&mut self) -> Result<u32, FibError> {
        if let Some(slot) = self.free.pop() {
            return Ok(slot);
        }
        if self.touched == self.capacity {
            return Err(self.full());
        }
        self.touched += 1;
        Ok(self.touched - 1)
    }

    /// Takes back a slot that was allocated and that no reader can reach any more.
    pub(crate) fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    pub(crate) const fn full(&self) -> FibError {
        FibError::Full {
            what: self.what,
            capacity: self.capacity,
        }
    }
}
