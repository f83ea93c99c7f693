//! How many new sessions a tenant may have in a second.

use sekisho_mem::zeroable_struct;

use crate::time::Time;

zeroable_struct! {
    /// A bucket of tokens: it holds those of a second, and gets that many back in each. An untouched
    /// one is full.
    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Bucket {
        /// Tokens that are out, in thousandths.
        spent: u64,
        /// Until when tokens were given back, in milliseconds.
        until: u32,
        unused: u32,
    }
}

/// A token.
const TOKEN: u64 = 1000;

impl Bucket {
    /// Whether there is a token, at so many a second, which is at least one.
    #[inline]
    pub(crate) fn has_token(&mut self, now: Time, rate: u32) -> bool {
        // The time goes on, so that a difference is right however long ago the last one was. A
        // millisecond gives as many thousandths back as a second gives tokens.
        let passed = now.raw().wrapping_sub(self.until);
        let back = u64::from(passed) * u64::from(rate);
        self.spent = self.spent.saturating_sub(back);
        self.until = now.raw();
        self.spent + TOKEN <= u64::from(rate) * TOKEN
    }

    /// Takes a token.
    #[inline]
    pub(crate) const fn take(&mut self) {
        self.spent += TOKEN;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_untouched_bucket_is_full_and_an_empty_one_fills_in_a_second() {
        for start in [0, 5_000, u64::from(u32::MAX) - 200] {
            let mut bucket = Bucket::default();
            let mut take = |millis: u64| {
                let had = bucket.has_token(Time::from_millis(start + millis), 3);
                if had {
                    bucket.take();
                }
                had
            };
            assert_eq!(
                [0, 0, 0, 0, 100, 333].map(&mut take),
                [true, true, true, false, false, false]
            );
            assert_eq!(
                [334, 335, 666, 668, 669].map(&mut take),
                [true, false, false, true, false]
            );
            assert_eq!(
                [90_000, 90_000, 90_000, 90_000].map(&mut take),
                [true, true, true, false]
            );
        }
    }

    proptest! {
        #[test]
        fn no_second_gives_more_than_a_full_bucket_and_its_rate(
            rate in 1u32..2000, steps in prop::collection::vec(0u64..40, 1..400), start: u32,
        ) {
            let mut bucket = Bucket::default();
            let (mut now, mut taken) = (0, Vec::new());
            for step in steps {
                now += step;
                for _ in 0..20 {
                    if bucket.has_token(Time::from_millis(u64::from(start) + now), rate) {
                        bucket.take();
                        taken.push(now);
                    }
                }
            }
            let all = taken.len() as u64;
            prop_assert!(all <= u64::from(rate) + (now * u64::from(rate)).div_ceil(1000) + 1);
        }
    }
}
