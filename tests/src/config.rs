//! The gateway's configuration for the topology, in parts that a test can change.

use std::fmt::Write as _;

/// A configuration as text, in parts; [`Config::render`] joins them.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[gateway]`, `[underlay]`, `[[port]]`, `[[uplink]]`, `[[route]]`.
    pub base: String,
    /// `[bgp]` and the prefix lists.
    pub bgp: String,
    /// Pools and timers.
    pub nat: String,
    /// One text a tenant.
    pub tenants: Vec<String>,
}

impl Config {
    /// The whole document. `{socket}` stands where the path of the API socket belongs.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("{}\n{}\n{}", self.base, self.bgp, self.nat);
        for tenant in &self.tenants {
            let _ = write!(text, "\n{tenant}");
        }
        text
    }

    /// The first address or prefix of the first pool.
    #[must_use]
    pub fn first_pool(&self) -> String {
        self.nat
            .lines()
            .find_map(|line| line.strip_prefix("addresses = [\"")?.split('"').next())
            .unwrap_or_default()
            .to_owned()
    }

    /// The same with `from` replaced by `to`, everywhere.
    ///
    /// # Panics
    /// When `from` occurs nowhere: the test would not test what it says.
    #[must_use]
    pub fn replace(&self, from: &str, to: &str) -> Self {
        assert!(
            self.render().contains(from),
            "{from:?} is not in the configuration"
        );
        Self {
            base: self.base.replace(from, to),
            bgp: self.bgp.replace(from, to),
            nat: self.nat.replace(from, to),
            tenants: self
                .tenants
                .iter()
                .map(|tenant| tenant.replace(from, to))
                .collect(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base: BASE.to_owned(),
            bgp: BGP.to_owned(),
            nat: NAT.to_owned(),
            tenants: vec![BLUE.to_owned(), GREEN.to_owned()],
        }
    }
}

const BASE: &str = r#"[gateway]
hostname = "gw1"
workers = 2
hugepages = "auto"
memory-mib = 256
max-sessions = 100000
api-socket = "{socket}"
host-interface = "sekisho0"

[underlay]
address = "10.1.0.1"
vxlan-port = 4789

[[port]]
name = "fabric"
kind = "af_packet"
interface = "eth-fabric"
mtu = 1500

[[port]]
name = "isp-a"
kind = "af_packet"
interface = "eth-isp-a"
mtu = 1500

[[port]]
name = "isp-b"
kind = "af_packet"
interface = "eth-isp-b"
mtu = 1500

[[uplink]]
name = "fabric"
port = "fabric"
addresses = ["10.1.0.1/24"]

[[uplink]]
name = "isp-a"
port = "isp-a"
addresses = ["198.51.100.1/31"]

[[uplink]]
name = "isp-b"
port = "isp-b"
addresses = ["198.51.100.3/31"]
"#;

const BGP: &str = r#"[bgp]
as = 65010
router-id = "10.1.0.1"
maximum-paths = 16

[[bgp.neighbor]]
address = "198.51.100.0"
remote-as = 65001
description = "isp-a"
import = "from-isp"
export = "to-isp"
hold-time = "9s"
connect-retry-time = "1s"

[[bgp.neighbor]]
address = "198.51.100.2"
remote-as = 65002
description = "isp-b"
import = "from-isp"
export = "to-isp"
hold-time = "9s"
connect-retry-time = "1s"

[[prefix-list]]
name = "from-isp"
rules = [
  { action = "permit", prefix = "0.0.0.0/0", le = 24 },
]

[[prefix-list]]
name = "to-isp"
rules = [
  { action = "permit", prefix = "203.0.113.0/24", ge = 24, le = 32 },
]
"#;

const NAT: &str = r#"[[nat-pool]]
name = "public"
addresses = ["203.0.113.64/28"]
ports = "1024-65535"
advertise = true

[nat]
udp-timeout = "5m"
tcp-established-timeout = "7440s"
tcp-transitory-timeout = "4m"
icmp-timeout = "60s"
"#;

const BLUE: &str = r#"[[tenant]]
name = "blue"

[[tenant.segment]]
name = "web"
vni = 5001
gateway = "172.16.10.1/24"
vteps = ["10.1.0.11", "10.1.0.12"]

[[tenant.segment]]
name = "db"
vni = 5002
gateway = "172.16.20.1/24"
vteps = ["10.1.0.11", "10.1.0.12"]

[[tenant.route]]
prefix = "0.0.0.0/0"
vrf = "provider"

[[tenant.snat]]
source = "172.16.0.0/16"
pool = "public"

[[tenant.floating-ip]]
outside = "203.0.113.10"
inside = "172.16.20.11"

[[tenant.port-forward]]
protocol = "tcp"
outside = "203.0.113.20:8080"
inside = "172.16.10.12:80"
"#;

const GREEN: &str = r#"[[tenant]]
name = "green"

[[tenant.segment]]
name = "web"
vni = 6001
gateway = "172.16.10.1/24"
vteps = ["10.1.0.11", "10.1.0.12"]

[[tenant.segment]]
name = "db"
vni = 6002
gateway = "172.16.20.1/24"
vteps = ["10.1.0.11", "10.1.0.12"]

[[tenant.route]]
prefix = "0.0.0.0/0"
vrf = "provider"

[[tenant.snat]]
source = "172.16.0.0/16"
pool = "public"

[[tenant.floating-ip]]
outside = "203.0.113.11"
inside = "172.16.20.11"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_joined_in_order() {
        let text = Config::default().render();
        let places: Vec<usize> = ["[gateway]", "[bgp]", "[nat]", "\"blue\"", "\"green\""]
            .iter()
            .map(|part| text.find(part).unwrap())
            .collect();
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    #[should_panic(expected = "is not in the configuration")]
    fn replacing_what_is_not_there_is_an_error_of_the_test() {
        let _ = Config::default().replace("no such text", "");
    }
}
