//! Tenants: segments and their endpoints, routes, and the inside of their translations.

use std::net::{IpAddr, Ipv4Addr};

use sekisho_types::{Ipv4Prefix, MacAddr, Prefix, Vni};

use crate::config::model::{
    Filtering, FloatingIp, InterfaceAddress, MappingMode, MssClamp, PortForward, Segment, SnatRule,
    SnatTarget, StaticEndpoint, StaticRoute, Tenant,
};
use crate::config::problem::{Located, Problems};
use crate::config::raw::{self, Maybe, Raw};

use super::provider::{Surroundings, check_mac, overlap, static_routes, uplink_mtu};
use super::{Names, all, check_host, family, nat, or, refer, unique, uplink_addresses};

/// What VXLAN adds to an inner IP packet: Ethernet 14, VXLAN 8, UDP 8, IPv4 20.
const VXLAN_OVERHEAD: u16 = 50;

pub(super) fn tenants(raw: &Raw, names: &Names, p: &mut Problems<'_>) -> Option<Vec<Tenant>> {
    let vnis = raw
        .tenants
        .iter()
        .flat_map(|tenant| tenant.segments.iter().map(|segment| &segment.vni));
    unique("VNI", vnis, p);
    check_advertised(raw, p);
    all(raw.tenants.iter().map(|tenant| {
        if let Some(name) = &tenant.name
            && name.as_str() == "provider"
        {
            p.error(
                &name.at,
                "the VRF of the uplinks is called provider; give the tenant another name",
            );
        }
        let segment_names = tenant.segments.iter().map(|segment| &segment.name);
        unique("segment", segment_names, p);
        check_disjoint(&tenant.segments, p);
        let segments = all(tenant
            .segments
            .iter()
            .map(|segment| build_segment(segment, raw, p)));
        let routes = routes(tenant, p);
        let snat = snat(tenant, names, p);
        let floating_ips = floating_ips(tenant, p);
        let port_forwards = port_forwards(tenant, p);
        Some(Tenant {
            name: tenant.name.as_ref()?.value.clone(),
            segments: segments?,
            routes: routes?,
            snat: snat?,
            floating_ips: floating_ips?,
            port_forwards: port_forwards?,
            max_sessions: limit(&tenant.max_sessions),
            max_new_sessions: limit(&tenant.max_new_sessions),
            max_ports: limit(&tenant.max_ports),
            reserved_sessions: limit(&tenant.reserved_sessions).unwrap_or(0),
            max_sessions_per_host: limit(&tenant.max_sessions_per_host),
            max_new_sessions_per_host: limit(&tenant.max_new_sessions_per_host),
            max_ports_per_host: limit(&tenant.max_ports_per_host),
            nat_log: tenant.nat_log.as_ref().map(|level| level.value),
        })
    }))
}

fn limit(value: &Maybe<u32>) -> Option<u32> {
    value.as_ref().map(|most| most.value)
}

/// One VRF cannot hold the same connected prefix twice.
fn check_disjoint(segments: &[raw::Segment], p: &mut Problems<'_>) {
    let gateways = |segment| raw::Segment::gateways(segment);
    for (index, segment) in segments.iter().enumerate() {
        for gateway in gateways(segment) {
            let mut earlier = segments[..index].iter().flat_map(gateways);
            let Some(other) = earlier.find(|other| overlap(other.prefix, gateway.prefix)) else {
                continue;
            };
            let message = format!(
                "{} overlaps {} of the same tenant ({}); give each segment its own prefix",
                gateway.prefix,
                other.prefix,
                p.line_of(&other.at)
            );
            p.error(&gateway.at, message);
        }
    }
}

/// What is announced is reachable in the provider VRF, where prefixes cannot overlap.
fn check_advertised(raw: &Raw, p: &mut Problems<'_>) {
    let mut seen: Vec<(Prefix, &Located<InterfaceAddress>, &str)> = Vec::new();
    for tenant in &raw.tenants {
        let name = tenant.name.as_ref().map_or("?", |name| name.as_str());
        for segment in &tenant.segments {
            for gateway in segment.advertised() {
                let prefix = gateway.prefix;
                if let Some((other, at, owner)) =
                    seen.iter().find(|(other, ..)| overlap(*other, prefix))
                    && *owner != name
                {
                    let message = format!(
                        "{prefix} is advertised, but overlaps {other}, which tenant {owner} advertises \
                     ({}); advertise only one of them, or use another prefix",
                        p.line_of(&at.at)
                    );
                    p.error(&gateway.at, message);
                }
                if let Some(own) = uplink_addresses(raw).find(|own| overlap(own.prefix, prefix)) {
                    let message = format!(
                        "{prefix} is advertised, but overlaps the connected prefix {} of an uplink \
                     ({}); do not advertise it, or use another prefix",
                        own.prefix,
                        p.line_of(&own.at)
                    );
                    p.error(&gateway.at, message);
                }
                if raw.bgp.is_none() && gateway.address.is_ipv4() {
                    p.warn(
                        &segment.at,
                        "nothing announces this segment: there is no [bgp]",
                    );
                }
                seen.push((prefix, gateway, name));
            }
        }
    }
}

fn build_segment(segment: &raw::Segment, raw: &Raw, p: &mut Problems<'_>) -> Option<Segment> {
    if raw.underlay.is_none() {
        p.error(
            &segment.at,
            "a segment needs tunnels; write [underlay] with the address where they end",
        );
    }
    if let Some(mac) = &segment.mac {
        check_mac(mac, p);
    }
    let keys = [(&segment.gateway, false), (&segment.gateway6, true)];
    for (gateway, wants_ipv6) in keys {
        let Some(gateway) = gateway else { continue };
        if !family::check_key(gateway, wants_ipv6, p) {
            continue;
        }
        check_host(gateway.address, gateway.prefix, &gateway.at, p);
        if gateway.prefix.is_host() {
            let message = format!(
                "{} leaves no room for endpoints; write the length of the segment's prefix",
                gateway.prefix
            );
            p.error(&gateway.at, message);
        }
    }
    let vteps = segment.vteps.as_deref().unwrap_or_default();
    check_vteps(segment, vteps, raw, p);
    let fits = fits_underlay(raw);
    if let Some(mtu) = &segment.mtu
        && mtu.value > fits
    {
        let message = format!(
            "MTU {} does not fit the underlay, which carries inner packets up to {fits}; larger \
             ones will be dropped",
            mtu.value
        );
        p.warn(&mtu.at, message);
    }
    check_ipv6(segment, or(&segment.mtu, fits), p);
    let endpoints = endpoints(segment, vteps, p);
    let vni = Vni::new(segment.vni.as_ref()?.value).ok()?;
    Some(Segment {
        name: segment.name.as_ref()?.value.clone(),
        vni,
        gateway: segment.gateway.as_ref()?.value,
        gateway6: segment.gateway6.as_ref().map(|gateway| gateway.value),
        mac: or(&segment.mac, derived_mac(vni)),
        mtu: or(&segment.mtu, fits),
        vteps: vteps.iter().map(|vtep| vtep.value).collect(),
        learning: or(&segment.learning, true),
        advertise: or(&segment.advertise, false),
        advertise6: or(&segment.advertise6, false),
        router_advertisements: or(&segment.router_advertisements, segment.gateway6.is_some()),
        icmp_errors: or(&segment.icmp_errors, true),
        mss_clamp: or(&segment.mss_clamp, MssClamp::default()),
        endpoints: endpoints?,
    })
}

/// What needs an IPv6 address, and what that needs.
fn check_ipv6(segment: &raw::Segment, mtu: u16, p: &mut Problems<'_>) {
    match &segment.gateway6 {
        Some(gateway) => {
            let at = segment.mtu.as_ref().map_or(&gateway.at, |mtu| &mtu.at);
            family::check_mtu(mtu, at, p);
        }
        None => {
            let flags = [
                (&segment.advertise6, "advertise6"),
                (&segment.router_advertisements, "router-advertisements"),
            ];
            for (flag, key) in flags {
                if let Some(flag) = flag.as_ref().filter(|flag| flag.value) {
                    let message = format!(
                        "{key} means nothing without an IPv6 address; write gateway6 = \
                         \"2001:db8:10::1/64\""
                    );
                    p.error(&flag.at, message);
                }
            }
        }
    }
}

/// A locally administered address that is the same on every gateway of the segment.
fn derived_mac(vni: Vni) -> MacAddr {
    let [a, b, c] = vni.octets();
    MacAddr::new([0x02, 0x53, 0x4b, a, b, c])
}

/// The largest inner packet that fits the uplink toward the other VTEPs: the one that holds the
/// underlay address; for a loopback-like one, the smallest of all.
fn fits_underlay(raw: &Raw) -> u16 {
    let address = raw
        .underlay
        .as_ref()
        .and_then(|underlay| underlay.address.as_ref())
        .map(|address| IpAddr::V4(address.value));
    let owner = raw.uplinks.iter().find(|uplink| {
        let mut own = uplink.addresses.iter().flatten();
        own.any(|own| Some(own.address) == address)
    });
    let mtu = match owner {
        Some(uplink) => uplink_mtu(raw, uplink),
        None => raw
            .uplinks
            .iter()
            .map(|uplink| uplink_mtu(raw, uplink))
            .min()
            .unwrap_or(1500),
    };
    mtu.saturating_sub(VXLAN_OVERHEAD)
}

fn check_vteps(
    segment: &raw::Segment,
    vteps: &[Located<Ipv4Addr>],
    raw: &Raw,
    p: &mut Problems<'_>,
) {
    if vteps.is_empty() {
        p.warn(
            &segment.at,
            "no VTEP may send for this segment; write vteps = [\"10.1.0.11\"]",
        );
    }
    let list: Vec<Maybe<Ipv4Addr>> = vteps.iter().cloned().map(Some).collect();
    unique("VTEP", list.iter(), p);
    let underlay = raw.underlay.as_ref().and_then(|u| u.address.as_ref());
    for vtep in vteps {
        let ip = IpAddr::V4(vtep.value);
        if underlay.is_some_and(|own| own.value == vtep.value) {
            let message = format!("{ip} is the gateway's own VTEP address; list the others");
            p.error(&vtep.at, message);
        } else {
            check_host(ip, Prefix::host(ip), &vtep.at, p);
        }
    }
}

fn endpoints(
    segment: &raw::Segment,
    vteps: &[Located<Ipv4Addr>],
    p: &mut Problems<'_>,
) -> Option<Vec<StaticEndpoint>> {
    let addresses = segment.endpoints.iter().map(|endpoint| &endpoint.address);
    unique("endpoint", addresses, p);
    all(segment.endpoints.iter().map(|endpoint| {
        if let Some(mac) = &endpoint.mac {
            check_mac(mac, p);
        }
        if let Some(address) = &endpoint.address {
            check_endpoint_address(address, segment, p);
        }
        if let Some(vtep) = &endpoint.vtep
            && !vteps.iter().any(|known| known.value == vtep.value)
        {
            let message = format!(
                "{} is not among the segment's vteps; add it there, for packets from it are \
                 dropped otherwise",
                vtep.value
            );
            p.error(&vtep.at, message);
        }
        Some(StaticEndpoint {
            address: endpoint.address.as_ref()?.value,
            mac: endpoint.mac.as_ref()?.value,
            vtep: endpoint.vtep.as_ref()?.value,
        })
    }))
}

/// An endpoint lives in a prefix of its segment, and is not the gateway.
fn check_endpoint_address(address: &Located<IpAddr>, segment: &raw::Segment, p: &mut Problems<'_>) {
    if family::special(address.value).is_some() {
        check_host(address.value, Prefix::host(address.value), &address.at, p);
        return;
    }
    let mut gateways = segment.gateways();
    let Some(gateway) = gateways.find(|gateway| gateway.prefix.contains(address.value)) else {
        let prefixes: Vec<String> = segment
            .gateways()
            .map(|gateway| gateway.prefix.to_string())
            .collect();
        if !prefixes.is_empty() {
            let message = format!(
                "{} is outside the segment's prefix {}",
                address.value,
                prefixes.join(" and ")
            );
            p.error(&address.at, message);
        }
        return;
    };
    if address.value == gateway.address {
        let message = format!(
            "{} is the segment's gateway; an endpoint needs another address",
            address.value
        );
        p.error(&address.at, message);
    } else {
        check_host(address.value, gateway.prefix, &address.at, p);
    }
}

fn routes(tenant: &raw::Tenant, p: &mut Problems<'_>) -> Option<Vec<StaticRoute>> {
    let all = || tenant.segments.iter().flat_map(raw::Segment::gateways);
    for route in &tenant.routes {
        let hops = route
            .next_hop
            .iter()
            .chain(route.next_hops.iter().flatten());
        for hop in hops.filter(|hop| hop.interface.is_none()) {
            let is_special = family::special(hop.address).is_some();
            if !is_special && !all().any(|gateway| gateway.prefix.contains(hop.address)) {
                let message = format!(
                    "{} is in no segment of the tenant; the route waits for a route to it",
                    hop.value
                );
                p.warn(&hop.at, message);
            }
        }
    }
    let interfaces = tenant
        .segments
        .iter()
        .filter_map(|segment| Some((&segment.name.as_ref()?.value, segment.gateway6.is_some())));
    let surroundings = Surroundings {
        own: all().map(|gateway| gateway.address).collect(),
        kind: "segment",
        interfaces: interfaces.collect(),
    };
    check_way_out(tenant, p);
    static_routes(&tenant.routes, &surroundings, p)
}

/// IPv6 is not translated: what leads out of a tenant leads nowhere if nothing may take it.
fn check_way_out(tenant: &raw::Tenant, p: &mut Problems<'_>) {
    let advertises = |segment: &raw::Segment| segment.advertise6.as_ref().is_some_and(|f| f.value);
    if tenant.segments.iter().any(advertises) {
        return;
    }
    let out = tenant.routes.iter().find(|route| {
        let is_ipv6 = |prefix: &Located<Prefix>| matches!(prefix.value, Prefix::V6(_));
        route.vrf.is_some() && route.prefix.as_ref().is_some_and(is_ipv6)
    });
    if let Some(prefix) = out.and_then(|route| route.prefix.as_ref()) {
        p.warn(
            &prefix.at,
            "nobody can use this route: IPv6 is not translated, and no segment of the tenant has \
             advertise6 = true",
        );
    }
}

/// The IPv4 gateways, where the inside of translations is.
fn gateways(tenant: &raw::Tenant) -> impl Iterator<Item = &InterfaceAddress> {
    tenant
        .segments
        .iter()
        .filter_map(|segment| segment.gateway.as_ref().map(|gateway| &gateway.value))
}

fn snat(tenant: &raw::Tenant, names: &Names, p: &mut Problems<'_>) -> Option<Vec<SnatRule>> {
    let mut earlier: Vec<(&Located<Ipv4Prefix>, Option<Ipv4Prefix>)> = Vec::new();
    for rule in &tenant.snat {
        let Some(source) = &rule.source else {
            continue;
        };
        let destination = rule.destination.as_ref().map(|prefix| prefix.value);
        let hides = |(wider, to): &&(&Located<Ipv4Prefix>, Option<Ipv4Prefix>)| {
            let to_all = to.is_none_or(|to| destination.is_some_and(|other| to.covers(other)));
            wider.covers(source.value) && to_all
        };
        if let Some((wider, _)) = earlier.iter().find(hides) {
            let message = format!(
                "this rule never matches: {} ({}) stands before it; put the longer prefix first",
                wider.value,
                p.line_of(&wider.at)
            );
            p.warn(&source.at, message);
        }
        earlier.push((source, destination));
    }
    all(tenant.snat.iter().map(|rule| {
        let to = snat_target(rule, names, p);
        let timeouts = nat::timeouts(&rule.timeouts, p);
        let mapping = or(&rule.mapping, MappingMode::default());
        Some(SnatRule {
            source: rule.source.as_ref()?.value,
            destination: rule.destination.as_ref().map(|prefix| prefix.value),
            to: to?,
            mapping,
            filtering: filtering(rule, mapping, p),
            timeouts,
        })
    }))
}

/// Who is let in: with endpoint-dependent mapping there is one choice.
fn filtering(rule: &raw::Snat, mapping: MappingMode, p: &mut Problems<'_>) -> Filtering {
    if mapping == MappingMode::EndpointIndependent {
        return or(&rule.filtering, Filtering::default());
    }
    if let Some(filtering) = &rule.filtering
        && filtering.value != Filtering::AddressAndPortDependent
    {
        p.error(
            &filtering.at,
            "endpoint-dependent mapping lets in exactly whom the host has sent to; write \
             \"address-and-port-dependent\" or leave it out",
        );
    }
    Filtering::AddressAndPortDependent
}

fn snat_target(rule: &raw::Snat, names: &Names, p: &mut Problems<'_>) -> Option<SnatTarget> {
    match (&rule.pool, &rule.to) {
        (Some(pool), None) => {
            refer("NAT pool", pool, &names.nat_pools, p);
            Some(SnatTarget::Pool(pool.value.clone()))
        }
        (None, Some(to)) => match to.as_str() {
            "uplink" => Some(SnatTarget::Uplink),
            "none" => Some(SnatTarget::None),
            other => {
                let message = format!(
                    "{other:?} is not known here; write \"uplink\" or \"none\", or pool = \
                     {other:?}"
                );
                p.error(&to.at, message);
                None
            }
        },
        _ => {
            p.error(
                &rule.at,
                "a rule says what its sources become: write either pool = \"NAME\" or to = \
                 \"uplink\" or \"none\"",
            );
            None
        }
    }
}

fn floating_ips(tenant: &raw::Tenant, p: &mut Problems<'_>) -> Option<Vec<FloatingIp>> {
    let insides = tenant.floating_ips.iter().map(|floating| &floating.inside);
    unique("the floating IP of", insides, p);
    all(tenant.floating_ips.iter().map(|floating| {
        if let Some(inside) = &floating.inside {
            check_inside(inside.value, inside, tenant, p);
        }
        if let Some(outside) = &floating.outside {
            let ip = IpAddr::V4(outside.value);
            check_host(ip, Prefix::host(ip), &outside.at, p);
        }
        Some(FloatingIp {
            outside: floating.outside.as_ref()?.value,
            inside: floating.inside.as_ref()?.value,
        })
    }))
}

fn port_forwards(tenant: &raw::Tenant, p: &mut Problems<'_>) -> Option<Vec<PortForward>> {
    all(tenant.port_forwards.iter().map(|forward| {
        if let Some(inside) = &forward.inside {
            check_inside(inside.value.0, inside, tenant, p);
        }
        if let Some(outside) = &forward.outside {
            let ip = IpAddr::V4(outside.value.0);
            check_host(ip, Prefix::host(ip), &outside.at, p);
        }
        Some(PortForward {
            protocol: forward.protocol.as_ref()?.value,
            outside: forward.outside.as_ref()?.value,
            inside: forward.inside.as_ref()?.value,
        })
    }))
}

/// An inside address lives in a segment of the tenant, and is not the gateway's.
fn check_inside<T>(
    address: Ipv4Addr,
    written: &Located<T>,
    tenant: &raw::Tenant,
    p: &mut Problems<'_>,
) {
    let ip = IpAddr::V4(address);
    let Some(gateway) = gateways(tenant).find(|gateway| gateway.prefix.contains(ip)) else {
        let prefixes: Vec<String> = gateways(tenant)
            .map(|gateway| gateway.prefix.to_string())
            .collect();
        let message = if prefixes.is_empty() {
            format!("{ip} is in no segment of the tenant, which has none")
        } else {
            format!(
                "{ip} is in no segment of the tenant; its segments are {}",
                prefixes.join(", ")
            )
        };
        p.error(&written.at, message);
        return;
    };
    if gateway.address == ip {
        let message = format!("{ip} is the segment's gateway; use an endpoint's address");
        p.error(&written.at, message);
    } else {
        check_host(ip, gateway.prefix, &written.at, p);
    }
}
