//! `show bgp ipv4 unicast`.

use std::fmt::Write as _;

use crate::api::v1::{BgpRoute, BgpSummary};
use crate::cli::table::uptime;

pub(super) fn table(summary: &BgpSummary, routes: &[BgpRoute]) -> String {
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

pub(super) fn entry(prefix: &str, routes: &[BgpRoute]) -> String {
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
        let speaker = BgpSummary {
            configured: true,
            router_id: "10.1.0.1".into(),
            table_version: 7,
            ..BgpSummary::default()
        };
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
        assert_eq!(table(&speaker, &paths()), expected);
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
