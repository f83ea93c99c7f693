//! Which flows there are: all that a frame needs follows from a flow's number.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;
use sekisho_types::MacAddr;

/// What tenants and traffic look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mix {
    /// One tenant, UDP, packets in the cache when the worker gets them.
    Hot,
    /// 256 tenants behind 64 VTEPs each, TCP and UDP mixed, packets out of the second-level cache.
    Full,
}

impl Mix {
    pub(crate) const ALL: [Self; 2] = [Self::Hot, Self::Full];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Full => "full",
        }
    }
}

/// A set of flows, numbered from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flows {
    pub(crate) count: u32,
    pub(crate) tenants: u32,
    pub(crate) vteps: u32,
    /// Virtual machines of all tenants together.
    pub(crate) hosts: u32,
    /// Every second flow is TCP.
    pub(crate) tcp: bool,
    /// Every flow is.
    pub(crate) all_tcp: bool,
}

/// One flow as its virtual machine sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) host: Host,
    pub(crate) sport: u16,
    pub(crate) peer: Ipv4Addr,
    pub(crate) dport: u16,
    pub(crate) tcp: bool,
}

impl Flow {
    /// The server, where it has both families.
    pub(crate) fn peer6(&self) -> Ipv6Addr {
        let peer = u128::from(self.peer.to_bits());
        Ipv6Addr::from_bits(0x2a00_1450 << 96 | peer)
    }
}

/// A virtual machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    pub(crate) tenant: u32,
    pub(crate) address: Ipv4Addr,
    /// Where it has both families.
    pub(crate) address6: Ipv6Addr,
    pub(crate) mac: MacAddr,
    /// Which VTEP it lives behind, from 0.
    pub(crate) vtep: u32,
}

/// Ports of a host that flows come from.
const FIRST_PORT: u32 = 2048;
/// First virtual machine's address in each tenant.
const FIRST_HOST: u32 = 0xac10_0010;
/// Servers outside.
const FIRST_PEER: u32 = 0xc612_0000;
const PEERS: u32 = 1 << 17;

impl Flows {
    /// At most 256 flows of a host, at least 64 hosts.
    pub(crate) fn new(count: u32, mix: Mix) -> Self {
        let tenants = match mix {
            Mix::Hot => 1,
            Mix::Full => 256,
        };
        Self {
            count,
            tenants,
            vteps: 64,
            hosts: (count / 256).max(64).max(tenants),
            tcp: mix == Mix::Full,
            all_tcp: false,
        }
    }

    pub(crate) fn host(&self, number: u32) -> Host {
        let (tenant, place) = (number % self.tenants, number / self.tenants);
        let [a, b, c, d] = number.to_be_bytes();
        Host {
            tenant,
            address: Ipv4Addr::from(FIRST_HOST + place),
            address6: Self::address6(tenant, 0x10 + place),
            mac: MacAddr::new([2, 0x10, a, b, c, d]),
            vtep: (place + tenant) % self.vteps,
        }
    }

    pub(crate) fn flow(&self, number: u32) -> Flow {
        let host = self.host(number % self.hosts);
        let spread = number.wrapping_mul(0x9e37_79b1) >> 8;
        Flow {
            host,
            sport: (FIRST_PORT + number / self.hosts) as u16,
            peer: Ipv4Addr::from(FIRST_PEER + spread % PEERS),
            dport: 443,
            tcp: self.tcp && (self.all_tcp || spread & 1 == 1),
        }
    }

    /// An address of a tenant's only segment.
    pub(crate) fn address6(tenant: u32, place: u32) -> Ipv6Addr {
        let prefix = 0x2001_0db8 << 96 | u128::from(tenant) << 64;
        Ipv6Addr::from_bits(prefix | u128::from(place))
    }

    /// The address of a VTEP.
    pub(crate) fn vtep(number: u32) -> Ipv4Addr {
        Ipv4Addr::from(0x0a01_0100 + number)
    }
}
