//! Values that are written as text in the documents, and what to write instead when they are not
//! understood.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sekisho_types::{IpProtocol, Ipv4Prefix, MacAddr, Name, PciAddress, Prefix, PrefixError};

use super::model::{
    Allocation, Filtering, Hugepages, InterfaceAddress, LogLevel, MappingMode, MemifRole, MssClamp,
    NextHop, UnsolicitedSyn,
};

/// A value that can be read from text. The error says what would be right.
pub(super) trait FromText: Sized {
    fn from_text(text: &str) -> Result<Self, String>;
}

macro_rules! from_text_by_from_str {
    ($($type:ty),+) => {$(
        impl FromText for $type {
            fn from_text(text: &str) -> Result<Self, String> {
                text.parse().map_err(|error| format!("{error}"))
            }
        }
    )+};
}

from_text_by_from_str!(Name, MacAddr, PciAddress, Ipv4Prefix, Prefix);

impl FromText for String {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err("control characters are not allowed here; write plain text".into());
        }
        Ok(text.to_owned())
    }
}

impl FromText for PathBuf {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.starts_with('/') && !text.contains('\0') {
            Ok(Self::from(text))
        } else {
            Err(format!("{text:?} is not an absolute path; begin it with /"))
        }
    }
}

impl FromText for Ipv4Addr {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            if text.contains('/') {
                format!("{text:?} is a prefix; write an address, like 192.0.2.1")
            } else {
                format!("{text:?} is not an IPv4 address; write one like 192.0.2.1")
            }
        })
    }
}

impl FromText for IpAddr {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            if text.contains('%') {
                format!("{text:?} names an interface; only a next hop can, write the address alone")
            } else if text.contains('/') {
                format!("{text:?} is a prefix; write an address, like 192.0.2.1 or 2001:db8::1")
            } else {
                format!("{text:?} is not an IP address; write one like 192.0.2.1 or 2001:db8::1")
            }
        })
    }
}

/// `ADDRESS` or `ADDRESS%INTERFACE`.
impl FromText for NextHop {
    fn from_text(text: &str) -> Result<Self, String> {
        let (address, interface) = match text.split_once('%') {
            Some((address, interface)) => (address, Some(Name::from_text(interface)?)),
            None => (text, None),
        };
        Ok(Self {
            address: IpAddr::from_text(address)?,
            interface,
        })
    }
}

impl FromText for InterfaceAddress {
    fn from_text(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!("{text:?} is not an address with a prefix length; write one like 192.0.2.1/24")
        };
        let (address, length) = text.split_once('/').ok_or_else(refuse)?;
        if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refuse());
        }
        let length: u8 = length.parse().map_err(|_| refuse())?;
        let address = IpAddr::from_text(address)?;
        let prefix = Prefix::truncated(address, length);
        match Prefix::new(address, length) {
            Err(error @ PrefixError::TooLong { .. }) => Err(error.to_string()),
            _ => Ok(Self { address, prefix }),
        }
    }
}

impl FromText for Duration {
    fn from_text(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} is not a duration; write one like 9s, 5m, 2h or 1500ms");
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(refuse)?;
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refuse()),
        };
        number
            .checked_mul(milliseconds)
            .map(Self::from_millis)
            .ok_or_else(refuse)
    }
}

/// `auto`, `off`, or octets.
impl FromText for MssClamp {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            // A segment of less is never right (RFC 9293 section 3.7.1 has 536 as the default).
            _ => match text.parse() {
                Ok(octets @ 216..=9176) => Ok(Self::To(octets)),
                _ => Err(format!(
                    "{text:?} is no segment size; write auto, off, or 216 to 9176 octets, like 1360"
                )),
            },
        }
    }
}

/// `FIRST-LAST`, ports.
impl FromText for (u16, u16) {
    fn from_text(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} is not a port range; write one like 1024-65535");
        let (first, last) = text.split_once('-').ok_or_else(refuse)?;
        let first: u16 = first.trim().parse().map_err(|_| refuse())?;
        let last: u16 = last.trim().parse().map_err(|_| refuse())?;
        if first == 0 || first > last {
            return Err(format!(
                "{text:?} holds no port; write the smaller port first, from 1 on"
            ));
        }
        Ok((first, last))
    }
}

/// `ADDRESS:PORT`.
impl FromText for (Ipv4Addr, u16) {
    fn from_text(text: &str) -> Result<Self, String> {
        let refuse =
            || format!("{text:?} is not an address and a port; write them like 192.0.2.1:8080");
        let (address, port) = text.split_once(':').ok_or_else(refuse)?;
        let address = address.parse().map_err(|_| refuse())?;
        match port.parse() {
            Ok(0) => Err("port 0 cannot be forwarded; write 1 to 65535".into()),
            Ok(port) => Ok((address, port)),
            Err(_) => Err(refuse()),
        }
    }
}

/// `ADDRESS:PORT` of a collector; IPv6 in brackets.
impl FromText for SocketAddr {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.parse::<Self>() {
            Ok(address) if address.port() != 0 => Ok(address),
            _ => Err(format!(
                "{text:?} is not an address and a port; write them like 192.0.2.9:4739 or \
                 [2001:db8::9]:4739"
            )),
        }
    }
}

/// Addresses of a pool: a prefix, `FIRST-LAST` or one address; as prefixes.
impl FromText for Vec<Ipv4Prefix> {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Ipv4Prefix::from_text(text).map(|prefix| vec![prefix]);
        }
        let Some((first, last)) = text.split_once('-') else {
            return Ipv4Addr::from_text(text).map(|address| vec![Ipv4Prefix::host(address)]);
        };
        let first = Ipv4Addr::from_text(first.trim())?;
        let last = Ipv4Addr::from_text(last.trim())?;
        if first > last {
            return Err(format!(
                "{text} runs backwards; did you mean {last}-{first}?"
            ));
        }
        Ok(range_to_prefixes(first, last))
    }
}

/// The fewest prefixes that cover `first` to `last` (inclusive, in order) and nothing else.
fn range_to_prefixes(first: Ipv4Addr, last: Ipv4Addr) -> Vec<Ipv4Prefix> {
    let (mut next, last) = (u64::from(u32::from(first)), u64::from(u32::from(last)));
    let mut prefixes = Vec::new();
    while next <= last {
        let mut bits = next.trailing_zeros().min(32);
        while next + (1u64 << bits) - 1 > last {
            bits -= 1;
        }
        // `next` is at most `last`, which came from 32 bits; `bits` is at most 32.
        prefixes.push(Ipv4Prefix::truncated(
            Ipv4Addr::from(next as u32),
            32 - bits as u8,
        ));
        next += 1u64 << bits;
    }
    prefixes
}

/// The name of a kernel interface: 1 to 15 visible characters without `/` and `:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KernelInterface(pub(super) String);

impl FromText for KernelInterface {
    fn from_text(text: &str) -> Result<Self, String> {
        let good = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b',' | b'=');
        if (1..=15).contains(&text.len()) && text.bytes().all(good) && text != "." && text != ".." {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is not the name of a kernel interface; use 1 to 15 characters without \
                 spaces, '/', ':', ',' and '='"
            ))
        }
    }
}

macro_rules! from_text_words {
    ($($type:ty { $($word:literal => $value:expr),+ $(,)? })+) => {$(
        impl FromText for $type {
            fn from_text(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err(format!("{text:?} is not known here; write one of {}", [$($word),+].join(", "))),
                }
            }
        }
    )+};
}

/// Whether a rule permits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permit(pub(super) bool);

/// What drives a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    Tap,
    AfPacket,
    AfXdp,
    Memif,
    Pci,
}

impl Driver {
    pub(super) const ALL: [Self; 5] = [
        Self::Tap,
        Self::AfPacket,
        Self::AfXdp,
        Self::Memif,
        Self::Pci,
    ];

    /// How it is written.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Tap => "tap",
            Self::AfPacket => "af_packet",
            Self::AfXdp => "af_xdp",
            Self::Memif => "memif",
            Self::Pci => "pci",
        }
    }
}

/// The path of a memif's socket: what both the kernel and DPDK's argument syntax take.
#[derive(Clone, Debug)]
pub(super) struct SocketPath(pub(super) PathBuf);

impl FromText for SocketPath {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.starts_with('/') && text.len() <= 107 && text.bytes().all(is_plain) {
            Ok(Self(text.into()))
        } else {
            Err(format!(
                "{text:?} is no path of a memif socket; use an absolute one of at most 107 letters, \
                 digits and /._-+@"
            ))
        }
    }
}

/// What a memif's client must know.
#[derive(Clone, Debug)]
pub(super) struct Secret(pub(super) String);

impl FromText for Secret {
    fn from_text(text: &str) -> Result<Self, String> {
        if (1..=23).contains(&text.len()) && text.bytes().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err("this is no secret of a memif; use 1 to 23 letters, digits and /._-+@".into())
        }
    }
}

/// Characters that mean nothing to DPDK's argument syntax.
fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"/._-+@".contains(&b)
}

from_text_words! {
    Hugepages { "auto" => Hugepages::Auto, "never" => Hugepages::Never, "require" => Hugepages::Require }
    Permit { "permit" => Permit(true), "deny" => Permit(false) }
    Driver {
        "pci" => Driver::Pci, "af_packet" => Driver::AfPacket, "af_xdp" => Driver::AfXdp,
        "tap" => Driver::Tap, "memif" => Driver::Memif,
    }
    MemifRole { "server" => MemifRole::Server, "client" => MemifRole::Client }
    IpProtocol { "tcp" => IpProtocol::TCP, "udp" => IpProtocol::UDP }
    Allocation {
        "blocks" => Allocation::Blocks,
        "ports" => Allocation::Ports,
    }
    MappingMode {
        "endpoint-independent" => MappingMode::EndpointIndependent,
        "endpoint-dependent" => MappingMode::EndpointDependent,
    }
    LogLevel {
        "none" => LogLevel::None, "blocks" => LogLevel::Blocks, "mappings" => LogLevel::Mappings,
        "sessions" => LogLevel::Sessions,
    }
    Filtering {
        "endpoint-independent" => Filtering::EndpointIndependent,
        "address-dependent" => Filtering::AddressDependent,
        "address-and-port-dependent" => Filtering::AddressAndPortDependent,
    }
    UnsolicitedSyn {
        "unreachable" => UnsolicitedSyn::Unreachable, "silent" => UnsolicitedSyn::Silent,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_need_a_unit_and_do_not_overflow() {
        assert_eq!(Duration::from_text("9s"), Ok(Duration::from_secs(9)));
        assert_eq!(Duration::from_text("2h"), Ok(Duration::from_secs(7200)));
        for text in ["", "9", "s", "-1s", "1.5s", "9 s", "99999999999999999d"] {
            assert!(Duration::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn interface_addresses_keep_their_host_bits() {
        let address = InterfaceAddress::from_text("10.1.0.1/24").unwrap();
        assert_eq!(address.prefix.to_string(), "10.1.0.0/24");
        assert_eq!(address.address.to_string(), "10.1.0.1");
        for text in ["10.1.0.1", "10.1.0.1/", "10.1.0.1/33", "10.1.0.1/+4", "x/8"] {
            assert!(InterfaceAddress::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_whole_address_space_is_one_prefix() {
        let prefixes = range_to_prefixes(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        assert_eq!(prefixes, [Ipv4Prefix::DEFAULT]);
    }

    proptest! {
        #[test]
        fn a_range_becomes_adjoining_prefixes_from_its_first_to_its_last_address(a: u32, length in 0u32..5000) {
            let (first, last) = (a, a.saturating_add(length));
            let prefixes = range_to_prefixes(first.into(), last.into());
            prop_assert_eq!(u32::from(prefixes[0].addr()), first);
            prop_assert_eq!(u32::from(prefixes[prefixes.len() - 1].last()), last);
            for pair in prefixes.windows(2) {
                prop_assert_eq!(u32::from(pair[0].last()) + 1, u32::from(pair[1].addr()));
            }
        }
    }
}
