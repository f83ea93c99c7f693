//! Filling the forwarding tables as the control plane would.

use std::net::IpAddr;
use std::num::NonZeroU16;

use anyhow::{Context, Result};
use sekisho_fib::{Adjacency, Leaf, Link, NextHop, PathListId, PathMember, Writer};
use sekisho_gateway::control::plan::Plan;
use sekisho_gateway::snapshot::Snapshot;
use sekisho_types::{InterfaceId, Ipv4Prefix, MacAddr, Prefix, SegmentId, VrfId};

use super::flows::Flows;
use super::world::{Shape, UPLINKS, router};

/// What the configuration says by itself: connected and local routes, pools.
pub(super) fn configured(writer: &mut Writer, plan: &Plan) -> Result<()> {
    for vrf in vrfs(&plan.snapshot) {
        writer.add_vrf(vrf)?;
    }
    insert(writer, plan, &|_| true)
}

/// What differs between two configurations: VRFs that come, with their routes, and go.
pub(crate) fn applied(writer: &mut Writer, old: &Plan, new: &Plan) -> Result<()> {
    let is_new = |vrf| old.snapshot.tenant(vrf).is_none();
    for vrf in vrfs(&new.snapshot).filter(|&vrf| is_new(vrf)) {
        writer.add_vrf(vrf)?;
    }
    insert(writer, new, &|vrf| vrf != VrfId::PROVIDER && is_new(vrf))?;
    for vrf in vrfs(&old.snapshot).filter(|&vrf| new.snapshot.tenant(vrf).is_none()) {
        writer.remove_vrf(vrf)?;
    }
    Ok(())
}

/// The VRFs of tenants.
fn vrfs(snapshot: &Snapshot) -> impl Iterator<Item = VrfId> {
    let tenants = snapshot.tenants.iter().zip(0..);
    tenants.filter_map(|(tenant, index)| tenant.as_ref().map(|_| VrfId::new(index)))
}

/// The routes of some of the VRFs.
fn insert(writer: &mut Writer, plan: &Plan, wanted: &dyn Fn(VrfId) -> bool) -> Result<()> {
    use sekisho_routing::{InterfaceKey, StaticTarget};
    for route in plan.connected.iter().filter(|route| wanted(route.vrf)) {
        let link = match route.interface.key {
            InterfaceKey::Uplink(id) => Link::Interface(id),
            InterfaceKey::Segment(id) => Link::Segment(id),
        };
        writer.insert(route.vrf, route.prefix, Leaf::Connected(link))?;
    }
    for route in plan.local.iter().filter(|route| wanted(route.vrf)) {
        writer.insert(route.vrf, host(route.address), Leaf::Local)?;
    }
    for route in plan.nat.iter().filter(|route| wanted(route.vrf)) {
        writer.insert(route.vrf, route.prefix, Leaf::Nat)?;
    }
    for route in plan.statics.iter().filter(|route| wanted(route.vrf)) {
        let leaf = match route.target {
            StaticTarget::LookupVrf(vrf) => Leaf::LookupVrf(vrf),
            StaticTarget::Discard | StaticTarget::NextHops(_) => Leaf::Discard,
        };
        writer.insert(route.vrf, route.prefix, leaf)?;
    }
    Ok(())
}

fn host(address: IpAddr) -> Prefix {
    match address {
        IpAddr::V4(address) => Prefix::V4(Ipv4Prefix::host(address)),
        IpAddr::V6(address) => Prefix::V6(sekisho_types::Ipv6Prefix::host(address)),
    }
}

/// The VTEPs on the fabric.
pub(super) fn vteps(writer: &mut Writer, snapshot: &Snapshot, flows: &Flows) -> Result<()> {
    for number in 0..flows.vteps {
        let [_, b, c, d] = number.to_be_bytes();
        let mac = MacAddr::new([2, 0xee, 0, b, c, d]);
        let address = Flows::vtep(number).into();
        let adjacency = ethernet(snapshot, InterfaceId::new(0), address, mac)?;
        let id = writer.create_adjacency(&adjacency)?;
        writer.set_host(VrfId::PROVIDER, address, id)?;
    }
    Ok(())
}

/// The routers behind the uplinks, and the path list of each alone and of all together.
pub(super) fn routers(writer: &mut Writer, snapshot: &Snapshot) -> Result<Vec<PathListId>> {
    let mut members = Vec::new();
    let mut next_hops = Vec::new();
    let mut lists = Vec::new();
    for uplink in 0..UPLINKS {
        let id = InterfaceId::new(uplink + 1);
        let address = IpAddr::V4(router(uplink));
        let mac = MacAddr::new([2, 0xdd, 0, 0, 0, uplink as u8]);
        let adjacency = writer.create_adjacency(&ethernet(snapshot, id, address, mac)?)?;
        writer.set_host(VrfId::PROVIDER, address, adjacency)?;
        members.push(PathMember {
            adjacency,
            weight: NonZeroU16::MIN,
        });
        next_hops.push(NextHop {
            address,
            link: Some(Link::Interface(id)),
            weight: NonZeroU16::MIN,
        });
        lists.push(list(
            writer,
            &next_hops[usize::from(uplink)..],
            &members[usize::from(uplink)..],
        )?);
    }
    lists.push(list(writer, &next_hops, &members)?);
    Ok(lists)
}

fn list(writer: &mut Writer, next_hops: &[NextHop], members: &[PathMember]) -> Result<PathListId> {
    let list = writer.acquire_path_list(next_hops)?;
    writer.resolve_path_list(list.id, members)?;
    Ok(list.id)
}

fn ethernet(
    snapshot: &Snapshot,
    interface: InterfaceId,
    next_hop: IpAddr,
    destination: MacAddr,
) -> Result<Adjacency> {
    let uplink = snapshot.uplink(interface).context("an uplink")?;
    Ok(Adjacency::Ethernet {
        port: uplink.port,
        interface,
        mtu: uplink.mtu,
        source: uplink.mac,
        destination,
        next_hop,
    })
}

/// The virtual machines of all tenants.
pub(super) fn endpoints(writer: &mut Writer, snapshot: &Snapshot, shape: &Shape) -> Result<()> {
    let flows = &shape.flows;
    for number in 0..flows.hosts {
        let host = flows.host(number);
        let id = SegmentId::new(host.tenant as u16);
        let segment = snapshot.segment(id).context("a segment")?;
        let tunnel = Adjacency::Tunnel {
            segment: id,
            vni: segment.vni,
            vtep: Flows::vtep(host.vtep).into(),
            mtu: segment.mtu,
            inner_source: segment.mac,
            inner_destination: host.mac,
        };
        let adjacency = writer.create_adjacency(&tunnel)?;
        writer.set_host(segment.vrf, host.address.into(), adjacency)?;
        if shape.dual_stack {
            let adjacency = writer.create_adjacency(&tunnel)?;
            writer.set_host(segment.vrf, host.address6.into(), adjacency)?;
        }
    }
    Ok(())
}

/// Puts `prefixes` into the provider VRF, spread over the routers.
pub(crate) fn routes(
    writer: &mut Writer,
    lists: &[PathListId],
    prefixes: impl Iterator<Item = (IpAddr, u8)>,
) -> Result<()> {
    for (number, (address, length)) in prefixes.enumerate() {
        let leaf = Leaf::PathList(lists[number % usize::from(UPLINKS)]);
        let prefix = Prefix::new(address, length)?;
        writer.insert(VrfId::PROVIDER, prefix, leaf)?;
    }
    Ok(())
}
