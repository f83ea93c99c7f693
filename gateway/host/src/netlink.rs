//! Requests to the kernel's routing netlink, one at a time.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// A socket in the network namespace in which it was opened, wherever it is used.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// What the kernel knows about an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    /// Administratively up, with a carrier, and operational.
    pub(crate) running: bool,
    /// The interface it is a member of (a bridge, a bond).
    pub(crate) controller: Option<u32>,
    pub(crate) is_veth: bool,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Without it the kernel ignores the filters of a dump.
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Has the kernel do something; `flags` beside request and acknowledgement.
    pub(crate) fn execute(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.request(message, NLM_F_ACK | flags).map(|_| ())
    }

    /// Every object a dump request matches.
    pub(crate) fn dump(
        &mut self,
        message: &RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        loop {
            match self.request(message.clone(), NLM_F_DUMP) {
                // The tables changed under the dump: it may lack objects.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut octets = vec![0; request.buffer_len()];
        request.serialize(&mut octets);
        self.socket.send(&octets, 0)?;

        let mut answers = Vec::new();
        let mut interrupted = false;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for answer in messages(&datagram) {
                let answer = answer?;
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(object) => answers.push(object),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => {
                        return if interrupted {
                            Err(io::ErrorKind::Interrupted.into())
                        } else {
                            Ok(answers)
                        };
                    }
                    _ => {}
                }
            }
        }
    }

    /// Every interface.
    pub(crate) fn links(&mut self) -> io::Result<Vec<Link>> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let links = self.dump(&request)?;
        Ok(links.iter().filter_map(Link::of).collect())
    }

    /// The interface of that name.
    pub(crate) fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        Ok(self.links()?.into_iter().find(|link| link.name == name))
    }
}

impl Link {
    /// From an announcement of the interface itself (not of its role as a bridge port).
    pub(crate) fn of(message: &RouteNetlinkMessage) -> Option<Self> {
        let (RouteNetlinkMessage::NewLink(message) | RouteNetlinkMessage::DelLink(message)) =
            message
        else {
            return None;
        };
        if u8::from(message.header.interface_family) != 0 {
            return None;
        }
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mtu: 0,
            running: message
                .header
                .flags
                .contains(LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running),
            controller: None,
            is_veth: false,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::LinkInfo(info) => {
                    link.is_veth = info.contains(&LinkInfo::Kind(InfoKind::Veth));
                }
                _ => {}
            }
        }
        Some(link)
    }
}

/// The messages of a datagram from the kernel.
pub(crate) fn messages(
    mut datagram: &[u8],
) -> impl Iterator<Item = io::Result<NetlinkMessage<RouteNetlinkMessage>>> {
    const ALIGNMENT: usize = 4;
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let message = NetlinkMessage::deserialize(datagram)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()));
        let length = match &message {
            Ok(message) => (message.header.length as usize).next_multiple_of(ALIGNMENT),
            Err(_) => datagram.len(),
        };
        datagram = datagram.get(length.max(ALIGNMENT)..).unwrap_or_default();
        Some(message)
    })
}
