//! A network namespace of its own for each test, with real neighbours in it.

#![allow(dead_code, reason = "each test file uses its part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

pub(crate) mod bird;
pub(crate) mod frr;
pub(crate) mod raw;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use sekisho_routing::{
    BgpConfig, ConnectedRoute, FibBatch, FibChange, FibEntry, InterfaceRef, NeighborConfig,
    NeighborView, Options, Originated, PrefixList, PrefixRule, RoutingConfig, RoutingHandle,
    SessionState, start,
};
use sekisho_types::{Asn, InterfaceId, Name, Prefix, VrfId};
use tokio::sync::mpsc;

/// Our AS in every test.
pub(crate) const OUR_AS: u32 = 65010;

/// Runs a test on a thread in a new network namespace whose loopback carries `addresses`. The
/// namespace goes with the thread.
pub(crate) fn in_namespace<F: Future<Output = ()>>(
    addresses: &'static [&'static str],
    test: impl FnOnce() -> F + Send + 'static,
) {
    let outcome = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
        run("ip", &["link", "set", "lo", "up"]);
        for address in addresses {
            run(
                "ip",
                &["address", "add", &format!("{address}/32"), "dev", "lo"],
            );
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(90), test())
                .await
                .expect("the test hangs");
        });
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect(program);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Asks again and again until there is an answer; fails after `limit`. Tells how long it took.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return (answer, start.elapsed());
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub(crate) fn asn(number: u32) -> Asn {
    Asn::new(number).unwrap()
}

/// The gateway under test, with a forwarding table that acknowledges at once.
pub(crate) struct Gateway {
    pub(crate) handle: RoutingHandle,
    pub(crate) config: RoutingConfig,
    pub(crate) local: Ipv4Addr,
    pub(crate) fib: std::sync::Arc<std::sync::Mutex<std::collections::BTreeMap<Prefix, FibEntry>>>,
}

impl Gateway {
    /// Speaks BGP from `local`, whose neighbours are on 198.51.100.0/24 at `isp`.
    pub(crate) async fn start(local: &str) -> Self {
        Self::start_with(local, Options::default()).await
    }

    pub(crate) async fn start_with(local: &str, options: Options) -> Self {
        let (sender, batches) = mpsc::channel(4);
        let handle = start(options, sender);
        let local: Ipv4Addr = local.parse().unwrap();
        let fib = std::sync::Arc::default();
        tokio::spawn(acknowledge(
            handle.clone(),
            batches,
            std::sync::Arc::clone(&fib),
        ));
        let connected = ConnectedRoute {
            vrf: VrfId::PROVIDER,
            prefix: prefix("198.51.100.0/24"),
            interface: InterfaceRef::uplink(InterfaceId::new(0), "isp"),
        };
        handle.set_connected(vec![connected]).await.unwrap();
        let all = PrefixRule {
            permit: true,
            prefix: prefix("0.0.0.0/0"),
            ge: 0,
            le: 32,
        };
        let list = PrefixList {
            name: all_name(),
            rules: vec![all],
        };
        let bgp = BgpConfig {
            asn: asn(OUR_AS),
            router_id: local,
            maximum_paths: 16,
            listen: vec![SocketAddr::new(local.into(), 179)],
            neighbors: Vec::new(),
        };
        let config = RoutingConfig {
            bgp: Some(bgp),
            prefix_lists: vec![list],
        };
        Self {
            handle,
            config,
            local,
            fib,
        }
    }

    /// Adds a neighbour that may tell and be told everything, as changed by `change`.
    pub(crate) fn neighbor(
        &mut self,
        address: &str,
        remote_as: u32,
        change: impl FnOnce(&mut NeighborConfig),
    ) {
        let mut neighbor = NeighborConfig::new(address.parse().unwrap(), asn(remote_as));
        neighbor.import = Some(all_name());
        neighbor.export = Some(all_name());
        neighbor.local_address = Some(self.local.into());
        neighbor.connect_retry_time = seconds(1);
        change(&mut neighbor);
        self.config.bgp.as_mut().unwrap().neighbors.push(neighbor);
    }

    pub(crate) async fn configure(&self) {
        self.handle.configure(self.config.clone()).await.unwrap();
    }

    pub(crate) async fn originate(&self, prefixes: &[&str]) {
        let prefixes = prefixes.iter().map(|text| Originated {
            prefix: prefix(text),
        });
        self.handle
            .set_originated(prefixes.collect())
            .await
            .unwrap();
    }

    pub(crate) async fn view(&self, address: &str) -> NeighborView {
        let address: IpAddr = address.parse().unwrap();
        let views = self.handle.bgp_neighbors(Some(address)).await.unwrap();
        views.into_iter().next().unwrap()
    }

    /// Waits until a session is up; tells how long that took.
    pub(crate) async fn established(&self, address: &str, limit: Duration) -> Duration {
        let up = async || {
            let state = self.view(address).await.state;
            (state == SessionState::Established).then_some(())
        };
        within(limit, "Established", up).await.1
    }

    /// Next hops by which the forwarding table reaches a prefix.
    pub(crate) fn forwards(&self, text: &str) -> Vec<String> {
        match self.fib.lock().unwrap().get(&prefix(text)) {
            Some(FibEntry::Paths(paths)) => paths.iter().map(|p| p.next_hop.to_string()).collect(),
            _ => Vec::new(),
        }
    }

    /// Waits until the forwarding table reaches a prefix over just these next hops.
    pub(crate) async fn forwards_over(
        &self,
        text: &str,
        next_hops: &[&str],
        limit: Duration,
    ) -> Duration {
        let there = async || (self.forwards(text) == next_hops).then_some(());
        within(limit, &format!("{text} over {next_hops:?}"), there)
            .await
            .1
    }
}

fn all_name() -> Name {
    Name::new("all").unwrap()
}

async fn acknowledge(
    handle: RoutingHandle,
    mut batches: mpsc::Receiver<FibBatch>,
    fib: std::sync::Arc<std::sync::Mutex<std::collections::BTreeMap<Prefix, FibEntry>>>,
) {
    while let Some(batch) = batches.recv().await {
        for change in batch.changes {
            let mut fib = fib.lock().unwrap();
            match change {
                FibChange::Set { prefix, entry, .. } => fib.insert(prefix, entry),
                FibChange::Remove { prefix, .. } => fib.remove(&prefix),
            };
        }
        if handle.fib_acknowledged(batch.generation).await.is_err() {
            return;
        }
    }
}
