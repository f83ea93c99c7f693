//! The path lists as the writer knows them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::arena::Arena;
use crate::path_list::{Buckets, MAX_BUCKETS, MAX_MEMBERS, MIN_BUCKETS, PathLists};
use crate::resilient::{Change, Share, assign};
use crate::{AdjacencyId, FibError, Interned, NextHop, PathListId, PathMember};

/// Which path lists exist, by content, and what each consists of.
pub(crate) struct PathListWriter {
    ids: Arena,
    buckets: BucketArena,
    by_next_hops: HashMap<Arc<[NextHop]>, PathListId>,
    /// Which lists to rebuild when an adjacency becomes usable or unusable.
    by_member: HashMap<AdjacencyId, Vec<PathListId>>,
    lists: Vec<Option<List>>,
}

struct List {
    /// Routes that lead here and holders of an acquisition.
    references: u32,
    next_hops: Arc<[NextHop]>,
    /// Each adjacency once, with the sum of its weights.
    members: Vec<Share>,
    /// The owner of each bucket.
    owners: Vec<Option<AdjacencyId>>,
    published: Buckets,
}

impl PathListWriter {
    pub(crate) fn new(lists: u32, buckets: u32) -> Self {
        Self {
            ids: Arena::new("path lists", lists),
            buckets: BucketArena::new(buckets),
            by_next_hops: HashMap::new(),
            by_member: HashMap::new(),
            lists: Vec::new(),
        }
    }

    /// The list of these next hops, in any order, with one more reference.
    pub(crate) fn acquire(&mut self, next_hops: &[NextHop]) -> Result<Interned, FibError> {
        if next_hops.len() > MAX_MEMBERS {
            return Err(FibError::TooManyMembers(next_hops.len()));
        }
        let mut next_hops = next_hops.to_vec();
        next_hops.sort_unstable();
        if let Some(&id) = self.by_next_hops.get(next_hops.as_slice()) {
            self.hold(id)?;
            return Ok(Interned { id, is_new: false });
        }
        let id = PathListId::new(self.ids.allocate()?);
        let next_hops: Arc<[NextHop]> = next_hops.into();
        self.by_next_hops.insert(Arc::clone(&next_hops), id);
        if self.lists.len() <= id.index() {
            self.lists.resize_with(id.index() + 1, || None);
        }
        self.lists[id.index()] = Some(List {
            references: 1,
            next_hops,
            members: Vec::new(),
            owners: Vec::new(),
            published: Buckets::Empty,
        });
        Ok(Interned { id, is_new: true })
    }

    pub(crate) fn hold(&mut self, id: PathListId) -> Result<(), FibError> {
        self.list(id)?.references += 1;
        Ok(())
    }

    /// One reference fewer; true if it was the last, and the list is to be retired.
    pub(crate) fn unhold(&mut self, id: PathListId) -> Result<bool, FibError> {
        let list = self.list(id)?;
        list.references = list.references.saturating_sub(1);
        Ok(list.references == 0)
    }

    /// Forgets a list without references; readers may still hold its number. Returns its buckets and
    /// its members.
    pub(crate) fn retire(&mut self, id: PathListId) -> Option<(Buckets, Vec<AdjacencyId>)> {
        let list = self.lists.get_mut(id.index())?.take()?;
        self.by_next_hops.remove(&list.next_hops);
        let members: Vec<_> = list.members.iter().map(|member| member.owner).collect();
        for &member in &members {
            self.unlink(member, id);
        }
        Some((list.published, members))
    }

    /// Frees the number and buckets of a retired list no reader holds any more.
    pub(crate) fn release(&mut self, shared: &PathLists, id: PathListId, buckets: Buckets) {
        shared.publish(id, Buckets::Empty);
        self.release_buckets(buckets);
        self.ids.release(id.value());
    }

    /// Frees buckets no reader can reach any more.
    pub(crate) fn release_buckets(&mut self, buckets: Buckets) {
        if let Buckets::Array { start, log2 } = buckets {
            self.buckets.release(start, log2);
        }
    }

    /// Replaces the members of a list. Returns the members before, and how [`Self::rebuild`] is then
    /// to put the new ones in force.
    ///
    /// A list resolved for the first time begins with the buckets of the list it shares most members
    /// with: a route that goes from one set of next hops to a similar one keeps most flows where
    /// they are.
    ///
    /// # Errors
    /// If the list does not exist, has too many members, or has no room for its buckets.
    pub(crate) fn resolve(
        &mut self,
        id: PathListId,
        members: &[PathMember],
    ) -> Result<(Vec<AdjacencyId>, Change), FibError> {
        if members.len() > MAX_MEMBERS {
            return Err(FibError::TooManyMembers(members.len()));
        }
        let members = merge(members);
        let mut owners = self.list(id)?.owners.clone();
        if owners.is_empty() {
            owners = self.owners_of_most_similar(&members);
        }
        grow(&mut owners, bucket_count(&members));
        if members.len() > 1 {
            self.buckets.ensure(owners.len())?;
        }
        let list = self.list(id)?;
        list.owners = owners;
        let before = std::mem::replace(&mut list.members, members.clone());
        let only_lost = members.iter().all(|member| before.contains(member));
        let change = if only_lost {
            Change::Loss
        } else {
            Change::Gain
        };
        let before: Vec<_> = before.iter().map(|member| member.owner).collect();
        for &member in &before {
            self.unlink(member, id);
        }
        for member in members {
            self.by_member.entry(member.owner).or_default().push(id);
        }
        Ok((before, change))
    }

    fn owners_of_most_similar(&self, members: &[Share]) -> Vec<Option<AdjacencyId>> {
        let mut shared = BTreeMap::<PathListId, usize>::new();
        for member in members {
            for &list in self.by_member.get(&member.owner).into_iter().flatten() {
                *shared.entry(list).or_default() += 1;
            }
        }
        shared
            .into_iter()
            .max_by_key(|&(_, count)| count)
            .and_then(|(list, _)| self.lists.get(list.index())?.as_ref())
            .map(|list| list.owners.clone())
            .unwrap_or_default()
    }

    /// Publishes buckets of the members that are `usable` now and returns those replaced. Without
    /// room for an array, one usable member takes everything: better than none.
    pub(crate) fn rebuild(
        &mut self,
        shared: &PathLists,
        id: PathListId,
        usable: impl Fn(AdjacencyId) -> bool,
        change: Change,
    ) -> Option<Buckets> {
        let list = self.lists.get_mut(id.index())?.as_mut()?;
        let shares: Vec<Share> = list
            .members
            .iter()
            .copied()
            .filter(|member| usable(member.owner))
            .collect();
        assign(&mut list.owners, &shares, change);
        let buckets = match shares.as_slice() {
            [] => Buckets::Empty,
            [only] => Buckets::Single(only.owner),
            [first, ..] => {
                let log2 = list.owners.len().trailing_zeros() as u8;
                match self.buckets.allocate(log2) {
                    Ok(start) => {
                        shared.fill(start, list.owners.iter().flatten().copied());
                        Buckets::Array { start, log2 }
                    }
                    Err(_) => Buckets::Single(first.owner),
                }
            }
        };
        shared.publish(id, buckets);
        Some(std::mem::replace(&mut list.published, buckets))
    }

    /// The lists that hold `member`.
    pub(crate) fn lists_of(&self, member: AdjacencyId) -> Vec<PathListId> {
        self.by_member.get(&member).cloned().unwrap_or_default()
    }

    /// The members of a list.
    pub(crate) fn members(&self, id: PathListId) -> Vec<AdjacencyId> {
        self.lists
            .get(id.index())
            .and_then(Option::as_ref)
            .map(|list| list.members.iter().map(|member| member.owner).collect())
            .unwrap_or_default()
    }

    pub(crate) fn count(&self) -> usize {
        self.by_next_hops.len()
    }

    fn unlink(&mut self, member: AdjacencyId, id: PathListId) {
        if let Some(lists) = self.by_member.get_mut(&member) {
            lists.retain(|&list| list != id);
            if lists.is_empty() {
                self.by_member.remove(&member);
            }
        }
    }

    fn list(&mut self, id: PathListId) -> Result<&mut List, FibError> {
        self.lists
            .get_mut(id.index())
            .and_then(Option::as_mut)
            .ok_or(FibError::UnknownPathList(id))
    }
}

/// Each adjacency once, with the sum of its weights.
fn merge(members: &[PathMember]) -> Vec<Share> {
    let mut merged: Vec<Share> = Vec::with_capacity(members.len());
    for member in members {
        let weight = u32::from(member.weight.get());
        match merged
            .iter_mut()
            .find(|share| share.owner == member.adjacency)
        {
            Some(share) => share.weight += weight,
            None => merged.push(Share {
                owner: member.adjacency,
                weight,
            }),
        }
    }
    merged
}

/// Sixteen buckets a member keep shares within about 6 %; large weights want as many as their sum.
fn bucket_count(members: &[Share]) -> usize {
    let weights: usize = members.iter().map(|member| member.weight as usize).sum();
    (members.len() * MIN_BUCKETS)
        .max(weights)
        .clamp(MIN_BUCKETS, MAX_BUCKETS)
        .next_power_of_two()
}

/// Repeats the owners until there are `size`, a power of two: each flow keeps its owner. Never
/// shrinks.
fn grow(owners: &mut Vec<Option<AdjacencyId>>, size: usize) {
    if owners.is_empty() {
        owners.resize(size, None);
    }
    while owners.len() < size {
        owners.extend_from_within(..);
    }
}

/// Which bucket arrays are free: one list of free ones for each size.
struct BucketArena {
    capacity: u32,
    touched: u32,
    free: [Vec<u32>; MAX_BUCKETS.ilog2() as usize + 1],
}

impl BucketArena {
    fn new(capacity: u32) -> Self {
        Self {
            capacity,
            touched: 0,
            free: Default::default(),
        }
    }

    /// Refuses if there is no room for an array of `size`.
    fn ensure(&self, size: usize) -> Result<(), FibError> {
        let reusable = !self.free[size.ilog2() as usize].is_empty();
        if reusable || (self.capacity - self.touched) as usize >= size {
            Ok(())
        } else {
            Err(FibError::Full {
                what: "path list buckets",
                capacity: self.capacity,
            })
        }
    }

    fn allocate(&mut self, log2: u8) -> Result<u32, FibError> {
        self.ensure(1 << log2)?;
        if let Some(start) = self.free[usize::from(log2)].pop() {
            return Ok(start);
        }
        let start = self.touched;
        self.touched += 1 << log2;
        Ok(start)
    }

    fn release(&mut self, start: u32, log2: u8) {
        self.free[usize::from(log2)].push(start);
    }
}
