//! For tests and fuzzing: whatever bytes decode to, encoding it again gives bytes that decode to the
//! same; and a stream means the same wherever it is cut.

use super::decode_connect::decode_connect;
use super::decode_publish::Publish;
use super::decode_server::{ServerPacket, decode_server};
use super::encode_ack::{
    encode_pingresp, encode_puback, encode_pubcomp, encode_pubrec, encode_pubrel,
};
use super::encode_client::{
    encode_client_disconnect, encode_connect, encode_pingreq, encode_subscribe, encode_unsubscribe,
};
use super::encode_connack::encode_connack;
use super::encode_disconnect::encode_auth;
use super::encode_publish::{OutgoingPublish, encode_publish_head, publish_wire_len};
use super::encode_suback::{encode_suback, encode_unsuback};
use super::error::DecodeError;
use super::frame::{Frame, PacketType, next_frame};
use super::packet::{ClientPacket, decode};
use super::version::Version;

/// All versions.
pub const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// Only decodes, as everything that the bytes could be; says how many packets were accepted.
pub fn decode_all(bytes: &[u8], max_packet_size: u32) -> usize {
    let mut accepted = 0;
    let mut rest = bytes;
    while let Ok(Some(frame)) = next_frame(rest, max_packet_size) {
        if frame.packet_type == PacketType::Connect {
            accepted += usize::from(decode_connect(&frame).is_ok());
        }
        for version in VERSIONS {
            accepted += usize::from(decode(&frame, version).is_ok());
            accepted += usize::from(decode_server(&frame, version).is_ok());
        }
        rest = rest.get(frame.wire_len..).unwrap_or_default();
    }
    accepted
}

/// Checks a stream of anything.
///
/// # Panics
/// If something does not hold.
pub fn check_stream(bytes: &[u8], max_packet_size: u32) {
    let mut rest = bytes;
    loop {
        check_cuts(rest, max_packet_size);
        let Ok(Some(frame)) = next_frame(rest, max_packet_size) else {
            return;
        };
        check_frame(&frame);
        rest = &rest[frame.wire_len..];
    }
}

/// A shorter piece of a stream gives the same packet, the same error, or asks for more.
fn check_cuts(bytes: &[u8], max_packet_size: u32) {
    let whole = next_frame(bytes, max_packet_size);
    let packet_len = match &whole {
        Ok(Some(frame)) => frame.wire_len,
        _ => bytes.len(),
    };
    for end in (0..packet_len.min(8)).chain([packet_len.saturating_sub(1)]) {
        match next_frame(&bytes[..end], max_packet_size) {
            Ok(None) => {}
            cut => assert_eq!(cut, whole, "cut after {end} bytes"),
        }
    }
    if let Ok(Some(_)) = &whole {
        assert_eq!(next_frame(&bytes[..packet_len], max_packet_size), whole);
        assert_eq!(
            next_frame(&bytes[..packet_len - 1], max_packet_size),
            Ok(None)
        );
    }
}

fn check_frame(frame: &Frame<'_>) {
    if frame.packet_type == PacketType::Connect {
        check_connect(frame);
    }
    for version in VERSIONS {
        check_client(frame, version);
        check_server(frame, version);
    }
}

fn check_connect(frame: &Frame<'_>) {
    if let Ok(connect) = decode_connect(frame) {
        let mut out = Vec::new();
        encode_connect(&mut out, &connect);
        assert_eq!(decode_connect(&reframe(&out)), Ok(connect));
    }
}

fn reframe(bytes: &[u8]) -> Frame<'_> {
    match next_frame(bytes, u32::MAX) {
        Ok(Some(frame)) => {
            assert_eq!(frame.wire_len, bytes.len(), "one packet was encoded");
            frame
        }
        other => panic!("what was encoded is no packet: {other:?}"),
    }
}

fn check_client(frame: &Frame<'_>, version: Version) {
    let Ok(packet) = decode(frame, version) else {
        return;
    };
    let mut out = Vec::new();
    match &packet {
        ClientPacket::Publish(publish) => put_publish(&mut out, version, publish),
        ClientPacket::PubAck(ack) => encode_puback(&mut out, version, ack.packet_id, ack.reason),
        ClientPacket::PubRec(ack) => encode_pubrec(&mut out, version, ack.packet_id, ack.reason),
        ClientPacket::PubRel(ack) => encode_pubrel(&mut out, version, ack.packet_id, ack.reason),
        ClientPacket::PubComp(ack) => encode_pubcomp(&mut out, version, ack.packet_id, ack.reason),
        ClientPacket::Subscribe(subscribe) => {
            let entries: Vec<_> = subscribe.filters().collect();
            let (id, identifier) = (subscribe.packet_id, subscribe.subscription_identifier);
            encode_subscribe(&mut out, version, id, identifier, &entries);
        }
        ClientPacket::Unsubscribe(unsubscribe) => {
            let filters: Vec<_> = unsubscribe.filters().collect();
            encode_unsubscribe(&mut out, version, unsubscribe.packet_id, &filters);
        }
        ClientPacket::PingReq => encode_pingreq(&mut out),
        ClientPacket::Disconnect(disconnect) => {
            encode_client_disconnect(&mut out, version, disconnect);
        }
        ClientPacket::Auth(auth) => encode_auth(&mut out, auth),
    }
    let again = decode(&reframe(&out), version);
    assert!(
        same_client(&again, &packet),
        "{packet:?} came back as {again:?}"
    );
}

/// The user properties of SUBSCRIBE and UNSUBSCRIBE are not encoded; those of PUBLISH may move.
fn same_client(again: &Result<ClientPacket<'_>, DecodeError>, packet: &ClientPacket<'_>) -> bool {
    match (again, packet) {
        (Ok(ClientPacket::Publish(a)), ClientPacket::Publish(b)) => same_publish(a, b),
        (Ok(ClientPacket::Subscribe(a)), ClientPacket::Subscribe(b)) => {
            a.packet_id == b.packet_id
                && a.subscription_identifier == b.subscription_identifier
                && a.filters().eq(b.filters())
        }
        (Ok(ClientPacket::Unsubscribe(a)), ClientPacket::Unsubscribe(b)) => {
            a.packet_id == b.packet_id && a.filters().eq(b.filters())
        }
        (Ok(a), b) => a == b,
        (Err(_), _) => false,
    }
}

fn put_publish(out: &mut Vec<u8>, version: Version, publish: &Publish<'_>) {
    let mut scratch = Vec::new();
    let identifiers: Vec<u32> = publish.properties.subscription_identifiers().collect();
    let outgoing = OutgoingPublish {
        topic: publish.topic,
        payload_len: publish.payload.len(),
        qos: publish.qos,
        dup: publish.dup,
        retain: publish.retain,
        packet_id: publish.packet_id,
        topic_alias: publish.properties.topic_alias,
        message_expiry_interval: publish.properties.message_expiry_interval,
        properties: publish.properties.forwardable.resolve(&mut scratch),
        subscription_identifiers: &identifiers,
    };
    encode_publish_head(out, version, &outgoing);
    out.extend_from_slice(publish.payload);
    assert_eq!(out.len(), publish_wire_len(version, &outgoing));
}

fn same_publish(a: &Publish<'_>, b: &Publish<'_>) -> bool {
    let flags = |p: &Publish<'_>| (p.dup, p.qos, p.retain, p.packet_id);
    let (pa, pb) = (&a.properties, &b.properties);
    flags(a) == flags(b)
        && (a.topic, a.payload) == (b.topic, b.payload)
        && pa.topic_alias == pb.topic_alias
        && pa.message_expiry_interval == pb.message_expiry_interval
        && pa.payload_format_indicator == pb.payload_format_indicator
        && pa.content_type == pb.content_type
        && pa.response_topic == pb.response_topic
        && pa.correlation_data == pb.correlation_data
        && pa.forwardable == pb.forwardable
        && pa
            .subscription_identifiers()
            .eq(pb.subscription_identifiers())
}

fn check_server(frame: &Frame<'_>, version: Version) {
    let Ok(packet) = decode_server(frame, version) else {
        return;
    };
    let mut out = Vec::new();
    match &packet {
        ServerPacket::ConnAck(ack) => {
            encode_connack(
                &mut out,
                version,
                ack.session_present,
                ack.reason,
                &ack.properties,
            );
        }
        ServerPacket::Publish(publish) => put_publish(&mut out, version, publish),
        ServerPacket::PubAck(ack) => encode_puback(&mut out, version, ack.packet_id, ack.reason),
        ServerPacket::PubRec(ack) => encode_pubrec(&mut out, version, ack.packet_id, ack.reason),
        ServerPacket::PubRel(ack) => encode_pubrel(&mut out, version, ack.packet_id, ack.reason),
        ServerPacket::PubComp(ack) => encode_pubcomp(&mut out, version, ack.packet_id, ack.reason),
        ServerPacket::SubAck(ack) => encode_suback(&mut out, version, ack.packet_id, ack.reasons),
        ServerPacket::UnsubAck(ack) => {
            encode_unsuback(&mut out, version, ack.packet_id, ack.reasons);
        }
        ServerPacket::PingResp => encode_pingresp(&mut out),
        ServerPacket::Disconnect(disconnect) => {
            super::encode_disconnect::put_disconnect(&mut out, disconnect);
        }
        ServerPacket::Auth(auth) => encode_auth(&mut out, auth),
    }
    let again = decode_server(&reframe(&out), version);
    let same = match (&again, &packet) {
        (Ok(ServerPacket::Publish(a)), ServerPacket::Publish(b)) => same_publish(a, b),
        // 3.1 reserves the byte with the flag: it is read there and never written.
        (Ok(ServerPacket::ConnAck(a)), ServerPacket::ConnAck(b)) if version == Version::V31 => {
            a.reason == b.reason
        }
        (Ok(ServerPacket::SubAck(a)), ServerPacket::SubAck(b))
        | (Ok(ServerPacket::UnsubAck(a)), ServerPacket::UnsubAck(b)) => {
            (a.packet_id, a.reasons) == (b.packet_id, b.reasons)
        }
        (Ok(a), b) => a == b,
        (Err(_), _) => false,
    };
    assert!(same, "{packet:?} came back as {again:?}");
}
