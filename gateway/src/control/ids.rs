//! Small stable numbers for named things, so that a table can be indexed by them.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Hands out numbers to keys. A key keeps its number for as long as it lives; a freed number comes
/// back only after every other one was used, long after the last packet that knew it.
#[derive(Debug)]
pub struct Ids<K> {
    by_key: HashMap<K, u16>,
    next: u16,
    last: u16,
    freed: VecDeque<u16>,
}

/// All numbers are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are more than {0} of these; remove some")]
pub struct IdsExhausted(u16);

impl<K: Eq + Hash + Clone> Ids<K> {
    /// Numbers from `first` to `last`.
    pub fn new(first: u16, last: u16) -> Self {
        Self {
            by_key: HashMap::new(),
            next: first,
            last,
            freed: VecDeque::new(),
        }
    }

    /// The number of `key`, a new one if it has none.
    pub fn assign(&mut self, key: &K) -> Result<u16, IdsExhausted> {
        if let Some(&id) = self.by_key.get(key) {
            return Ok(id);
        }
        let id = if self.next < self.last {
            self.next += 1;
            self.next - 1
        } else {
            self.freed.pop_front().ok_or(IdsExhausted(self.last))?
        };
        self.by_key.insert(key.clone(), id);
        Ok(id)
    }

    /// The number of `key`.
    pub fn find<Q>(&self, key: &Q) -> Option<u16>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.by_key.get(key).copied()
    }

    /// Takes back the numbers of keys for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        let freed = &mut self.freed;
        self.by_key.retain(|key, id| {
            let kept = keep(key);
            if !kept {
                freed.push_back(*id);
            }
            kept
        });
    }

    /// One more than the largest number ever handed out.
    pub fn bound(&self) -> usize {
        usize::from(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_number() {
        let mut ids = Ids::new(1, 10);
        assert_eq!(ids.assign(&"blue"), Ok(1));
        assert_eq!(ids.assign(&"green"), Ok(2));
        assert_eq!(ids.assign(&"blue"), Ok(1));
    }

    #[test]
    fn a_freed_number_comes_back_last() {
        let mut ids = Ids::new(1, 4);
        ids.assign(&"a").unwrap();
        ids.retain(|_| false);
        assert_eq!(ids.assign(&"b"), Ok(2));
        assert_eq!(ids.assign(&"c"), Ok(3));
        assert_eq!(ids.assign(&"d"), Ok(1));
        assert_eq!(ids.assign(&"e"), Err(IdsExhausted(4)));
    }
}
