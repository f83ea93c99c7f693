//! What a session takes.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sekisho_nat::{Filtering, FlowKey, Time};
use serde_json::json;

use super::flows::{FORWARD, Flows, engine};
use super::{BURST, NAME, SYN, create};
use crate::report::{Metric, Report};

/// Octets for a session, all in: each with a mapping of its own, and without mappings.
pub(super) fn memory(report: &mut Report, sessions: usize) -> Result<()> {
    let new = || engine(sessions, Duration::from_secs(7440), Filtering::default());
    let live = Flows::new(sessions, 0).take(sessions);
    let before = resident()?;
    let mut mapped = new()?;
    for burst in live.chunks(BURST) {
        create(&mut mapped, Time::default(), burst, |_| {})?;
    }
    let mapped_resident = resident()? - before;
    let before = resident()?;
    let mut forwarded = new()?;
    for remote in 0..sessions as u32 {
        let key = FlowKey {
            src: SocketAddrV4::new(remote.reverse_bits().into(), 1024),
            dst: FORWARD.outside,
            protocol: FORWARD.protocol,
        };
        let outcome = forwarded.inbound(Time::default(), &key, &SYN);
        ensure!(outcome.is_ok(), "a new flow was refused: {outcome:?}");
    }
    let forwarded_resident = resident()? - before;
    let bytes = [
        ("its mapping, counted", mapped.memory().total()),
        ("its mapping, resident", mapped_resident),
        ("no mapping, counted", forwarded.memory().total()),
        ("no mapping, resident", forwarded_resident),
    ];
    for (with, bytes) in bytes {
        let params = [("live", json!(sessions)), ("with", json!(with))];
        let each = bytes as f64 / sessions as f64;
        report.ours(NAME, &params, Metric::BytesPerEntry, &[each]);
    }
    Ok(())
}

/// Octets of this process that are in memory.
fn resident() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    let kib: usize = number
        .context("no resident size in /proc/self/status")?
        .parse()?;
    Ok(kib * 1024)
}
