//! Which packets of a burst are regular, and whether they come out of a tunnel.

use std::net::Ipv4Addr;

use sekisho_dpdk::{Burst, Mbuf};
use sekisho_fib::Reader;
use sekisho_mem::prefetch_write;
use sekisho_packet::heads::{HEAD, TunnelEnd};
use sekisho_packet::{EtherType, Ipv4, Udp, regular6, udp, vxlan};

use super::inward::HEADROOM;
use super::mask::Mask;
use super::{ETHERNET, LANES, Lanes, Stage, wire_flow};
use crate::snapshot::Underlay;
use crate::tunnel_table::{TunnelTable, mac_word};
use crate::worker::Worker;

/// Octets of outer headers behind the Ethernet header, without options.
const OUTER: usize = 20 + udp::HEADER_LEN + vxlan::HEADER_LEN;
/// Where the frame in a tunnel begins.
const INNER: usize = ETHERNET + OUTER;
/// Where the packet in a tunnel begins.
const INNER_IP: usize = INNER + ETHERNET;
/// Octets of a frame that are looked at.
const FRAME: usize = ETHERNET + HEAD;
/// Octets of a tunnel's frame that are looked at.
const TUNNEL_FRAME: usize = INNER + FRAME;
/// Bit of the VXLAN flags that says that the VNI is valid (RFC 7348 section 5).
const VNI_VALID: u8 = 0x08;
pub(super) const ECN: u8 = 0b11;
const IPV4: u16 = EtherType::IPV4.0;
const IPV6: u16 = EtherType::IPV6.0;

impl Worker {
    /// Reads every frame of a burst, once.
    pub(super) fn classify(&self, lanes: &mut Lanes, burst: &Burst, port: u16) {
        lanes.begin(burst.len());
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
        let end = self.snapshot.underlay.map_or(nowhere, end);
        let far = self.reader.has_many_routes().then_some(&self.reader);
        let frames = lanes.read_frames(burst, mac_word(uplink.mac), far);
        if frames.is_empty() {
            lanes.clocks.end(Stage::Frames);
            return;
        }
        let ours = Mask(lanes.heads.for_tunnels(end)) & frames;
        if frames != ours {
            lanes.plain = Mask(lanes.heads.regular()) & frames & !ours;
        }
        lanes.heads.outline(&mut lanes.total, &mut lanes.tos);
        lanes.received = lanes.total;
        lanes.clocks.end(Stage::Frames);
        if !ours.is_empty() {
            let tunnels = ours & Mask(lanes.heads.datagrams());
            let table = &self.snapshot.tunnels;
            if table.is_large() {
                approach(table, burst, tunnels);
            }
            lanes.open_tunnels(table, burst, tunnels, far);
            if !self.handover.is_alone() {
                self.steer_outward(lanes);
            }
            if table.is_large() {
                self.approach_counters(lanes);
            }
            lanes.clocks.end(Stage::Tunnels);
        }
        lanes.heads.hash(self.seed, &mut lanes.hashes);
        lanes.heads.unchanged(&mut lanes.changes);
    }

    /// Brings the counters of the segments close that packets came from.
    #[cold]
    fn approach_counters(&self, lanes: &Lanes) {
        for lane in lanes.out {
            if let Some(segment) = self.snapshot.tunnels.at(lanes.tunnel.place[lane]) {
                prefetch_write(&segment.traffic[self.id.index()]);
            }
        }
    }

    /// Keys of what came out of tunnels: UDP first, then TCP, so that no later stage has to guess
    /// which comes next. Sessions are only asked for if there may be any.
    #[inline(never)]
    pub(super) fn key_outward(&self, lanes: &mut Lanes) {
        let tcp = Mask(lanes.heads.tcp());
        lanes.outward.set(&[lanes.out & !tcp, lanes.out & tcp]);
        let (order, tables) = (&lanes.outward, &mut lanes.tables);
        order.gather(&lanes.tunnel.vrf, &mut tables.vrfs);
        order.gather(&lanes.heads.sources(), &mut tables.sources);
        order.gather(&lanes.heads.destinations(), &mut tables.addresses);
        order.gather(&lanes.hashes, &mut tables.hashes);
        if self.reader.has_many_routes() {
            self.reader
                .prefetch_routes(&tables.addresses[..order.len()]);
        }
        if (lanes.out & lanes.stateful).is_empty() {
            return;
        }
        for (place, lane) in order.places() {
            let flow = wire_flow(&lanes.heads, lane);
            lanes.probes[place] = self.nat.probe_outbound_wire(tables.vrfs[place], &flow);
        }
    }

    /// Tells what is surely routed on from what may be for an outside address of ours, whose session
    /// is asked for before the tables say so: of that, UDP first, then TCP. Nobody out there has an
    /// address of ours: what says so is not regular.
    #[inline(never)]
    pub(super) fn key_inward(&self, lanes: &mut Lanes, burst: &Burst) {
        if self.reader.has_many_routes() {
            let destinations = lanes.heads.destinations();
            self.reader.prefetch_routes(&destinations[..lanes.count]);
        }
        let (heads, own) = (&lanes.heads, &self.snapshot.own);
        let (mut ours, mut suspects) = (Mask::NONE, Mask::NONE);
        for lane in lanes.plain {
            ours.add(lane, own.may_hold(heads.dst(lane).swap_bytes()));
            suspects.add(lane, own.may_hold(heads.src(lane).swap_bytes()));
        }
        if !suspects.is_empty() {
            let mut spoofed = Mask::NONE;
            for lane in suspects {
                spoofed.add(
                    lane,
                    self.is_ours(Ipv4Addr::from_octets(heads.src(lane).to_le_bytes())),
                );
            }
            lanes.plain = lanes.plain & !spoofed;
        }
        let ours = ours & lanes.plain;
        let routed = lanes.plain & !ours;
        lanes.routed = routed.len();
        let order = &mut lanes.inward;
        if ours.is_empty() {
            order.set(&[routed]);
        } else {
            let tcp = Mask(heads.tcp());
            order.set(&[routed, ours & !tcp, ours & tcp]);
        }
        order.gather(&heads.destinations(), &mut lanes.tables.addresses);
        for place in lanes.routed..order.len() {
            let lane = order.lane(place);
            if let Some(mbuf) = burst.get(lane) {
                // Where the outer headers of a tunnel will go.
                mbuf.prefetch_write_at(-HEADROOM);
            }
            let flow = wire_flow(heads, lane);
            lanes.probes[(place - lanes.routed) % LANES] = self.nat.probe_inbound_wire(&flow);
        }
    }
}

impl Lanes {
    /// Leaves what opens TCP connections in the burst: its segment size may have to change.
    #[cold]
    pub(super) fn leave_syns(&mut self, burst: &Burst) {
        let others = !Mask(self.heads.syns());
        self.out = self.out & others;
        self.plain = self.plain & others;
        let mut syns = Mask::NONE;
        for lane in self.six.plain | self.six.inner {
            let frame = burst.get(lane).map_or(&[][..], Mbuf::data);
            let packet = frame.get(usize::from(self.at[lane])..);
            syns.add(lane, packet.is_some_and(regular6::is_syn));
        }
        self.six.plain = self.six.plain & !syns;
        self.six.inner = self.six.inner & !syns;
    }

    /// Reads every frame; answers which are IPv4's for this Ethernet address. If routes are `far`, what
    /// leads to them is asked for.
    #[inline(never)]
    fn read_frames(&mut self, burst: &Burst, mac: u64, far: Option<&Reader>) -> Mask {
        let (mut frames, mut short) = (Mask::NONE, [0; FRAME]);
        for (lane, mbuf) in burst.iter().enumerate() {
            let lane = lane % LANES;
            let frame = mbuf.data();
            let head = match frame.first_chunk::<FRAME>() {
                Some(head) => head,
                None => pad(frame, &mut short),
            };
            let (header, ip) = split(head);
            let room = (frame.len() as u32).saturating_sub(ETHERNET as u32);
            self.heads.set(lane, ip, room);
            if let Some(reader) = far {
                reader.prefetch_route(destination(ip));
            }
            let ethertype = u16::from_be_bytes([header[12], header[13]]);
            let ours = (word_at::<0>(header) & MAC == mac) & mbuf.is_contiguous();
            let is_ipv4 = ours & (ethertype == IPV4);
            frames.add(lane, is_ipv4);
            if !is_ipv4 {
                self.six.plain.add(lane, ours & (ethertype == IPV6));
            }
        }
        frames
    }

    /// Reads what is in the tunnels that are ours. Only what is exactly a configured tunnel is taken
    /// for one.
    #[inline(never)]
    fn open_tunnels(
        &mut self,
        table: &TunnelTable,
        burst: &Burst,
        tunnels: Mask,
        far: Option<&Reader>,
    ) {
        let tunnel = &mut self.tunnel;
        let (mut out, mut six, mut stateful) = (Mask::NONE, Mask::NONE, Mask::NONE);
        let mut short = [0; TUNNEL_FRAME];
        for lane in tunnels {
            let Some(mbuf) = burst.get(lane) else {
                continue;
            };
            let frame = mbuf.data();
            let head = match frame.first_chunk::<TUNNEL_FRAME>() {
                Some(head) => head,
                None => pad(frame, &mut short),
            };
            let (vtep, tos) = (self.heads.src(lane).swap_bytes(), self.tos[lane]);
            let room = u32::from(self.total[lane]).saturating_sub((INNER_IP - ETHERNET) as u32);
            let vni = u32::from_be_bytes([head[46], head[47], head[48], head[49]]) >> 8;
            let Some((place, segment)) = table.find(vni, vtep) else {
                continue;
            };
            let (_, inner) = head.split_at(INNER);
            let Some(inner) = inner.first_chunk::<FRAME>() else {
                continue;
            };
            let (header, ip) = split(inner);
            let ethertype = u16::from_be_bytes([header[12], header[13]]);
            let valid = head[42] & VNI_VALID != 0;
            let unsummed = u16::from_ne_bytes([head[40], head[41]]) == 0;
            let sound = valid & (word_at::<0>(header) & MAC == segment.mac);
            if !sound || !(unsummed || is_intact(frame, self.total[lane])) {
                continue;
            }
            // RFC 6040: the outer mark changes nothing if it says nothing, or the same.
            let mark = tos & ECN;
            let unmarked = (mark == 0) | (mark == ip[1] & ECN);
            self.heads.set(lane, ip, room);
            if let Some(reader) = far {
                reader.prefetch_route(destination(ip));
            }
            tunnel.place[lane] = place;
            tunnel.vrf[lane] = segment.vrf;
            tunnel.segment[lane] = segment.id;
            tunnel.vtep[lane] = vtep;
            tunnel.mac[lane] = word_at::<6>(header) & MAC;
            tunnel.tos[lane] = tos;
            self.at[lane] = INNER_IP as u16;
            stateful.add(lane, segment.nat.stateful);
            out.add(lane, (ethertype == IPV4) & unmarked);
            six.add(lane, ethertype == IPV6);
        }
        self.out = out & Mask(self.heads.regular());
        self.stateful = stateful;
        self.six.inner = six;
        self.heads.outline(&mut self.total, &mut self.tos);
    }
}

/// Brings the segments of many tenants close.
#[cold]
fn approach(table: &TunnelTable, burst: &Burst, tunnels: Mask) {
    let vni = |lane: usize| {
        let frame = burst.get(lane).map(Mbuf::data);
        frame.and_then(vni_of).unwrap_or(0)
    };
    for lane in tunnels {
        table.prefetch_vni(vni(lane));
    }
    for lane in tunnels {
        table.prefetch_segment(vni(lane));
    }
}

/// The VNI of a tunnel's frame.
#[inline(always)]
fn vni_of(frame: &[u8]) -> Option<u32> {
    let &[a, b, c, _] = frame.get(46..50)?.first_chunk()?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

/// A frame that is shorter than what is looked at, with zeros behind its end.
#[cold]
#[inline(never)]
fn pad<'a, const N: usize>(frame: &[u8], room: &'a mut [u8; N]) -> &'a [u8; N] {
    room.fill(0);
    for (octet, given) in room.iter_mut().zip(frame) {
        *octet = *given;
    }
    room
}

/// The Ethernet header of a frame, and the head of its packet.
#[inline(always)]
fn split(frame: &[u8; FRAME]) -> (&[u8; ETHERNET], &[u8; HEAD]) {
    match (frame.first_chunk(), frame.last_chunk()) {
        (Some(header), Some(packet)) => (header, packet),
        // Never: the lengths are what they are.
        _ => (&[0; ETHERNET], &[0; HEAD]),
    }
}

/// The destination in the head of a packet.
#[inline(always)]
fn destination(ip: &[u8; HEAD]) -> Ipv4Addr {
    Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19])
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

/// Whether the checksum of a tunnel's UDP datagram, in a packet of `total` octets, is right.
#[inline(never)]
fn is_intact(frame: &[u8], total: u16) -> bool {
    let packet = frame.get(ETHERNET..ETHERNET + usize::from(total));
    Ipv4::new(packet.unwrap_or_default()).is_ok_and(|ip| {
        Udp::new(ip.payload()).is_ok_and(|udp| udp.is_intact(ip.pseudo_header(udp.len())))
    })
}
