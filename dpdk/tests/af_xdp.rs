//! `net_af_xdp` on veth pairs in namespaces: frames of all lengths, what a killed process
//! leaves behind, and clear errors.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod common;

use std::process::Command;

use common::{Namespace, eal, frame, pool_of, push, wait_for, wait_for_frame};
use sekisho_dpdk::{Burst, Driver, Mempool, Port, PortError, PortOptions};
use sekisho_types::MacAddr;

const A: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const B: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];

/// A veth whose ends `left` and `right`, each of so many queues, live in one silent namespace.
fn veth(suffix: &str, queues: u16) -> Namespace {
    let namespace = Namespace::new(suffix);
    let number = queues.to_string();
    let count = ["numrxqueues", &number, "numtxqueues", &number];
    let mut words = vec!["link", "add", "name", "left"];
    words.extend(count);
    words.extend(["type", "veth", "peer", "name", "right"]);
    words.extend(count);
    namespace.run("ip", &words);
    namespace
}

fn options(namespace: &Namespace, interface: &str) -> PortOptions {
    let namespace = Some(namespace.0.clone());
    PortOptions::new(Driver::AfXdp {
        interface: interface.into(),
        namespace,
    })
}

/// What two ports hold, and some more.
fn pool(name: &str, octets: u16) -> Mempool {
    pool_of(16383, name, octets)
}

fn program(namespace: &Namespace, interface: &str) -> bool {
    namespace
        .run("ip", &["link", "show", interface])
        .contains("prog/xdp")
}

/// What `ip` says about the program of `left`, its number among it.
fn program_line(namespace: &Namespace) -> Option<String> {
    let link = namespace.run("ip", &["-details", "link", "show", "left"]);
    link.lines()
        .find(|line| line.contains("prog/xdp"))
        .map(str::to_owned)
}

/// Sends a long and a short frame from `left`, and expects them whole at `right`.
fn passes(suffix: &str, mtu: u16) {
    let namespace = veth(suffix, 1);
    let pool = pool(suffix, 3712);
    let attach = |end, mac| {
        let options = PortOptions {
            mtu,
            mac: Some(MacAddr::new(mac)),
            ..options(&namespace, end)
        };
        Port::attach(eal(), end, &options, &pool).expect("attached")
    };
    let Port {
        handle: a,
        rx: rx_a,
        tx: mut tx_a,
    } = attach("left", A);
    let Port {
        handle: b,
        rx: mut rx_b,
        tx: tx_b,
    } = attach("right", B);
    wait_for("the carrier", || a.link_up() && b.link_up());
    assert!(program(&namespace, "left") && program(&namespace, "right"));
    assert_eq!((a.mac(), b.mac()), (MacAddr::new(A), MacAddr::new(B)));
    assert_eq!(a.driver(), "net_af_xdp");

    let payload: Vec<u8> = (0..mtu).map(|n| n as u8).collect();
    for length in [usize::from(mtu), 46] {
        let sent = frame(B, A, &payload[..length]);
        let mut burst = Burst::new();
        push(&pool, &mut burst, &sent);
        assert_eq!(tx_a[0].transmit(&mut burst), 1);
        wait_for_frame(&format!("{length} octets"), &mut rx_b, |data| data == sent);
    }
    assert_eq!(b.stats().rx_packets, 2);
    drop((rx_a, tx_a, rx_b, tx_b));
    a.close().expect("closed");
    b.close().expect("closed");
    assert!(namespace.has("left"), "an existing interface stays");
    assert!(!program(&namespace, "left") && !program(&namespace, "right"));
}

#[test]
fn frames_pass_with_the_usual_mtu() {
    passes("usual", 1500);
}

#[test]
fn frames_pass_with_room_for_a_tunnel() {
    passes("tunnel", 1600);
}

#[test]
fn the_largest_frames_pass_whole() {
    passes("largest", 3438);
}

#[test]
fn the_kernel_sees_nothing_of_what_the_port_receives() {
    let namespace = veth("consumed", 1);
    let other = Namespace::new("consumed-peer");
    namespace.run("ip", &["link", "set", "right", "netns", &other.0]);
    other.run("ip", &["address", "add", "192.0.2.2/24", "dev", "right"]);
    other.run("ip", &["link", "set", "right", "up"]);
    namespace.run("ip", &["address", "add", "192.0.2.1/24", "dev", "left"]);
    let pool = pool("consumed", 2048);
    let port = Port::attach(eal(), "left", &options(&namespace, "left"), &pool).expect("attached");
    let Port { handle, mut rx, tx } = port;
    wait_for("the carrier", || handle.link_up());
    let mut ping = other
        .command("ping", &["-c", "2", "-i", "0.2", "-W", "1", "192.0.2.1"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("ping runs");
    // The kernel has the address and would answer.
    wait_for_frame("who has 192.0.2.1", &mut rx, |data| {
        data[12..14] == [8, 6] && data.ends_with(&[192, 0, 2, 1])
    });
    assert!(!ping.wait().expect("ping ends").success());
    drop((rx, tx));
    handle.close().expect("closed");
}

#[test]
fn a_program_that_a_killed_process_left_is_replaced() {
    let namespace = veth("stale", 1);
    // Another process attaches, and is killed.
    let me = std::env::current_exe().expect("this program has a path");
    let status = Command::new(me)
        .args(["--exact", "attach_and_be_killed"])
        .env("SEKISHO_TEST_NAMESPACE", &namespace.0)
        .status()
        .expect("it runs");
    assert!(!status.success());
    let left_behind = program_line(&namespace);
    assert!(left_behind.is_some(), "nothing was left behind");

    let pool = pool("stale", 2048);
    let attach = |end| Port::attach(eal(), end, &options(&namespace, end), &pool);
    let a = attach("left").expect("attached again");
    assert_ne!(program_line(&namespace), left_behind);
    let mut b = attach("right").expect("attached");
    let mut a_rx = a.rx;
    wait_for("the carrier", || a.handle.link_up() && b.handle.link_up());
    let sent = frame(A, B, &[7; 46]);
    let mut burst = Burst::new();
    push(&pool, &mut burst, &sent);
    b.tx[0].transmit(&mut burst);
    wait_for_frame("a frame", &mut a_rx, |data| data == sent);
}

/// The other process of the test above; alone it does nothing.
#[test]
fn attach_and_be_killed() {
    let Ok(namespace) = std::env::var("SEKISHO_TEST_NAMESPACE") else {
        return;
    };
    let namespace = std::mem::ManuallyDrop::new(Namespace(namespace));
    let pool = pool("killed", 2048);
    let _port = Port::attach(eal(), "left", &options(&namespace, "left"), &pool).expect("attached");
    assert!(program(&namespace, "left"));
    nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::SIGKILL).expect("killed");
}

#[test]
fn an_interface_with_another_number_of_queues_is_refused_with_what_makes_them_equal() {
    let namespace = veth("channels", 2);
    let pool = pool("channels", 2048);
    let attach = |queues| {
        let options = PortOptions {
            queues,
            ..options(&namespace, "left")
        };
        Port::attach(eal(), "p", &options, &pool).map(drop)
    };
    assert_eq!(
        attach(1).unwrap_err().to_string(),
        "interface left spreads packets over 2 queues, but port p has 1, one for each worker; make \
         them equal: `ethtool -L left rx 1`, or gateway.workers = 2"
    );
    let error = attach(2).unwrap_err();
    assert!(matches!(error, PortError::OneChannel { .. }), "{error}");
    for end in ["right", "left"] {
        namespace.run("ethtool", &["-L", end, "rx", "1", "tx", "1"]);
    }
    attach(1).expect("attached");
}

#[test]
fn buffers_larger_than_a_page_are_refused() {
    let namespace = veth("buffers", 1);
    let pool = pool("buffers", 9000);
    let error = Port::attach(eal(), "p", &options(&namespace, "left"), &pool).unwrap_err();
    assert!(
        matches!(error, PortError::DataRoomMost { mtu: 3438, .. }),
        "{error}"
    );
}
