//! NAT sessions and rules, as messages.

use std::net::Ipv4Addr;
use std::sync::Arc;

use sekisho_mgmt::api::v1;
use sekisho_mgmt::config::model::{Filtering, NatPool, SnatTarget, Tenant};
use sekisho_mgmt::server::{BackendError, Rows};
use sekisho_nat::{PoolUsage, SessionView, TcpState};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::vrf_name;
use crate::nat_log::Status;
use crate::snapshot::Snapshot;

/// Ports of a block, which one worker owns as a whole.
const BLOCK_PORTS: u16 = 64;

/// An address of a filter; an empty text does not restrict.
pub(super) fn ipv4(text: &str) -> Result<Option<Ipv4Addr>, BackendError> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            BackendError::Invalid(format!(
                "{text} is not an IPv4 address; write it like 192.0.2.1"
            ))
        }),
    }
}

pub(super) fn log_outputs(outputs: &[Status]) -> Vec<v1::NatLogOutput> {
    let message = |status: &Status| v1::NatLogOutput {
        kind: status.kind.to_owned(),
        target: status.target.clone(),
        written: status.written,
        failed: status.failed,
        last_error: status.last_error.clone(),
    };
    outputs.iter().map(message).collect()
}

pub(super) fn stream_sessions(
    mut pages: mpsc::Receiver<Vec<SessionView>>,
    snapshot: Arc<Snapshot>,
    limit: u64,
) -> Rows<v1::NatSession> {
    let (sender, receiver) = mpsc::channel(256);
    tokio::spawn(async move {
        let mut left = if limit == 0 { u64::MAX } else { limit };
        while let Some(page) = pages.recv().await {
            for session in &page {
                let message = session_message(&snapshot, session);
                if left == 0 || sender.send(message).await.is_err() {
                    return;
                }
                left -= 1;
            }
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

pub(super) fn session_message(snapshot: &Snapshot, session: &SessionView) -> v1::NatSession {
    let state = match session.tcp {
        None => "active",
        Some(TcpState::Opening) => "opening",
        Some(TcpState::Established) => "established",
        Some(TcpState::Closing) => "closing",
    };
    v1::NatSession {
        tenant: vrf_name(snapshot, session.vrf),
        protocol: session.protocol.to_string(),
        inside_address: session.inside.ip().to_string(),
        inside_port: session.inside.port().into(),
        outside_address: session.outside.ip().to_string(),
        outside_port: session.outside.port().into(),
        remote_address: session.remote.ip().to_string(),
        remote_port: session.remote.port().into(),
        state: state.to_owned(),
        idle_seconds: (session.idle_ms / 1000).into(),
        expires_seconds: (session.expires_in_ms / 1000).into(),
        worker: snapshot
            .nat
            .inside_owner(session.vrf, *session.inside.ip())
            .value()
            .into(),
    }
}

pub(super) fn tenant_rules(tenant: &Tenant) -> Vec<v1::NatRule> {
    let rule = |kind: &str, matches: String, becomes: String| v1::NatRule {
        tenant: tenant.name.to_string(),
        kind: kind.to_owned(),
        matches,
        becomes,
    };
    let forwards = tenant.port_forwards.iter().map(|forward| {
        let ((outside, outside_port), (inside, inside_port)) = (forward.outside, forward.inside);
        let matches = format!("{}/{outside}:{outside_port}", forward.protocol);
        rule("port-forward", matches, format!("{inside}:{inside_port}"))
    });
    let floating = tenant.floating_ips.iter().map(|floating| {
        rule(
            "floating-ip",
            floating.outside.to_string(),
            floating.inside.to_string(),
        )
    });
    let snat = tenant.snat.iter().map(|snat| {
        let becomes = match &snat.to {
            SnatTarget::Pool(pool) => format!("pool {pool}"),
            SnatTarget::Uplink => "uplink".to_owned(),
            SnatTarget::None => "none".to_owned(),
        };
        let lets_in = match snat.filtering {
            Filtering::EndpointIndependent => ", lets everybody in",
            Filtering::AddressDependent => "",
            Filtering::AddressAndPortDependent => ", lets only known ports in",
        };
        rule("snat", snat.source.to_string(), becomes + lets_in)
    });
    forwards.chain(floating).chain(snat).collect()
}

/// A pool and what is used of it.
pub(super) fn pool_message(pool: &NatPool, usage: PoolUsage) -> v1::NatPool {
    let sizes = pool
        .addresses
        .iter()
        .map(|prefix| 1 << (32 - u32::from(prefix.len())));
    let addresses: u64 = sizes.sum();
    let (first, last) = pool.ports;
    let ports = u64::from(last - first) + 1;
    let blocks = u64::from(last / BLOCK_PORTS - first / BLOCK_PORTS) + 1;
    v1::NatPool {
        name: pool.name.to_string(),
        addresses: pool.addresses.iter().map(ToString::to_string).collect(),
        first_port: first.into(),
        last_port: last.into(),
        ports_total: addresses * ports,
        ports_used: usage.ports.into(),
        blocks_total: addresses * blocks,
        blocks_used: usage.blocks.into(),
    }
}
