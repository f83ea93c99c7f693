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
