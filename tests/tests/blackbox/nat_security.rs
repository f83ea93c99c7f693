//! What somebody with bad intentions tries against NAT, from off the path and from a tenant.

use anyhow::{Context, Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Capture, Server, sum_of_keys, wait_until};
use sekisho_tests::topology::SERVER;

use crate::ends::between_ends;
use crate::raw::Injector;
use crate::site::{SOON, Site, play, play_config};

#[test]
fn duty01_a_sweep_of_forged_resets_and_errors_loses_no_session() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let _echo = Server::tcp_echo(&topology.server, 7003)?;
        let client = Server::beat(&topology.blue_web1, &format!("{SERVER}:7003"))?;
        let outside = client.seen_as()?;
        let (address, port) = outside.split_once(':').context("no port")?;
        let received = |site: &Site| -> Result<u64> {
            Ok(sum_of_keys(&site.sekishod.cli_json("show workers")?, "rx"))
        };
        let before = received(site)?;
        // A reset into each window of 64 KiB, and an error about each port the host may have.
        topology.isp_a.host().scapy(&format!(
            "def sums(frame, at, place, value):
    old = int.from_bytes(frame[at:at + 2], 'big')
    total = (~int.from_bytes(frame[place:place + 2], 'big') & 0xffff) + (~old & 0xffff) + value
    total = (total & 0xffff) + (total >> 16)
    total = (total & 0xffff) + (total >> 16)
    frame[place:place + 2] = (~total & 0xffff).to_bytes(2, 'big')
    frame[at:at + 2] = value.to_bytes(2, 'big')
to = Ether(src=get_if_hwaddr('eth-gw'), dst='{}')
reset = to/IP(src='{SERVER}', dst='{address}')/TCP(sport=7003, dport={port}, flags='R', seq=0)
about = IP(src='{address}', dst='{SERVER}')/TCP(sport=0, dport=7003, seq=1)
error = to/IP(src='198.51.100.0', dst='{address}')/ICMP(type=3, code=4, nexthopmtu=68)/about
wire = conf.L2socket(iface='eth-gw')
reset, error = bytearray(bytes(reset)), bytearray(bytes(error))
for number in range(1 << 16):
    sums(reset, 38, 50, number)
    sums(error, 62, 36, number)
    wire.outs.send(reset)
    wire.outs.send(error)",
            topology.gateway.mac("eth-isp-a")?,
        ))?;
        ensure!(
            received(site)? - before > 100_000,
            "the sweep did not arrive"
        );
        client.wait_beats(20, SOON)?;
        let sessions = site.sekishod.cli("show nat sessions protocol tcp")?;
        ensure!(sessions.contains(&outside), "{sessions}");
        Ok(())
    })
}

#[test]
fn duty08_duty14_open_and_closed_ports_answer_alike_and_only_the_exact_flow_gets_in() -> Result<()>
{
    let config = Config::default().replace(
        "pool = \"public\"",
        "pool = \"public\"\nfiltering = \"address-and-port-dependent\"",
    );
    play_config(&config, |site| {
        let script = "
STRANGER = '198.51.100.0'
tcp = Tcp(4000).open()
def heard(timeout):
    'What the gateway says to the stranger, but for its own ping.'
    frame, kinds = None, []
    watch.settimeout(timeout)
    while True:
        frame, (_, _, kind, *_) = watch.recvfrom(65535)
        packet = Ether(frame)
        if kind == OUTGOING or IP not in packet or packet[IP].dst != STRANGER or ICMP not in packet:
            continue
        if packet[ICMP].type == 0 and packet[ICMP].id == 4242:
            return kinds
        kinds.append((packet[ICMP].type, packet[ICMP].code, len(packet)))
watch = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
watch.bind(('eth-gw', 0))
ping = IP(src=STRANGER, dst='198.51.100.1')/ICMP(id=4242)
def probes(address, udp, tcp):
    to = dict(src=STRANGER, dst=address)
    return [
        IP(**to)/UDP(sport=9, dport=udp)/b'x',
        IP(ttl=1, **to)/UDP(sport=9, dport=udp)/b'x',
        IP(ttl=1, **to)/TCP(sport=9, dport=tcp, flags='S'),
        IP(flags='DF', **to)/UDP(sport=9, dport=udp)/Raw(bytes(1460)),
        IP(**to)/TCP(sport=9, dport=tcp, flags='A', ack=1),
        IP(**to)/TCP(sport=9, dport=tcp, flags='R', seq=1),
        IP(**to)/ICMP(type=8, id=udp),
        IP(**to)/ICMP(type=0, id=udp),
        IP(proto=47, **to)/Raw(bytes(20)),
    ]
opened = probes(known.src, known.sport, tcp.outside[1])
closed = probes(known.src, known.sport ^ 0x4000, tcp.outside[1] ^ 0x4000)
for one, other in zip(opened, closed):
    seen = []
    for probe in (one, other):
        outside.put(probe, ping)
        seen.append(heard(5))
    assert seen[0] == seen[1], f'{one.summary()}: {seen}'
# A SYN is answered after six seconds, whichever port it was for.
for number, to in enumerate((opened, closed)):
    outside.put(IP(src=STRANGER, dst=known.src)/TCP(sport=20 + number, dport=to[4].dport, flags='S'))
told = set()
watch.settimeout(10)
while len(told) < 2:
    packet = Ether(watch.recvfrom(65535)[0])
    if ICMP in packet and packet[ICMP].type == 3 and TCPerror in packet:
        told.add((packet[ICMP].code, packet[TCPerror].sport))
assert told == {(3, 20), (3, 21)}, told
# One thing differs, and the flow is another's.
exact = dict(src=FAR, dst=known.src)
lost(outside,
    IP(**{**exact, 'src': '198.18.10.78'})/UDP(sport=9, dport=known.sport)/b'x',
    IP(**{**exact, 'dst': '203.0.113.1'})/UDP(sport=9, dport=known.sport)/b'x',
    IP(**exact)/UDP(sport=10, dport=known.sport)/b'x',
    IP(**exact)/UDP(sport=9, dport=known.sport ^ 1)/b'x',
    IP(**exact)/TCP(sport=9, dport=known.sport, flags='A')/b'x',
    IP(**exact)/ICMP(type=0, id=known.sport)/b'x',
    *[IP(proto=protocol, **exact)/Raw(bytes(UDP(sport=9, dport=known.sport)/b'x'))
      for protocol in (0, 2, 4, 41, 47, 132, 136, 255)])
lost(inside, *[IP(src=HOST, dst=FAR, proto=protocol)/Raw(bytes(UDP(sport=FLOW, dport=9)/b'x'))
               for protocol in (0, 2, 4, 41, 47, 132, 136, 255)])
";
        between_ends(site, script).map(drop)
    })
}

#[test]
fn duty09_e04_marks_and_identifications_of_what_is_forwarded_stay_and_our_own_tell_nothing()
-> Result<()> {
    play(|site| {
        let script = "
for number in (0, 1, 4711, 65535):
    assert out(UDP(sport=FLOW, dport=9)/b'x', id=number).id == number
    assert back(known.src, UDP(sport=9, dport=known.sport)/b'x', id=number).id == number
for tos in (0, 1, 2, 3, 0xb8, 0xbb):
    assert out(UDP(sport=FLOW, dport=9)/b'x', tos=tos).tos == tos
    assert back(known.src, UDP(sport=9, dport=known.sport)/b'x', tos=tos).tos == tos
seen = []
for number in range(16):
    inside.put(IP(src=HOST, dst=FAR, ttl=1)/UDP(sport=FLOW, dport=9)/b'x')
    seen.append(summed(inside.take()).id)
steps = {(after - before) % 65536 for before, after in zip(seen, seen[1:])}
assert len(set(seen)) >= 14 and len(steps) >= 14, seen
";
        between_ends(site, script).map(drop)
    })
}

#[test]
fn duty15_no_order_of_rules_lets_out_what_none_allows_and_a_change_counts_at_once() -> Result<()> {
    let base = Config::default();
    let change = |from: &str, to: &str| {
        let mut config = base.clone();
        assert!(config.tenants[0].contains(from));
        config.tenants[0] = config.tenants[0].replace(from, to);
        config.render()
    };
    let floating =
        "[[tenant.floating-ip]]\noutside = \"203.0.113.12\"\ninside = \"172.16.10.11\"\n\n";
    let forward = "[[tenant.port-forward]]\nprotocol = \"udp\"\noutside = \"203.0.113.21:53\"\n\
                   inside = \"172.16.10.11:4000\"\n\n";
    let snat = "[[tenant.snat]]\nsource = \"172.16.0.0/16\"";
    let elsewhere = "[[tenant.snat]]\nsource = \"172.16.20.0/24\"";
    // What the host's address becomes.
    let matrix = [
        (base.render(), "203.0.113.64/28"),
        (change(snat, &format!("{forward}{snat}")), "203.0.113.21:53"),
        (
            change(snat, &format!("{floating}{forward}{snat}")),
            "203.0.113.12:4000",
        ),
        (change(snat, elsewhere), ""),
        (
            change(snat, &format!("{floating}{elsewhere}")),
            "203.0.113.12:4000",
        ),
        (
            change(snat, &format!("{forward}{elsewhere}")),
            "203.0.113.21:53",
        ),
        (
            change(
                "[[tenant.route]]\nprefix = \"0.0.0.0/0\"\nvrf = \"provider\"\n",
                "",
            ),
            "",
        ),
        (base.render(), "203.0.113.64/28"),
    ];
    play(|site| {
        let topology = &site.topology;
        let _echo = Server::echo(&topology.server, &[7001])?;
        let vm = &topology.blue_web1;
        vm.wait_ping(SERVER, SOON)?;
        let inner = "src net 172.16.0.0/12 or dst net 172.16.0.0/12";
        let wires = [&topology.isp_a, &topology.isp_b]
            .map(|router| Capture::start(router.host(), "eth-gw", inner));
        let inside = Capture::start(vm, "eth0", "udp src port 7001")?;
        let gateway = topology.gateway.mac("eth-isp-a")?;
        let mut before = String::new();
        for (number, (config, wanted)) in matrix.iter().enumerate() {
            site.sekishod.apply(config)?;
            if wanted.is_empty() {
                // Nobody gets in where nobody may get out any more.
                topology.isp_a.host().scapy(&format!(
                    "address, port = '{before}'.split(':')
sendp(Ether(dst='{gateway}')/IP(src='{SERVER}', dst=address)/UDP(sport=7001, dport=int(port))/b'late',
      iface='eth-gw')"
                ))?;
            } else {
                site.sekishod.cli("clear nat sessions --all")?;
            }
            let seen = vm.ask(4000, &["192.0.2.80:7001"])?.concat();
            let right = match *wanted {
                "" => seen == "nothing",
                "203.0.113.64/28" => {
                    seen.starts_with("203.0.113.6") || seen.starts_with("203.0.113.7")
                }
                exact => seen == exact,
            };
            ensure!(right, "{number}: {seen:?} instead of {wanted:?}");
            before = seen;
        }
        ensure!(
            inside.count("data.data == 6c:61:74:65")? == 0,
            "what was late got in"
        );
        for wire in wires {
            let leaked = wire?.packets("", &["ip.src", "ip.dst"])?;
            ensure!(leaked.is_empty(), "{leaked:?}");
        }
        Ok(())
    })
}

#[test]
fn duty21_of_random_sources_none_leaves() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let injector = Injector::new(site)?;
        let wires = [&topology.isp_a, &topology.isp_b]
            .map(|router| Capture::start(router.host(), "eth-gw", "udp dst port 4321"));
        let dropped = |site: &Site| -> Result<u64> {
            Ok(site.sekishod.drops("spoofed-source")? + site.sekishod.drops("martian-source")?)
        };
        let before = dropped(site)?;
        injector.send_and_count(
            &format!(
                "wire = conf.L2socket(iface='eth0')
for number in range(2000):
    source = RandIP()._fix()
    if not source.startswith('172.16.10.'):
        wire.send(vx(inner(UDP(sport=1, dport=4321)/b'x', src=source, dst='{SERVER}')))"
            ),
            "icmp.type == 3",
        )?;
        wait_until(SOON, "they are dropped by name", || {
            let dropped = dropped(site)? - before;
            ensure!(dropped > 1900, "{dropped}");
            Ok(())
        })?;
        for wire in wires {
            let left = wire?.packets("", &["ip.src"])?;
            ensure!(left.is_empty(), "{left:?}");
        }
        Ok(())
    })
}

#[test]
fn c17_after_a_crash_no_address_leads_to_whom_it_did_not_belong() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let _echo = Server::echo(&topology.server, &[7001])?;
        let _tcp = Server::tcp_echo(&topology.server, 7003)?;
        let target = format!("{SERVER}:7001");
        let blue = Server::hold(&topology.blue_web1, 4000, &target)?;
        let green = Server::hold(&topology.green_web1, 4000, &target)?;
        let beat = Server::beat(&topology.blue_web1, &format!("{SERVER}:7003"))?;
        let old = beat.seen_as()?;
        site.sekishod.kill()?;
        site.sekishod.run()?;
        let topology = &site.topology;
        topology.wait_established()?;
        sekisho_tests::topology::wait_default(&site.sekishod, 2)?;
        topology.wait_way_back("203.0.113.64/28")?;
        // What comes for connections of before belongs to nobody and is dropped by name.
        let before = site.sekishod.drops("nat-no-mapping")?;
        for (client, word) in [(&blue, "blue"), (&green, "green")] {
            topology
                .server
                .send_datagram(7001, &client.seen_as()?, word)?;
        }
        site.wait_dropped("nat-no-mapping", before + 1)?;
        for client in [&blue, &green] {
            ensure!(!client.log().contains(":7001 "), "{}", client.log());
        }
        // A segment in the middle of a connection opens none; that it goes on is not promised.
        let before = site.sekishod.drops("nat-not-syn")?;
        let (address, port) = old.split_once(':').context("no port")?;
        site.wait_dropped("nat-not-syn", before)?;
        let sessions = site.sekishod.cli("show nat sessions protocol tcp")?;
        ensure!(
            !sessions.contains(&format!("{address}:{port}")),
            "{sessions}"
        );
        // New ones work, of both tenants, each with its own.
        let one = Server::hold(&topology.blue_web1, 4001, &target)?;
        let two = Server::hold(&topology.green_web1, 4001, &target)?;
        for (client, other, word) in [(&one, &two, "for-one"), (&two, &one, "for-two")] {
            topology
                .server
                .send_datagram(7001, &client.seen_as()?, word)?;
            wait_until(SOON, "it arrives", || {
                ensure!(client.log().contains(word), "{}", client.log());
                Ok(())
            })?;
            ensure!(!other.log().contains(word), "{}", other.log());
        }
        Ok(())
    })
}
