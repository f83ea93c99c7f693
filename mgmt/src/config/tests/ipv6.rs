//! IPv6 beside IPv4: what becomes of it, and what is refused.

use std::net::IpAddr;

use super::*;
use crate::config::model::NextHop;

const UPLINKS: &str = r#"
[underlay]
address = "10.1.0.1"

[[port]]
name = "fabric"
kind = "tap"
interface = "tap0"

[[port]]
name = "isp-a"
kind = "tap"
interface = "tap1"

[[uplink]]
name = "fabric"
port = "fabric"
addresses = ["10.1.0.1/24"]

[[uplink]]
name = "isp-a"
port = "isp-a"
addresses = ["198.51.100.1/31", "2001:db8:a::1/64"]

[[route]]
prefix = "::/0"
next-hops = ["2001:db8:a::2", "fe80::1%isp-a"]
"#;

const BLUE: &str = r#"
[[tenant]]
name = "blue"

[[tenant.segment]]
name = "web"
vni = 5001
gateway = "172.16.10.1/24"
gateway6 = "2001:db8:10::1/64"
advertise6 = true
vteps = ["10.1.0.11"]

[[tenant.segment.endpoint]]
address = "2001:db8:10::11"
mac = "02:00:00:00:10:11"
vtep = "10.1.0.11"

[[tenant.route]]
prefix = "::/0"
vrf = "provider"
"#;

const GREEN: &str = r#"
[[tenant]]
name = "green"

[[tenant.segment]]
name = "web"
vni = 6001
gateway = "172.16.10.1/24"
gateway6 = "2001:db8:10::1/64"
vteps = ["10.1.0.11"]
"#;

fn text() -> String {
    [UPLINKS, BLUE, GREEN].concat()
}

/// Asserts that the document with `from` replaced by `to` has exactly one problem, in a line with
/// `line` and with `message`.
#[track_caller]
fn one_problem(from: &str, to: &str, line: &str, message: &str) {
    let text = text();
    assert!(text.contains(from), "{from:?} is not in the document");
    let problems = match parse_text(&text.replacen(from, to, 1)) {
        Ok(loaded) => loaded.warnings,
        Err(errors) => errors.problems,
    };
    let shown = render(&problems);
    assert_eq!(problems.len(), 1, "{shown}");
    assert!(problems[0].source.contains(line), "{shown}");
    assert!(problems[0].message.contains(message), "{shown}");
}

#[test]
fn both_families_stand_side_by_side() {
    let loaded = parse_text(&text()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.uplinks[1].addresses.len(), 2);
    let hops = ["2001:db8:a::2", "fe80::1"].map(|text| text.parse::<IpAddr>().unwrap());
    let hop = |address, interface: Option<&str>| NextHop {
        address,
        interface: interface.map(|name| name.parse().unwrap()),
    };
    let expected = vec![hop(hops[0], None), hop(hops[1], Some("isp-a"))];
    assert_eq!(config.routes[0].target, RouteTarget::NextHops(expected));
    let [blue, green] = [0, 1].map(|tenant: usize| &config.tenants[tenant].segments[0]);
    assert!(blue.advertise6 && !blue.advertise && blue.router_advertisements);
    assert!(!green.advertise6 && green.router_advertisements);
    assert_eq!(
        blue.gateway6.unwrap().prefix.to_string(),
        "2001:db8:10::/64"
    );
}

#[test]
fn an_address_is_a_global_one_of_its_family() {
    let own = "2001:db8:a::1/64";
    one_problem(own, "fe80::9/64", "fe80::9/64", "link-local");
    one_problem(own, "ff02::1/64", "ff02::1/64", "is no host's address");
    one_problem(own, "::1/128", "::1/128", "is no host's address");
    one_problem(own, "::ffff:192.0.2.1/120", "::ffff", "write it as IPv4");
    one_problem(
        own,
        "2001:db8:a::/64",
        "2001:db8:a::/64",
        "every router's address",
    );
    for (wrong, message) in [
        ("2001:db8:a::1/129", "the longest is /128"),
        ("2001:db8:a::g/64", "is not an IP address"),
    ] {
        let problems = parse_text(&text().replacen(own, wrong, 1))
            .unwrap_err()
            .problems;
        assert!(
            problems[0].message.contains(message),
            "{}",
            render(&problems)
        );
    }
    let gateway = "gateway = \"172.16.10.1/24\"";
    one_problem(
        gateway,
        "gateway = \"2001:db8:9::1/64\"",
        "gateway =",
        "write gateway6",
    );
    let gateway6 = "gateway6 = \"2001:db8:10::1/64\"\nvteps";
    one_problem(
        gateway6,
        "gateway6 = \"172.16.9.1/24\"\nvteps",
        "gateway6",
        "write gateway =",
    );
}

#[test]
fn a_link_local_next_hop_names_its_interface_and_no_other_does() {
    let hop = "fe80::1%isp-a";
    one_problem(hop, "fe80::1", "fe80::1", "write \"fe80::1%fabric\"");
    one_problem(hop, "fe80::1%isp-b", "isp-b", "there is fabric, isp-a");
    one_problem(hop, "fe80::1%fabric", "fabric", "has no IPv6 address");
    one_problem(
        hop,
        "2001:db8:a::3%isp-a",
        "%isp-a",
        "only a link-local next hop",
    );
    one_problem(hop, "2001:db8:a::1", "2001:db8:a::1", "own address");
    one_problem(hop, "192.0.2.1", "192.0.2.1", "write an IPv6 address");
    one_problem(hop, "ff02::1", "ff02::1", "is no host's address");
}

#[test]
fn what_no_router_forwards_has_no_route() {
    for prefix in ["ff0e::/16", "fe80::/10", "::ffff:0:0/96", "::1/128"] {
        let route = format!("prefix = \"{prefix}\"\nnext-hops");
        one_problem(
            "prefix = \"::/0\"\nnext-hops",
            &route,
            prefix,
            "is not routed",
        );
    }
}

#[test]
fn an_advertised_prefix_is_one_tenants_alone() {
    let green = "gateway6 = \"2001:db8:10::1/64\"\nvteps";
    let both = "gateway6 = \"2001:db8:10::1/64\"\nadvertise6 = true\nvteps";
    one_problem(
        green,
        both,
        "2001:db8:10::1/64",
        "which tenant blue advertises",
    );
    let uplinks = "gateway6 = \"2001:db8:a::1/64\"\nadvertise6 = true\nvteps";
    one_problem(
        green,
        uplinks,
        "2001:db8:a::1/64",
        "connected prefix 2001:db8:a::/64",
    );
}

#[test]
fn segments_of_a_tenant_have_disjoint_prefixes() {
    let more = "\n[[tenant.segment]]\nname = \"db\"\nvni = 6002\ngateway = \"172.16.20.1/24\"\n\
                gateway6 = \"2001:db8:10:0:1::1/80\"\nvteps = [\"10.1.0.11\"]\n";
    let text = text() + more;
    let problems = parse_text(&text).unwrap_err().problems;
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.contains("of the same tenant"));
}

#[test]
fn a_way_out_that_nobody_may_take_is_warned_about() {
    one_problem(
        "advertise6 = true\n",
        "",
        "prefix = \"::/0\"",
        "nobody can use",
    );
}

#[test]
fn ipv6_needs_its_smallest_mtu() {
    let fabric = "addresses = [\"10.1.0.1/24\"]";
    let small = format!("{fabric}\nmtu = 1300");
    let text = text().replacen(fabric, &small, 1);
    let problems = parse_text(&text).unwrap_err().problems;
    assert_eq!(problems.len(), 2, "one for each segment");
    assert!(problems[0].message.contains("1280"));
    let isp = "addresses = [\"198.51.100.1/31\", \"2001:db8:a::1/64\"]";
    one_problem(
        isp,
        &format!("{isp}\nmtu = 1279"),
        "2001:db8:a::1/64",
        "1280",
    );
}

#[test]
fn keys_of_ipv6_need_an_ipv6_gateway() {
    let gateway6 = "gateway6 = \"2001:db8:10::1/64\"\nvteps";
    one_problem(
        gateway6,
        "advertise6 = true\nvteps",
        "advertise6",
        "write gateway6",
    );
    let key = "router-advertisements = true\nvteps";
    one_problem(gateway6, key, "router-advertisements", "write gateway6");
}

#[test]
fn an_endpoint_lies_in_one_of_the_prefixes() {
    let own = "address = \"2001:db8:10::11\"";
    one_problem(
        own,
        "address = \"2001:db8:11::11\"",
        "2001:db8:11::11",
        "is outside",
    );
    one_problem(
        own,
        "address = \"2001:db8:10::1\"",
        "2001:db8:10::1",
        "is the segment's gateway",
    );
    one_problem(own, "address = \"fe80::11\"", "fe80::11", "link-local");
}

#[test]
fn bgp_speaks_ipv4_only() {
    let text = text()
        + "[bgp]\nas = 65010\nrouter-id = \"10.1.0.1\"\n[[bgp.neighbor]]\n\
           address = \"2001:db8:a::2\"\nremote-as = 65001\nimport = \"x\"\nexport = \"x\"\n\
           [[prefix-list]]\nname = \"x\"\nrules = []\n";
    let problems = parse_text(&text).unwrap_err().problems;
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.contains("BGP runs over IPv4 only"));
}
