//! Autonomous system numbers.

use std::fmt;
use std::str::FromStr;

/// A four-octet autonomous system number (RFC 6793). Never zero: AS 0 is reserved (RFC 7607).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(u32);

/// Why a number or text is no AS number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsnError {
    /// AS 0 (RFC 7607).
    #[error("AS 0 is reserved; an AS number is 1 to 4294967295")]
    Zero,
    /// Not a decimal number of 32 bits.
    #[error("{0:?} is not an AS number; write 1 to 4294967295")]
    NotANumber(String),
}

impl Asn {
    /// `AS_TRANS`, which stands for a four-octet number toward a two-octet speaker (RFC 6793).
    pub const TRANS: Self = Self(23456);

    /// An AS number, unless it is zero.
    pub const fn new(number: u32) -> Result<Self, AsnError> {
        if number == 0 {
            Err(AsnError::Zero)
        } else {
            Ok(Self(number))
        }
    }

    /// The number.
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Asn {
    type Err = AsnError;

    fn from_str(text: &str) -> Result<Self, AsnError> {
        let number = text
            .parse()
            .map_err(|_| AsnError::NotANumber(text.to_owned()))?;
        Self::new(number)
    }
}

impl TryFrom<u32> for Asn {
    type Error = AsnError;

    fn try_from(number: u32) -> Result<Self, AsnError> {
        Self::new(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_words_are_refused() {
        assert_eq!("0".parse::<Asn>(), Err(AsnError::Zero));
        assert!("internet".parse::<Asn>().is_err());
        assert_eq!("4200000000".parse::<Asn>().unwrap().value(), 4_200_000_000);
    }
}
