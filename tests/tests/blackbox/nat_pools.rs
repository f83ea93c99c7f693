//! How ports are handed out, kept back and shared, and what a host may have.

use anyhow::{Result, ensure};
use sekisho_tests::config::Config;

use crate::ends::between_ends;
use crate::site::play_config;

/// Flows of another host, and how many of them arrive.
const OTHERS: &str = "
def arrives(host, sport, dport=9, kind=UDP, dst=FAR):
    'What comes out of a packet of a host, or `None` if the host is told that it may not.'
    inside.put(IP(src=host, dst=dst) / kind(sport=sport, dport=dport) / b'x')
    seen = None
    # What is unusual in a burst leaves after the rest of it, and before the next.
    for mark in (next(numbers).to_bytes(4, 'big'), next(numbers).to_bytes(4, 'big')):
        inside.put(IP(src=HOST, dst=FAR) / UDP(sport=FLOW, dport=9) / mark)
        while True:
            packet = summed(outside.take())
            if UDP in packet and bytes(packet[UDP].payload) == mark:
                break
            seen = packet
    return seen
";

/// Packets of all hosts stay in order, and share what is their tenant's.
fn one_worker() -> Config {
    Config::default().replace("workers = 2", "workers = 1")
}

/// A pool of one address, before one worker: each takes at least a block of 64 ports.
fn pool(ports: &str, more: &str) -> Config {
    one_worker()
        .replace(
            "addresses = [\"203.0.113.64/28\"]",
            "addresses = [\"203.0.113.64\"]",
        )
        .replace(
            "ports = \"1024-65535\"",
            &format!("ports = \"{ports}\"\n{more}"),
        )
}

fn play(config: &Config, script: &str) -> Result<()> {
    play_config(config, |site| {
        between_ends(site, &format!("{OTHERS}\n{script}")).map(drop)
    })
}

/// The first tenant with more keys, and its SNAT rule with more.
fn tenant(config: &Config, keys: &str, rule: &str) -> Config {
    let mut config = config.clone();
    config.tenants[0] = config.tenants[0]
        .replace("name = \"blue\"\n", &format!("name = \"blue\"\n{keys}\n"))
        .replace(
            "pool = \"public\"\n",
            &format!("pool = \"public\"\n{rule}\n"),
        );
    config
}

#[test]
fn u04_u05_the_class_and_parity_of_ports_are_preserved_where_the_pool_says_so() -> Result<()> {
    let config = pool("512-4095", "preserve-parity = true\npreserve-class = true");
    play(
        &config,
        "
for sport in list(range(101, 140)) + list(range(20001, 20080)):
    seen = out(UDP(sport=sport, dport=9) / b'x')
    assert seen.sport % 2 == sport % 2, (sport, seen.sport)
    assert (seen.sport < 1024) == (sport < 1024), (sport, seen.sport)
    assert back(seen.src, UDP(sport=9, dport=seen.sport) / b'y').dport == sport
",
    )
}

#[test]
fn u07_a_well_known_port_may_have_a_shorter_time_out() -> Result<()> {
    let config = Config::default().replace(
        "udp-timeout = \"5m\"",
        "udp-timeout = \"5m\"\nshort-udp-timeout = \"2s\"\nshort-udp-ports = [53]",
    );
    play(
        &config,
        "
out(UDP(sport=5000, dport=53) / b'x'); out(UDP(sport=5001, dport=5353) / b'x')
assert session(5000, 'udp')['expires_seconds'] <= 2
until('the short time-out is over', lambda: session(5000, 'udp') is None)
assert session(5001, 'udp')['expires_seconds'] > 200
",
    )
}

#[test]
fn c05_a_host_beyond_its_sessions_or_its_rate_is_refused_and_others_go_on() -> Result<()> {
    let sessions = tenant(&one_worker(), "max-sessions-per-host = 20", "");
    let script = "
passed = [arrives('172.16.10.51', 4000, dport=1000 + n) is not None for n in range(30)]
assert passed == [True] * 20 + [False] * 10, passed
assert arrives('172.16.10.52', 4000) is not None
assert arrives('172.16.10.51', 4000, dport=1000) is not None, 'what it has goes on'
";
    play_config(&sessions, |site| {
        let before = site.sekishod.drops("nat-host-sessions")?;
        between_ends(site, &format!("{OTHERS}\n{script}"))?;
        let refused = site.sekishod.drops("nat-host-sessions")? - before;
        ensure!(refused == 10, "{refused} refused");
        Ok(())
    })?;
    let rate = tenant(&Config::default(), "max-new-sessions-per-host = 5", "");
    play_config(&rate, |site| {
        let script = "
inside.put(*[IP(src='172.16.10.51', dst=FAR) / UDP(sport=4000, dport=1000 + n) for n in range(200)])
until('its rate is met', lambda: any(
    d['reason'] == 'nat-host-rate' and d['total'] > 100 for d in cli('show drops')))
";
        between_ends(site, &format!("{OTHERS}\n{script}")).map(drop)
    })
}

#[test]
fn c06_a_destination_may_be_exempt_from_translation() -> Result<()> {
    let mut config = Config::default();
    config.tenants[0] = config.tenants[0].replace(
        "[[tenant.snat]]\nsource",
        "[[tenant.snat]]\nsource = \"172.16.0.0/16\"\ndestination = \"198.18.10.99/32\"\n\
         to = \"none\"\n\n[[tenant.snat]]\nsource",
    );
    play(
        &config,
        "
outside.unwrap = lambda frame: IP in Ether(frame) and UDP in Ether(frame) and Ether(frame)[IP] or None
for dst, same in (('198.18.10.99', True), (FAR, False)):
    inside.put(IP(src=HOST, dst=dst) / UDP(sport=4000, dport=9) / b'x')
    seen = summed(outside.take())
    assert (seen.src == HOST and seen.sport == 4000) == same, seen.show(dump=True)
",
    )
}

#[test]
fn c07_c08_who_lets_everybody_in_leaves_its_port_to_rest() -> Result<()> {
    let open = tenant(
        &pool("2048-2049", ""),
        "",
        "filtering = \"endpoint-independent\"\nudp-timeout = \"6s\"",
    );
    let config = open.replace(
        "udp-timeout = \"5m\"",
        "udp-timeout = \"5m\"\nport-quarantine = \"4s\"",
    );
    play(
        &config,
        "
seen = out(UDP(sport=4000, dport=9) / b'x')
outside.put(IP(src='198.18.10.99', dst=seen.src) / UDP(sport=1, dport=seen.sport) / b'anybody')
assert inside.take().dport == 4000
assert arrives('172.16.10.51', 4000) is None, 'both ports are taken'

def pools():
    return next(p for p in cli('show nat pools') if p['name'] == 'public')

def gone():
    out(UDP(sport=FLOW, dport=9) / b'warm')
    return not any(s['inside_port'] == 4000 for s in cli(f'show nat sessions inside {HOST}'))

until('the mapping is over', gone)
until('its port rests', lambda: pools()['ports_quarantined'] == 1)
assert arrives('172.16.10.51', 4000) is None, 'the port rests'
until('it has rested', lambda: arrives('172.16.10.51', 4000) is not None)
assert pools()['ports_quarantined'] == 0
",
    )
}

#[test]
fn c13_ports_serve_several_hosts_toward_different_remotes() -> Result<()> {
    let config = tenant(
        &pool("2048-2111", ""),
        "",
        "mapping = \"endpoint-dependent\"",
    );
    play(
        &config,
        "
flows = {}
for n in range(300):
    host, sport, dport = f'172.16.10.{50 + n % 3}', 5000 + n, 10000 + n
    seen = arrives(host, sport, dport=dport)
    assert 2048 <= seen.sport <= 2111
    flows[(seen.sport, dport)] = (host, sport)
assert len(flows) == 300 and len({port for port, _ in flows}) >= 62, flows
for (port, dport), (host, sport) in list(flows.items())[::25]:
    outside.put(IP(src=FAR, dst='203.0.113.64') / UDP(sport=dport, dport=port) / b'y')
    if host == HOST:
        assert inside.take().dport == sport
busy, free = next(iter(flows)), 9999
lost(outside, IP(src=FAR, dst='203.0.113.64') / UDP(sport=free, dport=busy[0]) / b'y')
",
    )
}

#[test]
fn c14_a_host_has_no_more_blocks_than_its_pool_allows() -> Result<()> {
    let config = pool("1024-65535", "block-size = 128\nblocks-per-host = 2");
    play(
        &config,
        "
ports = []
for n in range(260):
    seen = arrives('172.16.10.51', 4000 + n)
    if seen is not None:
        ports.append(seen.sport)
assert len(ports) == len(set(ports)) == 256, len(ports)
assert len({port // 128 for port in ports}) == 2, sorted(ports)
assert arrives('172.16.10.52', 4000) is not None
",
    )
}

#[test]
fn duty05_a_flood_of_half_open_connections_ends_no_open_one() -> Result<()> {
    let config = tenant(&one_worker(), "max-sessions = 200", "");
    play(
        &config,
        "
c = Tcp(4000).open()
syns = [IP(src='172.16.10.66', dst='198.18.10.99') / TCP(sport=1024 + n, dport=80, flags='S', seq=n)
        for n in range(2000)]
inside.put(*syns)
c.out('PA', b'still here'); c.back('PA', b'and here')
inside.put(*syns[:500])
assert Tcp(4001).open()
c.out('PA', b'still here'); c.back('PA', b'and here'); c.expect('established')
",
    )
}
