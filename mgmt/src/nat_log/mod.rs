//! The file of the translation log: one JSON object a line, and how it is searched.

mod who;

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::who::{Answer, Search, Within};

/// A line of the file. What an event has not is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, in UTC to the millisecond.
    pub time: Time,
    /// What happened.
    pub event: Event,
    /// Whose address it is inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// `tcp`, `udp` or `icmp`; blocks are for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The tenant's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside_address: Option<Ipv4Addr>,
    /// Its port or ICMP identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside_port: Option<u16>,
    /// What the Internet sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside_address: Option<Ipv4Addr>,
    /// Its port or ICMP identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside_port: Option<u16>,
    /// The first port of a block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_port: Option<u16>,
    /// Its last port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_port: Option<u16>,
    /// The pool the outside address is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The uplink whose own address it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<String>,
    /// The other side of a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_address: Option<Ipv4Addr>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<u16>,
}

impl Record {
    /// A record that says when and what only.
    pub const fn new(time: Time, event: Event) -> Self {
        Self {
            time,
            event,
            tenant: None,
            protocol: None,
            inside_address: None,
            inside_port: None,
            outside_address: None,
            outside_port: None,
            first_port: None,
            last_port: None,
            pool: None,
            uplink: None,
            remote_address: None,
            remote_port: None,
        }
    }

    /// The line, without its end.
    pub fn to_json(&self) -> String {
        // Nothing in a record can fail to be JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The gateway was started: whatever was before has ended.
    Start,
    /// The gateway was stopped: everything has ended.
    Stop,
    /// A session began.
    SessionCreated,
    /// A session ended.
    SessionDeleted,
    /// A mapping began.
    MappingCreated,
    /// A mapping ended.
    MappingDeleted,
    /// A host got a block of ports.
    BlockAllocated,
    /// A host has given a block of ports back.
    BlockReleased,
    /// A pool or uplink had no port for a host.
    NatPortsExhausted,
    /// A host has as many ports as it may have.
    NatHostLimit,
    /// A tenant has as many sessions as it may have.
    NatTenantLimit,
    /// A tenant opens sessions faster than it may.
    NatTenantRate,
    /// A tenant has as many outside ports as it may have.
    NatTenantPorts,
    /// A host has as many sessions as it may have.
    NatHostSessions,
    /// A host opens sessions faster than it may.
    NatHostRate,
}

/// A moment, written as RFC 3339 with milliseconds, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(Timestamp);

impl Time {
    /// From milliseconds since 1970, UTC. Beyond the year 9999 it is that.
    pub fn from_millis(millis: i64) -> Self {
        Self(Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX))
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_line_that_holds_what_there_is_and_nothing_else() {
        let record = Record {
            tenant: Some("blue".into()),
            protocol: Some("udp".into()),
            inside_address: Some(Ipv4Addr::new(172, 16, 10, 11)),
            inside_port: Some(4000),
            outside_address: Some(Ipv4Addr::new(203, 0, 113, 7)),
            outside_port: Some(40123),
            pool: Some("public".into()),
            ..Record::new(Time::from_millis(1_795_608_300_120), Event::MappingCreated)
        };
        let line = serde_json::to_string(&record).unwrap();
        let expected = "{\"time\":\"2026-11-25T12:05:00.120Z\",\"event\":\"mapping-created\",\
            \"tenant\":\"blue\",\"protocol\":\"udp\",\"inside_address\":\"172.16.10.11\",\
            \"inside_port\":4000,\"outside_address\":\"203.0.113.7\",\"outside_port\":40123,\
            \"pool\":\"public\"}";
        assert_eq!(line, expected);
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }

    #[test]
    fn times_beyond_any_calendar_are_written_too() {
        let first = Time::from_millis(0).to_string();
        assert_eq!(first, "1970-01-01T00:00:00.000Z");
        assert!(Time::from_millis(i64::MAX).to_string().starts_with("9999-"));
    }
}
