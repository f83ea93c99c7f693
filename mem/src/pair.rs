//! Two neighbouring words in one load.

use std::sync::atomic::AtomicU32;

/// Both words, the first in the low half: each as a relaxed load of its own has it, which one
/// instruction does for both.
#[inline(always)]
pub fn load_pair(words: &[AtomicU32; 2]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let pair: u64;
        // SAFETY: reads the eight octets behind the reference, which is to live memory. The
        // processor never splits a word that is aligned, as these two are, so what it reads of
        // each is what a relaxed load might have read.
        unsafe {
            std::arch::asm!(
                "mov {pair}, qword ptr [{words}]",
                pair = out(reg) pair,
                words = in(reg) words,
                options(nostack, preserves_flags, pure, readonly),
            );
        }
        pair
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        use std::sync::atomic::Ordering;
        let [low, high] = words
            .each_ref()
            .map(|word| u64::from(word.load(Ordering::Relaxed)));
        low | high << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_the_low_half() {
        let words = [0x89ab_cdef, 0x0123_4567].map(AtomicU32::new);
        assert_eq!(load_pair(&words), 0x0123_4567_89ab_cdef);
    }
}
