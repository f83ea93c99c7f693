//! The option lists of IPv4 (RFC 791 section 3.1) and TCP (RFC 9293 section 3.1), which share
//! their form.

use crate::error::PacketError;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;

/// One option that has a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderOption<'a> {
    /// The kind (TCP) or type (IPv4).
    pub kind: u8,
    /// What follows kind and length.
    pub data: &'a [u8],
    /// Where `data` starts in the option list, in bytes.
    pub data_offset: usize,
}

/// Walks an option list. Padding is skipped; a malformed option ends the walk with an error.
#[derive(Clone, Debug)]
pub struct HeaderOptions<'a> {
    list: &'a [u8],
    at: usize,
}

impl<'a> HeaderOptions<'a> {
    pub(crate) const fn new(list: &'a [u8]) -> Self {
        Self { list, at: 0 }
    }

    fn take(&mut self, kind: u8) -> Option<HeaderOption<'a>> {
        let length = usize::from(*self.list.get(self.at + 1)?);
        let data_offset = self.at + 2;
        let data = self.list.get(data_offset..self.at + length)?;
        self.at += length;
        Some(HeaderOption {
            kind,
            data,
            data_offset,
        })
    }
}

impl<'a> Iterator for HeaderOptions<'a> {
    type Item = Result<HeaderOption<'a>, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match *self.list.get(self.at)? {
                END => {
                    self.at = self.list.len();
                    return None;
                }
                NO_OPERATION => self.at += 1,
                kind => {
                    let option = self.take(kind).ok_or(PacketError::Options);
                    if option.is_err() {
                        self.at = self.list.len();
                    }
                    return Some(option);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_is_skipped_and_the_end_is_respected() {
        let list = [1, 2, 4, 5, 0xb4, 1, 0, 3, 3, 7];
        let options: Vec<_> = HeaderOptions::new(&list).collect();
        let mss = HeaderOption {
            kind: 2,
            data: &[5, 0xb4],
            data_offset: 3,
        };
        assert_eq!(options, [Ok(mss)]);
    }

    #[test]
    fn impossible_lengths_end_the_walk_with_an_error() {
        for list in [&[2][..], &[2, 0], &[2, 1, 9], &[2, 5, 0, 0]] {
            let options: Vec<_> = HeaderOptions::new(list).collect();
            assert_eq!(options, [Err(PacketError::Options)], "{list:?}");
        }
    }

    proptest! {
        #[test]
        fn any_list_ends_and_data_lies_where_it_says(list: Vec<u8>) {
            for option in HeaderOptions::new(&list).flatten() {
                prop_assert_eq!(&list[option.data_offset..][..option.data.len()], option.data);
            }
        }
    }
}
