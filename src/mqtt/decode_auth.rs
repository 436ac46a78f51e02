//! AUTH (section 3.15): the steps of enhanced authentication, 5.0 only.

use super::decode_ack::decode_reason;
use super::error::DecodeError;
use super::property::{Property, PropertyCursor, PropertyId, PropertySet, UserProperties};
use super::reader::Reader;
use super::reason::{ReasonCode, ReasonSet};

/// A step of enhanced authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// `Success` (server only), `ContinueAuthentication` or `ReAuthenticate` (client only).
    pub reason: ReasonCode,
    /// Absent only from a server's shortest form, which says success and no more.
    pub authentication_method: Option<&'a str>,
    /// Defined by the method.
    pub authentication_data: Option<&'a [u8]>,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// In the order they came.
    pub user_properties: UserProperties<'a>,
}

/// The codes of a client's AUTH [MQTT-3.15.2-1].
pub(super) const FROM_CLIENT: ReasonSet = ReasonSet::of(&[
    ReasonCode::ContinueAuthentication,
    ReasonCode::ReAuthenticate,
]);

/// The codes of a server's AUTH [MQTT-3.15.2-1].
pub(super) const FROM_SERVER: ReasonSet =
    ReasonSet::of(&[ReasonCode::Success, ReasonCode::ContinueAuthentication]);

const ALLOWED: PropertySet = PropertySet::of(&[
    PropertyId::AuthenticationMethod,
    PropertyId::AuthenticationData,
    PropertyId::ReasonString,
    PropertyId::UserProperty,
]);

/// Reads the body of an AUTH with one of `reasons`.
pub(super) fn decode_auth(body: &[u8], reasons: ReasonSet) -> Result<Auth<'_>, DecodeError> {
    let mut auth = Auth {
        reason: ReasonCode::Success,
        authentication_method: None,
        authentication_data: None,
        reason_string: None,
        user_properties: UserProperties::default(),
    };
    if body.is_empty() {
        if reasons.contains(ReasonCode::Success) {
            return Ok(auth);
        }
        return Err(DecodeError::protocol("MQTT-3.15.2-1 success from a client"));
    }
    let mut reader = Reader::new(body);
    auth.reason = decode_reason(&mut reader, reasons)?;
    let block = reader.property_block()?;
    reader.finish()?;
    let mut cursor = PropertyCursor::new(block, ALLOWED);
    while let Some((_, property)) = cursor.next()? {
        match property {
            Property::AuthenticationMethod(value) => auth.authentication_method = Some(value),
            Property::AuthenticationData(value) => auth.authentication_data = Some(value),
            Property::ReasonString(value) => auth.reason_string = Some(value),
            _ => auth.user_properties = UserProperties::new(block),
        }
    }
    if auth.authentication_method.is_none() {
        return Err(DecodeError::protocol(
            "3.15.2.2.2 AUTH without an authentication method",
        ));
    }
    Ok(auth)
}
