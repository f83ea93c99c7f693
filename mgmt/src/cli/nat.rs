//! `show nat ...` and `clear nat sessions`.

use clap::Subcommand;

use crate::api::v1::nat_service_client::NatServiceClient;
use crate::api::v1::{
    ClearSessionsRequest, ListNatTenantsRequest, ListPoolsRequest, ListRulesRequest,
    ListSessionsRequest, NatPool, NatRule, NatSession, NatTenant, SessionFilter,
};

use super::CliError;
use super::client::{Client, collect};
use super::table::{Table, count, uptime};
use super::words::Words;

#[derive(Debug, Subcommand)]
pub(super) enum Nat {
    /// Sessions: [vrf NAME] [protocol tcp|udp|icmp] [inside|outside|remote ADDRESS] [limit N].
    Sessions {
        /// [vrf NAME] [protocol tcp|udp|icmp] [inside|outside|remote ADDRESS] [limit N]
        #[arg(value_name = "WORDS")]
        words: Vec<String>,
    },
    /// Pools and how full they are.
    Pools,
    /// Rules in the order they are tried.
    Rules,
    /// Tenants: sessions and limits.
    Tenants,
    /// The translation log: what it has written, and where to.
    Log,
    /// Who had an outside address and port, by the log's files.
    Who(super::nat_log::Who),
}

#[derive(Debug, Subcommand)]
pub(super) enum ClearNat {
    /// Sessions that match: [vrf NAME] [protocol tcp|udp|icmp] [inside|outside|remote ADDRESS].
    Sessions {
        /// [vrf NAME] [protocol tcp|udp|icmp] [inside|outside|remote ADDRESS]
        #[arg(value_name = "WORDS")]
        words: Vec<String>,
    },
}

const FILTER: [&str; 5] = ["vrf", "protocol", "inside", "outside", "remote"];
const FILTER_USAGE: &str = "[vrf NAME] [protocol tcp|udp|icmp] [inside|outside|remote ADDRESS]";

pub(super) async fn show(command: Nat, client: &mut Client) -> Result<String, CliError> {
    match command {
        Nat::Sessions { words } => {
            let keywords: Vec<&'static str> = FILTER.iter().copied().chain(["limit"]).collect();
            let usage = format!("{FILTER_USAGE} [limit N]");
            let words = Words::parse(&words, &keywords, 0, &usage)?;
            let limit = match words.get("limit") {
                None => 0,
                Some(text) => text.parse().map_err(|_| {
                    CliError::Usage(format!("{text:?} is not a number; write limit 100"))
                })?,
            };
            let request = ListSessionsRequest {
                filter: Some(filter(&words)?),
                limit,
            };
            let mut service = NatServiceClient::new(client.connect().await?);
            let rows = collect(service.list_sessions(request).await?.into_inner()).await?;
            client.show(&rows, |list| sessions(list))
        }
        Nat::Pools => {
            let mut service = NatServiceClient::new(client.connect().await?);
            let reply = service.list_pools(ListPoolsRequest {}).await?;
            client.show(&reply.into_inner().pools, |list| pools(list))
        }
        Nat::Tenants => {
            let mut service = NatServiceClient::new(client.connect().await?);
            let reply = service.list_nat_tenants(ListNatTenantsRequest {}).await?;
            client.show(&reply.into_inner().tenants, |list| tenants(list))
        }
        Nat::Log => super::nat_log::show(client).await,
        Nat::Who(who) => super::nat_log::who(&who, client).await,
        Nat::Rules => {
            let mut service = NatServiceClient::new(client.connect().await?);
            let reply = service.list_rules(ListRulesRequest {}).await?;
            client.show(&reply.into_inner().rules, |list| rules(list))
        }
    }
}

pub(super) async fn clear(command: &ClearNat, client: &mut Client) -> Result<String, CliError> {
    let ClearNat::Sessions { words } = command;
    let words = Words::parse(words, &FILTER, 0, FILTER_USAGE)?;
    let request = ClearSessionsRequest {
        filter: Some(filter(&words)?),
    };
    let mut service = NatServiceClient::new(client.connect().await?);
    let reply = service.clear_sessions(request).await?.into_inner();
    client.show(&reply, |reply| {
        let cleared = usize::try_from(reply.cleared).unwrap_or(usize::MAX);
        format!("{} cleared\n", count(cleared, "session"))
    })
}

fn filter(words: &Words) -> Result<SessionFilter, CliError> {
    for keyword in ["inside", "outside", "remote"] {
        if let Some(text) = words.get(keyword)
            && text.parse::<std::net::IpAddr>().is_err()
        {
            let message = format!("{text:?} is not an address; write {keyword} 192.0.2.1");
            return Err(CliError::Usage(message));
        }
    }
    let protocol = words.text("protocol");
    if !["", "tcp", "udp", "icmp"].contains(&protocol.as_str()) {
        let message = format!("{protocol:?} is not translated; write tcp, udp or icmp");
        return Err(CliError::Usage(message));
    }
    Ok(SessionFilter {
        tenant: words.text("vrf"),
        protocol,
        inside: words.text("inside"),
        outside: words.text("outside"),
        remote: words.text("remote"),
    })
}

fn sessions(sessions: &[NatSession]) -> String {
    let mut table = Table::new(&[
        "Tenant", "Proto", "Inside", "Outside", "Remote", "State", ">Idle", ">Expires", ">Worker",
    ]);
    for session in sessions {
        let at = |address: &str, port: u32| match address.contains(':') {
            true => format!("[{address}]:{port}"),
            false => format!("{address}:{port}"),
        };
        table.row(vec![
            session.tenant.clone(),
            session.protocol.clone(),
            at(&session.inside_address, session.inside_port),
            at(&session.outside_address, session.outside_port),
            at(&session.remote_address, session.remote_port),
            session.state.clone(),
            uptime(session.idle_seconds),
            uptime(session.expires_seconds),
            session.worker.to_string(),
        ]);
    }
    format!("{}\n{}\n", table.render(), count(sessions.len(), "session"))
}

fn pools(pools: &[NatPool]) -> String {
    let mut table = Table::new(&["Pool", "Addresses", "Ports", ">Used", ">Total", ">Blocks"]);
    for pool in pools {
        table.row(vec![
            pool.name.clone(),
            pool.addresses.join(","),
            format!("{}-{}", pool.first_port, pool.last_port),
            pool.ports_used.to_string(),
            pool.ports_total.to_string(),
            format!("{}/{}", pool.blocks_used, pool.blocks_total),
        ]);
    }
    table.render()
}

fn tenants(tenants: &[NatTenant]) -> String {
    let mut table = Table::new(&[
        "Tenant",
        ">Sessions",
        ">Most",
        ">New a second",
        ">Ports a host",
    ]);
    let limit = |most: Option<u32>| most.map_or("no limit".to_owned(), |most| most.to_string());
    for tenant in tenants {
        table.row(vec![
            tenant.name.clone(),
            tenant.sessions.to_string(),
            limit(tenant.max_sessions),
            limit(tenant.max_new_sessions),
            limit(tenant.max_ports_per_host),
        ]);
    }
    table.render()
}

fn rules(rules: &[NatRule]) -> String {
    let mut table = Table::new(&["Tenant", "Kind", "Matches", "Becomes"]);
    for rule in rules {
        table.row(vec![
            rule.tenant.clone(),
            rule.kind.clone(),
            rule.matches.clone(),
            rule.becomes.clone(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_shown_with_their_three_sides() {
        let session = NatSession {
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
        };
        let expected = "\
Tenant  Proto  Inside              Outside            Remote         State            Idle   Expires  Worker
blue    tcp    172.16.10.11:40000  203.0.113.64:1088  192.0.2.33:80  established  00:00:01  02:03:59       1

1 session
";
        assert_eq!(sessions(&[session]), expected);
    }

    #[test]
    fn pools_are_shown_with_how_full_they_are() {
        let pool = NatPool {
            name: "public".into(),
            addresses: vec!["203.0.113.64/28".into()],
            first_port: 1024,
            last_port: 65535,
            ports_total: 1_032_192,
            ports_used: 3,
            blocks_total: 16128,
            blocks_used: 2,
        };
        let expected = "\
Pool    Addresses        Ports       Used    Total   Blocks
public  203.0.113.64/28  1024-65535     3  1032192  2/16128
";
        assert_eq!(pools(&[pool]), expected);
    }

    #[test]
    fn tenants_are_shown_with_their_limits() {
        let tenant = |name: &str, sessions, max_sessions| NatTenant {
            name: name.into(),
            sessions,
            max_sessions,
            max_new_sessions: max_sessions,
            max_ports_per_host: None,
        };
        let list = [tenant("blue", 4711, Some(5000)), tenant("green", 0, None)];
        let expected = "\
Tenant  Sessions      Most  New a second  Ports a host
blue        4711      5000          5000      no limit
green          0  no limit      no limit      no limit
";
        assert_eq!(tenants(&list), expected);
    }

    #[test]
    fn rules_are_shown_in_their_order() {
        let rule = |kind: &str, matches: &str, becomes: &str| NatRule {
            tenant: "blue".into(),
            kind: kind.into(),
            matches: matches.into(),
            becomes: becomes.into(),
        };
        let list = [
            rule("port-forward", "tcp/203.0.113.20:8080", "172.16.10.12:80"),
            rule("snat", "172.16.0.0/16", "pool public"),
        ];
        let expected = "\
Tenant  Kind          Matches                Becomes
blue    port-forward  tcp/203.0.113.20:8080  172.16.10.12:80
blue    snat          172.16.0.0/16          pool public
";
        assert_eq!(rules(&list), expected);
    }

    #[test]
    fn a_filter_is_checked_before_it_is_sent() {
        let parse = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
            Words::parse(&words, &FILTER, 0, FILTER_USAGE).and_then(|words| filter(&words))
        };
        let good = parse("vrf blue proto tcp inside 172.16.10.11").unwrap();
        assert_eq!(
            (good.tenant.as_str(), good.protocol.as_str()),
            ("blue", "tcp")
        );
        assert_eq!(good.inside, "172.16.10.11");
        assert!(parse("protocol gre").is_err());
        assert!(parse("outside public").is_err());
    }
}
