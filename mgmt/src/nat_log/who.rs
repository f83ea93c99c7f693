//! Who had an outside address and port at a time.

use std::net::Ipv4Addr;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::Serialize;

use super::{Event, Record, Time};

/// From one moment up to, not including, another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    from: Time,
    to: Time,
}

impl Within {
    /// Any time.
    pub const EVER: Self = Self {
        from: Time(Timestamp::MIN),
        to: Time(Timestamp::MAX),
    };
}

impl FromStr for Within {
    type Err = String;

    /// `2026-11-25T12:05:00.120Z`, or less of it: what is not said makes it longer. In UTC.
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!("{text:?} is not a time; write one in UTC, like 2026-11-25T12:05 or 2026-11-25")
        };
        let bare = text.trim_end_matches('Z');
        let (from, span) = match bare.len() {
            10 => {
                let date: Date = bare.parse().map_err(|_| refuse())?;
                (date.at(0, 0, 0, 0), Span::new().days(1))
            }
            length => {
                let span = match length {
                    16 => Span::new().minutes(1),
                    19 => Span::new().seconds(1),
                    _ => Span::new().milliseconds(1),
                };
                (bare.parse::<DateTime>().map_err(|_| refuse())?, span)
            }
        };
        let moment = |local: DateTime| {
            let timestamp = TimeZone::UTC.to_timestamp(local);
            timestamp.map(Time).map_err(|_| refuse())
        };
        Ok(Self {
            from: moment(from)?,
            to: moment(from.checked_add(span).map_err(|_| refuse())?)?,
        })
    }
}

/// Somebody who had the address and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Since when; not known if it began before the log does.
    pub since: Option<Time>,
    /// Until when; not known if it has not ended.
    pub until: Option<Time>,
    /// The tenant.
    pub tenant: String,
    /// Its host.
    pub inside_address: Ipv4Addr,
    /// The host's port; of a block it is not known.
    pub inside_port: Option<u16>,
    /// `session`, `mapping` or `block`.
    pub by: &'static str,
    /// The other side, where sessions are logged with it.
    pub remote_address: Option<Ipv4Addr>,
    /// Its port.
    pub remote_port: Option<u16>,
}

/// Reads records in their order and keeps who had an address and port.
#[derive(Debug)]
pub struct Search {
    address: Ipv4Addr,
    port: u16,
    protocol: String,
    within: Within,
    /// Those that have not ended.
    open: Vec<Answer>,
    done: Vec<Answer>,
}

impl Search {
    /// A search that has read nothing.
    pub fn new(address: Ipv4Addr, port: u16, protocol: &str, within: Within) -> Self {
        Self {
            address,
            port,
            protocol: protocol.to_owned(),
            within,
            open: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Reads the next record.
    pub fn read(&mut self, record: &Record) {
        let (by, begins) = match record.event {
            Event::SessionCreated => ("session", true),
            Event::SessionDeleted => ("session", false),
            Event::MappingCreated => ("mapping", true),
            Event::MappingDeleted => ("mapping", false),
            Event::BlockAllocated => ("block", true),
            Event::BlockReleased => ("block", false),
            Event::Start | Event::Stop => return self.end_all(record.time),
            _ => return,
        };
        let Some(answer) = self.about(record, by) else {
            return;
        };
        if begins {
            let since = Some(record.time);
            self.open.push(Answer { since, ..answer });
        } else {
            self.end(record.time, answer);
        }
    }

    /// Who had it in the time that was asked for. Sessions and mappings tell more than blocks: where
    /// one of them answers, the block it lies in is left out.
    pub fn answers(mut self) -> Vec<Answer> {
        let mut found = std::mem::take(&mut self.done);
        found.append(&mut self.open);
        found.retain(|answer| {
            answer.since.is_none_or(|since| since < self.within.to)
                && answer.until.is_none_or(|until| until >= self.within.from)
        });
        let exact = |answer: &Answer| answer.by != "block";
        if self.within != Within::EVER && found.iter().any(exact) {
            found.retain(exact);
        }
        found.sort_by_key(|answer| (answer.since, answer.until));
        found
    }

    /// What a record says of the address and port, if anything.
    fn about(&self, record: &Record, by: &'static str) -> Option<Answer> {
        let covers = match (record.first_port, record.last_port) {
            (Some(first), Some(last)) => (first..=last).contains(&self.port),
            _ => {
                record.outside_port == Some(self.port)
                    && record.protocol.as_deref() == Some(&self.protocol)
            }
        };
        if record.outside_address != Some(self.address) || !covers {
            return None;
        }
        Some(Answer {
            since: None,
            until: None,
            tenant: record.tenant.clone().unwrap_or_default(),
            inside_address: record.inside_address?,
            inside_port: record.inside_port,
            by,
            remote_address: record.remote_address,
            remote_port: record.remote_port,
        })
    }

    fn end(&mut self, time: Time, answer: Answer) {
        let same = |open: &Answer| {
            (open.by, open.inside_address, open.inside_port)
                == (answer.by, answer.inside_address, answer.inside_port)
                && (open.remote_address, open.remote_port)
                    == (answer.remote_address, answer.remote_port)
        };
        let begun = self.open.iter().position(same);
        let mut ended = begun.map_or(answer, |place| self.open.swap_remove(place));
        ended.until = Some(time);
        self.done.push(ended);
    }

    fn end_all(&mut self, time: Time) {
        for mut answer in self.open.drain(..) {
            answer.until = Some(time);
            self.done.push(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

    fn read(lines: &str, port: u16, at: &str) -> Vec<Answer> {
        let within = match at {
            "" => Within::EVER,
            _ => at.parse().unwrap(),
        };
        let mut search = Search::new(ADDRESS, port, "udp", within);
        for line in lines.lines() {
            search.read(&record(line));
        }
        search.answers()
    }

    /// `TIME EVENT TENANT HOST PORT OUTSIDE` with OUTSIDE a port or a block.
    fn record(line: &str) -> Record {
        let words: Vec<&str> = line.split_whitespace().collect();
        let time = format!("\"2026-11-25T{}Z\"", words[0]);
        let time = serde_json::from_str(&time).unwrap();
        let event = serde_json::from_str(&format!("\"{}\"", words[1])).unwrap();
        let mut record = Record::new(time, event);
        if words.len() > 2 {
            record.tenant = Some(words[2].into());
            record.inside_address = Some(words[3].parse().unwrap());
            record.outside_address = Some(ADDRESS);
            if let Some((first, last)) = words[5].split_once('-') {
                record.first_port = Some(first.parse().unwrap());
                record.last_port = Some(last.parse().unwrap());
            } else {
                record.protocol = Some("udp".into());
                record.inside_port = Some(words[4].parse().unwrap());
                record.outside_port = Some(words[5].parse().unwrap());
            }
        }
        record
    }

    const LOG: &str = "\
        10:00:00 start
        12:00:00 mapping-created blue 172.16.10.11 4000 40123
        12:04:30 mapping-deleted blue 172.16.10.11 4000 40123
        12:05:20 mapping-created green 172.16.10.12 4000 40123
        12:05:25 mapping-created blue 172.16.10.13 4000 40124
        13:00:00 start
        14:00:00 block-allocated blue 172.16.10.20 0 40064-40127
        14:10:00 mapping-created green 172.16.10.21 7 40123
        14:20:00 mapping-deleted green 172.16.10.21 7 40123
        15:00:00 block-released blue 172.16.10.20 0 40064-40127";

    fn who(port: u16, at: &str) -> Vec<String> {
        let answers = read(LOG, port, at);
        let host = |answer: &Answer| format!("{} {}", answer.tenant, answer.inside_address);
        answers.iter().map(host).collect()
    }

    #[test]
    fn the_answer_is_whoever_had_the_port_at_that_time() {
        assert_eq!(who(40123, "2026-11-25T12:02"), ["blue 172.16.10.11"]);
        assert_eq!(who(40123, "2026-11-25T12:05"), ["green 172.16.10.12"]);
        assert_eq!(who(40123, "2026-11-25T12:05:10"), [""; 0]);
    }

    #[test]
    fn a_restart_ends_everything() {
        assert_eq!(who(40123, "2026-11-25T12:59:59"), ["green 172.16.10.12"]);
        assert_eq!(who(40123, "2026-11-25T13:30"), [""; 0]);
    }

    #[test]
    fn a_mapping_tells_more_than_the_block_it_lies_in() {
        assert_eq!(who(40100, "2026-11-25T14:15"), ["blue 172.16.10.20"]);
        assert_eq!(who(40123, "2026-11-25T14:15"), ["green 172.16.10.21"]);
        assert_eq!(who(40123, "2026-11-25T14:30"), ["blue 172.16.10.20"]);
        assert_eq!(who(40123, "2026-11-25T15:30"), [""; 0]);
    }

    #[test]
    fn what_began_before_the_log_does_is_found_by_its_end() {
        let log = "12:04:30 mapping-deleted blue 172.16.10.11 4000 40123";
        let answers = read(log, 40123, "2026-11-25T12:00");
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].since, None);
        assert_eq!(
            answers[0].until.unwrap().to_string(),
            "2026-11-25T12:04:30.000Z"
        );
    }

    #[test]
    fn another_protocol_is_somebody_else() {
        let within: Within = "2026-11-25T12:02".parse().unwrap();
        let mut search = Search::new(ADDRESS, 40123, "tcp", within);
        for line in LOG.lines() {
            search.read(&record(line));
        }
        assert_eq!(search.answers(), []);
    }

    #[test]
    fn a_time_is_as_long_as_what_is_not_said_of_it() {
        let length = |text: &str| {
            let within: Within = text.parse().unwrap();
            within.to.0.duration_since(within.from.0).as_millis()
        };
        assert_eq!(length("2026-11-25"), 86_400_000);
        assert_eq!(length("2026-11-25T12:05"), 60_000);
        assert_eq!(length("2026-11-25T12:05:07Z"), 1000);
        assert_eq!(length("2026-11-25T12:05:07.120Z"), 1);
        for text in ["", "12:05", "yesterday", "2026-13-01"] {
            assert!(text.parse::<Within>().is_err(), "{text}");
        }
    }
}
