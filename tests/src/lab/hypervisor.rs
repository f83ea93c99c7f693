//! A tenant's hypervisor: kernel VXLAN, one bridge a segment, virtual machines behind it.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::Host;

/// Octets VXLAN adds to an inner IP packet on an IPv4 underlay: IPv4, UDP, VXLAN, Ethernet.
const VXLAN_OVERHEAD: u16 = 50;

/// A host with an underlay address on `eth0`.
#[derive(Clone, Debug)]
pub struct Hypervisor {
    host: Host,
    address: Ipv4Addr,
    mtu: u16,
}

/// An overlay network as the hypervisors see it.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its VXLAN network identifier.
    pub vni: u32,
    /// Where broadcast and unknown destinations are replicated to, among them the gateway; the
    /// hypervisor leaves itself out.
    pub vteps: Vec<Ipv4Addr>,
}

impl Hypervisor {
    /// Plugs `host` into the fabric's bridge and gives it `address`/24.
    ///
    /// # Errors
    /// When iproute2 fails.
    pub fn new(host: Host, fabric: &Host, address: Ipv4Addr, mtu: u16) -> Result<Self> {
        let port = host.name().to_owned();
        host.cable("eth0", fabric, &port, mtu)?;
        fabric.ip(&format!("link set {port} master br0"))?;
        host.ip(&format!("addr add {address}/24 dev eth0"))?;
        Ok(Self { host, address, mtu })
    }

    /// The namespace.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The underlay address, which is the VTEP's.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Opens the segment here: a bridge and a VXLAN device that learns where addresses live.
    ///
    /// # Errors
    /// When iproute2 fails.
    pub fn add_segment(&self, segment: &Segment) -> Result<()> {
        let Segment { vni, vteps } = segment;
        let mtu = self.mtu - VXLAN_OVERHEAD;
        let address = self.address;
        self.host.ip(&format!(
            "link add name br{vni} mtu {mtu} type bridge
             link add vxlan{vni} mtu {mtu} type vxlan id {vni} dstport 4789 local {address} dev eth0
             link set vxlan{vni} master br{vni}
             link set vxlan{vni} up
             link set br{vni} up"
        ))?;
        let flood: Vec<String> = vteps
            .iter()
            .filter(|&&vtep| vtep != address)
            .map(|vtep| format!("bridge fdb append 00:00:00:00:00:00 dev vxlan{vni} dst {vtep}"))
            .collect();
        self.host.run(&flood.join(" && ")).map(drop)
    }

    /// Starts a virtual machine (a namespace with `eth0`) on segment `vni`, with address
    /// `address`/24 and a default route over `gateway`.
    ///
    /// # Errors
    /// When iproute2 fails.
    pub fn add_vm(
        &self,
        name: &str,
        vni: u32,
        address: Ipv4Addr,
        mac: &str,
        gateway: Ipv4Addr,
    ) -> Result<Host> {
        let vm = self.host.lab().host(name)?;
        vm.cable("eth0", &self.host, name, self.mtu - VXLAN_OVERHEAD)?;
        self.host.ip(&format!("link set {name} master br{vni}"))?;
        vm.ip(&format!(
            "link set eth0 address {mac}
             addr add {address}/24 dev eth0
             route add default via {gateway}"
        ))?;
        Ok(vm)
    }
}
