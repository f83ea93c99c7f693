//! Flows both of whose ends a test has in its hand, packet by packet.

use anyhow::Result;
use sekisho_tests::lab::bin_dir;

use crate::site::{Site, resolved};

const ENDS: &str = include_str!("ends.py");

/// Runs a script with both ends of a flow, as `ends.py` tells, and returns what it prints.
pub(crate) fn between_ends(site: &Site, script: &str) -> Result<String> {
    let topology = &site.topology;
    let segment = resolved(&topology.blue_web1, "172.16.10.1")?;
    let isp_a = topology.isp_a.host();
    // Of what comes for the far end the script's socket gets a copy.
    isp_a.ip("route replace blackhole 198.18.10.77/32")?;
    let preamble = format!(
        "GATEWAY, GATEWAY_FABRIC, SEGMENT = '{}', '{}', '{segment}'
HV1, ISP_A = '{}', '{}'
CLI, FLOW = '{}', 30000
os.environ['SEKISHO_SOCKET'] = '{}'
",
        topology.gateway.mac("eth-isp-a")?,
        topology.gateway.mac("eth-fabric")?,
        topology.hv1.host().netns(),
        isp_a.netns(),
        bin_dir()?.join("sekisho").display(),
        site.sekishod.socket().display(),
    );
    isp_a.scapy(&format!("import os\n{preamble}{ENDS}\n{script}"))
}
