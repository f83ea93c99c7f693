//! The host interface: the TAP through which the kernel's sockets reach the provider VRF.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use sekisho_types::MacAddr;
use tracing::{info, warn};
use tun_rs::{DeviceBuilder, Layer};

use crate::interface_name::InterfaceName;
use crate::netlink::Netlink;
use crate::source_routing::{self, Family};
use crate::{HostError, HostPackets};

/// The Ethernet address of the host interface, the same everywhere: nobody else sees it.
pub const HOST_MAC: MacAddr = MacAddr::new([0x02, 0x73, 0x65, 0x6b, 0x69, 0x00]);

/// A TAP that carries the gateway's addresses as /32 and /128, without ARP. What the kernel sends
/// from one of them comes out of it as an IP packet, whatever the main routing table says; what is
/// put into it reaches the kernel's sockets. The kernel forwards nothing that comes from it.
///
/// Reverse-path filtering: the interface's own `rp_filter` is off, but the kernel takes the larger of
/// that and `net.ipv4.conf.all.rp_filter`. The latter is the host's business and stays as it is, since
/// it does no harm here: the check looks for the way back *from our address*, which our rules lead out
/// of this interface, so that even the strict mode passes.
///
/// The TAP vanishes with the process. Dropping the value, or [`close`](Self::close), removes the TAP,
/// its routes and its rules.
pub struct HostInterface {
    name: InterfaceName,
    index: u32,
    tap: File,
    netlink: Netlink,
    addresses: BTreeSet<IpAddr>,
    families: Vec<Family>,
    closed: bool,
}

impl HostInterface {
    /// Creates the interface `name` in the network namespace of the calling thread, with a largest IP
    /// packet of `mtu` octets, after removing the rules a killed predecessor left behind.
    ///
    /// # Errors
    /// [`HostError::InterfaceName`], [`HostError::InterfaceExists`], [`HostError::TableInUse`] if
    /// another gateway is alive in this namespace, [`HostError::Address`], and what the kernel
    /// refuses. Nothing is left behind then.
    pub fn create(name: &str, addresses: &[IpAddr], mtu: u16) -> Result<Self, HostError> {
        let name = InterfaceName::new(name)?;
        check(addresses)?;
        let mut netlink = Netlink::open().map_err(HostError::netlink("open a netlink socket"))?;
        let taken = netlink
            .link(name.as_str())
            .map_err(HostError::netlink("list the interfaces"))?;
        if taken.is_some() {
            return Err(HostError::InterfaceExists(name.to_string()));
        }
        match source_routing::remove_leftovers(&mut netlink)? {
            0 => {}
            count => info!(
                count,
                "removed routing rules a killed predecessor left behind"
            ),
        }

        let tap = open_tap(&name)?;
        let index = netlink
            .link(name.as_str())
            .map_err(HostError::netlink("list the interfaces"))?
            .ok_or_else(|| HostError::NoInterface(name.to_string()))?
            .index;
        let mut interface = Self {
            name,
            index,
            tap,
            netlink,
            addresses: BTreeSet::new(),
            families: Vec::new(),
            closed: false,
        };
        interface.silence()?;
        interface.bring_up(mtu)?;
        interface.set_addresses(addresses)?;
        Ok(interface)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The addresses it has.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().copied()
    }

    /// A further handle on its packets.
    ///
    /// # Errors
    /// If the process has no file descriptors left.
    pub fn packets(&self) -> io::Result<HostPackets> {
        self.tap.try_clone().map(HostPackets::new)
    }

    /// Makes `addresses` the addresses of the interface. What stays is not touched; what is new is
    /// added before what is old goes. The kernel lets a new IPv6 address receive a moment after it has
    /// acknowledged it.
    ///
    /// # Errors
    /// [`HostError::Address`] before anything is changed; what the kernel refuses, with the changes up
    /// to there in effect: calling again continues.
    pub fn set_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), HostError> {
        check(addresses)?;
        let wanted: BTreeSet<IpAddr> = addresses.iter().copied().collect();
        let current = self.addresses.clone();
        for address in wanted.difference(&current) {
            self.add_address(*address)?;
        }
        for address in current.difference(&wanted) {
            self.remove_address(*address)?;
        }
        Ok(())
    }

    /// Removes the interface, its routes and its rules.
    ///
    /// # Errors
    /// What the kernel refuses; the rest is removed nevertheless.
    pub fn close(mut self) -> Result<(), HostError> {
        self.tear_down()
    }

    /// Turns off what would make the kernel speak or forward of its own accord.
    fn silence(&self) -> Result<(), HostError> {
        self.sysctl("ipv4", "forwarding", "0")?;
        self.sysctl("ipv4", "rp_filter", "0")?;
        self.sysctl("ipv4", "accept_redirects", "0")?;
        self.sysctl("ipv4", "send_redirects", "0")?;
        self.sysctl("ipv4", "accept_source_route", "0")?;
        if PathBuf::from("/proc/sys/net/ipv6").exists() {
            self.sysctl("ipv6", "forwarding", "0")?;
            self.sysctl("ipv6", "accept_ra", "0")?;
            self.sysctl("ipv6", "accept_redirects", "0")?;
            // No link-local address: no router solicitations, no listener reports.
            self.sysctl("ipv6", "addr_gen_mode", "1")?;
        }
        Ok(())
    }

    fn sysctl(&self, family: &str, parameter: &str, value: &'static str) -> Result<(), HostError> {
        let path = PathBuf::from(format!(
            "/proc/sys/net/{family}/conf/{}/{parameter}",
            self.name
        ));
        fs::write(&path, value).map_err(|source| HostError::Sysctl {
            path,
            value,
            source,
        })
    }

    fn bring_up(&mut self, mtu: u16) -> Result<(), HostError> {
        let mut link = LinkMessage::default();
        link.header.index = self.index;
        link.header.flags = LinkFlags::Noarp | LinkFlags::Up;
        link.header.change_mask = LinkFlags::Noarp | LinkFlags::Up;
        link.attributes = vec![
            LinkAttribute::Address(HOST_MAC.octets().to_vec()),
            LinkAttribute::Mtu(mtu.into()),
        ];
        self.netlink
            .execute(RouteNetlinkMessage::SetLink(link), 0)
            .map_err(HostError::netlink(format!(
                "bring {} up with an MTU of {mtu}",
                self.name
            )))
    }

    fn add_address(&mut self, address: IpAddr) -> Result<(), HostError> {
        let family = Family::of(address);
        if !self.families.contains(&family) {
            source_routing::add_default_route(&mut self.netlink, family, self.index)?;
            self.families.push(family);
        }
        source_routing::add_rule(&mut self.netlink, address)?;
        let message = RouteNetlinkMessage::NewAddress(self.address_message(address));
        let added = self
            .netlink
            .execute(message, NLM_F_CREATE | NLM_F_EXCL)
            .map_err(HostError::netlink(format!(
                "add {address} to {}",
                self.name
            )));
        match added {
            Ok(()) => {
                self.addresses.insert(address);
                Ok(())
            }
            Err(error) => {
                source_routing::remove_rule(&mut self.netlink, address)?;
                Err(error)
            }
        }
    }

    fn remove_address(&mut self, address: IpAddr) -> Result<(), HostError> {
        let message = RouteNetlinkMessage::DelAddress(self.address_message(address));
        self.netlink
            .execute(message, 0)
            .map_err(HostError::netlink(format!(
                "remove {address} from {}",
                self.name
            )))?;
        self.addresses.remove(&address);
        source_routing::remove_rule(&mut self.netlink, address)
    }

    fn address_message(&self, address: IpAddr) -> AddressMessage {
        let family = Family::of(address);
        let mut message = AddressMessage::default();
        message.header.family = family.number();
        message.header.prefix_len = family.host_length();
        message.header.scope = AddressScope::Universe;
        message.header.index = self.index;
        message.attributes = vec![
            AddressAttribute::Local(address),
            AddressAttribute::Address(address),
            // Nobody answers here, and no route to it belongs into the main table.
            AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute),
        ];
        message
    }

    fn tear_down(&mut self) -> Result<(), HostError> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        let mut outcome = Ok(());
        for address in std::mem::take(&mut self.addresses) {
            outcome = outcome.and(source_routing::remove_rule(&mut self.netlink, address));
        }
        let mut link = LinkMessage::default();
        link.header.index = self.index;
        let removed = self
            .netlink
            .execute(RouteNetlinkMessage::DelLink(link), 0)
            .map_err(HostError::netlink(format!("remove {}", self.name)));
        outcome.and(removed)
    }
}

impl Drop for HostInterface {
    fn drop(&mut self) {
        if let Err(error) = self.tear_down() {
            warn!(%error, "the host interface was not removed completely");
        }
    }
}

impl std::fmt::Debug for HostInterface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostInterface")
            .field("name", &self.name)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

fn open_tap(name: &InterfaceName) -> Result<File, HostError> {
    let open = || -> io::Result<File> {
        let device = DeviceBuilder::new()
            .name(name.as_str())
            .layer(Layer::L2)
            .enable(false)
            .build_sync()?;
        device.set_nonblocking(true)?;
        Ok(device.as_fd().try_clone_to_owned()?.into())
    };
    open().map_err(|source| HostError::Tap {
        name: name.to_string(),
        source,
    })
}

fn check(addresses: &[IpAddr]) -> Result<(), HostError> {
    let unusable = |address: &&IpAddr| {
        address.is_unspecified() || address.is_multicast() || address.is_loopback()
    };
    match addresses.iter().find(unusable) {
        Some(address) => Err(HostError::Address(*address)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
