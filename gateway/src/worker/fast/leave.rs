//! Rewrite of what leaves.

use sekisho_dpdk::{Burst, Mbuf};
use sekisho_fib::{Rewrite, RewriteKind};
use sekisho_packet::regular6;
use sekisho_types::InterfaceId;

use super::mask::Mask;
use super::{ETHERNET, Lanes, Leaving, SENT, Sent, Stage};
use crate::worker::Worker;

/// What changes in a packet.
pub(super) trait Change {
    /// The Ethernet header before the packet, in words.
    #[inline(always)]
    fn header(ethernet: [u64; 2]) -> [u64; 2] {
        ethernet
    }

    /// Changes the packet of a lane, which begins with its IP header. Nothing fails: the packet was
    /// read before.
    fn apply(lanes: &Lanes, lane: usize, packet: &mut [u8]) -> bool;
}

/// One is taken from the time to live.
pub(super) struct Hop;
/// The source or the destination gets another address and port, too.
pub(super) struct Translated;
/// One is taken from the hop limit of IPv6.
pub(super) struct Hop6;

impl Change for Hop {
    #[inline(always)]
    fn apply(lanes: &Lanes, lane: usize, packet: &mut [u8]) -> bool {
        lanes.changes.write_hop(lane, packet)
    }
}

impl Change for Translated {
    #[inline(always)]
    fn apply(lanes: &Lanes, lane: usize, packet: &mut [u8]) -> bool {
        lanes.changes.write(lane, packet)
    }
}

impl Change for Hop6 {
    #[inline(always)]
    fn header(ethernet: [u64; 2]) -> [u64; 2] {
        Rewrite::ethernet_words_v6(ethernet)
    }

    #[inline(always)]
    fn apply(_: &Lanes, _: usize, packet: &mut [u8]) -> bool {
        regular6::forward6(packet)
    }
}

impl Worker {
    /// Rewrites the packets that have a way.
    pub(super) fn leave_burst(&mut self, lanes: &mut Lanes, burst: &mut Burst) {
        let leaving = lanes.leaving;
        let mut tunnels = Leaving::default();
        if !(leaving.hop | leaving.translated).is_empty() {
            lanes.heads.settle(&mut lanes.changes);
        }
        if !leaving.hop.is_empty() {
            tunnels.hop = self.leave::<Hop>(lanes, burst, leaving.hop);
        }
        if !leaving.translated.is_empty() {
            tunnels.translated = self.leave::<Translated>(lanes, burst, leaving.translated);
        }
        if !leaving.hop6.is_empty() {
            tunnels.hop6 = self.leave::<Hop6>(lanes, burst, leaving.hop6);
        }
        lanes.clocks.end(Stage::Leave);
        if !(tunnels.hop | tunnels.translated | tunnels.hop6).is_empty() {
            self.encapsulate_burst(lanes, burst, &tunnels);
            lanes.clocks.end(Stage::Encapsulate);
        }
        self.settle(&mut lanes.sent);
    }

    /// Rewrites what leaves by a wire as it is; answers what goes into a tunnel, whose wire is not
    /// known yet.
    #[inline(never)]
    fn leave<C: Change>(&self, lanes: &mut Lanes, burst: &mut Burst, leaving: Mask) -> Mask {
        let (mut tunnels, mut done) = (Mask::NONE, Mask::NONE);
        for lane in leaving {
            let octets = lanes.total[lane];
            let Some(way) = self.reader.rewrite(lanes.ways[lane]) else {
                continue;
            };
            if octets > way.mtu() {
                continue;
            }
            if way.kind() == RewriteKind::Tunnel {
                tunnels.add(lane, lanes.remotes.set(lane, &way));
                continue;
            }
            let Some(mbuf) = burst.get_mut(lane) else {
                continue;
            };
            let ethernet = way.ethernet_words();
            if lanes.write::<C, ETHERNET>(lane, mbuf, ethernet).is_none() {
                continue;
            }
            lanes.ports[lane] = way.port();
            done.add(lane, true);
            self.count_left(lanes, lane);
            self.count_sent(&mut lanes.sent, &way, octets);
        }
        lanes.done |= done;
        tunnels
    }

    #[inline(always)]
    pub(super) fn count_sent(&self, sent: &mut Sent, way: &Rewrite, octets: u16) {
        let uplink = way.interface();
        if let Some((packets, all)) = sent.uplinks.get_mut(uplink.index()) {
            *packets += 1;
            *all += u32::from(octets);
            sent.any |= 1 << (uplink.index() % SENT);
        } else if let Some(uplink) = self.snapshot.uplink(uplink) {
            uplink.traffic[self.id.index()].sent_many(1, octets.into());
        }
    }

    /// Hands the counts of a burst to the uplinks.
    fn settle(&self, sent: &mut Sent) {
        while sent.any != 0 {
            let index = sent.any.trailing_zeros() as usize;
            sent.any &= sent.any - 1;
            let (packets, octets) = std::mem::take(&mut sent.uplinks[index]);
            if let Some(uplink) = self.snapshot.uplink(InterfaceId::new(index as u16)) {
                uplink.traffic[self.id.index()].sent_many(packets.into(), octets.into());
            }
        }
    }
}

impl Lanes {
    /// Makes the packet of a lane what it leaves as: an Ethernet header, in words, and its own octets,
    /// changed, behind what is left of `FRONT` octets before the packet. `None`, and nothing happens, if
    /// it is not as it was read or there is no such room. Hands out the `FRONT` octets.
    #[inline(always)]
    pub(super) fn write<'a, C: Change, const FRONT: usize>(
        &self,
        lane: usize,
        mbuf: &'a mut Mbuf,
        ethernet: [u64; 2],
    ) -> Option<&'a mut [u8; FRONT]> {
        let front = i32::from(self.at[lane]) - FRONT as i32;
        let len = FRONT as u32 + u32::from(self.total[lane]);
        let frame = mbuf.reframe(front, len)?;
        let (outer, packet) = frame.split_first_chunk_mut::<FRONT>()?;
        let header = outer.last_chunk_mut::<ETHERNET>()?;
        let [first, second] = C::header(ethernet);
        header[..8].copy_from_slice(&first.to_le_bytes());
        header[8..].copy_from_slice(&second.to_le_bytes()[..6]);
        C::apply(self, lane, packet).then_some(outer)
    }
}
