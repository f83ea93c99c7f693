//! The daemon: starts the rooms, wires them, and takes them down in order.

pub mod cpu;
mod dataplane;
mod ports;
mod watchdog;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use sekisho_mgmt::config::{self, Loaded};
use sekisho_mgmt::server::{Listener, serve};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use self::dataplane::Forwarding;

/// Control threads; workers have their own lcores.
const CONTROL_THREADS: usize = 2;
/// After the last word to every BGP neighbour, workers forward so much longer, so that it arrives.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs the gateway that the configuration at `path` describes until it is told to stop.
pub fn run(path: &Path) -> Result<()> {
    let loaded = config::load(path)?;
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.message);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the control threads")?;
    runtime.block_on(serve_until_stopped(path, loaded))
}

async fn serve_until_stopped(path: &Path, loaded: Loaded) -> Result<()> {
    // First of all, for it tells whether another gateway runs.
    let listener = Listener::bind(&loaded.config.gateway.api_socket).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;

    let generation = 1;
    let forwarding = Forwarding::start(&loaded.config, generation)?;
    // On an error the manager, with the host interface, goes before what keeps the kernel quiet.
    let (mut running, manager) = forwarding.wire(path, loaded)?;
    manager.start().await?;

    let (stop_server, server_stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, Arc::clone(&manager), async {
        // Dropping the sender stops the server too.
        let _ = server_stopped.await;
    }));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %path.display(), "started");

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => manager.reload(path).await,
        }
    }

    tracing::info!("stopping");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let _ = stop_server.send(());
    if manager.shut_down_routing().await {
        tokio::time::sleep(LAST_WORDS).await;
    }
    match server.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the API ended badly"),
        Err(error) => tracing::error!(%error, "the API ended badly"),
    }
    running.halt();
    manager.close().await;
    drop(manager);
    drop(running);
    tracing::info!("stopped");
    Ok(())
}

/// Tells threads to end.
#[derive(Clone, Debug, Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}
