//! The properties of MQTT 5.0 packets (section 2.2.2).
//!
//! Each packet reads its block with a `PropertyCursor`, which knows what that packet allows:
//! an identifier the packet does not have is malformed, a property that comes twice is a
//! protocol error. The raw block stays valid for as long as the packet, so rarely needed
//! properties are looked up in it later by [`properties`].

use super::error::DecodeError;
use super::reader::Reader;
use super::reason::ReasonCode;
use super::topic;
use super::writer;

macro_rules! property_ids {
    ($($name:ident = $value:literal,)+) => {
        /// The identifier of a property (table 2-4).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "the names of the specification")]
        pub enum PropertyId {
            $($name = $value,)+
        }

        impl PropertyId {
            /// Every identifier.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The identifier for a byte on the wire, `None` if there is none.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

property_ids! {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0B,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQos = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifierAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2A,
}

impl PropertyId {
    /// The byte on the wire.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }
}

/// One property with its value, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the specification")]
pub enum Property<'a> {
    /// Whether the payload is UTF-8.
    PayloadFormatIndicator(bool),
    /// In seconds.
    MessageExpiryInterval(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    /// Never 0.
    SubscriptionIdentifier(u32),
    /// In seconds; 0xFFFF_FFFF never expires.
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(&'a str),
    /// In seconds.
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    /// In seconds.
    WillDelayInterval(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    /// Never 0.
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    /// Never 0.
    TopicAlias(u16),
    /// 0 or 1.
    MaximumQos(u8),
    RetainAvailable(bool),
    UserProperty(&'a str, &'a str),
    /// In bytes, never 0.
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdentifierAvailable(bool),
    SharedSubscriptionAvailable(bool),
}

impl<'a> Property<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<(PropertyId, Self), DecodeError> {
        let id = read_id(reader)?;
        Ok((id, Self::read_value(id, reader)?))
    }

    fn read_value(id: PropertyId, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match id {
            PropertyId::PayloadFormatIndicator => Self::PayloadFormatIndicator(flag(reader)?),
            PropertyId::MessageExpiryInterval => Self::MessageExpiryInterval(reader.u32()?),
            PropertyId::ContentType => Self::ContentType(reader.string()?),
            PropertyId::ResponseTopic => Self::ResponseTopic(response_topic(reader)?),
            PropertyId::CorrelationData => Self::CorrelationData(reader.binary()?),
            PropertyId::SubscriptionIdentifier => Self::SubscriptionIdentifier(non_zero(
                reader.varint()?,
                DecodeError::protocol("3.8.2.1.2 subscription identifier 0"),
            )?),
            PropertyId::SessionExpiryInterval => Self::SessionExpiryInterval(reader.u32()?),
            PropertyId::AssignedClientIdentifier => {
                Self::AssignedClientIdentifier(reader.string()?)
            }
            PropertyId::ServerKeepAlive => Self::ServerKeepAlive(reader.u16()?),
            PropertyId::AuthenticationMethod => Self::AuthenticationMethod(reader.string()?),
            PropertyId::AuthenticationData => Self::AuthenticationData(reader.binary()?),
            PropertyId::RequestProblemInformation => Self::RequestProblemInformation(flag(reader)?),
            PropertyId::WillDelayInterval => Self::WillDelayInterval(reader.u32()?),
            PropertyId::RequestResponseInformation => {
                Self::RequestResponseInformation(flag(reader)?)
            }
            PropertyId::ResponseInformation => Self::ResponseInformation(reader.string()?),
            PropertyId::ServerReference => Self::ServerReference(reader.string()?),
            PropertyId::ReasonString => Self::ReasonString(reader.string()?),
            PropertyId::ReceiveMaximum => Self::ReceiveMaximum(non_zero(
                reader.u16()?,
                DecodeError::protocol("3.1.2.11.3 receive maximum 0"),
            )?),
            PropertyId::TopicAliasMaximum => Self::TopicAliasMaximum(reader.u16()?),
            PropertyId::TopicAlias => Self::TopicAlias(non_zero(
                reader.u16()?,
                DecodeError::new(ReasonCode::TopicAliasInvalid, "MQTT-3.3.2-8 topic alias 0"),
            )?),
            PropertyId::MaximumQos => Self::MaximumQos(u8::from(flag(reader)?)),
            PropertyId::RetainAvailable => Self::RetainAvailable(flag(reader)?),
            PropertyId::UserProperty => Self::UserProperty(reader.string()?, reader.string()?),
            PropertyId::MaximumPacketSize => Self::MaximumPacketSize(non_zero(
                reader.u32()?,
                DecodeError::protocol("3.1.2.11.4 maximum packet size 0"),
            )?),
            PropertyId::WildcardSubscriptionAvailable => {
                Self::WildcardSubscriptionAvailable(flag(reader)?)
            }
            PropertyId::SubscriptionIdentifierAvailable => {
                Self::SubscriptionIdentifierAvailable(flag(reader)?)
            }
            PropertyId::SharedSubscriptionAvailable => {
                Self::SharedSubscriptionAvailable(flag(reader)?)
            }
        })
    }
}

/// An identifier is a variable byte integer; all that exist take one byte.
fn read_id(reader: &mut Reader<'_>) -> Result<PropertyId, DecodeError> {
    PropertyId::from_u8(reader.u8()?).ok_or(DecodeError::malformed(
        "2.2.2.2 unknown property identifier",
    ))
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::protocol(
            "2.2.2.2 a property of 0 or 1 has another value",
        )),
    }
}

fn non_zero<T: Default + PartialEq>(value: T, otherwise: DecodeError) -> Result<T, DecodeError> {
    if value == T::default() {
        Err(otherwise)
    } else {
        Ok(value)
    }
}

/// Wildcards are forbidden [MQTT-3.3.2-14]; so is an empty name [MQTT-4.7.3-1].
fn response_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let name = reader.string()?;
    if topic::has_wildcard(name) {
        return Err(DecodeError::protocol(
            "MQTT-3.3.2-14 wildcard in a response topic",
        ));
    }
    if name.is_empty() {
        return Err(DecodeError::protocol("MQTT-4.7.3-1 empty response topic"));
    }
    Ok(name)
}

/// A set of property identifiers: all of them are below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PropertySet(u64);

impl PropertySet {
    pub(super) const fn of(ids: &[PropertyId]) -> Self {
        let mut set = Self(0);
        let mut at = 0;
        while at < ids.len() {
            set = set.with(ids[at]);
            at += 1;
        }
        set
    }

    pub(super) const fn with(self, id: PropertyId) -> Self {
        Self(self.0 | 1 << id.as_u8())
    }

    pub(super) const fn contains(self, id: PropertyId) -> bool {
        self.0 >> id.as_u8() & 1 == 1
    }
}

/// Reads the block of one packet and holds it to what the packet allows.
pub(super) struct PropertyCursor<'a> {
    reader: Reader<'a>,
    allowed: PropertySet,
    repeatable: PropertySet,
    seen: PropertySet,
}

impl<'a> PropertyCursor<'a> {
    /// A cursor over `block` for a packet with the properties `allowed`, each at most once but
    /// for user properties.
    pub(super) const fn new(block: &'a [u8], allowed: PropertySet) -> Self {
        let repeatable = PropertySet::of(&[PropertyId::UserProperty]);
        Self {
            reader: Reader::new(block),
            allowed,
            repeatable,
            seen: PropertySet(0),
        }
    }

    /// Lets another property come more than once.
    pub(super) const fn repeatable(mut self, id: PropertyId) -> Self {
        self.repeatable = self.repeatable.with(id);
        self
    }

    /// How many bytes have not been read.
    pub(super) const fn remaining(&self) -> usize {
        self.reader.rest().len()
    }

    /// The next property, `None` at the end of the block.
    pub(super) fn next(&mut self) -> Result<Option<(PropertyId, Property<'a>)>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let id = read_id(&mut self.reader)?;
        if !self.allowed.contains(id) {
            return Err(DecodeError::malformed(
                "2.2.2.2 property not allowed in this packet",
            ));
        }
        if self.seen.contains(id) && !self.repeatable.contains(id) {
            return Err(DecodeError::protocol(
                "2.2.2.2 property included more than once",
            ));
        }
        self.seen = self.seen.with(id);
        Ok(Some((id, Property::read_value(id, &mut self.reader)?)))
    }

    /// Reads to the end, for packets whose properties carry nothing that is acted on.
    pub(super) fn skip_all(mut self) -> Result<(), DecodeError> {
        while self.next()?.is_some() {}
        Ok(())
    }
}

/// The properties of a block that a decoder has accepted, in order.
///
/// Ends early at bytes that no decoder would accept.
pub fn properties(block: &[u8]) -> impl Iterator<Item = Property<'_>> {
    let mut reader = Reader::new(block);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        Property::read(&mut reader)
            .ok()
            .map(|(_, property)| property)
    })
}

/// The user properties of a block, in order; other properties in it are passed over.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a> {
    reader: Option<Reader<'a>>,
}

impl<'a> UserProperties<'a> {
    /// The user properties of an encoded property block (without its length).
    #[must_use]
    pub const fn new(block: &'a [u8]) -> Self {
        if block.is_empty() {
            return Self { reader: None };
        }
        Self {
            reader: Some(Reader::new(block)),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.into_iter().next().is_none()
    }
}

impl<'a> Iterator for UserProperties<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let reader = self.reader.as_mut()?;
        while !reader.is_empty() {
            if let (_, Property::UserProperty(name, value)) = Property::read(reader).ok()? {
                return Some((name, value));
            }
        }
        None
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        Iterator::eq(*self, *other)
    }
}

impl Eq for UserProperties<'_> {}

impl std::fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// Appends one user property in its encoded form, to build a block for [`UserProperties::new`].
///
/// # Panics
/// If name or value is longer than 65,535 bytes.
pub fn encode_user_property(out: &mut Vec<u8>, name: &str, value: &str) {
    writer::put_user_property(out, name, value);
}

/// Appends properties that go with a message to its subscribers, in their encoded form; others are left
/// out.
///
/// # Panics
/// If a text or the correlation data is longer than 65,535 bytes.
pub fn encode_forwarded(out: &mut Vec<u8>, properties: &[Property<'_>]) {
    let mut text = |id: PropertyId, text: &str| {
        out.push(id as u8);
        writer::put_string(out, text);
    };
    for property in properties {
        match *property {
            Property::ContentType(content_type) => text(PropertyId::ContentType, content_type),
            Property::ResponseTopic(topic) => text(PropertyId::ResponseTopic, topic),
            _ => {}
        }
    }
    for property in properties {
        match *property {
            Property::PayloadFormatIndicator(is_text) => {
                out.extend([PropertyId::PayloadFormatIndicator as u8, u8::from(is_text)]);
            }
            Property::CorrelationData(data) => {
                out.push(PropertyId::CorrelationData as u8);
                writer::put_binary(out, data);
            }
            Property::UserProperty(name, value) => writer::put_user_property(out, name, value),
            _ => {}
        }
    }
}

/// The properties that go with a message from the publisher to each subscriber.
const FORWARDED: PropertySet = PropertySet::of(&[
    PropertyId::PayloadFormatIndicator,
    PropertyId::ContentType,
    PropertyId::ResponseTopic,
    PropertyId::CorrelationData,
    PropertyId::UserProperty,
]);

/// The encoded properties that go on to subscribers unaltered and in order: payload format
/// [MQTT-3.3.2-4], response topic [MQTT-3.3.2-15], correlation data [MQTT-3.3.2-16], user
/// properties [MQTT-3.3.2-17, 18] and content type [MQTT-3.3.2-20].
///
/// Nearly always these lie together, and no byte is copied.
#[derive(Clone, Copy, Default)]
pub struct Forwardable<'a> {
    /// From the first to the last such property.
    block: &'a [u8],
    /// Bytes of such properties in `block`; less than its length if others lie between them.
    len: usize,
}

impl<'a> Forwardable<'a> {
    /// The properties in `block`, which holds nothing else.
    #[must_use]
    pub const fn contiguous(block: &'a [u8]) -> Self {
        Self {
            block,
            len: block.len(),
        }
    }

    /// The bytes, if they lie together.
    #[inline]
    #[must_use]
    pub const fn as_slice(&self) -> Option<&'a [u8]> {
        if self.len == self.block.len() {
            Some(self.block)
        } else {
            None
        }
    }

    /// How many bytes [`Self::write_to`] appends.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no such property.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends the bytes.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        if let Some(block) = self.as_slice() {
            out.extend_from_slice(block);
            return;
        }
        let mut reader = Reader::new(self.block);
        while !reader.is_empty() {
            let before = reader.rest();
            let Ok((id, _)) = Property::read(&mut reader) else {
                unreachable!("the block was read when the packet was decoded");
            };
            if FORWARDED.contains(id) {
                out.extend_from_slice(&before[..before.len() - reader.rest().len()]);
            }
        }
    }

    /// The bytes as a slice, copied to `scratch` (which is cleared) only if they do not lie
    /// together.
    pub fn resolve<'b>(&self, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        if let Some(block) = self.as_slice() {
            return block;
        }
        scratch.clear();
        self.write_to(scratch);
        scratch
    }
}

impl PartialEq for Forwardable<'_> {
    fn eq(&self, other: &Self) -> bool {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        self.resolve(&mut a) == other.resolve(&mut b)
    }
}

impl Eq for Forwardable<'_> {}

impl std::fmt::Debug for Forwardable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut scratch = Vec::new();
        let block = self.resolve(&mut scratch);
        f.debug_list().entries(properties(block)).finish()
    }
}

/// Finds the span of the properties to forward while a block is read once.
pub(super) struct ForwardableSpan<'a> {
    raw: &'a [u8],
    start: usize,
    end: usize,
    len: usize,
}

impl<'a> ForwardableSpan<'a> {
    pub(super) const fn new(raw: &'a [u8]) -> Self {
        Self {
            raw,
            start: 0,
            end: 0,
            len: 0,
        }
    }

    /// Takes note of a property that lies between two counts of remaining bytes.
    #[inline]
    pub(super) fn note(&mut self, id: PropertyId, remaining_before: usize, remaining_after: usize) {
        if !FORWARDED.contains(id) {
            return;
        }
        if self.len == 0 {
            self.start = self.raw.len() - remaining_before;
        }
        self.end = self.raw.len() - remaining_after;
        self.len += remaining_before - remaining_after;
    }

    pub(super) fn finish(self) -> Forwardable<'a> {
        Forwardable {
            block: &self.raw[self.start..self.end],
            len: self.len,
        }
    }
}
