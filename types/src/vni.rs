//! Virtual network identifiers.

use std::fmt;
use std::str::FromStr;

/// A 24-bit virtual network identifier (RFC 7348 section 5, RFC 8926 section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(u32);

/// Why a number or text is no VNI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VniError {
    /// More than 24 bits.
    #[error("VNI {0} does not fit 24 bits; a VNI is 0 to 16777215")]
    TooLarge(u32),
    /// Not a decimal number.
    #[error("{0:?} is not a VNI; write 0 to 16777215")]
    NotANumber(String),
}

impl Vni {
    /// The largest VNI.
    pub const MAX: Self = Self(0x00ff_ffff);
    /// The smallest VNI.
    pub const ZERO: Self = Self(0);

    /// A VNI, if the number fits 24 bits.
    pub const fn new(number: u32) -> Result<Self, VniError> {
        if number > Self::MAX.0 {
            Err(VniError::TooLarge(number))
        } else {
            Ok(Self(number))
        }
    }

    /// From the three octets of a tunnel header, most significant first.
    pub const fn from_octets(octets: [u8; 3]) -> Self {
        Self(u32::from_be_bytes([0, octets[0], octets[1], octets[2]]))
    }

    /// The three octets of a tunnel header, most significant first.
    pub const fn octets(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }

    /// The number.
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Vni {
    type Err = VniError;

    fn from_str(text: &str) -> Result<Self, VniError> {
        Self::new(
            text.parse()
                .map_err(|_| VniError::NotANumber(text.to_owned()))?,
        )
    }
}

impl TryFrom<u32> for Vni {
    type Error = VniError;

    fn try_from(number: u32) -> Result<Self, VniError> {
        Self::new(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_round_trip() {
        let vni = Vni::new(0x12_3456).unwrap();
        assert_eq!(vni.octets(), [0x12, 0x34, 0x56]);
        assert_eq!(Vni::from_octets(vni.octets()), vni);
    }

    #[test]
    fn more_than_24_bits_is_refused() {
        assert_eq!(Vni::new(1 << 24), Err(VniError::TooLarge(1 << 24)));
    }
}
