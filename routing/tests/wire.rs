//! Sessions with neighbours that say exactly what a test wants, and between two of us.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::{Duration, Instant};

use sekisho_routing::{BgpFilter, SessionState};
use support::raw::{Raw, open};
use support::{Gateway, asn, in_namespace, seconds, within};

const ADDRESSES: &[&str] = &["198.51.100.1", "198.51.100.2", "198.51.100.10"];
const A: &str = "198.51.100.1";
const B: &str = "198.51.100.2";
const US: &str = "198.51.100.10";

const ID_A: [u8; 4] = [198, 51, 100, 1];
const ID_B: [u8; 4] = [198, 51, 100, 2];

/// A gateway with passive sessions to A (AS 65001) and B (AS 65002).
async fn gateway() -> Gateway {
    let mut gateway = Gateway::start(US).await;
    gateway.neighbor(A, 65001, |n| n.passive = true);
    gateway.neighbor(B, 65002, |n| n.passive = true);
    gateway.configure().await;
    gateway
}

/// Both neighbours, up and past their End-of-RIB.
async fn both() -> (Raw, Raw) {
    let (mut a, mut b) = (Raw::connect(A, US).await, Raw::connect(B, US).await);
    a.establish(65001, 90, ID_A).await;
    b.establish(65002, 90, ID_B).await;
    // Ours follows once both have sent theirs.
    a.send(2, &[0, 0, 0, 0]).await;
    b.send(2, &[0, 0, 0, 0]).await;
    for neighbor in [&mut a, &mut b] {
        assert_eq!(neighbor.receive_type(2).await, [0, 0, 0, 0], "End-of-RIB");
    }
    (a, b)
}

/// An UPDATE that announces 10.0.0.0/8 from AS 65001 with this ORIGIN.
fn announcement(origin: u8) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 18];
    body.extend([0x40, 1, 1, origin, 0x40, 2, 4, 2, 1, 0xfd, 0xe9]);
    body.extend([0x40, 3, 4, 198, 51, 100, 1, 8, 10]);
    body
}

#[test]
fn unacceptable_opens_are_refused_on_the_wire() {
    in_namespace(ADDRESSES, || async {
        let _gateway = gateway().await;
        let version_3 = [&[3], &open(65001, 90, ID_A)[1..]].concat();
        let cases = [
            ("b04 wrong AS", open(65009, 90, ID_A), vec![2, 2]),
            ("b05 identifier 0", open(65001, 90, [0; 4]), vec![2, 3]),
            ("b06 hold time 2", open(65001, 2, ID_A), vec![2, 6]),
            ("b07 version 3", version_3, vec![2, 1, 0, 4]),
        ];
        for (name, body, expected) in cases {
            let mut neighbor = Raw::connect(A, US).await;
            neighbor.send(1, &body).await;
            assert_eq!(neighbor.receive_type(3).await, expected, "{name}");
            assert_eq!(neighbor.receive().await, None, "{name}: closed");
        }
        let mut neighbor = Raw::connect(A, US).await;
        neighbor.send_octets(&[0; 19]).await;
        assert_eq!(neighbor.receive_type(3).await, [1, 1]);
    });
}

#[test]
fn strangers_are_not_let_in() {
    in_namespace(&["198.51.100.10", "198.51.100.77"], || async {
        let gateway = gateway().await;
        let mut stranger = Raw::connect("198.51.100.77", US).await;
        assert_eq!(stranger.receive().await, None);
        let summary = gateway.handle.bgp_summary().await.unwrap().unwrap();
        assert_eq!(summary.refused_connections, 1);
    });
}

#[test]
fn b37_a_malformed_update_withdraws_its_routes_and_keeps_the_session() {
    in_namespace(ADDRESSES, || async {
        let gateway = gateway().await;
        let (mut a, _b) = both().await;
        a.send(2, &announcement(0)).await;
        gateway.forwards_over("10.0.0.0/8", &[A], seconds(2)).await;
        a.send(2, &announcement(7)).await;
        gateway.forwards_over("10.0.0.0/8", &[], seconds(2)).await;
        let view = gateway.view(A).await;
        assert_eq!(view.state, SessionState::Established);
        assert_eq!((view.treated_as_withdraw, view.established), (1, 1));
        a.send(2, &announcement(0)).await;
        gateway.forwards_over("10.0.0.0/8", &[A], seconds(2)).await;
    });
}

#[test]
fn what_one_upstream_tells_is_not_told_to_another() {
    in_namespace(ADDRESSES, || async {
        let gateway = gateway().await;
        let (mut a, mut b) = both().await;
        a.send(2, &announcement(0)).await;
        gateway.forwards_over("10.0.0.0/8", &[A], seconds(2)).await;
        let routes = gateway.handle.bgp_routes(BgpFilter::All).await.unwrap();
        assert!(routes[0].announced_to.is_empty());
        gateway.originate(&["203.0.113.1/32"]).await;
        let told = b.receive_type(2).await;
        assert_eq!(
            told[told.len() - 5..],
            [32, 203, 0, 113, 1],
            "only what we originate"
        );
    });
}

#[test]
fn b33_announcements_and_withdrawals_are_on_the_wire_within_200_milliseconds() {
    in_namespace(ADDRESSES, || async {
        let gateway = gateway().await;
        let (mut a, _b) = both().await;
        for _ in 0..10 {
            let start = Instant::now();
            gateway.originate(&["203.0.113.1/32"]).await;
            let told = a.receive_type(2).await;
            assert_eq!(told[told.len() - 5..], [32, 203, 0, 113, 1]);
            gateway.originate(&[]).await;
            assert_eq!(a.receive_type(2).await, [0, 5, 32, 203, 0, 113, 1, 0, 0]);
            assert!(
                start.elapsed() < Duration::from_millis(200),
                "{:?}",
                start.elapsed()
            );
        }
    });
}

#[test]
fn a_neighbour_that_does_not_read_holds_nobody_back() {
    in_namespace(ADDRESSES, || async {
        let gateway = gateway().await;
        let (_a, mut b) = both().await;
        let many: Vec<String> = (0..40_000u32)
            .map(|n| format!("100.{}.{}.{}/32", 64 + (n >> 16), n >> 8 & 255, n & 255))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        // B reads as fast as it can and tells when it saw the last announcement.
        let reader = tokio::spawn(async move {
            let mut messages = 0;
            loop {
                let told = b.receive_type(2).await;
                messages += 1;
                if told.ends_with(&[32, 203, 0, 113, 1]) {
                    // B stays connected until its session was looked at.
                    return (messages, b);
                }
            }
        });
        within(seconds(40), "A's connection is full", async || {
            gateway.originate(&many).await;
            gateway.originate(&[]).await;
            (gateway.view(A).await.out_queue > 60).then_some(())
        })
        .await;
        gateway.originate(&["203.0.113.1/32"]).await;
        let told = tokio::time::timeout(seconds(5), reader).await;
        let (messages, _b) = told.expect("B was held back").unwrap();
        assert!(messages > 1);
        assert_eq!(gateway.view(B).await.state, SessionState::Established);
    });
}

#[test]
fn b03_two_speakers_that_connect_at_once_have_one_session() {
    in_namespace(ADDRESSES, || async {
        let mut ours = Gateway::start(US).await;
        ours.neighbor(A, 65001, |_| {});
        let mut theirs = Gateway::start(A).await;
        theirs.config.bgp.as_mut().unwrap().asn = asn(65001);
        theirs.neighbor(US, support::OUR_AS, |_| {});
        theirs.originate(&["192.0.2.0/24"]).await;
        // The first attempts of both meet a closed port or each other; the next meet each other.
        ours.configure().await;
        theirs.configure().await;
        ours.established(A, seconds(10)).await;
        theirs.established(US, seconds(10)).await;
        ours.forwards_over("192.0.2.0/24", &[A], seconds(10)).await;
        let (here, there) = (ours.view(A).await, theirs.view(US).await);
        assert_eq!((here.established, there.established), (1, 1));
        assert_eq!(here.local, there.remote);
    });
}

#[test]
fn b13_a_neighbour_shut_down_by_configuration_is_told_why() {
    in_namespace(ADDRESSES, || async {
        let mut gateway = gateway().await;
        let (mut a, _b) = both().await;
        let neighbor = &mut gateway.config.bgp.as_mut().unwrap().neighbors[0];
        neighbor.shutdown = true;
        neighbor.shutdown_message = Some("moving".to_owned());
        gateway.configure().await;
        assert_eq!(a.receive_type(3).await, b"\x06\x02\x06moving");
        assert_eq!(a.receive().await, None);
        assert_eq!(gateway.view(A).await.state, SessionState::Idle);
        assert_eq!(gateway.view(B).await.state, SessionState::Established);
    });
}

#[test]
fn a_changed_neighbour_restarts_and_the_others_do_not() {
    in_namespace(ADDRESSES, || async {
        let mut gateway = gateway().await;
        let (mut a, _b) = both().await;
        gateway.config.bgp.as_mut().unwrap().neighbors[0].hold_time = seconds(30);
        gateway.configure().await;
        assert_eq!(a.receive_type(3).await, [6, 6]);
        gateway.config.bgp.as_mut().unwrap().neighbors.remove(0);
        gateway.configure().await;
        assert!(
            gateway
                .handle
                .bgp_neighbors(A.parse().ok())
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(gateway.view(B).await.established, 1);
        assert_eq!(gateway.view(B).await.state, SessionState::Established);
    });
}
