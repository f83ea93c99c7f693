//! The log as IPFIX messages (RFC 7011) with the events of RFC 8158.

use std::io;

use sekisho_nat::{LogEvent, LogKind, LogSource, Refusal};

use super::{Names, Timed};

/// Largest message, so that it passes every path unfragmented (RFC 7011 section 10.3.3).
pub(super) const MAX_MESSAGE: usize = 1400;

const VERSION: u16 = 10;
const HEADER: usize = 16;
/// The gateway is one observation domain.
const DOMAIN: u32 = 1;
const TEMPLATE_SET: u16 = 2;
const OPTIONS_TEMPLATE_SET: u16 = 3;
/// The length of a field that says its own.
const VARIABLE: u16 = 65535;

/// An information element: its number in IANA's registry and its octets.
type Field = (u16, u16);

const PROTOCOL: Field = (4, 1);
const SOURCE_PORT: Field = (7, 2);
const SOURCE_ADDRESS: Field = (8, 4);
const DESTINATION_PORT: Field = (11, 2);
const DESTINATION_ADDRESS: Field = (12, 4);
const POST_NAT_SOURCE_ADDRESS: Field = (225, 4);
const POST_NAPT_SOURCE_PORT: Field = (227, 2);
const NAT_EVENT: Field = (230, 1);
const INGRESS_VRF: Field = (234, 4);
const VRF_NAME: Field = (236, VARIABLE);
const POOL_ID: Field = (283, 4);
const POOL_NAME: Field = (284, VARIABLE);
const OBSERVED_MILLIS: Field = (323, 8);
const PORT_RANGE_START: Field = (361, 2);
const PORT_RANGE_END: Field = (362, 2);
const QUOTA_EXCEEDED: Field = (466, 4);

/// Sessions without destination, and mappings.
const TRANSLATION: u16 = 256;
/// Sessions with destination.
const SESSION: u16 = 257;
const BLOCK: u16 = 258;
const POOL_EXHAUSTED: u16 = 259;
const PORTS_EXHAUSTED: u16 = 260;
const QUOTA: u16 = 261;
const VRF_NAMES: u16 = 262;
const POOL_NAMES: u16 = 263;

const TEMPLATES: [(u16, &[Field]); 6] = [
    (
        TRANSLATION,
        &[
            OBSERVED_MILLIS,
            NAT_EVENT,
            INGRESS_VRF,
            SOURCE_ADDRESS,
            POST_NAT_SOURCE_ADDRESS,
            PROTOCOL,
            SOURCE_PORT,
            POST_NAPT_SOURCE_PORT,
        ],
    ),
    (
        SESSION,
        &[
            OBSERVED_MILLIS,
            NAT_EVENT,
            INGRESS_VRF,
            SOURCE_ADDRESS,
            POST_NAT_SOURCE_ADDRESS,
            PROTOCOL,
            SOURCE_PORT,
            POST_NAPT_SOURCE_PORT,
            DESTINATION_ADDRESS,
            DESTINATION_PORT,
        ],
    ),
    (
        BLOCK,
        &[
            OBSERVED_MILLIS,
            NAT_EVENT,
            INGRESS_VRF,
            SOURCE_ADDRESS,
            POST_NAT_SOURCE_ADDRESS,
            PORT_RANGE_START,
            PORT_RANGE_END,
        ],
    ),
    (
        POOL_EXHAUSTED,
        &[OBSERVED_MILLIS, NAT_EVENT, INGRESS_VRF, POOL_ID],
    ),
    (
        PORTS_EXHAUSTED,
        &[
            OBSERVED_MILLIS,
            NAT_EVENT,
            INGRESS_VRF,
            POST_NAT_SOURCE_ADDRESS,
            PROTOCOL,
        ],
    ),
    (
        QUOTA,
        &[
            OBSERVED_MILLIS,
            NAT_EVENT,
            INGRESS_VRF,
            QUOTA_EXCEEDED,
            SOURCE_ADDRESS,
        ],
    ),
];

/// What a number is called: the number is the scope.
const NAME_TEMPLATES: [(u16, [Field; 2]); 2] = [
    (VRF_NAMES, [INGRESS_VRF, VRF_NAME]),
    (POOL_NAMES, [POOL_ID, POOL_NAME]),
];

/// Makes the messages of one transport session.
#[derive(Debug, Default)]
pub(super) struct Exporter {
    /// Data records in messages sent, or lost on their way.
    sequence: u32,
    message: Vec<u8>,
    /// The set under way: its number and where it begins.
    set: Option<(u16, usize)>,
    /// Data records in the message.
    records: u32,
    /// Of these, events.
    events: u64,
}

/// Where messages go: the octets, and how many events they hold.
pub(super) trait Sink {
    fn send(&mut self, message: &[u8], events: u64);
}

impl Exporter {
    /// Tells what the records mean, and what numbers are called. `seconds` is the time of export.
    pub(super) fn describe(&mut self, seconds: u32, names: &Names, sink: &mut impl Sink) {
        self.flush(seconds, sink);
        for (id, fields) in TEMPLATES {
            let mut record = words(&[id, fields.len() as u16]);
            record.extend(
                fields
                    .iter()
                    .flat_map(|&(number, length)| words(&[number, length])),
            );
            self.put(TEMPLATE_SET, &record, seconds, sink);
        }
        for (id, fields) in NAME_TEMPLATES {
            let mut record = words(&[id, fields.len() as u16, 1]);
            record.extend(
                fields
                    .iter()
                    .flat_map(|&(number, length)| words(&[number, length])),
            );
            self.put(OPTIONS_TEMPLATE_SET, &record, seconds, sink);
        }
        for (set, known) in [(VRF_NAMES, &names.tenants), (POOL_NAMES, &names.pools)] {
            for (number, name) in known {
                // A name has 63 octets at most.
                let name = name.as_str().as_bytes();
                let mut record = u32::from(*number).to_be_bytes().to_vec();
                record.push(name.len() as u8);
                record.extend_from_slice(name);
                self.put(set, &record, seconds, sink);
                self.records += 1;
            }
        }
        self.flush(seconds, sink);
    }

    /// Adds an event. RFC 8158 has none for a tenant that opens sessions too fast.
    pub(super) fn add(&mut self, timed: &Timed, seconds: u32, sink: &mut impl Sink) {
        let Some((set, record)) = data(timed) else {
            return;
        };
        self.put(set, &record, seconds, sink);
        self.records += 1;
        self.events += 1;
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self, seconds: u32, sink: &mut impl Sink) {
        self.end_set();
        if self.message.is_empty() {
            return;
        }
        let length = self.message.len() as u16;
        self.message[2..4].copy_from_slice(&length.to_be_bytes());
        self.message[4..8].copy_from_slice(&seconds.to_be_bytes());
        self.message[8..12].copy_from_slice(&self.sequence.to_be_bytes());
        sink.send(&self.message, self.events);
        // RFC 7011 section 3.1: records of templates do not count.
        self.sequence = self.sequence.wrapping_add(self.records);
        self.message.clear();
        (self.records, self.events) = (0, 0);
    }

    /// Adds a record to its set; what is full is sent before.
    fn put(&mut self, set: u16, record: &[u8], seconds: u32, sink: &mut impl Sink) {
        let fits = |needed: usize, message: &[u8]| message.len() + needed <= MAX_MESSAGE;
        if !fits(4 + record.len(), &self.message) {
            self.flush(seconds, sink);
        }
        if self.message.is_empty() {
            self.message.extend(words(&[VERSION, 0]));
            self.message.resize(HEADER, 0);
            self.message[12..16].copy_from_slice(&DOMAIN.to_be_bytes());
        }
        if self.set.is_none_or(|(current, _)| current != set) {
            self.end_set();
            self.set = Some((set, self.message.len()));
            self.message.extend(words(&[set, 0]));
        }
        self.message.extend_from_slice(record);
    }

    fn end_set(&mut self) {
        if let Some((_, start)) = self.set.take() {
            let length = (self.message.len() - start) as u16;
            self.message[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// The set of an event, and its record.
fn data(timed: &Timed) -> Option<(u16, Vec<u8>)> {
    let Timed { millis, event } = timed;
    let number = nat_event(event)?;
    let mut record = millis.to_be_bytes().to_vec();
    record.push(number);
    record.extend(u32::from(event.vrf.value()).to_be_bytes());
    let inside = event.inside.ip().octets();
    let outside = event.outside.ip().octets();
    let set = match (event.kind, event.from) {
        (LogKind::BlockAllocated | LogKind::BlockReleased, _) => {
            record.extend(inside);
            record.extend(outside);
            record.extend(words(&[event.outside.port(), event.last_port]));
            BLOCK
        }
        (LogKind::Refused(Refusal::PortsExhausted), LogSource::Pool(pool)) => {
            record.extend(u32::from(pool.value()).to_be_bytes());
            POOL_EXHAUSTED
        }
        (LogKind::Refused(Refusal::PortsExhausted), _) => {
            record.extend(outside);
            record.push(event.protocol.0);
            PORTS_EXHAUSTED
        }
        (LogKind::Refused(refusal), _) => {
            record.extend(quota(refusal).to_be_bytes());
            record.extend(inside);
            QUOTA
        }
        _ => {
            record.extend(inside);
            record.extend(outside);
            record.push(event.protocol.0);
            record.extend(words(&[event.inside.port(), event.outside.port()]));
            let remote = event.remote;
            if let Some(remote) = remote {
                record.extend(remote.ip().octets());
                record.extend(words(&[remote.port()]));
            }
            if remote.is_some() {
                SESSION
            } else {
                TRANSLATION
            }
        }
    };
    Some((set, record))
}

/// natEvent (RFC 8158 section 4.3).
fn nat_event(event: &LogEvent) -> Option<u8> {
    Some(match event.kind {
        LogKind::SessionCreated => 4,
        LogKind::SessionDeleted => 5,
        LogKind::MappingCreated => 8,
        LogKind::MappingDeleted => 9,
        LogKind::BlockAllocated => 16,
        LogKind::BlockReleased => 17,
        LogKind::Refused(Refusal::PortsExhausted) => match event.from {
            LogSource::Pool(_) => 3,
            _ => 12,
        },
        LogKind::Refused(Refusal::TenantLimit | Refusal::HostLimit) => 13,
        LogKind::Refused(_) => return None,
    })
}

/// natQuotaExceededEvent: most sessions, or most entries of a user.
const fn quota(refusal: Refusal) -> u32 {
    match refusal {
        Refusal::HostLimit => 3,
        _ => 1,
    }
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// What became of events that were to be written.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) written: u64,
    pub(super) failed: u64,
    pub(super) error: Option<io::Error>,
}

#[cfg(test)]
mod tests;
