//! IPv6 with the Linux kernel as hypervisors, virtual machines and upstream routers.

use anyhow::{Result, ensure};
use sekisho_tests::lab::{Capture, Host, Server, wait_until};

use crate::site::{SOON, Site};
use crate::site6::{BLUE_WEB1, GATEWAY_A6, LOCAL6, SERVER6, WEB6, config6, play_config6, play6};

/// What ping says in the end, whatever it is.
fn ping(host: &Host, options: &str, address: &str) -> Result<String> {
    let output = host.output(&format!("ping -n -c 1 -W 2 {options} {address}"))?;
    Ok(output.stdout + &output.stderr)
}

#[track_caller]
fn told(said: &str, by: &str, what: &str) -> Result<()> {
    ensure!(
        said.contains(&format!("From {by}")) && said.contains(what),
        "{said}"
    );
    Ok(())
}

/// Waits until blue-web1 has made itself an address, and reaches the server from it.
fn wait_configured(site: &Site) -> Result<()> {
    let vm = &site.topology.blue_web1;
    vm.wait_ping(SERVER6, SOON)
}

#[test]
fn a_machine_configures_itself_by_our_advertisement_and_reaches_the_internet() -> Result<()> {
    play6(|site| {
        wait_configured(site)?;
        let vm = &site.topology.blue_web1;
        let addresses = vm.run("ip -6 addr show dev eth0 scope global")?;
        ensure!(
            addresses.contains(&format!("{BLUE_WEB1}/64")),
            "{addresses}"
        );
        let route = vm.run("ip -6 route show default")?;
        ensure!(
            route.contains(&format!("via {LOCAL6} dev eth0 proto ra")),
            "{route}"
        );
        let mtu = vm.run("cat /proc/sys/net/ipv6/conf/eth0/mtu")?;
        ensure!(mtu.trim() == "1450", "{mtu}");
        site.topology.server.wait_ping(BLUE_WEB1, SOON)
    })
}

#[test]
fn a_configured_machine_reaches_the_internet_and_flows_spread_over_both_uplinks() -> Result<()> {
    play6(|site| {
        let topology = &site.topology;
        let vm = &topology.blue_web2;
        vm.wait_ping(SERVER6, SOON)?;
        let captures = [topology.isp_a.host(), topology.isp_b.host()]
            .map(|host| Capture::start(host, "eth-gw", "ip6 and udp dst port 9"));
        vm.run(&format!(
            "for port in $(seq 20000 20063); do \
             echo x | socat - UDP6-DATAGRAM:[{SERVER6}]:9,sourceport=$port 2>/dev/null || \
             python3 -c \"import socket; s=socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); \
             s.bind(('::', $port)); s.sendto(b'x', ('{SERVER6}', 9))\"; done"
        ))?;
        for capture in captures {
            let capture = capture?;
            capture.wait("udp", 10, SOON)?;
            // Once routed here.
            for hops in capture.packets("udp", &["ipv6.hlim"])?.concat() {
                ensure!(hops == "63", "{hops}");
            }
        }
        Ok(())
    })
}

#[test]
fn t17_the_segment_size_is_clamped_where_it_is_asked_for() -> Result<()> {
    let mut config = config6();
    config.tenants[0] =
        config.tenants[0].replacen("vni = 5001\n", "vni = 5001\nmss-clamp = \"1200\"\n", 1);
    play_config6(&config, |site| {
        let topology = &site.topology;
        topology.blue_web2.wait_ping(SERVER6, SOON)?;
        topology.blue_db1.wait_ping(SERVER6, SOON)?;
        let _web = Server::web6(&topology.server, 80)?;
        let capture = Capture::start(&topology.server, "eth0", "ip6 and tcp port 80")?;
        for (vm, size) in [(&topology.blue_web2, "1200"), (&topology.blue_db1, "1390")] {
            let wanted = format!(
                "tcp.flags.syn == 1 && tcp.flags.ack == 0 && tcp.options.mss_val == {size}"
            );
            vm.fetch(&format!("[{SERVER6}]"))?;
            ensure!(capture.count(&wanted)? == 1, "{size}");
        }
        let bad = "tcp.checksum.status == 0";
        ensure!(capture.count(bad)? == 0);
        Ok(())
    })
}

#[test]
fn segments_of_a_tenant_are_routed_and_overlapping_prefixes_are_kept_apart() -> Result<()> {
    play6(|site| {
        let topology = &site.topology;
        wait_configured(site)?;
        topology.blue_web1.wait_ping("2001:db8:1020::11", SOON)?;
        topology.green_web1.wait_ping("2001:db8:1020::11", SOON)?;
        // blue-web2 has an address that green has not, and the server's packets reach blue alone.
        topology.green_web1.no_ping("2001:db8:1010::12")?;
        let green = Capture::start(
            &topology.green_db1,
            "eth0",
            "icmp6 and src host 2001:db8:99::80",
        )?;
        topology.server.wait_ping("2001:db8:1020::11", SOON)?;
        ensure!(green.count("")? == 0, "green saw a packet for blue");
        Ok(())
    })
}

#[test]
fn l03_a_prefix_that_is_not_advertised_stays_inside_and_its_host_is_told() -> Result<()> {
    play6(|site| {
        let vm = &site.topology.green_db1;
        vm.wait_ping("2001:db8:1020::1", SOON)?;
        let before = site.sekishod.drops("not-advertised")?;
        told(
            &ping(vm, "", SERVER6)?,
            "2001:db8:1020::1",
            "Administratively prohibited",
        )?;
        site.wait_dropped("not-advertised", before)
    })
}

#[test]
fn l03_no_route_and_a_silent_neighbour_are_told() -> Result<()> {
    let mut config = config6();
    config.base = config
        .base
        .replace("prefix = \"::/0\"", "prefix = \"2001:db8:ff::/48\"");
    play_config6(&config, |site| {
        let vm = &site.topology.blue_web2;
        vm.wait_ping(WEB6, SOON)?;
        told(&ping(vm, "", SERVER6)?, WEB6, "No route")?;
        let said = vm.output("ping -n -c 1 -W 5 2001:db8:1020::99")?.stdout;
        told(&said, WEB6, "Address unreachable")
    })
}

#[test]
fn l01_the_hop_limit_falls_by_one_per_hop_and_its_end_is_told() -> Result<()> {
    play6(|site| {
        wait_configured(site)?;
        let vm = &site.topology.blue_web1;
        told(&ping(vm, "-t 1", SERVER6)?, WEB6, "Hop limit")?;
        let output = vm.run(&format!("traceroute -6 -n -q 1 -N 1 -w 2 {SERVER6}"))?;
        let hops: Vec<&str> = output
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().nth(1))
            .collect();
        let upstream = hops.get(1).copied().unwrap_or_default();
        let right = hops.len() == 3 && hops[0] == WEB6 && hops[2] == SERVER6;
        ensure!(right && upstream.starts_with("2001:db8:"), "{output}");
        // From outside, the gateway shows the address of the uplink.
        let output = site
            .topology
            .isp_a
            .host()
            .run(&format!("traceroute -6 -n -q 1 -N 1 -w 2 {BLUE_WEB1}"))?;
        ensure!(
            output.contains(GATEWAY_A6) && output.contains(BLUE_WEB1),
            "{output}"
        );
        Ok(())
    })
}

#[test]
fn m04_too_big_for_the_uplink_is_told_to_the_virtual_machine() -> Result<()> {
    let config = config6()
        .replace("\"2001:db8:a::1/64\"]", "\"2001:db8:a::1/64\"]\nmtu = 1300")
        .replace("\"2001:db8:b::1/64\"]", "\"2001:db8:b::1/64\"]\nmtu = 1300");
    play_config6(&config, |site| {
        wait_configured(site)?;
        let vm = &site.topology.blue_web1;
        let before = site.sekishod.drops("mtu-exceeded")?;
        told(
            &ping(vm, "-M do -s 1352", SERVER6)?,
            WEB6,
            "Packet too big: mtu=1300",
        )?;
        site.wait_dropped("mtu-exceeded", before)?;
        // Having learnt the path MTU, it fragments, and the fragments pass.
        vm.wait_ping(&format!("-s 2000 {SERVER6}"), SOON)
    })
}

#[test]
fn m04_too_big_for_the_tunnel_is_told_to_the_outside_sender() -> Result<()> {
    play6(|site| {
        wait_configured(site)?;
        let server = &site.topology.server;
        server.wait_ping(BLUE_WEB1, SOON)?;
        let said = ping(server, "-M do -s 1452", BLUE_WEB1)?;
        ensure!(said.contains("Packet too big: mtu=1450"), "{said}");
        let by_us = said.contains("From 2001:db8:a::1") || said.contains("From 2001:db8:b::1");
        ensure!(by_us, "{said}");
        let _web = Server::web6(&site.topology.blue_web1, 80)?;
        server.fetch(&format!("[{BLUE_WEB1}]")).map(drop)
    })
}

#[test]
fn l07_an_error_quotes_up_to_1280_octets() -> Result<()> {
    play6(|site| {
        wait_configured(site)?;
        let vm = &site.topology.blue_web1;
        let capture = Capture::start(vm, "eth0", "icmp6 and ip6[40] == 3")?;
        ping(vm, "-t 1 -s 1392", SERVER6)?;
        capture.wait("icmpv6.type == 3", 1, SOON)?;
        let lengths = capture
            .packets("icmpv6.type == 3", &["ipv6.plen"])?
            .concat();
        ensure!(
            lengths.iter().all(|plen| plen.starts_with("1240")),
            "{lengths:?}"
        );
        Ok(())
    })
}

#[test]
fn uplink_addresses_are_answered_for_by_the_kernel_and_not_for_tenants() -> Result<()> {
    play6(|site| {
        let topology = &site.topology;
        let isp_a = topology.isp_a.host();
        isp_a.wait_ping(GATEWAY_A6, SOON)?;
        let replies = isp_a.run(&format!("ping -n -c 3 -i 0.2 {GATEWAY_A6}"))?;
        ensure!(!replies.contains("DUP!"), "{replies}");
        // TCP: nobody listens, and the kernel says so.
        let refused = isp_a.output(&format!(
            "curl -sS --max-time 3 'http://[{GATEWAY_A6}]:9/' 2>&1"
        ))?;
        ensure!(refused.code == Some(7), "curl was not refused: {refused:?}");
        let rules = topology.gateway.run("ip -6 rule")?;
        ensure!(
            rules.contains(&format!("from {GATEWAY_A6} lookup 17900")),
            "{rules}"
        );
        let main = topology.gateway.run("ip -6 route show table main")?;
        ensure!(!main.contains("2001:db8"), "{main}");
        wait_configured(site)?;
        let before = site.sekishod.drops("gateway-service")?;
        topology.blue_web1.no_ping(GATEWAY_A6)?;
        site.wait_dropped("gateway-service", before)
    })
}

#[test]
fn link_local_addresses_of_ours_answer_on_uplinks_and_segments() -> Result<()> {
    play6(|site| {
        let topology = &site.topology;
        topology
            .blue_web1
            .wait_ping(&format!("{LOCAL6}%eth0"), SOON)?;
        let mac = topology.gateway.mac("eth-isp-a")?;
        let octets: Vec<u8> = mac
            .split(':')
            .map(|octet| u8::from_str_radix(octet, 16))
            .collect::<Result<_, _>>()?;
        let local = format!(
            "fe80::{:02x}{:02x}:{:02x}ff:fe{:02x}:{:02x}{:02x}",
            octets[0] ^ 2,
            octets[1],
            octets[2],
            octets[3],
            octets[4],
            octets[5]
        );
        topology
            .isp_a
            .host()
            .wait_ping(&format!("{local}%eth-gw"), SOON)?;
        // What is not ours is not routed.
        let before = site.sekishod.drops("beyond-scope")?;
        let gateway = topology.gateway.mac("eth-isp-a")?;
        topology.isp_a.host().scapy(&format!(
            "sendp(Ether(dst='{gateway}')/IPv6(src='fe80::9', dst='{BLUE_WEB1}')\
             /UDP(sport=1, dport=9), iface='eth-gw')"
        ))?;
        site.wait_dropped("beyond-scope", before)
    })
}

#[test]
fn the_tables_are_shown() -> Result<()> {
    play6(|site| {
        wait_configured(site)?;
        let sekishod = &site.sekishod;
        let routes = sekishod.cli("show ipv6 route")?;
        for line in [
            "S>* ::/0 [1/0] via 2001:db8:a::2, isp-a, weight 1",
            "via fe80::2, isp-b, weight 1",
            "C>* 2001:db8:a::/64 is directly connected, isp-a",
            "L>* 2001:db8:a::1/128 is directly connected, isp-a",
            "S>* 2001:db8:1010::/64 [1/0] via VRF blue",
        ] {
            ensure!(routes.contains(line), "{line:?} is not in\n{routes}");
        }
        ensure!(!routes.contains("198.51.100"), "{routes}");
        ensure!(!sekishod.cli("show ip route")?.contains("2001:"));
        let blue = sekishod.cli("show ipv6 route vrf blue")?;
        ensure!(
            blue.contains("C>* 2001:db8:1010::/64 is directly connected, web"),
            "{blue}"
        );
        let one = sekishod.cli("show ipv6 route 2001:db8:99::80")?;
        ensure!(one.contains("Routing entry for ::/0"), "{one}");
        let neighbors = sekishod.cli("show ipv6 neighbors")?;
        let mac = site.topology.isp_b.host().mac("eth-gw")?;
        let line = neighbors.lines().find(|line| line.starts_with("fe80::2 "));
        ensure!(
            line.is_some_and(|line| line.contains(&mac) && line.contains("isp-b")),
            "{neighbors}"
        );
        let blue = sekishod.cli("show ipv6 neighbors vrf blue")?;
        ensure!(
            blue.contains(BLUE_WEB1) && blue.contains("10.1.0.11"),
            "{blue}"
        );
        let json = sekishod.cli_json("show ipv6 neighbors")?;
        let known = json.as_array().is_some_and(|all| {
            all.iter()
                .any(|one| one["address"] == "2001:db8:a::2" && one["state"] == "reachable")
        });
        ensure!(known, "{json}");
        let endpoints = sekishod.cli("show endpoints vrf blue")?;
        ensure!(endpoints.contains(BLUE_WEB1), "{endpoints}");
        let interfaces = sekishod.cli("show interfaces")?;
        ensure!(
            interfaces.contains("inet6 2001:db8:a::1/64"),
            "{interfaces}"
        );
        Ok(())
    })
}

#[test]
fn a_segment_gets_ipv6_while_it_runs_and_loses_it_again() -> Result<()> {
    let mut without = config6();
    without.tenants[0] = without.tenants[0].replace(
        "gateway6 = \"2001:db8:1010::1/64\"\nadvertise6 = true\n",
        "",
    );
    play_config6(&without, |site| {
        let vm = &site.topology.blue_web1;
        vm.wait_ping("172.16.10.1", SOON)?;
        site.sekishod.apply(&config6().render())?;
        vm.wait_ping(SERVER6, SOON)?;
        site.sekishod.apply(&without.render())?;
        let before = site.sekishod.drops("ipv6-disabled")?;
        vm.no_ping(SERVER6)?;
        site.wait_dropped("ipv6-disabled", before)
    })
}

#[test]
fn a_dead_ipv6_next_hop_is_noticed_and_left() -> Result<()> {
    play6(|site| {
        wait_configured(site)?;
        site.topology
            .isp_a
            .host()
            .ip("addr del 2001:db8:a::2/64 dev eth-gw")?;
        site.topology
            .isp_a
            .host()
            .run("ip -6 addr flush dev eth-gw")?;
        let vm = &site.topology.blue_web1;
        let what = "every flow goes over isp-b";
        wait_until(3 * SOON, what, || {
            vm.run(&format!("ping -n -c 20 -i 0.01 -W 1 {SERVER6}"))
                .map(drop)?;
            let drops = ["next-hop-down", "neighbor-unresolved"];
            drops
                .iter()
                .try_for_each(|reason| site.sekishod.drops(reason).map(drop))
        })
    })
}
