//! SUBSCRIBE and UNSUBSCRIBE (sections 3.8 and 3.10).
//!
//! The whole list is checked when the packet is decoded, so that a bad last filter does not
//! leave the first ones subscribed; the iterators then cannot fail.

use super::error::DecodeError;
use super::frame::Frame;
use super::property::{Property, PropertyCursor, PropertyId, PropertySet, UserProperties};
use super::qos::QoS;
use super::reader::Reader;
use super::topic::{SharedFilter, is_shared};
use super::version::Version;

/// A list of filters to subscribe to; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// What matching messages are marked with; never 0.
    pub subscription_identifier: Option<u32>,
    /// In the order they came.
    pub user_properties: UserProperties<'a>,
    entries: &'a [u8],
}

impl<'a> Subscribe<'a> {
    /// The filters with their options, in order.
    #[must_use]
    pub const fn filters(&self) -> SubscribeEntries<'a> {
        SubscribeEntries {
            reader: Reader::new(self.entries),
        }
    }
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeEntry<'a> {
    /// As the client wrote it, a `$share/` or `$queue/` prefix included; valid.
    pub filter: &'a str,
    /// What the client asks for.
    pub options: SubscribeOptions,
}

/// The options of a subscription (section 3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SubscribeOptions {
    /// The greatest level messages are sent with.
    pub qos: QoS,
    /// Do not send back what the client itself published.
    pub no_local: bool,
    /// Keep the publisher's retain flag.
    pub retain_as_published: bool,
    /// When to send retained messages.
    pub retain_handling: RetainHandling,
}

/// When a subscription is answered with retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// Whenever the client subscribes.
    #[default]
    SendAlways = 0,
    /// If the subscription did not exist.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

impl SubscribeOptions {
    /// The options byte; in 3.x only the QoS is sent.
    #[must_use]
    pub const fn to_byte(self, version: Version) -> u8 {
        let qos = self.qos.as_u8();
        if !version.is_v5() {
            return qos;
        }
        qos | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }

    fn from_byte(byte: u8, version: Version) -> Result<Self, DecodeError> {
        let reserved = if version.is_v5() {
            0b1100_0000
        } else {
            0b1111_1100
        };
        if byte & reserved != 0 {
            return Err(DecodeError::malformed(
                "MQTT-3.8.3-5 reserved bits of the options",
            ));
        }
        let Some(qos) = QoS::from_u8(byte & 0b11) else {
            return Err(if version.is_v5() {
                DecodeError::protocol("3.8.3.1 QoS 3 in the subscription options")
            } else {
                DecodeError::malformed("3.1.1: MQTT-3.8.3-4 requested QoS 3")
            });
        };
        let retain_handling = match byte >> 4 & 0b11 {
            0 => RetainHandling::SendAlways,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(DecodeError::protocol("3.8.3.1 retain handling 3")),
        };
        Ok(Self {
            qos,
            no_local: byte & 0b0100 != 0,
            retain_as_published: byte & 0b1000 != 0,
            retain_handling,
        })
    }
}

/// Iterates over the filters of a SUBSCRIBE that was decoded.
#[derive(Debug, Clone)]
pub struct SubscribeEntries<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for SubscribeEntries<'a> {
    type Item = SubscribeEntry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let filter = self.reader.string().ok()?;
        let byte = self.reader.u8().ok()?;
        // In 3.x all bits but the QoS were 0, so the byte reads the same.
        let options = SubscribeOptions::from_byte(byte, Version::V5).ok()?;
        Some(SubscribeEntry { filter, options })
    }
}

const ALLOWED: PropertySet =
    PropertySet::of(&[PropertyId::SubscriptionIdentifier, PropertyId::UserProperty]);

/// Reads a SUBSCRIBE.
///
/// # Errors
/// 0x81 malformed, 0x82 for an empty list [MQTT-3.8.3-2] and forbidden options, 0x8F for a bad
/// filter.
pub fn decode_subscribe<'a>(
    frame: &Frame<'a>,
    version: Version,
) -> Result<Subscribe<'a>, DecodeError> {
    let mut reader = Reader::new(frame.body);
    let packet_id = reader.packet_id()?;
    let mut subscription_identifier = None;
    let mut user_properties = UserProperties::default();
    if version.is_v5() {
        let block = reader.property_block()?;
        let mut cursor = PropertyCursor::new(block, ALLOWED);
        while let Some((_, property)) = cursor.next()? {
            match property {
                Property::SubscriptionIdentifier(id) => subscription_identifier = Some(id),
                _ => user_properties = UserProperties::new(block),
            }
        }
    }
    let entries = reader.rest();
    if entries.is_empty() {
        return Err(DecodeError::protocol(
            "MQTT-3.8.3-2 SUBSCRIBE without a topic filter",
        ));
    }
    while !reader.is_empty() {
        check_entry(&mut reader, version)?;
    }
    Ok(Subscribe {
        packet_id,
        subscription_identifier,
        user_properties,
        entries,
    })
}

fn check_entry(reader: &mut Reader<'_>, version: Version) -> Result<(), DecodeError> {
    let filter = reader.string()?;
    let options = SubscribeOptions::from_byte(reader.u8()?, version)?;
    SharedFilter::parse(filter)?;
    if options.no_local && is_shared(filter) {
        return Err(DecodeError::protocol(
            "MQTT-3.8.3-4 no local on a shared subscription",
        ));
    }
    Ok(())
}

/// A list of filters to unsubscribe from; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// In the order they came.
    pub user_properties: UserProperties<'a>,
    entries: &'a [u8],
}

impl<'a> Unsubscribe<'a> {
    /// The filters in order, as the client wrote them; valid.
    #[must_use]
    pub const fn filters(&self) -> UnsubscribeEntries<'a> {
        UnsubscribeEntries {
            reader: Reader::new(self.entries),
        }
    }
}

/// Iterates over the filters of an UNSUBSCRIBE that was decoded.
#[derive(Debug, Clone)]
pub struct UnsubscribeEntries<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for UnsubscribeEntries<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        self.reader.string().ok()
    }
}

/// Reads an UNSUBSCRIBE.
///
/// # Errors
/// 0x81 malformed, 0x82 for an empty list [MQTT-3.10.3-2], 0x8F for a bad filter.
pub fn decode_unsubscribe<'a>(
    frame: &Frame<'a>,
    version: Version,
) -> Result<Unsubscribe<'a>, DecodeError> {
    let mut reader = Reader::new(frame.body);
    let packet_id = reader.packet_id()?;
    let mut user_properties = UserProperties::default();
    if version.is_v5() {
        let block = reader.property_block()?;
        let allowed = PropertySet::of(&[PropertyId::UserProperty]);
        PropertyCursor::new(block, allowed).skip_all()?;
        user_properties = UserProperties::new(block);
    }
    let entries = reader.rest();
    if entries.is_empty() {
        return Err(DecodeError::protocol(
            "MQTT-3.10.3-2 UNSUBSCRIBE without a topic filter",
        ));
    }
    while !reader.is_empty() {
        SharedFilter::parse(reader.string()?)?;
    }
    Ok(Unsubscribe {
        packet_id,
        user_properties,
        entries,
    })
}
