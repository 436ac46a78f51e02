//! DISCONNECT (section 3.14).

use super::decode_ack::decode_reason;
use super::error::DecodeError;
use super::property::{Property, PropertyCursor, PropertyId, PropertySet, UserProperties};
use super::reader::Reader;
use super::reason::{ReasonCode, ReasonSet};
use super::version::Version;

/// The last packet of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// `Success` in 3.x.
    pub reason: ReasonCode,
    /// In seconds; replaces the one of the CONNECT.
    pub session_expiry_interval: Option<u32>,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// In the order they came.
    pub user_properties: UserProperties<'a>,
}

impl Default for Disconnect<'_> {
    fn default() -> Self {
        Self {
            reason: ReasonCode::NORMAL_DISCONNECTION,
            session_expiry_interval: None,
            reason_string: None,
            server_reference: None,
            user_properties: UserProperties::default(),
        }
    }
}

/// What a client may send.
pub(super) const FROM_CLIENT: PropertySet = PropertySet::of(&[
    PropertyId::SessionExpiryInterval,
    PropertyId::ReasonString,
    PropertyId::UserProperty,
    PropertyId::ServerReference,
]);

/// What a server may send: no session expiry interval [MQTT-3.14.2-2].
pub(super) const FROM_SERVER: PropertySet = PropertySet::of(&[
    PropertyId::ReasonString,
    PropertyId::UserProperty,
    PropertyId::ServerReference,
]);

/// Reads the body of a DISCONNECT with one of `reasons` and the properties `allowed`.
pub(super) fn decode_disconnect(
    body: &[u8],
    version: Version,
    reasons: ReasonSet,
    allowed: PropertySet,
) -> Result<Disconnect<'_>, DecodeError> {
    let mut disconnect = Disconnect::default();
    let mut reader = Reader::new(body);
    if version.is_v5() && !reader.is_empty() {
        disconnect.reason = decode_reason(&mut reader, reasons)?;
        if !reader.is_empty() {
            let block = reader.property_block()?;
            read_properties(&mut disconnect, block, allowed)?;
        }
    }
    reader.finish()?;
    Ok(disconnect)
}

fn read_properties<'a>(
    disconnect: &mut Disconnect<'a>,
    block: &'a [u8],
    allowed: PropertySet,
) -> Result<(), DecodeError> {
    let mut cursor = PropertyCursor::new(block, allowed);
    while let Some((_, property)) = cursor.next()? {
        match property {
            Property::SessionExpiryInterval(value) => {
                disconnect.session_expiry_interval = Some(value);
            }
            Property::ReasonString(value) => disconnect.reason_string = Some(value),
            Property::ServerReference(value) => disconnect.server_reference = Some(value),
            _ => disconnect.user_properties = UserProperties::new(block),
        }
    }
    Ok(())
}
