//! A neighbour that says exactly what it is told to.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// One end of a TCP connection on which whole messages are read and written.
pub(crate) struct Raw(TcpStream);

impl Raw {
    /// Connects from `local` to the gateway.
    pub(crate) async fn connect(local: &str, remote: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::new(local.parse().unwrap(), 0))
            .unwrap();
        let remote = SocketAddr::new(remote.parse().unwrap(), 179);
        Self(socket.connect(remote).await.unwrap())
    }

    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        Self(listener.accept().await.unwrap().0)
    }

    pub(crate) async fn send(&mut self, kind: u8, body: &[u8]) {
        let mut message = vec![0xff; 16];
        message.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
        message.push(kind);
        message.extend(body);
        self.send_octets(&message).await;
    }

    pub(crate) async fn send_octets(&mut self, octets: &[u8]) {
        self.0.write_all(octets).await.unwrap();
    }

    /// The next message: its type and body. `None`: the connection is closed.
    pub(crate) async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let mut header = [0; 19];
            self.0.read_exact(&mut header).await.ok()?;
            let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
            let mut body = vec![0; length - 19];
            self.0.read_exact(&mut body).await.ok()?;
            Some((header[18], body))
        };
        tokio::time::timeout(Duration::from_secs(15), read)
            .await
            .expect("no message")
    }

    /// The next message of a type, others skipped.
    pub(crate) async fn receive_type(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            let (kind, body) = self.receive().await.expect("the connection is closed");
            if kind == wanted {
                return body;
            }
        }
    }

    /// Exchanges OPEN and KEEPALIVE.
    pub(crate) async fn establish(&mut self, asn: u16, hold_time: u16, router_id: [u8; 4]) {
        self.send(1, &open(asn, hold_time, router_id)).await;
        self.receive_type(1).await;
        self.send(4, &[]).await;
        self.receive_type(4).await;
    }
}

/// The body of an OPEN without capabilities.
pub(crate) fn open(asn: u16, hold_time: u16, router_id: [u8; 4]) -> Vec<u8> {
    let mut body = vec![4];
    body.extend(asn.to_be_bytes());
    body.extend(hold_time.to_be_bytes());
    body.extend(router_id);
    body.push(0);
    body
}
