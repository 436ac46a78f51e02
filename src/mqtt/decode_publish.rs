//! PUBLISH (section 3.3): the packet everything else is there for.

use super::error::DecodeError;
use super::frame::Frame;
use super::property::{
    Forwardable, ForwardableSpan, Property, PropertyCursor, PropertyId, PropertySet, properties,
};
use super::qos::QoS;
use super::reader::Reader;
use super::reason::ReasonCode;
use super::version::Version;

/// An application message as a peer sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether it was sent before; never with QoS 0.
    pub dup: bool,
    /// The level of this hop.
    pub qos: QoS,
    /// Whether to retain it (from a client), whether it was retained (from a server).
    pub retain: bool,
    /// A valid topic name, or empty if `properties.topic_alias` stands for it.
    pub topic: &'a str,
    /// 0 exactly if the QoS is 0.
    pub packet_id: u16,
    /// The application message.
    pub payload: &'a [u8],
    /// The properties of 5.0.
    pub properties: PublishProperties<'a>,
}

/// The properties of a PUBLISH (section 3.3.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublishProperties<'a> {
    /// The whole block, without its length.
    pub raw: &'a [u8],
    /// Never 0.
    pub topic_alias: Option<u16>,
    /// In seconds.
    pub message_expiry_interval: Option<u32>,
    /// Whether the payload is UTF-8.
    pub payload_format_indicator: Option<bool>,
    /// What the payload is.
    pub content_type: Option<&'a str>,
    /// A valid topic name.
    pub response_topic: Option<&'a str>,
    /// For the requester to recognise the answer.
    pub correlation_data: Option<&'a [u8]>,
    /// What goes on to subscribers.
    pub forwardable: Forwardable<'a>,
}

impl<'a> PublishProperties<'a> {
    /// The identifiers of the subscriptions that matched; only a server sends them.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        properties(self.raw).filter_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
    }
}

impl Publish<'_> {
    /// Checks a payload that is said to be UTF-8; a server may do so (section 3.3.2.3.2).
    ///
    /// # Errors
    /// 0x99 if it is not.
    pub fn check_payload_format(&self) -> Result<(), DecodeError> {
        let is_text = self.properties.payload_format_indicator == Some(true);
        if is_text && std::str::from_utf8(self.payload).is_err() {
            return Err(DecodeError::new(
                ReasonCode::PayloadFormatInvalid,
                "3.3.2.3.2 payload is not UTF-8",
            ));
        }
        Ok(())
    }
}

/// Who sent a PUBLISH: only a server may name subscriptions in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

const ALLOWED: PropertySet = PropertySet::of(&[
    PropertyId::PayloadFormatIndicator,
    PropertyId::MessageExpiryInterval,
    PropertyId::TopicAlias,
    PropertyId::ResponseTopic,
    PropertyId::CorrelationData,
    PropertyId::UserProperty,
    PropertyId::SubscriptionIdentifier,
    PropertyId::ContentType,
]);

/// Reads a PUBLISH that a client sent.
///
/// # Errors
/// 0x81 malformed, 0x82 for what a client must not send, 0x90 for a bad topic name, 0x94 for
/// topic alias 0.
#[inline]
pub fn decode_publish<'a>(frame: &Frame<'a>, version: Version) -> Result<Publish<'a>, DecodeError> {
    decode_publish_from(frame, version, Sender::Client)
}

#[inline]
pub(super) fn decode_publish_from<'a>(
    frame: &Frame<'a>,
    version: Version,
    sender: Sender,
) -> Result<Publish<'a>, DecodeError> {
    let qos = QoS::from_u8(frame.flags >> 1 & 0b11)
        .ok_or(DecodeError::malformed("MQTT-3.3.1-4 QoS 3"))?;
    let dup = frame.flags & DUP != 0;
    let mut reader = Reader::new(frame.body);
    let topic = reader.topic_name()?;
    let packet_id = if qos == QoS::AtMostOnce {
        if dup {
            return Err(DecodeError::malformed("MQTT-3.3.1-2 DUP with QoS 0"));
        }
        0
    } else {
        reader.packet_id()?
    };
    let properties = if version.is_v5() {
        read_properties(&mut reader, sender)?
    } else {
        PublishProperties::default()
    };
    if topic.is_empty() && properties.topic_alias.is_none() {
        return Err(explain_empty_topic(version));
    }
    Ok(Publish {
        dup,
        qos,
        retain: frame.flags & RETAIN != 0,
        topic,
        packet_id,
        payload: reader.rest(),
        properties,
    })
}

#[cold]
fn explain_empty_topic(version: Version) -> DecodeError {
    if version.is_v5() {
        return DecodeError::protocol("3.3.2.1 empty topic name without a topic alias");
    }
    DecodeError::new(
        ReasonCode::TopicNameInvalid,
        "MQTT-4.7.3-1 empty topic name",
    )
}

#[inline]
fn read_properties<'a>(
    reader: &mut Reader<'a>,
    sender: Sender,
) -> Result<PublishProperties<'a>, DecodeError> {
    let raw = reader.property_block()?;
    if raw.is_empty() {
        return Ok(PublishProperties::default());
    }
    read_some_properties(raw, sender)
}

fn read_some_properties(raw: &[u8], sender: Sender) -> Result<PublishProperties<'_>, DecodeError> {
    let mut properties = PublishProperties {
        raw,
        ..PublishProperties::default()
    };
    let mut span = ForwardableSpan::new(raw);
    let mut cursor =
        PropertyCursor::new(raw, ALLOWED).repeatable(PropertyId::SubscriptionIdentifier);
    loop {
        let before = cursor.remaining();
        let Some((id, property)) = cursor.next()? else {
            break;
        };
        span.note(id, before, cursor.remaining());
        match property {
            Property::TopicAlias(value) => properties.topic_alias = Some(value),
            Property::MessageExpiryInterval(value) => {
                properties.message_expiry_interval = Some(value);
            }
            Property::PayloadFormatIndicator(value) => {
                properties.payload_format_indicator = Some(value);
            }
            Property::ContentType(value) => properties.content_type = Some(value),
            Property::ResponseTopic(value) => properties.response_topic = Some(value),
            Property::CorrelationData(value) => properties.correlation_data = Some(value),
            Property::SubscriptionIdentifier(_) if sender == Sender::Client => {
                return Err(DecodeError::protocol(
                    "MQTT-3.3.4-6 subscription identifier from a client",
                ));
            }
            _ => {}
        }
    }
    properties.forwardable = span.finish();
    Ok(properties)
}
