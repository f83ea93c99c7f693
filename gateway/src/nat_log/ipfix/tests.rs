//! What a collector that knows RFC 7011 alone makes of the messages.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddrV4;

use proptest::prelude::*;
use sekisho_nat::PoolId;
use sekisho_types::{InterfaceId, IpProtocol, VrfId};

use super::*;

/// A decoder that learns templates from the wire, after the text of RFC 7011.
#[derive(Default)]
struct Reader {
    /// By set: number and length of each field.
    templates: HashMap<u16, Vec<(u16, u16)>>,
    /// By set and field.
    records: Vec<(u16, BTreeMap<u16, Vec<u8>>)>,
    /// The sequence number that must come next.
    next: u32,
    messages: usize,
    events: u64,
}

fn word(octets: &[u8]) -> u16 {
    u16::from_be_bytes([octets[0], octets[1]])
}

fn number(octets: &[u8]) -> u64 {
    octets
        .iter()
        .fold(0, |sum, &octet| sum << 8 | u64::from(octet))
}

impl Sink for Reader {
    fn send(&mut self, message: &[u8], events: u64) {
        assert!(message.len() <= 1400);
        assert_eq!(word(message), 10);
        assert_eq!(usize::from(word(&message[2..])), message.len());
        assert_eq!(number(&message[4..8]), 1_795_608_300);
        assert_eq!(number(&message[8..12]), u64::from(self.next));
        let before = self.records.len();
        let mut rest = &message[16..];
        while !rest.is_empty() {
            let (set, length) = (word(rest), usize::from(word(&rest[2..])));
            let body = &rest[4..length];
            match set {
                2 => self.learn(body, false),
                3 => self.learn(body, true),
                _ => self.read(set, body),
            }
            rest = &rest[length..];
        }
        self.next += (self.records.len() - before) as u32;
        self.messages += 1;
        self.events += events;
    }
}

impl Reader {
    fn learn(&mut self, mut body: &[u8], options: bool) {
        while !body.is_empty() {
            let (id, count) = (word(body), usize::from(word(&body[2..])));
            assert!(id >= 256);
            body = &body[4..];
            if options {
                assert_eq!(word(body), 1, "scope fields");
                body = &body[2..];
            }
            let (fields, rest) = body.split_at(4 * count);
            let fields = fields
                .chunks(4)
                .map(|field| (word(field), word(&field[2..])));
            self.templates.insert(id, fields.collect());
            body = rest;
        }
    }

    fn read(&mut self, set: u16, mut body: &[u8]) {
        let template = &self.templates[&set];
        while !body.is_empty() {
            let mut record = BTreeMap::new();
            for &(field, length) in template {
                let length = match length {
                    65535 => {
                        let length = body[0];
                        body = &body[1..];
                        length.into()
                    }
                    length => usize::from(length),
                };
                let (value, rest) = body.split_at(length);
                record.insert(field, value.to_vec());
                body = rest;
            }
            self.records.push((set, record));
        }
    }

    fn field(&self, record: usize, field: u16) -> u64 {
        number(&self.records[record].1[&field])
    }
}

const SECONDS: u32 = 1_795_608_300;

fn tuple(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

fn event(kind: LogKind) -> Timed {
    Timed {
        millis: 1_795_608_300_120,
        event: LogEvent {
            kind,
            protocol: IpProtocol::UDP,
            vrf: VrfId::new(7),
            from: LogSource::Pool(PoolId::new(3)),
            inside: tuple("172.16.10.11:4000"),
            outside: tuple("203.0.113.7:40123"),
            last_port: 0,
            remote: None,
        },
    }
}

fn export(events: &[Timed]) -> Reader {
    let mut reader = Reader::default();
    let mut exporter = Exporter::default();
    exporter.describe(SECONDS, &Names::default(), &mut reader);
    for event in events {
        exporter.add(event, SECONDS, &mut reader);
    }
    exporter.flush(SECONDS, &mut reader);
    reader
}

#[test]
fn a_mapping_names_host_outside_port_and_time_and_no_destination() {
    let reader = export(&[
        event(LogKind::MappingCreated),
        event(LogKind::MappingDeleted),
    ]);
    assert_eq!(reader.records.len(), 2);
    let values: Vec<(u16, u64)> = reader.records[0]
        .1
        .iter()
        .map(|(&field, value)| (field, number(value)))
        .collect();
    let expected = [
        (4, 17),
        (7, 4000),
        (8, 0xac10_0a0b),
        (225, 0xcb00_7107),
        (227, 40123),
        (230, 8),
        (234, 7),
        (323, 1_795_608_300_120),
    ];
    assert_eq!(values, expected);
    assert_eq!(reader.field(1, 230), 9);
}

#[test]
fn a_session_has_its_destination_only_if_it_was_told() {
    let mut told = event(LogKind::SessionCreated);
    told.event.remote = Some(tuple("192.0.2.80:53"));
    let reader = export(&[told, event(LogKind::SessionDeleted)]);
    assert_eq!(
        (reader.field(0, 12), reader.field(0, 11)),
        (0xc000_0250, 53)
    );
    assert_eq!((reader.field(0, 230), reader.field(1, 230)), (4, 5));
    assert!(!reader.records[1].1.contains_key(&12));
}

#[test]
fn a_block_has_its_range() {
    let mut block = event(LogKind::BlockAllocated);
    block.event.outside = tuple("203.0.113.7:40064");
    block.event.last_port = 40127;
    let reader = export(&[block]);
    let range = (reader.field(0, 361), reader.field(0, 362));
    assert_eq!((range, reader.field(0, 230)), ((40064, 40127), 16));
}

#[test]
fn what_was_refused_has_the_event_of_rfc_8158() {
    let mut uplink = event(LogKind::Refused(Refusal::PortsExhausted));
    uplink.event.from = LogSource::Uplink(InterfaceId::new(1));
    uplink.event.outside = tuple("198.51.100.1:0");
    let reader = export(&[
        event(LogKind::Refused(Refusal::PortsExhausted)),
        uplink,
        event(LogKind::Refused(Refusal::HostLimit)),
        event(LogKind::Refused(Refusal::TenantLimit)),
        event(LogKind::Refused(Refusal::TenantRate)),
    ]);
    assert_eq!(reader.records.len(), 4);
    assert_eq!((reader.field(0, 230), reader.field(0, 283)), (3, 3));
    assert_eq!(
        (reader.field(1, 230), reader.field(1, 225)),
        (12, 0xc633_6401)
    );
    let quota = |record| (reader.field(record, 230), reader.field(record, 466));
    assert_eq!([quota(2), quota(3)], [(13, 3), (13, 1)]);
}

#[test]
fn numbers_are_told_with_their_names() {
    let tenants = (0..200).map(|vrf| (vrf, format!("tenant-{vrf}").parse().unwrap()));
    let names = Names {
        tenants: tenants.collect(),
        pools: [(3, "public".parse().unwrap())].into(),
        ..Names::default()
    };
    let mut reader = Reader::default();
    Exporter::default().describe(SECONDS, &names, &mut reader);
    assert_eq!(reader.records.len(), 201);
    assert!(reader.messages > 1);
    assert_eq!(reader.field(7, 234), 7);
    assert_eq!(reader.records[7].1[&236], b"tenant-7");
    assert_eq!(reader.records[200].1[&284], b"public");
    assert_eq!(reader.events, 0);
}

proptest! {
    /// Lengths, sequence numbers and the count of events are checked by the reader.
    #[test]
    fn whatever_is_added_arrives_in_order(kinds in proptest::collection::vec(0..4u8, 0..300)) {
        let events: Vec<Timed> = (0..)
            .zip(&kinds)
            .map(|(millis, kind)| {
                let mut timed = event(match kind {
                    0 => LogKind::SessionCreated,
                    1 => LogKind::MappingDeleted,
                    2 => LogKind::BlockReleased,
                    _ => LogKind::Refused(Refusal::HostLimit),
                });
                timed.millis = millis;
                timed.event.remote = (*kind == 0).then(|| tuple("192.0.2.80:53"));
                timed
            })
            .collect();
        let reader = export(&events);
        prop_assert_eq!(reader.records.len(), events.len());
        prop_assert_eq!(reader.events, events.len() as u64);
        for record in 0..events.len() {
            prop_assert_eq!(reader.field(record, 323), record as u64);
        }
    }
}
