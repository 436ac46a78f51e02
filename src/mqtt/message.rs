//! A message on its way from the publisher to the subscribers.
//!
//! [`Publication`] is the borrowed view everyone works on. It is parsed from a PUBLISH, or from
//! a record: one contiguous byte string that holds everything, crosses between cores as it is,
//! and waits in queues as it is. Records never leave the process, so their layout may change
//! with any build:
//!
//! | bytes | content (little-endian) |
//! | --- | --- |
//! | 8 | when it was received, microseconds of Unix time |
//! | 8 | when it expires, microseconds of Unix time, 0 for never |
//! | 8 | publisher |
//! | 4 | length of the properties |
//! | 2 | length of the topic |
//! | 1 | QoS in bits 0 and 1, retain in bit 2 |
//! | 1 | 0 |
//! | | topic, properties, payload |
#![allow(unsafe_code)] // A topic is checked to be UTF-8 once, and a message's memory written once.

use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;

use super::qos::QoS;

/// Bytes of a record before the topic.
pub const RECORD_HEAD_BYTES: usize = 32;

const RETAIN: u8 = 0b100;

/// Who published a message, opaque to this layer; no-local compares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PublisherRef(pub u64);

impl PublisherRef {
    /// The broker itself: no session has this value.
    pub const BROKER: Self = Self(u64::MAX);
}

/// A message: a borrowed view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication<'a> {
    /// A valid topic name, aliases resolved.
    pub topic: &'a str,
    /// The application message.
    pub payload: &'a [u8],
    /// The encoded properties that go on to subscribers (see [`super::property::Forwardable`]),
    /// empty from a 3.x publisher.
    pub properties: &'a [u8],
    /// As published.
    pub qos: QoS,
    /// As published.
    pub retain: bool,
    /// When the broker received it, microseconds of Unix time.
    pub received_us: u64,
    /// When it expires, microseconds of Unix time.
    pub expires_us: Option<NonZeroU64>,
    /// Who published it.
    pub publisher: PublisherRef,
}

impl<'a> Publication<'a> {
    /// Bytes of its record.
    #[must_use]
    pub const fn record_len(&self) -> usize {
        RECORD_HEAD_BYTES + self.topic.len() + self.properties.len() + self.payload.len()
    }

    /// Appends its record.
    ///
    /// # Panics
    /// If the topic is longer than 65,535 bytes or the properties longer than 4 GiB, which no
    /// packet can be.
    pub fn write_record(&self, out: &mut Vec<u8>) {
        out.reserve(self.record_len());
        out.extend_from_slice(&self.record_head());
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(self.properties);
        out.extend_from_slice(self.payload);
    }

    /// Writes its record into exactly [`Self::record_len`] bytes, a slot of a ring for example.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn write_record_into(&self, out: &mut [u8]) {
        assert_eq!(
            out.len(),
            self.record_len(),
            "the space for a record has the record's length"
        );
        let (head, out) = out.split_at_mut(RECORD_HEAD_BYTES);
        let (topic, out) = out.split_at_mut(self.topic.len());
        let (properties, payload) = out.split_at_mut(self.properties.len());
        head.copy_from_slice(&self.record_head());
        topic.copy_from_slice(self.topic.as_bytes());
        properties.copy_from_slice(self.properties);
        payload.copy_from_slice(self.payload);
    }

    /// The same into memory that was never written: all of it is afterwards.
    fn write_record_uninit(&self, out: &mut [MaybeUninit<u8>]) {
        assert_eq!(
            out.len(),
            self.record_len(),
            "the space for a record has the record's length"
        );
        let (head, out) = out.split_at_mut(RECORD_HEAD_BYTES);
        let (topic, out) = out.split_at_mut(self.topic.len());
        let (properties, payload) = out.split_at_mut(self.properties.len());
        head.write_copy_of_slice(&self.record_head());
        topic.write_copy_of_slice(self.topic.as_bytes());
        properties.write_copy_of_slice(self.properties);
        payload.write_copy_of_slice(self.payload);
    }

    /// Its record as a block that several cores may hold.
    #[must_use]
    pub fn to_block(&self) -> Arc<[u8]> {
        let mut block = Arc::<[u8]>::new_uninit_slice(self.record_len());
        let Some(bytes) = Arc::get_mut(&mut block) else {
            unreachable!("a new count has one owner");
        };
        self.write_record_uninit(bytes);
        // SAFETY: `write_record_uninit` writes every byte of a slice of the record's length, which it
        // asserts.
        unsafe { block.assume_init() }
    }

    fn record_head(&self) -> [u8; RECORD_HEAD_BYTES] {
        let properties_len =
            u32::try_from(self.properties.len()).expect("properties fit into a packet");
        let topic_len = u16::try_from(self.topic.len()).expect("a topic has at most 65,535 bytes");
        let flags = self.qos.as_u8() | if self.retain { RETAIN } else { 0 };
        let expires_us = self.expires_us.map_or(0, NonZeroU64::get);
        let mut head = [0; RECORD_HEAD_BYTES];
        head[0..8].copy_from_slice(&self.received_us.to_le_bytes());
        head[8..16].copy_from_slice(&expires_us.to_le_bytes());
        head[16..24].copy_from_slice(&self.publisher.0.to_le_bytes());
        head[24..28].copy_from_slice(&properties_len.to_le_bytes());
        head[28..30].copy_from_slice(&topic_len.to_le_bytes());
        head[30] = flags;
        head
    }

    /// The message in a record that [`Self::write_record`] or [`Self::write_record_into`] wrote:
    /// exactly its bytes.
    ///
    /// # Panics
    /// If the record is too short for the lengths in its head: it is not a record.
    #[inline]
    #[must_use]
    pub fn from_record(record: &'a [u8]) -> Self {
        let Some((head, body)) = record.split_first_chunk::<RECORD_HEAD_BYTES>() else {
            panic!("a record has a head");
        };
        let word = |at: usize| {
            u64::from_le_bytes([
                head[at],
                head[at + 1],
                head[at + 2],
                head[at + 3],
                head[at + 4],
                head[at + 5],
                head[at + 6],
                head[at + 7],
            ])
        };
        let properties_len = u32::from_le_bytes([head[24], head[25], head[26], head[27]]) as usize;
        let topic_len = usize::from(u16::from_le_bytes([head[28], head[29]]));
        assert!(
            topic_len + properties_len <= body.len(),
            "a record holds what its head says"
        );
        let (topic, body) = body.split_at(topic_len);
        let (properties, payload) = body.split_at(properties_len);
        let Some(qos) = QoS::from_u8(head[30] & 0b11) else {
            panic!("a record has a valid QoS");
        };
        debug_assert!(
            std::str::from_utf8(topic).is_ok(),
            "a record's topic is UTF-8"
        );
        Self {
            // SAFETY: records are written by this type only, from a `&str`, at exactly this
            // place, and are private to the process; whoever carries their bytes (queues and
            // rings of this crate) hands on the same bytes, which debug builds check above.
            topic: unsafe { std::str::from_utf8_unchecked(topic) },
            payload,
            properties,
            qos,
            retain: head[30] & RETAIN != 0,
            received_us: word(0),
            expires_us: NonZeroU64::new(word(8)),
            publisher: PublisherRef(word(16)),
        }
    }
}

/// A message owned by one core, shared among that core's queues with a plain count.
///
/// It is one allocation that holds the record, or this core's share of a block that other cores hold
/// as well: the atomic count of a block is touched once a core.
#[derive(Clone)]
pub struct Message(Record);

#[derive(Clone)]
enum Record {
    Own(Rc<[u8]>),
    Block(Rc<Arc<[u8]>>),
}

const _: () = assert!(size_of::<Message>() == 16, "queues are made of messages");

impl Message {
    /// Copies a publication, once.
    #[must_use]
    pub fn from_publication(publication: &Publication<'_>) -> Self {
        let mut record = Rc::<[u8]>::new_uninit_slice(publication.record_len());
        let Some(bytes) = Rc::get_mut(&mut record) else {
            unreachable!("a new count has one owner");
        };
        publication.write_record_uninit(bytes);
        // SAFETY: `write_record_uninit` writes every byte of a slice of the record's length, which it
        // asserts.
        let record = unsafe { record.assume_init() };
        Self(Record::Own(record))
    }

    /// Takes a share of a block that [`Publication::to_block`] made.
    #[must_use]
    pub fn from_block(block: Arc<[u8]>) -> Self {
        Self(Record::Block(Rc::new(block)))
    }

    /// Copies a record.
    ///
    /// # Panics
    /// If the bytes are not a record (see [`Publication::from_record`]).
    #[must_use]
    pub fn from_record(record: &[u8]) -> Self {
        let _ = Publication::from_record(record);
        Self(Record::Own(Rc::from(record)))
    }

    /// The message.
    #[inline]
    #[must_use]
    pub fn view(&self) -> Publication<'_> {
        Publication::from_record(self.record())
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> &[u8] {
        match &self.0 {
            Record::Own(record) => record,
            Record::Block(block) => block,
        }
    }

    /// Where the payload lies in the record, for sends that splice it in.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a packet is shorter than 4 GiB"
    )]
    pub fn payload_range(&self) -> std::ops::Range<u32> {
        let end = self.len() as u32;
        end - self.view().payload.len() as u32..end
    }

    /// Bytes of the record, never 0: what the message costs while it is kept.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a record is never empty")]
    pub fn len(&self) -> usize {
        self.record().len()
    }

    /// How many owners on this core share it.
    #[must_use]
    pub fn shares(&self) -> usize {
        match &self.0 {
            Record::Own(record) => Rc::strong_count(record),
            Record::Block(block) => Rc::strong_count(block),
        }
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view().fmt(f)
    }
}
