//! `show ip route` and `show ipv6 route`, as FRR prints them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use sekisho_types::Prefix;

use crate::api::v1::routing_service_client::RoutingServiceClient;
use crate::api::v1::{ListRoutesRequest, NextHop, Route};

use super::client::{Client, collect};
use super::table::uptime;
use super::words::Words;
use super::{CliError, Family};

pub(super) async fn show(
    family: Family,
    words: &[String],
    client: &mut Client,
) -> Result<String, CliError> {
    let query = query(family, words)?;
    let detailed = !(query.prefix.is_empty() && query.address.is_empty());
    let vrf = query.vrf.clone();
    let mut routing = RoutingServiceClient::new(client.connect().await?);
    let routes = collect(routing.list_routes(query).await?.into_inner()).await?;
    if client.wants_json() {
        return client.show(&by_prefix(&routes), |_| String::new());
    }
    Ok(if detailed {
        entries(&routes)
    } else {
        table(&vrf, &routes)
    })
}

fn query(family: Family, words: &[String]) -> Result<ListRoutesRequest, CliError> {
    let usage = format!("show {} route [vrf NAME] [PREFIX | ADDRESS]", family.word());
    let words = Words::parse(words, &["vrf"], 1, &usage)?;
    let mut query = ListRoutesRequest {
        vrf: words.text("vrf"),
        family: family.name().to_owned(),
        ..ListRoutesRequest::default()
    };
    if let Some(target) = words.free.first() {
        if target.contains('/') {
            let prefix: Prefix = target
                .parse()
                .map_err(|error| CliError::Usage(format!("{error}")))?;
            check_family(family, prefix.addr())?;
            query.prefix = prefix.to_string();
        } else {
            let address: IpAddr = target.parse().map_err(|_| {
                CliError::Usage(format!("{target:?} was not understood; write {usage}"))
            })?;
            check_family(family, address)?;
            query.address = address.to_string();
        }
    }
    Ok(query)
}

/// Each family has its own command.
fn check_family(family: Family, address: IpAddr) -> Result<(), CliError> {
    let other = match address {
        IpAddr::V4(_) => Family::Ipv4,
        IpAddr::V6(_) => Family::Ipv6,
    };
    if family == other {
        return Ok(());
    }
    let message = format!("{address} is looked up with: show {} route", other.word());
    Err(CliError::Usage(message))
}

/// Programs look routes up by prefix; there may be several candidates for each.
fn by_prefix(routes: &[Route]) -> BTreeMap<&str, Vec<&Route>> {
    let mut map: BTreeMap<&str, Vec<&Route>> = BTreeMap::new();
    for route in routes {
        map.entry(&route.prefix).or_default().push(route);
    }
    map
}

const LEGEND: &str = "\
Codes: C - connected, L - local, S - static, B - BGP, N - NAT,
       > - selected route, * - FIB route
";

fn table(vrf: &str, routes: &[Route]) -> String {
    let mut text = format!("{LEGEND}\n");
    if !vrf.is_empty() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "VRF {vrf}:");
    }
    for route in routes {
        push_route(&mut text, route);
    }
    text
}

fn push_route(text: &mut String, route: &Route) {
    let code = match route.protocol.as_str() {
        "connected" => 'C',
        "local" => 'L',
        "static" => 'S',
        "bgp" => 'B',
        "ospf" => 'O',
        "nat" => 'N',
        "overlay" => 'E',
        _ => '?',
    };
    let selected = if route.selected { '>' } else { ' ' };
    let own = matches!(route.protocol.as_str(), "connected" | "local");
    let distance = if own {
        String::new()
    } else {
        format!(" [{}/{}]", route.distance, route.metric)
    };
    let since = uptime(route.uptime_seconds);
    let start = format!(" {}{distance}", route.prefix);
    for (index, hop) in route.next_hops.iter().enumerate() {
        let mark = if route.installed && hop.active {
            '*'
        } else {
            ' '
        };
        let weight = if own {
            String::new()
        } else {
            format!(", weight {}", hop.weight)
        };
        let (codes, start) = if index == 0 {
            (format!("{code}{selected}"), start.clone())
        } else {
            ("  ".into(), " ".repeat(start.chars().count()))
        };
        let way = way(hop);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{codes}{mark}{start} {way}{weight}, {since}");
    }
}

fn way(hop: &NextHop) -> String {
    let mut way = match hop.kind.as_str() {
        "connected" => "is directly connected".to_owned(),
        "discard" => "unreachable (blackhole)".into(),
        "vrf" => format!("via VRF {}", hop.vrf),
        "nat" => "is translated".into(),
        _ => format!("via {}", hop.address),
    };
    if !hop.interface.is_empty() {
        way.push_str(", ");
        way.push_str(&hop.interface);
    }
    if !hop.active {
        way.push_str(" inactive");
    }
    way
}

fn entries(routes: &[Route]) -> String {
    if routes.is_empty() {
        return "% Network not in table\n".into();
    }
    let mut text = String::new();
    for route in routes {
        push_entry(&mut text, route);
    }
    text
}

fn push_entry(text: &mut String, route: &Route) {
    let vrf = match route.vrf.as_str() {
        "" | "provider" => String::new(),
        vrf => format!(", vrf {vrf}"),
    };
    let best = if route.selected { ", best" } else { "" };
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "Routing entry for {}\n  Known via \"{}\", distance {}, metric {}{vrf}{best}\n  \
         Last update {} ago\n",
        route.prefix,
        route.protocol,
        route.distance,
        route.metric,
        uptime(route.uptime_seconds)
    );
    for hop in &route.next_hops {
        let mark = if route.installed && hop.active {
            '*'
        } else {
            ' '
        };
        let via = |what: String| {
            if hop.interface.is_empty() {
                what
            } else {
                format!("{what}, via {}", hop.interface)
            }
        };
        let way = match hop.kind.as_str() {
            "connected" => format!("directly connected, {}", hop.interface),
            "discard" => "unreachable (blackhole)".into(),
            "vrf" => format!("VRF {}", hop.vrf),
            "nat" => "translated".into(),
            _ => via(hop.address.clone()),
        };
        let inactive = if hop.active { "" } else { " inactive" };
        let weight = match hop.kind.as_str() {
            "gateway" => format!(", weight {}", hop.weight),
            _ => String::new(),
        };
        let _ = writeln!(text, "  {mark} {way}{inactive}{weight}");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(kind: &str, address: &str, interface: &str) -> NextHop {
        NextHop {
            kind: kind.into(),
            address: address.into(),
            interface: interface.into(),
            weight: 1,
            active: true,
            vrf: String::new(),
        }
    }

    fn route(prefix: &str, protocol: &str, distance: u32, next_hops: Vec<NextHop>) -> Route {
        Route {
            vrf: "provider".into(),
            prefix: prefix.into(),
            protocol: protocol.into(),
            distance,
            metric: 0,
            selected: true,
            installed: true,
            uptime_seconds: 3,
            next_hops,
        }
    }

    fn ecmp() -> Route {
        let hops = vec![
            hop("gateway", "10.98.0.2", "up0"),
            hop("gateway", "10.98.0.6", "up1"),
        ];
        route("192.0.2.32/28", "bgp", 20, hops)
    }

    #[test]
    fn the_table_looks_like_frr() {
        let mut lost = route(
            "10.9.0.0/16",
            "static",
            1,
            vec![hop("gateway", "10.1.0.9", "")],
        );
        lost.next_hops[0].active = false;
        (lost.selected, lost.installed) = (false, false);
        let mut fresh = route(
            "0.0.0.0/0",
            "bgp",
            20,
            vec![hop("gateway", "10.98.0.2", "up0")],
        );
        fresh.installed = false;
        let routes = [
            fresh,
            route(
                "10.1.0.0/24",
                "connected",
                0,
                vec![hop("connected", "", "fabric")],
            ),
            route(
                "10.1.0.1/32",
                "local",
                0,
                vec![hop("connected", "", "fabric")],
            ),
            lost,
            ecmp(),
            route(
                "203.0.113.0/24",
                "static",
                254,
                vec![hop("discard", "", "")],
            ),
            route("203.0.113.64/28", "nat", 0, vec![hop("nat", "", "")]),
        ];
        let expected = "\
Codes: C - connected, L - local, S - static, B - BGP, N - NAT,
       > - selected route, * - FIB route

B>  0.0.0.0/0 [20/0] via 10.98.0.2, up0, weight 1, 00:00:03
C>* 10.1.0.0/24 is directly connected, fabric, 00:00:03
L>* 10.1.0.1/32 is directly connected, fabric, 00:00:03
S   10.9.0.0/16 [1/0] via 10.1.0.9 inactive, weight 1, 00:00:03
B>* 192.0.2.32/28 [20/0] via 10.98.0.2, up0, weight 1, 00:00:03
  *                      via 10.98.0.6, up1, weight 1, 00:00:03
S>* 203.0.113.0/24 [254/0] unreachable (blackhole), weight 1, 00:00:03
N>* 203.0.113.64/28 [0/0] is translated, weight 1, 00:00:03
";
        assert_eq!(table("", &routes), expected);
    }

    #[test]
    fn a_tenants_table_names_its_vrf() {
        let mut default = route("0.0.0.0/0", "static", 1, vec![hop("vrf", "", "")]);
        default.next_hops[0].vrf = "provider".into();
        let text = table("blue", &[default]);
        let end = "\n\nVRF blue:\nS>* 0.0.0.0/0 [1/0] via VRF provider, weight 1, 00:00:03\n";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn one_prefix_is_shown_with_what_it_is_known_via() {
        let expected = "\
Routing entry for 192.0.2.32/28
  Known via \"bgp\", distance 20, metric 0, best
  Last update 00:00:03 ago
  * 10.98.0.2, via up0, weight 1
  * 10.98.0.6, via up1, weight 1

";
        assert_eq!(entries(&[ecmp()]), expected);
        let mut segment = route(
            "172.16.10.0/24",
            "connected",
            0,
            vec![hop("connected", "", "web")],
        );
        segment.vrf = "blue".into();
        let expected = "\
Routing entry for 172.16.10.0/24
  Known via \"connected\", distance 0, metric 0, vrf blue, best
  Last update 00:00:03 ago
  * directly connected, web

";
        assert_eq!(entries(&[segment]), expected);
        assert_eq!(entries(&[]), "% Network not in table\n");
    }

    #[test]
    fn words_become_a_query() {
        let asked = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
            query(Family::Ipv4, &words)
        };
        let both = asked("vrf blue 10.0.0.0/8").unwrap();
        assert_eq!(
            (both.vrf.as_str(), both.prefix.as_str()),
            ("blue", "10.0.0.0/8")
        );
        assert_eq!(asked("192.0.2.1").unwrap().address, "192.0.2.1");
        let error = asked("10.0.0.5/24").unwrap_err().to_string();
        assert!(error.contains("did you mean 10.0.0.0/24?"), "{error}");
        assert!(asked("blue").is_err());
        let error = asked("2001:db8::/32").unwrap_err().to_string();
        assert!(error.contains("show ipv6 route"), "{error}");
    }

    #[test]
    fn programs_find_candidates_by_prefix() {
        let routes = [ecmp(), route("192.0.2.32/28", "static", 200, Vec::new())];
        let json = serde_json::to_value(by_prefix(&routes)).unwrap();
        assert_eq!(json["192.0.2.32/28"][0]["next_hops"][1]["interface"], "up1");
        assert_eq!(json["192.0.2.32/28"][1]["distance"], 200);
    }
}
