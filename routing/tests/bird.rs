//! Sessions with BIRD.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

use support::bird::Bird;
use support::{Gateway, in_namespace, seconds, within};

const ADDRESSES: &[&str] = &["198.51.100.1", "198.51.100.10"];
const A: &str = "198.51.100.1";
const US: &str = "198.51.100.10";

const STATIC: &str = "protocol static { ipv4; route 192.0.2.0/24 blackhole; }";

#[test]
fn b02_a_passive_bird_is_connected_to_and_routes_flow_both_ways() {
    in_namespace(ADDRESSES, || async {
        let bird = Bird::start(A, 65001, "passive on; hold time 9;", STATIC);
        let mut gateway = Gateway::start(US).await;
        gateway.neighbor(A, 65001, |_| {});
        gateway.originate(&["203.0.113.10/32"]).await;
        within(seconds(10), "BIRD answers", async || {
            bird.birdc("show status")
                .contains("up and running")
                .then_some(())
        })
        .await;
        gateway.configure().await;
        gateway.established(A, seconds(10)).await;
        assert_eq!(gateway.view(A).await.hold_time, Some(seconds(9)));
        gateway
            .forwards_over("192.0.2.0/24", &[A], seconds(5))
            .await;
        let there = async || bird.has("203.0.113.10/32").then_some(());
        within(seconds(5), "announced", there).await;
        within(seconds(5), "b34 End-of-RIB both ways", async || {
            let view = gateway.view(A).await;
            (view.end_of_rib_received && view.end_of_rib_sent).then_some(())
        })
        .await;
        gateway.originate(&[]).await;
        let gone = async || (!bird.has("203.0.113.10/32")).then_some(());
        within(seconds(2), "withdrawn", gone).await;
    });
}

#[test]
fn b04_a_bird_of_another_as_is_refused() {
    in_namespace(ADDRESSES, || async {
        let _bird = Bird::start(A, 65009, "", STATIC);
        let mut gateway = Gateway::start(US).await;
        gateway.neighbor(A, 65001, |_| {});
        gateway.configure().await;
        let (sent, _) = within(seconds(15), "our refusal", async || {
            gateway.view(A).await.last_notification_sent
        })
        .await;
        assert_eq!((sent.code, sent.subcode), (2, 2));
        assert!(gateway.forwards("192.0.2.0/24").is_empty());
    });
}
