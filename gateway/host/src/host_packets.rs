//! IP packets to and from the kernel's sockets, through the TAP.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use crate::HOST_MAC;

const HEADER_LEN: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// One end of the host interface: IP packets, without their Ethernet header. Never blocks: a
/// thread of its own waits with `poll` on the descriptor (readable: the kernel has sent).
///
/// Several values of one interface may be used by several threads; each packet comes out once. When
/// the [`HostInterface`](crate::HostInterface) is closed, both directions fail with `EBADFD`.
#[derive(Debug)]
pub struct HostPackets {
    tap: File,
}

impl HostPackets {
    pub(crate) fn new(tap: File) -> Self {
        Self { tap }
    }

    /// The next IP packet the kernel sends, or `None` if there is none now. A `buffer` shorter than
    /// the interface's MTU truncates packets.
    ///
    /// # Errors
    /// The kernel's: `EBADFD` once the interface is gone.
    pub fn recv_ip<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        loop {
            let mut header = [0; HEADER_LEN];
            let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)];
            let length = match (&self.tap).read_vectored(&mut parts) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let [.., high, low] = header;
            if [high, low] == IPV4 || [high, low] == IPV6 {
                let length = length.saturating_sub(HEADER_LEN);
                return Ok(buffer.get(..length));
            }
        }
    }

    /// Hands an IP packet to the kernel. `false`: the kernel takes none now, and the packet is lost.
    ///
    /// # Errors
    /// `InvalidInput` if it is neither IPv4 nor IPv6, and the kernel's: `EBADFD` once the interface
    /// is gone.
    pub fn send_ip(&self, packet: &[u8]) -> io::Result<bool> {
        let ethertype = match packet.first().map(|octet| octet >> 4) {
            Some(4) => IPV4,
            Some(6) => IPV6,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let mac = HOST_MAC.octets();
        let parts = [
            IoSlice::new(&mac),
            IoSlice::new(&PEER_MAC),
            IoSlice::new(&ethertype),
            IoSlice::new(packet),
        ];
        loop {
            match (&self.tap).write_vectored(&parts) {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Who the kernel sees as the sender of what we hand to it.
const PEER_MAC: [u8; 6] = [0x02, 0x73, 0x65, 0x6b, 0x69, 0x01];

impl AsFd for HostPackets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }
}
