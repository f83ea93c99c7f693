//! How the tables of a policy are asked: each key is a number that holds all its parts.

use std::net::{Ipv4Addr, SocketAddrV4};

use sekisho_types::{IpProtocol, VrfId};

use crate::owners::Slot;

pub(super) fn address_key(address: Ipv4Addr) -> u128 {
    u128::from(u32::from(address))
}

pub(super) fn host_key(vrf: VrfId, inside: Ipv4Addr) -> u128 {
    u128::from(vrf.value()) << 32 | address_key(inside)
}

pub(super) fn tuple_key(tuple: SocketAddrV4) -> u128 {
    address_key(*tuple.ip()) << 16 | u128::from(tuple.port())
}

pub(super) fn forward_key(protocol: IpProtocol, outside: SocketAddrV4) -> u128 {
    u128::from(protocol.0) << 48 | tuple_key(outside)
}

pub(super) fn forward_back_key(vrf: VrfId, protocol: IpProtocol, inside: SocketAddrV4) -> u128 {
    u128::from(vrf.value()) << 56 | forward_key(protocol, inside)
}

/// Of a host with a port forward, whatever the port.
pub(super) fn forward_host_key(vrf: VrfId, protocol: IpProtocol, inside: Ipv4Addr) -> u128 {
    1 << 127 | forward_back_key(vrf, protocol, SocketAddrV4::new(inside, 0))
}

pub(super) fn block_key(slot: Slot, block: u16) -> u128 {
    u128::from(slot) << 16 | u128::from(block)
}
