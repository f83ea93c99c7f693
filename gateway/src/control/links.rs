//! What follows from a link that goes up or down: path lists at once, then routes, then what is
//! announced.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use sekisho_dpdk::PortLink;
use sekisho_fib::Link;
use sekisho_host::{LinkEvent, LinkMonitor, LinkState as KernelState};
use sekisho_routing::{InterfaceKey, LinkState, RoutingHandle};
use sekisho_types::{InterfaceId, Name};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_stream::StreamExt;

use super::announcer::Wanted;
use super::dataplane::Request;

/// How often ports without a kernel interface are asked for their link.
const ASKED: Duration = Duration::from_millis(100);

/// What a link is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LinkName {
    /// A kernel interface: the kernel tells when it changes.
    Interface(String),
    /// A port that the kernel knows nothing of: it is asked.
    Port(Name),
}

/// Which link is under which uplink, and which uplinks carry tunnels.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Uplinks by link.
    pub links: HashMap<LinkName, InterfaceId>,
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

/// Serves until the kernel says no more; `ports` are those to be asked.
pub async fn run(
    mut monitor: LinkMonitor,
    ports: BTreeMap<Name, PortLink>,
    mut watched: watch::Receiver<Watched>,
    listeners: Listeners,
) {
    let mut down: HashSet<LinkName> = HashSet::new();
    let mut ask = tokio::time::interval(ASKED);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = monitor.next() => match event {
                Some(Ok(LinkEvent { interface, state })) => {
                    note(&mut down, LinkName::Interface(interface), state == KernelState::Up);
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
            _ = ask.tick(), if !ports.is_empty() => {
                let mut changed = false;
                for (name, link) in &ports {
                    let up = link.is_up().unwrap_or(false);
                    changed |= note(&mut down, LinkName::Port(name.clone()), up);
                }
                if !changed {
                    continue;
                }
            }
        }
        let now = watched.borrow_and_update().clone();
        listeners.tell(&now, &down).await;
    }
}

/// Notes whether a link is up; whether that is new.
fn note(down: &mut HashSet<LinkName>, link: LinkName, up: bool) -> bool {
    if up {
        down.remove(&link)
    } else {
        down.insert(link)
    }
}

impl Listeners {
    async fn tell(&self, watched: &Watched, links: &HashSet<LinkName>) {
        let down: BTreeSet<InterfaceId> = watched
            .links
            .iter()
            .filter(|(link, _)| links.contains(link))
            .map(|(_, id)| *id)
            .collect();
        let before = self.down.send_replace(down.clone());
        for (link, id) in &watched.links {
            let up = !down.contains(id);
            if up != before.contains(id) {
                continue;
            }
            match link {
                LinkName::Interface(name) => tracing::info!(interface = name, up, "link changed"),
                LinkName::Port(name) => tracing::info!(port = %name, up, "link changed"),
            }
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
