//! Which NAT sessions are meant: the filter of the API, read once for the command line and the daemon.

use std::net::Ipv4Addr;

use sekisho_types::{IpProtocol, Ipv4Prefix, PrefixError};

use crate::api::v1::SessionFilter;

/// A filter that was understood; what is `None` does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionMatch {
    /// The tenant's name, unchecked.
    pub tenant: Option<String>,
    /// The protocol.
    pub protocol: Option<IpProtocol>,
    /// The inside tuple.
    pub inside: Option<TupleMatch>,
    /// The outside tuple.
    pub outside: Option<TupleMatch>,
    /// The remote tuple.
    pub remote: Option<TupleMatch>,
    /// The state.
    pub state: Option<SessionState>,
}

/// Addresses, and a port of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TupleMatch {
    /// Where the address lies.
    pub prefix: Ipv4Prefix,
    /// The port, or ICMP identifier.
    pub port: Option<u16>,
}

/// A state of sessions, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// TCP that opens.
    Opening,
    /// TCP that is open.
    Established,
    /// TCP that closes.
    Closing,
    /// TCP that opens or closes.
    Transitory,
    /// No TCP.
    Active,
}

/// Why a filter was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// A protocol that has no sessions.
    #[error("{0:?} is not translated; write tcp, udp or icmp")]
    Protocol(String),
    /// No state of sessions.
    #[error(
        "{0:?} is no state; write opening, established, closing, transitory (opening or closing) \
         or active (udp and icmp)"
    )]
    State(String),
    /// Neither an address, an address with a port, nor a prefix.
    #[error("{text:?} is no IPv4 address; write {key} 192.0.2.1, 192.0.2.1:80 or 192.0.2.0/24")]
    Tuple {
        /// What it is to match.
        key: &'static str,
        /// What stands there.
        text: String,
    },
    /// A prefix that is none.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
}

impl TryFrom<&SessionFilter> for SessionMatch {
    type Error = MatchError;

    fn try_from(filter: &SessionFilter) -> Result<Self, MatchError> {
        let protocol = match filter.protocol.as_str() {
            "" => None,
            "tcp" => Some(IpProtocol::TCP),
            "udp" => Some(IpProtocol::UDP),
            "icmp" => Some(IpProtocol::ICMP),
            other => return Err(MatchError::Protocol(other.to_owned())),
        };
        Ok(Self {
            tenant: Some(filter.tenant.clone()).filter(|tenant| !tenant.is_empty()),
            protocol,
            inside: tuple("inside", &filter.inside)?,
            outside: tuple("outside", &filter.outside)?,
            remote: tuple("remote", &filter.remote)?,
            state: state(&filter.state)?,
        })
    }
}

impl SessionMatch {
    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn state(text: &str) -> Result<Option<SessionState>, MatchError> {
    Ok(Some(match text {
        "" => return Ok(None),
        "opening" => SessionState::Opening,
        "established" => SessionState::Established,
        "closing" => SessionState::Closing,
        "transitory" => SessionState::Transitory,
        "active" => SessionState::Active,
        other => return Err(MatchError::State(other.to_owned())),
    }))
}

fn tuple(key: &'static str, text: &str) -> Result<Option<TupleMatch>, MatchError> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.contains('/') {
        let prefix = text.parse()?;
        return Ok(Some(TupleMatch { prefix, port: None }));
    }
    let (address, port) = match text.split_once(':') {
        Some((address, port)) => (address, Some(port)),
        None => (text, None),
    };
    let wrong = || MatchError::Tuple {
        key,
        text: text.to_owned(),
    };
    let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
    let port = port.map(str::parse).transpose().map_err(|_| wrong())?;
    let prefix = Ipv4Prefix::host(address);
    Ok(Some(TupleMatch { prefix, port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: impl FnOnce(&mut SessionFilter)) -> Result<SessionMatch, MatchError> {
        let mut filter = SessionFilter::default();
        change(&mut filter);
        SessionMatch::try_from(&filter)
    }

    #[test]
    fn an_address_stands_alone_or_with_its_port_or_for_a_prefix() {
        let inside = |text: &str| read(|filter| filter.inside = text.into()).unwrap().inside;
        let host = "172.16.10.11/32".parse().unwrap();
        let tuple = |prefix, port| Some(TupleMatch { prefix, port });
        assert_eq!(inside("172.16.10.11"), tuple(host, None));
        assert_eq!(inside("172.16.10.11:5000"), tuple(host, Some(5000)));
        let prefix = "172.16.0.0/16".parse().unwrap();
        assert_eq!(inside("172.16.0.0/16"), tuple(prefix, None));
        assert!(read(|_| ()).unwrap().is_empty());
        assert!(
            !read(|filter| filter.state = "closing".into())
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn what_is_not_understood_is_said_with_what_would_be_right() {
        let message = |change: fn(&mut SessionFilter)| read(change).unwrap_err().to_string();
        for (message, expected) in [
            (
                message(|f| f.protocol = "gre".into()),
                "\"gre\" is not translated; write tcp, udp or icmp",
            ),
            (
                message(|f| f.state = "open".into()),
                "\"open\" is no state; write opening, established, closing, transitory (opening \
                 or closing) or active (udp and icmp)",
            ),
            (
                message(|f| f.remote = "public".into()),
                "\"public\" is no IPv4 address; write remote 192.0.2.1, 192.0.2.1:80 or 192.0.2.0/24",
            ),
            (
                message(|f| f.outside = "192.0.2.1:70000".into()),
                "\"192.0.2.1:70000\" is no IPv4 address; write outside 192.0.2.1, 192.0.2.1:80 or \
                 192.0.2.0/24",
            ),
            (
                message(|f| f.inside = "10.0.0.5/24".into()),
                "10.0.0.5/24 has host bits set; did you mean 10.0.0.0/24?",
            ),
        ] {
            assert_eq!(message, expected);
        }
    }
}
