//! `show bgp ...`, as FRR prints it.

use std::fmt::Write as _;

use clap::Subcommand;
use sekisho_types::Prefix;

use crate::api::v1::routing_service_client::RoutingServiceClient;
use crate::api::v1::{
    BgpNeighbor, BgpRoute, BgpSummary, GetBgpSummaryRequest, ListBgpNeighborsRequest,
    ListBgpRoutesRequest,
};

use super::CliError;
use super::client::{Client, collect};
use super::table::uptime;

#[derive(Debug, Subcommand)]
pub(super) enum Bgp {
    /// One line for each neighbour.
    Summary,
    /// All that is known of the neighbours, or of one.
    Neighbors {
        /// The neighbour's address.
        address: Option<String>,
    },
    /// IPv4 paths.
    #[command(subcommand)]
    Ipv4(Ipv4),
}

#[derive(Debug, Subcommand)]
pub(super) enum Ipv4 {
    /// Unicast paths, or those to one prefix.
    Unicast {
        /// The prefix.
        prefix: Option<String>,
    },
}

pub(super) async fn show(command: Bgp, client: &mut Client) -> Result<String, CliError> {
    match command {
        Bgp::Summary => {
            let view = summary_view(client).await?;
            client.show(&view, summary)
        }
        Bgp::Neighbors { address } => {
            let mut routing = RoutingServiceClient::new(client.connect().await?);
            let address = address.unwrap_or_default();
            let request = ListBgpNeighborsRequest { address };
            let reply = routing.list_bgp_neighbors(request).await?.into_inner();
            client.show(&reply.neighbors, |neighbors| {
                neighbors.iter().map(neighbor).collect()
            })
        }
        Bgp::Ipv4(Ipv4::Unicast { prefix }) => unicast(prefix, client).await,
    }
}

async fn summary_view(client: &Client) -> Result<BgpSummary, CliError> {
    let mut routing = RoutingServiceClient::new(client.connect().await?);
    let reply = routing.get_bgp_summary(GetBgpSummaryRequest {}).await?;
    Ok(reply.into_inner())
}

async fn unicast(prefix: Option<String>, client: &mut Client) -> Result<String, CliError> {
    let prefix = match prefix {
        Some(text) => {
            let prefix: Prefix = text
                .parse()
                .map_err(|error| CliError::Usage(format!("{error}")))?;
            Some(prefix.to_string())
        }
        None => None,
    };
    let summary = summary_view(client).await?;
    let mut routing = RoutingServiceClient::new(client.connect().await?);
    let request = ListBgpRoutesRequest {
        prefix: prefix.clone().unwrap_or_default(),
    };
    let routes = collect(routing.list_bgp_routes(request).await?.into_inner()).await?;
    client.show(&routes, |routes| match &prefix {
        Some(prefix) => entry(prefix, routes),
        None => table(&summary, routes),
    })
}

fn summary(view: &BgpSummary) -> String {
    if !view.configured {
        return "% BGP is not configured\n".into();
    }
    let mut text = format!(
        "IPv4 Unicast Summary (VRF provider):\n\
         BGP router identifier {}, local AS number {}\n\
         BGP table version {}\n\
         RIB entries {}, paths {}, using {} bytes of memory\n\
         Peers {}\n\n",
        view.router_id,
        view.local_as,
        view.table_version,
        view.prefixes,
        view.paths,
        view.memory_bytes,
        view.neighbors.len()
    );
    let width = view.neighbors.iter().map(|neighbor| neighbor.address.len());
    let width = width.max().unwrap_or(0).max(15) + 1;
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{:width$}V         AS   MsgRcvd   MsgSent   TblVer  InQ OutQ  Up/Down State/PfxRcd   PfxSnt Desc",
        "Neighbor"
    );
    for neighbor in &view.neighbors {
        let _ = writeln!(text, "{}", summary_line(neighbor, width));
    }
    let _ = write!(
        text,
        "\nTotal number of neighbors {}\n",
        view.neighbors.len()
    );
    text
}

fn summary_line(neighbor: &BgpNeighbor, width: usize) -> String {
    let up = if neighbor.never_established {
        "never".into()
    } else {
        uptime(neighbor.uptime_seconds)
    };
    let established = neighbor.state == "Established";
    // A missing policy blocks everything (RFC 8212).
    let state = match neighbor.state.as_str() {
        _ if neighbor.shutdown => "Idle (Admin)".into(),
        "Established" if neighbor.import.is_empty() => "(Policy)".into(),
        "Established" => neighbor.prefixes_accepted.to_string(),
        state => state.to_owned(),
    };
    let sent = if established && neighbor.export.is_empty() {
        "(Policy)".into()
    } else {
        neighbor.prefixes_sent.to_string()
    };
    let description = match neighbor.description.as_str() {
        "" => "N/A",
        text => text,
    };
    format!(
        "{:width$}4 {:>10} {:>9} {:>9} {:>8} {:>4} {:>4} {up:>8} {state:>12} {sent:>8} {description}",
        neighbor.address,
        neighbor.remote_as,
        neighbor.messages_received,
        neighbor.messages_sent,
        neighbor.table_version,
        neighbor.in_queue,
        neighbor.out_queue
    )
}

fn neighbor(n: &BgpNeighbor) -> String {
    let link = if n.remote_as == n.local_as {
        "internal"
    } else {
        "external"
    };
    let mut text = format!(
        "BGP neighbor is {}, remote AS {}, local AS {}, {link} link\n",
        n.address, n.remote_as, n.local_as
    );
    // Writing to a String cannot fail.
    if !n.description.is_empty() {
        let _ = writeln!(text, "  Description: {}", n.description);
    }
    if n.shutdown {
        text.push_str("  Administratively shut down\n");
    }
    let router_id = match n.router_id.as_str() {
        "" => "unknown",
        id => id,
    };
    let since = uptime(n.uptime_seconds);
    let state = match n.state.as_str() {
        "Established" => format!("Established, up for {since}"),
        state if n.never_established => state.to_owned(),
        state => format!("{state}, down for {since}"),
    };
    let policy = |name: &str, nothing: &str| match name {
        "" => format!("(none: nothing is {nothing}, RFC 8212)"),
        name => name.to_owned(),
    };
    let _ = write!(
        text,
        "  BGP version 4, remote router ID {router_id}\n  \
         BGP state = {state}\n  \
         Hold time is {} seconds, keepalive interval is {} seconds, connect retry is {} seconds\n  \
         Import policy: {}\n  \
         Export policy: {}\n",
        n.hold_time_seconds,
        n.keepalive_seconds,
        n.connect_retry_seconds,
        policy(&n.import, "accepted"),
        policy(&n.export, "announced")
    );
    if !n.capabilities.is_empty() {
        text.push_str("  Negotiated capabilities:\n");
        for capability in &n.capabilities {
            let _ = writeln!(text, "    {capability}");
        }
    }
    let _ = write!(
        text,
        "  Message statistics:\n    \
         InQ depth is {}\n    \
         OutQ depth is {}\n",
        n.in_queue, n.out_queue
    );
    let _ = writeln!(text, "    {:16}{:>10} {:>10}", "", "Sent", "Rcvd");
    for (what, sent, received) in [
        (
            "Notifications",
            n.notifications_sent,
            n.notifications_received,
        ),
        ("Updates", n.updates_sent, n.updates_received),
        ("Keepalives", n.keepalives_sent, n.keepalives_received),
        ("Total", n.messages_sent, n.messages_received),
    ] {
        let _ = writeln!(
            text,
            "    {:16}{sent:>10} {received:>10}",
            format!("{what}:")
        );
    }
    let end_of_rib = if n.end_of_rib_received {
        "received"
    } else {
        "not received"
    };
    let _ = write!(
        text,
        "  Prefixes: {} received, {} accepted, {} sent; End-of-RIB {end_of_rib}\n  \
         Connections established {}; dropped {}\n",
        n.prefixes_received,
        n.prefixes_accepted,
        n.prefixes_sent,
        n.established_count,
        n.dropped_count
    );
    let reset = match n.last_reset.as_str() {
        "" => "never",
        why => why,
    };
    let _ = writeln!(text, "  Last reset: {reset}");
    if n.local_port != 0 {
        let _ = write!(
            text,
            "Local host: {}, local port: {}\nForeign host: {}, foreign port: {}\n",
            n.local_address, n.local_port, n.address, n.remote_port
        );
    }
    text.push('\n');
    text
}

fn table(summary: &BgpSummary, routes: &[BgpRoute]) -> String {
    if !summary.configured {
        return "% BGP is not configured\n".into();
    }
    let mut text = format!(
        "BGP table version is {}, local router ID is {}\n\
         Status codes:  * valid, > best, = multipath, i internal\n\
         Origin codes:  i - IGP, e - EGP, ? - incomplete\n\n   \
         Network          Next Hop            Metric LocPrf Weight Path\n",
        summary.table_version, summary.router_id
    );
    let mut previous = "";
    let mut prefixes = 0;
    for route in routes {
        let first = route.prefix != previous;
        prefixes += usize::from(first);
        let network = if first { route.prefix.as_str() } else { "" };
        push_path(&mut text, network, route);
        previous = &route.prefix;
    }
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\nDisplayed {prefixes} routes and {} total paths\n",
        routes.len()
    );
    text
}

fn push_path(text: &mut String, network: &str, route: &BgpRoute) {
    let valid = if route.valid { '*' } else { ' ' };
    let chosen = match (route.best, route.multipath) {
        (true, _) => '>',
        (false, true) => '=',
        _ => ' ',
    };
    let internal = if route.internal { 'i' } else { ' ' };
    let shown = |value: Option<u32>| value.map_or_else(String::new, |value| value.to_string());
    let origin = match route.origin.as_str() {
        "igp" => 'i',
        "egp" => 'e',
        _ => '?',
    };
    let path = match route.as_path.as_str() {
        "" => origin.to_string(),
        path => format!("{path} {origin}"),
    };
    // A long network stands on a line of its own.
    let network = if network.len() > 16 {
        format!("{network}\n{:20}", "")
    } else {
        format!("{network:17}")
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{valid}{chosen}{internal}{network}{:16}{:>10} {:>6} {:>6} {path}",
        route.next_hop,
        shown(route.med),
        shown(route.local_pref),
        route.weight
    );
}

fn entry(prefix: &str, routes: &[BgpRoute]) -> String {
    if routes.is_empty() {
        return "% Network not in table\n".into();
    }
    let best = match routes.iter().position(|route| route.best) {
        Some(index) => format!("best #{}", index + 1),
        None => "no best path".into(),
    };
    let mut text = format!(
        "BGP routing table entry for {prefix}\nPaths: ({} available, {best})\n",
        routes.len()
    );
    for route in routes {
        push_path_entry(&mut text, route);
    }
    text
}

fn push_path_entry(text: &mut String, route: &BgpRoute) {
    let path = match route.as_path.as_str() {
        "" => "Local",
        path => path,
    };
    let from = match route.neighbor.as_str() {
        "" => "from us".to_owned(),
        neighbor => format!("from {neighbor} ({})", route.router_id),
    };
    let origin = match route.origin.as_str() {
        "igp" => "IGP",
        "egp" => "EGP",
        _ => "incomplete",
    };
    let mut facts = vec![format!("Origin {origin}")];
    facts.extend(route.med.map(|med| format!("metric {med}")));
    facts.extend(route.local_pref.map(|pref| format!("localpref {pref}")));
    if route.weight != 0 {
        facts.push(format!("weight {}", route.weight));
    }
    facts.push(if route.valid { "valid" } else { "inaccessible" }.into());
    facts.push(
        match (route.neighbor.as_str(), route.internal) {
            ("", _) => "sourced",
            (_, true) => "internal",
            (_, false) => "external",
        }
        .into(),
    );
    if route.multipath {
        facts.push("multipath".into());
    }
    facts.push(match (route.best, route.reason.as_str()) {
        (true, "") => "best".into(),
        (true, reason) => format!("best ({reason})"),
        (false, "") => "not best".into(),
        (false, reason) => format!("not best ({reason})"),
    });
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "  {path}\n    {} {from}\n      {}\n",
        route.next_hop,
        facts.join(", ")
    );
    for (what, list) in [
        ("Community", &route.communities),
        ("Large Community", &route.large_communities),
    ] {
        if !list.is_empty() {
            let _ = writeln!(text, "      {what}: {}", list.join(" "));
        }
    }
    let _ = writeln!(
        text,
        "      Last update: {} ago",
        uptime(route.uptime_seconds)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str, remote_as: u32, state: &str) -> BgpNeighbor {
        BgpNeighbor {
            address: address.into(),
            remote_as,
            local_as: 65010,
            state: state.into(),
            uptime_seconds: 31,
            messages_received: 10,
            messages_sent: 12,
            prefixes_received: 4,
            prefixes_accepted: 3,
            prefixes_sent: 2,
            import: "from-isp".into(),
            export: "to-isp".into(),
            hold_time_seconds: 9,
            keepalive_seconds: 3,
            connect_retry_seconds: 1,
            ..BgpNeighbor::default()
        }
    }

    fn speaker() -> BgpSummary {
        let up = BgpNeighbor {
            description: "isp-a".into(),
            table_version: 7,
            ..peer("198.51.100.0", 65001, "Established")
        };
        let blocked = BgpNeighbor {
            import: String::new(),
            export: String::new(),
            ..peer("198.51.100.2", 4_200_000_000, "Established")
        };
        let down = BgpNeighbor {
            never_established: true,
            ..peer("198.51.100.4", 65003, "Active")
        };
        let shut = BgpNeighbor {
            shutdown: true,
            uptime_seconds: 90_000,
            ..peer("198.51.100.6", 65004, "Idle")
        };
        BgpSummary {
            configured: true,
            router_id: "10.1.0.1".into(),
            local_as: 65010,
            table_version: 7,
            prefixes: 5,
            paths: 8,
            memory_bytes: 1024,
            neighbors: vec![up, blocked, down, shut],
        }
    }

    #[test]
    fn the_summary_looks_like_frr() {
        let expected = "\
IPv4 Unicast Summary (VRF provider):
BGP router identifier 10.1.0.1, local AS number 65010
BGP table version 7
RIB entries 5, paths 8, using 1024 bytes of memory
Peers 4

Neighbor        V         AS   MsgRcvd   MsgSent   TblVer  InQ OutQ  Up/Down State/PfxRcd   PfxSnt Desc
198.51.100.0    4      65001        10        12        7    0    0 00:00:31            3        2 isp-a
198.51.100.2    4 4200000000        10        12        0    0    0 00:00:31     (Policy) (Policy) N/A
198.51.100.4    4      65003        10        12        0    0    0    never       Active        2 N/A
198.51.100.6    4      65004        10        12        0    0    0 1d01h00m Idle (Admin)        2 N/A

Total number of neighbors 4
";
        assert_eq!(summary(&speaker()), expected);
    }

    #[test]
    fn without_bgp_there_is_nothing_to_show() {
        let view = BgpSummary::default();
        assert_eq!(summary(&view), "% BGP is not configured\n");
    }

    #[test]
    fn a_neighbor_is_shown_with_all_that_is_known() {
        let view = BgpNeighbor {
            router_id: "10.0.0.1".into(),
            description: "isp-a".into(),
            capabilities: vec!["4 octet AS numbers".into(), "Route refresh".into()],
            local_address: "198.51.100.1".into(),
            local_port: 40000,
            remote_port: 179,
            established_count: 1,
            end_of_rib_received: true,
            keepalives_sent: 11,
            ..peer("198.51.100.0", 65001, "Established")
        };
        let expected = "\
BGP neighbor is 198.51.100.0, remote AS 65001, local AS 65010, external link
  Description: isp-a
  BGP version 4, remote router ID 10.0.0.1
  BGP state = Established, up for 00:00:31
  Hold time is 9 seconds, keepalive interval is 3 seconds, connect retry is 1 seconds
  Import policy: from-isp
  Export policy: to-isp
  Negotiated capabilities:
    4 octet AS numbers
    Route refresh
  Message statistics:
    InQ depth is 0
    OutQ depth is 0
                          Sent       Rcvd
    Notifications:           0          0
    Updates:                 0          0
    Keepalives:             11          0
    Total:                  12         10
  Prefixes: 4 received, 3 accepted, 2 sent; End-of-RIB received
  Connections established 1; dropped 0
  Last reset: never
Local host: 198.51.100.1, local port: 40000
Foreign host: 198.51.100.0, foreign port: 179

";
        assert_eq!(neighbor(&view), expected);
    }

    fn paths() -> Vec<BgpRoute> {
        let best = BgpRoute {
            prefix: "192.0.2.0/24".into(),
            neighbor: "198.51.100.0".into(),
            neighbor_as: 65001,
            router_id: "10.0.0.1".into(),
            next_hop: "198.51.100.0".into(),
            valid: true,
            best: true,
            multipath: true,
            origin: "igp".into(),
            as_path: "65001 64999".into(),
            med: Some(0),
            communities: vec!["65001:100".into()],
            uptime_seconds: 31,
            reason: "router ID".into(),
            ..BgpRoute::default()
        };
        let equal = BgpRoute {
            neighbor: "198.51.100.2".into(),
            router_id: "10.0.0.2".into(),
            next_hop: "198.51.100.2".into(),
            best: false,
            as_path: "65002 64999".into(),
            communities: Vec::new(),
            ..best.clone()
        };
        let own = BgpRoute {
            prefix: "203.0.113.100/30".into(),
            neighbor: String::new(),
            next_hop: "0.0.0.0".into(),
            multipath: false,
            as_path: String::new(),
            med: None,
            weight: 32768,
            reason: String::new(),
            ..best.clone()
        };
        vec![best, equal, own]
    }

    #[test]
    fn paths_are_shown_below_their_prefix() {
        let expected = "\
BGP table version is 7, local router ID is 10.1.0.1
Status codes:  * valid, > best, = multipath, i internal
Origin codes:  i - IGP, e - EGP, ? - incomplete

   Network          Next Hop            Metric LocPrf Weight Path
*> 192.0.2.0/24     198.51.100.0             0             0 65001 64999 i
*=                  198.51.100.2             0             0 65002 64999 i
*> 203.0.113.100/30 0.0.0.0                            32768 i

Displayed 2 routes and 3 total paths
";
        assert_eq!(table(&speaker(), &paths()), expected);
    }

    #[test]
    fn one_prefix_is_shown_with_why_a_path_won() {
        let expected = "\
BGP routing table entry for 192.0.2.0/24
Paths: (2 available, best #1)
  65001 64999
    198.51.100.0 from 198.51.100.0 (10.0.0.1)
      Origin IGP, metric 0, valid, external, multipath, best (router ID)
      Community: 65001:100
      Last update: 00:00:31 ago
  65002 64999
    198.51.100.2 from 198.51.100.2 (10.0.0.2)
      Origin IGP, metric 0, valid, external, multipath, not best (router ID)
      Last update: 00:00:31 ago
";
        assert_eq!(entry("192.0.2.0/24", &paths()[..2]), expected);
    }
}
