//! Which member of a path list owns which bucket, changed as little as possible.

use crate::AdjacencyId;

/// A usable member and its weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) owner: AdjacencyId,
    pub(crate) weight: u32,
}

/// How far existing owners may be disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Only buckets without a usable owner find a new one: a member was lost.
    Loss,
    /// Buckets also move from members with too many to members with too few: a member came (back)
    /// or weights changed.
    Gain,
}

/// Gives every bucket an owner among `shares`, whose weights are positive and owners distinct.
/// Without shares every bucket is left without one.
///
/// Each owner's count ends within one of its weighted share when all buckets start without an
/// owner; a loss spreads only the lost buckets. A gain fills members up to their share and gives
/// each at least one bucket, if there are enough.
pub(crate) fn assign(buckets: &mut [Option<AdjacencyId>], shares: &[Share], change: Change) {
    let mut book = Book::new(buckets, shares);
    for bucket in buckets.iter_mut() {
        if let Some(member) = bucket.and_then(|owner| book.member(owner)) {
            book.counts[member] += 1;
        } else {
            *bucket = None;
        }
    }
    if shares.is_empty() {
        return;
    }
    for bucket in buckets.iter_mut().filter(|bucket| bucket.is_none()) {
        let member = book.poorest();
        book.counts[member] += 1;
        *bucket = Some(shares[member].owner);
    }
    if change == Change::Gain {
        while let Some((from, to)) = book.overdue() {
            let Some(bucket) = buckets
                .iter_mut()
                .rev()
                .find(|bucket| **bucket == Some(shares[from].owner))
            else {
                return;
            };
            *bucket = Some(shares[to].owner);
            book.counts[from] -= 1;
            book.counts[to] += 1;
        }
    }
}

/// Who has how many buckets, against how many are due.
struct Book<'a> {
    shares: &'a [Share],
    counts: Vec<i64>,
    buckets: i64,
    total_weight: i64,
}

impl<'a> Book<'a> {
    fn new(buckets: &[Option<AdjacencyId>], shares: &'a [Share]) -> Self {
        Self {
            shares,
            counts: vec![0; shares.len()],
            buckets: buckets.len() as i64,
            total_weight: shares.iter().map(|share| i64::from(share.weight)).sum(),
        }
    }

    fn member(&self, owner: AdjacencyId) -> Option<usize> {
        self.shares.iter().position(|share| share.owner == owner)
    }

    /// Buckets beyond the share, times the total weight to stay whole.
    fn surplus(&self, member: usize) -> i64 {
        self.counts[member] * self.total_weight
            - self.buckets * i64::from(self.shares[member].weight)
    }

    fn poorest(&self) -> usize {
        (0..self.shares.len())
            .min_by_key(|&member| self.surplus(member))
            .unwrap_or(0)
    }

    /// A member to give a bucket up and one to get it, while somebody lacks a whole bucket of its
    /// share or has none at all.
    fn overdue(&self) -> Option<(usize, usize)> {
        let from = (0..self.shares.len())
            .filter(|&member| self.counts[member] > 1)
            .max_by_key(|&member| self.surplus(member))?;
        let poorest = self.poorest();
        let lacks_one = self.surplus(poorest) <= -self.total_weight;
        // Only a move that brings the two closer: then moving ends.
        let closer = self.surplus(from) - self.surplus(poorest) > self.total_weight;
        if lacks_one && closer {
            return Some((from, poorest));
        }
        let empty = self.counts.iter().position(|&count| count == 0)?;
        Some((from, empty))
    }
}
