//! Outside addresses have one owner each: a pool, a floating IP, port forwards, or the gateway.

use std::net::{IpAddr, Ipv4Addr};

use sekisho_types::{IpProtocol, Ipv4Prefix, Name};

use crate::config::problem::{Located, Place, Problems};
use crate::config::raw::Raw;

use super::uplink_addresses;

/// Somebody's claim on outside addresses.
struct Claim<'r> {
    addresses: Ipv4Prefix,
    owner: String,
    /// Port forwards share an address as long as their ports differ.
    port: Option<(IpProtocol, u16)>,
    at: &'r Place,
}

pub(super) fn check(raw: &Raw, p: &mut Problems<'_>) {
    let mut claims = claims(raw);
    // A covering prefix sorts before what it covers, so only the widest claim still open, and the
    // claims on the very same address, need comparing with the next one.
    claims.sort_by_key(|claim| claim.addresses);
    let mut widest: Option<&Claim<'_>> = None;
    let mut same: Vec<&Claim<'_>> = Vec::new();
    for claim in &claims {
        same.retain(|other| other.addresses == claim.addresses);
        let conflict = match widest {
            Some(open)
                if open.addresses.covers(claim.addresses) && open.addresses != claim.addresses =>
            {
                Some(open)
            }
            _ => same
                .iter()
                .find(|other| conflicts(other.port, claim.port))
                .copied(),
        };
        if let Some(other) = conflict {
            report(other, claim, p);
        }
        if widest.is_none_or(|open| !open.addresses.covers(claim.addresses)) {
            widest = Some(claim);
        }
        same.push(claim);
    }
}

fn conflicts(a: Option<(IpProtocol, u16)>, b: Option<(IpProtocol, u16)>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// Reports at whichever of the two stands later, pointing at the other.
fn report(a: &Claim<'_>, b: &Claim<'_>, p: &mut Problems<'_>) {
    let position = |claim: &Claim<'_>| (claim.at.document, claim.at.span.start);
    let (first, second) = if position(a) <= position(b) {
        (a, b)
    } else {
        (b, a)
    };
    let shared = if first.addresses.len() > second.addresses.len() {
        first.addresses
    } else {
        second.addresses
    };
    let what = match second.port {
        Some((protocol, port)) if first.port.is_some() => {
            format!("{}:{port}/{protocol}", shared.addr())
        }
        _ if shared.len() == Ipv4Prefix::MAX_LEN => shared.addr().to_string(),
        _ => shared.to_string(),
    };
    let message = format!(
        "{what} belongs to {} already ({}); {} needs another",
        first.owner,
        p.line_of(first.at),
        second.owner
    );
    p.error(second.at, message);
}

fn claims(raw: &Raw) -> Vec<Claim<'_>> {
    let mut claims = Vec::new();
    let mut claim = |addresses, owner, port, at| {
        claims.push(Claim {
            addresses,
            owner,
            port,
            at,
        });
    };
    for own in uplink_addresses(raw) {
        if let IpAddr::V4(address) = own.address {
            claim(
                Ipv4Prefix::host(address),
                "the uplink".into(),
                None,
                &own.at,
            );
        }
    }
    if let Some(address) = raw.underlay.as_ref().and_then(|u| u.address.as_ref())
        && !uplink_addresses(raw).any(|own| own.address == IpAddr::V4(address.value))
    {
        let owner = "the underlay".into();
        claim(Ipv4Prefix::host(address.value), owner, None, &address.at);
    }
    for pool in &raw.nat_pools {
        for part in pool.addresses.iter().flatten() {
            for prefix in &part.value {
                let owner = format!("pool {}", name_of(pool.name.as_ref()));
                claim(*prefix, owner, None, &part.at);
            }
        }
    }
    for tenant in &raw.tenants {
        let tenant_name = name_of(tenant.name.as_ref());
        for floating in &tenant.floating_ips {
            if let Some(outside) = &floating.outside {
                let owner = format!("a floating IP of tenant {tenant_name}");
                claim(host(outside.value), owner, None, &outside.at);
            }
        }
        for forward in &tenant.port_forwards {
            if let (Some(outside), Some(protocol)) = (&forward.outside, &forward.protocol) {
                let (address, port) = outside.value;
                let owner = format!("a port forward of tenant {tenant_name}");
                let port = Some((protocol.value, port));
                claim(host(address), owner, port, &outside.at);
            }
        }
    }
    claims
}

fn host(address: Ipv4Addr) -> Ipv4Prefix {
    Ipv4Prefix::host(address)
}

fn name_of(name: Option<&Located<Name>>) -> &str {
    name.map_or("?", |name| name.as_str())
}
