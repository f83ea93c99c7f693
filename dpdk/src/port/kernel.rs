//! Kernel interfaces: their state and MTU, asked by ioctl.

use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use sekisho_types::MacAddr;

use super::error::PortError;

/// A capability a port may need: its bit, and its name.
pub(super) type Capability = (u32, &'static str);
pub(super) const NET_ADMIN: Capability = (12, "CAP_NET_ADMIN");
pub(super) const NET_RAW: Capability = (13, "CAP_NET_RAW");
pub(super) const SYS_ADMIN: Capability = (21, "CAP_SYS_ADMIN (to enter the namespace)");

/// Queues of a kernel interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channels {
    /// Those that receive.
    pub(super) receiving: u32,
    /// The most that can receive and send; zero if its queues only do one of the two.
    pub(super) combined_most: u32,
}

/// A kernel interface in the namespace in which this was opened, from wherever it is used.
#[derive(Debug)]
pub(super) struct KernelInterface {
    name: String,
    socket: OwnedFd,
}

impl KernelInterface {
    pub(super) fn open(name: &str) -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked before it is owned.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else has.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            name: name.to_owned(),
            socket,
        })
    }

    pub(super) fn exists(&self) -> bool {
        self.index().is_ok()
    }

    /// Whether it is up and has a carrier.
    pub(super) fn is_running(&self) -> bool {
        let wanted = libc::IFF_UP | libc::IFF_RUNNING;
        self.flags()
            .is_ok_and(|flags| i32::from(flags) & wanted == wanted)
    }

    pub(super) fn set_up(&self) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_flags = self.flags()? | libc::IFF_UP as i16;
        self.ask(libc::SIOCSIFFLAGS, &mut request)
    }

    pub(super) fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_mtu = mtu.into();
        self.ask(libc::SIOCSIFMTU, &mut request)
    }

    pub(super) fn set_mac(&self, mac: MacAddr) -> io::Result<()> {
        // The answer says which kind of address the interface has.
        let mut request = self.request();
        self.ask(libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: the kernel has just written this member of the union.
        let address = unsafe { &mut request.ifr_ifru.ifru_hwaddr };
        for (to, from) in address.sa_data.iter_mut().zip(mac.octets()) {
            *to = from as libc::c_char;
        }
        self.ask(libc::SIOCSIFHWADDR, &mut request)
    }

    /// Over how many queues it spreads what it receives, and over how many it could that also send.
    pub(super) fn channels(&self) -> io::Result<Channels> {
        /// `struct ethtool_channels` of linux/ethtool.h.
        #[repr(C)]
        #[derive(Default)]
        struct Request {
            command: u32,
            rx_most: u32,
            tx_most: u32,
            other_most: u32,
            combined_most: u32,
            rx: u32,
            tx: u32,
            other: u32,
            combined: u32,
        }
        const ETHTOOL_GCHANNELS: u32 = 0x3c;
        const SIOCETHTOOL: libc::c_ulong = 0x8946;
        let mut channels = Request {
            command: ETHTOOL_GCHANNELS,
            ..Request::default()
        };
        let mut request = self.request();
        request.ifr_ifru.ifru_data = (&raw mut channels).cast();
        match self.ask(SIOCETHTOOL, &mut request) {
            // Those that cannot tell have one.
            Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => Err(error),
            Ok(()) | Err(_) => Ok(Channels {
                receiving: (channels.combined + channels.rx).max(1),
                combined_most: channels.combined_most,
            }),
        }
    }

    pub(super) fn index(&self) -> io::Result<i32> {
        let mut request = self.request();
        self.ask(libc::SIOCGIFINDEX, &mut request)?;
        // SAFETY: the kernel has just written this member of the union.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn flags(&self) -> io::Result<i16> {
        let mut request = self.request();
        self.ask(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: the kernel has just written this member of the union.
        Ok(unsafe { request.ifr_ifru.ifru_flags })
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: all zeros is a valid `ifreq`.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        // One octet stays zero: the text's end.
        let room = request.ifr_name.len() - 1;
        for (to, from) in request.ifr_name[..room].iter_mut().zip(self.name.bytes()) {
            *to = from as libc::c_char;
        }
        request
    }

    fn ask(&self, what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: all requests used here read and write one `ifreq`, and what it points to is as
        // large as the request says.
        match unsafe { libc::ioctl(self.socket.as_raw_fd(), what, request) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Whether the kernel and DPDK's argument syntax both take `name`.
pub(super) fn check_name(name: &str) -> Result<(), PortError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    let good = (1..=15).contains(&name.len()) && name.chars().all(plain);
    if good && name != "." && name != ".." {
        Ok(())
    } else {
        Err(PortError::InterfaceName(name.to_owned()))
    }
}

/// Whether the calling thread has what the port needs.
pub(super) fn check_rights(port: &str, needed: &[Capability]) -> Result<(), PortError> {
    // When the kernel does not tell, it will complain itself later.
    let effective = effective_capabilities().unwrap_or(u64::MAX);
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0)
        .map(|&(_, name)| name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(PortError::Rights {
        port: port.to_owned(),
        missing: missing.join(" and "),
    })
}

/// Whether TAP interfaces can be made at all.
pub(super) fn check_tun_device() -> Result<(), PortError> {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .map(drop)
        .map_err(|e| PortError::NoTunDevice(e.to_string()))
}

fn effective_capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_name_cannot_smuggle_driver_arguments_in() {
        for bad in [
            "",
            "a,remote=eth0",
            "a=b",
            "a b",
            "a/b",
            "..",
            "sixteen-octets-x",
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in ["eth0", "eth0.100", "fab_ric-1", "veth0@if3"] {
            assert!(check_name(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn the_loopback_exists_and_a_made_up_interface_does_not() {
        assert!(KernelInterface::open("lo").unwrap().exists());
        let absent = KernelInterface::open("not-there").unwrap();
        assert!(!absent.exists() && !absent.is_running());
    }
}
