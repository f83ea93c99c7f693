//! From neighbours to adjacencies: which number stands for whom, and what it holds.

use std::collections::HashMap;
use std::net::IpAddr;

use sekisho_fib::{Adjacency, AdjacencyId, FibError, Link, Writer};
use sekisho_types::VrfId;

use super::neighbor::{Location, Neighbor};
use crate::snapshot::Snapshot;

/// The adjacency of every neighbour that has one.
#[derive(Debug, Default)]
pub struct Adjacencies {
    ids: HashMap<Neighbor, AdjacencyId>,
}

impl Adjacencies {
    /// The adjacency of a neighbour, made if need be; unresolved at first.
    pub fn ensure(
        &mut self,
        writer: &mut Writer,
        neighbor: Neighbor,
    ) -> Result<AdjacencyId, FibError> {
        if let Some(&id) = self.ids.get(&neighbor) {
            return Ok(id);
        }
        let id = writer.create_adjacency(&unresolved(neighbor))?;
        self.ids.insert(neighbor, id);
        Ok(id)
    }

    /// Frames for the neighbour go to `location`: its adjacency is resolved, and its address leads
    /// there.
    pub fn resolve(
        &mut self,
        writer: &mut Writer,
        snapshot: &Snapshot,
        neighbor: Neighbor,
        location: Location,
    ) -> Result<(), FibError> {
        let Some((vrf, adjacency)) = resolved(snapshot, neighbor, location) else {
            return Ok(());
        };
        let id = self.ensure(writer, neighbor)?;
        if writer.adjacency(id) != adjacency {
            writer.replace_adjacency(id, &adjacency)?;
        }
        if has_host_route(neighbor.address) {
            writer.set_host(vrf, neighbor.address, id)?;
        }
        Ok(())
    }

    /// The neighbour does not answer: its address leads nowhere. The adjacency stays while a path
    /// list names it.
    pub fn lose(
        &mut self,
        writer: &mut Writer,
        snapshot: &Snapshot,
        neighbor: Neighbor,
    ) -> Result<(), FibError> {
        let Some(&id) = self.ids.get(&neighbor) else {
            return Ok(());
        };
        if let Some(vrf) = vrf_of(snapshot, neighbor.link)
            && has_host_route(neighbor.address)
        {
            writer.clear_host(vrf, neighbor.address)?;
        }
        writer.replace_adjacency(id, &unresolved(neighbor))?;
        self.release(writer, neighbor);
        Ok(())
    }

    /// Lets go of an adjacency if nothing names it; answers whether it is gone.
    pub fn release(&mut self, writer: &mut Writer, neighbor: Neighbor) -> bool {
        let Some(&id) = self.ids.get(&neighbor) else {
            return true;
        };
        let freed = writer.free_adjacency(id).is_ok();
        if freed {
            self.ids.remove(&neighbor);
        }
        freed
    }

    /// Says whether a link can carry packets: path lists over it are repaired at once.
    pub fn set_link(&mut self, writer: &mut Writer, link: Link, up: bool) -> Result<(), FibError> {
        for (_, &id) in self
            .ids
            .iter()
            .filter(|(neighbor, _)| neighbor.link == link)
        {
            writer.set_member_state(id, up)?;
        }
        Ok(())
    }

    /// Every neighbour that has an adjacency.
    pub fn neighbors(&self) -> Vec<Neighbor> {
        self.ids.keys().copied().collect()
    }
}

/// Whether the address leads to its neighbour in the table: a link-local one means another neighbour
/// on every link, and is reached by path lists only.
pub fn has_host_route(address: IpAddr) -> bool {
    !matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn unresolved(neighbor: Neighbor) -> Adjacency {
    Adjacency::Incomplete {
        link: neighbor.link,
        next_hop: neighbor.address,
    }
}

/// The table in which a link's neighbours are host routes.
pub fn vrf_of(snapshot: &Snapshot, link: Link) -> Option<VrfId> {
    match link {
        Link::Interface(id) => snapshot.uplink(id).map(|_| VrfId::PROVIDER),
        Link::Segment(id) => snapshot.segment(id).map(|segment| segment.vrf),
    }
}

fn resolved(
    snapshot: &Snapshot,
    neighbor: Neighbor,
    location: Location,
) -> Option<(VrfId, Adjacency)> {
    match neighbor.link {
        Link::Interface(id) => {
            let uplink = snapshot.uplink(id)?;
            let adjacency = Adjacency::Ethernet {
                port: uplink.port,
                interface: id,
                mtu: uplink.mtu,
                source: uplink.mac,
                destination: location.mac,
                next_hop: neighbor.address,
            };
            Some((VrfId::PROVIDER, adjacency))
        }
        Link::Segment(id) => {
            let segment = snapshot.segment(id)?;
            let vtep = location.vtep.filter(IpAddr::is_ipv4)?;
            let adjacency = Adjacency::Tunnel {
                segment: id,
                vni: segment.vni,
                vtep,
                mtu: segment.mtu,
                inner_source: segment.mac,
                inner_destination: location.mac,
            };
            Some((segment.vrf, adjacency))
        }
    }
}
