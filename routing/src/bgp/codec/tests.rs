use std::net::Ipv4Addr;

use bytes::Bytes;
use netgauze_bgp_pkt as oracle;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::prelude::*;

use super::*;
use crate::bgp::attributes::{AsPath, Origin};

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff; 16];
    frame.extend(u16::try_from(HEADER + body.len()).unwrap().to_be_bytes());
    frame.push(kind);
    frame.extend(body);
    frame
}

/// The body of an UPDATE of these sections.
fn body(withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let mut body = u16::try_from(withdrawn.len())
        .unwrap()
        .to_be_bytes()
        .to_vec();
    body.extend(withdrawn);
    body.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    body.extend(attributes);
    body.extend(nlri);
    body
}

fn decode(body: &[u8]) -> Result<Update, (u8, u8)> {
    let message = Decoder::established(false, true).decode(&frame(2, body));
    match message.map_err(|refusal| (refusal.code, refusal.subcode))? {
        Message::Update(update) => Ok(update),
        other => panic!("{other:?}"),
    }
}

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];
const MED: &[u8] = &[0x80, 4, 4, 0, 0, 0, 7];
const NLRI: &[u8] = &[8, 10];
const MP_REACH_V4: &[u8] = &[0x80, 14, 11, 0, 1, 1, 4, 192, 0, 2, 1, 0, 8, 10];

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn a_plain_update_announces_and_withdraws() {
    let update = decode(&body(
        &[16, 172, 16],
        &[ORIGIN, AS_PATH, NEXT_HOP, MED],
        NLRI,
    ))
    .unwrap();
    assert_eq!(update.withdrawn, [prefix("172.16.0.0/16")]);
    let [(attributes, prefixes)] = update.announced.as_slice() else {
        panic!("{update:?}");
    };
    assert_eq!(prefixes, &[prefix("10.0.0.0/8")]);
    assert_eq!(attributes.as_path, AsPath::new([65001]));
    assert_eq!(attributes.med, Some(7));
    assert_eq!(update.malformed, None);
}

#[test]
fn ipv4_in_multiprotocol_attributes_is_the_same() {
    let update = decode(&body(&[], &[ORIGIN, AS_PATH, MP_REACH_V4], &[])).unwrap();
    assert_eq!(update.announced[0].1, [prefix("10.0.0.0/8")]);
    assert_eq!(update.announced[0].0.next_hop, Ipv4Addr::new(192, 0, 2, 1));
}

#[test]
fn b34_end_of_rib_is_recognised_and_an_emptied_update_is_not_one() {
    assert_eq!(
        decode(&body(&[], &[], &[])).unwrap().end_of_rib,
        Some(Family::Ipv4Unicast)
    );
    let ipv6 = decode(&body(&[], &[&[0x80, 15, 3, 0, 2, 1]], &[])).unwrap();
    assert_eq!(ipv6.end_of_rib, Some(Family::Ipv6Unicast));
    assert_eq!(decode(&body(&[8, 10], &[], &[])).unwrap().end_of_rib, None);
    for family in [Family::Ipv4Unicast, Family::Ipv6Unicast] {
        let message = Decoder::new(false)
            .decode(&Encoder::end_of_rib(family))
            .unwrap();
        let Message::Update(update) = message else {
            panic!("not an UPDATE");
        };
        assert_eq!(update.end_of_rib, Some(family));
    }
}

#[test]
fn b37_malformed_attributes_withdraw_and_keep_the_session() {
    let cases: &[(&str, &[&[u8]])] = &[
        ("no ORIGIN", &[AS_PATH, NEXT_HOP]),
        ("no AS_PATH", &[ORIGIN, NEXT_HOP]),
        ("no NEXT_HOP", &[ORIGIN, AS_PATH]),
        ("ORIGIN 3", &[&[0x40, 1, 1, 3], AS_PATH, NEXT_HOP]),
        (
            "ORIGIN of 2 octets",
            &[&[0x40, 1, 2, 0, 0], AS_PATH, NEXT_HOP],
        ),
        ("ORIGIN optional", &[&[0xc0, 1, 1, 0], AS_PATH, NEXT_HOP]),
        (
            "AS_PATH overruns",
            &[ORIGIN, &[0x40, 2, 6, 2, 2, 0, 0, 0xfd, 0xe9], NEXT_HOP],
        ),
        (
            "AS_PATH empty segment",
            &[ORIGIN, &[0x40, 2, 2, 2, 0], NEXT_HOP],
        ),
        (
            "AS_PATH segment type 9",
            &[ORIGIN, &[0x40, 2, 6, 9, 1, 0, 0, 0xfd, 0xe9], NEXT_HOP],
        ),
        (
            "AS_SET",
            &[ORIGIN, &[0x40, 2, 6, 1, 1, 0, 0, 0xfd, 0xe9], NEXT_HOP],
        ),
        (
            "NEXT_HOP of 5 octets",
            &[ORIGIN, AS_PATH, &[0x40, 3, 5, 192, 0, 2, 1, 0]],
        ),
        (
            "NEXT_HOP 0.0.0.0",
            &[ORIGIN, AS_PATH, &[0x40, 3, 4, 0, 0, 0, 0]],
        ),
        (
            "NEXT_HOP multicast",
            &[ORIGIN, AS_PATH, &[0x40, 3, 4, 224, 0, 0, 1]],
        ),
        (
            "MED of 3 octets",
            &[ORIGIN, AS_PATH, NEXT_HOP, &[0x80, 4, 3, 0, 0, 7]],
        ),
        (
            "COMMUNITIES of 3 octets",
            &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 8, 3, 0, 0, 7]],
        ),
        (
            "COMMUNITIES empty",
            &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 8, 0]],
        ),
        (
            "large of 11 octets",
            &[
                ORIGIN,
                AS_PATH,
                NEXT_HOP,
                &[0xc0, 32, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ],
        ),
        (
            "unknown well-known",
            &[ORIGIN, AS_PATH, NEXT_HOP, &[0x40, 200, 1, 0]],
        ),
        (
            "overrun of the list",
            &[ORIGIN, AS_PATH, NEXT_HOP, &[0x80, 4, 40, 0, 0, 0, 7]],
        ),
    ];
    for (name, attributes) in cases {
        let update = decode(&body(&[], attributes, NLRI)).unwrap_or_else(|code| {
            panic!("{name}: reset with {code:?}");
        });
        assert_eq!(update.withdrawn, [prefix("10.0.0.0/8")], "{name}");
        assert!(
            update.announced.is_empty() && update.malformed.is_some(),
            "{name}"
        );
    }
}

#[test]
fn b37_attributes_without_weight_are_discarded() {
    let cases: &[(&str, &[u8])] = &[
        ("ATOMIC_AGGREGATE of 1 octet", &[0x40, 6, 1, 0]),
        ("AGGREGATOR of 5 octets", &[0xc0, 7, 5, 0, 0, 0, 1, 1]),
        ("LOCAL_PREF from another AS", &[0x40, 5, 4, 0, 0, 0, 200]),
        ("ORIGINATOR_ID from another AS", &[0x80, 9, 4, 1, 1, 1, 1]),
        ("a second MED", MED),
        ("unknown optional", &[0xc0, 201, 2, 1, 2]),
    ];
    for (name, attribute) in cases {
        let update = decode(&body(
            &[],
            &[ORIGIN, AS_PATH, NEXT_HOP, MED, attribute],
            NLRI,
        ));
        let update = update.unwrap_or_else(|code| panic!("{name}: reset with {code:?}"));
        let [(attributes, _)] = update.announced.as_slice() else {
            panic!("{name}: {update:?}");
        };
        assert_eq!(
            (attributes.local_pref, attributes.originator_id),
            (None, None),
            "{name}"
        );
        assert_eq!(attributes.med, Some(7), "{name}");
    }
}

#[test]
fn b37_what_hides_the_prefixes_resets_the_session() {
    let cases: &[(&str, Vec<u8>, (u8, u8))] = &[
        (
            "prefix of 33 bits",
            body(&[], &[ORIGIN, AS_PATH, NEXT_HOP], &[33, 1, 2, 3, 4, 5]),
            (3, 10),
        ),
        (
            "prefix cut short",
            body(&[], &[ORIGIN, AS_PATH, NEXT_HOP], &[24, 10]),
            (3, 10),
        ),
        (
            "withdrawn prefix of 40 bits",
            body(&[40, 1, 2, 3, 4, 5], &[], &[]),
            (3, 10),
        ),
        (
            "MP_REACH twice",
            body(&[], &[ORIGIN, AS_PATH, MP_REACH_V4, MP_REACH_V4], &[]),
            (3, 1),
        ),
        (
            "MP_REACH with a next hop of 3 octets",
            body(
                &[],
                &[
                    ORIGIN,
                    AS_PATH,
                    &[0x80, 14, 10, 0, 1, 1, 3, 192, 0, 2, 0, 8, 10],
                ],
                &[],
            ),
            (3, 9),
        ),
        ("withdrawn length overruns", vec![0, 9, 0, 0], (3, 1)),
        ("attribute length overruns", vec![0, 0, 0, 9, 0], (3, 1)),
    ];
    for (name, body, expected) in cases {
        assert_eq!(decode(body).unwrap_err(), *expected, "{name}");
    }
}

#[test]
fn header_errors_are_told_with_their_data() {
    let refusal = |octets: &[u8]| {
        let refusal = frame_length(octets).unwrap_err();
        (refusal.code, refusal.subcode, refusal.data)
    };
    let mut unsynchronised = frame(4, &[]);
    unsynchronised[3] = 0;
    assert_eq!(refusal(&unsynchronised), (1, 1, vec![]));
    assert_eq!(refusal(&frame(4, &[0])), (1, 2, vec![0, 20]));
    assert_eq!(refusal(&frame(2, &[0; 4078])), (1, 2, vec![0x10, 0x01]));
    assert_eq!(refusal(&frame(1, &[4; 9])), (1, 2, vec![0, 28]));
    assert_eq!(refusal(&frame(9, &[])), (1, 3, vec![9]));
    assert_eq!(frame_length(&frame(4, &[])[..18]), Ok(None));
    assert_eq!(frame_length(&frame(4, &[])), Ok(Some(19)));
}

#[test]
fn b07_another_version_is_told_ours() {
    let body = [3, 0xfd, 0xe9, 0, 90, 10, 0, 0, 1, 0];
    let refusal = Decoder::new(false).decode(&frame(1, &body)).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.subcode, refusal.data),
        (2, 1, vec![0, 4])
    );
}

#[test]
fn b08_b09_an_open_tells_its_as_and_capabilities() {
    // Multiprotocol IPv4, four-octet AS 4200000000, and code 250 nobody knows.
    let capabilities = [1, 4, 0, 1, 0, 1, 65, 4, 0xfa, 0x56, 0xea, 0x00, 250, 1, 9];
    let mut body = vec![4, 0x5b, 0xa0, 0, 90, 10, 0, 0, 1, 17, 2, 15];
    body.extend(capabilities);
    let Message::Open(open) = Decoder::new(false).decode(&frame(1, &body)).unwrap() else {
        panic!("not an OPEN");
    };
    assert_eq!(open.asn, 4_200_000_000);
    assert_eq!(open.capabilities.families, [Family::Ipv4Unicast]);
    assert_eq!(open.capabilities.others, [250]);
}

#[test]
fn an_open_reads_as_it_was_written() {
    let asn = Asn::new(4_200_000_000).unwrap();
    let open = Open {
        asn: asn.value(),
        hold_time: 90,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        capabilities: Capabilities {
            families: vec![Family::Ipv4Unicast],
            multiprotocol: true,
            four_octet_as: true,
            route_refresh: true,
            end_of_rib: Some(true),
            others: Vec::new(),
        },
    };
    let message = Encoder::open(&open, asn);
    assert_eq!(message[20..22], [0x5b, 0xa0], "AS_TRANS");
    assert_eq!(
        Decoder::new(false).decode(&message),
        Ok(Message::Open(open))
    );
}

#[test]
fn keepalive_and_notification_are_what_rfc_4271_draws() {
    let keepalive: Bytes = frame(4, &[]).into();
    assert_eq!(Encoder::keepalive(), keepalive);
    let notification = Notification::new(2, 6, vec![1, 2]);
    assert_eq!(
        Encoder::notification(&notification),
        frame(3, &[2, 6, 1, 2])
    );
    let long = Notification::new(1, 1, vec![0; 5000]);
    assert_eq!(Encoder::notification(&long).len(), MAX_MESSAGE);
}

/// What an independent decoder makes of an UPDATE: withdrawn and announced prefixes in words.
fn oracle_reads(message: &[u8], four_octet_as: bool) -> (Vec<String>, Vec<String>) {
    let mut context = BgpParsingContext::default();
    context.set_asn4(four_octet_as);
    let mut reader = SliceReader::new(message);
    let message =
        oracle::BgpMessage::parse(&mut reader, &mut context).expect("the oracle reads it");
    let oracle::BgpMessage::Update(update) = message else {
        panic!("not an UPDATE");
    };
    let withdrawn = update
        .withdraw_routes()
        .iter()
        .map(|n| n.network().address().to_string());
    let announced = update
        .nlri()
        .iter()
        .map(|n| n.network().address().to_string());
    (withdrawn.collect(), announced.collect())
}

proptest! {
    #[test]
    fn an_independent_decoder_reads_what_we_write(
        // Below class D: the oracle refuses multicast.
        bits in prop::collection::btree_set((0u32..0xe000_0000, 0u8..=32), 1..200),
        asns in prop::collection::vec(1u32.., 0..300),
        med: Option<u32>,
        communities in prop::collection::vec(any::<u32>(), 0..5),
    ) {
        let prefixes: std::collections::BTreeSet<Prefix> = bits
            .into_iter()
            .map(|(bits, len)| Prefix::truncated(Ipv4Addr::from(bits).into(), len))
            .collect();
        let mut attributes =
            PathAttributes::new(Origin::Egp, AsPath::new(asns), Ipv4Addr::new(192, 0, 2, 1).into());
        attributes.med = med;
        attributes.communities = communities.into();
        let packed = Encoder::new(true).announce(&attributes, &prefixes).unwrap();
        prop_assert_eq!(packed.count, prefixes.len());
        let expected: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
        prop_assert_eq!(oracle_reads(&packed.message, true), (vec![], expected.clone()));
        let withdrawal = Encoder::new(true).withdraw(&prefixes);
        prop_assert_eq!(oracle_reads(&withdrawal.message, true), (expected, vec![]));

        let Ok(Message::Update(update)) = Decoder::established(true, true).decode(&packed.message) else {
            panic!("not an UPDATE");
        };
        prop_assert_eq!(update.announced, [(attributes, prefixes.into_iter().collect())]);
    }

    #[test]
    fn no_octets_panic_the_decoder(kind in 1u8..6, body in prop::collection::vec(any::<u8>(), 0..200), internal: bool, four: bool) {
        let _ = Decoder::established(internal, four).decode(&frame(kind, &body));
    }

    #[test]
    fn no_bent_update_panics_the_decoder(at in 0usize..60, with: u8) {
        let mut body = body(&[16, 172, 16], &[ORIGIN, AS_PATH, NEXT_HOP, MED, MP_REACH_V4], NLRI);
        if let Some(octet) = body.get_mut(at) {
            *octet = with;
        }
        let _ = Decoder::established(false, true).decode(&frame(2, &body));
    }
}
