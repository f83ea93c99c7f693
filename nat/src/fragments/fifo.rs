//! Numbers in a row, linked through arrays beside them: the first is the oldest, any can be taken out.

/// No number.
pub(super) const NONE: u32 = u32::MAX;

/// The neighbours of a number in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Links {
    before: u32,
    after: u32,
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fifo {
    first: u32,
    last: u32,
    len: u32,
}

impl Default for Fifo {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
            len: 0,
        }
    }
}

impl Fifo {
    /// How many there are.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// The oldest, or [`NONE`].
    pub(super) const fn first(&self) -> u32 {
        self.first
    }

    /// Adds a number that is in no row of these links.
    pub(super) fn push(&mut self, links: &mut [Links], number: u32) {
        links[number as usize] = Links {
            before: self.last,
            after: NONE,
        };
        match self.last {
            NONE => self.first = number,
            last => links[last as usize].after = number,
        }
        self.last = number;
        self.len += 1;
    }

    /// Takes out a number that is in this row.
    pub(super) fn remove(&mut self, links: &mut [Links], number: u32) {
        let Links { before, after } = links[number as usize];
        match before {
            NONE => self.first = after,
            before => links[before as usize].after = after,
        }
        match after {
            NONE => self.last = before,
            after => links[after as usize].before = before,
        }
        self.len -= 1;
    }
}
