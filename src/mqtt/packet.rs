//! What a client sends once it is connected.

use super::decode_ack::{Ack, decode_ack};
use super::decode_auth::{self, Auth, decode_auth};
use super::decode_disconnect::{self, Disconnect, decode_disconnect};
use super::decode_publish::{Publish, decode_publish};
use super::decode_subscribe::{Subscribe, Unsubscribe, decode_subscribe, decode_unsubscribe};
use super::error::DecodeError;
use super::frame::{Frame, PacketType};
use super::reason::{CLIENT_DISCONNECT_REASONS, PUBLISH_ANSWER_REASONS, RELEASE_REASONS};
use super::version::Version;

/// A packet of a connected client, valid in its version.
///
/// CONNECT is not among them: the first one is read by
/// [`super::decode_connect::decode_connect`], a second one is a protocol error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the specification")]
pub enum ClientPacket<'a> {
    Publish(Publish<'a>),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    Subscribe(Subscribe<'a>),
    Unsubscribe(Unsubscribe<'a>),
    PingReq,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// Reads a packet that a connected client sent.
///
/// # Errors
/// The packet is malformed, is one that only servers send, or is a second CONNECT
/// [MQTT-3.1.0-2].
#[inline]
pub fn decode<'a>(frame: &Frame<'a>, version: Version) -> Result<ClientPacket<'a>, DecodeError> {
    check_frame(frame, version)?;
    if frame.packet_type == PacketType::Publish {
        return decode_publish(frame, version).map(ClientPacket::Publish);
    }
    decode_other(frame, version)
}

fn decode_other<'a>(frame: &Frame<'a>, version: Version) -> Result<ClientPacket<'a>, DecodeError> {
    let body = frame.body;
    match frame.packet_type {
        PacketType::Publish => decode_publish(frame, version).map(ClientPacket::Publish),
        PacketType::PubAck => {
            decode_ack(body, version, PUBLISH_ANSWER_REASONS).map(ClientPacket::PubAck)
        }
        PacketType::PubRec => {
            decode_ack(body, version, PUBLISH_ANSWER_REASONS).map(ClientPacket::PubRec)
        }
        PacketType::PubRel => decode_ack(body, version, RELEASE_REASONS).map(ClientPacket::PubRel),
        PacketType::PubComp => {
            decode_ack(body, version, RELEASE_REASONS).map(ClientPacket::PubComp)
        }
        PacketType::Subscribe => decode_subscribe(frame, version).map(ClientPacket::Subscribe),
        PacketType::Unsubscribe => {
            decode_unsubscribe(frame, version).map(ClientPacket::Unsubscribe)
        }
        PacketType::PingReq => check_empty(body).map(|()| ClientPacket::PingReq),
        PacketType::Disconnect => {
            let allowed = decode_disconnect::FROM_CLIENT;
            decode_disconnect(body, version, CLIENT_DISCONNECT_REASONS, allowed)
                .map(ClientPacket::Disconnect)
        }
        PacketType::Auth => decode_auth(body, decode_auth::FROM_CLIENT).map(ClientPacket::Auth),
        PacketType::Connect => Err(DecodeError::protocol("MQTT-3.1.0-2 second CONNECT")),
        PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp => {
            Err(DecodeError::protocol(
                "2.1.2 packet that only a server sends",
            ))
        }
    }
}

/// What the fixed header must be in this version and was left open when the frame was cut.
#[inline]
pub(super) fn check_frame(frame: &Frame<'_>, version: Version) -> Result<(), DecodeError> {
    match version {
        Version::V5 => frame.check_minimal_length()?,
        Version::V311 | Version::V31 if frame.packet_type == PacketType::Auth => {
            return Err(DecodeError::malformed(
                "3.1.1: 2.2.1 packet type 15 is reserved",
            ));
        }
        Version::V31 => return Ok(()),
        Version::V311 => {}
    }
    let fixed = frame.packet_type.fixed_flags();
    if frame.packet_type != PacketType::Publish && frame.flags != fixed {
        return Err(DecodeError::malformed(
            "MQTT-2.1.3-1 reserved flags of the fixed header",
        ));
    }
    Ok(())
}

pub(super) fn check_empty(body: &[u8]) -> Result<(), DecodeError> {
    if body.is_empty() {
        return Ok(());
    }
    Err(DecodeError::malformed(
        "2.1.4 bytes in a packet that has none after its header",
    ))
}
