//! Exact packets, sent from where a hypervisor or an upstream router sits.

use anyhow::{Result, ensure};
use sekisho_tests::lab::{Capture, Host};

use crate::site::{SOON, Site, resolved};

/// The identifier of the echo request that proves that the gateway has seen what came before.
const SENTINEL: u16 = 9999;

/// Sends VXLAN packets from the first hypervisor in the name of blue-web1.
pub(crate) struct Injector {
    hv1: Host,
    preamble: String,
    capture: Capture,
}

impl Injector {
    pub(crate) fn new(site: &Site) -> Result<Self> {
        let topology = &site.topology;
        let segment = resolved(&topology.blue_web1, "172.16.10.1")?;
        let hv1 = topology.hv1.host().clone();
        let preamble = format!(
            "gw, hv, seg, vm = '{}', '{}', '{segment}', '02:00:00:01:10:11'
def inner(payload, **ip):
    return Ether(src=vm, dst=seg)/IP(**{{'src': '172.16.10.11', 'dst': '172.16.10.1', **ip}})/payload
def echo(ident, **ip):
    return inner(ICMP(id=ident)/b'probe', **ip)
def vxlan(vni=5001, flags=8, r1=0, r2=0):
    return bytes([flags]) + r1.to_bytes(3, 'big') + vni.to_bytes(3, 'big') + bytes([r2])
def outer(payload, dport=4789, udp={{}}, **ip):
    return (Ether(src=hv, dst=gw)/IP(**{{'src': '10.1.0.11', 'dst': '10.1.0.1', **ip}})
            /UDP(sport=50000, dport=dport, **udp)/Raw(payload))
def vx(frame, **header):
    return outer(vxlan(**header) + bytes(frame))
def put(frame):
    sendp(frame, iface='eth0')
",
            topology.gateway.mac("eth-fabric")?,
            hv1.mac("eth0")?,
        );
        // By its Ethernet address: some of what is injected forges its IP address.
        let gateway = format!("ether src {}", topology.gateway.mac("eth-fabric")?);
        let capture = Capture::start(&hv1, "eth0", &gateway)?;
        Ok(Self {
            hv1,
            preamble,
            capture,
        })
    }

    /// What the gateway has sent to the first hypervisor since.
    pub(crate) fn capture(&self) -> &Capture {
        &self.capture
    }

    /// Runs a script in which `inner`, `echo`, `vxlan`, `outer` and `vx` make packets and `put`
    /// sends them.
    pub(crate) fn send(&self, script: &str) -> Result<()> {
        self.hv1
            .scapy(&format!("{}{script}", self.preamble))
            .map(drop)
    }

    /// Runs a script and then waits until the gateway has answered a ping sent after it, so that
    /// it has seen everything. Returns how many packets since the beginning match `filter`.
    pub(crate) fn send_and_count(&self, script: &str, filter: &str) -> Result<usize> {
        let sentinel = format!("icmp.type == 0 && icmp.ident == {SENTINEL}");
        let before = self.capture.count(&sentinel)?;
        self.send(&format!("{script}\nput(vx(echo({SENTINEL})))"))?;
        self.capture.wait(&sentinel, before + 1, SOON)?;
        self.capture.count(filter)
    }

    /// Makes sure that the gateway answers the echo request with identifier `ident` that the
    /// script sends.
    pub(crate) fn answered(&self, script: &str, ident: u16) -> Result<()> {
        self.send(script)?;
        let filter = format!("icmp.type == 0 && icmp.ident == {ident}");
        self.capture.wait(&filter, 1, SOON)
    }

    /// Makes sure that nothing comes back for what the script sends, and that it is counted under
    /// `reason`.
    pub(crate) fn dropped(&self, site: &Site, script: &str, reason: &str) -> Result<()> {
        let before = site.sekishod.drops(reason)?;
        let others = format!("icmp && !(icmp.ident == {SENTINEL})");
        let earlier = self.capture.count(&others)?;
        let seen = self.send_and_count(script, &others)?;
        ensure!(seen == earlier, "something came back for: {script}");
        site.wait_dropped(reason, before)
    }
}
