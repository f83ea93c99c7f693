//! Mapping and filtering (RFC 4787).

use super::*;

#[test]
fn u01_same_mapping_for_every_destination() {
    let mut bench = Bench::new(&input());
    let first = bench.out(UDP, A, Y);
    assert_eq!(bench.out(UDP, A, Y_OTHER), first);
    assert_eq!(bench.out(UDP, A, Z), first);
    assert_eq!(bench.engine.stats().mappings, 1);
    assert_eq!(bench.engine.stats().udp_sessions, 3);
}

#[test]
fn u03_two_hosts_to_one_destination_keep_their_own_ports() {
    let mut bench = Bench::new(&input());
    let a = bench.out(UDP, A, Y);
    let b = bench.out(UDP, B, Y);
    assert_ne!(a, b);
    assert_eq!(bench.back(UDP, Y, a), Ok(tuple(A)));
    assert_eq!(bench.back(UDP, Y, b), Ok(tuple(B)));
}

#[test]
fn u06_an_idle_udp_mapping_lasts_its_time_out_and_no_longer() {
    let mut bench = Bench::new(&input());
    let outside = bench.out(UDP, A, Y);
    bench.wait(119);
    bench.engine.age(bench.now, 1000);
    assert_eq!(bench.back(UDP, Y, outside), Ok(tuple(A)));
    bench.wait(299);
    bench.engine.age(bench.now, 1000);
    assert_eq!(bench.back(UDP, Y, outside), Ok(tuple(A)));
    bench.wait(300);
    assert_eq!(bench.back(UDP, Y, outside), Err(Refusal::NoMapping));

    let mut short = input();
    short.timers.udp = Duration::from_secs(120);
    let mut bench = Bench::new(&short);
    let outside = bench.out(UDP, A, Y);
    bench.wait(120);
    assert_eq!(bench.back(UDP, Y, outside), Err(Refusal::NoMapping));
}

#[test]
fn u08_outbound_refreshes_always_and_inbound_by_option() {
    for inbound_refresh in [true, false] {
        let mut policy = input();
        policy.timers.inbound_refresh = inbound_refresh;
        let mut bench = Bench::new(&policy);
        let outside = bench.out(UDP, A, Y);
        for _ in 0..3 {
            bench.wait(200);
            assert_eq!(bench.out(UDP, A, Y), outside);
        }
        bench.wait(200);
        assert!(bench.back(UDP, Y, outside).is_ok());
        bench.wait(200);
        assert_eq!(bench.back(UDP, Y, outside).is_ok(), inbound_refresh);
    }
}

#[test]
fn u09_equal_inside_addresses_of_two_tenants_do_not_mix() {
    let mut bench = Bench::new(&input());
    let blue = bench.out(UDP, A, Y);
    let green = source(bench.send(OTHER_VRF, UDP, tuple(A), tuple(Y), NONE));
    assert_ne!(blue, green);
    let vrf = |inbound: Result<Inbound, Refusal>| inbound.unwrap().vrf;
    assert_eq!(vrf(bench.receive(UDP, Y, blue, NONE)), VRF);
    assert_eq!(vrf(bench.receive(UDP, Y, green, NONE)), OTHER_VRF);
}

#[test]
fn u10_filtering_lets_in_what_its_mode_says() {
    use Filtering::*;
    let modes = [
        (EndpointIndependent, true, true),
        (AddressDependent, true, false),
        (AddressAndPortDependent, false, false),
    ];
    for (filtering, other_port, other_address) in modes {
        let mut policy = input();
        policy.vrfs[0].snat[0].filtering = filtering;
        let mut bench = Bench::new(&policy);
        let outside = bench.out(UDP, A, Y);
        let expect = |admitted| {
            if admitted {
                Ok(tuple(A))
            } else {
                Err(Refusal::Filtered)
            }
        };
        assert_eq!(bench.back(UDP, Y, outside), Ok(tuple(A)));
        assert_eq!(bench.back(UDP, Y_OTHER, outside), expect(other_port));
        assert_eq!(bench.back(UDP, Z, outside), expect(other_address));
        let nobodys = SocketAddrV4::new(*outside.ip(), outside.port() ^ 1);
        assert_eq!(bench.back(UDP, Y, nobodys), Err(Refusal::NoMapping));
    }
}

#[test]
fn u10_the_filter_outlives_the_flow_that_opened_it_while_another_leads_there() {
    let mut bench = Bench::new(&input());
    let outside = bench.out(UDP, A, Y);
    for port in 1000..1010 {
        bench.wait(29);
        bench.out(UDP, A, &format!("192.0.2.1:{port}"));
    }
    // The first flow is 290 s old, the others younger: let it expire.
    bench.wait(10);
    assert_eq!(bench.back(UDP, "192.0.2.1:9", outside), Ok(tuple(A)));
    bench.engine.age(bench.now, 1000);
    assert_eq!(bench.live(), 11);
    for port in (1000..1010).chain([9]) {
        let src = format!("192.0.2.1:{port}");
        assert_eq!(bench.back(UDP, &src, outside), Ok(tuple(A)), "{src}");
    }
}

#[test]
fn u11_a_hairpin_shows_the_outside_tuple_of_its_sender() {
    let mut bench = Bench::new(&input());
    let b = bench.out(UDP, B, &Y.replace("192.0.2.1", "203.0.113.64"));
    let a = bench.out(UDP, A, &b.to_string());
    assert_eq!(bench.back(UDP, &a.to_string(), b), Err(Refusal::Filtered));
    // B sends to A's outside tuple first: then both ways are open.
    assert_eq!(bench.out(UDP, B, &a.to_string()), b);
    assert_eq!(bench.back(UDP, &a.to_string(), b), Ok(tuple(B)));
    assert_eq!(bench.back(UDP, &b.to_string(), a), Ok(tuple(A)));
}

#[test]
fn a_burst_probed_and_prefetched_first_is_translated_alike() {
    let mut bench = Bench::new(&input());
    let keys: Vec<FlowKey> = (1..=32)
        .map(|port| FlowKey {
            src: SocketAddrV4::new(*tuple(A).ip(), port),
            dst: tuple(Y),
            protocol: UDP,
        })
        .collect();
    for _ in 0..2 {
        let probes: Vec<Probe> = keys
            .iter()
            .map(|key| bench.engine.probe_outbound(VRF, key))
            .collect();
        bench
            .engine
            .prefetch_burst(&probes, &mut [Candidate::NONE; 64]);
        for (key, probe) in keys.iter().zip(&probes) {
            let now = bench.now;
            let outside = source(bench.engine.outbound_probed(now, probe, &NONE, UPLINK));
            let answer = FlowKey {
                src: tuple(Y),
                dst: outside,
                protocol: UDP,
            };
            let back = bench.engine.probe_inbound(&answer);
            let inbound = bench.engine.inbound_probed(now, &back, &NONE).unwrap();
            assert_eq!(inbound.destination, key.src);
        }
    }
    assert_eq!(bench.engine.stats().created, 32);
}
