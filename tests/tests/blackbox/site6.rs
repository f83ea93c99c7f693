//! The topology with IPv6 beside IPv4.
//!
//! ```text
//!   blue and green: web 2001:db8:1010::/64, db 2001:db8:1020::/64, in both; only blue's are
//!   advertised. blue-web1 and green-web1 configure themselves, the others are configured.
//!        2001:db8:a::1 /  \ 2001:db8:b::1
//!        2001:db8:a::2 |  | 2001:db8:b::2, fe80::2
//!                  isp-a  isp-b
//!      2001:db8:99::1   \/   2001:db8:99::2
//!              server 2001:db8:99::80
//! ```

use anyhow::Result;
use sekisho_tests::config::Config;
use sekisho_tests::lab::wait_until;
use sekisho_tests::topology::Topology;

use crate::site::{SOON, Site, act};

/// The server's address.
pub(crate) const SERVER6: &str = "2001:db8:99::80";
/// The gateway of blue's and of green's web.
pub(crate) const WEB6: &str = "2001:db8:1010::1";
/// The address blue-web1 makes for itself.
pub(crate) const BLUE_WEB1: &str = "2001:db8:1010::ff:fe01:1011";
/// The gateway's address toward isp-a.
pub(crate) const GATEWAY_A6: &str = "2001:db8:a::1";
/// The link-local address of the gateway on blue's web.
pub(crate) const LOCAL6: &str = "fe80::53:4bff:fe00:1389";

/// The default configuration with IPv6.
pub(crate) fn config6() -> Config {
    let base = Config::default()
        .replace(
            "\"198.51.100.1/31\"",
            "\"198.51.100.1/31\", \"2001:db8:a::1/64\"",
        )
        .replace(
            "\"198.51.100.3/31\"",
            "\"198.51.100.3/31\", \"2001:db8:b::1/64\"",
        );
    let tenants = base.tenants.iter().zip(["advertise6 = true\n", ""]);
    let tenants = tenants.map(|(tenant, advertise)| {
        let with = |text: &str, gateway: &str, gateway6: &str| {
            let line = format!("gateway = \"{gateway}\"\n");
            text.replace(
                &line,
                &format!("{line}gateway6 = \"{gateway6}\"\n{advertise}"),
            )
        };
        let text = with(tenant, "172.16.10.1/24", "2001:db8:1010::1/64");
        let text = with(&text, "172.16.20.1/24", "2001:db8:1020::1/64");
        text + "\n[[tenant.route]]\nprefix = \"::/0\"\nvrf = \"provider\"\n"
    });
    Config {
        base: base.base.clone()
            + "\n[[route]]\nprefix = \"::/0\"\nnext-hops = [\"2001:db8:a::2\", \"fe80::2%isp-b\"]\n",
        tenants: tenants.collect(),
        ..base
    }
}

/// Plays on the topology with IPv6, everything up.
pub(crate) fn play6(scene: impl FnOnce(&mut Site) -> Result<()>) -> Result<()> {
    play_config6(&config6(), scene)
}

/// The same with this configuration.
pub(crate) fn play_config6(
    config: &Config,
    scene: impl FnOnce(&mut Site) -> Result<()>,
) -> Result<()> {
    let topology = Topology::build()?;
    add_ipv6(&topology)?;
    let sekishod = topology.start(config)?;
    let what = "both IPv6 next hops are in the FIB";
    if config.base.contains("::/0") {
        wait_until(SOON, what, || {
            let table = sekishod.cli("show ipv6 route")?;
            let hops = sekisho_tests::topology::next_hops(&table, "::/0");
            anyhow::ensure!(hops == ["2001:db8:a::2", "fe80::2"], "{table}");
            Ok(())
        })?;
    }
    act(Site { sekishod, topology }, scene)
}

fn add_ipv6(topology: &Topology) -> Result<()> {
    let isp = |host: &sekisho_tests::lab::Host, link: &str, own: &str| {
        host.run("sysctl -qw net.ipv6.conf.all.forwarding=1")?;
        host.ip(&format!(
            "addr add 2001:db8:{link}::2/64 dev eth-gw nodad
             addr add 2001:db8:99::{own}/64 dev eth-inet nodad
             route add 2001:db8:1000::/36 via 2001:db8:{link}::1"
        ))
    };
    isp(topology.isp_a.host(), "a", "1")?;
    isp(topology.isp_b.host(), "b", "2")?;
    topology
        .isp_b
        .host()
        .ip("addr add fe80::2/64 dev eth-gw nodad")?;
    topology
        .server
        .run("sysctl -qw net.ipv6.fib_multipath_hash_policy=1")?;
    topology.server.ip(&format!(
        "addr add {SERVER6}/64 dev eth0 nodad
         route add 2001:db8:1000::/36 nexthop via 2001:db8:99::1 nexthop via 2001:db8:99::2"
    ))?;
    for (vm, address, gateway) in [
        (&topology.blue_web2, "2001:db8:1010::12", "2001:db8:1010::1"),
        (&topology.blue_db1, "2001:db8:1020::11", "2001:db8:1020::1"),
        (&topology.green_db1, "2001:db8:1020::11", "2001:db8:1020::1"),
    ] {
        vm.run("sysctl -qw net.ipv6.conf.eth0.accept_ra=0")?;
        vm.ip(&format!(
            "addr add {address}/64 dev eth0 nodad
             route add default via {gateway}"
        ))?;
    }
    Ok(())
}
