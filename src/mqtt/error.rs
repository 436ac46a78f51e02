//! What is wrong with bytes that a peer sent.

use std::fmt;

use super::reason::ReasonCode;

/// Why bytes are not the packet they claim to be.
///
/// The connection ends with every one of them; the reason says with which code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// What the peer is told (MQTT 5.0; 3.x has no way to say it).
    pub reason: ReasonCode,
    /// The normative statement (`MQTT-x.y.z-n`, numbering of 5.0) or the section that was
    /// violated, then a few words.
    pub rule: &'static str,
}

impl DecodeError {
    /// An error with a reason code of its own.
    #[must_use]
    pub const fn new(reason: ReasonCode, rule: &'static str) -> Self {
        Self { reason, rule }
    }

    /// The packet cannot be parsed (0x81).
    #[must_use]
    pub const fn malformed(rule: &'static str) -> Self {
        Self::new(ReasonCode::MalformedPacket, rule)
    }

    /// The packet can be parsed, but the protocol does not allow what it says (0x82).
    #[must_use]
    pub const fn protocol(rule: &'static str) -> Self {
        Self::new(ReasonCode::ProtocolError, rule)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reason {:#04x}: {}", self.reason.as_u8(), self.rule)
    }
}

impl std::error::Error for DecodeError {}
