//! A keyed hash in hardware.

/// Hashes two words under a secret key by three rounds of AES: each bit of the result depends on
/// each bit of the words, in a way that follows from the key alone.
///
/// Only where the target has AES-NI.
#[inline(always)]
pub fn aes_hash(key: &[u64; 4], domain: u64, a: u64, b: u64) -> u64 {
    use std::arch::x86_64::{_mm_aesenc_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_xor_si128};
    // SAFETY: only compiled where the target has AES-NI, and with it SSE2; nothing is dereferenced.
    unsafe {
        let first = _mm_set_epi64x(key[1] as i64, key[0] as i64);
        let second = _mm_set_epi64x(key[3] as i64, key[2] as i64);
        let words = _mm_set_epi64x(b as i64, a as i64);
        let domain = _mm_xor_si128(second, _mm_set_epi64x(0, domain as i64));
        // The domain passes two rounds, enough to reach every bit.
        let mixed = _mm_aesenc_si128(_mm_xor_si128(words, first), domain);
        let mixed = _mm_aesenc_si128(mixed, second);
        _mm_cvtsi128_si64(_mm_aesenc_si128(mixed, first)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_the_words_and_the_domain_moves_half_of_the_result() {
        let key = [0x0123_4567_89ab_cdef, 2, 3, 0xfedc_ba98_7654_3210];
        let base = aes_hash(&key, 7, 11, 13);
        for bit in 0..64 {
            for other in [
                aes_hash(&key, 7, 11 ^ 1 << bit, 13),
                aes_hash(&key, 7, 11, 13 ^ 1 << bit),
                aes_hash(&key, 7 ^ 1 << bit, 11, 13),
                aes_hash(&[key[0] ^ 1 << bit, key[1], key[2], key[3]], 7, 11, 13),
                aes_hash(&[key[0], key[1], key[2] ^ 1 << bit, key[3]], 7, 11, 13),
            ] {
                assert!((8..56).contains(&(base ^ other).count_ones()), "bit {bit}");
            }
        }
    }
}
