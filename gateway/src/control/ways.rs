//! The ways flows take, for people: what the forwarding tables say now.

use std::net::{IpAddr, Ipv4Addr};

use sekisho_fib::{Adjacency, Leaf, Writer};
use sekisho_types::VrfId;

/// Routes from VRF to VRF that are followed.
const MAX_LOOKUPS: usize = 8;

/// A flow whose way is asked for.
#[derive(Clone, Copy, Debug)]
pub struct WayQuestion {
    /// Where it is looked up.
    pub vrf: VrfId,
    /// Where it goes.
    pub destination: Ipv4Addr,
    /// What chooses among several next hops.
    pub hash: u32,
}

/// The way of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowWay {
    /// Nobody it leads to is known now.
    Unknown,
    /// It comes in again at one of our outside addresses.
    Hairpin,
    /// It leaves by a wire.
    Wire(Adjacency),
    /// It goes into a tunnel, and that by a wire, if one is known.
    Tunnel(Adjacency, Option<Adjacency>),
}

/// The way of a flow as the tables of `writer` have it.
pub(super) fn find_way(writer: &Writer, question: &WayQuestion) -> FlowWay {
    let adjacency = match look_up(writer, question) {
        Ok(adjacency) => adjacency,
        Err(Leaf::Nat | Leaf::Local) => return FlowWay::Hairpin,
        Err(_) => return FlowWay::Unknown,
    };
    match adjacency {
        Adjacency::Ethernet { .. } => FlowWay::Wire(adjacency),
        Adjacency::Tunnel {
            vtep: IpAddr::V4(vtep),
            ..
        } => {
            let to_vtep = WayQuestion {
                vrf: VrfId::PROVIDER,
                destination: vtep,
                hash: question.hash,
            };
            let wire = look_up(writer, &to_vtep).ok();
            let wire = wire.filter(|wire| matches!(wire, Adjacency::Ethernet { .. }));
            FlowWay::Tunnel(adjacency, wire)
        }
        _ => FlowWay::Unknown,
    }
}

/// The adjacency a flow leaves by, or the leaf that leads to none.
fn look_up(writer: &Writer, question: &WayQuestion) -> Result<Adjacency, Leaf> {
    let mut vrf = question.vrf;
    for _ in 0..MAX_LOOKUPS {
        match writer.lookup(vrf, question.destination) {
            Leaf::LookupVrf(next) => vrf = next,
            Leaf::Adjacency(id) => return Ok(writer.adjacency(id)),
            Leaf::PathList(list) => {
                let chosen = writer.select(list, question.hash);
                return chosen.map(|id| writer.adjacency(id)).ok_or(Leaf::None);
            }
            leaf => return Err(leaf),
        }
    }
    Err(Leaf::None)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use sekisho_fib::{Capacity, NextHop, PathMember, Tables};
    use sekisho_types::{InterfaceId, MacAddr, Prefix, SegmentId, Vni};

    use super::*;

    const TENANT: VrfId = VrfId::new(1);
    const ENDPOINT: Ipv4Addr = Ipv4Addr::new(172, 16, 10, 11);
    const VTEP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);

    fn wire(next_hop: Ipv4Addr) -> Adjacency {
        Adjacency::Ethernet {
            port: 1,
            interface: InterfaceId::new(1),
            mtu: 1500,
            source: MacAddr::new([2, 0, 0, 0, 0, 1]),
            destination: MacAddr::new([2, 0, 0, 0, 0, 2]),
            next_hop: IpAddr::V4(next_hop),
        }
    }

    fn tunnel() -> Adjacency {
        Adjacency::Tunnel {
            segment: SegmentId::new(0),
            vni: Vni::new(5001).unwrap(),
            vtep: IpAddr::V4(VTEP),
            mtu: 1450,
            inner_source: MacAddr::new([2, 0, 0, 0, 0, 3]),
            inner_destination: MacAddr::new([2, 0, 0, 0, 0, 4]),
        }
    }

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn way(writer: &Writer, vrf: VrfId, destination: Ipv4Addr) -> FlowWay {
        let question = WayQuestion {
            vrf,
            destination,
            hash: 7,
        };
        find_way(writer, &question)
    }

    #[test]
    fn a_way_is_followed_through_vrfs_next_hops_and_tunnels() {
        let (_tables, mut writer) = Tables::new(1, Capacity::default()).unwrap();
        writer.add_vrf(TENANT).unwrap();
        let crossing = Leaf::LookupVrf(VrfId::PROVIDER);
        writer
            .insert(TENANT, prefix("0.0.0.0/0"), crossing)
            .unwrap();
        let remote = Ipv4Addr::new(192, 0, 2, 80);
        assert_eq!(way(&writer, TENANT, remote), FlowWay::Unknown);

        let isp = wire(Ipv4Addr::new(198, 51, 100, 0));
        let id = writer.create_adjacency(&isp).unwrap();
        let next_hop = NextHop {
            address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 0)),
            link: None,
            weight: NonZeroU16::MIN,
        };
        let list = writer.acquire_path_list(&[next_hop]).unwrap().id;
        let member = PathMember {
            adjacency: id,
            weight: NonZeroU16::MIN,
        };
        writer.resolve_path_list(list, &[member]).unwrap();
        let everything = prefix("0.0.0.0/0");
        let leaf = Leaf::PathList(list);
        writer.insert(VrfId::PROVIDER, everything, leaf).unwrap();
        assert_eq!(way(&writer, TENANT, remote), FlowWay::Wire(isp));

        let outside = prefix("203.0.113.64/28");
        writer.insert(VrfId::PROVIDER, outside, Leaf::Nat).unwrap();
        let pool = Ipv4Addr::new(203, 0, 113, 70);
        assert_eq!(way(&writer, TENANT, pool), FlowWay::Hairpin);

        let id = writer.create_adjacency(&tunnel()).unwrap();
        let endpoint = Prefix::host(IpAddr::V4(ENDPOINT));
        writer
            .insert(TENANT, endpoint, Leaf::Adjacency(id))
            .unwrap();
        let whole = FlowWay::Tunnel(tunnel(), Some(isp));
        assert_eq!(way(&writer, TENANT, ENDPOINT), whole);
    }
}
