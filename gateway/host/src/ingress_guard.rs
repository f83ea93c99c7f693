//! Keeps the kernel from answering what arrives on an interface that an `af_packet` port reads.
//!
//! A packet socket gets a *copy*: without a guard the kernel answers ARP, ping and closed ports a
//! second time. The guard drops everything at the netdev ingress hook, which comes after the packet
//! sockets and before everything else.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use tracing::warn;

use crate::interface_name::InterfaceName;
use crate::netlink::{Link, Netlink};
use crate::{HostError, NetNamespace, offloads};

const PROGRAM: &str = "nft";

/// While it lives, the kernel receives nothing on the interface; packet sockets receive everything.
#[derive(Debug)]
pub struct IngressGuard {
    interface: InterfaceName,
    namespace: NetNamespace,
    mtu: u32,
    hints: Vec<Hint>,
    turned_off: Vec<&'static str>,
    removed: bool,
}

/// What an operator should know about a guarded interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The kernel has an address here, which will not answer.
    HasAddress(IpAddr),
    /// The interface is a member of another one, which will receive nothing from it.
    IsMember,
    /// The interface is one end of a veth pair: the peer may send unfinished checksums.
    VethPeer,
    /// Merging of received packets could not be turned off, for this reason.
    Merging(String),
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HasAddress(address) => write!(
                f,
                "the kernel has the address {address} here but receives nothing while the gateway \
                 runs; remove the address"
            ),
            Self::IsMember => f.write_str(
                "the interface is a member of a bridge or bond, which receives nothing from it \
                 while the gateway runs; take it out",
            ),
            Self::VethPeer => f.write_str(
                "the interface is one end of a veth pair; turn transmit checksum offload off at \
                 the other end (ethtool -K PEER tx off), or TCP from there will not connect",
            ),
            Self::Merging(reason) => write!(
                f,
                "cannot turn off merging of received packets ({reason}); packets larger than the \
                 MTU may arrive and be dropped (ethtool -K INTERFACE gro off lro off)"
            ),
        }
    }
}

impl IngressGuard {
    /// Guards `interface` in the network namespace of the calling thread, brings it up, and turns off
    /// merging of received packets (GRO, LRO). A guard that a killed predecessor left behind is
    /// replaced in one step.
    ///
    /// # Errors
    /// [`HostError::NoInterface`]; [`HostError::Program`] if `nft` is not installed;
    /// [`HostError::Refused`] if it refuses.
    pub fn install(interface: &str) -> Result<Self, HostError> {
        let interface = InterfaceName::new(interface)?;
        let mut netlink = Netlink::open().map_err(HostError::netlink("open a netlink socket"))?;
        let link = netlink
            .link(interface.as_str())
            .map_err(HostError::netlink("list the interfaces"))?
            .ok_or_else(|| HostError::NoInterface(interface.to_string()))?;
        nft(&ruleset(&interface))?;
        let mut guard = Self {
            namespace: NetNamespace::current()?,
            mtu: link.mtu,
            hints: Vec::new(),
            turned_off: Vec::new(),
            removed: false,
            interface,
        };
        bring_up(&mut netlink, &link)?;
        guard.hints = hints(&mut netlink, &link)?;
        match offloads::turn_off_merging(&guard.interface) {
            Ok(features) => guard.turned_off = features,
            Err(error) => guard.hints.push(Hint::Merging(error.to_string())),
        }
        Ok(guard)
    }

    /// The interface.
    pub fn interface(&self) -> &str {
        self.interface.as_str()
    }

    /// The interface's MTU when the guard was installed: the largest IP packet, in octets.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// What an operator should know.
    pub fn hints(&self) -> &[Hint] {
        &self.hints
    }

    /// Lets the kernel receive again.
    ///
    /// # Errors
    /// [`HostError::Refused`] if `nft` refuses, which it does if somebody else removed the guard.
    pub fn remove(mut self) -> Result<(), HostError> {
        self.take_off()
    }

    fn take_off(&mut self) -> Result<(), HostError> {
        if std::mem::replace(&mut self.removed, true) {
            return Ok(());
        }
        let features = std::mem::take(&mut self.turned_off);
        let interface = &self.interface;
        self.namespace.run(|| {
            let removed = nft(&format!("delete table netdev {}\n", table(interface)));
            removed.and(offloads::turn_on(interface, &features))
        })?
    }
}

impl Drop for IngressGuard {
    fn drop(&mut self) {
        if let Err(error) = self.take_off() {
            warn!(interface = %self.interface, %error, "the ingress guard was not removed");
        }
    }
}

/// What an operator should know about an interface from which the kernel gets nothing, guard or
/// not.
///
/// # Errors
/// [`HostError::NoInterface`]; [`HostError::Netlink`].
pub fn interface_hints(interface: &str) -> Result<Vec<Hint>, HostError> {
    let interface = InterfaceName::new(interface)?;
    let mut netlink = Netlink::open().map_err(HostError::netlink("open a netlink socket"))?;
    let link = netlink
        .link(interface.as_str())
        .map_err(HostError::netlink("list the interfaces"))?
        .ok_or_else(|| HostError::NoInterface(interface.to_string()))?;
    hints(&mut netlink, &link)
}

fn table(interface: &InterfaceName) -> String {
    format!("sekisho_{interface}")
}

/// One transaction. The first line makes the second one valid where there is no table yet.
fn ruleset(interface: &InterfaceName) -> String {
    let table = table(interface);
    format!(
        "add table netdev {table}\n\
         delete table netdev {table}\n\
         table netdev {table} {{\n\
         \tchain ingress {{\n\
         \t\ttype filter hook ingress device \"{interface}\" priority -500; policy drop;\n\
         \t}}\n\
         }}\n"
    )
}

fn nft(input: &str) -> Result<(), HostError> {
    let unable = |source| HostError::Program {
        program: PROGRAM,
        package: "nftables",
        source,
    };
    let mut child = Command::new(PROGRAM)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(unable)?;
    let written = match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(input.as_bytes()),
        None => Ok(()),
    };
    let output = child.wait_with_output().map_err(unable)?;
    if output.status.success() {
        written.map_err(unable)
    } else {
        Err(HostError::Refused {
            program: PROGRAM,
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

fn bring_up(netlink: &mut Netlink, link: &Link) -> Result<(), HostError> {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    netlink
        .execute(RouteNetlinkMessage::SetLink(message), 0)
        .map_err(HostError::netlink(format!("bring {} up", link.name)))
}

fn hints(netlink: &mut Netlink, link: &Link) -> Result<Vec<Hint>, HostError> {
    let mut hints = Vec::new();
    let addresses = netlink
        .dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))
        .map_err(HostError::netlink("list the addresses"))?;
    for message in &addresses {
        if let RouteNetlinkMessage::NewAddress(message) = message
            && message.header.index == link.index
        {
            hints.extend(
                message
                    .attributes
                    .iter()
                    .find_map(global_address)
                    .map(Hint::HasAddress),
            );
        }
    }
    if link.controller.is_some() {
        hints.push(Hint::IsMember);
    }
    if link.is_veth {
        hints.push(Hint::VethPeer);
    }
    Ok(hints)
}

/// Link-local addresses come by themselves and are no mistake.
fn global_address(attribute: &AddressAttribute) -> Option<IpAddr> {
    match attribute {
        AddressAttribute::Address(IpAddr::V6(address)) if address.is_unicast_link_local() => None,
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
