//! What a client sends: for bridges, which are clients of another broker, and for simulated
//! clients.
//!
//! PUBLISH is encoded by [`super::encode_publish::encode_publish_head`], acknowledgements by
//! [`super::encode_ack`], AUTH by [`super::encode_disconnect::encode_auth`]: they are the same
//! from both sides. All functions panic on strings longer than 65,535 bytes.

use super::decode_connect::{Connect, ConnectProperties, Will, WillProperties};
use super::decode_disconnect::Disconnect;
use super::decode_subscribe::SubscribeEntry;
use super::encode_disconnect::put_disconnect;
use super::encode_publish::{OutgoingPublish, encode_publish_head};
use super::frame::PacketType;
use super::property::PropertyId;
use super::version::Version;
use super::writer::{put_binary, put_packet, put_properties, put_string, put_u16};

/// Appends a CONNECT; properties that have their default are left out.
pub fn encode_connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let version = connect.version;
    put_packet(out, PacketType::Connect, |out| {
        put_string(out, version.protocol_name());
        out.push(version.level() | if connect.bridge { 0x80 } else { 0 });
        out.push(connect_flags(connect));
        put_u16(out, connect.keep_alive);
        if version.is_v5() {
            put_connect_properties(out, &connect.properties);
        }
        put_string(out, connect.client_id);
        if let Some(will) = &connect.will {
            put_will(out, version, will);
        }
        if let Some(username) = connect.username {
            put_string(out, username);
        }
        if let Some(password) = connect.password {
            put_binary(out, password);
        }
    });
}

fn connect_flags(connect: &Connect<'_>) -> u8 {
    let will = connect.will.map_or(0, |will| {
        0b100 | will.qos.as_u8() << 3 | u8::from(will.retain) << 5
    });
    u8::from(connect.clean_start) << 1
        | will
        | u8::from(connect.password.is_some()) << 6
        | u8::from(connect.username.is_some()) << 7
}

fn put_connect_properties(out: &mut Vec<u8>, properties: &ConnectProperties<'_>) {
    use PropertyId as Id;
    let default = ConnectProperties::default();
    let session_expiry = Some(properties.session_expiry_interval).filter(|&value| value != 0);
    let receive_maximum =
        Some(properties.receive_maximum).filter(|&value| value != default.receive_maximum);
    let topic_alias_maximum = Some(properties.topic_alias_maximum).filter(|&value| value != 0);
    let response_information = properties.request_response_information.then_some(true);
    let problem_information = (!properties.request_problem_information).then_some(false);
    put_properties(out, |writer| {
        writer.u32(Id::SessionExpiryInterval, session_expiry);
        writer.u16(Id::ReceiveMaximum, receive_maximum);
        writer.u32(Id::MaximumPacketSize, properties.maximum_packet_size);
        writer.u16(Id::TopicAliasMaximum, topic_alias_maximum);
        writer.flag(Id::RequestResponseInformation, response_information);
        writer.flag(Id::RequestProblemInformation, problem_information);
        writer.user_properties(properties.user_properties);
        writer.string(Id::AuthenticationMethod, properties.authentication_method);
        writer.binary(Id::AuthenticationData, properties.authentication_data);
    });
}

fn put_will(out: &mut Vec<u8>, version: Version, will: &Will<'_>) {
    if version.is_v5() {
        put_will_properties(out, &will.properties);
    }
    put_string(out, will.topic);
    put_binary(out, will.payload);
}

/// What goes on to subscribers is written from `forwardable`, which holds it all.
fn put_will_properties(out: &mut Vec<u8>, properties: &WillProperties<'_>) {
    let delay = Some(properties.delay_interval).filter(|&value| value != 0);
    put_properties(out, |writer| {
        writer.u32(PropertyId::WillDelayInterval, delay);
        writer.u32(
            PropertyId::MessageExpiryInterval,
            properties.message_expiry_interval,
        );
        writer.raw(|out| properties.forwardable.write_to(out));
    });
}

/// Appends a PUBLISH with its payload; `publish.payload_len` is taken from `payload`.
pub fn encode_publish(
    out: &mut Vec<u8>,
    version: Version,
    publish: &OutgoingPublish<'_>,
    payload: &[u8],
) {
    let publish = OutgoingPublish {
        payload_len: payload.len(),
        ..*publish
    };
    encode_publish_head(out, version, &publish);
    out.extend_from_slice(payload);
}

/// Appends a SUBSCRIBE.
pub fn encode_subscribe(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: u16,
    subscription_identifier: Option<u32>,
    entries: &[SubscribeEntry<'_>],
) {
    put_packet(out, PacketType::Subscribe, |out| {
        put_u16(out, packet_id);
        if version.is_v5() {
            put_properties(out, |writer| {
                writer.varint(PropertyId::SubscriptionIdentifier, subscription_identifier);
            });
        }
        for entry in entries {
            put_string(out, entry.filter);
            out.push(entry.options.to_byte(version));
        }
    });
}

/// Appends an UNSUBSCRIBE.
pub fn encode_unsubscribe(out: &mut Vec<u8>, version: Version, packet_id: u16, filters: &[&str]) {
    put_packet(out, PacketType::Unsubscribe, |out| {
        put_u16(out, packet_id);
        if version.is_v5() {
            put_properties(out, |_| {});
        }
        for filter in filters {
            put_string(out, filter);
        }
    });
}

/// Appends a PINGREQ.
pub fn encode_pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingReq.first_byte(0), 0]);
}

/// Appends a client's DISCONNECT; in 3.x reason and properties are left out.
pub fn encode_client_disconnect(out: &mut Vec<u8>, version: Version, disconnect: &Disconnect<'_>) {
    if version.is_v5() {
        put_disconnect(out, disconnect);
    } else {
        out.extend_from_slice(&[PacketType::Disconnect.first_byte(0), 0]);
    }
}
