//! What a server sends: for bridges, which are clients of another broker, and for simulated
//! clients.

use super::decode_ack::{Ack, REASON_PROPERTIES, decode_ack, decode_reason};
use super::decode_auth::{self, Auth, decode_auth};
use super::decode_disconnect::{self, Disconnect, decode_disconnect};
use super::decode_publish::{Publish, Sender, decode_publish_from};
use super::encode_connack::ConnAckProperties;
use super::error::DecodeError;
use super::frame::{Frame, PacketType};
use super::packet::{check_empty, check_frame};
use super::property::{Property, PropertyCursor, PropertyId, PropertySet, UserProperties};
use super::qos::QoS;
use super::reader::Reader;
use super::reason::{
    CONNACK_REASONS, PUBLISH_ANSWER_REASONS, RELEASE_REASONS, ReasonCode, ReasonSet,
    SERVER_DISCONNECT_REASONS, SUBACK_FAILURE_V311, SUBACK_REASONS, UNSUBACK_REASONS,
};
use super::version::Version;

/// A packet of a server, valid in its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the specification")]
pub enum ServerPacket<'a> {
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    SubAck(SubAck<'a>),
    UnsubAck(SubAck<'a>),
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// The answer to a CONNECT (section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the server kept the session.
    pub session_present: bool,
    /// In 3.x made from the return code.
    pub reason: ReasonCode,
    /// The properties of 5.0.
    pub properties: ConnAckProperties<'a>,
}

/// The answer to a SUBSCRIBE or an UNSUBSCRIBE (sections 3.9 and 3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// One valid reason code (3.x: return code) a filter; empty in an UNSUBACK of 3.x.
    pub reasons: &'a [u8],
    /// For people.
    pub reason_string: Option<&'a str>,
    /// In the order they came.
    pub user_properties: UserProperties<'a>,
}

/// Reads a packet that a server sent.
///
/// # Errors
/// The packet is malformed, is one that only clients send, or is a DISCONNECT in 3.x.
pub fn decode_server<'a>(
    frame: &Frame<'a>,
    version: Version,
) -> Result<ServerPacket<'a>, DecodeError> {
    check_frame(frame, version)?;
    let body = frame.body;
    match frame.packet_type {
        PacketType::ConnAck => decode_connack(body, version).map(ServerPacket::ConnAck),
        PacketType::Publish => {
            decode_publish_from(frame, version, Sender::Server).map(ServerPacket::Publish)
        }
        PacketType::PubAck => {
            decode_ack(body, version, PUBLISH_ANSWER_REASONS).map(ServerPacket::PubAck)
        }
        PacketType::PubRec => {
            decode_ack(body, version, PUBLISH_ANSWER_REASONS).map(ServerPacket::PubRec)
        }
        PacketType::PubRel => decode_ack(body, version, RELEASE_REASONS).map(ServerPacket::PubRel),
        PacketType::PubComp => {
            decode_ack(body, version, RELEASE_REASONS).map(ServerPacket::PubComp)
        }
        PacketType::SubAck => decode_suback(body, version).map(ServerPacket::SubAck),
        PacketType::UnsubAck => decode_unsuback(body, version).map(ServerPacket::UnsubAck),
        PacketType::PingResp => check_empty(body).map(|()| ServerPacket::PingResp),
        PacketType::Disconnect if version.is_v5() => {
            let allowed = decode_disconnect::FROM_SERVER;
            decode_disconnect(body, version, SERVER_DISCONNECT_REASONS, allowed)
                .map(ServerPacket::Disconnect)
        }
        PacketType::Auth => decode_auth(body, decode_auth::FROM_SERVER).map(ServerPacket::Auth),
        PacketType::Connect
        | PacketType::Subscribe
        | PacketType::Unsubscribe
        | PacketType::PingReq
        | PacketType::Disconnect => Err(DecodeError::protocol(
            "2.1.2 packet that only a client sends",
        )),
    }
}

const CONNACK_ALLOWED: PropertySet = PropertySet::of(&[
    PropertyId::SessionExpiryInterval,
    PropertyId::ReceiveMaximum,
    PropertyId::MaximumQos,
    PropertyId::RetainAvailable,
    PropertyId::MaximumPacketSize,
    PropertyId::AssignedClientIdentifier,
    PropertyId::TopicAliasMaximum,
    PropertyId::ReasonString,
    PropertyId::UserProperty,
    PropertyId::WildcardSubscriptionAvailable,
    PropertyId::SubscriptionIdentifierAvailable,
    PropertyId::SharedSubscriptionAvailable,
    PropertyId::ServerKeepAlive,
    PropertyId::ResponseInformation,
    PropertyId::ServerReference,
    PropertyId::AuthenticationMethod,
    PropertyId::AuthenticationData,
]);

fn decode_connack(body: &[u8], version: Version) -> Result<ConnAck<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let flags = reader.u8()?;
    if flags > 1 {
        return Err(DecodeError::malformed(
            "MQTT-3.2.2-1 reserved bits of the acknowledge flags",
        ));
    }
    let session_present = flags == 1;
    let mut properties = ConnAckProperties::default();
    let reason = if version.is_v5() {
        let reason = decode_reason(&mut reader, CONNACK_REASONS)?;
        properties = connack_properties(reader.property_block()?)?;
        reason
    } else {
        ReasonCode::from_connack_return_code(reader.u8()?).ok_or(DecodeError::malformed(
            "3.1.1: 3.2.2.3 reserved return code",
        ))?
    };
    if session_present && reason.is_error() {
        return Err(DecodeError::protocol(
            "MQTT-3.2.2-6 session present with a failure",
        ));
    }
    reader.finish()?;
    Ok(ConnAck {
        session_present,
        reason,
        properties,
    })
}

fn connack_properties(block: &[u8]) -> Result<ConnAckProperties<'_>, DecodeError> {
    let mut to = ConnAckProperties::default();
    let mut cursor = PropertyCursor::new(block, CONNACK_ALLOWED);
    while let Some((_, property)) = cursor.next()? {
        match property {
            Property::SessionExpiryInterval(value) => to.session_expiry_interval = Some(value),
            Property::ReceiveMaximum(value) => to.receive_maximum = Some(value),
            Property::MaximumQos(value) => to.maximum_qos = QoS::from_u8(value),
            Property::RetainAvailable(value) => to.retain_available = Some(value),
            Property::MaximumPacketSize(value) => to.maximum_packet_size = Some(value),
            Property::AssignedClientIdentifier(value) => {
                to.assigned_client_identifier = Some(value);
            }
            Property::TopicAliasMaximum(value) => to.topic_alias_maximum = Some(value),
            Property::ReasonString(value) => to.reason_string = Some(value),
            Property::UserProperty(..) => to.user_properties = UserProperties::new(block),
            Property::WildcardSubscriptionAvailable(value) => {
                to.wildcard_subscription_available = Some(value);
            }
            Property::SubscriptionIdentifierAvailable(value) => {
                to.subscription_identifier_available = Some(value);
            }
            Property::SharedSubscriptionAvailable(value) => {
                to.shared_subscription_available = Some(value);
            }
            Property::ServerKeepAlive(value) => to.server_keep_alive = Some(value),
            Property::ResponseInformation(value) => to.response_information = Some(value),
            Property::ServerReference(value) => to.server_reference = Some(value),
            Property::AuthenticationMethod(value) => to.authentication_method = Some(value),
            Property::AuthenticationData(value) => to.authentication_data = Some(value),
            _ => {}
        }
    }
    Ok(to)
}

fn decode_suback(body: &[u8], version: Version) -> Result<SubAck<'_>, DecodeError> {
    let suback = read_suback(body, version)?;
    if version.is_v5() {
        check_reasons(suback.reasons, SUBACK_REASONS)?;
    } else if suback
        .reasons
        .iter()
        .any(|&code| code > 2 && code != SUBACK_FAILURE_V311)
    {
        return Err(DecodeError::malformed(
            "3.1.1: MQTT-3.9.3-2 reserved return code",
        ));
    }
    if suback.reasons.is_empty() {
        return Err(DecodeError::protocol(
            "MQTT-3.8.4-6 SUBACK without a reason code",
        ));
    }
    Ok(suback)
}

fn decode_unsuback(body: &[u8], version: Version) -> Result<SubAck<'_>, DecodeError> {
    let unsuback = read_suback(body, version)?;
    if version.is_v5() {
        check_reasons(unsuback.reasons, UNSUBACK_REASONS)?;
        if unsuback.reasons.is_empty() {
            return Err(DecodeError::protocol(
                "MQTT-3.11.3-1 UNSUBACK without a reason code",
            ));
        }
    } else if !unsuback.reasons.is_empty() {
        return Err(DecodeError::malformed(
            "3.1.1: 3.11.3 UNSUBACK with a payload",
        ));
    }
    Ok(unsuback)
}

fn read_suback(body: &[u8], version: Version) -> Result<SubAck<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut reason_string = None;
    let mut user_properties = UserProperties::default();
    if version.is_v5() {
        let block = reader.property_block()?;
        let mut cursor = PropertyCursor::new(block, REASON_PROPERTIES);
        while let Some((_, property)) = cursor.next()? {
            match property {
                Property::ReasonString(value) => reason_string = Some(value),
                _ => user_properties = UserProperties::new(block),
            }
        }
    }
    Ok(SubAck {
        packet_id,
        reasons: reader.rest(),
        reason_string,
        user_properties,
    })
}

fn check_reasons(reasons: &[u8], allowed: ReasonSet) -> Result<(), DecodeError> {
    let mut reader = Reader::new(reasons);
    while !reader.is_empty() {
        decode_reason(&mut reader, allowed)?;
    }
    Ok(())
}
