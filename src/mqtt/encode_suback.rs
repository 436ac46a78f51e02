//! SUBACK and UNSUBACK (sections 3.9 and 3.11).

use super::frame::PacketType;
use super::version::Version;
use super::writer::{put_packet, put_properties, put_u16};

/// Appends a SUBACK with one byte a filter, in the order of the SUBSCRIBE [MQTT-3.9.3-1]: in 5.0
/// a reason code, in 3.x the granted QoS or 0x80.
///
/// For 3.x every code from 0x80 on becomes 0x80, the only failure 3.1.1 knows.
pub fn encode_suback(out: &mut Vec<u8>, version: Version, packet_id: u16, reasons: &[u8]) {
    put_packet(out, PacketType::SubAck, |out| {
        put_u16(out, packet_id);
        if version.is_v5() {
            put_properties(out, |_| {});
            out.extend_from_slice(reasons);
        } else {
            out.extend(reasons.iter().map(|&reason| reason.min(0x80)));
        }
    });
}

/// Appends an UNSUBACK with one reason code a filter, in the order of the UNSUBSCRIBE
/// [MQTT-3.11.3-1]; 3.x has none.
pub fn encode_unsuback(out: &mut Vec<u8>, version: Version, packet_id: u16, reasons: &[u8]) {
    put_packet(out, PacketType::UnsubAck, |out| {
        put_u16(out, packet_id);
        if version.is_v5() {
            put_properties(out, |_| {});
            out.extend_from_slice(reasons);
        }
    });
}
