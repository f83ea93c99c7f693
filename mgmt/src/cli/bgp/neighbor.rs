//! `show bgp neighbors`.

use std::fmt::Write as _;

use crate::api::v1::BgpNeighbor;
use crate::cli::table::uptime;

pub(super) fn render(n: &BgpNeighbor) -> String {
    let link = if n.remote_as == n.local_as {
        "internal"
    } else {
        "external"
    };
    let mut text = format!(
        "BGP neighbor is {}, remote AS {}, local AS {}, {link} link\n",
        n.address, n.remote_as, n.local_as
    );
    // Writing to a String cannot fail.
    if !n.description.is_empty() {
        let _ = writeln!(text, "  Description: {}", n.description);
    }
    if n.shutdown {
        text.push_str("  Administratively shut down\n");
    }
    let router_id = match n.router_id.as_str() {
        "" => "unknown",
        id => id,
    };
    let since = uptime(n.uptime_seconds);
    let state = match n.state.as_str() {
        "Established" => format!("Established, up for {since}"),
        state if n.never_established => state.to_owned(),
        state => format!("{state}, down for {since}"),
    };
    let policy = |name: &str, nothing: &str| match name {
        "" => format!("(none: nothing is {nothing}, RFC 8212)"),
        name => name.to_owned(),
    };
    let _ = write!(
        text,
        "  BGP version 4, remote router ID {router_id}\n  \
         BGP state = {state}\n  \
         Hold time is {} seconds, keepalive interval is {} seconds, connect retry is {} seconds\n  \
         Import policy: {}\n  \
         Export policy: {}\n",
        n.hold_time_seconds,
        n.keepalive_seconds,
        n.connect_retry_seconds,
        policy(&n.import, "accepted"),
        policy(&n.export, "announced")
    );
    if !n.capabilities.is_empty() {
        text.push_str("  Received capabilities:\n");
        for capability in &n.capabilities {
            let _ = writeln!(text, "    {capability}");
        }
    }
    let _ = write!(
        text,
        "  Message statistics:\n    \
         InQ depth is {}\n    \
         OutQ depth is {}\n",
        n.in_queue, n.out_queue
    );
    let _ = writeln!(text, "    {:16}{:>10} {:>10}", "", "Sent", "Rcvd");
    for (what, sent, received) in [
        (
            "Notifications",
            n.notifications_sent,
            n.notifications_received,
        ),
        ("Updates", n.updates_sent, n.updates_received),
        ("Keepalives", n.keepalives_sent, n.keepalives_received),
        ("Total", n.messages_sent, n.messages_received),
    ] {
        let _ = writeln!(
            text,
            "    {:16}{sent:>10} {received:>10}",
            format!("{what}:")
        );
    }
    let end_of_rib = if n.end_of_rib_received {
        "received"
    } else {
        "not received"
    };
    let _ = write!(
        text,
        "  Prefixes: {} received, {} accepted, {} sent; End-of-RIB {end_of_rib}\n  \
         Connections established {}; dropped {}\n",
        n.prefixes_received,
        n.prefixes_accepted,
        n.prefixes_sent,
        n.established_count,
        n.dropped_count
    );
    let reset = match n.last_reset.as_str() {
        "" => "never",
        why => why,
    };
    let _ = writeln!(text, "  Last reset: {reset}");
    if n.local_port != 0 {
        let _ = write!(
            text,
            "Local host: {}, local port: {}\nForeign host: {}, foreign port: {}\n",
            n.local_address, n.local_port, n.address, n.remote_port
        );
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bgp::examples::peer;

    #[test]
    fn a_neighbor_is_shown_with_all_that_is_known() {
        let view = BgpNeighbor {
            router_id: "10.0.0.1".into(),
            description: "isp-a".into(),
            capabilities: vec!["4 octet AS numbers".into(), "Route refresh".into()],
            local_address: "198.51.100.1".into(),
            local_port: 40000,
            remote_port: 179,
            established_count: 1,
            end_of_rib_received: true,
            keepalives_sent: 11,
            ..peer("198.51.100.0", 65001, "Established")
        };
        let expected = "\
BGP neighbor is 198.51.100.0, remote AS 65001, local AS 65010, external link
  Description: isp-a
  BGP version 4, remote router ID 10.0.0.1
  BGP state = Established, up for 00:00:31
  Hold time is 9 seconds, keepalive interval is 3 seconds, connect retry is 1 seconds
  Import policy: from-isp
  Export policy: to-isp
  Received capabilities:
    4 octet AS numbers
    Route refresh
  Message statistics:
    InQ depth is 0
    OutQ depth is 0
                          Sent       Rcvd
    Notifications:           0          0
    Updates:                 0          0
    Keepalives:             11          0
    Total:                  12         10
  Prefixes: 4 received, 3 accepted, 2 sent; End-of-RIB received
  Connections established 1; dropped 0
  Last reset: never
Local host: 198.51.100.1, local port: 40000
Foreign host: 198.51.100.0, foreign port: 179

";
        assert_eq!(render(&view), expected);
    }
}
