//! The trees against a list of prefixes searched from end to end.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use sekisho_fib::{Adjacency, AdjacencyId, Capacity, Leaf, Link, PackedLeaf, Tables, Writer};
use sekisho_types::{InterfaceId, Prefix, VrfId, WorkerId};

const CAPACITY: Capacity = Capacity {
    blocks: 1 << 12,
    adjacencies: 8,
    path_lists: 8,
    buckets: 256,
};
const TENANT: VrfId = VrfId::new(9);
const BYSTANDER: VrfId = VrfId::new(10);

#[derive(Clone, Debug)]
enum Step {
    Insert(Prefix, Leaf),
    Remove(Prefix),
    SetHost(IpAddr),
    ClearHost(IpAddr),
}

/// Few addresses, so that prefixes cover each other often.
fn address(is_v6: bool) -> impl Strategy<Value = IpAddr> {
    let octet = || prop::sample::select(vec![0_u8, 1, 2, 127, 128, 254, 255]);
    (
        prop::sample::select(vec![0_u8, 10, 255]),
        octet(),
        octet(),
        octet(),
    )
        .prop_map(move |(a, b, c, d)| {
            let v4 = u32::from_be_bytes([a, b, c, d]);
            if is_v6 {
                let bits = u128::from(v4);
                IpAddr::V6(Ipv6Addr::from(bits << 96 | bits << 40 | bits))
            } else {
                IpAddr::V4(Ipv4Addr::from(v4))
            }
        })
}

fn prefix(is_v6: bool) -> impl Strategy<Value = Prefix> {
    let longest = if is_v6 { 128 } else { 32_u8 };
    let len = prop_oneof![
        0..=longest,
        prop::sample::select(vec![0, 8, 16, 24, longest])
    ];
    (address(is_v6), len).prop_map(|(address, len)| Prefix::truncated(address, len))
}

fn leaf() -> impl Strategy<Value = Leaf> {
    prop_oneof![
        (0..100_u16).prop_map(|id| Leaf::LookupVrf(VrfId::new(id))),
        (0..4_u16).prop_map(|id| Leaf::Connected(Link::Interface(InterfaceId::new(id)))),
        prop::sample::select(vec![Leaf::Local, Leaf::Nat, Leaf::Discard]),
    ]
}

fn steps(is_v6: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (prefix(is_v6), leaf()).prop_map(|(prefix, leaf)| Step::Insert(prefix, leaf)),
        3 => prefix(is_v6).prop_map(Step::Remove),
        1 => address(is_v6).prop_map(Step::SetHost),
        1 => address(is_v6).prop_map(Step::ClearHost),
    ];
    prop::collection::vec(step, 1..60)
}

/// The rules in their plainest words.
#[derive(Default)]
struct Model {
    routes: BTreeMap<Prefix, Leaf>,
    hosts: BTreeMap<IpAddr, AdjacencyId>,
}

impl Model {
    fn lookup(&self, address: IpAddr) -> Leaf {
        let longest = self
            .routes
            .iter()
            .filter(|(prefix, _)| prefix.contains(address))
            .max_by_key(|(prefix, _)| prefix.len());
        match (longest, self.hosts.get(&address)) {
            (Some((prefix, leaf)), Some(_))
                if prefix.is_host() && !matches!(leaf, Leaf::Connected(_)) =>
            {
                *leaf
            }
            (_, Some(host)) => Leaf::Adjacency(*host),
            (Some((_, leaf)), None) => *leaf,
            (None, None) => Leaf::None,
        }
    }

    /// Every address at which the answer may change, and its neighbours.
    fn probes(&self, is_v6: bool) -> Vec<IpAddr> {
        let mut probes: Vec<u128> = vec![0, u128::MAX];
        let hosts = self.hosts.keys().map(|host| Prefix::host(*host));
        for prefix in self.routes.keys().copied().chain(hosts) {
            let (first, last): (u128, u128) = match prefix {
                Prefix::V4(p) => (u32::from(p.addr()).into(), u32::from(p.last()).into()),
                Prefix::V6(p) => (p.addr().into(), p.last().into()),
            };
            probes.extend([first, first.wrapping_sub(1), last, last.wrapping_add(1)]);
        }
        probes
            .into_iter()
            .map(|bits| match is_v6 {
                true => Ipv6Addr::from(bits).into(),
                false => Ipv4Addr::from(bits as u32).into(),
            })
            .collect()
    }
}

fn lookup(writer: &Writer, vrf: VrfId, address: IpAddr) -> Leaf {
    match address {
        IpAddr::V4(address) => writer.lookup(vrf, address),
        IpAddr::V6(address) => writer.lookup(vrf, address),
    }
}

fn follows_the_model(vrf: VrfId, is_v6: bool, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (tables, mut writer) = Tables::new(1, CAPACITY).unwrap();
    let reader = tables.reader(WorkerId::new(0)).unwrap();
    for tenant in [TENANT, BYSTANDER] {
        writer.add_vrf(tenant).unwrap();
    }
    let neighbour = writer.create_adjacency(&Adjacency::Drop).unwrap();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Insert(prefix, leaf) => {
                let before = model.routes.insert(prefix, leaf).unwrap_or_default();
                prop_assert_eq!(writer.insert(vrf, prefix, leaf).unwrap(), before);
            }
            Step::Remove(prefix) => {
                let before = model.routes.remove(&prefix).unwrap_or_default();
                prop_assert_eq!(writer.remove(vrf, prefix).unwrap(), before);
            }
            Step::SetHost(host) => {
                model.hosts.insert(host, neighbour);
                writer.set_host(vrf, host, neighbour).unwrap();
            }
            Step::ClearHost(host) => {
                let before = model.hosts.remove(&host);
                prop_assert_eq!(writer.clear_host(vrf, host).unwrap(), before);
            }
        }
        for probe in model.probes(is_v6) {
            prop_assert_eq!(
                lookup(&writer, vrf, probe),
                model.lookup(probe),
                "{}",
                probe
            );
            prop_assert_eq!(lookup(&writer, BYSTANDER, probe), Leaf::None);
        }
    }
    let probes = model.probes(is_v6);
    let expected: Vec<_> = probes.iter().map(|probe| model.lookup(*probe)).collect();
    let mut leaves = vec![PackedLeaf::NONE; probes.len()];
    if is_v6 {
        let probes: Vec<Ipv6Addr> = probes
            .iter()
            .filter_map(|probe| match probe {
                IpAddr::V6(address) => Some(*address),
                IpAddr::V4(_) => None,
            })
            .collect();
        reader.lookup_batch(vrf, &probes, &mut leaves);
    } else {
        let probes: Vec<Ipv4Addr> = probes
            .iter()
            .filter_map(|probe| match probe {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            })
            .collect();
        reader.lookup_batch(vrf, &probes, &mut leaves);
    }
    let leaves: Vec<_> = leaves.into_iter().map(Leaf::from).collect();
    prop_assert_eq!(leaves, expected);

    for prefix in model.routes.keys() {
        writer.remove(vrf, *prefix).unwrap();
    }
    for host in model.hosts.keys() {
        writer.clear_host(vrf, *host).unwrap();
    }
    for probe in probes {
        prop_assert_eq!(lookup(&writer, vrf, probe), Leaf::None);
    }
    drop(reader);
    writer.reclaim();
    prop_assert_eq!(writer.stats().blocks, 0, "blocks leak");
    prop_assert_eq!(writer.stats().routes + writer.stats().hosts, 0);
    writer.free_adjacency(neighbour).unwrap();
    Ok(())
}

proptest! {
    #[test]
    fn the_provider_table_follows_the_model(steps in steps(false)) {
        follows_the_model(VrfId::PROVIDER, false, steps)?;
    }

    #[test]
    fn a_tenant_table_follows_the_model(steps in steps(false)) {
        follows_the_model(TENANT, false, steps)?;
    }

    #[test]
    fn the_provider_ipv6_table_follows_the_model(steps in steps(true)) {
        follows_the_model(VrfId::PROVIDER, true, steps)?;
    }

    #[test]
    fn a_tenant_ipv6_table_follows_the_model(steps in steps(true)) {
        follows_the_model(TENANT, true, steps)?;
    }
}
