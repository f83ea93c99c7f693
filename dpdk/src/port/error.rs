//! What can go wrong with a port.

use std::path::PathBuf;

use sekisho_types::MacAddr;

use super::handle::PortHandle;
use crate::pci::PciError;

/// Why a port is not attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not a name the kernel and DPDK both take.
    #[error(
        "{0:?} cannot name a kernel interface; use 1 to 15 letters, digits, '-', '_', '.' or '@'"
    )]
    InterfaceName(String),
    /// The interface to use is not there.
    #[error("interface {interface} does not exist{}; create it, or correct the port's interface",
        place(.namespace.as_deref()))]
    NoInterface {
        /// The kernel interface.
        interface: String,
        /// Where it was looked for.
        namespace: Option<String>,
    },
    /// The interface to make is there already.
    #[error("interface {interface} exists already{}; a tap port makes its own: remove that one, \
        or choose another name", place(.namespace.as_deref()))]
    InterfaceExists {
        /// The kernel interface.
        interface: String,
        /// Where.
        namespace: Option<String>,
    },
    /// The namespace is not there, or cannot be entered.
    #[error(
        "network namespace {namespace} cannot be entered ({reason}); \
        `ip netns add {namespace}` makes it"
    )]
    Namespace {
        /// Its name.
        namespace: String,
        /// What the kernel says.
        reason: String,
    },
    /// The thread lacks rights.
    #[error("port {port} needs {missing}; run as root, or give the service these capabilities")]
    Rights {
        /// The port.
        port: String,
        /// The capabilities that are missing.
        missing: String,
    },
    /// No TAP device node.
    #[error("/dev/net/tun cannot be opened ({0}); `modprobe tun` makes it")]
    NoTunDevice(String),
    /// The number of queues does not fit the driver.
    #[error("port {port} cannot have {asked} queue pairs; its driver takes 1 to {most}")]
    Queues {
        /// The port.
        port: String,
        /// Queue pairs asked for.
        asked: u16,
        /// Queue pairs possible.
        most: u16,
    },
    /// The MTU does not fit the driver.
    #[error("port {port} cannot have an MTU of {asked}; its driver takes {least} to {most}")]
    Mtu {
        /// The port.
        port: String,
        /// The MTU asked for.
        asked: u16,
        /// The smallest.
        least: u16,
        /// The largest.
        most: u16,
    },
    /// The address is no station's.
    #[error("{0} cannot be a port's Ethernet address; use a unicast one")]
    Mac(MacAddr),
    /// The pool's buffers are too small.
    #[error("port {port} needs buffers of {needed} octets for its MTU; the pool's have {actual}")]
    DataRoom {
        /// The port.
        port: String,
        /// Octets needed, headroom included.
        needed: u16,
        /// Octets there are.
        actual: u16,
    },
    /// The pool's buffers are too large.
    #[error(
        "port {port} takes buffers of at most {most} octets, and the pool's have {actual}; give \
        every port an MTU of at most {mtu}"
    )]
    DataRoomMost {
        /// The port.
        port: String,
        /// Octets possible, headroom included.
        most: u16,
        /// Octets there are.
        actual: u16,
        /// The largest MTU with which they fit.
        mtu: u16,
    },
    /// The pool is not one piece of memory.
    #[error(
        "port {port} needs all buffers in one piece of memory, which a device without an IOMMU \
        breaks up; bind the PCI ports to vfio-pci with the IOMMU on, or do without one of the two"
    )]
    Scattered {
        /// The port.
        port: String,
    },
    /// The interface has more or fewer queues than the port.
    #[error(
        "interface {interface} spreads packets over {actual} queues, but port {port} has {wanted}, \
        one for each worker; make them equal: `ethtool -L {interface} {set} {wanted}`, or \
        gateway.workers = {actual}"
    )]
    Channels {
        /// The port.
        port: String,
        /// The kernel interface.
        interface: String,
        /// Queues it has.
        actual: u32,
        /// Queues the port has.
        wanted: u16,
        /// What `ethtool` calls them.
        set: &'static str,
    },
    /// The interface can have only one queue.
    #[error(
        "port {port} has {wanted} queues, one for each worker, but with af_xdp only one queue of \
        interface {interface} can be used (its queues receive or send, as those of a veth pair do); \
        use gateway.workers = 1, or kind = \"af_packet\""
    )]
    OneChannel {
        /// The port.
        port: String,
        /// The kernel interface.
        interface: String,
        /// Queues the port has.
        wanted: u16,
    },
    /// Somebody else's program is at the interface's XDP hook.
    #[error(
        "interface {interface} has the XDP program {program} of somebody else; remove it with \
        `ip link set dev {interface} xdp off`, or choose another interface"
    )]
    XdpProgram {
        /// The kernel interface.
        interface: String,
        /// The program's name.
        program: String,
    },
    /// Something about a memif cannot be.
    #[error("the {what} of port {port} cannot be that; use {right}")]
    Memif {
        /// The port.
        port: String,
        /// What.
        what: &'static str,
        /// What would be right.
        right: &'static str,
    },
    /// The memif's socket cannot be made or reached.
    #[error("port {port}: memif socket {}: {reason}", .socket.display())]
    MemifSocket {
        /// The port.
        port: String,
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// The PCI device cannot be used.
    #[error("port {port}: {source}")]
    Pci {
        /// The port.
        port: String,
        /// Why.
        source: PciError,
    },
    /// DPDK or the kernel refused.
    #[error("port {port}: {action} failed: {reason}")]
    Refused {
        /// The port.
        port: String,
        /// What was tried.
        action: &'static str,
        /// What DPDK or the kernel says.
        reason: String,
    },
}

/// Why a port is not closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Queues are still out; the handle is given back.
    #[error("port {} still has queues in use; drop them first", .0.name())]
    InUse(PortHandle),
    /// It is gone, but not without a complaint.
    #[error("port {port} did not close cleanly: {reason}")]
    Unclean {
        /// The port.
        port: String,
        /// What DPDK says.
        reason: String,
    },
}

fn place(namespace: Option<&str>) -> String {
    namespace.map_or_else(String::new, |name| format!(" in network namespace {name}"))
}
