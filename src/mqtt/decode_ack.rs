//! PUBACK, PUBREC, PUBREL, PUBCOMP (sections 3.4 to 3.7): the same four fields in all of them.

use super::error::DecodeError;
use super::property::{PropertyCursor, PropertyId, PropertySet};
use super::reader::Reader;
use super::reason::{ReasonCode, ReasonSet};
use super::version::Version;

/// An acknowledgement of a PUBLISH, or of a step of QoS 2.
///
/// Its reason string and user properties are checked and dropped: nothing acts on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Never 0.
    pub packet_id: u16,
    /// `Success` in 3.x.
    pub reason: ReasonCode,
}

/// A reason string and user properties, which most packets have.
pub(super) const REASON_PROPERTIES: PropertySet =
    PropertySet::of(&[PropertyId::ReasonString, PropertyId::UserProperty]);

/// Reads the body of an acknowledgement that may have one of `reasons`.
pub(super) fn decode_ack(
    body: &[u8],
    version: Version,
    reasons: ReasonSet,
) -> Result<Ack, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut reason = ReasonCode::Success;
    if version.is_v5() && !reader.is_empty() {
        reason = decode_reason(&mut reader, reasons)?;
        if !reader.is_empty() {
            let block = reader.property_block()?;
            PropertyCursor::new(block, REASON_PROPERTIES).skip_all()?;
        }
    }
    reader.finish()?;
    Ok(Ack { packet_id, reason })
}

/// Reads a reason code, which must be one of the packet's own.
pub(super) fn decode_reason(
    reader: &mut Reader<'_>,
    reasons: ReasonSet,
) -> Result<ReasonCode, DecodeError> {
    ReasonCode::from_u8(reader.u8()?)
        .filter(|&reason| reasons.contains(reason))
        .ok_or(DecodeError::protocol(
            "2.4 reason code that the packet does not have",
        ))
}
