//! Sessions with FRR's bgpd.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use sekisho_routing::{Options, SessionState};
use support::frr::Frr;
use support::{Gateway, in_namespace, seconds, within};

const ADDRESSES: &[&str] = &["198.51.100.1", "198.51.100.2", "198.51.100.10"];
const A: &str = "198.51.100.1";
const B: &str = "198.51.100.2";
const US: &str = "198.51.100.10";

const DEFAULT_ROUTE: &str = "address-family ipv4 unicast\nnetwork 0.0.0.0/0\nexit-address-family";

async fn ready(frr: &Frr) {
    within(seconds(10), "bgpd answers", async || {
        (!frr.neighbor().is_null()).then_some(())
    })
    .await;
}

#[test]
fn b01_a_session_comes_up_within_5_seconds_with_the_lesser_hold_time() {
    in_namespace(ADDRESSES, || async {
        let frr = Frr::start(A, 65001, DEFAULT_ROUTE);
        let mut gateway = Gateway::start(US).await;
        gateway.neighbor(A, 65001, |n| n.hold_time = seconds(30));
        ready(&frr).await;
        gateway.configure().await;
        gateway.established(A, seconds(5)).await;
        let view = gateway.view(A).await;
        assert_eq!(view.hold_time, Some(seconds(9)));
        assert_eq!(view.keepalive_interval, Some(seconds(3)));
        assert_eq!(view.remote_router_id, Some(A.parse().unwrap()));
        assert!(
            view.capabilities_received
                .contains(&"four-octet-as".to_owned()),
            "{view:?}"
        );
        gateway.forwards_over("0.0.0.0/0", &[A], seconds(5)).await;
        let neighbor = frr.neighbor();
        assert_eq!(neighbor["bgpState"], "Established");
        assert_eq!(neighbor["bgpTimerHoldTimeMsecs"], 9000);
    });
}

#[test]
fn b02_a_passive_neighbour_is_connected_to_and_a_passive_gateway_waits() {
    in_namespace(ADDRESSES, || async {
        let passive = Frr::start(A, 65001, "neighbor 198.51.100.10 passive");
        let active = Frr::start(B, 65002, "");
        let mut gateway = Gateway::start(US).await;
        gateway.neighbor(A, 65001, |_| {});
        gateway.neighbor(B, 65002, |n| n.passive = true);
        ready(&passive).await;
        ready(&active).await;
        gateway.configure().await;
        gateway.established(A, seconds(10)).await;
        gateway.established(B, seconds(10)).await;
        assert_eq!(gateway.view(A).await.remote.unwrap().port(), 179);
        assert_eq!(gateway.view(B).await.local.unwrap().port(), 179);
    });
}

#[test]
fn b09_as_numbers_of_four_octets_go_both_ways() {
    in_namespace(ADDRESSES, || async {
        let frr = Frr::start(A, 4_200_000_000, DEFAULT_ROUTE);
        let mut gateway = Gateway::start(US).await;
        gateway.neighbor(A, 4_200_000_000, |_| {});
        ready(&frr).await;
        gateway.configure().await;
        gateway.forwards_over("0.0.0.0/0", &[A], seconds(10)).await;
        let filter = sekisho_routing::BgpFilter::All;
        let routes = gateway.handle.bgp_routes(filter).await.unwrap();
        assert_eq!(routes[0].paths[0].as_path, "4200000000");
        assert!(routes[0].paths[0].best);
    });
}

#[test]
fn b11_a_silent_neighbour_is_told_so_and_its_routes_go_in_the_hold_time() {
    in_namespace(ADDRESSES, || async {
        let frr = Frr::start(A, 65001, DEFAULT_ROUTE);
        let mut gateway = Gateway::start(US).await;
        gateway.neighbor(A, 65001, |n| n.hold_time = seconds(3));
        ready(&frr).await;
        gateway.configure().await;
        gateway.forwards_over("0.0.0.0/0", &[A], seconds(10)).await;
        frr.signal(Signal::SIGSTOP);
        gateway.forwards_over("0.0.0.0/0", &[], seconds(4)).await;
        let view = gateway.view(A).await;
        let sent = view.last_notification_sent.unwrap();
        assert_eq!((sent.code, sent.subcode), (4, 0));
        assert!(view.last_error.unwrap().contains("Hold Timer Expired"));
        frr.signal(Signal::SIGCONT);
        gateway.forwards_over("0.0.0.0/0", &[A], seconds(15)).await;
    });
}

#[test]
fn b12_a_killed_neighbour_loses_its_routes_at_once_and_is_connected_to_again() {
    in_namespace(ADDRESSES, || async {
        let mut frr = Frr::start(A, 65001, DEFAULT_ROUTE);
        let mut gateway = Gateway::start(US).await;
        gateway.neighbor(A, 65001, |_| {});
        ready(&frr).await;
        gateway.configure().await;
        gateway.forwards_over("0.0.0.0/0", &[A], seconds(10)).await;
        frr.kill();
        gateway.forwards_over("0.0.0.0/0", &[], seconds(1)).await;
        // Attempts are refused meanwhile, with pauses; why the session ended stays visible.
        within(seconds(10), "a pause before the next attempt", async || {
            gateway.view(A).await.next_attempt
        })
        .await;
        let error = gateway.view(A).await.last_error.unwrap();
        assert!(error.contains("connection lost"), "{error}");
        frr.restart();
        gateway.forwards_over("0.0.0.0/0", &[A], seconds(15)).await;
        assert_eq!(gateway.view(A).await.established, 2);
    });
}

#[test]
fn b13_shutdown_messages_go_both_ways() {
    in_namespace(ADDRESSES, || async {
        let frr = Frr::start(A, 65001, "");
        let mut gateway = Gateway::start(US).await;
        gateway.neighbor(A, 65001, |_| {});
        ready(&frr).await;
        gateway.configure().await;
        gateway.established(A, seconds(10)).await;
        frr.configure(&[
            "router bgp 65001",
            "neighbor 198.51.100.10 shutdown message fibre works",
        ]);
        let (received, _) = within(seconds(5), "their Cease", async || {
            gateway.view(A).await.last_notification_received
        })
        .await;
        assert_eq!((received.code, received.subcode), (6, 2));
        assert_eq!(received.message.as_deref(), Some("fibre works"));

        frr.configure(&["router bgp 65001", "no neighbor 198.51.100.10 shutdown"]);
        gateway.established(A, seconds(15)).await;
        gateway.handle.shutdown("upgrade at noon").await.unwrap();
        within(seconds(5), "our Cease", async || {
            let reason = frr.neighbor()["lastShutdownDescription"].to_string();
            reason.contains("upgrade at noon").then_some(())
        })
        .await;
        let neighbor = frr.neighbor();
        assert_eq!(neighbor["lastErrorCodeSubcode"], "0602", "{neighbor}");
    });
}

#[test]
fn b23_two_upstreams_share_the_traffic_and_losing_one_leaves_the_other() {
    in_namespace(ADDRESSES, || async {
        let a = Frr::start(A, 65001, DEFAULT_ROUTE);
        let mut b = Frr::start(B, 65002, DEFAULT_ROUTE);
        let mut gateway = Gateway::start(US).await;
        gateway.neighbor(A, 65001, |_| {});
        gateway.neighbor(B, 65002, |_| {});
        ready(&a).await;
        ready(&b).await;
        gateway.configure().await;
        gateway
            .forwards_over("0.0.0.0/0", &[A, B], seconds(15))
            .await;
        b.kill();
        gateway.forwards_over("0.0.0.0/0", &[A], seconds(1)).await;
        assert_eq!(gateway.view(A).await.established, 1);
    });
}

#[test]
fn b30_without_policy_nothing_goes_in_or_out() {
    in_namespace(ADDRESSES, || async {
        let frr = Frr::start(A, 65001, DEFAULT_ROUTE);
        let mut gateway = Gateway::start(US).await;
        gateway.neighbor(A, 65001, |n| (n.import, n.export) = (None, None));
        gateway.originate(&["203.0.113.10/32"]).await;
        ready(&frr).await;
        gateway.configure().await;
        within(seconds(15), "End-of-RIB both ways", async || {
            let view = gateway.view(A).await;
            (view.end_of_rib_sent && view.end_of_rib_received).then_some(())
        })
        .await;
        let view = gateway.view(A).await;
        assert!(view.import_blocked && view.export_blocked);
        assert_eq!((view.prefixes_received, view.prefixes_accepted), (1, 0));
        assert_eq!(view.prefixes_sent, 0);
        assert!(gateway.forwards("0.0.0.0/0").is_empty());
        assert!(!frr.has("203.0.113.10/32"));
        let routes = gateway
            .handle
            .bgp_routes(sekisho_routing::BgpFilter::All)
            .await
            .unwrap();
        assert!(
            routes[0].paths[0]
                .rejected_by
                .as_ref()
                .unwrap()
                .contains("8212")
        );
    });
}

#[test]
fn b31_a_changed_policy_applies_without_a_flap() {
    in_namespace(ADDRESSES, || async {
        let frr = Frr::start(A, 65001, DEFAULT_ROUTE);
        let mut gateway = Gateway::start(US).await;
        gateway.neighbor(A, 65001, |_| {});
        gateway.originate(&["203.0.113.10/32"]).await;
        ready(&frr).await;
        gateway.configure().await;
        gateway.forwards_over("0.0.0.0/0", &[A], seconds(10)).await;
        within(seconds(10), "announced", async || {
            frr.has("203.0.113.10/32").then_some(())
        })
        .await;
        gateway.config.prefix_lists[0].rules.clear();
        gateway.configure().await;
        gateway.forwards_over("0.0.0.0/0", &[], seconds(1)).await;
        within(seconds(2), "withdrawn", async || {
            (!frr.has("203.0.113.10/32")).then_some(())
        })
        .await;
        let view = gateway.view(A).await;
        assert_eq!(
            (view.state, view.established),
            (SessionState::Established, 1)
        );
    });
}

#[test]
fn b33_a_floating_ip_is_announced_and_withdrawn_within_200_milliseconds() {
    in_namespace(ADDRESSES, || async {
        let frr = Frr::start(A, 65001, "");
        let mut gateway = Gateway::start(US).await;
        gateway.neighbor(A, 65001, |_| {});
        ready(&frr).await;
        gateway.configure().await;
        within(seconds(15), "End-of-RIB", async || {
            gateway.view(A).await.end_of_rib_sent.then_some(())
        })
        .await;
        for last in 1..=5 {
            let fip = format!("203.0.113.{last}/32");
            let start = time_of_day();
            gateway.originate(&[&fip]).await;
            let heard = async || frr.heard(&fip, true).filter(|_| frr.has(&fip));
            let (heard, _) = within(seconds(5), "announced", heard).await;
            assert!(
                heard.saturating_sub(start).as_millis() < 200,
                "{heard:?} {start:?}"
            );
            let route = frr.route(&fip);
            let path = &route["paths"][0];
            assert_eq!(path["aspath"]["string"], "65010");
            assert_eq!(path["nexthops"][0]["ip"], US);
            assert_eq!(path["origin"], "IGP");
            assert!(path.get("med").is_none() || path["med"] == 0, "{path}");

            let start = time_of_day();
            gateway.originate(&[]).await;
            let heard = async || frr.heard(&fip, false).filter(|_| !frr.has(&fip));
            let (heard, _) = within(seconds(5), "withdrawn", heard).await;
            assert!(
                heard.saturating_sub(start).as_millis() < 200,
                "{heard:?} {start:?}"
            );
        }
    });
}

/// As FRR's log tells it.
fn time_of_day() -> Duration {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    now - seconds(now.as_secs() / 86400 * 86400)
}

#[test]
fn b34_end_of_rib_ends_the_deferral_and_follows_the_initial_dump() {
    in_namespace(ADDRESSES, || async {
        let frr = Frr::start(A, 65001, DEFAULT_ROUTE);
        // Long enough for the test to fail if End-of-RIB does not end it.
        let options = Options {
            deferral: seconds(600),
            ..Options::default()
        };
        let mut gateway = Gateway::start_with(US, options).await;
        gateway.neighbor(A, 65001, |_| {});
        gateway.originate(&["203.0.113.10/32"]).await;
        ready(&frr).await;
        gateway.configure().await;
        within(seconds(15), "the announcement", async || {
            frr.has("203.0.113.10/32").then_some(())
        })
        .await;
        within(seconds(5), "End-of-RIB both ways", async || {
            let view = gateway.view(A).await;
            (view.end_of_rib_received && view.end_of_rib_sent).then_some(())
        })
        .await;
        let summary = gateway.handle.bgp_summary().await.unwrap().unwrap();
        assert!(!summary.announcements_deferred);
        within(seconds(5), "FRR has our End-of-RIB", async || {
            let info = frr.neighbor()["gracefulRestartInfo"].clone();
            (info["endOfRibRecv"]["ipv4Unicast"] == true).then_some(())
        })
        .await;
    });
}
