//! What can go wrong on the kernel's side.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// Why the kernel's side could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No usable name of a kernel interface.
    #[error(
        "{0:?} is no usable interface name; use 1 to 15 letters, digits, '.', '_' or '-', starting with a letter or digit"
    )]
    InterfaceName(String),
    /// The host interface would take the name of another interface.
    #[error(
        "interface {0} exists already; remove it, or choose another name for the host interface"
    )]
    InterfaceExists(String),
    /// The named interface does not exist here.
    #[error("there is no interface {0} in this network namespace; create it or correct the name")]
    NoInterface(String),
    /// An address that no interface can have.
    #[error("{0} cannot be an address of the gateway; give a unicast address that is not loopback")]
    Address(IpAddr),
    /// Another gateway is alive in this network namespace.
    #[error(
        "routing table {table} is in use: another gateway runs in this network namespace; stop it, or run this one in a namespace of its own"
    )]
    TableInUse {
        /// The routing table both want.
        table: u32,
    },
    /// The TAP could not be made.
    #[error(
        "cannot create the TAP {name}: {source}; the module tun must be loaded and the process needs CAP_NET_ADMIN"
    )]
    Tap {
        /// The interface.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a netlink request.
    #[error("cannot {action}: {source}")]
    Netlink {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A kernel parameter could not be written.
    #[error("cannot write {value} to {path}: {source}; /proc/sys must be writable")]
    Sysctl {
        /// The parameter.
        path: PathBuf,
        /// The value wanted.
        value: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A network namespace could not be entered.
    #[error(
        "cannot enter the network namespace {name}: {source}; `ip netns add` makes one, and the process needs CAP_SYS_ADMIN"
    )]
    Namespace {
        /// The namespace.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A program we rely on could not be started.
    #[error("cannot run {program}: {source}; install the package {package}")]
    Program {
        /// The program.
        program: &'static str,
        /// The Debian package it comes with.
        package: &'static str,
        /// Why it did not start.
        source: io::Error,
    },
    /// A program we rely on refused.
    #[error("{program} refused: {message}")]
    Refused {
        /// The program.
        program: &'static str,
        /// What it wrote to standard error.
        message: String,
    },
}

impl HostError {
    /// For `map_err` on netlink requests.
    pub(crate) fn netlink(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Netlink { action, source }
    }
}
