//! Names of kernel interfaces.

use std::fmt;

use crate::HostError;

/// A name that is safe in `/proc/sys` paths and in nftables input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InterfaceName(String);

impl InterfaceName {
    /// Longest name the kernel takes (IFNAMSIZ less the NUL).
    const MAX_LEN: usize = 15;

    pub(crate) fn new(text: &str) -> Result<Self, HostError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let starts_well = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        if starts_well && text.len() <= Self::MAX_LEN && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(HostError::InterfaceName(text.to_owned()))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_of_at_most_15_octets_pass() {
        for text in ["eth0", "eth-fabric", "isp_a.100", "123456789012345"] {
            assert_eq!(InterfaceName::new(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            "..",
            "a b",
            "a\"",
            "a/b",
            "a;b",
            "1234567890123456",
            "é",
        ] {
            assert!(InterfaceName::new(text).is_err(), "{text}");
        }
    }
}
