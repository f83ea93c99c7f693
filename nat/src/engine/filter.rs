//! Which sessions are meant.

use std::net::Ipv4Addr;

use sekisho_types::{IpProtocol, Ipv4Prefix, VrfId};

use crate::key::{Transport, Word};
use crate::session::Session;
use crate::tcp::TcpState;

/// Which sessions are meant; what is `None` does not restrict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// The inside VRF.
    pub vrf: Option<VrfId>,
    /// The inside tuple.
    pub inside: Option<TupleFilter>,
    /// The outside tuple.
    pub outside: Option<TupleFilter>,
    /// The remote tuple.
    pub remote: Option<TupleFilter>,
    /// The protocol.
    pub protocol: Option<IpProtocol>,
    /// How far it is.
    pub state: Option<StateFilter>,
}

/// Which addresses and ports are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TupleFilter {
    /// The address lies in it.
    pub prefix: Ipv4Prefix,
    /// The port, or ICMP identifier; `None`: any.
    pub port: Option<u16>,
}

/// Which states are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFilter {
    /// TCP in this state.
    Tcp(TcpState),
    /// TCP that opens or closes: what `tcp-transitory-timeout` is for.
    Transitory,
    /// Whatever is not TCP.
    Active,
}

impl From<Ipv4Addr> for TupleFilter {
    fn from(address: Ipv4Addr) -> Self {
        Self {
            prefix: Ipv4Prefix::host(address),
            port: None,
        }
    }
}

impl TupleFilter {
    fn matches(&self, word: Word) -> bool {
        self.prefix.contains(word.address()) && self.port.is_none_or(|port| port == word.port())
    }
}

impl StateFilter {
    fn matches(self, session: &Session) -> bool {
        if !session.is_tcp() {
            return self == Self::Active;
        }
        match self {
            Self::Tcp(state) => session.tcp().state() == state,
            Self::Transitory => session.tcp().state() != TcpState::Established,
            Self::Active => false,
        }
    }
}

impl SessionFilter {
    pub(super) fn matches(&self, session: &Session) -> bool {
        let fits = |wanted: Option<TupleFilter>, found| {
            wanted.is_none_or(|wanted: TupleFilter| wanted.matches(found))
        };
        self.vrf.is_none_or(|vrf| vrf == session.inside().vrf())
            && fits(self.inside, session.inside())
            && fits(self.outside, session.outside())
            && fits(self.remote, session.peer())
            && self.protocol.is_none_or(|protocol| {
                session.transport().map(Transport::protocol) == Some(protocol)
            })
            && self.state.is_none_or(|state| state.matches(session))
    }
}
