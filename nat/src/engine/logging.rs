//! What the log is told of sessions, mappings and refusals.

use std::net::{Ipv4Addr, SocketAddrV4};

use sekisho_types::{IpProtocol, VrfId};

use super::{Engine, MappingKey};
use crate::key::Transport;
use crate::log::{LogEvent, LogKind, LogLevel, LogSource};
use crate::refusal::Refusal;
use crate::time::Time;

const NOWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

impl Engine {
    /// Gives all events since the last call to `take`, in their order. To be called on each turn.
    #[inline]
    pub fn drain_log(&mut self, take: impl FnMut(LogEvent)) {
        self.ports.log.drain(take);
    }

    /// Tells that a session began, if sessions are logged.
    #[cold]
    #[inline(never)]
    pub(super) fn log_session(&mut self, stored: &Result<u32, Refusal>) {
        let Ok(number) = *stored else {
            return;
        };
        let session = &mut self.sessions[number];
        if self.ports.log.level(session.inside().vrf()) == LogLevel::Sessions {
            session.logged = 1;
            let event = self.session_event(number, LogKind::SessionCreated);
            self.ports.log.push(event);
        }
    }

    /// Tells that a session ended whose beginning was told.
    #[cold]
    #[inline(never)]
    pub(super) fn log_session_end(&mut self, number: u32) {
        let event = self.session_event(number, LogKind::SessionDeleted);
        self.ports.log.push(event);
    }

    /// Tells that a mapping began, if the log has not got it by its block or before.
    #[cold]
    #[inline(never)]
    pub(super) fn log_mapping(&mut self, number: u32) {
        let mapping = self.mappings[number];
        let wanted = match self.ports.log.level(self.inside_of(&mapping).vrf()) {
            LogLevel::None | LogLevel::Sessions => false,
            LogLevel::Blocks => !self.ports.is_logged_of(mapping.block, mapping.host),
            LogLevel::Mappings => true,
        };
        if wanted && !mapping.is_logged() {
            self.mappings[number].set_logged();
            let event = self.mapping_event(number, LogKind::MappingCreated);
            self.ports.log.push(event);
        }
    }

    /// Tells that a mapping ended whose beginning was told.
    #[cold]
    #[inline(never)]
    pub(super) fn log_mapping_end(&mut self, number: u32) {
        let event = self.mapping_event(number, LogKind::MappingDeleted);
        self.ports.log.push(event);
    }

    /// Tells that a tenant got no session; gives the refusal back.
    #[cold]
    #[inline(never)]
    pub(super) fn log_tenant_refusal(
        &mut self,
        now: Time,
        vrf: VrfId,
        refusal: Refusal,
    ) -> Refusal {
        let event = LogEvent {
            kind: LogKind::Refused(refusal),
            protocol: IpProtocol(0),
            vrf,
            from: LogSource::Other,
            inside: NOWHERE,
            outside: NOWHERE,
            last_port: 0,
            remote: None,
        };
        self.ports.log.refuse(now, event);
        refusal
    }

    /// Tells that a host got no port; gives the refusal back.
    #[cold]
    #[inline(never)]
    pub(super) fn log_port_refusal(
        &mut self,
        now: Time,
        key: &MappingKey,
        refusal: Refusal,
    ) -> Refusal {
        let own = self.policy.addresses(key.target).first();
        let uplinks = own.filter(|_| key.target.is_uplink());
        let outside = uplinks.map_or(NOWHERE, |own| SocketAddrV4::new(own.address, 0));
        let event = LogEvent {
            kind: LogKind::Refused(refusal),
            protocol: key.transport.protocol(),
            vrf: key.inside.vrf(),
            from: key.target.into(),
            inside: key.inside.tuple(),
            outside,
            last_port: 0,
            remote: None,
        };
        self.ports.log.refuse(now, event);
        refusal
    }

    fn session_event(&self, number: u32, kind: LogKind) -> LogEvent {
        let session = &self.sessions[number];
        let from = match session.mapping {
            0 => LogSource::Other,
            mapping => self.ports.target(self.mappings[mapping].host).into(),
        };
        let protocol = session.transport().map(Transport::protocol);
        let has_destinations = self.ports.log.has_destinations();
        LogEvent {
            kind,
            protocol: protocol.unwrap_or(IpProtocol(0)),
            vrf: session.inside().vrf(),
            from,
            inside: session.inside().tuple(),
            outside: session.outside().tuple(),
            last_port: 0,
            remote: has_destinations.then(|| session.peer().tuple()),
        }
    }

    fn mapping_event(&self, number: u32, kind: LogKind) -> LogEvent {
        let mapping = &self.mappings[number];
        let inside = self.inside_of(mapping);
        LogEvent {
            kind,
            protocol: mapping.transport().protocol(),
            vrf: inside.vrf(),
            from: self.ports.target(mapping.host).into(),
            inside: inside.tuple(),
            outside: self.outside_of(number).tuple(),
            last_port: 0,
            remote: None,
        }
    }
}
