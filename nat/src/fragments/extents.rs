//! Which parts of a datagram were seen.

use arrayvec::ArrayVec;

use super::{Fragment, MAX_FRAGMENTS};

/// The parts of a datagram that were seen, none of which overlap.
#[derive(Clone, Debug, Default)]
pub(super) struct Extents {
    /// Offset and end of each.
    seen: ArrayVec<(u16, u16), MAX_FRAGMENTS>,
    /// Where the datagram ends, once its last fragment was seen.
    end: Option<u16>,
    /// Octets seen.
    octets: u16,
}

/// How a fragment fits those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    New,
    Duplicate,
    /// It overlaps another one, lies beyond the end, or says that the end is elsewhere.
    Overlap,
    TooMany,
}

impl Extents {
    /// Adds a fragment that is well-formed.
    pub(super) fn add(&mut self, fragment: &Fragment) -> Fit {
        let extent = (fragment.offset, fragment.offset + fragment.len);
        let is_end = self.end == Some(extent.1);
        if self.seen.contains(&extent) && is_end != fragment.more {
            return Fit::Duplicate;
        }
        let overlaps = |&(start, end): &(u16, u16)| start < extent.1 && extent.0 < end;
        let contradicts = match self.end {
            Some(end) => !fragment.more || extent.1 > end,
            None => !fragment.more && self.seen.iter().any(|&(_, end)| end > extent.1),
        };
        if contradicts || self.seen.iter().any(overlaps) {
            return Fit::Overlap;
        }
        if self.seen.try_push(extent).is_err() {
            return Fit::TooMany;
        }
        if !fragment.more {
            self.end = Some(extent.1);
        }
        self.octets += fragment.len;
        Fit::New
    }

    /// Whether all parts were seen.
    pub(super) fn is_complete(&self) -> bool {
        self.end == Some(self.octets)
    }
}
