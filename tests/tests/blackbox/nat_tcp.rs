//! TCP through NAT, segment by segment (RFC 5382, RFC 7857).

use anyhow::{Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::Server;
use sekisho_tests::topology::{SERVER, SERVER_2};

use crate::ends::between_ends;
use crate::site::{SOON, Site, play, play_both, play_config};

#[test]
fn t02_t08_connections_close_from_either_side_and_data_after_a_reset_revives_them() -> Result<()> {
    play(|site| {
        let script = "
for number, first in enumerate(('out', 'back')):
    c = Tcp(4000 + number).open()
    c.out('PA', b'question'); c.back('PA', b'answer'); c.out('A')
    c.close(first)
both = Tcp(4010).open()
both.out('FA'); both.answer('FA', ack=both.a - 1)
both.back('FA', ack=both.a - 1); both.out('A'); both.back('A')
both.expect('closing')
for number, (reset, revive) in enumerate((('out', 'back'), ('back', 'out'))):
    c = Tcp(4020 + number).open()
    getattr(c, reset)('R')
    c.expect('closing')
    assert session(c.sport)['expires_seconds'] <= 240
    getattr(c, revive)('PA', b'the reset was not believed')
    c.expect('established')
";
        between_ends(site, script).map(drop)
    })
}

#[test]
fn t03_a_simultaneous_open_completes() -> Result<()> {
    play(|site| {
        let script = "
c = Tcp(4000)
c.out('S')
c.back('S')
c.out('SA', seq=c.a - 1)
c.back('SA', seq=c.b - 1)
c.expect('established')
c.out('PA', b'hello'); c.back('PA', b'hello')
c.close()
";
        between_ends(site, script).map(drop)
    })
}

#[test]
fn t10_t11_what_does_not_fit_changes_nothing_and_a_closed_tuple_opens_again() -> Result<()> {
    play(|site| {
        let script = "
# Retransmitted SYNs, in either order, and a SYN-ACK that was lost.
c = Tcp(4000)
c.out('S'); c.out('S', seq=1000); c.back('SA'); c.back('SA', seq=900000); c.out('S', seq=1000)
c.back('SA', seq=900000); c.out('A'); c.expect('established')
# Off the path: the session stays what it is and where it is.
before = session(4000)
for flags, seq in (('S', 7), ('S', c.b + (1 << 30)), ('R', 7), ('R', c.b + 1), ('A', 7), ('FA', 7)):
    c.back(flags, seq=seq, ack=1 if 'A' in flags else 0)
    c.b = before_b = 900001
    after = session(4000)
    assert after['state'] == 'established' and after['outside_port'] == before['outside_port'], after
c.out('PA', b'still here'); c.back('PA', b'and here')
# Closed, the tuple opens again at once, from either side, at lower and higher numbers.
c.close()
again = Tcp(4000, a=500, b=100); again.outside = c.outside
again.out('S'); again.expect('opening')
# The answer to the connection before does not open this one.
again.back('SA', seq=900000, ack=7777); again.b = 100; again.expect('opening')
again.back('SA'); again.out('A'); again.expect('established')
again.out('R'); again.expect('closing')
third = Tcp(4000, a=1 << 31, b=1 << 30); third.open(); third.close('back')
fourth = Tcp(4000, a=42, b=43); fourth.outside = third.outside
fourth.back('S'); fourth.out('SA'); fourth.back('A'); fourth.expect('established')
fourth.close()
";
        between_ends(site, script).map(drop)
    })
}

/// A host that listens where it has called from, and who of others gets in by the filter.
fn filters(site: &Site, stranger: bool, other_port: bool) -> Result<()> {
    let topology = &site.topology;
    let _echo = Server::tcp_echo(&topology.server, 7003)?;
    let client = Server::tcp_hold(&topology.blue_web1, 4000, &format!("{SERVER}:7003"))?;
    let outside = client.seen_as()?;
    let senders = [
        (topology.isp_a.host(), stranger),
        (&topology.server, other_port),
    ];
    for (sender, enters) in senders {
        if enters {
            let seen = sender.tcp_ask(0, &outside)?;
            ensure!(client.log().contains(&seen), "{seen}: {}", client.log());
        } else {
            let before = site.sekishod.drops("nat-filtered")?;
            sender.scapy(&format!(
                "address, port = '{outside}'.split(':')
send(IP(dst=address)/TCP(sport=9, dport=int(port), flags='S', seq=1))"
            ))?;
            site.wait_dropped("nat-filtered", before)?;
        }
    }
    Ok(())
}

fn with_filtering(filtering: &str) -> Config {
    Config::default().replace(
        "pool = \"public\"",
        &format!("pool = \"public\"\nfiltering = \"{filtering}\""),
    )
}

#[test]
fn t04_t14_with_endpoint_independent_filtering_everybody_connects_and_hairpins_show_the_outside()
-> Result<()> {
    play_both(&with_filtering("endpoint-independent"), |site| {
        filters(site, true, true)?;
        let topology = &site.topology;
        let _echo = Server::tcp_echo(&topology.server, 7003)?;
        let client = Server::tcp_hold(&topology.blue_web1, 4101, &format!("{SERVER}:7003"))?;
        let outside = client.seen_as()?;
        for vm in [&topology.blue_web2, &topology.green_web1] {
            let seen = vm.tcp_ask(0, &outside)?;
            ensure!(seen.starts_with("203.0.113."), "{seen}");
        }
        Ok(())
    })
}

#[test]
fn t04_with_address_dependent_filtering_another_port_of_one_contacted_connects() -> Result<()> {
    play(|site| filters(site, false, true))
}

#[test]
fn t04_with_address_and_port_dependent_filtering_nobody_else_connects() -> Result<()> {
    let config = with_filtering("address-and-port-dependent");
    play_config(&config, |site| filters(site, false, false))
}

#[test]
fn t05_an_unsolicited_syn_is_answered_after_six_seconds_unless_it_was_expected() -> Result<()> {
    let config = Config::default().replace(
        "addresses = [\"198.51.100.3/31\"]",
        "addresses = [\"198.51.100.3/31\"]\nunsolicited-syn = \"silent\"",
    );
    play_config(&config, |site| {
        let topology = &site.topology;
        let _echo = Server::tcp_echo(&topology.server, 7003)?;
        let vm = &topology.blue_web1;
        let outside = vm.tcp_ask(4000, &format!("{SERVER}:7003"))?;
        let capture = sekisho_tests::lab::Capture::start(&topology.server, "eth0", "icmp")?;
        let syn = |router: &sekisho_tests::topology::Router, port: &str, script: &str| {
            let gateway = topology
                .gateway
                .mac(&format!("eth-{}", router.host().name()))?;
            router.host().scapy(
                &format!(
                    "address, port = '{outside}'.split(':')
def syn(**fields):
    return Ether(dst='{gateway}')/IP(src='{SERVER_2}', dst=address)/TCP(flags='S', **fields)
{script}"
                )
                .replace("PORT", port),
            )
        };
        // None of these is answered: where nobody is told, and where the host connects meanwhile.
        let script = "sendp(syn(sport=5001, dport=PORT, seq=1), iface='eth-gw')";
        syn(&topology.isp_b, "1999", script)?;
        let script = "sendp(syn(sport=7003, dport=PORT, seq=1), iface='eth-gw')";
        syn(&topology.isp_a, "int(port)", script)?;
        ensure!(vm.tcp_ask(4000, &format!("{SERVER_2}:7003"))? == outside);
        // This one comes again, and is answered once; those before would have been by then.
        let script = "print(time.time())
for _ in range(3):
    sendp(syn(sport=5002, dport=PORT, seq=1), iface='eth-gw')";
        let sent: f64 = syn(&topology.isp_a, "1999", script)?.trim().parse()?;
        capture.wait("icmp.type == 3 && icmp.code == 3", 1, SOON)?;
        let fields = [
            "frame.time_epoch",
            "ip.src",
            "tcp.srcport",
            "icmp.checksum.status",
        ];
        let told = capture.packets("icmp", &fields)?;
        ensure!(told.len() == 1, "{told:?}");
        let [time, source, port, checksum] = &told[0][..] else {
            anyhow::bail!("{told:?}")
        };
        ensure!(time.parse::<f64>()? >= sent + 6.0, "{time} after {sent}");
        ensure!(source.starts_with("198.51.100.1,192.0.2.81"), "{source}");
        ensure!(
            (port.as_str(), checksum.as_str()) == ("5002", "1"),
            "{told:?}"
        );
        // No more are remembered than there is room for.
        let script = "wire = conf.L2socket(iface='eth-gw')
frame = bytearray(bytes(syn(sport=1, dport=PORT, seq=1)))
for number in range(20000, 23000):
    frame[34:36] = number.to_bytes(2, 'big')
    wire.outs.send(frame)";
        let before = site.sekishod.drops("nat-syn-backlog")?;
        syn(&topology.isp_a, "1999", script)?;
        site.wait_dropped("nat-syn-backlog", before)
    })
}

#[test]
fn t12_u12_duty03_payloads_stay_untouched_and_open_nothing() -> Result<()> {
    play(|site| {
        let script = r"
payloads = {
    21: b'PORT 172,16,10,50,15,161\r\nEPRT |1|172.16.10.50|4001|\r\n',
    5060: b'INVITE sip:a@198.18.10.77 SIP/2.0\r\nVia: SIP/2.0/UDP 172.16.10.50:4001\r\n'
          b'Contact: <sip:b@172.16.10.50:4001>\r\n\r\nc=IN IP4 172.16.10.50\r\nm=audio 4001 RTP/AVP 0\r\n',
    554: b'SETUP rtsp://198.18.10.77/a RTSP/1.0\r\nTransport: RTP/AVP;unicast;client_port=4001-4002\r\n',
    6667: b'PRIVMSG b :\x01DCC SEND f 2886732338 4001 9\x01\r\n',
    1720: b'\x03\x00\x00\x20\x08\x02\x00\x01\x05' + bytes([172, 16, 10, 50, 0x0f, 0xa1]),
}
for number, (port, payload) in enumerate(payloads.items()):
    c = Tcp(5000 + number, dport=port).open()
    # Alone in its segment, and at the end of a full one, where a packet's own begins.
    assert bytes(c.out('PA', payload)[TCP].payload) == payload
    fill = b'a' * (1400 - len(payload))
    assert bytes(c.out('PA', fill + payload)[TCP].payload) == fill + payload
    answer = payload.replace(b'172.16.10.50', c.outside[0].encode())
    assert bytes(c.back('PA', answer)[TCP].payload) == answer
    used = {s['outside_port'] for s in cli('show nat sessions')}
    beside = [c.outside[1] ^ bit for bit in range(1, 64)]
    for to in {4001, 4002, *beside[:8]} - used:
        outside.put(IP(src=FAR, dst=c.outside[0])/TCP(sport=20, dport=to, flags='S', seq=1))
        lost(outside, IP(src=FAR, dst=c.outside[0])/UDP(sport=20, dport=to)/b'rtp')
    seen = out(UDP(sport=6000 + number, dport=port)/payload)
    assert bytes(seen[UDP].payload) == payload
";
        between_ends(site, script).map(drop)
    })
}

#[test]
fn t13_two_hosts_with_the_same_port_get_two_mappings() -> Result<()> {
    play(|site| {
        let topology = &site.topology;
        let _echo = Server::tcp_echo(&topology.server, 7003)?;
        let target = format!("{SERVER}:7003");
        let mut seen = Vec::new();
        for vm in [
            &topology.blue_web1,
            &topology.blue_web2,
            &topology.green_web1,
        ] {
            seen.push(vm.tcp_ask(4000, &target)?);
        }
        for vm in [
            &topology.blue_web1,
            &topology.blue_web2,
            &topology.green_web1,
        ] {
            seen.push(vm.tcp_ask(4000, &format!("{SERVER_2}:7003"))?);
        }
        ensure!(seen[..3] == seen[3..], "{seen:?}");
        seen.truncate(3);
        seen.sort();
        seen.dedup();
        ensure!(seen.len() == 3, "{seen:?}");
        Ok(())
    })
}

#[test]
fn t15_errors_about_a_connection_reach_its_host_with_its_own_segment_quoted() -> Result<()> {
    play(|site| {
        let script = "
c = Tcp(4000).open()
sent = c.out('PA', b'x' * 200)
for code in (1, 3, 4):
    router = '198.51.100.0'
    outside.put(IP(src=router, dst=c.outside[0])/ICMP(type=3, code=code, nexthopmtu=1280)/sent)
    seen = summed(inside.take())
    assert (seen.src, seen.dst, seen[ICMP].code) == (router, HOST, code), seen.show(dump=True)
    quote = seen[IPerror]
    assert (quote.src, quote.dst) == (HOST, FAR), seen.show(dump=True)
    assert (quote[TCPerror].sport, quote[TCPerror].dport) == (4000, 80), seen.show(dump=True)
    if code == 4:
        assert seen[ICMP].nexthopmtu == 1280
c.expect('established')
c.back('PA', b'still open')
";
        between_ends(site, script).map(drop)
    })
}

#[test]
fn t17_the_segment_size_is_clamped_where_it_is_asked_for_and_nowhere_else() -> Result<()> {
    let mut config = Config::default();
    config.tenants[0] =
        config.tenants[0].replace("vni = 5001\n", "vni = 5001\nmss-clamp = \"auto\"\n");
    config.tenants[1] =
        config.tenants[1].replace("vni = 6001\n", "vni = 6001\nmss-clamp = \"1200\"\n");
    play_config(&config, |site| {
        let script = "
def mss(packet):
    return dict(packet[TCP].options)['MSS']
def syn(flags='S', size=1460):
    return TCP(sport=4000, dport=80, flags=flags, seq=1, ack=0, options=[('NOP', None), ('MSS', size)])
seen = out(syn())
assert mss(seen) == 1410, seen.show(dump=True)
answer = TCP(sport=80, dport=seen.sport, flags='SA', seq=1, ack=2, options=[('MSS', 8960)])
assert mss(back(seen.src, answer)) == 1410
assert mss(out(syn(size=1000))) == 1000
";
        between_ends(site, script)?;
        let topology = &site.topology;
        let capture =
            sekisho_tests::lab::Capture::start(&topology.server, "eth0", "tcp port 7003")?;
        let _echo = Server::tcp_echo(&topology.server, 7003)?;
        for vm in [&topology.green_web1, &topology.blue_db1] {
            vm.tcp_ask(0, &format!("{SERVER}:7003"))?;
        }
        let offered = capture.packets(
            "tcp.flags.syn == 1 && ip.dst == 192.0.2.80",
            &["tcp.options.mss_val"],
        )?;
        ensure!(offered.concat() == ["1200", "1410"], "{offered:?}");
        Ok(())
    })
}
