//! Who owns which block of ports of which outside address: the one thing workers share.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sekisho_mem::{HugeSlice, MapError};
use sekisho_types::WorkerId;

use crate::policy::Generation;
use crate::ports::BLOCKS;
use crate::quota::Quota;
use crate::shared::Shared;

/// The place of an outside address in the table; 0 is none.
pub(crate) type Slot = u32;

/// Makes `worker` the owner of a block nobody owns, of an address with so many owned.
fn take(owner: &impl Shared<u16>, claimed: &impl Shared<u16>, worker: WorkerId) -> bool {
    let taken = owner.swap(FREE, mark(worker)).is_ok();
    if taken {
        claimed.add(1);
    }
    taken
}

/// Gives a block of `worker` back.
fn give(owner: &impl Shared<u16>, claimed: &impl Shared<u16>, worker: WorkerId) {
    if owner.swap(mark(worker), FREE).is_ok() {
        claimed.subtract(1);
    }
}

/// Nobody's.
const FREE: u16 = 0;

/// What workers share: the owner of every block of 64 ports of every shared outside address, for all
/// protocols, and how much limited tenants have.
///
/// Workers claim and release blocks by compare-exchange; steering reads. An address keeps its place
/// in the table from policy to policy, so blocks stay owned across a change. Memory: 2 KiB per
/// address that is used.
pub struct OutsideOwners {
    /// 0: free; else the worker's number plus one.
    owners: HugeSlice<AtomicU16>,
    /// Blocks owned, per slot.
    claimed: HugeSlice<AtomicU16>,
    /// Sessions and ports of tenants that have limits of them.
    pub(crate) sessions: Quota,
    pub(crate) ports: Quota,
    /// Touched by the control plane only.
    book: Mutex<Book>,
}

/// Which address is where.
#[derive(Default)]
struct Book {
    places: HashMap<Ipv4Addr, Place>,
    free: Vec<Slot>,
    /// Slots from here on were never used.
    fresh: Slot,
}

struct Place {
    slot: Slot,
    /// The newest policy that names the address.
    last: Generation,
}

impl OutsideOwners {
    /// A table for up to `max_addresses` pool and uplink addresses at a time.
    ///
    /// # Errors
    /// When the kernel refuses the memory.
    pub fn new(max_addresses: u32) -> Result<Self, MapError> {
        let slots = max_addresses as usize + 1;
        Ok(Self {
            owners: HugeSlice::new(slots * BLOCKS)?,
            claimed: HugeSlice::new(slots)?,
            sessions: Quota::new()?,
            ports: Quota::new()?,
            book: Mutex::default(),
        })
    }

    /// How many addresses it can hold at a time.
    pub fn max_addresses(&self) -> u32 {
        (self.claimed.len() - 1) as u32
    }

    /// Forgets addresses that no policy of generation `oldest` or later names and of which nobody
    /// owns a block, so that their places can be given to others. `oldest` is the oldest generation
    /// any worker still runs. To be called by the control plane now and then.
    pub fn reclaim(&self, oldest: Generation) {
        let mut book = self.book();
        let Book { places, free, .. } = &mut *book;
        places.retain(|_, place| {
            let used = place.last >= oldest || self.claimed(place.slot) > 0;
            if !used {
                free.push(place.slot);
            }
            used
        });
    }

    /// The places of `addresses`, in their order, for the policy of `generation`; `None` when there
    /// are too many, in which case nothing is changed.
    pub(crate) fn assign(
        &self,
        addresses: &[Ipv4Addr],
        generation: Generation,
    ) -> Option<Vec<Slot>> {
        let mut book = self.book();
        let new = addresses
            .iter()
            .filter(|address| !book.places.contains_key(address))
            .count();
        let room = self.max_addresses() as usize - book.places.len();
        if new > room {
            return None;
        }
        Some(
            addresses
                .iter()
                .map(|&address| book.place(address, generation))
                .collect(),
        )
    }

    /// Makes `worker` the owner of a block nobody owns; whether it worked.
    pub(crate) fn claim(&self, slot: Slot, block: u16, worker: WorkerId) -> bool {
        let owner = &self.owners[cell(slot, block)];
        take(owner, &self.claimed[slot as usize], worker)
    }

    /// Gives a block of `worker` back.
    pub(crate) fn release(&self, slot: Slot, block: u16, worker: WorkerId) {
        let owner = &self.owners[cell(slot, block)];
        give(owner, &self.claimed[slot as usize], worker);
    }

    /// The worker that owns a block.
    #[inline]
    pub(crate) fn owner(&self, slot: Slot, block: u16) -> Option<WorkerId> {
        let mark = self.owners[cell(slot, block)].read();
        Some(WorkerId::new(mark.checked_sub(1)? as u8))
    }

    /// How many blocks of an address are owned.
    pub(crate) fn claimed(&self, slot: Slot) -> u16 {
        self.claimed[slot as usize].load(Ordering::Relaxed)
    }

    /// The book. A panic elsewhere while it was held leaves it whole: it is changed entry by entry.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn place(&mut self, address: Ipv4Addr, generation: Generation) -> Slot {
        if let Some(place) = self.places.get_mut(&address) {
            place.last = place.last.max(generation);
            return place.slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.fresh += 1;
            self.fresh
        });
        let last = generation;
        self.places.insert(address, Place { slot, last });
        slot
    }
}

fn cell(slot: Slot, block: u16) -> usize {
    slot as usize * BLOCKS + usize::from(block) % BLOCKS
}

fn mark(worker: WorkerId) -> u16 {
    u16::from(worker.value()) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(203, 0, 113, last)
    }

    #[test]
    fn an_address_keeps_its_place_and_gives_it_up_only_when_unused() {
        let owners = OutsideOwners::new(2).unwrap();
        let generation = Generation::new;
        let first = owners
            .assign(&[address(1), address(2)], generation(1))
            .unwrap();
        assert_eq!(
            owners.assign(&[address(2)], generation(2)),
            Some(vec![first[1]])
        );
        assert_eq!(owners.assign(&[address(3)], generation(2)), None);

        let worker = WorkerId::new(1);
        assert!(owners.claim(first[0], 20, worker));
        owners.reclaim(generation(2));
        assert_eq!(
            owners.assign(&[address(3)], generation(3)),
            None,
            "a block is owned"
        );
        owners.release(first[0], 20, worker);
        owners.reclaim(generation(1));
        assert_eq!(
            owners.assign(&[address(3)], generation(3)),
            None,
            "still in use"
        );
        owners.reclaim(generation(2));
        assert_eq!(
            owners.assign(&[address(3)], generation(3)),
            Some(vec![first[0]])
        );
    }

    #[test]
    fn a_block_has_one_owner_and_only_the_owner_releases_it() {
        let owners = OutsideOwners::new(1).unwrap();
        let (a, b) = (WorkerId::new(0), WorkerId::new(1));
        assert!(owners.claim(1, 7, a));
        assert!(!owners.claim(1, 7, b));
        owners.release(1, 7, b);
        assert_eq!(owners.owner(1, 7), Some(a));
        owners.release(1, 7, a);
        assert_eq!((owners.owner(1, 7), owners.claimed(1)), (None, 0));
    }
    /// A block, and something only its owner touches: the model checker ends the test if two do, or
    /// if one does not see what the last one did.
    struct Block {
        owner: loom::sync::atomic::AtomicU16,
        claimed: loom::sync::atomic::AtomicU16,
        ports: loom::cell::UnsafeCell<u32>,
    }

    impl Block {
        /// Takes the block if it is free, uses it, and gives it back.
        fn use_once(&self, worker: WorkerId) -> bool {
            if !take(&self.owner, &self.claimed, worker) {
                return false;
            }
            self.ports.with_mut(|ports| {
                let _ = ports;
            });
            give(&self.owner, &self.claimed, worker);
            true
        }
    }

    #[test]
    fn in_every_order_of_events_a_block_has_one_user_who_sees_what_the_last_one_did() {
        loom::model(|| {
            let block = loom::sync::Arc::new(Block {
                owner: loom::sync::atomic::AtomicU16::new(FREE),
                claimed: loom::sync::atomic::AtomicU16::new(0),
                ports: loom::cell::UnsafeCell::new(0),
            });
            let threads: Vec<_> = (0..2)
                .map(|worker| {
                    let block = loom::sync::Arc::clone(&block);
                    loom::thread::spawn(move || {
                        let worker = WorkerId::new(worker);
                        [block.use_once(worker), block.use_once(worker)]
                    })
                })
                .collect();
            let used = threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap());
            assert!(used.filter(|used| *used).count() >= 2);
            assert_eq!((block.owner.read(), block.claimed.read()), (FREE, 0));
        });
    }
}
