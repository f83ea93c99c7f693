//! Which packets of a burst are regular, and whether they come out of a tunnel.

use arrayvec::ArrayVec;
use sekisho_dpdk::Burst;
use sekisho_packet::checksum::Sum;
use sekisho_packet::{EtherType, Regular, udp, vxlan};
use sekisho_types::IpProtocol;

use super::{ETHERNET, Exit, LANES, Lane, Lanes, Stage, nat_key};
use crate::snapshot::Underlay;
use crate::tunnel_table::{TunnelTable, mac_word};
use crate::worker::Worker;

/// Octets of outer headers behind the Ethernet header, without options.
const OUTER: usize = 20 + udp::HEADER_LEN + vxlan::HEADER_LEN;
/// Where the inner frame begins.
const INNER: usize = ETHERNET + OUTER;
/// Bit of the VXLAN flags that says that the VNI is valid (RFC 7348 section 5).
const VNI_VALID: u8 = 0x08;
const ECN: u8 = 0b11;

/// What all frames of a burst are compared with.
struct Port<'a> {
    mac: u64,
    underlay: Option<Underlay>,
    tunnels: &'a TunnelTable,
}

impl Worker {
    /// Reads every frame of a burst, once.
    pub(super) fn classify(&self, lanes: &mut Lanes, burst: &Burst, port: u16) {
        lanes.exits = [Exit::Special; LANES];
        lanes.outward.clear();
        lanes.probes.clear();
        lanes.inward.clear();
        lanes.leaving.clear();
        lanes.tunnels.clear();
        let Some(uplink) = self
            .snapshot
            .uplink_of_port(port)
            .and_then(|id| self.snapshot.uplink(id))
        else {
            return;
        };
        let port = Port {
            mac: mac_word(uplink.mac),
            underlay: self.snapshot.underlay,
            tunnels: &self.snapshot.tunnels,
        };
        let mut tunnels = ArrayVec::<u8, LANES>::new();
        port.read_burst(lanes, burst, &mut tunnels);
        lanes.clocks.end(Stage::Frames);
        port.open_tunnels(lanes, burst, &tunnels);
        lanes.clocks.end(Stage::Tunnels);
        for &index in &lanes.outward {
            let lane = &mut lanes.packets[usize::from(index) % LANES];
            let probe = self.nat.probe_outbound(lane.vrf, &nat_key(&lane.ip));
            lane.hash = lane.ip.flow().hash(self.seed);
            let _ = lanes.probes.try_push(probe);
        }
        for &index in &lanes.inward {
            let lane = &mut lanes.packets[usize::from(index) % LANES];
            lane.hash = lane.ip.flow().hash(self.seed);
        }
        lanes.clocks.end(Stage::Keys);
    }
}

impl Port<'_> {
    /// Reads every frame, and tells those that may be tunnels' from those that are plain.
    #[inline(always)]
    fn read_burst(&self, lanes: &mut Lanes, burst: &Burst, tunnels: &mut ArrayVec<u8, LANES>) {
        let (underlay, vxlan_port) = match &self.underlay {
            Some(underlay) => (underlay.address.to_bits(), underlay.vxlan_port),
            // Nobody's address: a packet to it is not regular.
            None => (0, 0),
        };
        for (index, (mbuf, lane)) in burst.iter().zip(&mut lanes.packets).enumerate() {
            let Some((header, packet)) = mbuf.data().split_first_chunk::<ETHERNET>() else {
                continue;
            };
            let Some(ip) = Regular::read(packet) else {
                continue;
            };
            if !is_ipv4_for(header, self.mac) | !mbuf.is_contiguous() {
                continue;
            }
            *lane = Lane::plain(ip);
            let for_tunnel = (ip.dst == underlay) & (ip.dport == vxlan_port) & ip.is_udp();
            let list = if for_tunnel {
                &mut *tunnels
            } else {
                &mut lanes.inward
            };
            let _ = list.try_push(index as u8);
        }
    }

    /// Reads what is in the tunnels that are ours.
    #[inline(always)]
    fn open_tunnels(&self, lanes: &mut Lanes, burst: &Burst, tunnels: &[u8]) {
        for &index in tunnels {
            let at = usize::from(index) % LANES;
            let Some(mbuf) = burst.get(at) else { continue };
            if self
                .open_tunnel(mbuf.data(), &mut lanes.packets[at])
                .is_some()
            {
                let _ = lanes.outward.try_push(index);
            }
        }
    }

    /// Only what is exactly a configured tunnel is taken for one.
    #[inline(always)]
    fn open_tunnel(&self, frame: &[u8], lane: &mut Lane) -> Option<()> {
        let outer = &lane.ip;
        let frame = frame.get(..ETHERNET + usize::from(outer.total_len))?;
        let (headers, inner) = frame.split_first_chunk::<{ INNER + ETHERNET }>()?;
        let word = |at: usize| u16::from_be_bytes([headers[at], headers[at + 1]]);
        let udp_len = word(ETHERNET + 24);
        let checksum = word(ETHERNET + 26);
        let vni = u32::from_be_bytes([0, headers[46], headers[47], headers[48]]);
        let sound = (udp_len == outer.total_len - 20) & (headers[42] & VNI_VALID != 0);
        let (place, segment) = self.tunnels.find(vni, outer.src)?;
        let (_, inner_header) = headers.split_last_chunk::<ETHERNET>()?;
        let inner = Regular::read(inner)?;
        let for_us = is_ipv4_for(inner_header, segment.mac);
        // RFC 6040: the outer mark changes nothing if it says nothing, or the same.
        let mark = outer.tos & ECN;
        let unmarked = (mark == 0) | (mark == inner.tos & ECN);
        if !(sound & for_us & unmarked) || (checksum != 0 && !is_intact(frame, outer)) {
            return None;
        }
        lane.vtep = outer.src;
        lane.ip = inner;
        lane.at = (INNER + ETHERNET) as u16;
        lane.vrf = segment.vrf;
        lane.segment = segment.id;
        lane.place = place;
        lane.mac = word_at::<6>(inner_header) & MAC;
        Some(())
    }
}

/// Whether an Ethernet header is of an IPv4 packet to `mac`, without a VLAN tag.
#[inline(always)]
fn is_ipv4_for(header: &[u8; ETHERNET], mac: u64) -> bool {
    let ethertype = u16::from_be_bytes([header[12], header[13]]);
    (word_at::<0>(header) & MAC == mac) & (ethertype == EtherType::IPV4.0)
}

/// The low 48 bits of a word are an Ethernet address.
const MAC: u64 = 0xffff_ffff_ffff;

/// Eight octets of an Ethernet header, in one load.
#[inline(always)]
const fn word_at<const AT: usize>(header: &[u8; ETHERNET]) -> u64 {
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
fn is_intact(frame: &[u8], outer: &Regular) -> bool {
    let datagram = frame.get(ETHERNET + 20..).unwrap_or_default();
    let flow = outer.flow();
    Sum::pseudo_v4(flow.src, flow.dst, IpProtocol::UDP, datagram.len() as u16)
        .bytes(datagram)
        .is_intact()
}
