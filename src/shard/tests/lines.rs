//! What a broker has sent, as one short line a packet.

use crate::mqtt::decode_server::{ServerPacket, decode_server};
use crate::mqtt::frame::next_frame;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;

/// A line for each packet in what a server has sent.
pub(super) fn read_lines(mut bytes: &[u8], version: Version) -> Vec<String> {
    let mut lines = Vec::new();
    while !bytes.is_empty() {
        let frame = next_frame(bytes, u32::MAX).unwrap().expect("whole packets");
        let packet = decode_server(&frame, version).expect("valid packets");
        lines.push(line(&packet));
        bytes = &bytes[frame.wire_len..];
    }
    lines
}

fn line(packet: &ServerPacket<'_>) -> String {
    let reason = |reason: ReasonCode| match reason.as_u8() {
        0 => String::new(),
        code => format!(" 0x{code:02X}"),
    };
    match packet {
        ServerPacket::ConnAck(ack) => {
            let present = if ack.session_present { " present" } else { "" };
            format!("connack{present}{}", reason(ack.reason))
        }
        ServerPacket::Publish(publish) => {
            let mut text = format!(
                "publish {}={}",
                publish.topic,
                String::from_utf8_lossy(publish.payload)
            );
            let identifiers: Vec<u32> = publish.properties.subscription_identifiers().collect();
            let expiry = publish.properties.message_expiry_interval;
            let parts = [
                (publish.qos.as_u8() > 0).then(|| format!("q{}", publish.qos.as_u8())),
                (publish.packet_id > 0).then(|| format!("#{}", publish.packet_id)),
                publish.dup.then(|| "dup".to_owned()),
                publish.retain.then(|| "retain".to_owned()),
                (!identifiers.is_empty()).then(|| format!("{identifiers:?}")),
                expiry.map(|seconds| format!("{seconds}s")),
            ];
            for part in parts.into_iter().flatten() {
                text.push(' ');
                text.push_str(&part);
            }
            text
        }
        ServerPacket::PubAck(ack) => format!("puback {}{}", ack.packet_id, reason(ack.reason)),
        ServerPacket::PubRec(ack) => format!("pubrec {}{}", ack.packet_id, reason(ack.reason)),
        ServerPacket::PubRel(ack) => format!("pubrel {}{}", ack.packet_id, reason(ack.reason)),
        ServerPacket::PubComp(ack) => format!("pubcomp {}{}", ack.packet_id, reason(ack.reason)),
        ServerPacket::SubAck(ack) => format!("suback {} {:?}", ack.packet_id, ack.reasons),
        ServerPacket::UnsubAck(ack) => format!("unsuback {} {:?}", ack.packet_id, ack.reasons),
        ServerPacket::PingResp => "pingresp".to_owned(),
        ServerPacket::Disconnect(packet) => format!("disconnect{}", reason(packet.reason)),
        ServerPacket::Auth(_) => "auth".to_owned(),
    }
}
