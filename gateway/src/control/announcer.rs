//! Announcing follows forwarding: a prefix is announced only while every worker forwards it and the
//! underlay can carry it.

use std::collections::BTreeSet;
use std::time::Duration;

use sekisho_routing::{Originated, RouteFilter, RoutingHandle, Stopped};
use sekisho_types::{Prefix, VrfId};
use tokio::sync::watch;

/// How often prefixes that are not forwarded yet are looked at again.
const RETRY: Duration = Duration::from_millis(10);

/// What is to be announced, and whether it may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The prefixes.
    pub prefixes: BTreeSet<Prefix>,
    /// Whether the underlay can carry what they attract.
    pub underlay_up: bool,
}

/// Serves until nobody can want anything any more, or routing has stopped.
pub async fn run(mut wanted: watch::Receiver<Wanted>, routing: RoutingHandle) {
    let mut forwarded = BTreeSet::new();
    let mut announced = BTreeSet::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        forwarded.retain(|prefix| now.prefixes.contains(prefix));
        let outcome = step(&now, &mut forwarded, &mut announced, &routing).await;
        let Ok(complete) = outcome else { return };
        let changed = async {
            if complete {
                wanted.changed().await
            } else {
                tokio::time::timeout(RETRY, wanted.changed())
                    .await
                    .unwrap_or(Ok(()))
            }
        };
        if changed.await.is_err() {
            return;
        }
    }
}

/// Announces what may be; answers whether that is all that is wanted.
async fn step(
    wanted: &Wanted,
    forwarded: &mut BTreeSet<Prefix>,
    announced: &mut BTreeSet<Prefix>,
    routing: &RoutingHandle,
) -> Result<bool, Stopped> {
    // What is no longer wanted is withdrawn before anything else is asked.
    announce(wanted, forwarded, announced, routing).await?;
    let pending: Vec<Prefix> = wanted.prefixes.difference(forwarded).copied().collect();
    for prefix in &pending {
        let routes = routing
            .routes(VrfId::PROVIDER, RouteFilter::Exact(*prefix))
            .await?;
        if routes.iter().any(|route| route.selected && route.installed) {
            forwarded.insert(*prefix);
        }
    }
    announce(wanted, forwarded, announced, routing).await?;
    Ok(forwarded.len() == wanted.prefixes.len())
}

async fn announce(
    wanted: &Wanted,
    forwarded: &BTreeSet<Prefix>,
    announced: &mut BTreeSet<Prefix>,
    routing: &RoutingHandle,
) -> Result<(), Stopped> {
    let allowed = if wanted.underlay_up {
        forwarded.clone()
    } else {
        BTreeSet::new()
    };
    if allowed != *announced {
        let originated = allowed
            .iter()
            .map(|&prefix| Originated { prefix })
            .collect();
        routing.set_originated(originated).await?;
        *announced = allowed;
    }
    Ok(())
}
