//! EAL, lcores and the end of EAL; one test, as EAL starts once in a process.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sched::sched_getaffinity;
use nix::unistd::Pid;
use sekisho_dpdk::{
    Driver, Eal, EalError, EalOptions, LaunchError, Mempool, MempoolOptions, Port, PortOptions,
    lcore_id, rdtsc,
};

/// The CPUs of the calling thread.
fn affinity() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("affinity");
    (0..1024)
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect()
}

#[test]
fn eal_runs_workers_reports_their_panics_and_goes_without_a_trace() {
    let before = affinity();
    let absent = EalOptions {
        workers: vec![999],
        ..common::options()
    };
    assert!(matches!(
        Eal::init(&absent),
        Err(EalError::Cpu { cpu: 999, .. })
    ));

    let options = common::options();
    let eal = Eal::init(&options).expect("EAL starts");
    assert_eq!(Eal::init(&options).unwrap_err(), EalError::StartedBefore);
    assert_eq!(affinity(), before, "the caller is not pinned");
    assert!(!eal.has_huge_pages());
    assert_eq!(lcore_id(), None);

    let lcores = eal.workers().to_vec();
    assert_eq!(
        lcores.iter().map(|lcore| lcore.id()).collect::<Vec<_>>(),
        [1, 2]
    );
    let both: Vec<_> = lcores
        .iter()
        .map(|&lcore| {
            eal.launch(lcore, || (lcore_id(), affinity()))
                .expect("launched")
        })
        .collect();
    for (handle, lcore) in both.into_iter().zip(&lcores) {
        assert_eq!(
            handle.join().expect("no panic"),
            (Some(lcore.id()), vec![0])
        );
    }

    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let busy = eal
        .launch(lcores[0], move || {
            while !seen.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        })
        .expect("launched");
    assert_eq!(
        eal.launch(lcores[0], || ()).unwrap_err(),
        LaunchError::Busy(1)
    );
    let busy = busy
        .join_timeout(Duration::from_millis(1))
        .expect_err("still running");
    stop.store(true, Ordering::Release);
    busy.join().expect("no panic");

    let error = eal
        .launch(lcores[0], || panic!("out of {}", "luck"))
        .expect("launched")
        .join();
    assert_eq!(
        error.unwrap_err().to_string(),
        "what ran on lcore 1 panicked: out of luck"
    );
    let again = eal
        .launch(lcores[0], || 7)
        .expect("the lcore can be used after a panic");
    assert_eq!(again.join(), Ok(7));

    assert!(eal.tsc_hz() > 100_000_000, "{}", eal.tsc_hz());
    assert!(rdtsc() < rdtsc());

    // A worker that owns a whole port, and is the last to hold EAL.
    let pool = Mempool::new(&eal, &MempoolOptions::new("last", 255)).expect("a pool");
    let port = Port::attach(&eal, "ring", &PortOptions::new(Driver::Ring), &pool).expect("a port");
    let go = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&go);
    let worker = eal
        .launch(lcores[1], move || {
            while !gone.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            drop((port, pool));
        })
        .expect("launched");
    drop(eal);
    go.store(true, Ordering::Release);
    worker.join().expect("EAL ends on the worker");
    let runtime = std::path::Path::new("/var/run/dpdk").join(&options.file_prefix);
    assert!(!runtime.exists(), "{} is left behind", runtime.display());
    assert_eq!(Eal::init(&options).unwrap_err(), EalError::StartedBefore);
}
