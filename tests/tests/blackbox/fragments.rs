//! Fragments through NAT.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Capture, Sekishod, Server, wait_until};
use sekisho_tests::topology::{SERVER, Topology, wait_default};

use crate::raw::Injector;
use crate::site::{SOON, Site, act, play};

/// A forward of datagrams to blue-web2.
const FORWARD: &str = "
[[tenant.port-forward]]
protocol = \"udp\"
outside = \"203.0.113.20:5353\"
inside = \"172.16.10.12:5353\"
";

/// New bridges, and routers that have just told each other of routes.
const SETTLED: Duration = Duration::from_secs(40);

/// For scripts: the fragments of a packet, with `size` octets of payload each.
const CUT: &str = "def cut(packet, size=640):
    return fragment(IP(bytes(packet)), fragsize=size)
";

/// For scripts: a part of a packet of blue-web1 to the server.
const PART: &str = "def part(id, at, size, more=1, proto=17):
    return vx(inner(Raw(bytes([0x13, 0x88, 0, 9]) + b'.' * (size - 4)), dst='192.0.2.80',
                    id=id, frag=at // 8, flags=more, proto=proto))
";

/// Plays with so many workers and with uplinks that receive fragments as they are: under an
/// `af_packet` port the kernel puts outer packets together. TAPs, bridged to the cables, show what is
/// on the wire.
fn play_taps(workers: u8, scene: impl FnOnce(&mut Site) -> Result<()>) -> Result<()> {
    let topology = Topology::build()?;
    let mut config = Config::default();
    config.tenants[0].push_str(FORWARD);
    let mut config = config.replace("workers = 2", &format!("workers = {workers}"));
    let uplinks = ["isp-a", "isp-b"];
    for name in uplinks {
        config = config.replace(
            &format!("kind = \"af_packet\"\ninterface = \"eth-{name}\""),
            &format!("kind = \"tap\"\ninterface = \"tap-{name}\""),
        );
        topology.gateway.ip(&format!(
            "link add br-{name} type bridge
             link set br-{name} up
             link set eth-{name} master br-{name}"
        ))?;
    }
    let sekishod = Sekishod::start(&topology.gateway, &config.render())?;
    for name in uplinks {
        let gateway = &topology.gateway;
        gateway.ip(&format!("link set tap-{name} up master br-{name}"))?;
    }
    let ready = topology
        .wait_established()
        .and_then(|()| wait_default(&sekishod, 2))
        .and_then(|()| topology.wait_way_back("203.0.113.10"))
        .and_then(|()| topology.wait_way_back(&config.first_pool()));
    ready.with_context(|| format!("sekishod's log:\n{}", sekishod.log()))?;
    act(Site { sekishod, topology }, scene)
}

/// Datagrams of kernels, larger than the MTU, both ways: SNAT, port forward, hairpin, floating IP.
fn large_datagrams(site: &Site) -> Result<()> {
    let topology = &site.topology;
    let (vm, server) = (&topology.blue_web1, &topology.server);
    let _server = Server::mirror(server, 7002)?;
    let forwarded = Server::mirror(&topology.blue_web2, 5353)?;
    let _floating = Server::mirror(&topology.blue_db1, 5353)?;
    let (mirror, forward, floating) = (
        format!("{SERVER}:7002"),
        "203.0.113.20:5353",
        "203.0.113.10:5353",
    );
    for (from, to) in [
        (vm, mirror.as_str()),
        (server, forward),
        (vm, forward),
        (server, floating),
    ] {
        let what = format!("{} is reached from {}", to, from.name());
        wait_until(SETTLED, &what, || from.reflect(to, 10))?;
        wait_until(SETTLED, &what, || from.reflect(to, 4000))?;
    }
    for size in [1440, 30_000, 60_000] {
        vm.reflect(&mirror, size)?;
    }
    vm.ping(SERVER, "-s 4000")?;
    let seen = forwarded.log();
    ensure!(
        seen.contains("203.0.113.") && seen.contains(" 4000"),
        "{seen}"
    );
    Ok(())
}

/// Fragments in other orders than the right one, of two flows at a time.
fn any_order(site: &Site) -> Result<()> {
    let topology = &site.topology;
    let injector = Injector::new(site)?;
    let mut server = Server::listen(&topology.server, 7004)?;
    let _echo = Server::echo(&topology.server, &[7001])?;
    injector.send(&format!(
        "{CUT}def wrapped(sport, id, text):
    whole = IP(src='172.16.10.11', dst='192.0.2.80', id=id)/UDP(sport=sport, dport=7004)/(text + b'.' * 1900)
    return [vx(Ether(src=vm, dst=seg)/part) for part in cut(whole)]
put(list(reversed(wrapped(5001, 7, b'flow-a'))))
c, d = wrapped(5003, 9, b'flow-c'), wrapped(5004, 10, b'flow-d')
put([part for pair in zip(c[1:] + c[:1], d[2:] + d[:2]) for part in pair])"
    ))?;
    for flow in ["flow-a", "flow-c", "flow-d"] {
        server.wait_log(flow, SOON)?;
    }

    let clients = [(&topology.blue_web1, 4000), (&topology.blue_web2, 4001)];
    let target = format!("{SERVER}:7001");
    let mut script = format!("{CUT}parts = []\n");
    let (mut holds, mut addresses) = (Vec::new(), Vec::new());
    for (number, (host, port)) in clients.into_iter().enumerate() {
        let hold = Server::hold(host, port, &target)?;
        let seen = hold.seen_as()?;
        let (address, port) = seen.split_once(':').context("no port")?;
        // What is for one address and has one identification is one packet, to everybody.
        let id = 77 + u32::from(addresses.contains(&address.to_owned()));
        addresses.push(address.to_owned());
        script += &format!(
            "parts.append(cut(IP(src='{SERVER}', dst='{address}', id={id})
             /UDP(sport=7001, dport={port})/(b'answer-{number}' + b'.' * 1900)))\n"
        );
        holds.push(hold);
    }
    script +=
        "send([part for pair in zip(reversed(parts[0]), reversed(parts[1])) for part in pair])";
    topology.server.scapy(&script)?;
    for (number, hold) in holds.iter_mut().enumerate() {
        hold.wait_log(&format!("answer-{number}"), SOON)?;
    }
    Ok(())
}

#[test]
fn u16_fragments_pass_both_ways_in_any_order_with_one_worker() -> Result<()> {
    play_taps(1, |site| {
        large_datagrams(site)?;
        any_order(site)
    })
}

#[test]
fn u16_fragments_pass_both_ways_in_any_order_with_two_workers() -> Result<()> {
    play_taps(2, |site| {
        large_datagrams(site)?;
        any_order(site)
    })
}

#[test]
fn sec22_fragments_that_cannot_be_right_are_dropped_and_named() -> Result<()> {
    play(|site| {
        let injector = Injector::new(site)?;
        let filter = "src net 203.0.113.0/24 and not icmp and not tcp";
        let server = Capture::start(&site.topology.server, "eth0", filter)?;
        let cases = [
            (
                "part(1, 0, 16, proto=6), part(2, 8, 64, proto=6)",
                "fragment-tiny",
                2,
            ),
            ("part(3, 65520, 64, more=0)", "fragment-malformed", 1),
            (
                "part(4, 64, 64), part(4, 120, 64), part(4, 0, 64)",
                "fragment-overlap",
                3,
            ),
            (
                "part(5, 64, 8, more=0), part(5, 128, 8)",
                "fragment-overlap",
                2,
            ),
            ("part(6, 64, 64), part(6, 64, 64)", "fragment-duplicate", 1),
            (
                "*(part(7, at * 8, 8) for at in range(1, 66))",
                "fragment-too-many",
                1,
            ),
            ("part(8, 64, 64)", "fragment-timeout", 1),
        ];
        let parts: String = cases
            .iter()
            .flat_map(|(parts, ..)| [*parts, ", "])
            .collect();
        injector.send(&format!("{PART}put([{parts}])"))?;
        for &(_, reason, _) in &cases {
            let of_reason = cases.iter().filter(|(_, other, _)| *other == reason);
            let wanted: u64 = of_reason.map(|&(.., count)| count).sum();
            wait_until(SOON, &format!("{reason} is counted"), || {
                let dropped = site.sekishod.drops(reason)?;
                ensure!(dropped >= wanted, "{dropped}");
                Ok(())
            })?;
        }
        ensure!(server.count("ip")? == 0, "something left");
        Ok(())
    })
}

#[test]
fn sec22_a_flood_of_incomplete_packets_leaves_others_their_way() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let injector = Injector::new(site)?;
        let _mirror = Server::mirror(&topology.server, 7002)?;
        let mirror = format!("{SERVER}:7002");
        let green = &topology.green_db1;
        wait_until(SOON, "the mirror is reached", || green.reflect(&mirror, 10))?;
        let before = site.sekishod.drops("fragment-table-full")?;
        injector.send(&format!(
            "{PART}put([part(id, 64, 64) for id in range(3000)])"
        ))?;
        site.wait_dropped("fragment-table-full", before)?;
        // In two fragments on its way out.
        green.reflect(&mirror, 1460)
    })
}

#[test]
fn i13_an_error_about_a_later_fragment_is_dropped_and_about_a_first_one_translated() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let _echo = Server::echo(&topology.server, &[7001])?;
        let client = Server::hold(&topology.blue_web1, 4000, &format!("{SERVER}:7001"))?;
        let seen = client.seen_as()?;
        let (address, port) = seen.split_once(':').context("no port")?;
        let capture = Capture::start(&topology.blue_web1, "eth0", "icmp")?;
        let error = |frag: u16, payload: &str| {
            topology.server.scapy(&format!(
                "conf.L3socket = L3RawSocket
about = IP(src='{address}', dst='{SERVER}', flags='MF', frag={frag}, proto=17)/{payload}
send(IP(dst='{address}')/ICMP(type=11, code=1)/about)"
            ))
        };
        let before = site.sekishod.drops("nat-icmp-error")?;
        error(80, "Raw(b'x' * 64)")?;
        site.wait_dropped("nat-icmp-error", before)?;
        let udp = format!("UDP(sport={port}, dport=7001, len=1508)/Raw(b'x' * 64)");
        error(0, &udp)?;
        // Ports 4000 and 7001, as blue-web1 sent them: tshark reads no UDP in a fragment.
        let translated = "icmp.type == 11 && ip.src == 172.16.10.11 && frame contains 0f:a0:1b:59";
        capture.wait(translated, 1, SOON)?;
        ensure!(capture.count("icmp")? == 1);
        Ok(())
    })
}
