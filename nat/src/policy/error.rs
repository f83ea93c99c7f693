//! Why input is no policy.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

use sekisho_types::{InterfaceId, IpProtocol, Ipv4Prefix, VrfId};

use super::{DYNAMIC_PORTS, PoolId};

/// Why input is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Two pools with one number.
    #[error("pool {0} is defined twice; give each pool its own number")]
    PoolTwice(PoolId),
    /// A range of ports outside what may be handed out.
    #[error(
        "pool {pool} hands out ports {}-{}; the first must not exceed the last, and both lie within {}-{}",
        ports.start(), ports.end(), least, DYNAMIC_PORTS.end()
    )]
    PoolPorts {
        /// The pool.
        pool: PoolId,
        /// Its ports.
        ports: RangeInclusive<u16>,
        /// The first port it may have.
        least: u16,
    },
    /// A size no block of ports can have.
    #[error(
        "pool {pool} has blocks of {size} ports; a block is 64, 128, 256, 512, 1024, 2048 or 4096"
    )]
    BlockSize {
        /// The pool.
        pool: PoolId,
        /// Its size of blocks.
        size: u16,
    },
    /// More different sets of time-outs than a session can name.
    #[error(
        "the SNAT rules have more than {most} different sets of time-outs; let some have the same"
    )]
    TooManyTimeouts {
        /// How many there may be.
        most: usize,
    },
    /// A pool with nothing to hand out.
    #[error("pool {0} has no address left to share; add one that is not a floating IP")]
    PoolEmpty(PoolId),
    /// A prefix longer than any list of addresses should be.
    #[error("pool {pool} holds {prefix}; the largest prefix of a pool is a /16")]
    PoolTooLarge {
        /// The pool.
        pool: PoolId,
        /// Its prefix.
        prefix: Ipv4Prefix,
    },
    /// Two uplinks with one number.
    #[error("uplink {0} is defined twice; give each uplink its own number")]
    UplinkTwice(InterfaceId),
    /// An outside address with two uses.
    #[error("{address} is used by {first} and by {second}; an outside address has one use")]
    AddressTwice {
        /// The address.
        address: Ipv4Addr,
        /// The first use.
        first: String,
        /// The second use.
        second: String,
    },
    /// Two VRFs with one number.
    #[error("VRF {0} is defined twice; put all its rules into one")]
    VrfTwice(VrfId),
    /// A rule that names no pool.
    #[error("an SNAT rule of VRF {vrf} translates to pool {pool}, which does not exist")]
    NoSuchPool {
        /// The VRF.
        vrf: VrfId,
        /// The pool.
        pool: PoolId,
    },
    /// An inside address with two floating IPs.
    #[error("{inside} in VRF {vrf} has floating IPs {first} and {second}; it can have one")]
    InsideTwice {
        /// The VRF.
        vrf: VrfId,
        /// The inside address.
        inside: Ipv4Addr,
        /// The first floating IP.
        first: Ipv4Addr,
        /// The second floating IP.
        second: Ipv4Addr,
    },
    /// A port forward of a protocol without ports.
    #[error("the port forward at {outside} is of protocol {protocol}; it must be tcp or udp")]
    ForwardProtocol {
        /// Where.
        outside: SocketAddrV4,
        /// The protocol.
        protocol: IpProtocol,
    },
    /// A port forward from or to port 0.
    #[error("the port forward at {0} has a port 0; ports are 1 to 65535")]
    ForwardPortZero(SocketAddrV4),
    /// Two port forwards at one outside tuple.
    #[error("{outside} ({protocol}) is forwarded twice; an outside port leads to one place")]
    ForwardTwice {
        /// Where.
        outside: SocketAddrV4,
        /// The protocol.
        protocol: IpProtocol,
    },
    /// A port forward on a port the gateway itself uses.
    #[error(
        "port {} of uplink address {} is the gateway's own; forward another port or use another address",
        .0.port(), .0.ip()
    )]
    ForwardReserved(SocketAddrV4),
    /// More shared addresses than the table of owners holds.
    #[error("the pools and uplinks hold {needed} addresses, more than there is room for ({room})")]
    TooManyAddresses {
        /// Addresses in this policy.
        needed: usize,
        /// Room for addresses.
        room: u32,
    },
}
