//! The way of a packet whose session is there: straight ahead, no state but its session's.

use sekisho_types::{InterfaceId, IpProtocol, VrfId};

use super::{Engine, Probe};
use crate::key::{TcpSegment, Transport, Word};
use crate::policy::Policy;
use crate::session::{Session, SessionId, uplink_mark};
use crate::tcp::{Effect, Side, select};
use crate::time::Time;

/// What a packet with a session becomes, ready to be written.
///
/// A checksum `c` becomes `!fold(!c + delta)` (RFC 1624 equation 3), where `fold` adds the carries of
/// a 32-bit sum back until it has 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The new address: of the source outbound, of the destination inbound.
    pub address: u32,
    /// The new port, or ICMP identifier.
    pub port: u16,
    /// The inside VRF.
    pub vrf: VrfId,
    /// What the IPv4 header's checksum changes by.
    pub ip_delta: u32,
    /// What the TCP or UDP checksum (which covers the address) or the ICMP checksum (which does not)
    /// changes by. A UDP checksum of zero stays zero.
    pub l4_delta: u32,
    /// The session.
    pub session: SessionId,
}

/// What decides whether a session may go on, beside its own record.
#[derive(Debug)]
pub(super) struct Rules {
    /// The low bits of the policy's generation.
    pub(super) generation: u16,
    inbound_refresh: bool,
    /// Idle time-outs in milliseconds, by protocol number; one more for established TCP.
    timeouts: [u32; 32],
}

impl Rules {
    pub(super) fn of(policy: &Policy) -> Self {
        let mut timeouts = [0; 32];
        for transport in Transport::ALL {
            timeouts[usize::from(transport.protocol().0)] = policy.timeout(transport, false);
        }
        timeouts[usize::from(IpProtocol::TCP.0) | 1] = policy.timeout(Transport::Tcp, true);
        Self {
            generation: policy.generation().value() as u16,
            inbound_refresh: policy.timers().inbound_refresh,
            timeouts,
        }
    }

    /// Whether a session in use was idle for too long.
    #[inline(always)]
    pub(super) fn is_expired(&self, now: Time, session: &Session) -> bool {
        let established = u64::from(session.is_established());
        let class = (session.peer().0 & 0xff | established) as usize % 32;
        now.since(session.last_seen()) >= self.timeouts[class]
    }
}

impl Session {
    /// What every packet does to its session; whether it fits the connection.
    #[inline(always)]
    pub(super) fn pass(
        &mut self,
        now: Time,
        from: Side,
        tcp: Option<&TcpSegment>,
        rules: &Rules,
    ) -> bool {
        let fits = tcp.is_none_or(|tcp| self.follow(from, tcp) == Effect::Fits);
        let refreshes = match from {
            Side::Inside => true,
            Side::Outside => fits & rules.inbound_refresh,
        };
        self.last_seen = select(refreshes, now.raw(), self.last_seen);
        fits
    }
}

impl Engine {
    /// Translates a packet that leaves a tenant, if it has a session that may go on: then it does
    /// what [`Self::outbound_probed`] does. Else `None`, and nothing has changed: that packet goes
    /// through [`Self::outbound_probed`]. `tcp` is there if the packet is TCP; it may be left out of
    /// others, whose way is then shorter.
    #[inline]
    pub fn hit_outbound(
        &mut self,
        now: Time,
        probe: &Probe,
        tcp: Option<&TcpSegment>,
        egress: InterfaceId,
    ) -> Option<Hit> {
        let number = self.find_outbound(probe)?;
        let session = &mut self.sessions[number];
        let live = !self.rules.is_expired(now, session)
            & (session.generation == self.rules.generation)
            & ((session.uplink == 0) | (session.uplink == uplink_mark(egress)));
        if !live {
            return None;
        }
        let fits = session.pass(now, Side::Inside, tcp, &self.rules);
        self.stats.tcp_ignored += u64::from(!fits);
        let (old, new) = (session.inside(), session.outside());
        Some(Hit::new(number, old, new, old.vrf(), session.is_icmp()))
    }

    /// Translates a packet that was sent to an outside address, if it has a session that may go on:
    /// then it does what [`Self::inbound_probed`] does. Else `None`, and nothing has changed: that
    /// packet goes through [`Self::inbound_probed`].
    #[inline]
    pub fn hit_inbound(
        &mut self,
        now: Time,
        probe: &Probe,
        tcp: Option<&TcpSegment>,
    ) -> Option<Hit> {
        let number = self.find_inbound(probe)?;
        let session = &mut self.sessions[number];
        let live =
            !self.rules.is_expired(now, session) & (session.generation == self.rules.generation);
        if !live {
            return None;
        }
        let fits = session.pass(now, Side::Outside, tcp, &self.rules);
        self.stats.tcp_ignored += u64::from(!fits);
        let (old, new) = (session.outside(), session.inside());
        Some(Hit::new(number, old, new, new.vrf(), session.is_icmp()))
    }
}

impl Hit {
    #[inline(always)]
    fn new(number: u32, old: Word, new: Word, vrf: VrfId, is_icmp: bool) -> Self {
        let ip_delta = halves(!old.address_bits()) + halves(new.address_bits());
        let port_delta = u32::from(!old.port()) + u32::from(new.port());
        let pseudo_header = select(is_icmp, 0, ip_delta);
        Self {
            address: new.address_bits(),
            port: new.port(),
            vrf,
            ip_delta,
            l4_delta: port_delta + pseudo_header,
            session: SessionId(number),
        }
    }
}

/// The sum of the halves of an address.
#[inline(always)]
const fn halves(address: u32) -> u32 {
    (address >> 16) + (address & 0xffff)
}
