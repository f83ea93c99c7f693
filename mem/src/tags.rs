//! Comparing the tags of a bucket all at once.

/// Tags of a bucket of [`equal_tags`].
pub const BUCKET_TAGS: usize = 10;

/// The places where `tags` equal `wanted`, one bit each from the lowest: without a branch.
#[inline(always)]
pub fn equal_tags(tags: &[u16; BUCKET_TAGS], wanted: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{
            _mm_cmpeq_epi16, _mm_loadu_si32, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16,
            _mm_set1_epi16,
        };
        // SAFETY: reads tags 0 to 7 and 8 to 9 of an array of ten; neither load asks for an
        // alignment. SSE2 is part of x86-64.
        let equal = unsafe {
            let wanted = _mm_set1_epi16(wanted as i16);
            let low = _mm_loadu_si128(tags.as_ptr().cast());
            let high = _mm_loadu_si32(tags.as_ptr().add(8).cast());
            _mm_movemask_epi8(_mm_packs_epi16(
                _mm_cmpeq_epi16(low, wanted),
                _mm_cmpeq_epi16(high, wanted),
            ))
        };
        // The lanes beyond the tenth hold zeros, which may be what is wanted.
        equal as u32 & 0x3ff
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let bit = |(place, &tag): (usize, &u16)| u32::from(tag == wanted) << place;
        tags.iter().enumerate().map(bit).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_equal_tag_has_its_bit(tags: [u16; BUCKET_TAGS], wanted: u16, put in 0u32..1024) {
            let mut tags = tags;
            for (place, tag) in tags.iter_mut().enumerate() {
                if put >> place & 1 == 1 {
                    *tag = wanted;
                }
            }
            let slow = (0..BUCKET_TAGS).filter(|&place| tags[place] == wanted);
            prop_assert_eq!(equal_tags(&tags, wanted), slow.map(|place| 1 << place).sum::<u32>());
        }
    }

    #[test]
    fn zero_is_a_tag_like_others() {
        assert_eq!(equal_tags(&[0; BUCKET_TAGS], 0), 0x3ff);
        assert_eq!(
            equal_tags(&[0, 1, 0, 1, 1, 1, 1, 1, 1, 0], 0),
            0b10_0000_0101
        );
    }
}
