//! Outside addresses, pools, rules and limits of NAT.

use super::*;

#[test]
fn outside_addresses_have_one_owner() {
    refused(
        "outside = \"203.0.113.10\"",
        "outside = \"203.0.113.70\"",
        "203.0.113.70",
        "203.0.113.70 belongs to pool public already",
    );
    refused(
        "outside = \"203.0.113.10\"",
        "outside = \"198.51.100.1\"",
        "outside = \"198.51.100.1\"",
        "the uplink already",
    );
    refused(
        "\"203.0.113.5\"",
        "\"203.0.113.64/30\"",
        "203.0.113.64/30",
        "pool public already",
    );
    refused(
        "outside = \"203.0.113.20:53\"",
        "outside = \"203.0.113.20:8080\"\n#",
        "203.0.113.20:8080",
        "203.0.113.20:8080/tcp belongs to a port forward of tenant blue",
    );
}

#[test]
fn a_forwarded_address_cannot_float() {
    let text = edited("outside = \"203.0.113.10\"", "outside = \"203.0.113.20\"");
    let errors = parse_text(&text).unwrap_err();
    assert_eq!(errors.problems.len(), 2, "one for each forward: {errors}");
    let message = &errors.problems[0].message;
    assert!(
        message.contains("a floating IP of tenant blue already"),
        "{errors}"
    );
}

#[test]
fn port_forwards_share_an_address_by_protocol_and_port() {
    assert!(
        parse_text(&edited(
            "outside = \"203.0.113.20:53\"",
            "outside = \"203.0.113.20:8081\""
        ))
        .is_ok()
    );
}

#[test]
fn pool_addresses_and_ports_run_forwards() {
    refused(
        "203.0.113.100-203.0.113.110",
        "203.0.113.110-203.0.113.100",
        "113.110-",
        "runs backwards",
    );
    refused(
        "512-65535",
        "65535-1024",
        "65535-1024",
        "smaller port first",
    );
    refused("203.0.113.64/28", "224.0.0.0/28", "[[nat-pool]]", "unicast");
}

#[test]
fn short_time_outs_are_warned_about_and_zero_is_refused() {
    warned(
        "udp-timeout = \"5m\"",
        "udp-timeout = \"30s\"",
        "30s",
        "RFC 4787",
    );
    refused(
        "udp-timeout = \"5m\"",
        "udp-timeout = \"0s\"",
        "0s",
        "1s to 7d",
    );
    refused(
        "udp-timeout = \"5m\"",
        "udp-timeout = \"5\"",
        "\"5\"",
        "write one like 9s",
    );
}

#[test]
fn a_source_rule_says_what_its_sources_become() {
    refused(
        "pool = \"public\"",
        "pool = \"publik\"",
        "publik",
        "there is no NAT pool \"publik\"; there is public",
    );
    refused(
        "to = \"uplink\"",
        "to = \"public\"",
        "to =",
        "pool = \"public\"",
    );
    refused(
        "to = \"uplink\"",
        "to = \"uplink\"\npool = \"public\"",
        "[[tenant.snat]]",
        "either pool",
    );
    refused(
        "filtering = \"endpoint-independent\"",
        "filtering = \"open\"",
        "open",
        "write one of endpoint-independent, address-dependent, address-and-port-dependent",
    );
    refused(
        "max-sessions = 5000",
        "max-sessions = 0",
        "max-sessions",
        "1 to",
    );
    warned(
        "source = \"172.17.0.0/16\"",
        "source = \"172.16.4.0/24\"",
        "172.16.4.0/24",
        "never matches",
    );
}

#[test]
fn blocks_of_ports_have_sizes_of_powers_of_two_and_hosts_that_have_blocks() {
    refused(
        "block-size = 256",
        "block-size = 200",
        "block-size = 200",
        "a block has 64, 128, 256, 512, 1024, 2048 or 4096 ports",
    );
    refused(
        "block-size = 256\nblocks-per-host = 4",
        "allocation = \"ports\"\nblock-size = 256",
        "block-size = 256",
        "hosts have no blocks with allocation = \"ports\"; leave out one of the two",
    );
    refused(
        "block-size = 256\nblocks-per-host = 4",
        "allocation = \"random\"",
        "allocation = \"random\"",
        "\"random\" is not known here; write one of blocks, ports",
    );
}

#[test]
fn well_known_ports_go_to_hosts_that_use_such_ports() {
    refused(
        "preserve-class = true",
        "preserve-class = false",
        "ports = \"512-65535\"",
        "ports below 1024 are handed out only with preserve-class = true, to hosts that use such \
         ports; let the range begin at 1024",
    );
    warned(
        "ports = \"512-65535\"",
        "ports = \"1024-65535\"",
        "preserve-class = true",
        "the pool has no port below 1024 to preserve the class with; write ports = \"1-65535\"",
    );
}

#[test]
fn a_shorter_time_out_and_its_ports_need_one_another() {
    refused(
        "short-udp-ports = [53, 123]",
        "",
        "short-udp-timeout = \"20s\"",
        "a shorter time-out is for some well-known ports; write short-udp-ports = [53]",
    );
    refused(
        "short-udp-timeout = \"20s\"",
        "",
        "short-udp-ports = [53, 123]",
        "these ports need their time-out; write short-udp-timeout = \"20s\"",
    );
    refused(
        "short-udp-timeout = \"20s\"",
        "short-udp-timeout = \"10m\"",
        "short-udp-timeout = \"10m\"",
        "this is longer than udp-timeout; write a shorter one",
    );
    refused(
        "port-quarantine = \"60s\"",
        "port-quarantine = \"2h\"",
        "port-quarantine = \"2h\"",
        "a port is kept back for 0s to 1h",
    );
}

#[test]
fn nobody_reserves_more_than_there_is() {
    refused(
        "reserved-sessions = 1000",
        "reserved-sessions = 6000",
        "reserved-sessions = 6000",
        "6000 sessions are reserved for a tenant that may have 5000; raise max-sessions or lower this",
    );
    let large = edited("reserved-sessions = 1000", "reserved-sessions = 1000001");
    let large = large.replace("max-sessions = 5000\n", "");
    let errors = parse_text(&large).unwrap_err();
    assert!(errors.problems[0].message.starts_with(
        "the tenants up to here reserve 1000001 sessions, and the gateway holds 1000000"
    ));
}

#[test]
fn endpoint_dependent_mapping_has_one_filter() {
    refused(
        "mapping = \"endpoint-dependent\"",
        "mapping = \"endpoint-dependent\"\nfiltering = \"address-dependent\"",
        "filtering = \"address-dependent\"",
        "endpoint-dependent mapping lets in exactly whom the host has sent to; write \
         \"address-and-port-dependent\" or leave it out",
    );
}
