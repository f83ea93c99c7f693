//! `net_af_packet` on a veth in namespaces: both directions, large frames, and clear errors.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod common;

use std::thread;

use common::{Namespace, eal, frame, pool, push, wait_for, wait_for_frame};
use sekisho_dpdk::{Burst, Driver, Port, PortError, PortOptions};
use sekisho_types::MacAddr;

const A: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const B: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];

/// A veth whose ends `left` and `right` live in one silent namespace.
fn veth(suffix: &str) -> Namespace {
    let namespace = Namespace::new(suffix);
    namespace.run(
        "ip",
        &[
            "link", "add", "name", "left", "type", "veth", "peer", "name", "right",
        ],
    );
    namespace
}

fn options(namespace: &Namespace, interface: &str) -> PortOptions {
    let namespace = Some(namespace.0.clone());
    PortOptions::new(Driver::AfPacket {
        interface: interface.into(),
        namespace,
    })
}

/// Sends `frames` from `left` and expects them whole at `right`; with `queues` at both.
fn passes(suffix: &str, mtu: u16, queues: u16) {
    let namespace = veth(suffix);
    let pool = pool(suffix, 9800);
    let options = |end| PortOptions {
        mtu,
        queues,
        ..options(&namespace, end)
    };
    let attach = |end| Port::attach(eal(), end, &options(end), &pool).expect("attached");
    let Port {
        handle: a,
        rx: rx_a,
        tx: mut tx_a,
    } = attach("left");
    let Port {
        handle: b,
        rx: mut rx_b,
        tx: tx_b,
    } = attach("right");
    wait_for("the carrier", || a.link_up() && b.link_up());
    assert!(
        namespace
            .run("ip", &["link", "show", "left"])
            .contains(&format!("mtu {mtu} "))
    );

    let payload: Vec<u8> = (0..mtu).map(|n| n as u8).collect();
    for (queue, length) in tx_a
        .iter_mut()
        .zip([usize::from(mtu), 46].into_iter().cycle())
    {
        let sent = frame(B, A, &payload[..length]);
        let mut burst = Burst::new();
        push(&pool, &mut burst, &sent);
        assert_eq!(queue.transmit(&mut burst), 1);
        let what = format!("{length} octets on queue {}", queue.number());
        wait_for_frame(&what, &mut rx_b, |data| data == sent);
    }
    assert_eq!(a.stats().tx_packets, u64::from(queues));
    assert_eq!(b.stats().rx_packets, u64::from(queues));
    drop((rx_a, tx_a, rx_b, tx_b));
    a.close().expect("closed");
    b.close().expect("closed");
    assert!(namespace.has("left"), "an existing interface stays");
    assert_eq!(pool.free_count(), pool.count());
}

#[test]
fn frames_pass_with_the_usual_mtu() {
    passes("usual", 1500, 1);
}

#[test]
fn frames_pass_over_two_queues_with_room_for_a_tunnel() {
    passes("tunnel", 1600, 2);
}

#[test]
fn jumbo_frames_pass_whole() {
    passes("jumbo", 9000, 2);
}

#[test]
fn queues_share_flows_and_each_flow_keeps_to_one() {
    let namespace = veth("fanout");
    let pool = pool("fanout", 2048);
    let attach = |end, queues| {
        let options = PortOptions {
            queues,
            ..options(&namespace, end)
        };
        Port::attach(eal(), end, &options, &pool).expect("attached")
    };
    let Port {
        handle: a,
        rx: _rx_a,
        tx: mut tx_a,
    } = attach("left", 1);
    let Port {
        handle: b,
        rx: mut rx_b,
        tx: _tx_b,
    } = attach("right", 2);
    wait_for("the carrier", || a.link_up() && b.link_up());
    // 32 UDP flows, 8 packets each, told apart by their source port.
    let mut sent = 0;
    for round in 0..8u8 {
        let mut burst = Burst::new();
        for flow in 0..32u8 {
            let mut ip = vec![0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0, 0];
            ip.extend([
                192, 0, 2, 1, 192, 0, 2, 2, 0x40, flow, 0x12, 0xb5, 0, 12, 0, 0,
            ]);
            ip.extend([round; 4]);
            let sum = ip[..20]
                .chunks(2)
                .map(|c| u32::from(c[0]) << 8 | u32::from(c[1]))
                .sum::<u32>();
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            let mut octets = frame(B, A, &ip);
            octets[12..14].copy_from_slice(&[0x08, 0x00]);
            push(&pool, &mut burst, &octets);
        }
        sent += burst.len();
        wait_for("room to send", || {
            tx_a[0].transmit(&mut burst);
            burst.is_empty()
        });
    }
    let mut queues_of = [[0u32; 2]; 32];
    let mut got = 0;
    wait_for("all packets", || {
        for (number, queue) in rx_b.iter_mut().enumerate() {
            let mut burst = Burst::new();
            got += queue.receive(&mut burst);
            for mbuf in burst.iter() {
                queues_of[usize::from(mbuf.data()[35])][number] += 1;
            }
        }
        got == sent
    });
    assert!(
        queues_of
            .iter()
            .all(|of| of.contains(&8) && of.contains(&0)),
        "{queues_of:?}"
    );
    for number in 0..2 {
        assert!(
            queues_of.iter().any(|of| of[number] > 0),
            "queue {number} got nothing"
        );
    }
}

#[test]
fn a_port_whose_interface_goes_down_neither_blocks_nor_loses_buffers() {
    let namespace = veth("down");
    let pool = pool("down", 2048);
    let port = Port::attach(eal(), "left", &options(&namespace, "left"), &pool).expect("attached");
    let Port { handle, rx, mut tx } = port;
    namespace.run("ip", &["link", "set", "right", "up"]);
    wait_for("the carrier", || handle.link_up());
    namespace.run("ip", &["link", "set", "left", "down"]);
    assert!(!handle.link_up());
    for _ in 0..40 {
        let mut burst = Burst::new();
        for _ in 0..Burst::CAPACITY {
            push(&pool, &mut burst, &frame(B, A, &[0; 46]));
        }
        tx[0].transmit(&mut burst);
    }
    assert_eq!(pool.free_count(), pool.count());
    drop((rx, tx));
    handle.close().expect("closed");
}

#[test]
fn a_port_takes_the_address_and_the_promiscuity_it_is_given() {
    let namespace = veth("mac");
    let pool = pool("mac", 2048);
    let mac = MacAddr::new(A);
    let options = PortOptions {
        mac: Some(mac),
        promiscuous: true,
        ..options(&namespace, "left")
    };
    let Port { handle, rx, tx } = Port::attach(eal(), "left", &options, &pool).expect("attached");
    let link = || namespace.run("ip", &["link", "show", "left"]);
    assert_eq!(handle.mac(), mac);
    assert!(
        link().contains("02:00:00:00:00:0a") && link().contains("PROMISC"),
        "{}",
        link()
    );
    drop((rx, tx));
    handle.close().expect("closed");
    assert!(!link().contains("PROMISC"), "{}", link());
}

#[test]
fn an_interface_that_does_not_exist_is_named_in_the_error() {
    let pool = pool("absent", 2048);
    let driver = Driver::AfPacket {
        interface: "not-there0".into(),
        namespace: None,
    };
    let error = Port::attach(eal(), "p", &PortOptions::new(driver), &pool).unwrap_err();
    assert_eq!(
        error.to_string(),
        "interface not-there0 does not exist; create it, or correct the port's interface"
    );
    let driver = Driver::AfPacket {
        interface: "a,qpairs=9".into(),
        namespace: None,
    };
    let error = Port::attach(eal(), "p", &PortOptions::new(driver), &pool).unwrap_err();
    assert_eq!(error, PortError::InterfaceName("a,qpairs=9".into()));
}

#[test]
fn a_thread_without_rights_is_told_which_it_needs() {
    let pool = pool("rights", 2048);
    let port = thread::scope(|scope| {
        scope
            .spawn(|| {
                drop_network_capabilities();
                let lo = Driver::AfPacket {
                    interface: "lo".into(),
                    namespace: None,
                };
                Port::attach(eal(), "p", &PortOptions::new(lo), &pool)
            })
            .join()
            .expect("no panic")
    });
    assert_eq!(
        port.unwrap_err().to_string(),
        "port p needs CAP_NET_ADMIN and CAP_NET_RAW; \
         run as root, or give the service these capabilities"
    );
}

/// Takes both network capabilities from the calling thread alone.
fn drop_network_capabilities() {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = [VERSION_3, 0];
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: the header and the two sets of version 3, as the kernel wants them.
    let outcome = unsafe {
        libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr());
        sets[0][0] &= !(1 << 12 | 1 << 13);
        libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_mut_ptr())
    };
    assert_eq!(outcome, 0);
}
