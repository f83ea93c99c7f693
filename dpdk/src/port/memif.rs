//! A memif's socket, looked at before the driver does: it would not say what is wrong with it.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, recv, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{Pid, getpid};

use super::MemifRole;
use super::driver::Socket;
use super::error::PortError;

impl Socket<'_> {
    /// Checks that the server's socket can be made (and removes one that a killed server left), or
    /// that the client's is served.
    pub(super) fn open(&self, port: &str) -> Result<(), PortError> {
        let outcome = match self.role {
            MemifRole::Server => make_way(self.path),
            MemifRole::Client => listener(self.path).map(drop).map_err(|error| {
                format!(
                    "nobody serves it ({}); start the server first, or make this end the server",
                    error.desc()
                )
            }),
        };
        outcome.map_err(|reason| PortError::MemifSocket {
            port: port.to_owned(),
            socket: self.path.to_owned(),
            reason,
        })
    }
}

fn make_way(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    if !folder.is_dir() {
        return Err(format!(
            "there is no folder {0}; make it with `mkdir -p {0}`",
            folder.display()
        ));
    }
    let Ok(there) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !there.file_type().is_socket() {
        return Err("something else is there; choose another path".into());
    }
    match listener(path) {
        // Ports of one process share a socket.
        Ok(owner) if owner == getpid() => Ok(()),
        Ok(owner) => Err(format!(
            "process {owner} serves it already; choose another path, or make this end the client"
        )),
        // A killed process leaves its socket behind.
        Err(Errno::ECONNREFUSED) => {
            fs::remove_file(path).map_err(|e| format!("cannot be removed: {e}"))
        }
        Err(error) => Err(format!(
            "another kind of socket is there ({}); choose another path",
            error.desc()
        )),
    }
}

/// The process that listens on the socket.
///
/// It greets whoever connects. One that left before would crash it: DPDK's server then closes the
/// connection without telling its own interrupt thread.
fn listener(path: &Path) -> Result<Pid, Errno> {
    let kind = SockType::SeqPacket;
    let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let owner = getsockopt(&socket, sockopt::PeerCredentials)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(2))?;
    // Whatever comes; a server of something else may say nothing.
    let _ = recv(socket.as_raw_fd(), &mut [0; 128], MsgFlags::empty());
    Ok(Pid::from_raw(owner.pid()))
}
