//! One test for each rule: the demo configuration is right, and each change of it that breaks a
//! rule is refused where the mistake stands.

use std::path::Path;
use std::time::Duration;

use super::model::{
    Filtering, MappingMode, MssClamp, PortKind, RouteTarget, SnatTarget, UnsolicitedSyn,
};
use super::*;

mod ipv6;
mod nat;
mod nat_log;

const GOOD: &str = include_str!("testdata/good.toml");

fn parse_text(text: &str) -> Result<Loaded, ConfigErrors> {
    parse(vec![Document {
        name: "sekisho.toml".into(),
        text: text.into(),
    }])
}

/// The good document with `from` replaced by `to`.
fn edited(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is not in the good document");
    GOOD.replacen(from, to, 1)
}

/// Asserts that the edited document has exactly one problem, an error whose line contains `line`
/// and whose message contains `message`.
#[track_caller]
fn refused(from: &str, to: &str, line: &str, message: &str) {
    only_problem(from, to, Severity::Error, line, message);
}

/// Like [`refused`], for a warning.
#[track_caller]
fn warned(from: &str, to: &str, line: &str, message: &str) {
    only_problem(from, to, Severity::Warning, line, message);
}

#[track_caller]
fn only_problem(from: &str, to: &str, severity: Severity, line: &str, message: &str) {
    let problems = match parse_text(&edited(from, to)) {
        Ok(loaded) => loaded.warnings,
        Err(errors) => errors.problems,
    };
    let shown = render(&problems);
    assert_eq!(problems.len(), 1, "{shown}");
    assert_eq!(problems[0].severity, severity, "{shown}");
    assert!(problems[0].source.contains(line), "{shown}");
    assert!(problems[0].message.contains(message), "{shown}");
}

#[test]
fn a_good_document_has_no_problems_and_becomes_the_model() {
    let loaded = parse_text(GOOD).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.gateway.workers, 2);
    let namespace = Some("lab".parse().unwrap());
    let interface = "tap-b".to_owned();
    assert_eq!(
        config.ports[2].kind,
        PortKind::Tap {
            interface,
            namespace
        }
    );
    assert!(config.gateway.session_counters);
    let web = &config.tenants[0].segments[0];
    assert_eq!(web.mtu, 1550, "what the fabric uplink carries, less 50");
    assert_eq!(web.mac.to_string(), "02:53:4b:00:13:89");
    assert!(web.learning && !web.advertise && web.icmp_errors);
    let clamps = |tenant: usize| {
        config.tenants[tenant]
            .segments
            .iter()
            .map(|own| own.mss_clamp)
    };
    assert_eq!(
        clamps(0).collect::<Vec<_>>(),
        [MssClamp::Off, MssClamp::To(1360)]
    );
    assert_eq!(clamps(1).collect::<Vec<_>>(), [MssClamp::Auto]);
    let quiet: Vec<_> = config
        .uplinks
        .iter()
        .map(|own| (own.icmp_errors, own.unsolicited_syn))
        .collect();
    assert_eq!(
        quiet[1..],
        [
            (true, UnsolicitedSyn::Unreachable),
            (false, UnsolicitedSyn::Silent)
        ]
    );
    assert_eq!(config.tenants[0].routes[0].target, RouteTarget::Provider);
    assert_eq!(config.tenants[0].max_sessions, Some(5000));
    assert_eq!(config.tenants[0].max_new_sessions, Some(200));
    assert_eq!(config.tenants[0].max_ports_per_host, Some(1000));
    assert_eq!(config.tenants[1].max_sessions, None);
    assert_eq!(config.tenants[1].max_new_sessions, None);
    assert_eq!(config.tenants[0].max_ports, Some(4000));
    assert_eq!(config.tenants[0].reserved_sessions, 1000);
    assert_eq!(config.tenants[0].max_sessions_per_host, Some(2000));
    assert_eq!(config.tenants[0].max_new_sessions_per_host, Some(50));
    let [first, second, third] = &config.tenants[0].snat[..] else {
        panic!("three rules")
    };
    assert_eq!(second.destination, "198.18.0.0/15".parse().ok());
    assert_eq!(second.timeouts.udp, Some(Duration::from_secs(150)));
    assert_eq!(third.mapping, MappingMode::EndpointDependent);
    assert_eq!(third.filtering, Filtering::AddressAndPortDependent);
    assert_eq!(config.nat.short_udp, Duration::from_secs(20));
    assert_eq!(config.nat.short_udp_ports, [53, 123]);
    assert_eq!(config.nat.port_quarantine, Duration::from_secs(60));
    assert!(!config.nat.inbound_refresh);
    let public = &config.nat_pools[0];
    assert_eq!((public.block_size, public.blocks_per_host), (256, Some(4)));
    assert!(public.preserve_parity && public.preserve_class);
    assert_eq!(second.to, SnatTarget::Uplink);
    assert_eq!(first.filtering, Filtering::AddressDependent);
    assert_eq!(second.filtering, Filtering::EndpointIndependent);
    let pool: Vec<String> = config.nat_pools[0]
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    let parts = [
        "203.0.113.64/28",
        "203.0.113.100/30",
        "203.0.113.104/30",
        "203.0.113.108/31",
        "203.0.113.110/32",
        "203.0.113.5/32",
    ];
    assert_eq!(pool, parts);
    let bgp = config.bgp.unwrap();
    assert_eq!(bgp.neighbors[0].hold_time, Duration::from_secs(9));
    assert_eq!(bgp.neighbors[1].hold_time, Duration::from_secs(90));
    let rules = &config.prefix_lists[0].rules;
    assert_eq!((rules[0].ge, rules[0].le), (24, 32));
    assert_eq!((rules[1].ge, rules[1].le, rules[1].permit), (0, 32, false));
}

#[test]
fn a_segment_size_is_a_word_or_one_that_is_possible() {
    for wrong in ["lots", "215", "9177", ""] {
        let value = format!("mss-clamp = \"{wrong}\"");
        refused(
            "mss-clamp = \"1360\"",
            &value,
            "mss-clamp",
            "write auto, off",
        );
    }
}

#[test]
fn an_empty_document_is_a_gateway_with_defaults() {
    let config = parse_text("").unwrap().config;
    assert_eq!(config.gateway.workers, 1);
    assert_eq!(config.gateway.api_socket, Path::new(crate::DEFAULT_SOCKET));
    assert_eq!(config.nat.udp, Duration::from_secs(300));
}

#[test]
fn an_error_shows_the_line_with_a_caret_below_the_mistake() {
    let errors = parse_text(
        "[gateway]\nworkers = 2\n\n[[port]]\nname = \"a\"\nkind = \"tap\"\n\
         interface = \"a\"\n[[uplink]]\nname = \"ü\"\nport = \"b\" # later\n\
         addresses = [\"10.0.0.0/24\"]\n",
    )
    .unwrap_err();
    let expected = "\
error: \"ü\" is not a name; use 1 to 63 letters, digits, '.', '_' or '-', starting with a letter or digit
 --> sekisho.toml:9:8
  |
9 | name = \"ü\"
  |        ^^^

error: there is no port \"b\"; there is a
  --> sekisho.toml:10:8
   |
10 | port = \"b\" # later
   |        ^^^

error: 10.0.0.0 is the network address of 10.0.0.0/24; use another address inside it
  --> sekisho.toml:11:14
   |
11 | addresses = [\"10.0.0.0/24\"]
   |              ^^^^^^^^^^^^^

3 errors; the configuration was not applied
";
    assert_eq!(errors.to_string(), expected);
}

#[test]
fn a_missing_key_is_reported_at_the_header_of_its_table() {
    let errors = parse_text("[[tenant]]\n[[tenant.segment]]\nvni = 5\n").unwrap_err();
    let places: Vec<String> = errors.errors().map(Problem::location).collect();
    let shown = errors.to_string();
    assert!(
        shown.contains("[[tenant]] needs \"name\"; write name = \"blue\""),
        "{shown}"
    );
    assert!(
        shown.contains("[[tenant.segment]] needs \"gateway\""),
        "{shown}"
    );
    assert_eq!(places[0], "sekisho.toml:1:1", "{shown}");
    assert_eq!(places[1], "sekisho.toml:2:1", "{shown}");
}

#[test]
fn broken_toml_is_reported_at_its_place() {
    let errors = parse_text("[gateway]\nworkers = = 2\n").unwrap_err();
    assert_eq!(errors.problems[0].line, 2);
}

#[test]
fn an_unknown_key_comes_with_the_one_that_was_meant() {
    refused(
        "workers = 2",
        "workers = 2\nworker = 2",
        "worker = 2",
        "[gateway] has no key \"worker\"; did you mean \"workers\"?",
    );
    refused("[nat]", "[nta]\n[nat]", "[nta]", "did you mean \"nat\"?");
    refused("[nat]", "[nat]\nzzz = 1", "zzz", "it has udp-timeout");
}

#[test]
fn values_of_the_wrong_type_or_size_are_refused() {
    refused("workers = 2", "workers = \"2\"", "workers", "from 1 to 64");
    refused("workers = 2", "workers = 65", "65", "from 1 to 64");
    refused("workers = 2", "workers = 0", "0", "from 1 to 64");
    refused("\"isp-b\"\nport", "7\nport", "name = 7", "put it in quotes");
    refused(
        "advertise = true",
        "advertise = 1",
        "1",
        "not true or false",
    );
    refused(
        "addresses = [\"10.1.0.1/24\"]",
        "addresses = [\"10.1.0.1/24\"]\nmtu = 10",
        "mtu",
        "from 576",
    );
}

#[test]
fn cpus_are_distinct_and_one_for_each_worker() {
    refused(
        "workers = 2",
        "workers = 2\ncpus = [1]",
        "cpus",
        "1 CPUs for 2 workers",
    );
    refused(
        "workers = 2",
        "workers = 2\ncpus = [1, 1]",
        "cpus",
        "stands twice",
    );
}

#[test]
fn names_stand_once() {
    refused(
        "name = \"isp-b\"\nport",
        "name = \"isp-a\"\nport",
        "isp-a",
        "uplink isp-a stands twice, first at sekisho.toml:",
    );
    refused(
        "name = \"green\"",
        "name = \"blue\"",
        "blue",
        "tenant blue stands twice",
    );
    refused(
        "name = \"db\"",
        "name = \"web\"",
        "web",
        "segment web stands twice",
    );
}

#[test]
fn a_name_is_plain_and_provider_is_taken() {
    refused(
        "name = \"green\"",
        "name = \"gr een\"",
        "gr een",
        "is not a name",
    );
    refused(
        "name = \"green\"",
        "name = \"provider\"",
        "provider",
        "another name",
    );
}

#[test]
fn kernel_interfaces_are_named_as_the_kernel_allows_and_used_once() {
    refused(
        "interface = \"eth-isp-a\"",
        "interface = \"eth/isp\"",
        "eth/isp",
        "1 to 15",
    );
    refused(
        "interface = \"eth-isp-a\"",
        "interface = \"eth-fabric\"",
        "eth-fabric",
        "another port's already",
    );
    refused(
        "interface = \"eth-isp-a\"",
        "interface = \"eth-isp-a\"\nnamespace = \"x\"",
        "namespace",
        "kind = \"tap\"",
    );
}

#[test]
fn an_uplink_needs_a_port_of_its_own_that_exists() {
    refused(
        "port = \"isp-b\"",
        "port = \"isp-c\"",
        "isp-c",
        "there is no port \"isp-c\"; there is fabric, isp-a, isp-b",
    );
    refused(
        "port = \"isp-b\"",
        "port = \"isp-a\"",
        "isp-a",
        "uplink on port isp-a stands twice",
    );
}

#[test]
fn an_uplink_fits_its_port() {
    refused(
        "addresses = [\"10.1.0.1/24\"]",
        "addresses = [\"10.1.0.1/24\"]\nmtu = 1601",
        "1601",
        "at most 1600",
    );
}

#[test]
fn connected_prefixes_of_uplinks_are_disjoint() {
    refused(
        "\"198.51.100.3/31\"",
        "\"198.51.100.3/29\"",
        "/29",
        "overlaps the connected prefix of another uplink",
    );
}

#[test]
fn the_underlay_address_is_ours() {
    refused(
        "address = \"10.1.0.1\"",
        "address = \"10.1.0.9\"",
        "10.1.0.9",
        "use 10.1.0.1",
    );
}

#[test]
fn the_underlay_address_may_be_a_loopbacks() {
    let loaded = parse_text(&edited(
        "address = \"10.1.0.1\"",
        "address = \"10.255.0.1\"",
    ))
    .unwrap();
    let mtu = loaded.config.tenants[0].segments[0].mtu;
    assert_eq!(mtu, 1450, "any uplink may carry it: the smallest counts");
}

#[test]
fn prefixes_have_no_host_bits() {
    refused(
        "prefix = \"10.9.0.0/16\"",
        "prefix = \"10.9.0.1/16\"",
        "10.9.0.1/16",
        "did you mean 10.9.0.0/16?",
    );
}

#[test]
fn a_route_leads_to_one_place_that_is_not_us() {
    refused(
        "next-hop = \"10.1.0.254\"",
        "next-hop = \"10.1.0.254\"\ndiscard = true",
        "[[route]]",
        "exactly one of",
    );
    refused(
        "next-hop = \"10.1.0.254\"",
        "distance = 5",
        "[[route]]",
        "exactly one of",
    );
    refused(
        "next-hop = \"10.1.0.254\"",
        "next-hop = \"10.1.0.1\"",
        "10.1.0.1",
        "own address",
    );
    refused(
        "next-hop = \"10.1.0.254\"",
        "next-hops = [\"10.1.0.2\", \"10.1.0.2\"]",
        "10.1.0.2",
        "stands twice",
    );
    refused(
        "next-hop = \"10.1.0.254\"",
        "next-hops = []",
        "[[route]]",
        "empty",
    );
}

#[test]
fn a_tenants_route_leads_into_the_provider_vrf_only() {
    refused(
        "vrf = \"provider\"",
        "vrf = \"green\"",
        "green",
        "only vrf = \"provider\"",
    );
    warned(
        "vrf = \"provider\"",
        "next-hop = \"192.0.2.9\"",
        "192.0.2.9",
        "in no segment",
    );
}

#[test]
fn the_same_route_stands_once() {
    refused(
        "[bgp]",
        "[[route]]\nprefix = \"10.9.0.0/16\"\ndiscard = true\n[bgp]",
        "10.9.0.0/16",
        "stands already",
    );
}

#[test]
fn the_router_id_is_not_zero() {
    refused(
        "router-id = \"10.1.0.1\"",
        "router-id = \"0.0.0.0\"",
        "0.0.0.0",
        "router ID",
    );
}

#[test]
fn hold_times_of_one_and_two_seconds_are_refused() {
    refused("hold-time = \"9s\"", "hold-time = \"2s\"", "2s", "RFC 4271");
    refused("hold-time = \"9s\"", "hold-time = \"1s\"", "1s", "RFC 4271");
    refused(
        "hold-time = \"9s\"",
        "hold-time = \"3500ms\"",
        "3500ms",
        "whole seconds",
    );
    assert!(parse_text(&edited("hold-time = \"9s\"", "hold-time = \"0s\"")).is_ok());
}

#[test]
fn a_neighbor_is_reachable_and_not_us() {
    refused(
        "address = \"198.51.100.0\"",
        "address = \"198.51.100.1\"",
        "198.51.100.1",
        "own address",
    );
    refused(
        "address = \"198.51.100.0\"",
        "address = \"192.0.2.77\"",
        "192.0.2.77",
        "local-address",
    );
    refused(
        "address = \"198.51.100.0\"",
        "address = \"198.51.100.0\"\nlocal-address = \"192.0.2.1\"",
        "192.0.2.1",
        "not the gateway's",
    );
    refused(
        "address = \"198.51.100.0\"",
        "address = \"198.51.100.2\"",
        "198.51.100.2",
        "stands twice",
    );
}

#[test]
fn neighbors_name_prefix_lists_that_exist() {
    refused(
        "import = \"from-isp\"",
        "import = \"form-isp\"",
        "form-isp",
        "there is from-isp, to-isp",
    );
    warned(
        "import = \"from-isp\"\n",
        "",
        "[[bgp.neighbor]]",
        "without \"import\" nothing is accepted",
    );
}

#[test]
fn prefix_list_lengths_are_ordered() {
    refused("ge = 24", "ge = 23", "ge = 23", "24 <= ge <= le <= 32");
    refused("le = 32 },\n  {", "le = 23 },\n  {", "le = 23", "<= le");
    refused("le = 32 },\n  {", "le = 33 },\n  {", "le = 33", "<= 32");
}

#[test]
fn a_vni_is_used_once_and_not_reserved() {
    refused("vni = 5002", "vni = 5001", "5001", "VNI 5001 stands twice");
    refused("vni = 5002", "vni = 0", "vni = 0", "from 1 to 16777214");
    refused(
        "vni = 5002",
        "vni = 16777215",
        "16777215",
        "from 1 to 16777214",
    );
}

#[test]
fn a_segment_needs_tunnels() {
    let text = edited("[underlay]\naddress = \"10.1.0.1\"\nvxlan-port = 4789", "");
    let errors = parse_text(&text).unwrap_err();
    assert_eq!(errors.problems.len(), 3, "one for each segment: {errors}");
    let message = &errors.problems[0].message;
    assert!(message.contains("write [underlay]"), "{errors}");
}

#[test]
fn segments_of_a_tenant_are_disjoint() {
    refused(
        "gateway = \"172.16.20.1/24\"",
        "gateway = \"172.16.10.129/25\"",
        "172.16.10.129/25",
        "overlaps 172.16.10.0/24",
    );
}

#[test]
fn a_segments_gateway_is_a_host_with_room_for_others() {
    refused(
        "gateway = \"172.16.20.1/24\"",
        "gateway = \"172.16.20.255/24\"",
        ".255",
        "broadcast address",
    );
    refused(
        "gateway = \"172.16.20.1/24\"",
        "gateway = \"172.16.20.1/32\"",
        "/32",
        "no room",
    );
}

#[test]
fn a_segment_larger_than_the_underlay_is_warned_about() {
    warned("vni = 5002", "vni = 5002\nmtu = 1551", "1551", "up to 1550");
}

#[test]
fn vteps_are_others_hosts() {
    refused(
        "vteps = [\"10.1.0.13\"]",
        "vteps = [\"10.1.0.1\"]",
        "10.1.0.1",
        "own VTEP",
    );
    refused(
        "vteps = [\"10.1.0.13\"]",
        "vteps = [\"224.0.0.1\"]",
        "224.0.0.1",
        "no host's",
    );
    refused(
        "vteps = [\"10.1.0.13\"]",
        "vteps = [\"10.1.0.13\", \"10.1.0.13\"]",
        "10.1.0.13",
        "stands twice",
    );
    warned(
        "vteps = [\"10.1.0.13\"]",
        "vteps = []",
        "[[tenant.segment]]",
        "no VTEP",
    );
}

#[test]
fn an_endpoint_lives_in_its_segment_behind_a_vtep_of_it() {
    refused(
        "address = \"172.16.10.11\"",
        "address = \"172.16.11.11\"",
        "172.16.11.11",
        "outside the segment's prefix 172.16.10.0/24",
    );
    refused(
        "address = \"172.16.10.11\"",
        "address = \"172.16.10.1\"",
        "172.16.10.1",
        "gateway",
    );
    refused(
        "address = \"172.16.10.11\"",
        "address = \"172.16.10.255\"",
        "172.16.10.255",
        "broadcast",
    );
    refused(
        "address = \"172.16.10.11\"",
        "address = \"172.16.10.12\"",
        "172.16.10.12",
        "stands twice",
    );
    refused(
        "vtep = \"10.1.0.11\"",
        "vtep = \"10.1.0.77\"",
        "10.1.0.77",
        "not among the segment's vteps",
    );
    refused(
        "02:00:00:00:10:11",
        "03:00:00:00:10:11",
        "03:00",
        "no station's address",
    );
}

#[test]
fn two_tenants_cannot_announce_the_same_addresses() {
    let text = edited("vni = 5001", "vni = 5001\nadvertise = true");
    let text = text.replacen("vni = 6001", "vni = 6001\nadvertise = true", 1);
    let errors = parse_text(&text).unwrap_err();
    assert_eq!(errors.problems.len(), 1, "{errors}");
    assert!(
        errors.problems[0]
            .message
            .contains("which tenant blue advertises"),
        "{errors}"
    );
    refused(
        "gateway = \"172.16.20.1/24\"",
        "gateway = \"10.1.0.5/24\"\nadvertise = true",
        "10.1.0.5/24",
        "connected prefix 10.1.0.0/24 of an uplink",
    );
}

#[test]
fn inside_addresses_are_the_tenants_endpoints() {
    refused(
        "inside = \"172.16.10.11\"",
        "inside = \"192.0.2.1\"",
        "192.0.2.1",
        "its segments are 172.16.10.0/24, 172.16.20.0/24",
    );
    refused(
        "inside = \"172.16.10.12:80\"",
        "inside = \"172.16.10.1:80\"",
        "172.16.10.1:80",
        "gateway",
    );
    refused(
        "inside = \"172.16.10.12:80\"",
        "inside = \"172.16.10.0:80\"",
        "172.16.10.0:80",
        "network address",
    );
    refused(
        "inside = \"172.16.10.12:80\"",
        "inside = \"172.16.10.12:0\"",
        "12:0",
        "port 0",
    );
}

#[test]
fn a_section_that_stands_once_is_not_split_over_documents() {
    let document = |name: &str, text: &str| Document {
        name: name.into(),
        text: text.into(),
    };
    let errors = parse(vec![
        document("sekisho.toml", "[nat]\n"),
        document("a.toml", "[nat]\n"),
    ])
    .unwrap_err();
    let problem = &errors.problems[0];
    assert_eq!(problem.location(), "a.toml:1:1");
    assert!(
        problem.message.contains("the first is at sekisho.toml:1"),
        "{errors}"
    );
}

#[test]
fn included_documents_are_tables_and_include_nothing() {
    let document = |name: &str, text: &str| Document {
        name: name.into(),
        text: text.into(),
    };
    let included = "include = [\"x\"]\nnat.udp-timeout = \"5m\"\n";
    let errors = parse(vec![document("r.toml", ""), document("a.toml", included)]).unwrap_err();
    let messages: Vec<&str> = errors.errors().map(|e| e.message.as_str()).collect();
    assert_eq!(messages.len(), 2, "{errors}");
    assert!(messages[0].contains("only the root"), "{errors}");
    assert!(messages[1].contains("begin with [nat]"), "{errors}");
}
