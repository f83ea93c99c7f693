use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;
use crate::testbed::{in_fresh_namespace, ip};
use crate::{NetNamespace, RULE_PRIORITY, TABLE};

const NAME: &str = "sekisho0";
const MTU: u16 = 1500;
const PATIENCE: Duration = Duration::from_secs(5);

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn create(texts: &[&str]) -> HostInterface {
    HostInterface::create(NAME, &addresses(texts), MTU).unwrap()
}

/// The next IP packet the kernel sends.
fn next_packet(packets: &HostPackets) -> Vec<u8> {
    let mut buffer = [0; MTU as usize];
    loop {
        if let Some(packet) = packets.recv_ip(&mut buffer).unwrap() {
            return packet.to_vec();
        }
        let mut waiting = [PollFd::new(packets.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut waiting, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
        assert_eq!(ready, 1, "the kernel sends nothing");
    }
}

fn checksum(octets: &[u8]) -> u16 {
    let sum: u32 = octets
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// A UDP packet without UDP checksum, which IPv4 allows.
fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let total = 28 + payload.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(from.1.to_be_bytes());
    packet.extend(to.1.to_be_bytes());
    packet.extend((total - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

fn bound(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Rules, routes and interfaces: everything an operator can see of us.
fn traces() -> String {
    let mut all = String::new();
    for family in ["-4", "-6"] {
        all += &ip(&format!("{family} rule show"));
        all += &ip(&format!("{family} route show table all"));
    }
    all + &ip("-o link show")
}

#[test]
fn what_the_kernel_sends_from_an_address_comes_out_whatever_the_main_table_says() {
    in_fresh_namespace(|| {
        ip("link add other type veth peer far");
        ip("link set far up");
        ip("link set other up");
        ip("address add 10.0.0.1/24 dev other");
        ip("route add default via 10.0.0.254");
        let interface = create(&["192.0.2.1"]);
        let packets = interface.packets().unwrap();
        let socket = bound("192.0.2.1");
        let to: SocketAddr = "198.51.100.7:4242".parse().unwrap();
        socket.send_to(b"hello", to).unwrap();

        let packet = next_packet(&packets);
        assert_eq!(
            packet.len(),
            33,
            "the first packet is ours: no noise before it"
        );
        assert_eq!(packet[0], 0x45);
        assert_eq!(packet[12..20], [192, 0, 2, 1, 198, 51, 100, 7]);
        assert_eq!(checksum(&packet[..20]), 0, "the kernel computes checksums");
        assert_eq!(&packet[28..], b"hello");
    });
}

#[test]
fn what_is_put_in_reaches_a_listening_socket_even_under_strict_reverse_path_filtering() {
    for all_rp_filter in ["0", "1"] {
        in_fresh_namespace(|| {
            fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", all_rp_filter).unwrap();
            fs::write("/proc/sys/net/ipv4/conf/default/rp_filter", "1").unwrap();
            let interface = create(&["192.0.2.1"]);
            let own = fs::read_to_string("/proc/sys/net/ipv4/conf/sekisho0/rp_filter").unwrap();
            assert_eq!(own.trim(), "0");
            let socket = bound("192.0.2.1");
            let port = socket.local_addr().unwrap().port();
            let peer = Ipv4Addr::new(198, 51, 100, 7);
            let packet = udp((peer, 999), (Ipv4Addr::new(192, 0, 2, 1), port), b"in");
            let packets = interface.packets().unwrap();
            assert!(packets.send_ip(&packet).unwrap());
            let mut buffer = [0; 16];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"in");
            assert_eq!(from, "198.51.100.7:999".parse().unwrap());
        });
    }
}

#[test]
fn ipv6_sockets_work_alike_and_nothing_else_is_said() {
    in_fresh_namespace(|| {
        let main_before = ip("-6 route show table main");
        let interface = create(&["192.0.2.1", "2001:db8::1"]);
        assert_eq!(ip("-6 route show table main"), main_before);
        let socket = bound("2001:db8::1");
        socket.send_to(b"six", "[2001:db8:9::7]:53").unwrap();
        let packets = interface.packets().unwrap();
        let packet = next_packet(&packets);
        assert_eq!((packet[0] >> 4, packet[6]), (6, 17), "UDP comes first");

        // The same packet turned round comes back to the socket.
        let mut back = packet.clone();
        back[8..24].copy_from_slice(&packet[24..40]);
        back[24..40].copy_from_slice(&packet[8..24]);
        back[40..42].copy_from_slice(&packet[42..44]);
        back[42..44].copy_from_slice(&packet[40..42]);
        // The kernel lets a new IPv6 address receive a moment after it has acknowledged it.
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 16];
        let length = loop {
            assert!(packets.send_ip(&back).unwrap());
            match socket.recv(&mut buffer) {
                Ok(length) => break length,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        assert_eq!(&buffer[..length], b"six");
    });
}

#[test]
fn the_kernel_answers_ping_but_neither_arp_nor_forwards() {
    in_fresh_namespace(|| {
        fs::write("/proc/sys/net/ipv4/conf/all/forwarding", "1").unwrap();
        fs::write("/proc/sys/net/ipv4/conf/default/forwarding", "1").unwrap();
        ip("link add other type veth peer far");
        ip("link set far up");
        ip("link set other up");
        ip("address add 10.0.0.1/24 dev other");
        let interface = create(&["192.0.2.1"]);
        let packets = interface.packets().unwrap();

        let mut arp = HOST_MAC.octets().to_vec();
        arp.extend([2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        arp.extend([
            2, 0, 0, 0, 0, 9, 198, 51, 100, 7, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1,
        ]);
        io::Write::write_all(&mut &interface.tap, &arp).unwrap();
        let stranger = Ipv4Addr::new(198, 51, 100, 7);
        let transit = udp((stranger, 1), (Ipv4Addr::new(10, 0, 0, 9), 2), b"transit");
        assert!(packets.send_ip(&transit).unwrap());
        // Afterwards a ping, whose answer shows that the kernel is done with the former two.
        let mut ping = udp((stranger, 0x0800), (Ipv4Addr::new(192, 0, 2, 1), 0), &[]);
        ping[9] = 1;
        ping[10..12].fill(0);
        let sum = checksum(&ping[..20]);
        ping[10..12].copy_from_slice(&sum.to_be_bytes());
        ping[20..28].copy_from_slice(&[8, 0, 0, 0, 0, 1, 0, 1]);
        let sum = checksum(&ping[20..]);
        ping[22..24].copy_from_slice(&sum.to_be_bytes());
        assert!(packets.send_ip(&ping).unwrap());

        let mut frame = [0; MTU as usize];
        let mut waiting = [PollFd::new(packets.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
        io::Read::read(&mut &interface.tap, &mut frame).unwrap();
        assert_eq!(frame[12..14], [8, 0], "no ARP answer comes first");
        assert_eq!((frame[23], frame[34]), (1, 0), "the echo reply");
        let counters = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
        let forwarded = counters.lines().nth(1).unwrap().split(' ').nth(6).unwrap();
        assert_eq!(forwarded, "0", "nothing was forwarded");
    });
}

#[test]
fn nothing_is_left_after_close() {
    in_fresh_namespace(|| {
        let before = traces();
        let interface = create(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        let during = traces();
        assert!(during.contains(&format!("{RULE_PRIORITY}:\tfrom 192.0.2.1 lookup {TABLE}")));
        assert!(during.contains(NAME));
        let packets = interface.packets().unwrap();
        interface.close().unwrap();
        assert_eq!(traces(), before);
        let error = packets.recv_ip(&mut [0; 64]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::EBADFD));
    });
}

#[test]
fn nothing_is_left_after_a_drop_on_a_thread_in_another_namespace() {
    in_fresh_namespace(|| {
        let before = traces();
        let interface = create(&["192.0.2.1", "2001:db8::1"]);
        in_fresh_namespace(move || drop(interface));
        assert_eq!(traces(), before);
    });
}

#[test]
fn the_rules_of_a_killed_predecessor_are_replaced() {
    in_fresh_namespace(|| {
        let before = traces();
        let mut killed = create(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        ip("rule add from 203.0.113.9 lookup 17900 priority 17900");
        killed.closed = true;
        drop(killed);
        assert!(
            traces().contains("from 192.0.2.2 lookup"),
            "rules stay behind"
        );

        let interface = create(&["192.0.2.7"]);
        let during = traces();
        assert!(!during.contains("192.0.2.1") && !during.contains("192.0.2.2"));
        assert!(!during.contains("2001:db8::1"));
        assert!(during.contains("from 192.0.2.7 lookup"));
        assert!(
            during.contains("from 203.0.113.9 lookup"),
            "an operator's rule stays"
        );
        drop(interface);
        ip("rule del from 203.0.113.9 lookup 17900 priority 17900");
        assert_eq!(traces(), before);
    });
}

#[test]
fn a_living_gateway_is_not_disturbed_by_a_second_one() {
    in_fresh_namespace(|| {
        // Without the kernel's own table, in which a new IPv6 address appears by and by.
        let of_the_gateway = || -> Vec<String> {
            let all = traces();
            let lines = all.lines().filter(|line| !line.starts_with("local "));
            lines.map(str::to_owned).collect()
        };
        for address in ["192.0.2.1", "2001:db8::1"] {
            let first = create(&[address]);
            let before = of_the_gateway();
            let second = HostInterface::create("sekisho1", &addresses(&["192.0.2.9"]), MTU);
            assert!(matches!(
                second,
                Err(HostError::TableInUse { table: TABLE })
            ));
            let same_name = HostInterface::create(NAME, &[], MTU);
            assert!(matches!(same_name, Err(HostError::InterfaceExists(_))));
            assert_eq!(of_the_gateway(), before);
            drop(first);
        }
    });
}

#[test]
fn addresses_change_while_untouched_ones_keep_working() {
    in_fresh_namespace(|| {
        let mut interface = create(&["192.0.2.1", "192.0.2.2"]);
        let socket = bound("192.0.2.2");
        interface
            .set_addresses(&addresses(&["192.0.2.2", "192.0.2.3", "2001:db8::3"]))
            .unwrap();
        let now: Vec<IpAddr> = interface.addresses().collect();
        assert_eq!(now, addresses(&["192.0.2.2", "192.0.2.3", "2001:db8::3"]));
        let shown = traces();
        assert!(!shown.contains("192.0.2.1"), "{shown}");
        assert!(shown.contains("from 192.0.2.3 lookup"));
        assert!(shown.contains("from 2001:db8::3 lookup"));

        socket.send_to(b"still", "198.51.100.7:9").unwrap();
        let packet = next_packet(&interface.packets().unwrap());
        assert_eq!(packet[12..16], [192, 0, 2, 2]);
    });
}

#[test]
fn an_unusable_address_is_refused_before_anything_changes() {
    in_fresh_namespace(|| {
        let before = traces();
        for text in ["0.0.0.0", "127.0.0.1", "224.0.0.5", "::", "::1", "ff02::1"] {
            let wanted = addresses(&["192.0.2.1", text]);
            let refused = HostInterface::create(NAME, &wanted, MTU);
            assert!(matches!(refused, Err(HostError::Address(_))), "{text}");
        }
        // The kernel refuses this one, when the interface exists already.
        let refused = HostInterface::create(NAME, &addresses(&["192.0.2.1"]), 10);
        assert!(refused.unwrap_err().to_string().contains("MTU of 10"));
        assert_eq!(traces(), before);
    });
}

#[test]
fn what_is_no_ip_packet_is_not_sent() {
    in_fresh_namespace(|| {
        let packets = create(&[]).packets().unwrap();
        for packet in [&[][..], &[0; 20], &[0x55; 20]] {
            let error = packets.send_ip(packet).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn the_interface_lives_in_the_namespace_of_its_creator() {
    in_fresh_namespace(|| {
        let inside = NetNamespace::current().unwrap();
        in_fresh_namespace(|| {
            let interface = inside.run(|| create(&["192.0.2.1"])).unwrap();
            assert!(!traces().contains(NAME));
            assert!(inside.run(traces).unwrap().contains(NAME));
            drop(interface);
        });
    });
}
