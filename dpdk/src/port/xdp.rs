//! The XDP hook of an interface: whether a program is there, and taking one off that a killed
//! process left behind. It would receive in our stead.
//!
//! Programs are found and removed by routing netlink (`IFLA_XDP`), their names by `bpf(2)`.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::error::PortError;
use super::kernel::KernelInterface;

/// Programs of libxdp, as the driver loads them: its dispatcher, and the one that hands packets to
/// the sockets.
const OURS: [&str; 2] = ["xdp_dispatcher", "xsk_def_prog"];

const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_PROG_ID: u16 = 4;
const NESTED: u16 = 1 << 15;
/// `struct nlmsghdr` and `struct ifinfomsg`.
const HEADERS: usize = 16 + 16;

/// Frees the hook of an interface, in the present namespace.
pub(super) fn free_hook(port: &str, interface: &KernelInterface) -> Result<(), PortError> {
    let refuse = |e: io::Error| PortError::Refused {
        port: port.to_owned(),
        action: "looking for an XDP program on its interface",
        reason: e.to_string(),
    };
    let index = interface.index().map_err(refuse)?;
    let Some(id) = program(index).map_err(refuse)? else {
        return Ok(());
    };
    match name(id) {
        Ok(name) if OURS.iter().any(|ours| name == **ours) => take_off(index).map_err(refuse),
        Ok(program) => Err(PortError::XdpProgram {
            interface: interface.name().to_owned(),
            program,
        }),
        // It went meanwhile.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(refuse(error)),
    }
}

/// The number of the program on an interface.
fn program(index: i32) -> io::Result<Option<u32>> {
    let answer = ask(libc::RTM_GETLINK, 0, index, &[])?;
    let link = attribute(answer.get(HEADERS..).unwrap_or_default(), IFLA_XDP);
    let id = link.and_then(|link| attribute(link, IFLA_XDP_PROG_ID));
    let id = id.and_then(|id| Some(u32::from_ne_bytes(id.try_into().ok()?)));
    Ok(id.filter(|&id| id != 0))
}

fn take_off(index: i32) -> io::Result<()> {
    let no_program = (-1i32).to_ne_bytes();
    let nested = attribute_octets(IFLA_XDP_FD, &no_program);
    let attribute = attribute_octets(IFLA_XDP | NESTED, &nested);
    let answer = ask(libc::RTM_SETLINK, libc::NLM_F_ACK as u16, index, &attribute)?;
    // NLMSG_ERROR: an error number, zero if all is well.
    match answer.get(16..20).map(|octets| {
        let octets = [octets[0], octets[1], octets[2], octets[3]];
        i32::from_ne_bytes(octets)
    }) {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(-number)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Asks about one interface; the first message of the answer.
fn ask(kind: u16, flags: u16, index: i32, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let length = (HEADERS + attributes.len()) as u32;
    let flags = libc::NLM_F_REQUEST as u16 | flags;
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence and port of the message; family, kind of hardware.
    message.extend([0; 12]);
    message.extend(index.to_ne_bytes());
    // Flags, and which of them change.
    message.extend([0; 8]);
    message.extend(attributes);
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
    let mut answer = vec![0; 32 << 10];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    answer.truncate(length);
    Ok(answer)
}

/// The value of the first attribute of that kind.
fn attribute(mut octets: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(octets.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(octets.get(2..4)?.try_into().ok()?);
        let value = octets.get(4..length)?;
        if kind & !NESTED == wanted {
            return Some(value);
        }
        octets = octets.get(length.next_multiple_of(4)..)?;
    }
}

fn attribute_octets(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (4 + value.len()) as u16;
    [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
}

/// The name of a program.
fn name(id: u32) -> io::Result<String> {
    const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
    const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
    /// Where `struct bpf_prog_info` has the name, and how long that is.
    const NAME: std::ops::Range<usize> = 64..80;

    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut [id, 0, 0, 0])?;
    // SAFETY: a fresh descriptor that nobody else has.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = [0u8; NAME.end];
    /// What the request looks like.
    #[repr(C)]
    struct Request {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut request = Request {
        fd: program.as_raw_fd() as u32,
        length: info.len() as u32,
        info: info.as_mut_ptr() as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut request)?;
    let name = &info[NAME];
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..end]).into_owned())
}

fn bpf<T>(command: libc::c_int, request: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: a request of the size that is told; what it points to is alive and as large as it
    // says; the kernel checks everything else.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(request),
            size_of::<T>(),
        )
    };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        number => Ok(number as libc::c_int),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_others_and_inside_each_other() {
        let inner = [
            attribute_octets(2, &[1]),
            vec![0; 3],
            attribute_octets(IFLA_XDP_PROG_ID, &7u32.to_ne_bytes()),
        ]
        .concat();
        let outer = [
            attribute_octets(3, b"eth0\0"),
            vec![0; 3],
            attribute_octets(IFLA_XDP | NESTED, &inner),
        ]
        .concat();
        let nested = attribute(&outer, IFLA_XDP).unwrap();
        assert_eq!(
            attribute(nested, IFLA_XDP_PROG_ID),
            Some(&7u32.to_ne_bytes()[..])
        );
        assert_eq!(attribute(&outer, 9), None);
    }

    #[test]
    fn cut_short_attributes_are_none() {
        let whole = attribute_octets(1, &[1, 2, 3, 4]);
        for length in 0..whole.len() {
            assert_eq!(attribute(&whole[..length], 1), None);
        }
        assert_eq!(attribute(&[0; 8], 1), None);
    }

    #[test]
    fn the_loopback_has_no_program() {
        let loopback = KernelInterface::open("lo").unwrap();
        assert_eq!(program(loopback.index().unwrap()).unwrap(), None);
    }
}
