//! What follows from a link that goes up or down: path lists at once, then routes, then what is
//! announced.

use std::collections::{BTreeSet, HashMap};

use sekisho_fib::Link;
use sekisho_host::{LinkEvent, LinkMonitor, LinkState as KernelState};
use sekisho_routing::{InterfaceKey, LinkState, RoutingHandle};
use sekisho_types::InterfaceId;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;

use super::announcer::Wanted;
use super::dataplane::Request;

/// Which kernel interface is under which uplink, and which uplinks carry tunnels.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Uplinks by kernel interface.
    pub interfaces: HashMap<String, InterfaceId>,
    /// Any of these carries the underlay.
    pub underlay: Vec<InterfaceId>,
}

/// Whom a change is told.
#[derive(Debug)]
pub struct Listeners {
    /// The forwarding tables.
    pub dataplane: mpsc::Sender<Request>,
    /// The routes.
    pub routing: RoutingHandle,
    /// The announcements.
    pub wanted: watch::Sender<Wanted>,
    /// Links that are down, for whoever wants to know.
    pub down: watch::Sender<BTreeSet<InterfaceId>>,
}

/// Serves until the kernel says no more.
pub async fn run(
    mut monitor: LinkMonitor,
    mut watched: watch::Receiver<Watched>,
    listeners: Listeners,
) {
    let mut kernel: HashMap<String, KernelState> = HashMap::new();
    loop {
        tokio::select! {
            event = monitor.next() => match event {
                Some(Ok(LinkEvent { interface, state })) => {
                    kernel.insert(interface, state);
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "links are not watched any longer");
                    return;
                }
                None => return,
            },
            changed = watched.changed() => if changed.is_err() {
                return;
            },
        }
        let now = watched.borrow_and_update().clone();
        listeners.tell(&now, &kernel).await;
    }
}

impl Listeners {
    async fn tell(&self, watched: &Watched, kernel: &HashMap<String, KernelState>) {
        let is_down = |name: &String| {
            matches!(
                kernel.get(name),
                Some(KernelState::Down | KernelState::Gone)
            )
        };
        let interfaces = watched.interfaces.iter();
        let down: BTreeSet<InterfaceId> = interfaces
            .filter(|(name, _)| is_down(name))
            .map(|(_, id)| *id)
            .collect();
        let before = self.down.send_replace(down.clone());
        for (name, id) in &watched.interfaces {
            let up = !down.contains(id);
            if up != before.contains(id) {
                continue;
            }
            tracing::info!(interface = name, up, "link changed");
            let request = Request::LinkState(Link::Interface(*id), up);
            let state = if up { LinkState::Up } else { LinkState::Down };
            let told = self.dataplane.send(request).await.is_ok()
                && self
                    .routing
                    .interface_state(InterfaceKey::Uplink(*id), state)
                    .await
                    .is_ok();
            if !told {
                return;
            }
        }
        let underlay_up = watched.underlay.iter().any(|id| !down.contains(id));
        self.wanted.send_if_modified(|wanted| {
            let changed = wanted.underlay_up != underlay_up;
            wanted.underlay_up = underlay_up;
            changed
        });
    }
}
