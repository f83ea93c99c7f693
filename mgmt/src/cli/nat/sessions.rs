//! `show nat sessions` and `clear nat sessions`.

use crate::api::v1::nat_service_client::NatServiceClient;
use crate::api::v1::{ClearSessionsRequest, ListSessionsRequest, NatSession, SessionFilter};

use super::super::CliError;
use super::super::client::{Client, collect};
use super::super::table::{Table, count, uptime};
use super::{FILTER_USAGE, Selection, filter};

pub(super) async fn show(selection: &Selection, client: &mut Client) -> Result<String, CliError> {
    let request = ListSessionsRequest {
        filter: Some(filter(&selection.words)?),
        limit: selection.limit.unwrap_or_default(),
    };
    let mut service = NatServiceClient::new(client.connect().await?);
    let rows = collect(service.list_sessions(request).await?.into_inner()).await?;
    client.show(&rows, |list| sessions(list))
}

pub(super) async fn clear(
    words: &[String],
    all: bool,
    client: &mut Client,
) -> Result<String, CliError> {
    let filter = filter(words)?;
    if filter == SessionFilter::default() && !all {
        let message = format!("this would end every session; write {FILTER_USAGE}, or --all");
        return Err(CliError::Usage(message));
    }
    let request = ClearSessionsRequest {
        filter: Some(filter),
        all,
    };
    let mut service = NatServiceClient::new(client.connect().await?);
    let reply = service.clear_sessions(request).await?.into_inner();
    client.show(&reply, |reply| {
        let cleared = usize::try_from(reply.cleared).unwrap_or(usize::MAX);
        format!("{} cleared\n", count(cleared, "session"))
    })
}

fn sessions(sessions: &[NatSession]) -> String {
    let counted = sessions.iter().any(|session| session.counts.is_some());
    let mut header = vec![
        "Tenant", "Proto", "Before", "After", "State", ">Idle", ">Expires", "Origin", ">Worker",
    ];
    if counted {
        header.extend([">Age", ">PktsOut", ">OctetsOut", ">PktsIn", ">OctetsIn"]);
    }
    let mut table = Table::new(&header);
    for session in sessions {
        let remote = format!("{}:{}", session.remote_address, session.remote_port);
        let toward = |address: &str, port: u32| format!("{address}:{port} -> {remote}");
        let mut row = vec![
            session.tenant.clone(),
            session.protocol.clone(),
            toward(&session.inside_address, session.inside_port),
            toward(&session.outside_address, session.outside_port),
            session.state.clone(),
            uptime(session.idle_seconds),
            uptime(session.expires_seconds),
            session.origin.clone(),
            session.worker.to_string(),
        ];
        if let Some(counts) = &session.counts {
            row.extend([
                uptime(counts.age_seconds),
                counts.packets_out.to_string(),
                counts.octets_out.to_string(),
                counts.packets_in.to_string(),
                counts.octets_in.to_string(),
            ]);
        }
        table.row(row);
    }
    format!("{}\n{}\n", table.render(), count(sessions.len(), "session"))
}

#[cfg(test)]
mod tests {
    use crate::api::v1::SessionCounts;

    use super::*;

    fn session() -> NatSession {
        NatSession {
            tenant: "blue".into(),
            protocol: "tcp".into(),
            inside_address: "172.16.10.11".into(),
            inside_port: 40000,
            outside_address: "203.0.113.64".into(),
            outside_port: 1088,
            remote_address: "192.0.2.33".into(),
            remote_port: 80,
            state: "established".into(),
            idle_seconds: 1,
            expires_seconds: 7439,
            worker: 1,
            origin: "snat 172.16.0.0/16".into(),
            counts: None,
        }
    }

    #[test]
    fn sessions_are_shown_before_and_after() {
        let expected = "\
Tenant  Proto  Before                               After                               State            Idle   Expires  Origin              Worker
blue    tcp    172.16.10.11:40000 -> 192.0.2.33:80  203.0.113.64:1088 -> 192.0.2.33:80  established  00:00:01  02:03:59  snat 172.16.0.0/16       1

1 session
";
        assert_eq!(sessions(&[session()]), expected);
    }

    #[test]
    fn what_sessions_carried_is_shown_where_it_is_counted() {
        let counts = SessionCounts {
            age_seconds: 61,
            packets_out: 3,
            octets_out: 180,
            packets_in: 2,
            octets_in: 3000,
        };
        let counting = NatSession {
            counts: Some(counts),
            ..session()
        };
        let text = sessions(&[counting]);
        let ends = |line: usize, end: &str| text.lines().nth(line).unwrap().ends_with(end);
        assert!(
            ends(0, "Age  PktsOut  OctetsOut  PktsIn  OctetsIn"),
            "{text}"
        );
        assert!(
            ends(1, "00:01:01        3        180       2      3000"),
            "{text}"
        );
    }
}
