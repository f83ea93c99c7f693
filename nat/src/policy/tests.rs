//! What is a policy and what is not, and what a policy answers.

use proptest::prelude::*;

use super::*;
use crate::seed::Seed;

const VRF: VrfId = VrfId::new(1);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn pool(id: u16, address: &str) -> PoolInput {
    PoolInput {
        id: PoolId::new(id),
        addresses: vec![address.parse().unwrap()],
        ports: DYNAMIC_PORTS,
        allocation: Allocation::default(),
    }
}

fn uplink(id: u16, addresses: &[&str]) -> UplinkInput {
    UplinkInput {
        id: InterfaceId::new(id),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn forward(protocol: IpProtocol, outside: &str, inside: &str) -> PortForward {
    PortForward {
        protocol,
        outside: outside.parse().unwrap(),
        inside: inside.parse().unwrap(),
    }
}

fn floating(outside: &str, inside: &str) -> FloatingIp {
    FloatingIp {
        outside: outside.parse().unwrap(),
        inside: inside.parse().unwrap(),
    }
}

fn input() -> PolicyInput {
    PolicyInput {
        pools: vec![pool(1, "203.0.113.64/28")],
        uplinks: vec![uplink(0, &["198.51.100.1", "198.51.100.9"])],
        uplink_reserved: vec![32768..=60999],
        vrfs: vec![VrfInput {
            id: VRF,
            snat: vec![SnatRule::new(
                "10.0.0.0/8".parse().unwrap(),
                SnatTarget::Pool(PoolId::new(1)),
            )],
            floating_ips: vec![floating("203.0.113.70", "10.0.0.7")],
            limits: Limits::NONE,
            port_forwards: vec![
                forward(IpProtocol::TCP, "203.0.113.20:8080", "10.0.0.8:80"),
                forward(IpProtocol::UDP, "203.0.113.65:2000", "10.0.0.9:53"),
            ],
        }],
        timers: Timers::default(),
    }
}

fn build_with(change: impl FnOnce(&mut PolicyInput)) -> Result<Policy, PolicyError> {
    let mut input = input();
    change(&mut input);
    let steering = Steering::new(Seed::new([1; 32]), 4);
    let owners = Arc::new(OutsideOwners::new(64).unwrap());
    Policy::build(&input, Generation::new(1), steering, &owners)
}

fn error(change: impl FnOnce(&mut PolicyInput)) -> String {
    build_with(change).unwrap_err().to_string()
}

#[test]
fn overlaps_are_refused_with_both_sides_named() {
    assert_eq!(
        error(|i| i.pools.push(pool(2, "203.0.113.72/30"))),
        "203.0.113.72 is used by pool 1 and by pool 2; an outside address has one use"
    );
    assert_eq!(
        error(|i| i.pools.push(pool(2, "198.51.100.0/30"))),
        "198.51.100.1 is used by uplink 0 and by pool 2; an outside address has one use"
    );
    assert_eq!(
        error(|i| i.vrfs[0]
            .floating_ips
            .push(floating("198.51.100.9", "10.0.0.1"))),
        "198.51.100.9 is used by uplink 0 and by the floating IP of 10.0.0.1 in VRF 1; \
         an outside address has one use"
    );
    assert_eq!(
        error(|i| i.vrfs[0]
            .floating_ips
            .push(floating("203.0.113.70", "10.0.0.1"))),
        "203.0.113.70 is used by the floating IP of 10.0.0.7 in VRF 1 and by the floating IP of \
         10.0.0.1 in VRF 1; an outside address has one use"
    );
    let at_floating = forward(IpProtocol::TCP, "203.0.113.70:80", "10.0.0.1:80");
    assert_eq!(
        error(|i| i.vrfs[0].port_forwards.push(at_floating)),
        "203.0.113.70 is used by the floating IP of 10.0.0.7 in VRF 1 and by a port forward; \
         an outside address has one use"
    );
    assert_eq!(
        error(|i| i.vrfs[0]
            .floating_ips
            .push(floating("203.0.113.71", "10.0.0.7"))),
        "10.0.0.7 in VRF 1 has floating IPs 203.0.113.70 and 203.0.113.71; it can have one"
    );
    let again = forward(IpProtocol::TCP, "203.0.113.20:8080", "10.0.0.1:80");
    assert_eq!(
        error(|i| i.vrfs[0].port_forwards.push(again)),
        "203.0.113.20:8080 (tcp) is forwarded twice; an outside port leads to one place"
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    use PolicyError::*;
    let forwarding = |protocol, outside, inside| {
        build_with(|i| {
            i.vrfs[0]
                .port_forwards
                .push(forward(protocol, outside, inside));
        })
        .unwrap_err()
    };
    let tcp = IpProtocol::TCP;
    let own = forwarding(tcp, "198.51.100.9:179", "10.0.0.1:80");
    assert!(matches!(own, ForwardReserved(_)), "{own}");
    let ephemeral = forwarding(tcp, "198.51.100.1:40000", "10.0.0.1:80");
    assert!(matches!(ephemeral, ForwardReserved(_)), "{ephemeral}");
    let zero = forwarding(tcp, "203.0.113.20:0", "10.0.0.1:80");
    assert!(matches!(zero, ForwardPortZero(_)), "{zero}");
    let icmp = forwarding(IpProtocol::ICMP, "203.0.113.20:1", "10.0.0.1:80");
    assert!(matches!(icmp, ForwardProtocol { .. }), "{icmp}");

    let refused = |change: fn(&mut PolicyInput)| build_with(change).unwrap_err();
    let no_pool = refused(|i| i.pools.clear());
    assert!(matches!(no_pool, NoSuchPool { .. }), "{no_pool}");
    let low = refused(|i| i.pools[0].ports = 1000..=2000);
    assert!(matches!(low, PoolPorts { .. }), "{low}");
    let backwards = refused(|i| i.pools[0].ports = RangeInclusive::new(3000, 2000));
    assert!(matches!(backwards, PoolPorts { .. }), "{backwards}");
    let huge = refused(|i| i.pools[0] = pool(1, "100.64.0.0/10"));
    assert!(matches!(huge, PoolTooLarge { .. }), "{huge}");
    let empty = refused(|i| i.pools[0] = pool(1, "203.0.113.70/32"));
    assert_eq!(empty, PoolEmpty(PoolId::new(1)));
    let many = refused(|i| i.pools[0] = pool(1, "100.64.0.0/24"));
    assert_eq!(
        many,
        TooManyAddresses {
            needed: 257,
            room: 64
        }
    );
    let vrf = refused(|i| i.vrfs.push(i.vrfs[0].clone()));
    assert!(matches!(vrf, AddressTwice { .. } | VrfTwice(_)), "{vrf}");
    let twice = refused(|i| i.uplinks.push(uplink(0, &[])));
    assert_eq!(twice, UplinkTwice(InterfaceId::new(0)));
    let twice = refused(|i| i.pools.push(pool(1, "203.0.113.128/32")));
    assert_eq!(twice, PoolTwice(PoolId::new(1)));
}

#[test]
fn an_outside_address_has_the_use_it_was_given() {
    let policy = build_with(|_| {}).unwrap();
    let used_for = |text: &str| policy.outside_use(text.parse().unwrap());
    let pool_1 = Some(OutsideUse::Pool(PoolId::new(1)));
    assert_eq!(used_for("203.0.113.64"), pool_1);
    assert_eq!(used_for("203.0.113.79"), pool_1);
    assert_eq!(used_for("203.0.113.80"), None);
    assert_eq!(used_for("203.0.113.20"), Some(OutsideUse::Forwards));
    let (vrf, inside) = (VRF, Ipv4Addr::new(10, 0, 0, 7));
    assert_eq!(
        used_for("203.0.113.70"),
        Some(OutsideUse::Floating { vrf, inside })
    );
    assert_eq!(
        policy.floating_out(vrf, inside),
        Some(Ipv4Addr::new(203, 0, 113, 70))
    );
    assert_eq!(policy.floating_out(VrfId::new(2), inside), None);
    let uplink_0 = Some(OutsideUse::Uplink(InterfaceId::new(0)));
    assert_eq!(used_for("198.51.100.9"), uplink_0);
}

#[test]
fn scope_says_what_needs_a_session() {
    let policy = build_with(|_| {}).unwrap();
    let scope = |source: &str| policy.scope(VRF, source.parse().unwrap(), REMOTE, IpProtocol::TCP);
    assert_eq!(
        scope("10.0.0.7:1"),
        Scope::Floating(Ipv4Addr::new(203, 0, 113, 70))
    );
    assert_eq!(scope("10.0.0.8:80"), Scope::Stateful);
    assert_eq!(scope("10.1.1.1:1"), Scope::Stateful);
    assert_eq!(scope("11.0.0.8:80"), Scope::Untranslated);
}

#[test]
fn outside_tuples_steer_to_forwards_first_and_then_to_the_owners_of_blocks() {
    let policy = build_with(|_| {}).unwrap();
    let address = Ipv4Addr::new(203, 0, 113, 65);
    let owner = |protocol, port| policy.outside_owner(protocol, address, port);
    let inside = policy.inside_owner(VRF, Ipv4Addr::new(10, 0, 0, 9));
    assert_eq!(owner(IpProtocol::UDP, 2000), Some(inside));
    assert_eq!(owner(IpProtocol::TCP, 2000), None);
    let other = WorkerId::new(inside.value() ^ 1);
    let slot = policy.shared_address(address).unwrap().slot;
    assert!(policy.owners().claim(slot, 2000 / BLOCK_PORTS, other));
    assert_eq!(owner(IpProtocol::UDP, 2000), Some(inside));
    assert_eq!(owner(IpProtocol::TCP, 2000), Some(other));
    assert_eq!(owner(IpProtocol::ICMP, 2047), Some(other));
    assert_eq!(owner(IpProtocol::ICMP, 2048), None);
}

proptest! {
    /// Every port of every address, against the words of the configuration.
    #[test]
    fn only_ports_nobody_else_uses_are_handed_out(port: u16, first in 1024u16.., length: u16) {
        let last = first.saturating_add(length);
        let policy = build_with(|i| i.pools[0].ports = first..=last).unwrap();
        let pool_1 = Target::pool(PoolId::new(1));
        let uplink_0 = Target::uplink(InterfaceId::new(0));
        let may = |text: &str, target| {
            let outside = SocketAddrV4::new(text.parse().unwrap(), port);
            policy.may_hand_out(outside, target)
        };
        let in_range = (first..=last).contains(&port);
        prop_assert_eq!(may("203.0.113.64", pool_1), in_range);
        prop_assert_eq!(may("203.0.113.65", pool_1), in_range && port != 2000);
        prop_assert!(!may("203.0.113.70", pool_1));
        prop_assert!(!may("203.0.113.20", pool_1));
        prop_assert!(!may("203.0.113.64", uplink_0));
        let reserved = port < 1024 || GATEWAY_PORTS.contains(&port) || (32768..=60999).contains(&port);
        prop_assert_eq!(may("198.51.100.1", uplink_0), !reserved);
        prop_assert!(!may("198.51.100.9", uplink_0));
    }
}
