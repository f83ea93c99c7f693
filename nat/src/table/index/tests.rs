//! What the index promises, however full, whatever the keys.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::Seed;
use crate::seed::HashKey;

fn hash(key: u32) -> u64 {
    Seed::new([3; 32]).shared_key().hash(0, u64::from(key), 0)
}

/// Every entry is found, counted where it lives, and no other is.
fn check(index: &Index, truth: &HashMap<u32, u64>) {
    for (&item, &hash) in truth {
        assert_eq!(index.find(hash, |found| found == item), Some(item));
    }
    let entries: usize = index
        .buckets
        .iter()
        .map(|bucket| bucket.tags.iter().filter(|&&tag| tag != 0).count())
        .sum();
    assert_eq!(entries, truth.len());
    let away: u32 = index
        .buckets
        .iter()
        .map(|bucket| u32::from(bucket.away))
        .sum();
    let guests: u32 = index
        .buckets
        .iter()
        .map(|bucket| bucket.guests.count_ones())
        .sum();
    assert_eq!(away, guests);
}

#[test]
fn it_fills_beyond_what_it_is_asked_to_hold() {
    let mut index = Index::new(30_000, 75).unwrap();
    let mut truth = HashMap::new();
    let mut key = 0;
    while index.insert(hash(key), key).is_ok() {
        truth.insert(key, hash(key));
        key += 1;
    }
    assert!(
        key as usize > index.buckets.len() * SLOTS * 95 / 100,
        "{key}"
    );
    check(&index, &truth);
    for item in 0..key {
        assert!(index.remove(hash(item), item));
    }
    check(&index, &HashMap::new());
}

/// Fills an index to 82 percent with the keys; entries away from home, and how many of as many
/// absent keys are looked for twice.
fn fill(seed: u8, key: impl Fn(u32) -> (u64, u64)) -> (usize, usize) {
    let secret = Seed::new([seed; 32]).shared_key();
    let hash = |item| {
        let (a, b) = key(item);
        secret.hash(1, a, b)
    };
    let mut index = Index::new(40_000, 82).unwrap();
    for item in 0..40_000 {
        index.insert(hash(item), item).unwrap();
    }
    let guests = |bucket: &Bucket| bucket.guests.count_ones() as usize;
    let twice = (40_000..80_000)
        .map(hash)
        .filter(|&hash| index.first_candidate(hash).is_none() && index.approach_second(hash));
    (index.buckets.iter().map(guests).sum(), twice.count())
}

#[test]
fn at_its_load_few_lookups_need_a_second_look_whatever_the_keys() {
    // Counting up, one bit at a time, in strides, and all of it in the upper half.
    let keys: [fn(u32) -> (u64, u64); 4] = [
        |item| (u64::from(item), 7),
        |item| {
            (
                1 << (item % 64),
                1 << (item / 64 % 64) | u64::from(item) << 40,
            )
        },
        |item| (u64::from(item) << 16, u64::from(item) << 16),
        |item| (u64::from(item) << 44, 0),
    ];
    for seed in 0..4 {
        for key in keys {
            let (guests, twice) = fill(seed, key);
            assert!(guests < 40_000 * 9 / 100, "{guests} away");
            assert!(twice < 40_000 * 16 / 100, "{twice} looked for twice");
        }
    }
}

/// What finding some keys costs on average, in buckets and entries looked at.
fn mean_cost(index: &Index, hashes: &[u64]) -> f64 {
    let mut cost = 0;
    for &hash in hashes {
        let mut compared = 0;
        index.find(hash, |_| {
            compared += 1;
            false
        });
        cost += 1 + usize::from(index.approach_second(hash)) + compared;
    }
    cost as f64 / hashes.len() as f64
}

#[test]
fn duty06_keys_made_against_another_secret_cost_no_more_than_any() {
    const KEYS: u32 = 3000;
    let known = Seed::new([0; 32]).shared_key();
    let index = || Index::new(KEYS as usize, 82).unwrap();
    let cost = |secret: &HashKey, keys: &[u64]| {
        let hashes: Vec<u64> = keys.iter().map(|&key| secret.hash(1, key, 9)).collect();
        let mut index = index();
        let filled = hashes.iter().zip(0..);
        let lost = filled.filter(|&(&hash, item)| index.insert(hash, item).is_err());
        (lost.count(), mean_cost(&index, &hashes))
    };
    // Keys that would all have one of few homes, were the secret the one the attacker knows.
    let homes = index();
    let crowded = |key: &u64| homes.first(known.hash(1, *key, 9)) < 8;
    let made: Vec<u64> = (0..).filter(crowded).take(KEYS as usize).collect();
    let any: Vec<u64> = (0..u64::from(KEYS)).collect();
    let (_, attacked) = cost(&known, &made);
    assert!(
        attacked > 1.3 * cost(&known, &any).1,
        "the attack would work: {attacked}"
    );
    for seed in 1..4 {
        let secret = Seed::new([seed; 32]).shared_key();
        let (made, any) = (cost(&secret, &made), cost(&secret, &any));
        assert_eq!((made.0, any.0), (0, 0), "none finds no room");
        assert!(made.1 <= 1.2 * any.1, "{} against {}", made.1, any.1);
    }
}

#[test]
fn entries_that_look_alike_are_told_apart_by_where_they_belong() {
    let mut index = Index::new(150, 75).unwrap();
    let tag = 7;
    let in_bucket = |index: &Index, bucket: usize, tag: u16| {
        let bits = ((bucket as u64) << 32).div_ceil(index.buckets.len() as u64);
        let hash = bits << 32 | u64::from(tag);
        assert_eq!(index.first(hash), bucket);
        hash
    };
    let home = (0..).find(|&bucket| index.other(bucket, tag) != bucket);
    let home = home.unwrap();
    let away = index.other(home, tag);
    // A full bucket sends the second entry as a guest where the first will be at home.
    for item in 100..110 {
        let filler = in_bucket(&index, away, 1000);
        index.insert(filler, item).unwrap();
    }
    let (guest, native) = (in_bucket(&index, away, tag), in_bucket(&index, home, tag));
    index.insert(guest, 5).unwrap();
    index.insert(native, 5).unwrap();
    assert!(index.remove(native, 5));
    assert_eq!(index.find(guest, |item| item == 5), Some(5));
    assert!(index.remove(guest, 5));
    assert_eq!(index.find(guest, |item| item == 5), None);
}

proptest! {
    /// Hashes of few values make crowded buckets, equal tags and moves common.
    #[test]
    fn it_answers_as_a_hash_map(operations in prop::collection::vec((0u32..400, any::<bool>()), 1..3000)) {
        let mut index = Index::new(150, 75).unwrap();
        let mut truth = HashMap::new();
        for (item, add) in operations {
            let hash = hash(item / 3);
            if add && !truth.contains_key(&item) {
                if index.insert(hash, item).is_ok() {
                    truth.insert(item, hash);
                } else {
                    prop_assert!(truth.len() > 60);
                }
            } else if !add {
                prop_assert_eq!(index.remove(hash, item), truth.remove(&item).is_some());
            }
        }
        check(&index, &truth);
    }

    #[test]
    fn a_replaced_number_is_found_under_the_same_hash(count in 1u32..200, old in 0u32..200) {
        let mut index = Index::new(150, 75).unwrap();
        for item in 0..count {
            index.insert(hash(item), item).unwrap();
        }
        prop_assert_eq!(index.replace(hash(old), old, 1000), old < count);
        prop_assert_eq!(index.find(hash(old), |item| item == 1000).is_some(), old < count);
        prop_assert!(index.find(hash(old), |item| item == old).is_none());
    }
}
