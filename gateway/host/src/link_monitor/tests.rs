use std::time::Duration;

use futures::StreamExt;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};

use super::*;
use crate::testbed::{in_fresh_namespace, ip};

/// Runs `test` with the monitor of a fresh namespace that holds nothing but the loopback.
fn watching(test: impl AsyncFnOnce(LinkMonitor) + Send) {
    in_fresh_namespace(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut monitor = LinkMonitor::open().unwrap();
            assert_eq!(next(&mut monitor).await, event("lo", LinkState::Up));
            test(monitor).await;
        });
    });
}

async fn next(monitor: &mut LinkMonitor) -> LinkEvent {
    let item = tokio::time::timeout(Duration::from_secs(5), monitor.next()).await;
    item.expect("an event").unwrap().unwrap()
}

/// Reads events until that one comes.
async fn until(monitor: &mut LinkMonitor, interface: &str, state: LinkState) {
    let wanted = event(interface, state);
    while next(monitor).await != wanted {}
}

fn event(interface: &str, state: LinkState) -> LinkEvent {
    LinkEvent {
        interface: interface.to_owned(),
        state,
    }
}

#[test]
fn the_far_end_of_a_cable_decides_whether_a_link_is_up() {
    watching(async |mut monitor| {
        ip("link add near type veth peer far");
        until(&mut monitor, "near", LinkState::Down).await;
        ip("link set near up");
        ip("link set far up");
        until(&mut monitor, "near", LinkState::Up).await;
        ip("link set far down");
        until(&mut monitor, "near", LinkState::Down).await;
        ip("link set far up");
        until(&mut monitor, "near", LinkState::Up).await;
        ip("link del near");
        until(&mut monitor, "near", LinkState::Gone).await;
    });
}

#[test]
fn a_renamed_interface_is_gone_and_another_appears() {
    watching(async |mut monitor| {
        ip("link add near type veth peer far");
        until(&mut monitor, "near", LinkState::Down).await;
        ip("link set near name other");
        until(&mut monitor, "near", LinkState::Gone).await;
        assert_eq!(next(&mut monitor).await, event("other", LinkState::Down));
    });
}

#[test]
fn leaving_a_bridge_is_not_vanishing() {
    watching(async |mut monitor| {
        ip("link add near type veth peer far");
        ip("link set far up");
        ip("link set near up");
        until(&mut monitor, "near", LinkState::Up).await;
        ip("link add bridge type bridge");
        ip("link set near master bridge");
        ip("link set near nomaster");
        ip("link set far down");
        let about_near = async {
            loop {
                let event = next(&mut monitor).await;
                if event.interface == "near" {
                    return event;
                }
            }
        };
        assert_eq!(about_near.await.state, LinkState::Down);
    });
}

#[test]
fn a_monitor_that_was_overrun_lists_the_interfaces_anew() {
    watching(async |mut monitor| {
        ip("link add near type veth peer far");
        ip("link add doomed type veth peer far2");
        until(&mut monitor, "doomed", LinkState::Down).await;
        let mut netlink = Netlink::open().unwrap();
        let mut message = LinkMessage::default();
        message.header.index = netlink.link("near").unwrap().unwrap().index;
        // Far more announcements than the socket holds, and the last ones are lost.
        for mtu in 1_000..3_000 {
            message.attributes = vec![LinkAttribute::Mtu(mtu)];
            let change = RouteNetlinkMessage::SetLink(message.clone());
            netlink.execute(change, 0).unwrap();
        }
        ip("link del doomed");
        until(&mut monitor, "doomed", LinkState::Gone).await;
    });
}
