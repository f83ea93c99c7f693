//! PCI addresses.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;

/// Where a PCI device sits: domain, bus, device and function, written `0000:00:05.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    domain: u16,
    bus: u8,
    device: u8,
    function: u8,
}

/// Why a text is no PCI address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PciAddressError {
    /// Not written like one.
    #[error("{0:?} is not a PCI address; write domain, bus, device and function like 0000:00:05.0")]
    Malformed(String),
    /// Only the domain is missing, as `lspci` leaves it out.
    #[error("{0:?} is a PCI address without its domain; did you mean 0000:{0}?")]
    NoDomain(String),
    /// A bus has 32 devices of 8 functions.
    #[error("{0:?} cannot be a PCI address; devices are 00 to 1f and functions 0 to 7")]
    OutOfRange(String),
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
            function,
        } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

impl FromStr for PciAddress {
    type Err = PciAddressError;

    fn from_str(text: &str) -> Result<Self, PciAddressError> {
        let refuse = || PciAddressError::Malformed(text.to_owned());
        let hex = |part: &str, digits: usize| {
            let good = part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit());
            good.then(|| u16::from_str_radix(part, 16).ok())
                .flatten()
                .ok_or_else(refuse)
        };
        let (place, function) = text.split_once('.').ok_or_else(refuse)?;
        let parts: Vec<&str> = place.split(':').collect();
        let (domain, bus, device) = match parts[..] {
            [domain, bus, device] => (Some(hex(domain, 4)?), hex(bus, 2)?, hex(device, 2)?),
            [bus, device] => (None, hex(bus, 2)?, hex(device, 2)?),
            _ => return Err(refuse()),
        };
        let function = hex(function, 1)?;
        if device > 0x1f || function > 7 {
            return Err(PciAddressError::OutOfRange(text.to_owned()));
        }
        Ok(Self {
            domain: domain.ok_or_else(|| PciAddressError::NoDomain(text.to_owned()))?,
            // Two digits and one fit an octet.
            bus: bus as u8,
            device: device as u8,
            function: function as u8,
        })
    }
}

serde_as_text!(PciAddress);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<PciAddress>().unwrap_err().to_string()
    }

    #[test]
    fn an_address_is_written_as_the_kernel_writes_it() {
        for text in ["0000:00:05.0", "0001:af:1f.7"] {
            assert_eq!(text.parse::<PciAddress>().unwrap().to_string(), text);
        }
        let upper: PciAddress = "0000:AF:00.1".parse().unwrap();
        assert_eq!(upper.to_string(), "0000:af:00.1");
    }

    #[test]
    fn what_lspci_prints_is_completed_in_the_error() {
        assert_eq!(
            refused("00:05.0"),
            "\"00:05.0\" is a PCI address without its domain; did you mean 0000:00:05.0?"
        );
    }

    #[test]
    fn an_impossible_device_or_function_is_refused() {
        for text in ["0000:00:20.0", "0000:00:05.8"] {
            assert!(refused(text).contains("00 to 1f"), "{text}");
        }
    }

    #[test]
    fn nothing_but_an_address_can_be_smuggled_in() {
        for text in [
            "",
            "eth0",
            "0000:00:05",
            "0000:00:05.0,legacy=1",
            "0000:00:05.0 ",
            "000:00:05.0",
            "0000:0:05.0",
            "0000:00:+5.0",
            "0:0000:00:05.0",
            "pci:0000:00:05.0",
        ] {
            assert!(refused(text).contains("is not a PCI address"), "{text}");
        }
    }
}
