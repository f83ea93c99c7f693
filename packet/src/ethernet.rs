//! Ethernet II frames, with or without one 802.1Q tag.

use core::ops::Range;

use sekisho_types::MacAddr;

use crate::bytes::{be16, mac, put_mac, put16};
use crate::error::PacketError;

const DST: Range<usize> = 0..6;
const SRC: Range<usize> = 6..12;
const TYPE: Range<usize> = 12..14;
const TAG_CONTROL: Range<usize> = 0..2;
const TAG_TYPE: Range<usize> = 2..4;

/// Length of an untagged header in bytes.
pub const HEADER_LEN: usize = 14;
/// Length of an 802.1Q tag in bytes.
pub const TAG_LEN: usize = 4;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// An 802.1Q tag.
    pub const VLAN: Self = Self(0x8100);
    /// An 802.1ad service tag.
    pub const SERVICE_VLAN: Self = Self(0x88a8);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
}

/// The control information of an 802.1Q tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VlanTag(u16);

impl VlanTag {
    /// The VLAN identifier, 12 bits; 0 is a mere priority tag.
    pub const fn id(self) -> u16 {
        self.0 & 0x0fff
    }

    /// The priority code point, 0 to 7.
    pub const fn priority(self) -> u8 {
        (self.0 >> 13) as u8
    }
}

/// A frame, read. Getters never panic after [`Ethernet::new`].
#[derive(Clone, Copy, Debug)]
pub struct Ethernet<'a> {
    header: &'a [u8; HEADER_LEN],
    tag: Option<&'a [u8; TAG_LEN]>,
    payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    /// The frame in `bytes`.
    ///
    /// # Errors
    /// [`PacketError::EthernetTruncated`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let (header, payload) = bytes
            .split_first_chunk()
            .ok_or(PacketError::EthernetTruncated)?;
        if be16(header, TYPE) != EtherType::VLAN.0 {
            return Ok(Self {
                header,
                tag: None,
                payload,
            });
        }
        let (tag, payload) = payload
            .split_first_chunk()
            .ok_or(PacketError::EthernetTruncated)?;
        Ok(Self {
            header,
            tag: Some(tag),
            payload,
        })
    }

    /// The destination.
    #[inline]
    pub fn dst(&self) -> MacAddr {
        mac(self.header, DST)
    }

    /// The source.
    #[inline]
    pub fn src(&self) -> MacAddr {
        mac(self.header, SRC)
    }

    /// What the payload is, behind the tag if there is one. A second tag is not looked behind.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(match self.tag {
            Some(tag) => be16(tag, TAG_TYPE),
            None => be16(self.header, TYPE),
        })
    }

    /// The 802.1Q tag.
    #[inline]
    pub fn vlan(&self) -> Option<VlanTag> {
        self.tag.map(|tag| VlanTag(be16(tag, TAG_CONTROL)))
    }

    /// Length of the header and its tag, in bytes.
    #[inline]
    pub fn header_len(&self) -> usize {
        match self.tag {
            Some(_) => HEADER_LEN + TAG_LEN,
            None => HEADER_LEN,
        }
    }

    /// What follows header and tag, padding included.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// The addresses of a frame, to be changed.
#[derive(Debug)]
pub struct EthernetMut<'a> {
    header: &'a mut [u8; HEADER_LEN],
}

impl<'a> EthernetMut<'a> {
    /// The frame in `bytes`.
    ///
    /// # Errors
    /// [`PacketError::EthernetTruncated`].
    #[inline]
    pub fn new(bytes: &'a mut [u8]) -> Result<Self, PacketError> {
        let header = bytes
            .first_chunk_mut()
            .ok_or(PacketError::EthernetTruncated)?;
        Ok(Self { header })
    }

    /// Sets the destination.
    #[inline]
    pub fn set_dst(&mut self, dst: MacAddr) {
        put_mac(self.header, DST, dst);
    }

    /// Sets the source.
    #[inline]
    pub fn set_src(&mut self, src: MacAddr) {
        put_mac(self.header, SRC, src);
    }
}

/// Writes an untagged header.
#[inline]
pub fn write_header(out: &mut [u8; HEADER_LEN], dst: MacAddr, src: MacAddr, ethertype: EtherType) {
    put_mac(out, DST, dst);
    put_mac(out, SRC, src);
    put16(out, TYPE, ethertype.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tag_is_seen_through_and_a_second_is_not() {
        let mut frame = [0u8; 26];
        frame[12..22].copy_from_slice(&[0x81, 0, 0xa0, 42, 0x81, 0, 0, 43, 8, 0]);
        let view = Ethernet::new(&frame).unwrap();
        assert_eq!(view.ethertype(), EtherType::VLAN);
        assert_eq!(view.header_len() + view.payload().len(), frame.len());
        let tag = view.vlan().unwrap();
        assert_eq!((tag.id(), tag.priority()), (42, 5));
    }

    #[test]
    fn a_frame_that_ends_inside_its_tag_is_refused() {
        let mut frame = [0u8; 17];
        frame[12..14].copy_from_slice(&[0x81, 0]);
        assert!(matches!(
            Ethernet::new(&frame),
            Err(PacketError::EthernetTruncated)
        ));
    }

    #[test]
    fn a_written_header_reads_back() {
        let (dst, src) = (MacAddr::BROADCAST, MacAddr::new([2, 0, 0, 0, 0, 1]));
        let mut frame = [0u8; HEADER_LEN];
        write_header(&mut frame, MacAddr::ZERO, MacAddr::ZERO, EtherType::ARP);
        let mut change = EthernetMut::new(&mut frame).unwrap();
        change.set_dst(dst);
        change.set_src(src);
        let view = Ethernet::new(&frame).unwrap();
        assert_eq!(
            (view.dst(), view.src(), view.ethertype()),
            (dst, src, EtherType::ARP)
        );
    }
}
