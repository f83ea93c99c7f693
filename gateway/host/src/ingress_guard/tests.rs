use std::io::Read;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::*;
use crate::testbed::{in_fresh_namespace, ip, run};

const ETH_P_ALL: u16 = 3;
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];

/// Runs `test` beside a host with the interface `left` (192.0.2.1), reached over `right` (192.0.2.2)
/// of the calling thread's namespace.
fn beside_a_host(test: impl FnOnce(&NetNamespace) + Send) {
    in_fresh_namespace(|| {
        let host = NetNamespace::current().unwrap();
        let thread = nix::unistd::gettid();
        in_fresh_namespace(|| {
            ip("link add right type veth peer left");
            ip(&format!("link set left netns {thread}"));
            ip("address add 192.0.2.2/24 dev right");
            ip("link set right up");
            host.run(|| {
                ip("address add 192.0.2.1/24 dev left");
                ip("link set left up");
            })
            .unwrap();
            test(&host);
        });
    });
}

fn host_answers_ping() -> bool {
    let ping = Command::new("ping")
        .args(["-c", "1", "-W", "1", "192.0.2.1"])
        .stdout(Stdio::null())
        .status();
    ping.unwrap().success()
}

/// A fresh link takes a moment until it carries packets.
fn host_answers_ping_soon() -> bool {
    (0..5).any(|_| host_answers_ping())
}

/// Waits for a frame of that Ethernet type, and IP protocol if one is given.
fn sees(socket: &mut Socket, ethertype: [u8; 2], protocol: Option<u8>) -> bool {
    let mut frame = [0; 2048];
    while let Ok(length) = socket.read(&mut frame) {
        let frame = &frame[..length];
        let is_protocol = protocol.is_none_or(|protocol| frame.get(23) == Some(&protocol));
        if frame.get(12..14) == Some(&ethertype) && is_protocol {
            return true;
        }
    }
    false
}

#[test]
fn a_packet_socket_hears_everything_while_the_kernel_answers_nothing() {
    beside_a_host(|host| {
        assert!(host_answers_ping_soon());
        let guard = host.run(|| IngressGuard::install("left")).unwrap().unwrap();
        assert_eq!((guard.interface(), guard.mtu()), ("left", 1500));
        let mut socket = host
            .run(|| {
                Socket::new(
                    Domain::PACKET,
                    Type::RAW,
                    Some(Protocol::from(i32::from(ETH_P_ALL.to_be()))),
                )
            })
            .unwrap()
            .unwrap();
        let patience = Some(Duration::from_secs(2));
        socket.set_read_timeout(patience).unwrap();

        ip("neighbour flush dev right");
        assert!(!host_answers_ping(), "ARP is not answered");
        assert!(sees(&mut socket, ARP, None));
        let mac = host.run(|| ip("-br link show dev left")).unwrap();
        let mac = mac.split_whitespace().nth(2).unwrap();
        ip(&format!(
            "neighbour replace 192.0.2.1 lladdr {mac} dev right nud permanent"
        ));
        assert!(!host_answers_ping(), "ping is not answered");
        assert!(sees(&mut socket, IPV4, Some(1)));

        guard.remove().unwrap();
        assert!(host_answers_ping_soon());
    });
}

#[test]
fn the_guard_of_a_killed_predecessor_is_replaced_and_nothing_is_left() {
    in_fresh_namespace(|| {
        ip("link add eth-fabric.1 type veth peer far");
        ip("link set far up");
        std::mem::forget(IngressGuard::install("eth-fabric.1").unwrap());
        let leftover = run("nft", "list ruleset");
        assert!(leftover.contains("policy drop"), "{leftover}");
        run("nft", "add rule netdev sekisho_eth-fabric.1 ingress accept");
        let guard = IngressGuard::install("eth-fabric.1").unwrap();
        assert_eq!(run("nft", "list ruleset"), leftover);
        in_fresh_namespace(move || drop(guard));
        assert_eq!(run("nft", "list ruleset"), "");
    });
}

#[test]
fn an_interface_is_brought_up_without_merging_and_gets_its_merging_back() {
    in_fresh_namespace(|| {
        ip("link add left type veth peer right");
        ip("link set right up");
        run("ethtool", "-K left gro on");
        let guard = IngressGuard::install("left").unwrap();
        assert!(ip("link show dev left").contains("state UP"));
        let gro = |state| {
            run("ethtool", "-k left").contains(&format!("generic-receive-offload: {state}"))
        };
        assert!(gro("off"));
        drop(guard);
        assert!(gro("on"));
    });
}

#[test]
fn an_operator_is_told_about_addresses_members_and_veth_pairs() {
    in_fresh_namespace(|| {
        ip("link add left type veth peer right");
        ip("link set right up");
        ip("address add 192.0.2.1/24 dev left");
        ip("address add fe80::1/64 dev left");
        let guard = IngressGuard::install("left").unwrap();
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!(guard.hints(), [Hint::HasAddress(address), Hint::VethPeer]);
        assert!(
            guard.hints()[1]
                .to_string()
                .contains("ethtool -K PEER tx off")
        );
    });
}

#[test]
fn a_missing_interface_and_a_hostile_name_are_refused() {
    in_fresh_namespace(|| {
        let missing = IngressGuard::install("nowhere");
        assert!(matches!(missing, Err(HostError::NoInterface(name)) if name == "nowhere"));
        let hostile = IngressGuard::install("a\" }\nflush");
        assert!(matches!(hostile, Err(HostError::InterfaceName(_))));
        assert_eq!(run("nft", "list ruleset"), "");
    });
}
