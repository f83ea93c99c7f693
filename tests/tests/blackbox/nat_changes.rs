//! Changes under traffic, odd sizes, and everything that can be made, unmade and made again.

use anyhow::{Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Capture, Host, Server, wait_until};
use sekisho_tests::topology::{SERVER, wait_default};

use crate::site::{SOON, play, play_config};

/// The default configuration with something of blue's replaced.
fn blue(from: &str, to: &str) -> Config {
    let mut config = Config::default();
    assert!(config.tenants[0].contains(from), "{from}");
    config.tenants[0] = config.tenants[0].replace(from, to);
    config
}

fn beat(vm: &Host) -> Result<Server> {
    Server::beat(vm, &format!("{SERVER}:7003"))
}

#[test]
fn a_pool_a_segment_and_a_tenant_go_with_their_sessions_and_nobody_elses() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let _echo = Server::tcp_echo(&topology.server, 7003)?;
        let _udp = Server::echo(&topology.server, &[7001])?;
        let green = beat(&topology.green_web1)?;
        let _blue = beat(&topology.blue_web1)?;
        let old = topology.blue_web1.ask(4000, &["192.0.2.80:7001"])?.concat();
        // Another pool: what is new gets its address there, what was there ends.
        let pool =
            "[[nat-pool]]\nname = \"other\"\naddresses = [\"203.0.113.128\"]\nadvertise = true\n\n";
        let mut config = blue("pool = \"public\"", "pool = \"other\"");
        config.nat = format!("{pool}{}", config.nat);
        site.sekishod.apply(&config.render())?;
        topology.wait_way_back("203.0.113.128")?;
        let new = topology.blue_web1.ask(4000, &["192.0.2.80:7001"])?.concat();
        ensure!(new.starts_with("203.0.113.128:"), "{new} after {old}");
        // A segment, an uplink's use and the tenant itself, each with sessions.
        let web = "[[tenant.segment]]\nname = \"web\"\nvni = 5001\ngateway = \"172.16.10.1/24\"\n\
                   vteps = [\"10.1.0.11\", \"10.1.0.12\"]\n";
        let mut without_web = config.clone();
        without_web.tenants[0] = without_web.tenants[0].replace(web, "").replace(
            "[[tenant.port-forward]]\nprotocol = \"tcp\"\noutside = \"203.0.113.20:8080\"\ninside = \"172.16.10.12:80\"\n",
            "",
        );
        let mut without_blue = config.clone();
        without_blue.tenants.remove(0);
        for config in [&without_web, &config, &without_blue, &config] {
            site.sekishod.apply(&config.render())?;
            green.wait_beats(5, SOON)?;
            let seen = topology.blue_web1.ask(4000, &["192.0.2.80:7001"])?.concat();
            let there = config.render().contains("vni = 5001");
            ensure!(
                seen.starts_with(if there { "203.0.113.128:" } else { "nothing" }),
                "{seen}"
            );
        }
        green.wait_beats(5, SOON)
    })
}

#[test]
fn everything_is_made_once_unmade_once_and_made_again() -> Result<()> {
    let base = Config::default();
    let objects = [
        "[[tenant.floating-ip]]\noutside = \"203.0.113.30\"\ninside = \"172.16.10.99\"\n",
        "[[tenant.port-forward]]\nprotocol = \"tcp\"\noutside = \"203.0.113.31:80\"\ninside = \"172.16.10.12:80\"\n",
        "[[tenant.snat]]\nsource = \"172.31.0.0/16\"\npool = \"public\"\n",
        "[[tenant.segment]]\nname = \"third\"\nvni = 5003\ngateway = \"172.16.30.1/24\"\nvteps = [\"10.1.0.11\"]\n",
        "[[tenant.route]]\nprefix = \"10.99.0.0/16\"\nvrf = \"provider\"\n",
        "[[nat-pool]]\nname = \"other\"\naddresses = [\"203.0.113.128/30\"]\n",
        "[[prefix-list]]\nname = \"other\"\nrules = [{ action = \"permit\", prefix = \"0.0.0.0/0\" }]\n",
        "[[route]]\nprefix = \"10.98.0.0/16\"\nnext-hop = \"198.51.100.0\"\n",
        "[[tenant]]\nname = \"third\"\n",
    ];
    play(|site| {
        let _echo = Server::tcp_echo(&site.topology.server, 7003)?;
        let client = beat(&site.topology.blue_web1)?;
        for object in objects {
            let with = |times: usize| {
                let mut config = base.clone();
                // What is a tenant's goes to the first, everything else after all tenants.
                let last = if object.starts_with("[[tenant.") {
                    0
                } else {
                    config.tenants.len() - 1
                };
                for _ in 0..times {
                    config.tenants[last].push('\n');
                    config.tenants[last].push_str(object);
                }
                config.render()
            };
            for round in 0..2 {
                let told = site.sekishod.apply(&with(1))?;
                ensure!(
                    !told.contains("nothing"),
                    "round {round} of {object}: {told}"
                );
                if !object.contains("172.31.0.0/16") {
                    let twice = site.sekishod.apply_output(&with(2))?;
                    ensure!(
                        twice.code != Some(0),
                        "{object} stands twice: {}",
                        twice.stdout
                    );
                }
                site.sekishod.apply(&with(0))?;
                let again = site.sekishod.apply(&with(0))?;
                ensure!(
                    !again.contains("added") && !again.contains("removed"),
                    "{again}"
                );
            }
        }
        client.wait_beats(5, SOON)
    })
}

#[test]
fn an_address_with_a_floating_ip_and_its_neighbour_with_snat_share_a_segment() -> Result<()> {
    let config = blue("inside = \"172.16.20.11\"", "inside = \"172.16.10.11\"");
    play_config(&config, |site| {
        let topology = &site.topology;
        let _echo = Server::tcp_echo(&topology.server, 7003)?;
        let _web = Server::web(&topology.blue_web1, 80)?;
        let target = format!("{SERVER}:7003");
        ensure!(topology.blue_web1.tcp_ask(4000, &target)? == "203.0.113.10:4000");
        let seen = topology.blue_web2.tcp_ask(4000, &target)?;
        ensure!(
            seen.starts_with("203.0.113.6") || seen.starts_with("203.0.113.7"),
            "{seen}"
        );
        for (from, sees) in [
            (&topology.server, "192.0.2.80:"),
            (&topology.blue_web2, "203.0.113."),
            (&topology.green_web1, "203.0.113."),
        ] {
            let page = wait_until(SOON, "the floating IP answers", || {
                from.fetch("203.0.113.10")
            })?;
            ensure!(
                page.starts_with(&format!("hello from blue-web1; you are {sees}")),
                "{page}"
            );
        }
        // Nobody answers a ping of a pool address.
        let before =
            site.sekishod.drops("nat-protocol")? + site.sekishod.drops("nat-no-mapping")?;
        topology.server.no_ping("203.0.113.70")?;
        let after = site.sekishod.drops("nat-protocol")? + site.sekishod.drops("nat-no-mapping")?;
        ensure!(after > before);
        Ok(())
    })
}

#[test]
fn a_jumbo_frame_harms_nobody() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        topology.blue_web1.wait_ping(SERVER, SOON)?;
        topology
            .fabric
            .ip("link set br0 mtu 9000\nlink set gateway mtu 9000\nlink set hv1 mtu 9000")?;
        topology
            .gateway
            .ip("link set eth-isp-a mtu 9000\nlink set eth-fabric mtu 9000")?;
        for (host, interface) in [
            (topology.isp_a.host(), "eth-gw"),
            (topology.hv1.host(), "eth0"),
        ] {
            host.ip(&format!("link set {interface} mtu 9000"))?;
            let own = if interface == "eth0" {
                "eth-fabric"
            } else {
                "eth-isp-a"
            };
            let capture = Capture::start(&topology.gateway, own, "greater 1600")?;
            host.scapy(&format!(
                "for size in (1473, 1600, 2000, 2048, 4000, 8900):
    for port in (9, 4789):
        for to in ('203.0.113.10', '203.0.113.70', '198.51.100.1', '10.1.0.1'):
            sendp(Ether(dst='{}')/IP(dst=to)/UDP(sport=9, dport=port)/Raw(bytes(size)), iface='{interface}')",
                topology.gateway.mac(own)?
            ))?;
            capture.wait("frame.len > 8900", 1, SOON)?;
        }
        wait_default(&site.sekishod, 2)?;
        site.sekishod.process()?;
        site.topology.blue_web1.wait_ping(SERVER, SOON)
    })
}
