//! A collector of IPFIX, over UDP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::ipfix::{Exporter, Sent, Sink};
use super::{Names, Timed};

/// How long a socket that could not be opened is not tried again.
const RETRY: Duration = Duration::from_secs(1);

/// One collector.
#[derive(Debug)]
pub(super) struct Collector {
    address: SocketAddr,
    source: Option<IpAddr>,
    interval: Duration,
    session: Option<Session>,
    retry: Option<Instant>,
}

/// What a socket has told its collector.
#[derive(Debug)]
struct Session {
    socket: UdpSocket,
    exporter: Exporter,
    described: Option<Instant>,
}

/// A socket, and what became of the messages.
struct Line<'a> {
    socket: &'a UdpSocket,
    sent: Sent,
}

impl Sink for Line<'_> {
    fn send(&mut self, message: &[u8], events: u64) {
        match self.socket.send(message) {
            Ok(_) => self.sent.written += events,
            Err(error) => {
                self.sent.failed += events;
                self.sent.error = Some(error);
            }
        }
    }
}

impl Collector {
    pub(super) fn new(address: SocketAddr, source: Option<IpAddr>, interval: Duration) -> Self {
        Self {
            address,
            source,
            interval,
            session: None,
            retry: None,
        }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it is sent to in this way.
    pub(super) fn is(&self, address: SocketAddr, source: Option<IpAddr>) -> bool {
        (self.address, self.source) == (address, source)
    }

    /// Repeats templates and names at the next occasion, and in future so often.
    pub(super) fn refresh(&mut self, interval: Duration) {
        self.interval = interval;
        if let Some(session) = &mut self.session {
            session.described = None;
        }
    }

    /// Sends events, and what they mean if that is due.
    pub(super) fn write(
        &mut self,
        batch: &[Timed],
        names: &Names,
        now: Instant,
        seconds: u32,
    ) -> Sent {
        let failed = batch.len() as u64;
        if self.session.is_none() {
            if self.retry.is_some_and(|retry| now < retry) {
                return Sent {
                    failed,
                    ..Sent::default()
                };
            }
            match self.open() {
                Ok(session) => self.session = Some(session),
                Err(error) => {
                    self.retry = Some(now + RETRY);
                    return Sent {
                        failed,
                        error: Some(error),
                        ..Sent::default()
                    };
                }
            }
        }
        let Some(Session {
            socket,
            exporter,
            described,
        }) = &mut self.session
        else {
            return Sent::default();
        };
        let mut line = Line {
            socket,
            sent: Sent::default(),
        };
        if described.is_none_or(|described| now >= described + self.interval) {
            *described = Some(now);
            exporter.describe(seconds, names, &mut line);
        }
        for timed in batch {
            exporter.add(timed, seconds, &mut line);
        }
        exporter.flush(seconds, &mut line);
        line.sent
    }

    fn open(&self) -> io::Result<Session> {
        let any = match self.address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind((self.source.unwrap_or(any), 0))?;
        socket.connect(self.address)?;
        socket.set_nonblocking(true)?;
        Ok(Session {
            socket,
            exporter: Exporter::default(),
            described: None,
        })
    }
}
