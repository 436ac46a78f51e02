//! PUBLISH (section 3.3) to a subscriber: everything but the payload, so that the payload may
//! stay where it is.

use super::frame::PacketType;
use super::property::PropertyId;
use super::qos::QoS;
use super::varint;
use super::version::Version;
use super::writer::{put_string, put_u16, put_u32};

/// A PUBLISH to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutgoingPublish<'a> {
    /// Empty if the alias alone stands for it.
    pub topic: &'a str,
    /// Bytes of the payload that follows.
    pub payload_len: usize,
    /// The level of this hop.
    pub qos: QoS,
    /// Whether it was sent before; ignored with QoS 0 [MQTT-3.3.1-2].
    pub dup: bool,
    /// The retain flag.
    pub retain: bool,
    /// Not 0 if the QoS is greater than 0, ignored otherwise.
    pub packet_id: u16,
    /// 5.0 only; never 0.
    pub topic_alias: Option<u16>,
    /// In seconds; 5.0 only.
    pub message_expiry_interval: Option<u32>,
    /// Encoded properties to forward (see [`super::property::Forwardable`]); 5.0 only.
    pub properties: &'a [u8],
    /// The subscriptions that matched; 5.0 only; none is 0.
    pub subscription_identifiers: &'a [u32],
}

impl OutgoingPublish<'_> {
    fn properties_len(&self) -> usize {
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let expiry = if self.message_expiry_interval.is_some() {
            5
        } else {
            0
        };
        let identifiers: usize = self
            .subscription_identifiers
            .iter()
            .map(|&id| 1 + varint::encoded_len(id))
            .sum();
        alias + expiry + self.properties.len() + identifiers
    }

    fn remaining_len(&self, version: Version) -> usize {
        let packet_id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties = if version.is_v5() {
            let len = self.properties_len();
            varint_len(len) + len
        } else {
            0
        };
        2 + self.topic.len() + packet_id + properties + self.payload_len
    }
}

/// The length of a length that may be too great for any packet.
fn varint_len(len: usize) -> usize {
    u32::try_from(len)
        .ok()
        .filter(|&len| len <= varint::MAX)
        .map_or(4, varint::encoded_len)
}

/// Bytes of the whole packet, payload and fixed header included.
///
/// [`encode_publish_head`] takes it only if this is at most the receiver's maximum packet size
/// [MQTT-3.1.2-24] and [`MAX_WIRE_LEN`].
#[must_use]
pub fn publish_wire_len(version: Version, publish: &OutgoingPublish<'_>) -> usize {
    let remaining = publish.remaining_len(version);
    1 + varint_len(remaining) + remaining
}

/// Bytes of the largest packet there can be.
pub const MAX_WIRE_LEN: usize = 5 + varint::MAX as usize;

/// Appends a PUBLISH without its payload, and says where in `out` its packet identifier lies, if
/// it has one: packets to several receivers differ in nothing else.
///
/// # Panics
/// If the packet would be larger than [`MAX_WIRE_LEN`], or the topic longer than 65,535 bytes.
pub fn encode_publish_head(
    out: &mut Vec<u8>,
    version: Version,
    publish: &OutgoingPublish<'_>,
) -> Option<usize> {
    let remaining = publish.remaining_len(version);
    let has_packet_id = publish.qos != QoS::AtMostOnce;
    let dup = publish.dup && has_packet_id;
    let flags = u8::from(dup) << 3 | publish.qos.as_u8() << 1 | u8::from(publish.retain);
    out.push(PacketType::Publish.first_byte(flags));
    varint::encode(out, length(remaining));
    put_string(out, publish.topic);
    let packet_id_at = has_packet_id.then_some(out.len());
    if has_packet_id {
        debug_assert_ne!(
            publish.packet_id, 0,
            "a QoS 1 or 2 message has an identifier"
        );
        put_u16(out, publish.packet_id);
    }
    if version.is_v5() {
        put_publish_properties(out, publish);
    }
    packet_id_at
}

fn put_publish_properties(out: &mut Vec<u8>, publish: &OutgoingPublish<'_>) {
    varint::encode(out, length(publish.properties_len()));
    if let Some(alias) = publish.topic_alias {
        out.push(PropertyId::TopicAlias.as_u8());
        put_u16(out, alias);
    }
    if let Some(seconds) = publish.message_expiry_interval {
        out.push(PropertyId::MessageExpiryInterval.as_u8());
        put_u32(out, seconds);
    }
    for &id in publish.subscription_identifiers {
        out.push(PropertyId::SubscriptionIdentifier.as_u8());
        varint::encode(out, id);
    }
    out.extend_from_slice(publish.properties);
}

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("the caller compared the packet's size with the largest there can be")
}
