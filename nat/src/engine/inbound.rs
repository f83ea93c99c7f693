//! The way of a packet that was sent to an outside address.

use std::net::SocketAddrV4;

use super::{Engine, Inbound, Probe};
use crate::key::{FlowKey, TcpSegment, Transport, Word};
use crate::policy::Filtering;
use crate::refusal::Refusal;
use crate::session::{Session, SessionId};
use crate::tcp::Side;
use crate::time::Time;

impl Engine {
    /// Translates a packet that was sent to an outside address.
    ///
    /// # Errors
    /// Names why the packet is to be dropped.
    pub fn inbound(
        &mut self,
        now: Time,
        key: &FlowKey,
        tcp: &TcpSegment,
    ) -> Result<Inbound, Refusal> {
        let probe = self.probe_inbound(key);
        self.inbound_probed(now, &probe, tcp)
    }

    /// [`Self::inbound`] of a packet whose key was probed before.
    ///
    /// # Errors
    /// Names why the packet is to be dropped.
    pub fn inbound_probed(
        &mut self,
        now: Time,
        probe: &Probe,
        tcp: &TcpSegment,
    ) -> Result<Inbound, Refusal> {
        if let Some(number) = self.find_inbound(probe) {
            if self.is_live(now, number) {
                self.pass(now, number, Side::Outside, tcp);
                return Ok(self.inbound_of(number));
            }
            self.remove_session(number);
        }
        let result = self.inbound_miss(now, probe, tcp);
        self.count(result)
    }

    #[cold]
    fn inbound_miss(
        &mut self,
        now: Time,
        probe: &Probe,
        tcp: &TcpSegment,
    ) -> Result<Inbound, Refusal> {
        let outside = probe.local.tuple();
        if let Some((vrf, inside)) = self.policy.floating_in(*outside.ip()) {
            return Ok(Inbound {
                vrf,
                destination: SocketAddrV4::new(inside, outside.port()),
                session: None,
            });
        }
        let transport = probe.transport.ok_or(Refusal::Protocol)?;
        let (inside, mapping) = match self.policy.forward(transport.protocol(), outside) {
            Some(forward) => (Word::inside(forward.vrf, forward.inside), 0),
            None => self.admitted(now, probe)?,
        };
        if transport == Transport::Tcp && !tcp.opens() {
            return Err(Refusal::NotSyn);
        }
        let mut session = Session::new(inside, probe.peer, probe.local);
        if mapping != 0 {
            session.mapping = mapping;
            session.uplink = self.uplink_of(mapping);
        }
        let number = self.create_session(now, session)?;
        self.pass(now, number, Side::Outside, tcp);
        Ok(self.inbound_of(number))
    }

    /// The mapping that lets a packet without a session in, and its inside tuple.
    fn admitted(&mut self, now: Time, probe: &Probe) -> Result<(Word, u32), Refusal> {
        let mapping = self.find_mapping_outside(probe).ok_or(Refusal::NoMapping)?;
        let inside = self.mappings[mapping].inside();
        let rule = self.policy.snat(inside.vrf(), inside.address());
        let admits = match rule.map(|rule| rule.filtering) {
            Some(Filtering::EndpointIndependent) => self.mapping_allowed(mapping),
            Some(Filtering::AddressDependent) => self.has_session_toward(now, probe),
            Some(Filtering::AddressAndPortDependent) | None => false,
        };
        if admits {
            Ok((inside, mapping))
        } else {
            Err(Refusal::Filtered)
        }
    }

    fn inbound_of(&self, number: u32) -> Inbound {
        let inside = self.sessions[number].inside();
        Inbound {
            vrf: inside.vrf(),
            destination: inside.tuple(),
            session: Some(SessionId(number)),
        }
    }
}
