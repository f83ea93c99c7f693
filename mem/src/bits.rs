//! Bits of a word by their rank.

/// The place of the `n`th set bit, counted from 0; 64 if there are no more than `n`.
#[inline(always)]
pub fn nth_bit(bits: u64, n: u32) -> u32 {
    #[cfg(all(target_arch = "x86_64", target_feature = "bmi2"))]
    {
        // A mask beyond the word has no bit to deposit.
        let mask = 1u64.checked_shl(n).unwrap_or(0);
        // SAFETY: only compiled where the target has BMI2.
        unsafe { std::arch::x86_64::_pdep_u64(mask, bits) }.trailing_zeros()
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "bmi2")))]
    {
        let mut bits = bits;
        for _ in 0..n.min(64) {
            bits &= bits.wrapping_sub(1);
        }
        bits.trailing_zeros()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn set_bits_are_counted_from_the_lowest(bits: u64, n in 0u32..70) {
            let slow = (0..64).filter(|&bit| bits >> bit & 1 == 1).nth(n as usize);
            prop_assert_eq!(nth_bit(bits, n), slow.unwrap_or(64));
        }
    }
}
