//! PUBACK, PUBREC, PUBREL, PUBCOMP and PINGRESP: the shortest packets, so they have fixed forms.

use super::frame::PacketType;
use super::reason::ReasonCode;
use super::version::Version;

/// Bytes of an acknowledgement without a reason code.
pub const ACK_BYTES: usize = 4;

/// Bytes of an acknowledgement with a reason code.
pub const ACK_WITH_REASON_BYTES: usize = 5;

/// Appends a PUBACK. A reason other than `Success` is left out in 3.x, which has none.
pub fn encode_puback(out: &mut Vec<u8>, version: Version, packet_id: u16, reason: ReasonCode) {
    encode_ack(out, PacketType::PubAck, version, packet_id, reason);
}

/// Appends a PUBREC. A reason other than `Success` is left out in 3.x, which has none.
pub fn encode_pubrec(out: &mut Vec<u8>, version: Version, packet_id: u16, reason: ReasonCode) {
    encode_ack(out, PacketType::PubRec, version, packet_id, reason);
}

/// Appends a PUBREL. A reason other than `Success` is left out in 3.x, which has none.
pub fn encode_pubrel(out: &mut Vec<u8>, version: Version, packet_id: u16, reason: ReasonCode) {
    encode_ack(out, PacketType::PubRel, version, packet_id, reason);
}

/// Appends a PUBCOMP. A reason other than `Success` is left out in 3.x, which has none.
pub fn encode_pubcomp(out: &mut Vec<u8>, version: Version, packet_id: u16, reason: ReasonCode) {
    encode_ack(out, PacketType::PubComp, version, packet_id, reason);
}

/// Appends a PINGRESP.
pub fn encode_pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingResp.first_byte(0), 0]);
}

fn encode_ack(
    out: &mut Vec<u8>,
    packet_type: PacketType,
    version: Version,
    packet_id: u16,
    reason: ReasonCode,
) {
    debug_assert_ne!(packet_id, 0, "an acknowledged packet has an identifier");
    let first = packet_type.first_byte(packet_type.fixed_flags());
    let [high, low] = packet_id.to_be_bytes();
    if version.is_v5() && reason != ReasonCode::Success {
        out.extend_from_slice(&[first, 3, high, low, reason.as_u8()]);
    } else {
        out.extend_from_slice(&[first, 2, high, low]);
    }
}
