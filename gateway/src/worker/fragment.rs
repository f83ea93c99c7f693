//! Cutting a packet that is too big for its way out and may be cut (RFC 791 section 2.3).

use arrayvec::ArrayVec;
use sekisho_dpdk::Mbuf;
use sekisho_packet::Ipv4;

use super::Worker;
use crate::drops::DropReason;

/// A 64 KiB packet over the smallest MTU that is configured would be more, but buffers are smaller.
const MAX_FRAGMENTS: usize = 32;
const MORE_FRAGMENTS: u16 = 0x2000;

pub(super) type Fragments = ArrayVec<Mbuf, MAX_FRAGMENTS>;

impl Worker {
    /// Cuts an IPv4 packet into fragments of at most `mtu` octets. Options are in the first
    /// fragment only, so a packet with options that must be in all of them is refused.
    pub(super) fn fragment(&self, mbuf: Mbuf, mtu: usize) -> Result<Fragments, (Mbuf, DropReason)> {
        match self.cut(&mbuf, mtu) {
            Ok(fragments) => Ok(fragments),
            Err(reason) => Err((mbuf, reason)),
        }
    }

    fn cut(&self, mbuf: &Mbuf, mtu: usize) -> Result<Fragments, DropReason> {
        let bytes = mbuf.data();
        let packet = Ipv4::new(bytes).map_err(|_| DropReason::MalformedIpv4)?;
        let header_len = packet.len();
        let copied = |option: Result<sekisho_packet::options::HeaderOption<'_>, _>| {
            option.map_or(true, |option| option.kind & 0x80 != 0)
        };
        let room = mtu.saturating_sub(header_len) & !7;
        if room == 0 || packet.options().any(copied) {
            return Err(DropReason::MtuExceeded);
        }
        let mut fragments = Fragments::new();
        let mut offset = 0;
        for chunk in packet.payload().chunks(room) {
            let last = offset + chunk.len() == packet.payload().len();
            let header_len = if offset == 0 { header_len } else { 20 };
            let mut fragment = self.pool.alloc().ok_or(DropReason::NoBuffer)?;
            let out = fragment
                .append(header_len + chunk.len())
                .ok_or(DropReason::BufferShape)?;
            let (header, payload) = out.split_at_mut(header_len);
            header.copy_from_slice(&bytes[..header_len]);
            payload.copy_from_slice(chunk);
            header[0] = 0x40 | (header_len / 4) as u8;
            let total = (header_len + chunk.len()) as u16;
            header[2..4].copy_from_slice(&total.to_be_bytes());
            let position = ((packet.fragment_offset() + offset) / 8) as u16;
            let more = if last && !packet.more_fragments() {
                0
            } else {
                MORE_FRAGMENTS
            };
            header[6..8].copy_from_slice(&(position | more).to_be_bytes());
            header[10..12].fill(0);
            let sum = sekisho_packet::checksum::checksum(header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            fragments
                .try_push(fragment)
                .map_err(|_| DropReason::MtuExceeded)?;
            offset += chunk.len();
        }
        Ok(fragments)
    }
}
