//! `memif`: between processes. The real `sekishod` on one CPU; `dpdk-testpmd` on another sends it
//! VXLAN over shared memory, and takes back what was translated and spread over four next hops.
//!
//! Underlay and uplink are one port. The sender's questions (ARP) for the gateway's addresses tell
//! it who the neighbours are.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sekisho_tests::lab::{Lab, Sekishod, sum_of_keys, wait_until};

use crate::comparators::flows::{
    Capture, Frames, GATEWAY_MAC, Player, SEGMENT_MAC, UNDERLAY, VNI, VTEP,
};
use crate::comparators::testpmd::{self, Testpmd};
use crate::comparators::{MEMIF, ceiling, sessions, tools};
use crate::options::Options;
use crate::report::{Metric, Report};

/// The gateway's address beside the next hops.
const UPLINK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const NEXT_HOPS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(198, 51, 100, 11),
    Ipv4Addr::new(198, 51, 100, 12),
    Ipv4Addr::new(198, 51, 100, 13),
    Ipv4Addr::new(198, 51, 100, 14),
];

/// For the first packet of every session.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures it, where there is a sender.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    if let Err(missing) = tools::find("dpdk-testpmd", testpmd::PACKAGE) {
        println!("  {MEMIF}: not measured: {missing:#}");
        return Ok(());
    }
    for &sessions in sessions(options) {
        let rates = measure(options, sessions).with_context(|| format!("{sessions} sessions"))?;
        let params = [("sessions", sessions.into())];
        report.ours(MEMIF, &params, Metric::RatePerSecond, &rates);
    }
    Ok(())
}

fn measure(options: &Options, sessions: u32) -> Result<Vec<f64>> {
    let lab = Lab::new()?;
    let gateway = lab.host("gateway")?;
    let socket = lab.dir().join("memif.sock");
    let config = config(&socket.display().to_string(), options.cpu, sessions);
    let sekishod = Sekishod::start(&gateway, &config)?;
    let neighbours = NEXT_HOPS.map(|hop| (hop, UPLINK));
    let capture = Capture {
        frames: Frames::Tunnelled,
        flows: sessions,
        sequential: options.sequential,
        neighbours: [(VTEP, UNDERLAY)].into_iter().chain(neighbours).collect(),
    };
    let player = Player::new(&capture, lab.dir(), 1)?;
    let port = testpmd::memif("client", &socket);
    let cpu = testpmd::other_cpu(options.cpu)?;
    let mut sender = Testpmd::sender(&player, port, cpu, options).start(&gateway)?;
    let drops = || sekishod.cli("show drops").unwrap_or_default();
    testpmd::wait_received(&mut sender, 1).with_context(drops)?;
    wait_until(PATIENCE, "the sessions are there", || {
        let live = sum_of_keys(&sekishod.cli_json("show workers")?, "sessions");
        let expected = u64::from(sessions - sessions / 50);
        ensure!(live >= expected, "{live} of {sessions}");
        Ok(())
    })
    .with_context(drops)?;
    ceiling::rates(&sender, options.repetitions())
}

fn config(socket: &str, cpu: u16, sessions: u32) -> String {
    let max_sessions = sessions + sessions / 8 + 1024;
    let next_hops: Vec<String> = NEXT_HOPS.iter().map(|hop| format!("\"{hop}\"")).collect();
    format!(
        r#"[gateway]
workers = 1
cpus = [{cpu}]
memory-mib = 256
max-sessions = {max_sessions}
api-socket = "{{socket}}"

[underlay]
address = "{UNDERLAY}"

[[port]]
name = "wire"
kind = "memif"
socket = "{socket}"
id = 0
role = "server"
mac = "{GATEWAY_MAC}"
mtu = 1600

[[uplink]]
name = "wire"
port = "wire"
addresses = ["{UNDERLAY}/24", "{UPLINK}/24"]

[[route]]
prefix = "0.0.0.0/0"
next-hops = [{}]

[[nat-pool]]
name = "public"
addresses = ["203.0.113.0/26"]

[[tenant]]
name = "blue"

[[tenant.segment]]
name = "web"
vni = {VNI}
gateway = "172.16.0.1/16"
mac = "{SEGMENT_MAC}"
vteps = ["{VTEP}"]

[[tenant.route]]
prefix = "0.0.0.0/0"
vrf = "provider"

[[tenant.snat]]
source = "172.16.0.0/16"
pool = "public"
"#,
        next_hops.join(", ")
    )
}
