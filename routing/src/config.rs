//! What the routing service is told to do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use sekisho_types::{Asn, Name, Prefix};

/// The whole configuration of the routing service. The default runs no BGP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingConfig {
    /// The BGP speaker, if one runs.
    pub bgp: Option<BgpConfig>,
    /// Prefix lists by which neighbours' routes are filtered; names are unique.
    pub prefix_lists: Vec<PrefixList>,
}

/// The BGP speaker of the provider VRF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpConfig {
    /// Our AS.
    pub asn: Asn,
    /// The BGP identifier; never 0.
    pub router_id: Ipv4Addr,
    /// Most equal-cost paths of one prefix, at least 1.
    pub maximum_paths: u8,
    /// Where neighbours reach us: usually port 179 of each local address.
    pub listen: Vec<SocketAddr>,
    /// Neighbours; addresses are unique.
    pub neighbors: Vec<NeighborConfig>,
}

/// One BGP neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborConfig {
    /// Its address.
    pub address: IpAddr,
    /// The TCP port it listens on, usually 179.
    pub port: u16,
    /// Its AS.
    pub remote_as: Asn,
    /// For people.
    pub description: Option<String>,
    /// The prefix list that filters what we accept. `None` accepts nothing from another AS
    /// (RFC 8212) and everything from our own.
    pub import: Option<Name>,
    /// The prefix list that filters what we announce. `None` announces nothing to another AS
    /// (RFC 8212) and everything to our own.
    pub export: Option<Name>,
    /// Proposed hold time: zero, or 3 s to 65535 s.
    pub hold_time: Duration,
    /// First pause between attempts to connect; doubles with each failure.
    pub connect_retry_time: Duration,
    /// Wait for the neighbour to connect.
    pub passive: bool,
    /// Our address of the session; the kernel chooses when `None`.
    pub local_address: Option<IpAddr>,
    /// Administratively down.
    pub shutdown: bool,
    /// What the neighbour is told when it is shut down (RFC 9003), at most 255 octets are sent.
    pub shutdown_message: Option<String>,
}

impl NeighborConfig {
    /// The TCP port of BGP.
    pub const PORT: u16 = 179;
    /// The hold time RFC 4271 section 10 suggests.
    pub const HOLD_TIME: Duration = Duration::from_secs(90);
    /// The first pause between attempts to connect.
    pub const CONNECT_RETRY_TIME: Duration = Duration::from_secs(5);

    /// A neighbour with default timers and no policy.
    pub fn new(address: IpAddr, remote_as: Asn) -> Self {
        Self {
            address,
            port: Self::PORT,
            remote_as,
            description: None,
            import: None,
            export: None,
            hold_time: Self::HOLD_TIME,
            connect_retry_time: Self::CONNECT_RETRY_TIME,
            passive: false,
            local_address: None,
            shutdown: false,
            shutdown_message: None,
        }
    }
}

/// A prefix list: the first rule that matches decides; none matching denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixList {
    /// Its name.
    pub name: Name,
    /// Rules in order.
    pub rules: Vec<PrefixRule>,
}

/// One rule of a prefix list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixRule {
    /// Permit or deny what matches.
    pub permit: bool,
    /// Matches prefixes inside this one ...
    pub prefix: Prefix,
    /// ... at least this long ...
    pub ge: u8,
    /// ... and at most this long.
    pub le: u8,
}

/// Why a configuration was refused; the running one is untouched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigureError {
    /// Two neighbours with one address.
    #[error("neighbor {0} is configured twice; each address may appear once")]
    DuplicateNeighbor(IpAddr),
    /// Two prefix lists with one name.
    #[error("prefix list {0} is defined twice; put all rules into one list")]
    DuplicatePrefixList(Name),
    /// A neighbour refers to a prefix list that does not exist.
    #[error("neighbor {neighbor} refers to prefix list {list}, which is not defined; {}", alternatives(.known))]
    UnknownPrefixList {
        /// The neighbour.
        neighbor: IpAddr,
        /// The name it uses.
        list: Name,
        /// The names there are.
        known: Vec<Name>,
    },
    /// BGP identifier 0.0.0.0 (RFC 6286).
    #[error("router id 0.0.0.0 identifies nobody; use one of the gateway's IPv4 addresses")]
    RouterIdZero,
    /// No path at all may be used.
    #[error("maximum paths 0 would use no route; use 1 to 255")]
    NoPaths,
    /// Hold time of 1 or 2 s, or more than 16 bits of seconds (RFC 4271 section 4.2).
    #[error("hold time {}s of neighbor {neighbor} is not possible; use 0 or 3 to 65535 seconds", .hold_time.as_secs_f64())]
    HoldTime {
        /// The neighbour.
        neighbor: IpAddr,
        /// The hold time.
        hold_time: Duration,
    },
    /// A port of zero.
    #[error("neighbor {0} has port 0; BGP listens on 179")]
    PortZero(IpAddr),
    /// A listening socket could not be opened.
    #[error(
        "cannot listen on {address}: {reason}; is the address up and no other BGP speaker running?"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        reason: String,
    },
    /// The service has ended.
    #[error(transparent)]
    Stopped(#[from] crate::service::Stopped),
}

fn alternatives(names: &[Name]) -> String {
    if names.is_empty() {
        "no prefix list is defined".to_owned()
    } else {
        let names: Vec<_> = names.iter().map(Name::as_str).collect();
        format!("there are: {}", names.join(", "))
    }
}

impl RoutingConfig {
    /// Checks what the types do not.
    pub(crate) fn check(&self) -> Result<(), ConfigureError> {
        let mut lists = BTreeSet::new();
        for list in &self.prefix_lists {
            if !lists.insert(&list.name) {
                return Err(ConfigureError::DuplicatePrefixList(list.name.clone()));
            }
        }
        let Some(bgp) = &self.bgp else { return Ok(()) };
        if bgp.router_id.is_unspecified() {
            return Err(ConfigureError::RouterIdZero);
        }
        if bgp.maximum_paths == 0 {
            return Err(ConfigureError::NoPaths);
        }
        let mut seen = BTreeMap::new();
        for neighbor in &bgp.neighbors {
            if seen.insert(neighbor.address, ()).is_some() {
                return Err(ConfigureError::DuplicateNeighbor(neighbor.address));
            }
            neighbor.check()?;
            for list in [&neighbor.import, &neighbor.export].into_iter().flatten() {
                if !lists.contains(list) {
                    return Err(ConfigureError::UnknownPrefixList {
                        neighbor: neighbor.address,
                        list: list.clone(),
                        known: lists.into_iter().cloned().collect(),
                    });
                }
            }
        }
        Ok(())
    }
}

impl NeighborConfig {
    fn check(&self) -> Result<(), ConfigureError> {
        if self.port == 0 {
            return Err(ConfigureError::PortZero(self.address));
        }
        let possible = self.hold_time.is_zero()
            || (Duration::from_secs(3)..=Duration::from_secs(65535)).contains(&self.hold_time);
        if possible {
            Ok(())
        } else {
            Err(ConfigureError::HoldTime {
                neighbor: self.address,
                hold_time: self.hold_time,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RoutingConfig {
        let asn = Asn::new(65010).unwrap();
        let neighbor = NeighborConfig::new("192.0.2.1".parse().unwrap(), asn);
        RoutingConfig {
            bgp: Some(BgpConfig {
                asn,
                router_id: Ipv4Addr::new(192, 0, 2, 2),
                maximum_paths: 4,
                listen: Vec::new(),
                neighbors: vec![neighbor],
            }),
            prefix_lists: Vec::new(),
        }
    }

    fn refused(change: impl FnOnce(&mut BgpConfig)) -> String {
        let mut config = config();
        change(config.bgp.as_mut().unwrap());
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn a_sound_configuration_is_accepted() {
        assert_eq!(config().check(), Ok(()));
        assert_eq!(RoutingConfig::default().check(), Ok(()));
    }

    #[test]
    fn each_fault_is_named_with_its_remedy() {
        let list = Name::new("from-isp").unwrap();
        assert!(
            refused(|bgp| bgp.neighbors[0].hold_time = Duration::from_secs(2)).contains("0 or 3")
        );
        assert!(refused(|bgp| bgp.neighbors.push(bgp.neighbors[0].clone())).contains("twice"));
        assert!(refused(|bgp| bgp.router_id = Ipv4Addr::UNSPECIFIED).contains("0.0.0.0"));
        assert!(refused(|bgp| bgp.maximum_paths = 0).contains("1 to 255"));
        assert!(refused(|bgp| bgp.neighbors[0].port = 0).contains("179"));
        assert!(refused(|bgp| bgp.neighbors[0].import = Some(list)).contains("not defined"));
    }
}
