//! Changes to an IPv6 header on its way through a router. There is no header checksum, and nothing
//! here is covered by the checksums behind it.

use crate::error::PacketError;
use crate::ipv6::{HEADER_LEN, HOP_LIMIT};

/// Takes one from the hop limit, and returns what is left (RFC 8200 section 3).
///
/// # Errors
/// [`PacketError::HopLimitExpired`] when it is 0 or 1, [`PacketError::Ipv6Truncated`]. The packet is
/// then unchanged.
#[inline]
pub fn decrement_hop_limit(packet: &mut [u8]) -> Result<u8, PacketError> {
    let header = fixed_header(packet)?;
    match header[HOP_LIMIT] {
        0 | 1 => Err(PacketError::HopLimitExpired),
        hops => {
            header[HOP_LIMIT] = hops - 1;
            Ok(hops - 1)
        }
    }
}

/// Sets the traffic class: DSCP and ECN.
///
/// # Errors
/// [`PacketError::Ipv6Truncated`].
#[inline]
pub fn set_traffic_class(packet: &mut [u8], class: u8) -> Result<(), PacketError> {
    let header = fixed_header(packet)?;
    header[0] = header[0] & 0xf0 | class >> 4;
    header[1] = header[1] & 0x0f | class << 4;
    Ok(())
}

fn fixed_header(packet: &mut [u8]) -> Result<&mut [u8; HEADER_LEN], PacketError> {
    packet.first_chunk_mut().ok_or(PacketError::Ipv6Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv6::Ipv6;

    fn packet(hop_limit: u8) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&[0x6b, 0x81, 0x23, 0x45]);
        bytes[HOP_LIMIT] = hop_limit;
        bytes
    }

    #[test]
    fn l01_the_hop_limit_falls_by_one_and_never_below_one() {
        let mut bytes = packet(64);
        assert_eq!(decrement_hop_limit(&mut bytes), Ok(63));
        assert_eq!(bytes[HOP_LIMIT], 63);
        for spent in [0, 1] {
            let mut bytes = packet(spent);
            let refused = decrement_hop_limit(&mut bytes);
            assert_eq!(refused, Err(PacketError::HopLimitExpired));
            assert_eq!(bytes[HOP_LIMIT], spent);
        }
        assert!(decrement_hop_limit(&mut bytes[..39]).is_err());
    }

    #[test]
    fn the_traffic_class_alone_changes() {
        for class in 0..=255 {
            let mut bytes = packet(1);
            set_traffic_class(&mut bytes, class).unwrap();
            let view = Ipv6::new(&bytes).unwrap();
            assert_eq!((view.traffic_class(), view.flow_label()), (class, 0x1_2345));
            assert_eq!(bytes[4..], packet(1)[4..]);
        }
    }
}
