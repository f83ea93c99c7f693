//! `net_memif`: rings in memory shared with another process, which a socket arranges.

use std::os::unix::ffi::OsStrExt;

use super::{Device, MacBy, MtuBy, Plan, Socket, longest_frame, mac_argument};
use crate::port::{Memif, MemifRole, PortError, PortOptions};

/// The longest path of a socket (`sun_path` and its end).
const PATH_MOST: usize = 107;
/// The longest secret of the protocol, without its end.
const SECRET_MOST: usize = 23;
/// The driver's largest ring, as a power of two.
const RING_SIZE_MOST: u32 = 1 << 14;
/// What each slot of a ring holds at least.
const SLOT_LEAST: u32 = 2048;

pub(super) fn plan<'a>(memif: &'a Memif, options: &PortOptions) -> Plan<'a> {
    let role = match memif.role {
        MemifRole::Server => "server",
        MemifRole::Client => "client",
    };
    // A client lays out the memory: frames that fit one slot arrive in one buffer. A server takes
    // what the client laid out; the size given here keeps it from trusting that.
    let slot = match memif.role {
        MemifRole::Server => u32::from(u16::MAX),
        MemifRole::Client => longest_frame(options.mtu)
            .next_multiple_of(64)
            .max(SLOT_LEAST),
    };
    let secret = memif
        .secret
        .as_ref()
        .map_or_else(String::new, |secret| format!(",secret={secret}"));
    Plan {
        device: Device::Virtual {
            driver: "net_memif",
            arguments: format!(
                "role={role},id={},socket={},socket-abstract=no,rsize={},bsize={slot}{secret}{}",
                memif.id,
                memif.socket.display(),
                memif.ring_size.ilog2(),
                mac_argument(options.mac),
            ),
        },
        interface: None,
        socket: Some(Socket {
            path: &memif.socket,
            role: memif.role,
        }),
        rx_descriptors: 0,
        tx_descriptors: 0,
        // It copies into shared memory.
        buffers: 0,
        queues_most: 255,
        mtu_most: 9600,
        mtu: MtuBy::Nobody,
        mac: MacBy::Argument,
        leaves_packets: false,
    }
}

impl Memif {
    /// Whether the driver takes all of this, and nothing of it as a further argument.
    pub(super) fn check(&self, port: &str) -> Result<(), PortError> {
        let refuse = |what: &'static str, right: &'static str| {
            Err(PortError::Memif {
                port: port.to_owned(),
                what,
                right,
            })
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+@".contains(&b);
        let path = self.socket.as_os_str().as_bytes();
        if path.len() > PATH_MOST || path.first() != Some(&b'/') || !path.iter().all(|b| plain(*b))
        {
            return refuse(
                "socket",
                "an absolute path of at most 107 letters, digits and /._-+@",
            );
        }
        if let Some(secret) = &self.secret
            && !((1..=SECRET_MOST).contains(&secret.len()) && secret.bytes().all(plain))
        {
            return refuse("secret", "1 to 23 letters, digits and /._-+@");
        }
        if !self.ring_size.is_power_of_two() || !(2..=RING_SIZE_MOST).contains(&self.ring_size) {
            return refuse("ring size", "a power of two from 2 to 16384");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memif() -> Memif {
        Memif {
            socket: "/run/a.sock".into(),
            id: 3,
            role: MemifRole::Client,
            secret: None,
            ring_size: 1024,
        }
    }

    #[test]
    fn the_driver_is_told_everything() {
        let memif = Memif {
            secret: Some("s3cret".into()),
            ..memif()
        };
        let options = PortOptions {
            mtu: 9000,
            ..PortOptions::new(crate::Driver::Memif(memif.clone()))
        };
        let Device::Virtual { arguments, .. } = plan(&memif, &options).device else {
            panic!("a memif is a virtual device");
        };
        assert_eq!(
            arguments,
            "role=client,id=3,socket=/run/a.sock,socket-abstract=no,rsize=10,bsize=9024,\
             secret=s3cret"
        );
    }

    #[test]
    fn neither_a_path_nor_a_secret_can_smuggle_driver_arguments_in() {
        let refused = |memif: Memif| memif.check("p").unwrap_err().to_string();
        for path in ["a.sock", "/run/a,role=server", "/run/a b", "/run/[0]"] {
            let message = refused(Memif {
                socket: path.into(),
                ..memif()
            });
            assert!(message.contains("the socket"), "{message}");
        }
        for secret in ["", "a,id=1", "twenty-four-octets-long-"] {
            let message = refused(Memif {
                secret: Some(secret.into()),
                ..memif()
            });
            assert!(message.contains("the secret"), "{message}");
        }
        for ring_size in [0, 1, 1000, 32768] {
            let message = refused(Memif {
                ring_size,
                ..memif()
            });
            assert!(message.contains("the ring size"), "{message}");
        }
        assert_eq!(memif().check("p"), Ok(()));
    }
}
