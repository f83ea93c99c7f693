//! The translation log.

use super::super::model::LogLevel;
use super::*;

const LOG: &str = "level = \"blocks\"\nfile = \"/var/log/sekisho/nat.log\"\n\
                   collectors = [\"192.0.2.9:4739\"]\n";

#[test]
fn the_log_and_what_a_tenant_says_of_it_become_the_model() {
    let config = parse_text(GOOD).unwrap().config;
    let log = &config.nat_log;
    assert_eq!((log.level, log.destinations), (LogLevel::Blocks, false));
    assert_eq!(
        log.file.as_deref(),
        Some(Path::new("/var/log/sekisho/nat.log"))
    );
    assert_eq!(log.collectors, ["192.0.2.9:4739".parse().unwrap()]);
    assert_eq!(log.template_interval, Duration::from_secs(60));
    let of_tenants: Vec<_> = config.tenants.iter().map(|tenant| tenant.nat_log).collect();
    assert_eq!(of_tenants, [None, Some(LogLevel::Sessions)]);

    let text = edited("level = \"blocks\"\n", "");
    assert_eq!(
        parse_text(&text).unwrap().config.nat_log.level,
        LogLevel::Mappings
    );
}

#[test]
fn a_log_that_could_answer_nothing_is_refused() {
    refused(LOG, "", "[nat-log]", "the log goes nowhere; write file =");
    refused(
        "nat-log = \"sessions\"",
        "nat-log = \"session\"",
        "session",
        "write one of none, blocks, mappings, sessions",
    );
    let no_log = format!("[nat-log]\n{LOG}");
    refused(
        &no_log,
        "",
        "nat-log = ",
        "there is no log; write [nat-log]",
    );
}

#[test]
fn destinations_are_of_sessions_only() {
    let loaded = parse_text(&edited("level = \"blocks\"", "destinations = true"));
    assert!(loaded.unwrap().config.nat_log.destinations, "of green");
    let text = edited("level = \"blocks\"", "destinations = true");
    let text = text.replace("nat-log = \"sessions\"\n", "");
    let errors = parse_text(&text).unwrap_err();
    assert!(
        errors.to_string().contains("write level = \"sessions\""),
        "{errors}"
    );
}

#[test]
fn collectors_are_told_apart_and_reachable_from_the_source() {
    let collectors = "collectors = [\"192.0.2.9:4739\"]";
    refused(
        collectors,
        "collectors = [\"192.0.2.9\"]",
        "192.0.2.9",
        "192.0.2.9:4739",
    );
    refused(
        collectors,
        "collectors = [\"192.0.2.9:4739\", \"192.0.2.9:4739\"]",
        "collectors",
        "stands twice",
    );
    let source = format!("{collectors}\nsource = \"2001:db8::1\"");
    refused(collectors, &source, "source", "both are IPv4, or both IPv6");
    refused(
        collectors,
        "source = \"10.1.0.1\"",
        "source",
        "only collectors are sent to",
    );
    let interval = format!("{collectors}\ntemplate-interval = \"10ms\"");
    refused(collectors, &interval, "template-interval", "every 1s to 1d");
}
