//! One TCP connection: octets to messages and back, nothing else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::owner::Event;
use crate::bgp::codec::{Decoder, frame_length};
use crate::bgp::fsm::ConnectionId;
use crate::bgp::speaker::{Input, Queues};

/// Messages that may wait to be written.
const OUTBOX: usize = 64;

/// Places UPDATEs leave free for the messages of the state machine.
const SPARE: usize = 8;

/// How long the neighbour may take to close its side, once it was told everything.
const LINGER: Duration = Duration::from_secs(1);

/// What was sent must be acknowledged that soon; a window that stays shut counts too.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Far enough for any neighbour that checks GTSM (RFC 5082).
const TTL: u32 = 255;

/// Class selector 6, network control (RFC 4594).
const TOS: u32 = 0xc0;

/// The owner's end of a connection. Dropping it closes the connection after what was sent.
#[derive(Debug)]
pub(super) struct Link {
    outbox: mpsc::Sender<Bytes>,
    full: Arc<AtomicBool>,
    pub(super) unprocessed: Arc<AtomicUsize>,
}

impl Link {
    /// Queues a message. One too many is lost: the state machine's own are few, and where they pile
    /// up behind a stuck neighbour, the user timeout or its hold timer ends the connection.
    pub(super) fn send(&self, message: Bytes) {
        if self.outbox.try_send(message).is_err() {
            tracing::debug!("a BGP neighbor does not read; a message to it is lost");
        }
    }

    /// Whether an UPDATE may be queued. If not, [`Event::Room`] will tell when to ask again.
    pub(super) fn has_room(&self) -> bool {
        if self.outbox.capacity() > SPARE {
            return true;
        }
        self.full.store(true, Ordering::Release);
        self.outbox.capacity() > SPARE
    }

    pub(super) fn queues(&self) -> Queues {
        Queues {
            received: self.unprocessed.load(Ordering::Relaxed),
            sent: OUTBOX - self.outbox.capacity(),
        }
    }
}

/// Opens a connection.
pub(super) async fn connect(local: Option<IpAddr>, remote: SocketAddr) -> io::Result<TcpStream> {
    let domain = Domain::for_address(remote);
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if let Some(local) = local {
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    prepare(&SockRef::from(&socket), remote.ip())?;
    TcpSocket::from_std_stream(socket.into())
        .connect(remote)
        .await
}

/// What both opened and accepted sockets need.
fn prepare(socket: &SockRef<'_>, remote: IpAddr) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    match remote {
        IpAddr::V4(_) => {
            socket.set_ttl_v4(TTL)?;
            socket.set_tos_v4(TOS)
        }
        IpAddr::V6(_) => {
            socket.set_unicast_hops_v6(TTL)?;
            socket.set_tclass_v6(TOS)
        }
    }
}

/// The two ends of a connection: the owner's, and the task that serves it.
pub(super) fn serve(
    stream: TcpStream,
    id: ConnectionId,
    decoder: Decoder,
    events: mpsc::Sender<Event>,
) -> (Link, impl Future<Output = ()> + Send + 'static) {
    if let Ok(remote) = stream.peer_addr()
        && let Err(error) = prepare(&SockRef::from(&stream), remote.ip().to_canonical())
    {
        tracing::debug!(%error, "cannot tune a BGP connection");
    }
    let (outbox, queue) = mpsc::channel(OUTBOX);
    let link = Link {
        outbox,
        full: Arc::default(),
        unprocessed: Arc::default(),
    };
    let (reader, writer) = stream.into_split();
    let inbound = Inbound {
        id,
        decoder,
        events: events.clone(),
        unprocessed: Arc::clone(&link.unprocessed),
    };
    let full = Arc::clone(&link.full);
    let task = async move {
        let mut read = pin!(inbound.read(reader));
        tokio::select! {
            () = &mut read => {}
            result = write(writer, queue, full, &events) => match result {
                // Closing at once would reset the connection under what was just sent.
                Ok(()) => drop(tokio::time::timeout(LINGER, read).await),
                Err(error) => {
                    let closed = Event::Input(id, Input::Closed(error.to_string()));
                    // The owner may have ended.
                    let _ = events.send(closed).await;
                }
            },
        }
    };
    (link, task)
}

struct Inbound {
    id: ConnectionId,
    decoder: Decoder,
    events: mpsc::Sender<Event>,
    unprocessed: Arc<AtomicUsize>,
}

impl Inbound {
    /// Reads until the neighbour closes. After octets that make no sense, reads on without looking.
    async fn read(mut self, mut reader: OwnedReadHalf) {
        let mut buffer = BytesMut::with_capacity(16 * 1024);
        let mut sound = true;
        loop {
            let outcome = reader.read_buf(&mut buffer).await;
            if !sound {
                buffer.clear();
            }
            while let Some(input) = self.take(&mut buffer) {
                sound = !matches!(input, Input::Malformed(_));
                self.tell(input).await;
                if !sound {
                    buffer.clear();
                }
            }
            match outcome {
                Ok(0) => {
                    return self
                        .tell(Input::Closed("the neighbor closed it".to_owned()))
                        .await;
                }
                Ok(_) => {}
                Err(error) => return self.tell(Input::Closed(error.to_string())).await,
            }
        }
    }

    /// The first message of the buffer, once it is complete.
    fn take(&mut self, buffer: &mut BytesMut) -> Option<Input> {
        let decoded = match frame_length(buffer) {
            Ok(None) => return None,
            Ok(Some(length)) if buffer.len() < length => return None,
            Ok(Some(length)) => {
                let decoded = self.decoder.decode(&buffer[..length]);
                buffer.advance(length);
                decoded
            }
            Err(answer) => Err(answer),
        };
        Some(decoded.map_or_else(Input::Malformed, Input::Message))
    }

    async fn tell(&self, input: Input) {
        self.unprocessed.fetch_add(1, Ordering::Relaxed);
        // The owner may have ended.
        let _ = self.events.send(Event::Input(self.id, input)).await;
    }
}

/// Writes what is queued until the queue is dropped.
async fn write(
    mut writer: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Bytes>,
    full: Arc<AtomicBool>,
    events: &mpsc::Sender<Event>,
) -> io::Result<()> {
    let mut messages = Vec::with_capacity(OUTBOX);
    while queue.recv_many(&mut messages, OUTBOX).await > 0 {
        let mut octets = BytesMut::new();
        for message in messages.drain(..) {
            octets.extend_from_slice(&message);
        }
        if full.swap(false, Ordering::AcqRel) {
            // The owner may have ended.
            let _ = events.send(Event::Room).await;
        }
        writer.write_all(&octets).await?;
    }
    writer.shutdown().await
}
