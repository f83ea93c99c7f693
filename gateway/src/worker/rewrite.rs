//! Carrying out what was decided: addresses, ports and checksums, incrementally (RFC 1624).

use sekisho_packet::rewrite::{self, Layout};
use sekisho_packet::{Icmpv4, Ipv4, PacketError};

use super::packet::{Header, Packet, Payload, Rewrite};
use crate::drops::DropReason;

impl Packet {
    /// Applies the pending rewrite to the bytes. What was read of the headers is stale afterwards,
    /// but for length, type of service and the flow's identity.
    #[inline]
    pub(super) fn apply_rewrite(&mut self) -> Result<(), DropReason> {
        let pending = std::mem::take(&mut self.rewrite);
        if pending == Rewrite::None {
            return Ok(());
        }
        let bytes = self.mbuf.data_mut();
        let malformed = match pending {
            Rewrite::ErrorSource(..) | Rewrite::ErrorDestination(..) => {
                if !is_intact_error(bytes) {
                    return Err(DropReason::NatIcmpError);
                }
                DropReason::NatIcmpError
            }
            _ => DropReason::MalformedTransport,
        };
        rewrite_bytes(bytes, pending).map_err(|_| malformed)
    }

    /// Applies the pending rewrite of the source and reads the headers again. What a fragment is
    /// known to be a part of, it still is.
    pub(super) fn translate_header(&mut self) -> Result<(), DropReason> {
        let (before, pending) = (self.header, self.rewrite);
        self.apply_rewrite()?;
        self.header = Header::parse(self.mbuf.data())?;
        let is_known = !matches!(before.payload, Payload::Fragment { .. });
        if let Payload::Fragment { .. } = self.header.payload
            && is_known
        {
            self.header.payload = before.payload;
            self.header.flow.dport = before.flow.dport;
            self.header.flow.sport = match pending {
                Rewrite::Source(_, Some(port)) => port,
                _ => before.flow.sport,
            };
        }
        Ok(())
    }
}

/// Whether the checksum of an ICMP message is right (RFC 5508 REQ-3).
fn is_intact_error(bytes: &[u8]) -> bool {
    Ipv4::new(bytes)
        .and_then(|ip| Icmpv4::new(ip.payload()))
        .is_ok_and(|icmp| icmp.is_intact())
}

fn rewrite_bytes(bytes: &mut [u8], pending: Rewrite) -> Result<(), PacketError> {
    let ip = Ipv4::new(bytes)?;
    let layout = Layout::of(&ip);
    // A later fragment has no port to change.
    let has_ports = ip.has_l4_header();
    let kept = |port: Option<u16>| port.filter(|_| has_ports);
    match pending {
        Rewrite::None => Ok(()),
        Rewrite::Source(address, port) => rewrite::source(bytes, layout, address, kept(port)),
        Rewrite::Destination(address, port) => {
            rewrite::destination(bytes, layout, address, kept(port))
        }
        Rewrite::ErrorSource(address, port) => {
            rewrite::embedded_destination(bytes, address, port)?;
            rewrite::source(bytes, layout, address, None)
        }
        Rewrite::ErrorDestination(address, port) => {
            rewrite::embedded_source(bytes, address, port)?;
            rewrite::destination(bytes, layout, address, None)
        }
    }
}
