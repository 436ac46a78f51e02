//! The properties of MQTT 5.0 (section 2.2.2.2).

use super::decode::{Malformed, Reader, malformed};
use super::encode::{put_bytes, put_u16, put_varint};

/// The properties of one packet, in their order on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<Property>);

impl Properties {
    /// The first property that `pick` accepts.
    pub fn find<'a, T>(&'a self, pick: impl Fn(&'a Property) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(pick)
    }
}

/// One property; each variant is named as the specification names it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names say all there is to say.
pub enum Property {
    PayloadFormatIndicator(u8),
    MessageExpiryInterval(u32),
    ContentType(String),
    ResponseTopic(String),
    CorrelationData(Vec<u8>),
    SubscriptionIdentifier(u32),
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(String),
    ServerKeepAlive(u16),
    AuthenticationMethod(String),
    AuthenticationData(Vec<u8>),
    RequestProblemInformation(u8),
    WillDelayInterval(u32),
    RequestResponseInformation(u8),
    ResponseInformation(String),
    ServerReference(String),
    ReasonString(String),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQos(u8),
    RetainAvailable(u8),
    UserProperty(String, String),
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(u8),
    SubscriptionIdentifierAvailable(u8),
    SharedSubscriptionAvailable(u8),
}

/// Where a property may stand; a bit each, so that a property's places are one number.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Connect = 1,
    ConnAck = 1 << 1,
    Publish = 1 << 2,
    Acks = 1 << 3,
    Subscribe = 1 << 4,
    SubAcks = 1 << 5,
    Unsubscribe = 1 << 6,
    Disconnect = 1 << 7,
    Auth = 1 << 8,
    Will = 1 << 9,
}

const PUBLISH_OR_WILL: u16 = Place::Publish as u16 | Place::Will as u16;
const CONNECT_OR_CONNACK: u16 = Place::Connect as u16 | Place::ConnAck as u16;

impl Property {
    /// The identifier on the wire.
    #[must_use]
    pub fn id(&self) -> u8 {
        match self {
            Self::PayloadFormatIndicator(_) => 0x01,
            Self::MessageExpiryInterval(_) => 0x02,
            Self::ContentType(_) => 0x03,
            Self::ResponseTopic(_) => 0x08,
            Self::CorrelationData(_) => 0x09,
            Self::SubscriptionIdentifier(_) => 0x0B,
            Self::SessionExpiryInterval(_) => 0x11,
            Self::AssignedClientIdentifier(_) => 0x12,
            Self::ServerKeepAlive(_) => 0x13,
            Self::AuthenticationMethod(_) => 0x15,
            Self::AuthenticationData(_) => 0x16,
            Self::RequestProblemInformation(_) => 0x17,
            Self::WillDelayInterval(_) => 0x18,
            Self::RequestResponseInformation(_) => 0x19,
            Self::ResponseInformation(_) => 0x1A,
            Self::ServerReference(_) => 0x1C,
            Self::ReasonString(_) => 0x1F,
            Self::ReceiveMaximum(_) => 0x21,
            Self::TopicAliasMaximum(_) => 0x22,
            Self::TopicAlias(_) => 0x23,
            Self::MaximumQos(_) => 0x24,
            Self::RetainAvailable(_) => 0x25,
            Self::UserProperty(..) => 0x26,
            Self::MaximumPacketSize(_) => 0x27,
            Self::WildcardSubscriptionAvailable(_) => 0x28,
            Self::SubscriptionIdentifierAvailable(_) => 0x29,
            Self::SharedSubscriptionAvailable(_) => 0x2A,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.id());
        match self {
            Self::PayloadFormatIndicator(v)
            | Self::RequestProblemInformation(v)
            | Self::RequestResponseInformation(v)
            | Self::MaximumQos(v)
            | Self::RetainAvailable(v)
            | Self::WildcardSubscriptionAvailable(v)
            | Self::SubscriptionIdentifierAvailable(v)
            | Self::SharedSubscriptionAvailable(v) => out.push(*v),
            Self::ServerKeepAlive(v)
            | Self::ReceiveMaximum(v)
            | Self::TopicAliasMaximum(v)
            | Self::TopicAlias(v) => put_u16(out, *v),
            Self::MessageExpiryInterval(v)
            | Self::SessionExpiryInterval(v)
            | Self::WillDelayInterval(v)
            | Self::MaximumPacketSize(v) => out.extend_from_slice(&v.to_be_bytes()),
            Self::SubscriptionIdentifier(v) => put_varint(out, *v as usize),
            Self::ContentType(v)
            | Self::ResponseTopic(v)
            | Self::AssignedClientIdentifier(v)
            | Self::AuthenticationMethod(v)
            | Self::ResponseInformation(v)
            | Self::ServerReference(v)
            | Self::ReasonString(v) => put_bytes(out, v.as_bytes()),
            Self::CorrelationData(v) | Self::AuthenticationData(v) => put_bytes(out, v),
            Self::UserProperty(name, value) => {
                put_bytes(out, name.as_bytes());
                put_bytes(out, value.as_bytes());
            }
        }
    }

    /// The packets it may stand in (table 2-4 of the specification).
    fn places(&self) -> u16 {
        match self {
            Self::PayloadFormatIndicator(_)
            | Self::MessageExpiryInterval(_)
            | Self::ContentType(_)
            | Self::ResponseTopic(_)
            | Self::CorrelationData(_) => PUBLISH_OR_WILL,
            Self::SubscriptionIdentifier(_) => Place::Publish as u16 | Place::Subscribe as u16,
            Self::SessionExpiryInterval(_) => CONNECT_OR_CONNACK | Place::Disconnect as u16,
            Self::AssignedClientIdentifier(_)
            | Self::ServerKeepAlive(_)
            | Self::ResponseInformation(_)
            | Self::MaximumQos(_)
            | Self::RetainAvailable(_)
            | Self::WildcardSubscriptionAvailable(_)
            | Self::SubscriptionIdentifierAvailable(_)
            | Self::SharedSubscriptionAvailable(_) => Place::ConnAck as u16,
            Self::AuthenticationMethod(_) | Self::AuthenticationData(_) => {
                CONNECT_OR_CONNACK | Place::Auth as u16
            }
            Self::RequestProblemInformation(_) | Self::RequestResponseInformation(_) => {
                Place::Connect as u16
            }
            Self::WillDelayInterval(_) => Place::Will as u16,
            Self::ServerReference(_) => Place::ConnAck as u16 | Place::Disconnect as u16,
            Self::ReasonString(_) => {
                Place::ConnAck as u16
                    | Place::Acks as u16
                    | Place::SubAcks as u16
                    | Place::Disconnect as u16
                    | Place::Auth as u16
            }
            Self::ReceiveMaximum(_) | Self::TopicAliasMaximum(_) | Self::MaximumPacketSize(_) => {
                CONNECT_OR_CONNACK
            }
            Self::TopicAlias(_) => Place::Publish as u16,
            Self::UserProperty(..) => u16::MAX,
        }
    }

    /// Whether the value is one the specification allows.
    fn value_is_allowed(&self) -> bool {
        match self {
            Self::PayloadFormatIndicator(v)
            | Self::RequestProblemInformation(v)
            | Self::RequestResponseInformation(v)
            | Self::MaximumQos(v)
            | Self::RetainAvailable(v)
            | Self::WildcardSubscriptionAvailable(v)
            | Self::SubscriptionIdentifierAvailable(v)
            | Self::SharedSubscriptionAvailable(v) => *v <= 1,
            Self::ReceiveMaximum(v) | Self::TopicAlias(v) => *v != 0,
            Self::SubscriptionIdentifier(v) | Self::MaximumPacketSize(v) => *v != 0,
            Self::ResponseTopic(v) => !v.is_empty() && !v.contains(['+', '#']),
            _ => true,
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let id = reader.varint("property identifier")?;
        Ok(match id {
            0x01 => Self::PayloadFormatIndicator(reader.u8("payload format indicator")?),
            0x02 => Self::MessageExpiryInterval(reader.u32("message expiry interval")?),
            0x03 => Self::ContentType(reader.string("content type")?),
            0x08 => Self::ResponseTopic(reader.string("response topic")?),
            0x09 => Self::CorrelationData(reader.binary("correlation data")?),
            0x0B => Self::SubscriptionIdentifier(reader.varint("subscription identifier")?),
            0x11 => Self::SessionExpiryInterval(reader.u32("session expiry interval")?),
            0x12 => Self::AssignedClientIdentifier(reader.string("assigned client identifier")?),
            0x13 => Self::ServerKeepAlive(reader.u16("server keep alive")?),
            0x15 => Self::AuthenticationMethod(reader.string("authentication method")?),
            0x16 => Self::AuthenticationData(reader.binary("authentication data")?),
            0x17 => Self::RequestProblemInformation(reader.u8("request problem information")?),
            0x18 => Self::WillDelayInterval(reader.u32("will delay interval")?),
            0x19 => Self::RequestResponseInformation(reader.u8("request response information")?),
            0x1A => Self::ResponseInformation(reader.string("response information")?),
            0x1C => Self::ServerReference(reader.string("server reference")?),
            0x1F => Self::ReasonString(reader.string("reason string")?),
            0x21 => Self::ReceiveMaximum(reader.u16("receive maximum")?),
            0x22 => Self::TopicAliasMaximum(reader.u16("topic alias maximum")?),
            0x23 => Self::TopicAlias(reader.u16("topic alias")?),
            0x24 => Self::MaximumQos(reader.u8("maximum qos")?),
            0x25 => Self::RetainAvailable(reader.u8("retain available")?),
            0x26 => Self::UserProperty(
                reader.string("user property name")?,
                reader.string("user property value")?,
            ),
            0x27 => Self::MaximumPacketSize(reader.u32("maximum packet size")?),
            0x28 => Self::WildcardSubscriptionAvailable(reader.u8("wildcard available")?),
            0x29 => Self::SubscriptionIdentifierAvailable(reader.u8("identifiers available")?),
            0x2A => Self::SharedSubscriptionAvailable(reader.u8("shared available")?),
            _ => return malformed("2.2.2.2", "unknown property identifier"),
        })
    }
}

/// Reads a property length and the properties, and holds them to what `place` allows.
pub(super) fn decode_properties(
    reader: &mut Reader<'_>,
    place: Place,
) -> Result<Properties, Malformed> {
    let length = reader.varint("property length")?;
    let mut inner = reader.sub_reader(length as usize, "properties")?;
    let mut properties: Vec<Property> = Vec::new();
    while !inner.is_empty() {
        let property = Property::decode(&mut inner)?;
        if property.places() & place as u16 == 0 {
            return malformed("2.2.2.2", "property not allowed in this packet");
        }
        if !property.value_is_allowed() {
            return malformed("2.2.2.2", "property value out of range");
        }
        let may_repeat = matches!(property, Property::UserProperty(..))
            || (matches!(property, Property::SubscriptionIdentifier(_))
                && matches!(place, Place::Publish));
        if !may_repeat && properties.iter().any(|p| p.id() == property.id()) {
            return malformed("2.2.2.2", "property occurs twice");
        }
        properties.push(property);
    }
    let has = |id: u8| properties.iter().any(|p| p.id() == id);
    if has(0x16) && !has(0x15) {
        return malformed("3.1.2.11.10", "authentication data without a method");
    }
    Ok(Properties(properties))
}
