//! `net_memif` between two ports of one process: both directions, large frames, peers that come and
//! go, and clear errors.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{eal, frame, pool, push, wait_for, wait_for_frame};
use sekisho_dpdk::{Burst, Driver, Memif, MemifRole, Mempool, Port, PortError, PortOptions};
use sekisho_types::MacAddr;

const A: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const B: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];

fn memif(socket: &Path, role: MemifRole) -> Memif {
    Memif {
        socket: socket.to_owned(),
        id: 0,
        role,
        secret: None,
        ring_size: 256,
    }
}

fn options(memif: Memif) -> PortOptions {
    PortOptions::new(Driver::Memif(memif))
}

fn attach(pool: &Mempool, options: &PortOptions) -> Result<Port, PortError> {
    Port::attach(eal(), "p", options, pool)
}

/// A folder with the path of a socket in it.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("memif.sock");
    (folder, socket)
}

/// Sends frames of several lengths both ways, on each of `queues`.
fn passes(name: &str, mtu: u16, queues: u16) {
    let (_folder, socket) = folder();
    let pool = pool(name, 9700);
    let with = |role, mac| PortOptions {
        mtu,
        queues,
        mac: Some(MacAddr::new(mac)),
        ..options(memif(&socket, role))
    };
    let mut server = attach(&pool, &with(MemifRole::Server, A)).expect("a server");
    assert!(!server.handle.link_up(), "nobody is connected yet");
    let mut client = attach(&pool, &with(MemifRole::Client, B)).expect("a client");
    wait_for("the connection", || {
        server.handle.link_up() && client.handle.link_up()
    });
    assert_eq!(server.handle.mac(), MacAddr::new(A));
    assert_eq!(server.handle.driver(), "net_memif");

    let payload: Vec<u8> = (0..mtu).map(|n| n as u8).collect();
    for (from, to) in [(B, A), (A, B)] {
        let (sender, receiver) = if from == B {
            (&mut client, &mut server)
        } else {
            (&mut server, &mut client)
        };
        let lengths = [usize::from(mtu), 46].into_iter().cycle();
        for (queue, length) in sender.tx.iter_mut().zip(lengths) {
            let sent = frame(to, from, &payload[..length]);
            let what = format!("{length} octets on queue {}", queue.number());
            // A receiver that polls for the first time offers its buffers.
            let mut burst = Burst::new();
            push(&pool, &mut burst, &sent);
            wait_for("room to send", || {
                for queue in &mut receiver.rx {
                    assert_eq!(queue.receive(&mut Burst::new()), 0);
                }
                queue.transmit(&mut burst) == 1
            });
            wait_for_frame(&what, &mut receiver.rx, |data| data == sent);
        }
    }
    assert_eq!(server.handle.stats().rx_packets, u64::from(queues));
    assert_eq!(client.handle.stats().rx_packets, u64::from(queues));
    for port in [client, server] {
        drop((port.rx, port.tx));
        port.handle.close().expect("closed");
    }
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
    passes("jumbo", 9000, 1);
}

#[test]
fn a_server_sees_its_client_go_and_the_next_one_come() {
    let (_folder, socket) = folder();
    let pool = pool("again", 2048);
    let server = attach(&pool, &options(memif(&socket, MemifRole::Server))).expect("a server");
    let link = server.handle.link();
    for round in 0..2 {
        let client = attach(&pool, &options(memif(&socket, MemifRole::Client))).expect("a client");
        wait_for("the connection", || link.is_up() == Some(true));
        drop((client.rx, client.tx));
        client.handle.close().expect("closed");
        wait_for("its end", || link.is_up() == Some(false));
        assert_eq!(pool.free_count(), pool.count(), "round {round}");
    }
    drop(server);
    assert_eq!(
        link.is_up(),
        None,
        "a look at the link does not keep a port"
    );
}

#[test]
fn a_client_with_another_secret_or_id_stays_outside() {
    let (_folder, socket) = folder();
    let pool = pool("secret", 2048);
    let with = |role, secret: &str, id| {
        let memif = Memif {
            secret: Some(secret.into()),
            id,
            ..memif(&socket, role)
        };
        attach(&pool, &options(memif)).expect("attached")
    };
    let server = with(MemifRole::Server, "right", 1);
    for (secret, id) in [("wrong", 1), ("right", 2)] {
        let client = with(MemifRole::Client, secret, id);
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!client.handle.link_up() && !server.handle.link_up());
    }
    let client = with(MemifRole::Client, "right", 1);
    wait_for("the connection", || {
        server.handle.link_up() && client.handle.link_up()
    });
}

#[test]
fn a_client_without_a_server_is_told_what_to_do() {
    let (_folder, socket) = folder();
    let pool = pool("alone", 2048);
    let error = attach(&pool, &options(memif(&socket, MemifRole::Client))).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with(&format!(
            "port p: memif socket {}: nobody",
            socket.display()
        )) && message.ends_with("start the server first, or make this end the server"),
        "{message}"
    );
}

#[test]
fn a_server_replaces_the_socket_a_killed_one_left_and_nothing_else() {
    let (folder, socket) = folder();
    let pool = pool("stale", 2048);
    let server = options(memif(&socket, MemifRole::Server));
    stale_socket(&socket);
    let port = attach(&pool, &server).expect("a server");
    drop(port);

    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    let error = attach(&pool, &options(memif(&file, MemifRole::Server))).unwrap_err();
    assert!(matches!(error, PortError::MemifSocket { .. }), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    let missing = folder.path().join("none/memif.sock");
    let error = attach(&pool, &options(memif(&missing, MemifRole::Server))).unwrap_err();
    assert!(error.to_string().contains("mkdir -p"), "{error}");
}

/// The socket of a process that was killed.
fn stale_socket(path: &Path) {
    use nix::sys::socket::*;
    let kind = SockType::SeqPacket;
    let listener = socket(AddressFamily::Unix, kind, SockFlag::empty(), None).unwrap();
    let address = UnixAddr::new(path).unwrap();
    bind(std::os::fd::AsRawFd::as_raw_fd(&listener), &address).unwrap();
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
}
