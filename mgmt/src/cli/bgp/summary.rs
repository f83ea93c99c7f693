//! `show bgp summary`.

use std::fmt::Write as _;

use crate::api::v1::{BgpNeighbor, BgpSummary};
use crate::cli::table::uptime;

pub(super) fn render(view: &BgpSummary) -> String {
    if !view.configured {
        return "% BGP is not configured\n".into();
    }
    let mut text = format!(
        "IPv4 Unicast Summary (VRF provider):\n\
         BGP router identifier {}, local AS number {}\n\
         BGP table version {}\n\
         RIB entries {}, paths {}\n\
         Peers {}\n\n",
        view.router_id,
        view.local_as,
        view.table_version,
        view.prefixes,
        view.paths,
        view.neighbors.len()
    );
    let width = view.neighbors.iter().map(|neighbor| neighbor.address.len());
    let width = width.max().unwrap_or(0).max(15) + 1;
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{:width$}V         AS   MsgRcvd   MsgSent   TblVer  InQ OutQ  Up/Down State/PfxRcd   PfxSnt Desc",
        "Neighbor"
    );
    for neighbor in &view.neighbors {
        let _ = writeln!(text, "{}", summary_line(neighbor, width));
    }
    let _ = write!(
        text,
        "\nTotal number of neighbors {}\n",
        view.neighbors.len()
    );
    text
}

fn summary_line(neighbor: &BgpNeighbor, width: usize) -> String {
    let up = if neighbor.never_established {
        "never".into()
    } else {
        uptime(neighbor.uptime_seconds)
    };
    let established = neighbor.state == "Established";
    // A missing policy blocks everything (RFC 8212).
    let state = match neighbor.state.as_str() {
        _ if neighbor.shutdown => "Idle (Admin)".into(),
        "Established" if neighbor.import.is_empty() => "(Policy)".into(),
        "Established" => neighbor.prefixes_accepted.to_string(),
        state => state.to_owned(),
    };
    let sent = if established && neighbor.export.is_empty() {
        "(Policy)".into()
    } else {
        neighbor.prefixes_sent.to_string()
    };
    let description = match neighbor.description.as_str() {
        "" => "N/A",
        text => text,
    };
    format!(
        "{:width$}4 {:>10} {:>9} {:>9} {:>8} {:>4} {:>4} {up:>8} {state:>12} {sent:>8} {description}",
        neighbor.address,
        neighbor.remote_as,
        neighbor.messages_received,
        neighbor.messages_sent,
        neighbor.table_version,
        neighbor.in_queue,
        neighbor.out_queue
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bgp::examples::peer;

    fn speaker() -> BgpSummary {
        let up = BgpNeighbor {
            description: "isp-a".into(),
            table_version: 7,
            ..peer("198.51.100.0", 65001, "Established")
        };
        let blocked = BgpNeighbor {
            import: String::new(),
            export: String::new(),
            ..peer("198.51.100.2", 4_200_000_000, "Established")
        };
        let down = BgpNeighbor {
            never_established: true,
            ..peer("198.51.100.4", 65003, "Active")
        };
        let shut = BgpNeighbor {
            shutdown: true,
            uptime_seconds: 90_000,
            ..peer("198.51.100.6", 65004, "Idle")
        };
        BgpSummary {
            configured: true,
            router_id: "10.1.0.1".into(),
            local_as: 65010,
            table_version: 7,
            prefixes: 5,
            paths: 8,
            neighbors: vec![up, blocked, down, shut],
        }
    }

    #[test]
    fn the_summary_looks_like_frr() {
        let expected = "\
IPv4 Unicast Summary (VRF provider):
BGP router identifier 10.1.0.1, local AS number 65010
BGP table version 7
RIB entries 5, paths 8
Peers 4

Neighbor        V         AS   MsgRcvd   MsgSent   TblVer  InQ OutQ  Up/Down State/PfxRcd   PfxSnt Desc
198.51.100.0    4      65001        10        12        7    0    0 00:00:31            3        2 isp-a
198.51.100.2    4 4200000000        10        12        0    0    0 00:00:31     (Policy) (Policy) N/A
198.51.100.4    4      65003        10        12        0    0    0    never       Active        2 N/A
198.51.100.6    4      65004        10        12        0    0    0 1d01h00m Idle (Admin)        2 N/A

Total number of neighbors 4
";
        assert_eq!(render(&speaker()), expected);
    }

    #[test]
    fn without_bgp_there_is_nothing_to_show() {
        let view = BgpSummary::default();
        assert_eq!(render(&view), "% BGP is not configured\n");
    }
}
