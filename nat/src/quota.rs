//! How much tenants have on all workers together, leased to each worker in parcels.

use std::sync::atomic::AtomicU32;

use sekisho_mem::{HugeSlice, MapError};
use sekisho_types::VrfId;

use crate::shared::Shared;

/// Parcels are so many of a limit, so that a limit below twice that is kept to the last one.
const PARCELS: u32 = 1024;
/// Most of a parcel.
const LARGEST: u32 = 64;

/// Leases up to `wanted` of what is left of `most`; how many it got.
fn lease(used: &impl Shared<u32>, wanted: u32, most: u32) -> u32 {
    let mut seen = used.read();
    loop {
        let got = most.saturating_sub(seen).min(wanted);
        if got == 0 {
            return 0;
        }
        match used.swap(seen, seen + got) {
            Ok(()) => return got,
            Err(other) => seen = other,
        }
    }
}

/// What of something limited the tenants have on all workers, by VRF.
pub(crate) struct Quota(HugeSlice<AtomicU32>);

impl Quota {
    pub(crate) fn new() -> Result<Self, MapError> {
        HugeSlice::new(usize::from(u16::MAX) + 1).map(Self)
    }

    /// Makes sure a worker has leased more than `used`, of a limit of `most`; whether it has.
    /// What it uses without a lease, because there was no limit, is leased whatever the limit.
    #[inline(always)]
    pub(crate) fn ensure(&self, vrf: VrfId, leased: &mut u32, used: u32, most: u32) -> bool {
        used < *leased || self.lease_more(vrf, leased, used, most)
    }

    #[inline(never)]
    fn lease_more(&self, vrf: VrfId, leased: &mut u32, used: u32, most: u32) -> bool {
        let all = &self.0[vrf.index()];
        all.add(used - *leased);
        *leased = used;
        *leased += lease(all, parcel(most), most);
        used < *leased
    }

    /// Whether a tenant has more than a limit, which was higher before.
    pub(crate) fn is_exceeded(&self, vrf: VrfId, most: u32) -> bool {
        self.0[vrf.index()].read() > most
    }

    /// Gives back what is leased but not used, as far as it is more than two parcels. `most` is the
    /// limit, if there is one.
    #[inline(always)]
    pub(crate) fn settle(&self, vrf: VrfId, leased: &mut u32, used: u32, most: Option<u32>) {
        let parcel = most.map_or(0, parcel);
        if *leased > used + 2 * parcel.saturating_sub(1) {
            self.0[vrf.index()].subtract(*leased - used);
            *leased = used;
        }
    }
}

/// How many are leased at a time.
fn parcel(most: u32) -> u32 {
    (most / PARCELS).clamp(1, LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VRF: VrfId = VrfId::new(7);

    #[test]
    fn workers_together_have_no_more_than_the_limit_and_no_less_if_it_is_small() {
        let quota = Quota::new().unwrap();
        let mut leased = [0; 3];
        let mut used = [0; 3];
        for round in 0..400 {
            let worker = round % 3;
            if quota.ensure(VRF, &mut leased[worker], used[worker], 100) {
                used[worker] += 1;
            }
        }
        assert_eq!(used.iter().sum::<u32>(), 100);
        // What one gives back another gets, whoever it is.
        used[0] -= 10;
        quota.settle(VRF, &mut leased[0], used[0], Some(100));
        while quota.ensure(VRF, &mut leased[2], used[2], 100) {
            used[2] += 1;
        }
        assert_eq!(used.iter().sum::<u32>(), 100);
    }

    #[test]
    fn a_large_limit_is_leased_in_parcels_and_hardly_any_is_left() {
        let quota = Quota::new().unwrap();
        let most = 1_000_000;
        let (mut leased, mut used) = ([0; 2], [0; 2]);
        for round in 0..2 * most as usize {
            let worker = round % 2;
            if quota.ensure(VRF, &mut leased[worker], used[worker], most) {
                used[worker] += 1;
            }
        }
        let all = used.iter().sum::<u32>();
        assert!((most - LARGEST..=most).contains(&all), "{all}");
    }

    #[test]
    fn what_was_there_before_the_limit_counts_and_what_is_over_it_stays() {
        let quota = Quota::new().unwrap();
        let (mut first, mut second) = (0, 0);
        assert!(!quota.ensure(VRF, &mut first, 50, 30));
        assert!(!quota.ensure(VRF, &mut second, 0, 50));
        assert!(quota.ensure(VRF, &mut second, 0, 51));
        quota.settle(VRF, &mut first, 10, Some(30));
        assert!(quota.ensure(VRF, &mut second, 5, 30));
        // Without a limit nothing is kept.
        quota.settle(VRF, &mut second, 0, None);
        assert_eq!((first, second), (10, 0));
    }

    #[test]
    fn in_every_order_of_events_no_more_is_leased_than_there_is() {
        loom::model(|| {
            let used = loom::sync::Arc::new(loom::sync::atomic::AtomicU32::new(0));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let used = loom::sync::Arc::clone(&used);
                    loom::thread::spawn(move || {
                        let first = lease(&*used, 2, 3);
                        assert!(used.read() <= 3);
                        used.subtract(first);
                        lease(&*used, 2, 3)
                    })
                })
                .collect();
            let kept: u32 = threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum();
            assert_eq!(used.read(), kept);
            assert!((2..=3).contains(&kept));
        });
    }
}
