//! Kernel interfaces that go up, go down or vanish, as a stream.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket};

use crate::HostError;
use crate::netlink::{Link, Netlink, messages};

/// `RTMGRP_LINK`: the announcements of interfaces.
const LINK_GROUP: u32 = 1;

/// An interface and its new state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    /// The interface's name.
    pub interface: String,
    /// Its state from now on.
    pub state: LinkState,
}

/// Whether an interface carries packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Administratively up, with a carrier, and operational.
    Up,
    /// It exists.
    Down,
    /// It was removed, renamed, or moved to another network namespace.
    Gone,
}

/// The interfaces of one network namespace: first an event for each there is, then one for each
/// change. Nothing is lost: when the kernel could not keep up, the interfaces are listed anew and
/// compared. The stream ends after an error.
pub struct LinkMonitor {
    announcements: TokioSocket,
    requests: Netlink,
    known: KnownLinks,
    pending: VecDeque<LinkEvent>,
    ended: bool,
}

impl LinkMonitor {
    /// Watches the network namespace of the calling thread. To be called inside a tokio runtime with
    /// I/O enabled.
    ///
    /// # Errors
    /// [`HostError::Netlink`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open() -> Result<Self, HostError> {
        let announcements = subscribe().map_err(HostError::netlink("watch the interfaces"))?;
        let requests = Netlink::open().map_err(HostError::netlink("open a netlink socket"))?;
        let mut monitor = Self {
            announcements,
            requests,
            known: KnownLinks::default(),
            pending: VecDeque::new(),
            ended: false,
        };
        monitor.list_anew()?;
        Ok(monitor)
    }

    fn list_anew(&mut self) -> Result<(), HostError> {
        let links = self
            .requests
            .links()
            .map_err(HostError::netlink("list the interfaces"))?;
        self.known.replace(&links, &mut self.pending);
        Ok(())
    }

    fn take_datagram(&mut self, datagram: &[u8]) -> Result<(), HostError> {
        for message in messages(datagram) {
            let message = message.map_err(HostError::netlink("read an interface announcement"))?;
            if let NetlinkPayload::InnerMessage(message) = &message.payload
                && let Some(link) = Link::of(message)
            {
                match message {
                    RouteNetlinkMessage::DelLink(_) => {
                        self.known.remove(link.index, &mut self.pending);
                    }
                    _ => self.known.insert(&link, &mut self.pending),
                }
            }
        }
        Ok(())
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Result<LinkEvent, HostError>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Poll::Ready(Ok(event));
            }
            match ready!(self.announcements.poll_recv_from_full(context)) {
                Ok((datagram, _)) => self.take_datagram(&datagram)?,
                // Announcements were lost.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                    self.list_anew()?;
                }
                Err(error) => {
                    return Poll::Ready(Err(HostError::netlink("watch the interfaces")(error)));
                }
            }
        }
    }
}

impl Stream for LinkMonitor {
    type Item = Result<LinkEvent, HostError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let monitor = self.get_mut();
        if monitor.ended {
            return Poll::Ready(None);
        }
        let item = ready!(monitor.poll_event(context));
        monitor.ended = item.is_err();
        Poll::Ready(Some(item))
    }
}

fn subscribe() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    socket.socket_mut().bind(&SocketAddr::new(0, LINK_GROUP))?;
    Ok(socket)
}

/// What was last said about each interface, by its index.
#[derive(Default)]
struct KnownLinks(BTreeMap<u32, (String, LinkState)>);

impl KnownLinks {
    fn insert(&mut self, link: &Link, events: &mut VecDeque<LinkEvent>) {
        let state = if link.running {
            LinkState::Up
        } else {
            LinkState::Down
        };
        let news = (link.name.clone(), state);
        let before = self.0.insert(link.index, news.clone());
        if before.as_ref() == Some(&news) {
            return;
        }
        if let Some((name, _)) = before
            && name != link.name
        {
            events.push_back(LinkEvent {
                interface: name,
                state: LinkState::Gone,
            });
        }
        let (interface, state) = news;
        events.push_back(LinkEvent { interface, state });
    }

    fn remove(&mut self, index: u32, events: &mut VecDeque<LinkEvent>) {
        if let Some((interface, _)) = self.0.remove(&index) {
            events.push_back(LinkEvent {
                interface,
                state: LinkState::Gone,
            });
        }
    }

    fn replace(&mut self, links: &[Link], events: &mut VecDeque<LinkEvent>) {
        let is_there = |index: &u32| links.iter().any(|link| link.index == *index);
        let gone: Vec<u32> = self.0.keys().copied().filter(|i| !is_there(i)).collect();
        for index in gone {
            self.remove(index, events);
        }
        for link in links {
            self.insert(link, events);
        }
    }
}

#[cfg(test)]
mod tests;
