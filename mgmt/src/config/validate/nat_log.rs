//! The translation log.

use std::time::Duration;

use crate::config::model::{LogLevel, NatLog};
use crate::config::problem::Problems;
use crate::config::raw::{self, Raw};

use super::or;

pub(super) fn log(raw: &Raw, p: &mut Problems<'_>) -> NatLog {
    let of_tenants = raw
        .tenants
        .iter()
        .filter_map(|tenant| tenant.nat_log.as_ref());
    let Some(log) = &raw.nat_log else {
        for level in of_tenants {
            let message = "there is no log; write [nat-log] with a file, journal or collectors";
            p.error(&level.at, message);
        }
        return NatLog::default();
    };
    let level = or(&log.level, LogLevel::Mappings);
    let tenants: Vec<LogLevel> = of_tenants.map(|level| level.value).collect();
    check_outputs(log, level, &tenants, p);
    if let Some(destinations) = &log.destinations
        && destinations.value
        && level != LogLevel::Sessions
        && !tenants.contains(&LogLevel::Sessions)
    {
        let message = "only sessions have destinations; write level = \"sessions\"";
        p.error(&destinations.at, message);
    }
    let collectors = log.collectors.iter().flatten();
    NatLog {
        level,
        destinations: or(&log.destinations, false),
        file: log.file.as_ref().map(|file| file.value.clone()),
        journal: or(&log.journal, false),
        collectors: collectors.map(|collector| collector.value).collect(),
        source: log.source.as_ref().map(|source| source.value),
        template_interval: or(&log.template_interval, Duration::from_secs(60)),
    }
}

/// Most collectors: what is logged is sent to each of them.
const COLLECTORS: usize = 8;

fn check_outputs(log: &raw::NatLog, level: LogLevel, tenants: &[LogLevel], p: &mut Problems<'_>) {
    let collectors = log.collectors.as_deref().unwrap_or_default();
    let has_journal = log.journal.as_ref().is_some_and(|journal| journal.value);
    let logs = level != LogLevel::None || tenants.iter().any(|&level| level != LogLevel::None);
    if logs && log.file.is_none() && !has_journal && collectors.is_empty() {
        p.error(
            &log.at,
            "the log goes nowhere; write file = \"/var/log/sekisho/nat.log\", journal = true or \
             collectors = [\"192.0.2.9:4739\"]",
        );
    }
    if let Some(extra) = collectors.get(COLLECTORS) {
        p.error(
            &extra.at,
            format!("at most {COLLECTORS} collectors are sent to"),
        );
    }
    for (index, collector) in collectors.iter().enumerate() {
        let twice = collectors[..index]
            .iter()
            .any(|other| other.value == collector.value);
        if twice {
            p.error(&collector.at, format!("{} stands twice", collector.value));
        }
        if let Some(source) = &log.source
            && source.value.is_ipv4() != collector.value.is_ipv4()
        {
            let message = format!(
                "{} cannot send to {}: both are IPv4, or both IPv6",
                source.value, collector.value
            );
            p.error(&source.at, message);
        }
    }
    if let Some(source) = &log.source
        && collectors.is_empty()
    {
        let message = "only collectors are sent to; write collectors = [\"192.0.2.9:4739\"]";
        p.error(&source.at, message);
    }
    if let Some(interval) = &log.template_interval
        && !(Duration::from_secs(1)..=Duration::from_secs(86400)).contains(&interval.value)
    {
        p.error(&interval.at, "templates are repeated every 1s to 1d");
    }
}
