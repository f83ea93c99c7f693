//! Pools and ports (RFC 4787, RFC 6888).

use super::*;

#[test]
fn u02_all_flows_of_a_host_use_one_pool_address() {
    let mut bench = Bench::new(&input());
    let first = bench.out(UDP, A, Y);
    for flow in 0..500u16 {
        let src = format!("172.16.10.11:{}", 1024 + flow);
        let protocol = [TCP, UDP, ICMP][usize::from(flow) % 3];
        let outside = bench.out(protocol, &src, &format!("192.0.2.{}:80", flow % 250));
        assert_eq!(outside.ip(), first.ip());
    }
}

#[test]
fn u04_ports_are_never_well_known_ones() {
    let mut bench = Bench::new(&input());
    for port in [1, 80, 1023, 1024, 65535] {
        let outside = bench.out(UDP, &format!("172.16.10.11:{port}"), Y);
        assert!(outside.port() >= 1024);
    }
}

#[test]
fn c01_protocols_without_ports_are_refused_but_pass_a_floating_ip() {
    let mut policy = input();
    policy.vrfs[0].floating_ips.push(FloatingIp {
        outside: Ipv4Addr::new(203, 0, 113, 10),
        inside: Ipv4Addr::new(172, 16, 10, 11),
    });
    let mut bench = Bench::new(&policy);
    let gre = IpProtocol(47);
    assert_eq!(bench.out(gre, A, Y).ip(), &Ipv4Addr::new(203, 0, 113, 10));
    let outcome = bench.send(VRF, gre, tuple(B), tuple(Y), NONE);
    assert_eq!(outcome, Err(Refusal::Protocol));
    assert_eq!(
        bench.back(gre, Y, tuple("203.0.113.10:0")),
        Ok(tuple("172.16.10.11:0"))
    );
}

#[test]
fn c03_scattered_addresses_and_a_large_prefix_are_all_used() {
    let mut policy = input();
    let scattered = (1..8).map(|n| format!("198.18.{n}.1/32"));
    let addresses: Vec<String> = scattered.chain(["100.64.0.0/20".to_owned()]).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    policy.pools[0] = pool(1, &addresses);
    // One block of ports on each address: each host takes one.
    policy.pools[0].ports = 2048..=2111;
    let mut bench = Bench::with_sessions(&policy, 8192);
    let hosts = 0xac10_0000..0xac10_0000 + 4096 + 7;
    let used: std::collections::HashSet<Ipv4Addr> = hosts
        .map(|host| {
            let src = SocketAddrV4::new(Ipv4Addr::from(host), 1000);
            let outside = source(bench.send(VRF, UDP, src, tuple(Y), NONE));
            assert!((2048..=2111).contains(&outside.port()));
            *outside.ip()
        })
        .collect();
    assert_eq!(used.len(), 4096 + 7);
}

/// One port each of a hundred thousand hosts, in the order they were asked for.
fn many_ports() -> Vec<u16> {
    let mut bench = Bench::with_sessions(&input(), 4096);
    let mut ports = Vec::new();
    for host in 0..100_000u32 {
        let src = SocketAddrV4::new(Ipv4Addr::from(0xac10_0000 + host), 5000);
        let sent = bench.send(VRF, UDP, src, tuple(Y), NONE);
        ports.push(source(sent).port());
        if host % 2000 == 1999 {
            let all = SessionFilter::default();
            bench.engine.clear(&all, Cursor::default(), u32::MAX);
        }
    }
    ports
}

#[test]
fn c15_a_hundred_thousand_ports_are_spread_evenly_and_do_not_tell_the_next() {
    let ports = many_ports();
    let count = ports.len() as f64;
    // Of 63 classes of 1024 ports, 62 degrees of freedom: beyond 120 in one of 100,000 tries.
    let mut classes = [0f64; 64];
    for port in &ports {
        classes[usize::from(port / 1024)] += 1.0;
    }
    assert_eq!(classes[0], 0.0);
    let expected = count / 63.0;
    let deviation = |seen: &f64| (seen - expected).powi(2) / expected;
    let chi_square: f64 = classes[1..].iter().map(deviation).sum();
    assert!(chi_square < 120.0, "{chi_square}");
    // And so on inside the blocks of 64.
    let mut places = [0f64; 64];
    for port in &ports {
        places[usize::from(port % 64)] += 1.0;
    }
    let expected = count / 64.0;
    let chi_square: f64 = places
        .iter()
        .map(|seen| (seen - expected).powi(2) / expected)
        .sum();
    assert!(chi_square < 121.0, "{chi_square}");
    // Serial correlation of numbers drawn independently: within four deviations of 1/sqrt(n) of 0.
    let mean = ports.iter().map(|&port| f64::from(port)).sum::<f64>() / count;
    let part = |a: u16, b: u16| (f64::from(a) - mean) * (f64::from(b) - mean);
    let square: f64 = ports.iter().map(|&port| part(port, port)).sum();
    let serial: f64 = ports.windows(2).map(|pair| part(pair[0], pair[1])).sum();
    let correlation = serial / square;
    assert!(correlation.abs() < 4.0 / count.sqrt(), "{correlation}");
}
