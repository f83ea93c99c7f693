//! Sends a capture into a kernel interface, from a process of its own.
//!
//! One frame a call, through a packet socket: the kernel gets each frame in one piece, as a driver
//! would hand it over. (What a ring of a packet socket sends is scattered, and costs the receiving
//! side more.)

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, bind, socket};

use super::flows::records;

/// The end of a sender that nobody ended.
const LONGEST: Duration = Duration::from_secs(900);
/// Frames between two looks at the clock.
const ROUND: usize = 4096;

/// Sends the frames of `capture` into `interface`, again and again.
///
/// # Errors
/// When the capture or the interface cannot be used.
pub(crate) fn run(capture: &Path, interface: &str) -> Result<()> {
    let bytes = fs::read(capture).with_context(|| format!("cannot read {}", capture.display()))?;
    let frames: Vec<&[u8]> = records(&bytes).collect();
    ensure!(!frames.is_empty(), "{} holds no frame", capture.display());
    let mut socket = open(interface)?;
    let end = Instant::now() + LONGEST;
    let mut frames = frames.iter().cycle();
    while Instant::now() < end {
        for frame in frames.by_ref().take(ROUND) {
            // What the interface has no room for is lost, as on a wire.
            let _ = socket.write(frame);
        }
    }
    Ok(())
}

fn open(interface: &str) -> Result<File> {
    let address = getifaddrs()
        .context("cannot list the interfaces")?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .with_context(|| format!("there is no interface {interface}"))?;
    // Without a protocol it receives nothing.
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .context("cannot open a packet socket")?;
    bind(socket.as_raw_fd(), &address)
        .with_context(|| format!("cannot bind a packet socket to {interface}"))?;
    Ok(File::from(socket))
}
