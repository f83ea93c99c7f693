//! Where neighbours reach us.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::owner::Event;
use crate::config::ConfigureError;

/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 128;

/// Pause after the kernel could not give us a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// The listening sockets.
#[derive(Debug)]
pub(super) struct Listeners {
    events: mpsc::Sender<Event>,
    open: BTreeMap<SocketAddr, AbortHandle>,
}

impl Listeners {
    pub(super) fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events,
            open: BTreeMap::new(),
        }
    }

    /// Listens on exactly these addresses; on error, on those as before.
    pub(super) fn listen_on(&mut self, addresses: &[SocketAddr]) -> Result<(), ConfigureError> {
        let mut new = Vec::new();
        for &address in addresses {
            if self.open.contains_key(&address) {
                continue;
            }
            let listener = open(address).map_err(|error| ConfigureError::Listen {
                address,
                reason: error.to_string(),
            })?;
            new.push((address, listener));
        }
        self.open.retain(|address, task| {
            let stays = addresses.contains(address);
            if !stays {
                task.abort();
            }
            stays
        });
        for (address, listener) in new {
            let task = tokio::spawn(accept(listener, self.events.clone()));
            self.open.insert(address, task.abort_handle());
        }
        Ok(())
    }

    pub(super) fn close(&mut self) {
        for task in std::mem::take(&mut self.open).into_values() {
            task.abort();
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.close();
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // The address may come up later than we do.
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, events: mpsc::Sender<Event>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                if events.send(Event::Accepted(stream, remote)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a BGP connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
