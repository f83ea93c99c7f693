//! NAT sessions and rules, as messages.

use std::sync::Arc;

use sekisho_mgmt::api::v1;
use sekisho_mgmt::config::model::{Filtering, SnatTarget, Tenant};
use sekisho_mgmt::server::Rows;
use sekisho_mgmt::session_match::{SessionMatch, SessionState, TupleMatch};
use sekisho_nat::{SessionCounts, SessionFilter, SessionView, StateFilter, TcpState, TupleFilter};
use sekisho_types::VrfId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::vrf_name;
use crate::nat_log::Status;
use crate::snapshot::Snapshot;

/// The filter of the engine.
pub(super) fn session_filter(wanted: &SessionMatch, vrf: Option<VrfId>) -> SessionFilter {
    let tuple = |wanted: Option<TupleMatch>| {
        wanted.map(|TupleMatch { prefix, port }| TupleFilter { prefix, port })
    };
    let state = wanted.state.map(|state| match state {
        SessionState::Opening => StateFilter::Tcp(TcpState::Opening),
        SessionState::Established => StateFilter::Tcp(TcpState::Established),
        SessionState::Closing => StateFilter::Tcp(TcpState::Closing),
        SessionState::Transitory => StateFilter::Transitory,
        SessionState::Active => StateFilter::Active,
    });
    SessionFilter {
        vrf,
        inside: tuple(wanted.inside),
        outside: tuple(wanted.outside),
        remote: tuple(wanted.remote),
        protocol: wanted.protocol,
        state,
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

/// How far a session is, in a word.
pub(super) const fn state_of(session: &SessionView) -> &'static str {
    match session.tcp {
        None => "active",
        Some(TcpState::Opening) => "opening",
        Some(TcpState::Established) => "established",
        Some(TcpState::Closing) => "closing",
    }
}

/// What gave a session its outside tuple.
fn origin(snapshot: &Snapshot, session: &SessionView) -> String {
    let rule = snapshot
        .nat
        .snat(session.vrf, *session.inside.ip(), *session.remote.ip());
    match rule {
        _ if session.forward => "port-forward".to_owned(),
        Some(rule) => format!("snat {}", rule.source),
        None => String::new(),
    }
}

fn counts_message(counts: &SessionCounts) -> v1::SessionCounts {
    v1::SessionCounts {
        age_seconds: (counts.age_ms / 1000).into(),
        packets_out: counts.outbound.packets,
        octets_out: counts.outbound.octets,
        packets_in: counts.inbound.packets,
        octets_in: counts.inbound.octets,
    }
}

fn session_message(snapshot: &Snapshot, session: &SessionView) -> v1::NatSession {
    v1::NatSession {
        tenant: vrf_name(snapshot, session.vrf),
        protocol: session.protocol.to_string(),
        inside_address: session.inside.ip().to_string(),
        inside_port: session.inside.port().into(),
        outside_address: session.outside.ip().to_string(),
        outside_port: session.outside.port().into(),
        remote_address: session.remote.ip().to_string(),
        remote_port: session.remote.port().into(),
        state: state_of(session).to_owned(),
        idle_seconds: (session.idle_ms / 1000).into(),
        expires_seconds: (session.expires_in_ms / 1000).into(),
        worker: snapshot
            .nat
            .inside_owner(session.vrf, *session.inside.ip())
            .value()
            .into(),
        origin: origin(snapshot, session),
        counts: session.counts.as_ref().map(counts_message),
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
