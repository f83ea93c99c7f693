//! Address resolution for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;
use core::ops::Range;

use sekisho_types::MacAddr;

use crate::bytes::{be16, be32, ipv4, mac, put_mac, put16, put32};
use crate::error::PacketError;
use crate::ethernet::{self, EtherType};

/// Hardware type, protocol type and both lengths: Ethernet, IPv4, 6, 4.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
const OPERATION: Range<usize> = 6..8;
const SENDER_MAC: Range<usize> = 8..14;
const SENDER_IP: Range<usize> = 14..18;
const TARGET_MAC: Range<usize> = 18..24;
const TARGET_IP: Range<usize> = 24..28;

/// Length of an ARP packet in bytes.
pub const LEN: usize = 28;
/// Length of an ARP packet with its Ethernet header, without padding, in bytes.
pub const FRAME_LEN: usize = ethernet::HEADER_LEN + LEN;

/// What an ARP packet wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArpOperation(pub u16);

impl ArpOperation {
    /// Who has the target address?
    pub const REQUEST: Self = Self(1);
    /// The sender has the sender address.
    pub const REPLY: Self = Self(2);
}

/// An ARP packet, read. Getters never panic after [`Arp::new`].
#[derive(Clone, Copy, Debug)]
pub struct Arp<'a> {
    packet: &'a [u8; LEN],
}

impl<'a> Arp<'a> {
    /// The packet in `bytes`; what follows it is padding.
    ///
    /// # Errors
    /// [`PacketError::ArpTruncated`], [`PacketError::ArpKind`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let packet: &[u8; LEN] = bytes.first_chunk().ok_or(PacketError::ArpTruncated)?;
        if be32(packet, 0..4) != 0x0001_0800 || be16(packet, 4..6) != 0x0604 {
            return Err(PacketError::ArpKind);
        }
        Ok(Self { packet })
    }

    /// Request, reply or something else.
    #[inline]
    pub fn operation(&self) -> ArpOperation {
        ArpOperation(be16(self.packet, OPERATION))
    }

    /// The sender's Ethernet address.
    #[inline]
    pub fn sender_mac(&self) -> MacAddr {
        mac(self.packet, SENDER_MAC)
    }

    /// The sender's IPv4 address; 0.0.0.0 in a probe (RFC 5227).
    #[inline]
    pub fn sender_ip(&self) -> Ipv4Addr {
        ipv4(self.packet, SENDER_IP)
    }

    /// The target's Ethernet address; without meaning in a request.
    #[inline]
    pub fn target_mac(&self) -> MacAddr {
        mac(self.packet, TARGET_MAC)
    }

    /// The target's IPv4 address.
    #[inline]
    pub fn target_ip(&self) -> Ipv4Addr {
        ipv4(self.packet, TARGET_IP)
    }

    /// Whether it announces the sender's own address (RFC 5227 section 3).
    #[inline]
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip() == self.target_ip()
    }
}

/// An ARP packet to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpFrame {
    /// Where the Ethernet frame goes.
    pub ethernet_dst: MacAddr,
    /// Request or reply.
    pub operation: ArpOperation,
    /// The sender's Ethernet address, also the frame's source.
    pub sender_mac: MacAddr,
    /// The sender's IPv4 address.
    pub sender_ip: Ipv4Addr,
    /// The target's Ethernet address.
    pub target_mac: MacAddr,
    /// The target's IPv4 address.
    pub target_ip: Ipv4Addr,
}

impl ArpFrame {
    /// A broadcast question for the owner of `target_ip`. A `sender_ip` of 0.0.0.0 makes it a
    /// probe for duplicates, one of `target_ip` an announcement (RFC 5227).
    pub const fn request(sender_mac: MacAddr, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Self {
        Self {
            ethernet_dst: MacAddr::BROADCAST,
            operation: ArpOperation::REQUEST,
            sender_mac,
            sender_ip,
            target_mac: MacAddr::ZERO,
            target_ip,
        }
    }

    /// The answer to `request` by the station `mac`, sent to the asker alone.
    pub fn reply(request: &Arp<'_>, mac: MacAddr) -> Self {
        Self {
            ethernet_dst: request.sender_mac(),
            operation: ArpOperation::REPLY,
            sender_mac: mac,
            sender_ip: request.target_ip(),
            target_mac: request.sender_mac(),
            target_ip: request.sender_ip(),
        }
    }

    /// Writes the frame, without padding, and returns its length, [`FRAME_LEN`].
    ///
    /// # Errors
    /// [`PacketError::BufferTooSmall`].
    pub fn write(&self, out: &mut [u8]) -> Result<usize, PacketError> {
        let out: &mut [u8; FRAME_LEN] = out.first_chunk_mut().ok_or(PacketError::BufferTooSmall)?;
        let Some((header, packet)) = out.split_first_chunk_mut() else {
            return Err(PacketError::BufferTooSmall);
        };
        let packet: &mut [u8; LEN] = packet
            .first_chunk_mut()
            .ok_or(PacketError::BufferTooSmall)?;
        ethernet::write_header(header, self.ethernet_dst, self.sender_mac, EtherType::ARP);
        packet[..KIND.len()].copy_from_slice(&KIND);
        put16(packet, OPERATION, self.operation.0);
        put_mac(packet, SENDER_MAC, self.sender_mac);
        put32(packet, SENDER_IP, self.sender_ip.to_bits());
        put_mac(packet, TARGET_MAC, self.target_mac);
        put32(packet, TARGET_IP, self.target_ip.to_bits());
        Ok(FRAME_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::Ethernet;

    const A: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xa]);
    const B: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xb]);

    #[test]
    fn a_reply_answers_the_question_that_was_asked() {
        let (ip_a, ip_b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut frame = [0; 64];
        let length = ArpFrame::request(A, ip_a, ip_b).write(&mut frame).unwrap();
        assert_eq!(length, FRAME_LEN);
        let ethernet = Ethernet::new(&frame[..length]).unwrap();
        assert_eq!(ethernet.dst(), MacAddr::BROADCAST);
        let request = Arp::new(ethernet.payload()).unwrap();

        let mut answer = [0; FRAME_LEN];
        ArpFrame::reply(&request, B).write(&mut answer).unwrap();
        let ethernet = Ethernet::new(&answer).unwrap();
        assert_eq!((ethernet.dst(), ethernet.src()), (A, B));
        let reply = Arp::new(ethernet.payload()).unwrap();
        assert_eq!(reply.operation(), ArpOperation::REPLY);
        assert_eq!((reply.sender_mac(), reply.sender_ip()), (B, ip_b));
        assert_eq!((reply.target_mac(), reply.target_ip()), (A, ip_a));
    }

    #[test]
    fn an_announcement_is_gratuitous_and_a_question_is_not() {
        let ip = Ipv4Addr::new(192, 0, 2, 1);
        let mut frame = [0; FRAME_LEN];
        ArpFrame::request(A, ip, ip).write(&mut frame).unwrap();
        assert!(Arp::new(&frame[14..]).unwrap().is_gratuitous());
        ArpFrame::request(A, ip, Ipv4Addr::BROADCAST)
            .write(&mut frame)
            .unwrap();
        assert!(!Arp::new(&frame[14..]).unwrap().is_gratuitous());
    }

    #[test]
    fn other_hardware_and_short_buffers_are_refused() {
        let ip = Ipv4Addr::new(192, 0, 2, 1);
        let mut frame = [0; FRAME_LEN];
        assert_eq!(
            ArpFrame::request(A, ip, ip).write(&mut frame[1..]),
            Err(PacketError::BufferTooSmall)
        );
        ArpFrame::request(A, ip, ip).write(&mut frame).unwrap();
        for byte in 14..20 {
            let mut wrong = frame;
            wrong[byte] ^= 1;
            assert_eq!(Arp::new(&wrong[14..]).err(), Some(PacketError::ArpKind));
        }
    }
}
