//! Which member of a path list owns which bucket, changed as little as possible.

use crate::AdjacencyId;

/// A usable member and its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn shares(weights: &[u32]) -> Vec<Share> {
        let share = |(member, &weight): (usize, &u32)| Share {
            owner: AdjacencyId::new(member as u32),
            weight,
        };
        weights.iter().enumerate().map(share).collect()
    }

    fn counts(buckets: &[Option<AdjacencyId>]) -> BTreeMap<AdjacencyId, usize> {
        let mut counts = BTreeMap::new();
        for owner in buckets.iter().flatten() {
            *counts.entry(*owner).or_default() += 1;
        }
        counts
    }

    /// How far the worst member is from its share, in buckets.
    fn imbalance(buckets: &[Option<AdjacencyId>], shares: &[Share]) -> f64 {
        let total: u32 = shares.iter().map(|share| share.weight).sum();
        let counts = counts(buckets);
        shares
            .iter()
            .map(|share| {
                let due = buckets.len() as f64 * f64::from(share.weight) / f64::from(total);
                let has = counts.get(&share.owner).copied().unwrap_or(0);
                (has as f64 - due).abs()
            })
            .fold(0.0, f64::max)
    }

    proptest! {
        #[test]
        fn shares_are_kept_within_one_bucket(
            weights in prop::collection::vec(1u32..=8, 1..=16),
        ) {
            let shares = shares(&weights);
            let mut buckets = vec![None; 256];
            assign(&mut buckets, &shares, Change::Gain);
            prop_assert!(buckets.iter().all(Option::is_some));
            prop_assert!(imbalance(&buckets, &shares) < 1.0);
        }

        #[test]
        fn a_lost_member_moves_only_its_own_buckets_and_the_rest_stays_balanced(
            weights in prop::collection::vec(1u32..=8, 2..=16),
            lost: prop::sample::Index,
        ) {
            let mut shares = shares(&weights);
            let mut buckets = vec![None; 256];
            assign(&mut buckets, &shares, Change::Gain);
            let before = buckets.clone();
            let lost = shares.remove(lost.index(shares.len())).owner;
            assign(&mut buckets, &shares, Change::Loss);
            for (old, new) in before.iter().zip(&buckets) {
                if *old == Some(lost) {
                    prop_assert!(new.is_some() && *new != Some(lost));
                } else {
                    prop_assert_eq!(old, new);
                }
            }
            prop_assert!(imbalance(&buckets, &shares) < 2.0);
        }

        #[test]
        fn a_regained_member_takes_its_share_and_little_else_moves(
            weights in prop::collection::vec(1u32..=8, 2..=16),
            lost: prop::sample::Index,
        ) {
            let all = shares(&weights);
            let mut rest = all.clone();
            let regained = rest.remove(lost.index(rest.len())).owner;
            let mut buckets = vec![None; 256];
            assign(&mut buckets, &rest, Change::Gain);
            let before = buckets.clone();
            assign(&mut buckets, &all, Change::Gain);
            prop_assert!(imbalance(&buckets, &all) < 2.0);
            let strayed = before
                .iter()
                .zip(&buckets)
                .filter(|(old, new)| old != new && **new != Some(regained))
                .count();
            prop_assert!(strayed <= all.len(), "{strayed} moved between others");
        }

        #[test]
        fn any_history_ends_and_leaves_every_bucket_with_a_usable_owner(
            weights in prop::collection::vec(1u32..=1000, 1..=128),
            history in prop::collection::vec(any::<u128>(), 1..8),
            log2 in 4u32..=8,
        ) {
            let all = shares(&weights);
            let mut buckets = vec![None; 1 << log2];
            for up in history {
                let usable: Vec<_> = all
                    .iter()
                    .copied()
                    .filter(|share| up >> share.owner.value() & 1 == 1)
                    .collect();
                assign(&mut buckets, &usable, Change::Gain);
                let counts = counts(&buckets);
                prop_assert!(counts.keys().all(|owner| usable.iter().any(|s| s.owner == *owner)));
                let owned: usize = counts.values().sum();
                prop_assert_eq!(owned, if usable.is_empty() { 0 } else { buckets.len() });
                prop_assert_eq!(counts.len(), usable.len().min(buckets.len()));
            }
        }
    }
}
