//! Policies that differ from one another in what they allow.

use std::net::Ipv4Addr;
use std::time::Duration;

use sekisho_types::{InterfaceId, IpProtocol, VrfId};

use crate::*;

/// How many there are.
pub(in crate::engine) const VARIANTS: u8 = 5;
/// The first of those with limits, open filters and mappings of one session alone, and how many.
pub(super) const RICH: u8 = 10;
pub(super) const RICH_VARIANTS: u8 = 6;

const POOL: SnatTarget = SnatTarget::Pool(PoolId::new(3));

fn rule(source: &str, target: SnatTarget, filtering: Filtering) -> SnatRule {
    SnatRule {
        filtering,
        ..SnatRule::new(source.parse().unwrap(), target)
    }
}

fn forward(protocol: IpProtocol, outside: &str) -> PortForward {
    PortForward {
        protocol,
        outside: outside.parse().unwrap(),
        inside: "10.0.0.2:3001".parse().unwrap(),
    }
}

fn plain() -> PolicyInput {
    let blue = VrfInput {
        snat: vec![
            rule("10.0.0.1/32", POOL, Filtering::AddressAndPortDependent),
            rule("10.0.0.0/29", POOL, Filtering::default()),
        ],
        port_forwards: vec![forward(IpProtocol::TCP, "203.0.113.1:2000")],
        ..VrfInput::new(VrfId::new(1))
    };
    let green = VrfInput {
        snat: vec![rule("10.0.0.0/8", SnatTarget::Uplink, Filtering::default())],
        port_forwards: vec![forward(IpProtocol::UDP, "203.0.113.99:53")],
        ..VrfInput::new(VrfId::new(2))
    };
    PolicyInput {
        pools: vec![PoolInput {
            id: PoolId::new(3),
            addresses: vec!["203.0.113.0/30".parse().unwrap()],
            ports: 1100..=9000,
            allocation: Allocation::default(),
        }],
        uplinks: (0..2)
            .map(|n| UplinkInput {
                id: InterfaceId::new(n),
                addresses: vec![Ipv4Addr::new(198, 51, 100, n as u8)],
            })
            .collect(),
        uplink_reserved: vec![32768..=60999],
        vrfs: vec![blue, green],
        timers: Timers::default(),
    }
}

/// A policy by number: below [`VARIANTS`], or from [`RICH`] on.
pub(in crate::engine) fn policy_input(variant: u8) -> PolicyInput {
    let mut input = plain();
    let [blue, green] = &mut input.vrfs[..] else {
        return input;
    };
    match variant {
        1 => blue.floating_ips.push(FloatingIp {
            outside: Ipv4Addr::new(203, 0, 113, 2),
            inside: Ipv4Addr::new(10, 0, 0, 3),
        }),
        2 => {
            let addresses = ["203.0.113.0/31", "100.64.0.0/31"];
            input.pools[0].addresses = addresses.map(|text| text.parse().unwrap()).to_vec();
        }
        3 => std::mem::swap(&mut blue.port_forwards, &mut green.port_forwards),
        4 => green.snat[0].target = POOL,
        RICH.. => enrich(variant - RICH, &mut input),
        _ => {}
    }
    input
}

fn enrich(variant: u8, input: &mut PolicyInput) {
    let [blue, green] = &mut input.vrfs[..] else {
        return;
    };
    let exception = SnatRule {
        destination: Some("192.0.2.2/32".parse().unwrap()),
        ..rule("10.0.0.4/30", SnatTarget::NoNat, Filtering::default())
    };
    blue.snat.insert(0, exception);
    blue.snat[2].filtering = Filtering::EndpointIndependent;
    blue.snat[2].timeouts.udp = Some(Duration::from_secs(77));
    green.snat[0].target = POOL;
    green.snat[0].mapping = MappingMode::EndpointDependent;
    input.timers.udp_short = Duration::from_secs(20);
    input.timers.udp_short_ports = vec![81];
    match variant {
        1 => {
            blue.limits.sessions = Some(20);
            green.limits.ports = Some(15);
        }
        2 => {
            blue.limits.host_sessions = Some(5);
            green.limits.host_ports = Some(4);
        }
        3 => {
            input.pools[0].allocation.preserve_parity = true;
            input.pools[0].allocation.block_size = 256;
            blue.snat[2].mapping = MappingMode::EndpointDependent;
        }
        4 => {
            input.pools[0].allocation.single_ports = true;
            green.snat[0].mapping = MappingMode::EndpointIndependent;
            green.limits.reserved_sessions = 20;
        }
        5 => {
            blue.limits.reserved_sessions = 10;
            blue.limits.ports = Some(12);
            green.limits.reserved_sessions = 25;
            input.timers.inbound_refresh = false;
        }
        _ => {}
    }
}
