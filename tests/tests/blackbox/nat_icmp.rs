//! ICMP through NAT (RFC 5508).

use anyhow::{Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Capture, Host, Server, sum_of_keys};
use sekisho_tests::topology::{ISP_A, SERVER};

use crate::ends::between_ends;
use crate::raw::Injector;
use crate::site::{SOON, play, play_both, play_config};

/// Whether the kernel believes an error about a datagram of its own.
fn refused(vm: &Host, destination: &str) -> Result<()> {
    let script = format!(
        "/usr/bin/python3 -c 'import socket
address, port = \"{destination}\".split(\":\")
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
s.connect((address, int(port)))
s.send(b\"x\")
try:
    s.recv(9)
except ConnectionRefusedError:
    print(\"refused\")'"
    );
    let output = vm.output(&script)?;
    ensure!(output.stdout.contains("refused"), "{output:?}");
    Ok(())
}

#[test]
fn i03_i04_i13_a_damaged_error_is_dropped_and_the_sum_behind_the_quote_is_nobodys_business()
-> Result<()> {
    play(|site| {
        let before = site.sekishod.drops("nat-icmp-error")?;
        let script = "
def error(about, **fields):
    return IP(src='198.51.100.0', dst=about.src)/ICMP(**{'type': 3, 'code': 1, **fields})/about
def answer(about, **fields):
    return IP(src=HOST, dst=FAR)/ICMP(**{'type': 3, 'code': 3, **fields})/about
def damaged(packet):
    packet = packet.copy()
    packet[IP].chksum ^= 0x0101
    return packet
def cut(make, about, size):
    whole = make(about)
    return IP(src=whole.src, dst=whole.dst)/ICMP(type=3, code=1)/Raw(bytes(about)[:size])
came = back(known.src, UDP(sport=9, dport=known.sport)/b'hello')
for end, make, about in ((outside, error, known), (inside, answer, came)):
    flow = bytes(about[UDP])
    fragment = IP(src=about.src, dst=about.dst, proto=17, frag=5)/Raw(flow)
    nested = IP(src=about.src, dst=about.dst)/ICMP(type=3, code=1)/IP(bytes(about))
    lost(end, make(about, chksum=0x1234))
    lost(end, make(damaged(about)))
    for size in (0, 10, 19, 20, 22):
        lost(end, cut(make, about, size))
    lost(end, make(fragment), make(nested))
    # What is behind the quoted header needs no right sum (REQ-3), and eight octets of it suffice.
    wrong = about.copy()
    wrong[UDP].chksum ^= 0x0101
    other = inside if end is outside else outside
    end.put(make(wrong))
    assert other.take()[ICMP].type == 3
    end.put(cut(make, about, 28))
    assert summed(other.take())[ICMP].type == 3
";
        between_ends(site, script)?;
        let dropped = site.sekishod.drops("nat-icmp-error")? - before;
        ensure!(dropped == 18, "{dropped} were dropped");
        // The same for a floating IP, which needs no session, and whose errors quote somebody else.
        let isp_a = site.topology.isp_a.host();
        let capture = Capture::start(&site.topology.blue_db1, "eth0", "icmp")?;
        let before = site.sekishod.drops("nat-icmp-error")?;
        isp_a.scapy(&format!(
            "def error(about, **fields):
    send(IP(dst='203.0.113.10')/ICMP(**{{'type': 3, 'code': 1, **fields}})/about)
flow = IP(src='203.0.113.10', dst='{SERVER}')/UDP(sport=5, dport=6)/b'x'
error(flow, chksum=0x1234)
error(IP(src='203.0.113.10', dst='{SERVER}', chksum=0x1234)/UDP(sport=5, dport=6))
error(IP(src='203.0.113.99', dst='{SERVER}')/UDP(sport=5, dport=6))
error(IP(src='203.0.113.10', dst='{SERVER}')/ICMP(type=3, code=1)/flow)
error(flow, type=5)
error(flow)"
        ))?;
        capture.wait("icmp.type == 3", 1, SOON)?;
        let seen = capture.packets("icmp", &["ip.src", "ip.dst", "udp.srcport"])?;
        ensure!(
            seen == [[
                format!("{ISP_A},172.16.20.11"),
                format!("172.16.20.11,{SERVER}"),
                "5".into()
            ]],
            "{seen:?}"
        );
        let dropped = site.sekishod.drops("nat-icmp-error")? - before;
        ensure!(dropped == 5, "{dropped} were dropped");
        Ok(())
    })
}

#[test]
fn i06_i07_i09_errors_pass_outward_inward_and_through_a_hairpin() -> Result<()> {
    let config = Config::default().replace(
        "pool = \"public\"",
        "pool = \"public\"\nfiltering = \"endpoint-independent\"",
    );
    play_both(&config, |site| {
        let topology = &site.topology;
        let (one, two) = (&topology.blue_web1, &topology.blue_web2);
        let echo = Server::echo(&topology.server, &[7001])?;
        let target = format!("{SERVER}:7001");
        let outside = one.ask(4000, &[&target])?.concat();
        drop(echo);
        // From outside to inside, from inside to outside, and from inside to inside.
        refused(one, &target)?;
        refused(&topology.server, &outside)?;
        refused(two, &outside)?;
        refused(&topology.green_web1, &outside)?;
        refused(two, "203.0.113.11:7001")?;
        // A ping through a hairpin shows the sender's outside address.
        let capture = Capture::start(&topology.green_db1, "eth0", "icmp[icmptype] == icmp-echo")?;
        one.wait_ping("203.0.113.11", SOON)?;
        let seen = capture.packets("icmp", &["ip.src"])?.concat();
        ensure!(
            seen.iter().all(|source| source.starts_with("203.0.113.")),
            "{seen:?}"
        );
        // The kernel believes none that is not about its own datagram; the quote is checked here.
        let (address, port) = outside.split_once(':').unwrap_or_default();
        let capture = Capture::start(&topology.server, "eth0", "icmp")?;
        let injector = Injector::new(site)?;
        injector.send(&format!(
            "about = IP(src='{SERVER}', dst='172.16.10.11')/UDP(sport=7001, dport=4000)/b'x'
put(vx(inner(ICMP(type=11)/about, dst='{SERVER}')))
put(vx(inner(ICMP(type=11)/about, src='172.16.10.77', dst='{SERVER}')))"
        ))?;
        capture.wait("icmp.type == 11", 2, SOON)?;
        let fields = ["ip.src", "ip.dst", "udp.dstport", "icmp.checksum.status"];
        for seen in capture.packets("icmp.type == 11", &fields)? {
            let wanted = [
                format!("{address},{SERVER}"),
                format!("{SERVER},{address}"),
                port.to_owned(),
                "1".to_owned(),
            ];
            ensure!(seen == wanted, "{seen:?} instead of {wanted:?}");
        }
        Ok(())
    })
}

#[test]
fn i08_u14_errors_neither_end_nor_refresh_what_they_are_about() -> Result<()> {
    play(|site| {
        let script = "
ping = out(ICMP(type=8, id=77)/b'ping')
for protocol, port, about in (('udp', FLOW, known), ('icmp', 77, ping)):
    until('it idles', lambda: session(port, protocol)['idle_seconds'] >= 2)
    before = session(port, protocol)
    for kind, code in ((3, 0), (3, 1), (3, 3), (3, 13), (4, 0), (11, 0), (12, 0)):
        outside.put(IP(src='198.51.100.0', dst=about.src)/ICMP(type=kind, code=code)/about)
        seen = summed(inside.take())
        assert (seen[ICMP].type, seen[IPerror].src) == (kind, HOST), seen.show(dump=True)
    after = session(port, protocol)
    assert after['idle_seconds'] >= 2 and after['outside_port'] == before['outside_port'], after
reply = back(ping.src, ICMP(type=0, id=ping[ICMP].id)/b'pong')
assert reply[ICMP].id == 77
# Octets behind the end of a packet are not part of it, and do not come along.
outside.put(IP(src=FAR, dst=ping.src, len=28)/ICMP(type=0, id=ping[ICMP].id)/Raw(bytes(40)))
assert len(bytes(inside.take())) == 28
";
        between_ends(site, script).map(drop)
    })
}

#[test]
fn i10_c11_a_host_without_a_free_port_is_told_now_and_then_and_others_go_on() -> Result<()> {
    let config = Config::default()
        .replace(
            "addresses = [\"203.0.113.64/28\"]",
            "addresses = [\"203.0.113.64\"]",
        )
        .replace("ports = \"1024-65535\"", "ports = \"1024-1151\"");
    play_config(&config, |site| {
        let topology = &site.topology;
        let _echo = Server::echo(&topology.server, &[7001])?;
        let other = Server::hold(&topology.green_web1, 4000, &format!("{SERVER}:7001"))?;
        other.seen_as()?;
        let before = site.sekishod.drops("nat-ports-exhausted")?;
        let injector = Injector::new(site)?;
        // Twenty thousand flows as fast as one socket sends them.
        let told = injector.send_and_count(
            &format!(
                "frame = bytearray(bytes(vx(inner(UDP(sport=1, dport=9, chksum=0)/b'x', dst='{SERVER}'))))
frame[40:42] = bytes(2)
wire = conf.L2socket(iface='eth0')
for port in range(20000, 40000):
    frame[84:86] = port.to_bytes(2, 'big')
    wire.outs.send(frame)"
            ),
            "icmp.type == 3 && icmp.code == 13",
        )?;
        let dropped = site.sekishod.drops("nat-ports-exhausted")? - before;
        ensure!(dropped > 10_000, "{dropped} dropped");
        ensure!(
            told > 0 && (told as u64) < dropped,
            "{told} told of {dropped}"
        );
        let sessions = site.sekishod.cli_json("show nat tenants")?;
        ensure!(sum_of_keys(&sessions, "sessions") <= 128, "{sessions:#}");
        topology
            .server
            .send_datagram(7001, &other.seen_as()?, "still-here")?;
        sekisho_tests::lab::wait_until(SOON, "others go on", || {
            ensure!(other.log().contains("still-here"), "{}", other.log());
            Ok(())
        })
    })
}

#[test]
fn i11_an_interface_that_is_told_to_be_silent_tells_path_mtus_only() -> Result<()> {
    let mut config = Config::default();
    config.tenants[0] =
        config.tenants[0].replace("vni = 5001\n", "vni = 5001\nicmp-errors = false\n");
    let config = config
        .replace(
            "addresses = [\"198.51.100.1/31\"]",
            "addresses = [\"198.51.100.1/31\"]\nmtu = 1400",
        )
        .replace(
            "addresses = [\"198.51.100.3/31\"]",
            "addresses = [\"198.51.100.3/31\"]\nmtu = 1400\nicmp-errors = false",
        );
    play_config(&config, |site| {
        let topology = &site.topology;
        let (silent, loud) = (&topology.blue_web1, &topology.blue_db1);
        silent.wait_ping(SERVER, SOON)?;
        let hop = |vm: &Host| -> Result<bool> {
            let output = vm.output(&format!("ping -n -c 1 -W 1 -t 1 {SERVER}"))?;
            Ok(output.stdout.contains("Time to live exceeded"))
        };
        ensure!(hop(loud)?, "the other segment's hosts are told");
        ensure!(!hop(silent)?, "the silent segment's hosts are not");
        let output = silent.output(&format!("ping -n -c 1 -W 1 -M do -s 1400 {SERVER}"))?;
        ensure!(
            output.stdout.contains("mtu = 1400") || output.stdout.contains("mtu=1400"),
            "{output:?}"
        );
        // From outside: nothing is routed to this address of the tenant's floating IP but a hop.
        for (router, told) in [(&topology.isp_a, 1), (&topology.isp_b, 0)] {
            let host = router.host();
            let capture = Capture::start(host, "eth-gw", "icmp[icmptype] == icmp-timxceed")?;
            let before = site.sekishod.drops("ttl-expired")?;
            let gateway = topology.gateway.mac(&format!("eth-{}", host.name()))?;
            host.scapy(&format!(
                "sendp(Ether(dst='{gateway}')/IP(dst='203.0.113.10', ttl=1)/UDP(dport=9), iface='eth-gw')"
            ))?;
            site.wait_dropped("ttl-expired", before)?;
            host.wait_ping(
                &format!("198.51.100.{}", if told == 1 { 1 } else { 3 }),
                SOON,
            )?;
            ensure!(capture.count("icmp")? == told, "{}", host.name());
        }
        Ok(())
    })
}

#[test]
fn i12_other_messages_are_dropped_by_name_and_never_translated_wrongly() -> Result<()> {
    play(|site| {
        let before = |reason: &str| site.sekishod.drops(reason);
        let (protocol, error) = (before("nat-protocol")?, before("nat-icmp-error")?);
        let script = "
lost(inside, *[IP(src=HOST, dst=FAR)/ICMP(type=kind, id=5)/b'x' for kind in (9, 10, 13, 15, 17, 42)])
lost(inside, IP(src=HOST, dst=FAR)/ICMP(type=5, gw='172.16.10.9')/known)
lost(outside, *[IP(src=FAR, dst=known.src)/ICMP(type=kind, id=known.sport)/b'x' for kind in (9, 10, 13, 14, 17, 42)])
lost(outside, IP(src=FAR, dst=known.src)/ICMP(type=5, gw='198.51.100.9')/known)
lost(outside, IP(src=FAR, dst=known.src)/ICMP(type=8, id=known.sport)/b'ping')
";
        between_ends(site, script)?;
        let dropped = before("nat-protocol")? - protocol;
        ensure!(dropped == 6, "{dropped} as nat-protocol");
        let dropped = before("nat-icmp-error")? - error;
        ensure!(dropped == 2, "{dropped} as nat-icmp-error");
        Ok(())
    })
}
