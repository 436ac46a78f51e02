//! CONNACK (section 3.2).

use super::frame::PacketType;
use super::property::{PropertyId, UserProperties};
use super::qos::QoS;
use super::reason::ReasonCode;
use super::version::Version;
use super::writer::{PropertyWriter, put_packet, put_properties};

/// The properties of a CONNACK (section 3.2.2.3); absent ones have their default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnAckProperties<'a> {
    /// In seconds, if it is not what the client asked for.
    pub session_expiry_interval: Option<u32>,
    /// QoS 1 and 2 messages the server takes before it has acknowledged one; never 0; 65,535 if
    /// absent.
    pub receive_maximum: Option<u16>,
    /// The greatest QoS the server takes: 0 or 1; absent for 2.
    pub maximum_qos: Option<QoS>,
    /// Whether there are retained messages; yes if absent.
    pub retain_available: Option<bool>,
    /// In bytes, never 0; without a limit if absent.
    pub maximum_packet_size: Option<u32>,
    /// The identifier given to a client that came with an empty one.
    pub assigned_client_identifier: Option<&'a str>,
    /// Aliases the server takes; 0 if absent.
    pub topic_alias_maximum: Option<u16>,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// In order.
    pub user_properties: UserProperties<'a>,
    /// Yes if absent.
    pub wildcard_subscription_available: Option<bool>,
    /// Yes if absent.
    pub subscription_identifier_available: Option<bool>,
    /// Yes if absent.
    pub shared_subscription_available: Option<bool>,
    /// In seconds; replaces the one of the CONNECT.
    pub server_keep_alive: Option<u16>,
    /// The basis for response topics.
    pub response_information: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// The one of the CONNECT.
    pub authentication_method: Option<&'a str>,
    /// Defined by the method.
    pub authentication_data: Option<&'a [u8]>,
}

/// Appends a CONNACK. In 3.x the reason becomes a return code and the properties are left out;
/// 3.1 has no session present flag either.
pub fn encode_connack(
    out: &mut Vec<u8>,
    version: Version,
    session_present: bool,
    reason: ReasonCode,
    properties: &ConnAckProperties<'_>,
) {
    put_packet(out, PacketType::ConnAck, |out| {
        // A failure never comes with a session [MQTT-3.2.2-6].
        let flag = session_present && !reason.is_error() && version != Version::V31;
        out.push(u8::from(flag));
        if version.is_v5() {
            out.push(reason.as_u8());
            put_properties(out, |writer| write(writer, properties));
        } else {
            out.push(reason.connack_return_code());
        }
    });
}

fn write(writer: &mut PropertyWriter<'_>, properties: &ConnAckProperties<'_>) {
    use PropertyId as Id;
    let maximum_qos = properties.maximum_qos.filter(|&qos| qos < QoS::ExactlyOnce);
    writer.u32(
        Id::SessionExpiryInterval,
        properties.session_expiry_interval,
    );
    writer.u16(Id::ReceiveMaximum, properties.receive_maximum);
    writer.byte(Id::MaximumQos, maximum_qos.map(QoS::as_u8));
    writer.flag(Id::RetainAvailable, properties.retain_available);
    writer.u32(Id::MaximumPacketSize, properties.maximum_packet_size);
    writer.string(
        Id::AssignedClientIdentifier,
        properties.assigned_client_identifier,
    );
    writer.u16(Id::TopicAliasMaximum, properties.topic_alias_maximum);
    writer.string(Id::ReasonString, properties.reason_string);
    writer.user_properties(properties.user_properties);
    writer.flag(
        Id::WildcardSubscriptionAvailable,
        properties.wildcard_subscription_available,
    );
    writer.flag(
        Id::SubscriptionIdentifierAvailable,
        properties.subscription_identifier_available,
    );
    writer.flag(
        Id::SharedSubscriptionAvailable,
        properties.shared_subscription_available,
    );
    writer.u16(Id::ServerKeepAlive, properties.server_keep_alive);
    writer.string(Id::ResponseInformation, properties.response_information);
    writer.string(Id::ServerReference, properties.server_reference);
    writer.string(Id::AuthenticationMethod, properties.authentication_method);
    writer.binary(Id::AuthenticationData, properties.authentication_data);
}
