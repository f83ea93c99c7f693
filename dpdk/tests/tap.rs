//! `net_tap` in namespaces: frames both ways, and an interface that never outlives its port.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod common;

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use common::{Namespace, eal, frame, pool, push, wait_for, wait_for_frame};
use sekisho_dpdk::{Burst, Driver, Port, PortError, PortOptions};
use sekisho_types::MacAddr;

const OURS: [u8; 6] = [0x02, 0, 0, 0, 0, 2];

fn options(namespace: &Namespace) -> PortOptions {
    PortOptions::new(Driver::Tap {
        interface: "tap0".into(),
        namespace: Some(namespace.0.clone()),
    })
}

/// A child that one test starts while another attaches a TAP may inherit that TAP's descriptors:
/// the driver opens them before they can be sealed.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_kernel_resolves_an_address_through_a_tap_in_a_namespace() {
    let _turn = one_at_a_time();
    let namespace = Namespace::new("tap");
    let pool = pool("tap", 2048);
    let options = PortOptions {
        queues: 4,
        mtu: 1400,
        ..options(&namespace)
    };
    let Port {
        handle,
        mut rx,
        mut tx,
    } = Port::attach(eal(), "tap", &options, &pool).expect("attached");
    let link = namespace.run("ip", &["link", "show", "tap0"]);
    assert!(
        link.contains("mtu 1400") && link.contains(&handle.mac().to_string()),
        "{link}"
    );
    assert!(handle.link_up());

    namespace.run("ip", &["addr", "add", "192.0.2.1/24", "dev", "tap0"]);
    let mut ping = namespace
        .command("ping", &["-c1", "-W5", "192.0.2.2"])
        .stdout(Stdio::null())
        .spawn()
        .expect("ping runs");
    let request = wait_for_frame("an ARP request", &mut rx, |data| {
        data[12..14] == [0x08, 0x06]
    });
    assert_eq!(request[..6], [0xff; 6]);
    assert_eq!(request[6..12], handle.mac().octets());
    assert_eq!(request[38..42], [192, 0, 2, 2]);

    let mut reply = [&request[6..12], &OURS[..], &request[12..20], &[0, 2]].concat();
    reply.extend([&OURS[..], &[192, 0, 2, 2], &request[22..32]].concat());
    let mut burst = Burst::new();
    push(&pool, &mut burst, &reply);
    assert_eq!(tx[3].transmit(&mut burst), 1);
    wait_for("the neighbour", || {
        namespace
            .run("ip", &["neigh", "show", "192.0.2.2"])
            .contains("02:00:00:00:00:02")
    });
    let echo = wait_for_frame("the echo request", &mut rx, |data| {
        data[12..14] == [0x08, 0x00]
    });
    assert_eq!(echo[..6], OURS);
    ping.kill().expect("ping stops");
    ping.wait().expect("ping ends");
    assert!(handle.stats().rx_packets >= 2 && handle.stats().tx_packets == 1);

    drop((rx, tx));
    handle.close().expect("closed");
    // Not at once if another test starts a child just while a TAP is made.
    wait_for("the interface to go with its port", || {
        !namespace.has("tap0")
    });
    assert_eq!(pool.free_count(), pool.count());
}

#[test]
fn a_tap_has_the_address_it_is_given_and_stops_at_a_frame_that_is_too_long() {
    let _turn = one_at_a_time();
    let namespace = Namespace::new("mac");
    let pool = pool("tap-mac", 2048);
    let mac = MacAddr::new(OURS);
    let options = PortOptions {
        mac: Some(mac),
        mtu: 1504,
        ..options(&namespace)
    };
    let Port {
        handle,
        rx: _rx,
        mut tx,
    } = Port::attach(eal(), "tap", &options, &pool).expect("attached");
    assert_eq!(handle.mac(), mac);
    assert!(
        namespace
            .run("ip", &["link", "show", "tap0"])
            .contains("02:00:00:00:00:02")
    );
    let mut burst = Burst::new();
    push(&pool, &mut burst, &frame([0xff; 6], OURS, &[0; 1504]));
    push(&pool, &mut burst, &frame([0xff; 6], OURS, &[0; 1600]));
    push(&pool, &mut burst, &frame([0xff; 6], OURS, &[0; 100]));
    assert_eq!(tx[0].transmit(&mut burst), 1);
    assert_eq!(burst.len(), 2);
    drop(burst);
    assert_eq!(
        pool.free_count(),
        pool.count() - 1,
        "all but the one the driver holds"
    );
}

#[test]
fn what_a_tap_cannot_do_is_refused_with_the_reason() {
    let _turn = one_at_a_time();
    let namespace = Namespace::new("bad");
    let pool = pool("tap-bad", 2048);
    let attach = |options: &PortOptions| Port::attach(eal(), "p", options, &pool).unwrap_err();
    let error = attach(&PortOptions {
        queues: 5,
        ..options(&namespace)
    });
    assert_eq!(
        error,
        PortError::Queues {
            port: "p".into(),
            asked: 5,
            most: 4
        }
    );
    let error = attach(&PortOptions {
        mtu: 1600,
        ..options(&namespace)
    });
    assert_eq!(
        error,
        PortError::Mtu {
            port: "p".into(),
            asked: 1600,
            least: 68,
            most: 1504
        }
    );
    namespace.run(
        "ip",
        &[
            "link", "add", "name", "tap0", "type", "veth", "peer", "name", "other",
        ],
    );
    let error = attach(&options(&namespace));
    assert!(
        error
            .to_string()
            .starts_with("interface tap0 exists already in network namespace")
    );
    let nowhere = Driver::Tap {
        interface: "tap0".into(),
        namespace: Some("no-such-ns".into()),
    };
    let error = attach(&PortOptions::new(nowhere));
    assert!(
        error
            .to_string()
            .contains("`ip netns add no-such-ns` makes it"),
        "{error}"
    );
}

#[test]
fn a_child_process_does_not_keep_a_tap_alive() {
    let _turn = one_at_a_time();
    let namespace = Namespace::new("child");
    let pool = pool("tap-child", 2048);
    let port = Port::attach(eal(), "tap", &options(&namespace), &pool).expect("attached");
    let mut child = Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("the child starts");
    assert!(namespace.has("tap0"));
    drop(port);
    let end = Instant::now() + Duration::from_secs(10);
    while namespace.has("tap0") && Instant::now() < end {
        thread::sleep(Duration::from_millis(2));
    }
    let gone = !namespace.has("tap0");
    child.kill().expect("killed");
    child.wait().expect("reaped");
    assert!(gone, "the child holds the TAP open");
}

/// Not a test of its own: what the next one starts and kills.
#[test]
fn a_process_with_a_tap_waits_to_be_killed() {
    let Ok(name) = env::var("SEKISHO_TAP_NAMESPACE") else {
        return;
    };
    let tap = Driver::Tap {
        interface: "tap0".into(),
        namespace: Some(name),
    };
    let port = Port::attach(eal(), "tap", &PortOptions::new(tap), &pool("killed", 2048));
    let _port = port.expect("attached");
    println!("ready");
    loop {
        thread::park();
    }
}

#[test]
fn a_tap_vanishes_when_its_process_is_killed() {
    let _turn = one_at_a_time();
    let namespace = Namespace::new("kill");
    let mut child = Command::new(env::current_exe().expect("this test"))
        .args([
            "--exact",
            "a_process_with_a_tap_waits_to_be_killed",
            "--nocapture",
        ])
        .env("SEKISHO_TAP_NAMESPACE", &namespace.0)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let ready = lines
        .map_while(Result::ok)
        .any(|line| line.ends_with("ready"));
    let there = namespace.has("tap0");
    child.kill().expect("killed");
    child.wait().expect("reaped");
    assert!(ready && there, "the child made its TAP");
    wait_for("the interface to vanish", || !namespace.has("tap0"));
}
