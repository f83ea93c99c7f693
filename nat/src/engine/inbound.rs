//! The way of a packet that was sent to an outside address.

use std::net::SocketAddrV4;

use super::lifecycle::Order;
use super::{Engine, Inbound, Probe};
use crate::key::{FlowKey, TcpSegment, Transport, Word};
use crate::policy::Filtering;
use crate::refusal::Refusal;
use crate::session::SessionId;
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
        self.clock = now;
        let outside = probe.local.tuple();
        if let Some((vrf, inside)) = self.policy.floating_in(*outside.ip()) {
            return Ok(Inbound {
                vrf,
                destination: SocketAddrV4::new(inside, outside.port()),
                session: None,
            });
        }
        let transport = probe.transport().ok_or(Refusal::Protocol)?;
        let (inside, mapping) = match self.policy.forward(transport.protocol(), outside) {
            Some(forward) => (Word::inside(forward.vrf, forward.inside), 0),
            None => self.admitted(now, probe)?,
        };
        if transport == Transport::Tcp && !tcp.opens() {
            return self.blame(inside.vrf(), Err(Refusal::NotSyn));
        }
        let mut uplink = 0;
        if mapping != 0 {
            let host = self.mappings[mapping].host;
            let limits = self.policy.limits(inside.vrf());
            self.ports.admit(now, limits, Some(host))?;
            uplink = self.uplink_of(mapping);
            self.add_session_to(mapping);
            if self.ports.log.is_on() {
                self.log_mapping(mapping);
            }
        }
        let order = Order {
            inside,
            peer: probe.peer,
            outside: probe.local,
            mapping,
            uplink,
            admitted: false,
            outbound: self.outbound_hash(inside, probe.peer),
            toward: probe.hash,
        };
        let number = self.create_session(now, &order);
        let number = self.blame(inside.vrf(), number)?;
        self.pass(now, number, Side::Outside, tcp);
        Ok(self.inbound_of(number))
    }

    /// The mapping that lets a packet without a session in, and its inside tuple.
    fn admitted(&mut self, now: Time, probe: &Probe) -> Result<(Word, u32), Refusal> {
        let toward = self.live_session_toward(now, probe);
        let known = toward.filter(|&number| self.sessions[number].mapping != 0);
        if let Some(number) = known {
            let (inside, mapping) = {
                let session = &self.sessions[number];
                (session.inside(), session.mapping)
            };
            return match self.filtering(inside, mapping, probe) {
                Some(Filtering::AddressAndPortDependent) | None => {
                    self.blame(inside.vrf(), Err(Refusal::Filtered))
                }
                Some(_) => Ok((inside, mapping)),
            };
        }
        if let Some(mapping) = self.find_open_mapping(probe) {
            let inside = self.inside_of(&self.mappings[mapping]);
            let filtering = self.filtering(inside, mapping, probe);
            let open = filtering == Some(Filtering::EndpointIndependent);
            if open && self.mapping_allowed(mapping) {
                return Ok((inside, mapping));
            }
        }
        Err(self.refusal_of_stranger(probe))
    }

    /// Whom the rule for a mapping and the remote of a packet lets in; `None` if it leads elsewhere,
    /// or the mapping is one session's alone.
    fn filtering(&self, inside: Word, mapping: u32, probe: &Probe) -> Option<Filtering> {
        let remote = probe.peer.address();
        let rule = self.policy.snat(inside.vrf(), inside.address(), remote)?;
        let leads = self.target_of(mapping).is_of(rule.target);
        (leads && !self.mappings[mapping].is_own()).then_some(rule.filter())
    }

    /// Why a packet nobody asked for is refused.
    fn refusal_of_stranger(&self, probe: &Probe) -> Refusal {
        let outside = probe.local.tuple();
        let mapped = self
            .policy
            .shared_address(*outside.ip())
            .zip(probe.transport())
            .is_some_and(|(address, transport)| {
                self.ports.is_used(&address, outside.port(), transport)
            });
        if mapped {
            Refusal::Filtered
        } else {
            Refusal::NoMapping
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
