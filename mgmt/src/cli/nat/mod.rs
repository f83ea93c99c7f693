//! `show nat ...` and `clear nat sessions`.

pub(super) mod flows;
mod pools;
mod sessions;
mod statistics;

use clap::{Args, Subcommand};

use crate::api::v1::nat_service_client::NatServiceClient;
use crate::api::v1::{
    ListNatTenantsRequest, ListPoolsRequest, ListRulesRequest, NatRule, NatTenant, SessionFilter,
};
use crate::session_match::SessionMatch;

use super::CliError;
use super::client::Client;
use super::table::Table;
use super::words::Words;

#[derive(Debug, Subcommand)]
pub(super) enum Nat {
    /// Sessions that match, with what they were and what they become.
    Sessions(Selection),
    /// Pools and how full they are; of one, with each of its addresses: [NAME].
    Pools {
        /// The pool.
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Rules in the order they are tried.
    Rules,
    /// What was counted: [tenant NAME].
    Statistics {
        /// [tenant NAME]
        #[arg(value_name = "WORDS")]
        words: Vec<String>,
    },
    /// Tenants: sessions and limits.
    Tenants,
    /// The translation log: what it has written, and where to.
    Log,
    /// Who had an outside address and port, by the log's files.
    Who(super::nat_log::Who),
}

/// Which sessions are shown, and how many.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// [tenant NAME] [protocol tcp|udp|icmp] [state STATE] [inside|outside|remote
    /// ADDRESS|ADDRESS:PORT|PREFIX]
    #[arg(value_name = "WORDS")]
    words: Vec<String>,
    /// At most so many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ClearNat {
    /// Sessions that match.
    Sessions {
        /// The same as of `show nat sessions`.
        #[arg(value_name = "WORDS")]
        words: Vec<String>,
        /// Every session there is.
        #[arg(long, conflicts_with = "words")]
        all: bool,
    },
}

const FILTER: [&str; 7] = [
    "tenant", "vrf", "protocol", "state", "inside", "outside", "remote",
];
const FILTER_USAGE: &str = "[tenant NAME] [protocol tcp|udp|icmp] [state STATE] \
     [inside|outside|remote ADDRESS|ADDRESS:PORT|PREFIX]";

pub(super) async fn show(command: Nat, client: &mut Client) -> Result<String, CliError> {
    match command {
        Nat::Sessions(selection) => sessions::show(&selection, client).await,
        Nat::Statistics { words } => statistics::show(&words, client).await,
        Nat::Pools { name } => {
            let mut service = NatServiceClient::new(client.connect().await?);
            let request = ListPoolsRequest {
                name: name.unwrap_or_default(),
            };
            let reply = service.list_pools(request).await?;
            client.show(&reply.into_inner().pools, |list| pools::render(list))
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
    let ClearNat::Sessions { words, all } = command;
    sessions::clear(words, *all, client).await
}

/// The filter that words name; checked here, so that a wrong one says what would be right.
fn filter(words: &[String]) -> Result<SessionFilter, CliError> {
    let words = Words::parse(words, &FILTER, 0, FILTER_USAGE)?;
    let tenant = match (words.get("tenant"), words.get("vrf")) {
        (Some(_), Some(_)) => {
            let message = "tenant and vrf mean the same; write one of them";
            return Err(CliError::Usage(message.to_owned()));
        }
        (tenant, vrf) => tenant.or(vrf).unwrap_or_default().to_owned(),
    };
    let filter = SessionFilter {
        tenant,
        protocol: words.text("protocol"),
        inside: words.text("inside"),
        outside: words.text("outside"),
        remote: words.text("remote"),
        state: words.text("state"),
    };
    SessionMatch::try_from(&filter).map_err(|error| CliError::Usage(error.to_string()))?;
    Ok(filter)
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
            filter(&words)
        };
        let expected = SessionFilter {
            tenant: "blue".into(),
            protocol: "tcp".into(),
            state: "transitory".into(),
            inside: "172.16.10.0/24".into(),
            outside: "203.0.113.64:1088".into(),
            remote: "192.0.2.80".into(),
        };
        let line = "tenant blue proto tcp state transitory inside 172.16.10.0/24 \
                    outside 203.0.113.64:1088 remote 192.0.2.80";
        assert_eq!(parse(line).unwrap(), expected);
        assert_eq!(parse("vrf blue").unwrap().tenant, "blue");
        for (line, part) in [
            ("protocol gre", "write tcp, udp or icmp"),
            ("state open", "established"),
            ("outside public", "write outside 192.0.2.1"),
            ("inside 172.16.10.11/24", "did you mean 172.16.10.0/24?"),
            ("tenant blue vrf green", "the same"),
            ("port 80", "\"port\" was not understood"),
            ("remote", "remote needs a value"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(part), "{line}: {error}");
        }
    }
}
