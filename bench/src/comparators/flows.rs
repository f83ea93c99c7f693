//! What comparators and processes are sent: a capture file with the frames of many flows.
//!
//! `dpdk-testpmd` plays it from memory, again and again, through `net_pcap`. Its own generators
//! know neither VXLAN nor flows in random order.
//!
//! A flow is UDP from an inside host to one remote, with 18 octets of payload: frames of 60 octets
//! inside. No two flows that share a source port have the same remote, so that whoever translates
//! to a single address keeps every source port, and the answers can be made without asking.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use sekisho_packet::build::{VXLAN_OVERHEAD, VxlanEncap};
use sekisho_packet::{ArpFrame, EtherType, Ipv4Fields, ethernet, ipv4, udp, vxlan};
use sekisho_types::{IpProtocol, MacAddr, Vni};

/// The gateway's Ethernet address toward the sender.
pub(crate) const GATEWAY_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
/// The gateway's Ethernet address on the segment.
pub(crate) const SEGMENT_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xfe]);
/// The Ethernet address of whoever sends.
pub(crate) const SENDER_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0x11]);
/// The gateway's underlay address.
pub(crate) const UNDERLAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The hypervisor's.
pub(crate) const VTEP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
/// The address that comparators translate to.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The segment.
pub(crate) const VNI: u32 = 5001;
/// Inside hosts.
pub(crate) const HOSTS: u32 = 256;

const INSIDE: u32 = Ipv4Addr::new(172, 16, 1, 0).to_bits();
const REMOTES: u32 = Ipv4Addr::new(198, 18, 0, 0).to_bits();
const REMOTE_PORT: u16 = 443;
const FIRST_PORT: u32 = 1024;
const PAYLOAD: usize = 18;
const PLAIN: usize = ethernet::HEADER_LEN + ipv4::MIN_HEADER_LEN + udp::HEADER_LEN + PAYLOAD;
const TTL: u8 = 64;
/// Frames of a capture at least, so that few flows come in random order too.
const LEAST: u32 = 16_384;

/// What the frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frames {
    /// From inside hosts, as they are.
    Plain,
    /// From inside hosts, in VXLAN.
    Tunnelled,
    /// Answers of the remotes to [`OUTSIDE`].
    Answers,
}

/// The frames to capture.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    pub(crate) frames: Frames,
    pub(crate) flows: u32,
    /// In the order of their numbers instead of at random.
    pub(crate) sequential: bool,
    /// Questions of these neighbours for the gateway's address beside them, among the frames: so
    /// it learns who they are.
    pub(crate) neighbours: Vec<(Ipv4Addr, Ipv4Addr)>,
}

/// Captures of one folder, one for each queue that plays.
#[derive(Debug)]
pub(crate) struct Player {
    files: Vec<PathBuf>,
    /// Frames in all of them.
    pub(crate) frames: usize,
}

impl Player {
    /// Writes `queues` captures, each in an order of its own.
    pub(crate) fn new(capture: &Capture, folder: &Path, queues: u16) -> Result<Self> {
        let mut files = Vec::new();
        for queue in 0..queues {
            let file = folder.join(format!("flows-{queue}.pcap"));
            capture.write(&file, queue.into())?;
            files.push(file);
        }
        let frames = capture.len() * usize::from(queues);
        Ok(Self { files, frames })
    }

    /// How many there are.
    pub(crate) fn queues(&self) -> u16 {
        self.files.len() as u16
    }

    /// The first of them.
    pub(crate) fn first(&self) -> &Path {
        self.files.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// The port that plays them from memory without end, and drops what it is given.
    pub(crate) fn port(&self) -> String {
        let file = |file: &PathBuf| format!(",rx_pcap={}", file.display());
        let files: String = self.files.iter().map(file).collect();
        format!("net_pcap0{files},infinite_rx=1")
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Hundreds of megabytes that nobody needs any more; the laboratory's folder goes later.
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Capture {
    /// How many frames there will be.
    pub(crate) fn len(&self) -> usize {
        self.flows.max(LEAST) as usize + self.neighbours.len()
    }

    /// Writes the capture: each flow once in random order when they are many, random draws when
    /// they are few; another `seed` gives another order.
    pub(crate) fn write(&self, file: &Path, seed: u64) -> Result<()> {
        let context = || format!("cannot write {}", file.display());
        let mut out = BufWriter::new(File::create(file).with_context(context)?);
        out.write_all(&pcap_header()).with_context(context)?;
        for &(neighbour, gateway) in &self.neighbours {
            let mut frame = [0; 64];
            let length = ArpFrame::request(SENDER_MAC, neighbour, gateway).write(&mut frame)?;
            record(&mut out, &frame[..length.max(60)]).with_context(context)?;
        }
        for number in self.order(seed) {
            let (frame, length) = self.frame(number)?;
            record(&mut out, &frame[..length]).with_context(context)?;
        }
        out.flush().with_context(context)
    }

    fn order(&self, seed: u64) -> Vec<u32> {
        let mut random = StdRng::seed_from_u64(seed);
        if self.sequential {
            (0..self.flows.max(LEAST)).map(|n| n % self.flows).collect()
        } else if self.flows < LEAST {
            (0..LEAST)
                .map(|_| random.random_range(0..self.flows))
                .collect()
        } else {
            let mut order: Vec<u32> = (0..self.flows).collect();
            order.shuffle(&mut random);
            order
        }
    }

    fn frame(&self, number: u32) -> Result<([u8; VXLAN_OVERHEAD + PLAIN], usize)> {
        let host = number % HOSTS;
        let inside = Ipv4Addr::from_bits(INSIDE + 2 + host);
        let remote = Ipv4Addr::from_bits(REMOTES + host);
        let port = (FIRST_PORT + number / HOSTS) as u16;
        let host_mac = MacAddr::new([2, 0, 0, 1, 0, host as u8]);
        let mut bytes = [0; VXLAN_OVERHEAD + PLAIN];
        let length = match self.frames {
            Frames::Plain => {
                let frame = plain(
                    SENDER_MAC,
                    GATEWAY_MAC,
                    (inside, port),
                    (remote, REMOTE_PORT),
                );
                bytes[..PLAIN].copy_from_slice(&frame);
                PLAIN
            }
            Frames::Answers => {
                let frame = plain(
                    SENDER_MAC,
                    GATEWAY_MAC,
                    (remote, REMOTE_PORT),
                    (OUTSIDE, port),
                );
                bytes[..PLAIN].copy_from_slice(&frame);
                PLAIN
            }
            Frames::Tunnelled => {
                let (outer, inner) = bytes.split_at_mut(VXLAN_OVERHEAD);
                inner.copy_from_slice(&plain(
                    host_mac,
                    SEGMENT_MAC,
                    (inside, port),
                    (remote, REMOTE_PORT),
                ));
                let mut header = [0; VXLAN_OVERHEAD];
                let encap = VxlanEncap {
                    dst_mac: GATEWAY_MAC,
                    src_mac: SENDER_MAC,
                    src: VTEP,
                    dst: UNDERLAY,
                    src_port: 49_152 + (number % 16_384) as u16,
                    dst_port: vxlan::UDP_PORT,
                    vni: Vni::new(VNI)?,
                    tos: 0,
                    ttl: TTL,
                };
                encap.write(&mut header, PLAIN)?;
                outer.copy_from_slice(&header);
                bytes.len()
            }
        };
        Ok((bytes, length))
    }
}

/// A frame with a UDP datagram, whose checksum is left out (RFC 768 allows it).
fn plain(
    src_mac: MacAddr,
    dst_mac: MacAddr,
    (src, src_port): (Ipv4Addr, u16),
    (dst, dst_port): (Ipv4Addr, u16),
) -> [u8; PLAIN] {
    let mut bytes = [0; PLAIN];
    let mut header = [0; ethernet::HEADER_LEN];
    ethernet::write_header(&mut header, dst_mac, src_mac, EtherType::IPV4);
    let (start, rest) = bytes.split_at_mut(ethernet::HEADER_LEN);
    start.copy_from_slice(&header);
    let mut header = [0; ipv4::MIN_HEADER_LEN];
    let fields = Ipv4Fields {
        tos: 0,
        total_len: (PLAIN - ethernet::HEADER_LEN) as u16,
        dont_fragment: true,
        ttl: TTL,
        protocol: IpProtocol::UDP,
        src,
        dst,
    };
    fields.write(&mut header);
    let (start, rest) = rest.split_at_mut(ipv4::MIN_HEADER_LEN);
    start.copy_from_slice(&header);
    let words = [src_port, dst_port, (udp::HEADER_LEN + PAYLOAD) as u16];
    for (place, word) in rest.chunks_exact_mut(2).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// The header of a capture of Ethernet frames, version 2.4, times in microseconds.
fn pcap_header() -> [u8; 24] {
    let mut header = [0; 24];
    header[..4].copy_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
    header[4..6].copy_from_slice(&2_u16.to_le_bytes());
    header[6..8].copy_from_slice(&4_u16.to_le_bytes());
    header[16..20].copy_from_slice(&65_535_u32.to_le_bytes());
    header[20..].copy_from_slice(&1_u32.to_le_bytes());
    header
}

/// The frames of such a capture.
pub(crate) fn records(capture: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = capture.get(pcap_header().len()..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (header, after) = rest.split_first_chunk::<16>()?;
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let (frame, after) = after.split_at_checked(length as usize)?;
        rest = after;
        Some(frame)
    })
}

fn record(out: &mut impl Write, frame: &[u8]) -> std::io::Result<()> {
    let length = (frame.len() as u32).to_le_bytes();
    out.write_all(&[0; 8])?;
    out.write_all(&length)?;
    out.write_all(&length)?;
    out.write_all(frame)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use sekisho_packet::{Ethernet, Ipv4, Udp, Vxlan};

    use super::*;

    fn capture(frames: Frames, flows: u32) -> Capture {
        Capture {
            frames,
            flows,
            sequential: false,
            neighbours: Vec::new(),
        }
    }

    #[test]
    fn flows_that_share_a_source_port_have_different_remotes() {
        let flows = 10_000;
        let capture = capture(Frames::Answers, flows);
        let mut seen = HashSet::new();
        for number in 0..flows {
            let (frame, length) = capture.frame(number).unwrap();
            assert!(seen.insert(frame[..length].to_vec()), "flow {number}");
        }
    }

    #[test]
    fn a_tunnelled_frame_holds_what_a_gateway_expects() {
        let (frame, length) = capture(Frames::Tunnelled, 1000).frame(300).unwrap();
        let outer = Ethernet::new(&frame[..length]).unwrap();
        let outer = Ipv4::new(outer.payload()).unwrap();
        assert_eq!((outer.src(), outer.dst()), (VTEP, UNDERLAY));
        assert!(outer.is_intact());
        let datagram = Udp::new(outer.payload()).unwrap();
        let tunnel = Vxlan::new(datagram.payload()).unwrap();
        assert_eq!(tunnel.vni(), Vni::new(VNI).unwrap());
        let inner = Ethernet::new(tunnel.payload()).unwrap();
        assert_eq!(inner.dst(), SEGMENT_MAC);
        let inner = Ipv4::new(inner.payload()).unwrap();
        assert_eq!(inner.src(), Ipv4Addr::new(172, 16, 1, 2 + 44));
        assert_eq!(Udp::new(inner.payload()).unwrap().src_port(), 1025);
    }

    #[test]
    fn few_flows_are_drawn_and_many_are_shuffled() {
        let few = capture(Frames::Plain, 10).order(1);
        assert_eq!(few.len(), LEAST as usize);
        assert!(few.iter().all(|&number| number < 10));
        let many = capture(Frames::Plain, 20_000).order(1);
        let distinct: HashSet<&u32> = many.iter().collect();
        assert_eq!((many.len(), distinct.len()), (20_000, 20_000));
    }

    #[test]
    fn a_capture_is_as_long_as_it_says() {
        let capture = Capture {
            neighbours: vec![(VTEP, UNDERLAY)],
            ..capture(Frames::Plain, 10)
        };
        let file = std::env::temp_dir().join(format!("sekisho-flows-{}.pcap", std::process::id()));
        capture.write(&file, 1).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let lengths: Vec<usize> = records(&bytes).map(<[u8]>::len).collect();
        assert_eq!(lengths.len(), capture.len());
        assert_eq!((lengths[0], lengths[1]), (60, PLAIN));
    }
}
