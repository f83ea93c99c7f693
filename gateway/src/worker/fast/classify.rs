//! Which packets of a burst are regular, and whether they come out of a tunnel.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use sekisho_dpdk::{Burst, Mbuf};
use sekisho_mem::prefetch_write;
use sekisho_packet::regular::TunnelEnd;
use sekisho_packet::{EtherType, Ipv4, Regular, Udp, udp, vxlan};

use super::{ETHERNET, Exit, LANES, Lane, Lanes, Stage, nat_key};
use crate::snapshot::Underlay;
use crate::tunnel_table::{TunnelTable, mac_word};
use crate::worker::Worker;

/// Octets of outer headers behind the Ethernet header, without options.
const OUTER: usize = 20 + udp::HEADER_LEN + vxlan::HEADER_LEN;
/// Where the inner frame begins.
pub(super) const INNER: usize = ETHERNET + OUTER;
/// Bit of the VXLAN flags that says that the VNI is valid (RFC 7348 section 5).
pub(super) const VNI_VALID: u8 = 0x08;
pub(super) const ECN: u8 = 0b11;

/// What all frames of a burst are compared with.
struct Port<'a> {
    mac: u64,
    end: TunnelEnd,
    tunnels: &'a TunnelTable,
}

impl Worker {
    /// Reads every frame of a burst, once.
    pub(super) fn classify(&self, lanes: &mut Lanes, burst: &Burst, port: u16) {
        lanes.exits = [Exit::Special; LANES];
        lanes.outward.clear();
        lanes.probes.clear();
        lanes.inward.clear();
        lanes.inward_probes.clear();
        lanes.six.clear();
        lanes.leaving.clear();
        lanes.tunnels.clear();
        let Some(uplink) = self
            .snapshot
            .uplink_of_port(port)
            .and_then(|id| self.snapshot.uplink(id))
        else {
            return;
        };
        // Without tunnels, an address no packet is regular with.
        let nowhere = TunnelEnd::new(Ipv4Addr::UNSPECIFIED, 0);
        let end = |underlay: Underlay| TunnelEnd::new(underlay.address, underlay.vxlan_port);
        let port = Port {
            mac: mac_word(uplink.mac),
            end: self.snapshot.underlay.map_or(nowhere, end),
            tunnels: &self.snapshot.tunnels,
        };
        let mut tunnels = ArrayVec::<u8, LANES>::new();
        port.read_burst(lanes, burst, &mut tunnels);
        lanes.clocks.end(Stage::Frames);
        if !tunnels.is_empty() {
            if port.tunnels.is_large() {
                port.approach(burst, &tunnels);
            }
            port.open_tunnels(lanes, burst, &tunnels);
            if !self.handover.is_alone() {
                self.steer_outward(lanes);
            }
            lanes.clocks.end(Stage::Tunnels);
        }
        if port.tunnels.is_large() {
            self.approach_counters(lanes);
        }
        for &index in &lanes.outward {
            let lane = &mut lanes.packets[usize::from(index) % LANES];
            let probe = self.nat.probe_outbound(lane.vrf, &nat_key(&lane.ip));
            lane.hash = lane.ip.flow().hash(self.seed);
            let _ = lanes.probes.try_push(probe);
        }
        if !lanes.inward.is_empty() {
            self.sort_inward(lanes);
        }
        lanes.clocks.end(Stage::Keys);
    }

    /// Brings the counters of the segments close that packets came from.
    #[cold]
    fn approach_counters(&self, lanes: &Lanes) {
        for &index in &lanes.outward {
            let lane = &lanes.packets[usize::from(index) % LANES];
            if let Some(segment) = self.snapshot.tunnels.at(lane.place) {
                prefetch_write(&segment.traffic[self.id.index()]);
            }
        }
    }

    /// Tells what is surely routed on from what may be for an outside address of ours, whose session
    /// is asked for before the tables say so. UDP first, then TCP, so that no later stage has to guess.
    fn sort_inward(&self, lanes: &mut Lanes) {
        let mut routed = ArrayVec::<u8, LANES>::new();
        let mut udp = ArrayVec::<u8, LANES>::new();
        let mut tcp = ArrayVec::<u8, LANES>::new();
        for &index in &lanes.inward {
            let lane = &mut lanes.packets[usize::from(index) % LANES];
            lane.hash = lane.ip.flow().hash(self.seed);
            let list = match (self.snapshot.own.may_hold(lane.ip.dst), lane.ip.is_tcp()) {
                (false, _) => &mut routed,
                (true, false) => &mut udp,
                (true, true) => &mut tcp,
            };
            let _ = list.try_push(index);
        }
        lanes.routed = routed.len();
        lanes.inward.clear();
        lanes
            .inward
            .extend(routed.into_iter().chain(udp).chain(tcp));
        for &index in &lanes.inward[lanes.routed..] {
            let key = nat_key(&lanes.packets[usize::from(index) % LANES].ip);
            let _ = lanes.inward_probes.try_push(self.nat.probe_inbound(&key));
        }
    }
}

impl Port<'_> {
    /// Reads every frame, and tells those that may be tunnels' from those that are plain.
    #[inline(always)]
    fn read_burst(&self, lanes: &mut Lanes, burst: &Burst, tunnels: &mut ArrayVec<u8, LANES>) {
        for (index, (mbuf, lane)) in burst.iter().zip(&mut lanes.packets).enumerate() {
            let Some((header, packet)) = mbuf.data().split_first_chunk::<ETHERNET>() else {
                continue;
            };
            if !is_ipv4_for(header, self.mac) | !mbuf.is_contiguous() {
                lanes.six.offer(index, header, self.mac, mbuf);
                continue;
            }
            if self.end.is_for(packet) {
                let Some(outer) = self.end.read(packet) else {
                    continue;
                };
                lane.received = outer.total_len;
                lane.outer_tos = outer.tos;
                lane.vtep = outer.src;
                let _ = tunnels.try_push(index as u8);
            } else if let Some(ip) = Regular::read(packet) {
                *lane = Lane::plain(ip);
                let _ = lanes.inward.try_push(index as u8);
            }
        }
    }

    /// Brings the segments of many tenants close.
    #[cold]
    fn approach(&self, burst: &Burst, tunnels: &[u8]) {
        let vni = |&index: &u8| {
            let frame = burst.get(usize::from(index) % LANES).map(Mbuf::data);
            frame.and_then(vni_of).unwrap_or(0)
        };
        for index in tunnels {
            self.tunnels.prefetch_vni(vni(index));
        }
        for index in tunnels {
            self.tunnels.prefetch_segment(vni(index));
        }
    }

    /// Reads what is in the tunnels that are ours: UDP first, then TCP, so that no later stage has to
    /// guess which comes next.
    #[inline(always)]
    fn open_tunnels(&self, lanes: &mut Lanes, burst: &Burst, tunnels: &[u8]) {
        let mut tcp = ArrayVec::<u8, LANES>::new();
        for &index in tunnels {
            let at = usize::from(index) % LANES;
            let Some(mbuf) = burst.get(at) else { continue };
            let lane = &mut lanes.packets[at];
            if self.open_tunnel(mbuf.data(), lane).is_some() {
                let list = if lane.ip.is_tcp() {
                    &mut tcp
                } else {
                    &mut lanes.outward
                };
                let _ = list.try_push(index);
            } else {
                lanes.six.offer_inner(index);
            }
        }
        lanes.outward.extend(tcp);
    }

    /// Only what is exactly a configured tunnel is taken for one.
    #[inline(always)]
    fn open_tunnel(&self, frame: &[u8], lane: &mut Lane) -> Option<()> {
        let frame = frame.get(..ETHERNET + usize::from(lane.received))?;
        let (headers, inner) = frame.split_first_chunk::<{ INNER + ETHERNET }>()?;
        let checksum = u16::from_be_bytes([headers[40], headers[41]]);
        let vni = u32::from_be_bytes([0, headers[46], headers[47], headers[48]]);
        let valid = headers[42] & VNI_VALID != 0;
        let (_, inner_header) = headers.split_last_chunk::<ETHERNET>()?;
        let (place, segment) = self.tunnels.find(vni, lane.vtep)?;
        let inner = Regular::read(inner)?;
        let for_us = is_ipv4_for(inner_header, segment.mac);
        // RFC 6040: the outer mark changes nothing if it says nothing, or the same.
        let mark = lane.outer_tos & ECN;
        let unmarked = (mark == 0) | (mark == inner.tos & ECN);
        if !(valid & for_us & unmarked) || (checksum != 0 && !is_intact(frame)) {
            return None;
        }
        lane.ip = inner;
        lane.at = (INNER + ETHERNET) as u16;
        lane.vrf = segment.vrf;
        lane.segment = segment.id;
        lane.place = place;
        lane.mac = word_at::<6>(inner_header) & MAC;
        Some(())
    }
}

/// The VNI of a tunnel's frame.
#[inline(always)]
fn vni_of(frame: &[u8]) -> Option<u32> {
    let &[a, b, c, _] = frame.get(46..50)?.first_chunk()?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

/// Whether an Ethernet header is of an IPv4 packet to `mac`, without a VLAN tag.
#[inline(always)]
fn is_ipv4_for(header: &[u8; ETHERNET], mac: u64) -> bool {
    let ethertype = u16::from_be_bytes([header[12], header[13]]);
    (word_at::<0>(header) & MAC == mac) & (ethertype == EtherType::IPV4.0)
}

/// The low 48 bits of a word are an Ethernet address.
pub(super) const MAC: u64 = 0xffff_ffff_ffff;

/// Eight octets of an Ethernet header, in one load.
#[inline(always)]
pub(super) const fn word_at<const AT: usize>(header: &[u8; ETHERNET]) -> u64 {
    u64::from_le_bytes([
        header[AT],
        header[AT + 1],
        header[AT + 2],
        header[AT + 3],
        header[AT + 4],
        header[AT + 5],
        header[AT + 6],
        header[AT + 7],
    ])
}

/// Whether the checksum of a tunnel's UDP datagram, which goes to the end of the frame, is right.
#[inline(never)]
pub(super) fn is_intact(frame: &[u8]) -> bool {
    let packet = frame.get(ETHERNET..).unwrap_or_default();
    Ipv4::new(packet).is_ok_and(|ip| {
        Udp::new(ip.payload()).is_ok_and(|udp| udp.is_intact(ip.pseudo_header(udp.len())))
    })
}
