//! CONNECT (section 3.1): the packet that decides the version of all that follow.

use std::fmt;

use super::error::DecodeError;
use super::frame::Frame;
use super::property::{
    Forwardable, ForwardableSpan, Property, PropertyCursor, PropertyId, PropertySet, UserProperties,
};
use super::qos::QoS;
use super::reader::Reader;
use super::reason::ReasonCode;
use super::topic::TopicName;
use super::version::Version;

/// A client's first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version it speaks.
    pub version: Version,
    /// Whether it is another broker: the top bit of the protocol level, set by mosquitto's
    /// `try_private` in 3.x.
    pub bridge: bool,
    /// Discard the session there was (in 3.x: and keep none after the connection).
    pub clean_start: bool,
    /// In seconds, 0 for none.
    pub keep_alive: u16,
    /// Empty to be assigned one. 3.1 allows 23 characters at most, but the field holds more.
    pub client_id: &'a str,
    /// What to publish when the connection is lost.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password.
    pub password: Option<&'a [u8]>,
    /// The properties of 5.0, defaults in 3.x.
    pub properties: ConnectProperties<'a>,
}

/// The properties of a CONNECT (section 3.1.2.11); absent ones have their default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectProperties<'a> {
    /// In seconds; 0xFFFF_FFFF never expires.
    pub session_expiry_interval: u32,
    /// QoS 1 and 2 messages the client takes before it has acknowledged one; never 0.
    pub receive_maximum: u16,
    /// In bytes, never 0; `None` without a limit.
    pub maximum_packet_size: Option<u32>,
    /// Aliases the client takes.
    pub topic_alias_maximum: u16,
    /// Whether the CONNACK may hold response information.
    pub request_response_information: bool,
    /// Whether packets other than PUBLISH, CONNACK and DISCONNECT may hold a reason string or
    /// user properties.
    pub request_problem_information: bool,
    /// Starts enhanced authentication.
    pub authentication_method: Option<&'a str>,
    /// Only with a method.
    pub authentication_data: Option<&'a [u8]>,
    /// In the order they came.
    pub user_properties: UserProperties<'a>,
}

impl Default for ConnectProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry_interval: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::default(),
        }
    }
}

/// The message a client leaves for the case that its connection is lost (section 3.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Will<'a> {
    /// A valid topic name.
    pub topic: &'a str,
    /// The application message.
    pub payload: &'a [u8],
    /// The level to publish it with.
    pub qos: QoS,
    /// Whether to retain it.
    pub retain: bool,
    /// The properties of 5.0.
    pub properties: WillProperties<'a>,
}

/// The properties of a will (section 3.1.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WillProperties<'a> {
    /// In seconds.
    pub delay_interval: u32,
    /// Whether the payload is UTF-8.
    pub payload_format_indicator: Option<bool>,
    /// In seconds, from the moment it is published.
    pub message_expiry_interval: Option<u32>,
    /// What the payload is.
    pub content_type: Option<&'a str>,
    /// A valid topic name.
    pub response_topic: Option<&'a str>,
    /// For the requester to recognise the answer.
    pub correlation_data: Option<&'a [u8]>,
    /// In the order they came.
    pub user_properties: UserProperties<'a>,
    /// What goes on to subscribers.
    pub forwardable: Forwardable<'a>,
}

/// Why a CONNECT is refused, and in which form the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectError {
    /// What is wrong; `error.reason` goes into the CONNACK.
    pub error: DecodeError,
    /// Send a CONNACK of this version and close; `None`: close without a CONNACK, because it is
    /// not MQTT [MQTT-3.1.2-1], or because 3.1.1 wants it so for what does not conform
    /// [3.1.1: MQTT-3.1.4-1].
    pub answer: Option<Version>,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for ConnectError {}

const BRIDGE: u8 = 0x80;

const RESERVED_FLAG: u8 = 0x01;
const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USERNAME: u8 = 0x80;

const ALLOWED: PropertySet = PropertySet::of(&[
    PropertyId::SessionExpiryInterval,
    PropertyId::ReceiveMaximum,
    PropertyId::MaximumPacketSize,
    PropertyId::TopicAliasMaximum,
    PropertyId::RequestResponseInformation,
    PropertyId::RequestProblemInformation,
    PropertyId::UserProperty,
    PropertyId::AuthenticationMethod,
    PropertyId::AuthenticationData,
]);

const WILL_ALLOWED: PropertySet = PropertySet::of(&[
    PropertyId::WillDelayInterval,
    PropertyId::PayloadFormatIndicator,
    PropertyId::MessageExpiryInterval,
    PropertyId::ContentType,
    PropertyId::ResponseTopic,
    PropertyId::CorrelationData,
    PropertyId::UserProperty,
]);

/// Reads a CONNECT.
///
/// # Errors
/// See [`ConnectError`].
///
/// # Panics
/// If the frame is not a CONNECT.
pub fn decode_connect<'a>(frame: &Frame<'a>) -> Result<Connect<'a>, ConnectError> {
    assert_eq!(
        frame.packet_type,
        super::frame::PacketType::Connect,
        "the caller looks at the packet type first"
    );
    let mut reader = Reader::new(frame.body);
    let (version, bridge) = protocol(&mut reader)?;
    let connect = if version.is_v5() {
        frame
            .check_minimal_length()
            .and_then(|()| body(reader, version, bridge))
    } else {
        body(reader, version, bridge)
    };
    connect.map_err(|error| {
        // 3.x closes without a word, but for the client identifier [3.1.1: MQTT-3.1.3-8].
        let told = version.is_v5() || error.reason == ReasonCode::ClientIdentifierNotValid;
        ConnectError {
            error,
            answer: told.then_some(version),
        }
    })
}

fn protocol(reader: &mut Reader<'_>) -> Result<(Version, bool), ConnectError> {
    let silent = |error| ConnectError {
        error,
        answer: None,
    };
    let name = reader.string().map_err(silent)?;
    if name != "MQTT" && name != "MQIsdp" {
        return Err(silent(DecodeError::new(
            ReasonCode::UnsupportedProtocolVersion,
            "MQTT-3.1.2-1 unknown protocol name",
        )));
    }
    let level = reader.u8().map_err(silent)?;
    match (name, level) {
        ("MQTT", 5) => Ok((Version::V5, false)),
        ("MQTT", 4) => Ok((Version::V311, false)),
        ("MQIsdp", 3) => Ok((Version::V31, false)),
        ("MQTT", level) if level == BRIDGE | 4 => Ok((Version::V311, true)),
        ("MQIsdp", level) if level == BRIDGE | 3 => Ok((Version::V31, true)),
        _ => {
            // A client of a later version reads the form of 5.0, an earlier one that of 3.x.
            let newer = name == "MQTT" && (6..BRIDGE).contains(&level);
            let answer = if newer { Version::V5 } else { Version::V311 };
            Err(ConnectError {
                error: DecodeError::new(
                    ReasonCode::UnsupportedProtocolVersion,
                    "MQTT-3.1.2-2 unsupported protocol version",
                ),
                answer: Some(answer),
            })
        }
    }
}

fn body<'a>(
    mut reader: Reader<'a>,
    version: Version,
    bridge: bool,
) -> Result<Connect<'a>, DecodeError> {
    let flags = reader.u8()?;
    check_flags(flags, version)?;
    let keep_alive = reader.u16()?;
    let properties = if version.is_v5() {
        connect_properties(reader.property_block()?)?
    } else {
        ConnectProperties::default()
    };
    let client_id = reader.string()?;
    let clean_start = flags & CLEAN_START != 0;
    check_client_id(client_id, clean_start, version)?;
    let will = if flags & WILL != 0 {
        Some(read_will(&mut reader, flags, version)?)
    } else {
        None
    };
    // The remaining length of 3.1 takes precedence over these two flags.
    let may_be_missing = version == Version::V31;
    let username = if flags & USERNAME != 0 && !(may_be_missing && reader.is_empty()) {
        Some(reader.string()?)
    } else {
        None
    };
    let password = if flags & PASSWORD != 0 && !(may_be_missing && reader.is_empty()) {
        Some(reader.binary()?)
    } else {
        None
    };
    reader.finish()?;
    Ok(Connect {
        version,
        bridge,
        clean_start,
        keep_alive,
        client_id,
        will,
        username,
        password,
        properties,
    })
}

fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    if flags & USERNAME == 0 && flags & PASSWORD != 0 && !version.is_v5() {
        return Err(DecodeError::malformed(
            "3.1.1: MQTT-3.1.2-22 password without user name",
        ));
    }
    // 3.1 disregards the reserved bit, and the will's bits without a will.
    if flags & RESERVED_FLAG != 0 && version != Version::V31 {
        return Err(DecodeError::malformed("MQTT-3.1.2-3 reserved connect flag"));
    }
    if flags & WILL == 0 && version != Version::V31 {
        if will_qos(flags) != Some(QoS::AtMostOnce) {
            return Err(DecodeError::malformed(
                "MQTT-3.1.2-11 will QoS without a will",
            ));
        }
        if flags & WILL_RETAIN != 0 {
            return Err(DecodeError::malformed(
                "MQTT-3.1.2-13 will retain without a will",
            ));
        }
    }
    Ok(())
}

const fn will_qos(flags: u8) -> Option<QoS> {
    QoS::from_u8(flags >> 3 & 0b11)
}

fn check_client_id(
    client_id: &str,
    clean_start: bool,
    version: Version,
) -> Result<(), DecodeError> {
    let may_be_empty = match version {
        Version::V31 => false,
        Version::V311 => clean_start,
        Version::V5 => true,
    };
    if client_id.is_empty() && !may_be_empty {
        return Err(DecodeError::new(
            ReasonCode::ClientIdentifierNotValid,
            "3.1.1: MQTT-3.1.3-8 empty client identifier",
        ));
    }
    Ok(())
}

fn connect_properties(block: &[u8]) -> Result<ConnectProperties<'_>, DecodeError> {
    let mut properties = ConnectProperties::default();
    let mut cursor = PropertyCursor::new(block, ALLOWED);
    while let Some((_, property)) = cursor.next()? {
        match property {
            Property::SessionExpiryInterval(value) => properties.session_expiry_interval = value,
            Property::ReceiveMaximum(value) => properties.receive_maximum = value,
            Property::MaximumPacketSize(value) => properties.maximum_packet_size = Some(value),
            Property::TopicAliasMaximum(value) => properties.topic_alias_maximum = value,
            Property::RequestResponseInformation(value) => {
                properties.request_response_information = value;
            }
            Property::RequestProblemInformation(value) => {
                properties.request_problem_information = value;
            }
            Property::AuthenticationMethod(value) => properties.authentication_method = Some(value),
            Property::AuthenticationData(value) => properties.authentication_data = Some(value),
            Property::UserProperty(..) => properties.user_properties = UserProperties::new(block),
            _ => {}
        }
    }
    if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
        return Err(DecodeError::protocol(
            "3.1.2.11.10 authentication data without an authentication method",
        ));
    }
    Ok(properties)
}

fn read_will<'a>(
    reader: &mut Reader<'a>,
    flags: u8,
    version: Version,
) -> Result<Will<'a>, DecodeError> {
    let properties = if version.is_v5() {
        will_properties(reader.property_block()?)?
    } else {
        WillProperties::default()
    };
    let topic = TopicName::new(reader.string()?)?.as_str();
    let payload = reader.binary()?;
    let qos = will_qos(flags).ok_or(DecodeError::malformed("MQTT-3.1.2-12 will QoS 3"))?;
    Ok(Will {
        topic,
        payload,
        qos,
        retain: flags & WILL_RETAIN != 0,
        properties,
    })
}

fn will_properties(block: &[u8]) -> Result<WillProperties<'_>, DecodeError> {
    let mut properties = WillProperties::default();
    let mut span = ForwardableSpan::new(block);
    let mut cursor = PropertyCursor::new(block, WILL_ALLOWED);
    loop {
        let before = cursor.remaining();
        let Some((id, property)) = cursor.next()? else {
            break;
        };
        span.note(id, before, cursor.remaining());
        match property {
            Property::WillDelayInterval(value) => properties.delay_interval = value,
            Property::MessageExpiryInterval(value) => {
                properties.message_expiry_interval = Some(value);
            }
            Property::PayloadFormatIndicator(value) => {
                properties.payload_format_indicator = Some(value);
            }
            Property::ContentType(value) => properties.content_type = Some(value),
            Property::ResponseTopic(value) => properties.response_topic = Some(value),
            Property::CorrelationData(value) => properties.correlation_data = Some(value),
            Property::UserProperty(..) => properties.user_properties = UserProperties::new(block),
            _ => {}
        }
    }
    properties.forwardable = span.finish();
    Ok(properties)
}
