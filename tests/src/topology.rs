//! The topology of the demo and of most tests.
//!
//! ```text
//!   blue-web1  green-web1        blue-web2 blue-db1 green-db1
//!        \      /                        \    |    /
//!     hv1 10.1.0.11                     hv2 10.1.0.12
//!             \            fabric           /
//!              `-------- 10.1.0.0/24 ------'
//!                            |  10.1.0.1
//!                     gateway, AS 65010
//!        198.51.100.1 /               \ 198.51.100.3
//!        198.51.100.0 |               | 198.51.100.2
//!             isp-a, AS 65001    isp-b, AS 65002
//!           192.0.2.1 \               / 192.0.2.2
//!                    server 192.0.2.80, .81, AS 64512
//! ```
//!
//! Blue and green use the same addresses: web is 172.16.10.0/24, db is 172.16.20.0/24, in both.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::config::Config;
use crate::lab::{Bird, Frr, Host, Hypervisor, Lab, Segment, Sekishod, wait_until};

/// The underlay address of the gateway.
pub const GATEWAY_VTEP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The underlay address of the first hypervisor.
pub const HV1_VTEP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
/// The underlay address of the second hypervisor.
pub const HV2_VTEP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 12);
/// The server's address, known to everybody.
pub const SERVER: &str = "192.0.2.80";
/// The server's second address.
pub const SERVER_2: &str = "192.0.2.81";
/// An address of the server that only isp-a announces (in 198.18.10.0/24).
pub const BEHIND_A: &str = "198.18.10.1";
/// An address of the server that only isp-b announces (in 198.18.20.0/24).
pub const BEHIND_B: &str = "198.18.20.1";
/// The gateway's BGP address toward isp-a.
pub const GATEWAY_A: &str = "198.51.100.1";
/// The gateway's BGP address toward isp-b.
pub const GATEWAY_B: &str = "198.51.100.3";
/// The BGP address of isp-a.
pub const ISP_A: &str = "198.51.100.0";
/// The BGP address of isp-b.
pub const ISP_B: &str = "198.51.100.2";

/// The default MTU of the underlay; virtual machines have 50 less.
const MTU: u16 = 1500;

/// At start, announcements may wait half a minute for the peers' End-of-RIB.
const ANNOUNCED: Duration = Duration::from_secs(40);

/// What an upstream router is, with its configuration.
#[derive(Clone, Debug)]
pub enum RouterConfig {
    /// FRR; the text is bgpd's.
    Frr(String),
    /// BIRD.
    Bird(String),
}

impl RouterConfig {
    /// FRR as isp-a.
    #[must_use]
    pub fn frr_a() -> Self {
        Self::Frr(frr_isp(65001, "192.0.2.1", GATEWAY_A, "198.18.10.0/24"))
    }

    /// FRR as isp-b.
    #[must_use]
    pub fn frr_b() -> Self {
        Self::Frr(frr_isp(65002, "192.0.2.2", GATEWAY_B, "198.18.20.0/24"))
    }

    /// BIRD as isp-b.
    #[must_use]
    pub fn bird_b() -> Self {
        Self::Bird(BIRD_B.to_owned())
    }

    /// The same with `from` replaced by `to`.
    ///
    /// # Panics
    /// When `from` occurs nowhere: the test would not test what it says.
    #[must_use]
    pub fn replace(self, from: &str, to: &str) -> Self {
        let change = |text: String| {
            assert!(text.contains(from), "{from:?} is not in the configuration");
            text.replace(from, to)
        };
        match self {
            Self::Frr(text) => Self::Frr(change(text)),
            Self::Bird(text) => Self::Bird(change(text)),
        }
    }
}

/// A running upstream router.
#[derive(Debug)]
pub enum Router {
    /// FRR.
    Frr(Frr),
    /// BIRD.
    Bird(Bird),
}

impl Router {
    fn start(host: &Host, config: &RouterConfig) -> Result<Self> {
        Ok(match config {
            RouterConfig::Frr(bgp) => Self::Frr(Frr::start(host, bgp)?),
            RouterConfig::Bird(text) => Self::Bird(Bird::start(host, text)?),
        })
    }

    /// The router's namespace.
    #[must_use]
    pub fn host(&self) -> &Host {
        match self {
            Self::Frr(frr) => frr.host(),
            Self::Bird(bird) => bird.host(),
        }
    }

    /// It, when it is FRR.
    ///
    /// # Errors
    /// When it is not.
    pub fn frr(&self) -> Result<&Frr> {
        match self {
            Self::Frr(frr) => Ok(frr),
            Self::Bird(_) => bail!("{} is BIRD, not FRR", self.host().name()),
        }
    }

    /// It, when it is FRR, to stop and start.
    ///
    /// # Errors
    /// When it is not.
    pub fn frr_mut(&mut self) -> Result<&mut Frr> {
        match self {
            Self::Frr(frr) => Ok(frr),
            Self::Bird(bird) => bail!("{} is BIRD, not FRR", bird.host().name()),
        }
    }

    /// It, when it is BIRD.
    ///
    /// # Errors
    /// When it is not.
    pub fn bird(&self) -> Result<&Bird> {
        match self {
            Self::Bird(bird) => Ok(bird),
            Self::Frr(_) => bail!("{} is FRR, not BIRD", self.host().name()),
        }
    }

    fn wait_established(&self, gateway: &str) -> Result<()> {
        let timeout = Duration::from_secs(15);
        match self {
            Self::Frr(frr) => frr.wait_established(gateway, timeout).map(drop),
            Self::Bird(bird) => bird.wait_established("edge", timeout),
        }
    }
}

/// Everything but the daemon.
#[derive(Debug)]
pub struct Topology {
    /// The upstream router at 198.51.100.0.
    pub isp_a: Router,
    /// The upstream router at 198.51.100.2.
    pub isp_b: Router,
    /// FRR on the server, which learns the way back from both upstream routers.
    pub server_frr: Frr,
    /// The server on the Internet.
    pub server: Host,
    /// The gateway's namespace: `eth-fabric`, `eth-isp-a`, `eth-isp-b`, without addresses.
    pub gateway: Host,
    /// The underlay's switch: `br0`.
    pub fabric: Host,
    /// The first hypervisor.
    pub hv1: Hypervisor,
    /// The second hypervisor.
    pub hv2: Hypervisor,
    /// 172.16.10.11 of blue, on hv1.
    pub blue_web1: Host,
    /// 172.16.10.12 of blue, on hv2.
    pub blue_web2: Host,
    /// 172.16.20.11 of blue, on hv2.
    pub blue_db1: Host,
    /// 172.16.10.11 of green, on hv1.
    pub green_web1: Host,
    /// 172.16.20.11 of green, on hv2.
    pub green_db1: Host,
    /// The laboratory.
    pub lab: Lab,
}

impl Topology {
    /// Builds it with FRR on both sides.
    ///
    /// # Errors
    /// When a piece does not come up.
    pub fn build() -> Result<Self> {
        Self::build_with(&RouterConfig::frr_a(), &RouterConfig::frr_b())
    }

    /// Builds it with these upstream routers.
    ///
    /// # Errors
    /// When a piece does not come up.
    pub fn build_with(isp_a: &RouterConfig, isp_b: &RouterConfig) -> Result<Self> {
        let lab = Lab::new()?;
        let gateway = lab.host("gateway")?;
        let fabric = lab.host("fabric")?;
        fabric.ip("link add name br0 type bridge\nlink set br0 up")?;
        gateway.cable("eth-fabric", &fabric, "gateway", MTU)?;
        fabric.ip("link set gateway master br0")?;
        let hv1 = Hypervisor::new(lab.host("hv1")?, &fabric, HV1_VTEP, MTU)?;
        let hv2 = Hypervisor::new(lab.host("hv2")?, &fabric, HV2_VTEP, MTU)?;
        for vni in [5001, 5002, 6001, 6002] {
            let segment = Segment {
                vni,
                vteps: vec![GATEWAY_VTEP, HV1_VTEP, HV2_VTEP],
            };
            hv1.add_segment(&segment)?;
            hv2.add_segment(&segment)?;
        }
        let web = Ipv4Addr::new(172, 16, 10, 1);
        let db = Ipv4Addr::new(172, 16, 20, 1);
        let at = |gateway: Ipv4Addr, host: u8| {
            let [a, b, c, _] = gateway.octets();
            Ipv4Addr::new(a, b, c, host)
        };
        let blue_web1 = hv1.add_vm("blue-web1", 5001, at(web, 11), "02:00:00:01:10:11", web)?;
        let blue_web2 = hv2.add_vm("blue-web2", 5001, at(web, 12), "02:00:00:01:10:12", web)?;
        let blue_db1 = hv2.add_vm("blue-db1", 5002, at(db, 11), "02:00:00:01:20:11", db)?;
        let green_web1 = hv1.add_vm("green-web1", 6001, at(web, 11), "02:00:00:02:10:11", web)?;
        let green_db1 = hv2.add_vm("green-db1", 6002, at(db, 11), "02:00:00:02:20:11", db)?;

        let internet = lab.host("internet")?;
        internet.ip("link add name br0 type bridge\nlink set br0 up")?;
        let isp_a_host = isp_host(&internet, &gateway, "isp-a", ISP_A, "192.0.2.1", BEHIND_A)?;
        let isp_b_host = isp_host(&internet, &gateway, "isp-b", ISP_B, "192.0.2.2", BEHIND_B)?;
        let server = lab.host("server")?;
        server.cable("eth0", &internet, "server", MTU)?;
        internet.ip("link set server master br0")?;
        server.ip(&format!(
            "addr add {SERVER}/24 dev eth0
             addr add {SERVER_2}/24 dev eth0
             addr add {BEHIND_A}/32 dev lo
             addr add {BEHIND_B}/32 dev lo"
        ))?;
        server.run("sysctl -qw net.ipv4.fib_multipath_hash_policy=1")?;
        Ok(Self {
            isp_a: Router::start(&isp_a_host, isp_a)?,
            isp_b: Router::start(&isp_b_host, isp_b)?,
            server_frr: Frr::start(&server, FRR_SERVER)?,
            server,
            gateway,
            fabric,
            hv1,
            hv2,
            blue_web1,
            blue_web2,
            blue_db1,
            green_web1,
            green_db1,
            lab,
        })
    }

    /// Starts the daemon and waits until both upstream routers have their session with it, the
    /// default route leads over both, and the server knows its way back over both.
    ///
    /// # Errors
    /// When it does not come up, with its log.
    pub fn start(&self, config: &Config) -> Result<Sekishod> {
        let sekishod = Sekishod::start(&self.gateway, &config.render())?;
        self.wait_established()
            .and_then(|()| wait_default(&sekishod, 2))
            .and_then(|()| self.wait_way_back("203.0.113.10"))
            .and_then(|()| match config.nat.contains("advertise = true") {
                true => self.wait_way_back(&config.first_pool()),
                false => Ok(()),
            })
            .with_context(|| format!("sekishod's log:\n{}", sekishod.log()))?;
        Ok(sekishod)
    }

    /// Waits until both upstream routers have their session with the gateway.
    ///
    /// # Errors
    /// When one has not in time.
    pub fn wait_established(&self) -> Result<()> {
        self.isp_a.wait_established(GATEWAY_A)?;
        self.isp_b.wait_established(GATEWAY_B)
    }

    /// Waits until the server's route to `prefix` leads over both upstream routers.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_way_back(&self, prefix: &str) -> Result<()> {
        let what = format!("the server's way to {prefix} leads over both routers");
        wait_until(ANNOUNCED, &what, || {
            let routes = self.server.run(&format!("ip route show {prefix}"))?;
            ensure!(routes.matches("via").count() == 2, "{routes:?}");
            Ok(())
        })
    }

    /// All hosts, for those who list them.
    #[must_use]
    pub fn hosts(&self) -> Vec<&Host> {
        vec![
            &self.gateway,
            &self.blue_web1,
            &self.blue_web2,
            &self.blue_db1,
            &self.green_web1,
            &self.green_db1,
            self.hv1.host(),
            self.hv2.host(),
            self.isp_a.host(),
            self.isp_b.host(),
            &self.server,
        ]
    }
}

/// Waits until the default route leads over `count` next hops and is in the FIB.
///
/// # Errors
/// When it is not in time, with the table.
pub fn wait_default(sekishod: &Sekishod, count: usize) -> Result<()> {
    let what = format!("the default route has {count} next hops in the FIB");
    wait_until(Duration::from_secs(15), &what, || {
        let table = sekishod.cli("show ip route")?;
        let hops = next_hops(&table, "0.0.0.0/0");
        if hops.len() == count {
            return Ok(());
        }
        bail!("{hops:?} in:\n{table}");
    })
}

/// The next hops of `prefix` that `show ip route` marks as in the FIB.
#[must_use]
pub fn next_hops(table: &str, prefix: &str) -> Vec<String> {
    let mut hops = Vec::new();
    let mut inside = false;
    for line in table.lines() {
        let first = line.chars().next();
        if first.is_some_and(|letter| !letter.is_whitespace()) {
            inside = line.split_whitespace().nth(1) == Some(prefix) && line.contains('>');
        }
        let marks: String = line.chars().take(4).collect();
        if !inside || !marks.contains('*') {
            continue;
        }
        if let Some((_, rest)) = line.split_once(" via ") {
            hops.extend(rest.split([',', ' ']).next().map(str::to_owned));
        }
    }
    hops
}

/// An upstream router's namespace, between the gateway and the Internet.
fn isp_host(
    internet: &Host,
    gateway: &Host,
    name: &str,
    address: &str,
    inner: &str,
    behind: &str,
) -> Result<Host> {
    let host = internet.lab().host(name)?;
    gateway.cable(&format!("eth-{name}"), &host, "eth-gw", MTU)?;
    host.cable("eth-inet", internet, name, MTU)?;
    internet.ip(&format!("link set {name} master br0"))?;
    host.run("sysctl -qw net.ipv4.ip_forward=1")?;
    host.ip(&format!(
        "addr add {address}/31 dev eth-gw
         addr add {inner}/24 dev eth-inet
         route add {behind}/32 via {SERVER}"
    ))?;
    Ok(host)
}

fn frr_isp(asn: u32, router_id: &str, gateway: &str, own: &str) -> String {
    format!(
        "router bgp {asn}
 bgp router-id {router_id}
 no bgp ebgp-requires-policy
 no bgp network import-check
 timers bgp 3 9
 neighbor {gateway} remote-as 65010
 neighbor {gateway} timers connect 1
 neighbor {SERVER} remote-as 64512
 neighbor {SERVER} timers connect 1
 address-family ipv4 unicast
  network 192.0.2.0/24
  network 198.18.1.0/24
  network {own}
  neighbor {gateway} default-originate
 exit-address-family
"
    )
}

const FRR_SERVER: &str = "ip prefix-list pools permit 203.0.113.0/24 le 32
ip prefix-list nothing deny any
router bgp 64512
 bgp router-id 192.0.2.80
 no bgp ebgp-requires-policy
 bgp bestpath as-path multipath-relax
 timers bgp 3 9
 neighbor 192.0.2.1 remote-as 65001
 neighbor 192.0.2.1 timers connect 1
 neighbor 192.0.2.2 remote-as 65002
 neighbor 192.0.2.2 timers connect 1
 address-family ipv4 unicast
  maximum-paths 2
  neighbor 192.0.2.1 prefix-list pools in
  neighbor 192.0.2.1 prefix-list nothing out
  neighbor 192.0.2.2 prefix-list pools in
  neighbor 192.0.2.2 prefix-list nothing out
 exit-address-family
";

const BIRD_B: &str = "log stderr all;
router id 192.0.2.2;
protocol device { }
protocol direct { ipv4; interface \"eth-inet\"; }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol static own {
  ipv4;
  route 0.0.0.0/0 unreachable;
  route 198.18.1.0/24 unreachable;
  route 198.18.20.0/24 via 192.0.2.80;
}
protocol bgp edge {
  local 198.51.100.2 as 65002;
  neighbor 198.51.100.3 as 65010;
  hold time 9;
  keepalive time 3;
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 1;
  ipv4 { import all; export where source != RTS_BGP; };
}
protocol bgp server {
  local 192.0.2.2 as 65002;
  neighbor 192.0.2.80 as 64512;
  hold time 9;
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 1;
  ipv4 { import none; export where source = RTS_BGP; next hop self; };
}
";

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Codes: C - connected, S - static, B - BGP, > - selected route, * - FIB route

B>* 0.0.0.0/0 [20/0] via 198.51.100.0, isp-a, weight 1, 00:00:03
  *                  via 198.51.100.2, isp-b, weight 1, 00:00:03
B>  192.0.2.0/24 [20/0] via 198.51.100.0, isp-a, weight 1, 00:00:03
C>* 198.51.100.0/31 is directly connected, isp-a, 00:00:09
";

    #[test]
    fn the_next_hops_of_a_route_are_those_marked_as_in_the_fib() {
        assert_eq!(next_hops(TABLE, "0.0.0.0/0"), [ISP_A, ISP_B]);
        assert!(next_hops(TABLE, "192.0.2.0/24").is_empty());
        assert!(next_hops(TABLE, "198.51.100.0/31").is_empty());
    }
}
