//! Mbufs, bursts, pools and queues over `net_ring`, which loops within the process.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod common;

use common::{eal, pool, push};
use proptest::prelude::*;
use sekisho_dpdk::{Burst, CloseError, Driver, Mempool, Port, PortError, PortOptions};
use sekisho_types::MacAddr;

fn ring(pool: &Mempool, queues: u16) -> Port {
    let options = PortOptions {
        queues,
        ..PortOptions::new(Driver::Ring)
    };
    Port::attach(eal(), "loop", &options, pool).expect("attached")
}

#[test]
fn what_is_sent_on_a_ring_arrives_in_order_with_its_octets() {
    let pool = pool("in-order", 2048);
    let Port {
        handle,
        mut rx,
        mut tx,
    } = ring(&pool, 2);
    assert!(handle.link_up());
    for queue in 0..2 {
        let mut burst = Burst::new();
        for n in 0..40u8 {
            push(&pool, &mut burst, &vec![n; 60 + usize::from(n)]);
        }
        assert_eq!(tx[queue].transmit(&mut burst), 40);
        assert!(burst.is_empty());
        assert_eq!(rx[1 - queue].receive(&mut burst), 0, "queues do not mix");
        assert_eq!(rx[queue].receive(&mut burst), 40);
        for (n, mbuf) in burst.iter().enumerate() {
            assert_eq!(mbuf.data(), vec![n as u8; 60 + n]);
            assert_eq!(mbuf.len(), 60 + n);
        }
    }
    assert_eq!(handle.stats().rx_packets, 80);
    assert_eq!(handle.stats().tx_packets, 80);
}

#[test]
fn a_full_queue_leaves_the_rest_in_the_burst_and_nothing_is_lost_or_freed_twice() {
    let pool = pool("full", 2048);
    let Port {
        handle,
        mut rx,
        mut tx,
    } = ring(&pool, 1);
    let mut sent = 0u32;
    let mut burst = Burst::new();
    // A second pool, as the ring takes every buffer of the first.
    let extra = common::pool("full-extra", 2048);
    loop {
        let source = if pool.free_count() > 0 { &pool } else { &extra };
        while !burst.is_full() && source.free_count() > 0 {
            let number = sent + burst.len() as u32;
            push(source, &mut burst, &number.to_be_bytes());
        }
        let before = burst.len();
        let taken = tx[0].transmit(&mut burst);
        sent += taken as u32;
        assert_eq!(burst.len(), before - taken);
        if taken < before {
            break;
        }
    }
    assert_eq!(sent, 1023, "the ring's size");
    assert!(!burst.is_empty(), "some were not taken");
    let first = u32::from_be_bytes(burst[0].data().try_into().unwrap());
    assert_eq!(first, 1023, "the rest begins where the queue stopped");

    let mut received = Burst::new();
    let mut expected = 0u32;
    while rx[0].receive(&mut received) > 0 {
        for mbuf in received.drain() {
            assert_eq!(mbuf.data(), expected.to_be_bytes());
            expected += 1;
        }
    }
    assert_eq!(expected, 1023);
    drop(burst);
    assert_eq!((pool.free_count(), extra.free_count()), (1023, 1023));
    drop((rx, tx));
    handle.close().expect("closed");
}

#[test]
fn packets_left_in_a_ring_come_back_when_the_port_closes() {
    let pool = pool("leftover", 2048);
    let Port { handle, rx, mut tx } = ring(&pool, 2);
    for queue in &mut tx {
        let mut burst = Burst::new();
        assert!(pool.alloc_bulk(&mut burst, 64));
        assert_eq!(queue.transmit(&mut burst), 64);
    }
    assert_eq!(pool.free_count(), 1023 - 128);
    drop((rx, tx));
    handle.close().expect("closed");
    assert_eq!(pool.free_count(), 1023);
}

#[test]
fn a_port_with_queues_in_use_does_not_close() {
    let pool = pool("in-use", 2048);
    let Port { handle, rx, tx } = ring(&pool, 1);
    drop(tx);
    let Err(CloseError::InUse(handle)) = handle.close() else {
        panic!("closed under a queue")
    };
    assert!(handle.link_up(), "still there");
    drop(rx);
    handle.close().expect("closed");
}

#[test]
fn a_receive_queue_appends_and_never_overfills_the_burst() {
    let pool = pool("append", 2048);
    let Port {
        handle: _handle,
        mut rx,
        mut tx,
    } = ring(&pool, 1);
    let mut burst = Burst::new();
    assert!(pool.alloc_bulk(&mut burst, 60));
    tx[0].transmit(&mut burst);
    assert!(pool.alloc_bulk(&mut burst, 10));
    assert_eq!(rx[0].receive(&mut burst), 54);
    assert!(burst.is_full());
    assert_eq!(rx[0].receive(&mut burst), 0);
    burst.clear();
    assert_eq!(rx[0].receive(&mut burst), 6);
}

#[test]
fn an_empty_pool_gives_nothing_and_leaves_the_burst_alone() {
    let pool = pool("empty", 2048);
    let mut all = Vec::new();
    while let Some(mbuf) = pool.alloc() {
        all.push(mbuf);
    }
    assert_eq!(all.len(), 1023);
    let mut burst = Burst::new();
    assert!(!pool.alloc_bulk(&mut burst, 1));
    assert!(burst.is_empty());
    all.truncate(1000);
    assert!(!pool.alloc_bulk(&mut burst, 65), "more than a burst holds");
    assert!(pool.alloc_bulk(&mut burst, 23));
    assert_eq!(pool.free_count(), 0);
    drop((all, burst));
    assert_eq!(pool.free_count(), 1023);
}

#[test]
fn a_null_port_delivers_frames_of_its_size_and_frees_what_is_sent() {
    let pool = pool("null", 2048);
    let options = PortOptions::new(Driver::Null { frame_size: 64 });
    let Port {
        handle: _handle,
        mut rx,
        mut tx,
    } = Port::attach(eal(), "null", &options, &pool).expect("attached");
    for _ in 0..100 {
        let mut burst = Burst::new();
        assert_eq!(rx[0].receive(&mut burst), 64);
        assert!(burst.iter().all(|mbuf| mbuf.len() == 64));
        assert_eq!(tx[0].transmit(&mut burst), 64);
    }
    assert_eq!(pool.free_count(), 1023);
}

#[test]
fn buffers_still_out_survive_their_pool_and_their_port() {
    let pool = pool("outlived", 2048);
    let Port { handle, rx, tx } = ring(&pool, 1);
    let mut mbuf = pool.alloc().expect("a buffer");
    drop((rx, tx, handle, pool));
    mbuf.append(3).expect("room").copy_from_slice(b"abc");
    assert_eq!(mbuf.data(), b"abc");
}

#[test]
fn options_that_do_not_fit_the_driver_say_what_would() {
    let pool = pool("misfit", 2048);
    let attach = |options: &PortOptions| Port::attach(eal(), "p", options, &pool).unwrap_err();
    let plain = PortOptions::new(Driver::Ring);
    let error = attach(&PortOptions {
        queues: 0,
        ..plain.clone()
    });
    assert_eq!(
        error.to_string(),
        "port p cannot have 0 queue pairs; its driver takes 1 to 16"
    );
    let error = attach(&PortOptions {
        mtu: 9000,
        ..plain.clone()
    });
    assert_eq!(
        error,
        PortError::DataRoom {
            port: "p".into(),
            needed: 9146,
            actual: 2176
        }
    );
    let error = attach(&PortOptions {
        mac: Some(MacAddr::BROADCAST),
        ..plain
    });
    assert_eq!(error, PortError::Mac(MacAddr::BROADCAST));
}

#[derive(Clone, Debug)]
enum Edit {
    Prepend(Vec<u8>),
    Append(Vec<u8>),
    TrimFront(usize),
    TrimBack(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let octets = || proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        octets().prop_map(Edit::Prepend),
        octets().prop_map(Edit::Append),
        (0usize..400).prop_map(Edit::TrimFront),
        (0usize..400).prop_map(Edit::TrimBack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn an_mbuf_edits_like_a_vector_within_its_buffer(
        edits in proptest::collection::vec(edit(), 0..40)
    ) {
        static POOL: std::sync::OnceLock<Mempool> = std::sync::OnceLock::new();
        let pool = POOL.get_or_init(|| pool("edits", 1024));
        let mut mbuf = pool.alloc().expect("a buffer");
        let mut model = Vec::new();
        let total = mbuf.headroom() + mbuf.tailroom();
        for edit in edits {
            match edit {
                Edit::Prepend(octets) => {
                    let fits = octets.len() <= mbuf.headroom();
                    let room = mbuf.prepend(octets.len());
                    prop_assert_eq!(room.is_some(), fits);
                    if let Some(room) = room {
                        room.copy_from_slice(&octets);
                        model.splice(0..0, octets);
                    }
                }
                Edit::Append(octets) => {
                    let fits = octets.len() <= mbuf.tailroom();
                    let room = mbuf.append(octets.len());
                    prop_assert_eq!(room.is_some(), fits);
                    if let Some(room) = room {
                        room.copy_from_slice(&octets);
                        model.extend(octets);
                    }
                }
                Edit::TrimFront(count) => {
                    prop_assert_eq!(mbuf.trim_front(count), count <= model.len());
                    if count <= model.len() {
                        model.drain(..count);
                    }
                }
                Edit::TrimBack(count) => {
                    prop_assert_eq!(mbuf.trim_back(count), count <= model.len());
                    if count <= model.len() {
                        model.truncate(model.len() - count);
                    }
                }
            }
            prop_assert_eq!(mbuf.data(), model.as_slice());
            prop_assert_eq!(mbuf.len(), model.len());
            prop_assert_eq!(mbuf.headroom() + mbuf.len() + mbuf.tailroom(), total);
            prop_assert!(mbuf.is_contiguous() && mbuf.linearize().is_ok());
        }
    }
}
