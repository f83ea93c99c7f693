//! NOTIFICATION: why a session ends (RFC 4271 section 4.5).

use std::fmt;

use rustbgpd_wire::notification::{NotificationCode, description};

/// Why a session ends. Either side may say so; both close the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// What the code defines.
    pub data: Vec<u8>,
}

impl Notification {
    const CEASE: u8 = 6;
    const SHUTDOWN: u8 = 2;
    const RESET: u8 = 4;
    /// RFC 9003 section 2.
    const MAX_COMMUNICATION: usize = 255;

    /// With data as the code defines it.
    pub const fn new(code: u8, subcode: u8, data: Vec<u8>) -> Self {
        Self {
            code,
            subcode,
            data,
        }
    }

    /// Bad peer AS (RFC 4271 section 6.2).
    pub const BAD_PEER_AS: Self = Self::new(2, 2, Vec::new());
    /// Bad BGP identifier (RFC 4271 section 6.2, RFC 6286).
    pub const BAD_IDENTIFIER: Self = Self::new(2, 3, Vec::new());
    /// Unacceptable hold time (RFC 4271 section 6.2).
    pub const HOLD_TIME: Self = Self::new(2, 6, Vec::new());
    /// Hold timer expired (RFC 4271 section 6.5).
    pub const HOLD_EXPIRED: Self = Self::new(4, 0, Vec::new());
    /// Unexpected message in OpenSent (RFC 6608).
    pub const IN_OPEN_SENT: Self = Self::new(5, 1, Vec::new());
    /// Unexpected message in OpenConfirm (RFC 6608).
    pub const IN_OPEN_CONFIRM: Self = Self::new(5, 2, Vec::new());
    /// Unexpected message in Established (RFC 6608).
    pub const IN_ESTABLISHED: Self = Self::new(5, 3, Vec::new());
    /// Cease: the neighbour is no longer configured (RFC 4486).
    pub const DECONFIGURED: Self = Self::new(Self::CEASE, 3, Vec::new());
    /// Cease: administrative reset (RFC 4486).
    pub const ADMIN_RESET: Self = Self::new(Self::CEASE, Self::RESET, Vec::new());
    /// Cease: other configuration change (RFC 4486).
    pub const CONFIGURATION: Self = Self::new(Self::CEASE, 6, Vec::new());
    /// Cease: connection collision resolution (RFC 4486).
    pub const COLLISION: Self = Self::new(Self::CEASE, 7, Vec::new());

    /// Cease: administrative shutdown, with a message for people (RFC 9003), cut to 255 octets.
    pub fn shutdown(message: &str) -> Self {
        let mut data = Vec::new();
        if !message.is_empty() {
            let text = &message[..message.floor_char_boundary(Self::MAX_COMMUNICATION)];
            data.extend(u8::try_from(text.len()));
            data.extend(text.as_bytes());
        }
        Self::new(Self::CEASE, Self::SHUTDOWN, data)
    }

    /// The shutdown communication (RFC 9003), with control characters replaced.
    pub fn communication(&self) -> Option<String> {
        if self.code != Self::CEASE || ![Self::SHUTDOWN, Self::RESET].contains(&self.subcode) {
            return None;
        }
        let (&length, text) = self.data.split_first()?;
        let text = text
            .get(..usize::from(length))
            .filter(|text| !text.is_empty())?;
        let text = std::str::from_utf8(text).ok()?;
        Some(text.replace(char::is_control, "\u{fffd}"))
    }

    /// Code and subcode in words.
    pub fn name(&self) -> String {
        let subcode = description(NotificationCode::from_u8(self.code), self.subcode);
        let code = match self.code {
            1 => "Message Header Error",
            2 => "OPEN Message Error",
            3 => "UPDATE Message Error",
            4 => "Hold Timer Expired",
            5 => "Finite State Machine Error",
            6 => "Cease",
            7 => "ROUTE-REFRESH Message Error",
            8 => "Send Hold Timer Expired",
            _ => "Unknown",
        };
        if self.subcode == 0 || subcode.starts_with(code) {
            code.to_owned()
        } else {
            format!("{code}/{subcode}")
        }
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ({})", self.code, self.subcode, self.name())?;
        if let Some(message) = self.communication() {
            write!(f, " {message:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_communication_survives_the_wire() {
        let sent = Notification::shutdown("maintenance until 04:00");
        assert_eq!(
            sent.communication().as_deref(),
            Some("maintenance until 04:00")
        );
        assert_eq!(sent.data[0], 23);
    }

    #[test]
    fn a_long_communication_is_cut_between_characters() {
        let sent = Notification::shutdown(&"ü".repeat(200));
        assert_eq!(sent.data.len(), 255);
        assert_eq!(sent.communication(), Some("ü".repeat(127)));
    }

    #[test]
    fn a_communication_that_lies_about_its_length_is_not_shown() {
        for data in [vec![], vec![0], vec![9, b'x'], vec![1, 0xff]] {
            assert_eq!(Notification::new(6, 2, data).communication(), None);
        }
        assert_eq!(Notification::new(6, 5, vec![1, b'x']).communication(), None);
        let control = Notification::new(6, 2, vec![2, b'x', 0x1b]);
        assert_eq!(control.communication().as_deref(), Some("x\u{fffd}"));
    }

    #[test]
    fn codes_are_named_as_the_registry_names_them() {
        assert_eq!(
            Notification::BAD_PEER_AS.to_string(),
            "2/2 (OPEN Message Error/Bad Peer AS)"
        );
        assert_eq!(
            Notification::HOLD_EXPIRED.to_string(),
            "4/0 (Hold Timer Expired)"
        );
    }
}
