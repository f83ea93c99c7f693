//! What the tests share: one EAL per process, namespaces that go away, waiting for a condition.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::process::{Command, Output};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use sekisho_dpdk::{Burst, Eal, EalOptions, HugePages, Mbuf, Mempool, MempoolOptions, RxQueue};

/// The process's EAL: two workers on one CPU, ordinary pages.
pub(crate) fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| Eal::init(&options()).expect("EAL starts"))
}

/// How [`eal`] is started.
pub(crate) fn options() -> EalOptions {
    let prefix = format!("sekisho-test-{}", std::process::id());
    EalOptions {
        memory_mib: 512,
        huge_pages: HugePages::Never,
        workers: vec![0, 0],
        ..EalOptions::new(&prefix)
    }
}

/// A pool of 1023 buffers for frames up to `octets` long.
pub(crate) fn pool(name: &str, octets: u16) -> Mempool {
    pool_of(1023, name, octets)
}

/// A pool of `count` buffers for frames up to `octets` long.
pub(crate) fn pool_of(count: u32, name: &str, octets: u16) -> Mempool {
    let options = MempoolOptions {
        data_room: Mempool::HEADROOM + octets,
        cache: 32,
        ..MempoolOptions::new(name, count)
    };
    Mempool::new(eal(), &options).expect("a pool")
}

/// A network namespace that is deleted when dropped, also by a failing test.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    /// Makes one with a name of this process alone.
    pub(crate) fn new(suffix: &str) -> Self {
        let name = format!("sekisho-dpdk-{}-{suffix}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let namespace = Self(name);
        // Silence, so that only the test's own frames are seen.
        for scope in ["all", "default"] {
            let key = format!("net.ipv6.conf.{scope}.disable_ipv6=1");
            namespace.run("sysctl", &["-qw", &key]);
        }
        namespace
    }

    /// Runs a program in it, which must succeed.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.try_run(program, arguments);
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {output:?}"
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a program in it.
    pub(crate) fn try_run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program, arguments).output().expect("ip runs")
    }

    /// A program to run in it.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.0, program])
            .args(arguments);
        command
    }

    /// Whether it has an interface.
    pub(crate) fn has(&self, interface: &str) -> bool {
        self.try_run("ip", &["link", "show", interface])
            .status
            .success()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
}

/// Polls until `condition` holds; fails after ten seconds.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Polls the queues until a frame arrives that `wanted` accepts, and returns it.
pub(crate) fn wait_for_frame(
    what: &str,
    queues: &mut [RxQueue],
    mut wanted: impl FnMut(&[u8]) -> bool,
) -> Vec<u8> {
    let mut found = None;
    wait_for(what, || {
        for queue in queues.iter_mut() {
            let mut burst = Burst::new();
            queue.receive(&mut burst);
            found = burst
                .iter()
                .map(Mbuf::data)
                .find(|data| wanted(data))
                .map(<[u8]>::to_vec);
            if found.is_some() {
                return true;
            }
        }
        false
    });
    found.expect("just found")
}

/// Appends a packet of these octets to the burst.
pub(crate) fn push(pool: &Mempool, burst: &mut Burst, octets: &[u8]) {
    let mut mbuf = pool.alloc().expect("a buffer");
    mbuf.append(octets.len())
        .expect("room")
        .copy_from_slice(octets);
    burst.push(mbuf).expect("room");
}

/// An Ethernet frame of an experimental EtherType (IEEE 802 local experimental 1).
pub(crate) fn frame(to: [u8; 6], from: [u8; 6], payload: &[u8]) -> Vec<u8> {
    [&to[..], &from[..], &[0x88, 0xb5], payload].concat()
}
