//! What crosses from core to core: one set of records, written and read here.
//!
//! A record is a kind and its fields, little-endian. What is owned or large goes beside it as a
//! [`Parcel`], announced by its record, so that there is one order for both.

use std::sync::Arc;

use crate::base::ids::{CoreId, Epoch, FilterId};
use crate::base::limits::{CROSS_FILTERS_MAX, CROSS_INLINE_BYTES_MAX};
use crate::base::staged::RECORD_BYTES_MAX;
use crate::mqtt::message::Publication;
use crate::shard::handshake::Handover;
use crate::shard::outbox::Outboxes;
use crate::shard::share::records::ShareRecord;

/// What is too large for a ring or owned by one.
#[derive(Debug)]
pub enum Parcel {
    /// A client on its way home.
    Handover(Box<Handover>),
    /// The record of a large message: one copy for all cores that it goes to.
    Publication(Arc<[u8]>),
    /// A record that is longer than a ring takes.
    Long(Vec<u8>),
}

/// What a client on its way counts for: its box with a CONNECT, and the kernel's socket.
const HANDOVER_BYTES: usize = 4096;

impl Parcel {
    /// What it keeps in memory, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Handover(_) => HANDOVER_BYTES,
            Self::Publication(block) => block.len(),
            Self::Long(bytes) => bytes.len(),
        }
    }
}

const _: () = assert!(
    CROSS_INLINE_BYTES_MAX + 4 * CROSS_FILTERS_MAX + RECORD_FIELDS_BYTES <= RECORD_BYTES_MAX,
    "a message that is copied fits a record with all its filters"
);

/// Bytes of a record beside its message and its filters: less than this.
const RECORD_FIELDS_BYTES: usize = 64;

/// A record as it arrives.
#[derive(Debug)]
pub enum CrossCore<'a> {
    /// A message for subscribers of this core, or to be retained here, or both.
    Publish {
        /// The epoch of the match: filter ids born later are not meant.
        epoch: Epoch,
        /// This core keeps the retained messages of the topic.
        retain_here: bool,
        /// The filters that matched, as they lie in the record.
        filters: Filters<'a>,
        /// The message; absent if it comes in the parcel.
        publication: Option<Publication<'a>>,
    },
    /// A client comes home; it is in the parcel.
    Handover,
    /// The next stored messages are wanted.
    Question(Question<'a>),
    /// A replay is given up.
    Cancel {
        /// The asking core's name for it.
        replay: u64,
    },
    /// A stored message; absent if it comes in the parcel.
    Stored {
        /// The asking core's name for the replay.
        replay: u64,
        /// The message.
        publication: Option<Publication<'a>>,
    },
    /// Between a member of a shared subscription and its group.
    Share(ShareRecord<'a>),
    /// A question is answered.
    Answered {
        /// The asking core's name for the replay.
        replay: u64,
        /// More is stored than was asked for.
        more: bool,
    },
}

/// A request for stored messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question<'a> {
    /// The asking core's name for the replay.
    pub replay: u64,
    /// How many may be sent.
    pub credit: u16,
    /// The filter if this is the first question of the replay to this core; otherwise empty.
    pub filter: &'a str,
}

/// Filter ids in a record.
#[derive(Clone, Copy, Debug)]
pub struct Filters<'a>(&'a [u8]);

impl<'a> Filters<'a> {
    /// The ids.
    pub fn iter(self) -> impl Iterator<Item = FilterId> + use<'a> {
        let (ids, _) = self.0.as_chunks::<4>();
        ids.iter().map(|bytes| FilterId(u32::from_le_bytes(*bytes)))
    }
}

const PUBLISH: u8 = 1;
const HANDOVER: u8 = 2;
const QUESTION: u8 = 3;
const CANCEL: u8 = 4;
const STORED: u8 = 5;
const ANSWERED: u8 = 6;
/// The first byte of a record that `share::records` reads on.
pub(super) const SHARE: u8 = 7;

const RETAIN_HERE: u8 = 1;
const IN_PARCEL: u8 = 2;

/// The part of a crossing message that is the target's own.
#[derive(Debug)]
pub struct PublishHead<'a> {
    /// The epoch of the match.
    pub epoch: Epoch,
    /// The target keeps the retained messages of the topic.
    pub retain_here: bool,
    /// The filters of the target that matched.
    pub filters: &'a [FilterId],
}

impl PublishHead<'_> {
    /// Stages the message for one core; `block` is the record of a large one.
    pub fn stage(
        &self,
        outboxes: &mut Outboxes,
        target: CoreId,
        publication: &Publication<'_>,
        block: Option<&Arc<[u8]>>,
    ) {
        if self.filters.len() > CROSS_FILTERS_MAX {
            let mut long = Vec::new();
            self.write(&mut long, false);
            publication.write_record(&mut long);
            return outboxes.record_with(target, Parcel::Long(long), |_| {});
        }
        match block {
            Some(block) => {
                let parcel = Parcel::Publication(Arc::clone(block));
                outboxes.record_with(target, parcel, |out| self.write(out, true));
            }
            None => outboxes.record(target, |out| {
                self.write(out, false);
                publication.write_record(out);
            }),
        }
    }

    fn write(&self, out: &mut Vec<u8>, in_parcel: bool) {
        let retain = if self.retain_here { RETAIN_HERE } else { 0 };
        let parcel = if in_parcel { IN_PARCEL } else { 0 };
        let count = u32::try_from(self.filters.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&[PUBLISH, retain | parcel]);
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        for filter in self.filters {
            out.extend_from_slice(&filter.0.to_le_bytes());
        }
    }
}

/// Stages a hand-over.
pub fn stage_handover(outboxes: &mut Outboxes, home: CoreId, handover: Box<Handover>) {
    outboxes.record_with(home, Parcel::Handover(handover), |out| out.push(HANDOVER));
}

/// Stages a question for stored messages.
pub fn stage_question(outboxes: &mut Outboxes, target: CoreId, question: Question<'_>) {
    let write = |out: &mut Vec<u8>| {
        out.push(QUESTION);
        out.extend_from_slice(&question.replay.to_le_bytes());
        out.extend_from_slice(&question.credit.to_le_bytes());
        out.extend_from_slice(question.filter.as_bytes());
    };
    stage_short_or_long(outboxes, target, question.filter.len(), write);
}

/// Stages the end of a replay that is given up.
pub fn stage_cancel(outboxes: &mut Outboxes, target: CoreId, replay: u64) {
    outboxes.record(target, |out| {
        out.push(CANCEL);
        out.extend_from_slice(&replay.to_le_bytes());
    });
}

/// Stages a stored message for the core that asked.
pub fn stage_stored(
    outboxes: &mut Outboxes,
    target: CoreId,
    replay: u64,
    stored: &Publication<'_>,
) {
    let write = |out: &mut Vec<u8>| {
        out.push(STORED);
        out.extend_from_slice(&replay.to_le_bytes());
        stored.write_record(out);
    };
    stage_short_or_long(outboxes, target, stored.record_len(), write);
}

/// Stages the end of an answer.
pub fn stage_answered(outboxes: &mut Outboxes, target: CoreId, replay: u64, more: bool) {
    outboxes.record(target, |out| {
        out.extend_from_slice(&[ANSWERED, u8::from(more)]);
        out.extend_from_slice(&replay.to_le_bytes());
    });
}

/// A record with a variable part of `len` bytes: in the ring if it is short, else as a parcel.
pub(super) fn stage_short_or_long(
    outboxes: &mut Outboxes,
    target: CoreId,
    len: usize,
    write: impl FnOnce(&mut Vec<u8>),
) {
    if len <= CROSS_INLINE_BYTES_MAX {
        return outboxes.record(target, write);
    }
    let mut long = Vec::new();
    write(&mut long);
    outboxes.record_with(target, Parcel::Long(long), |_| {});
}

/// Reads a record. Records are private to the process: None is our own mistake.
pub fn read(record: &[u8]) -> Option<CrossCore<'_>> {
    let (kind, rest) = record.split_first()?;
    Some(match *kind {
        PUBLISH => {
            let (flags, rest) = rest.split_first()?;
            let (count, rest) = rest.split_first_chunk::<4>()?;
            let (epoch, rest) = rest.split_first_chunk::<8>()?;
            let (filters, rest) = rest.split_at_checked(4 * u32::from_le_bytes(*count) as usize)?;
            CrossCore::Publish {
                epoch: Epoch(u64::from_le_bytes(*epoch)),
                retain_here: flags & RETAIN_HERE != 0,
                filters: Filters(filters),
                publication: (flags & IN_PARCEL == 0).then(|| Publication::from_record(rest)),
            }
        }
        HANDOVER => CrossCore::Handover,
        QUESTION => {
            let (replay, rest) = rest.split_first_chunk::<8>()?;
            let (credit, filter) = rest.split_first_chunk::<2>()?;
            CrossCore::Question(Question {
                replay: u64::from_le_bytes(*replay),
                credit: u16::from_le_bytes(*credit),
                filter: std::str::from_utf8(filter).ok()?,
            })
        }
        CANCEL => CrossCore::Cancel {
            replay: u64::from_le_bytes(*rest.first_chunk::<8>()?),
        },
        STORED => {
            let (replay, rest) = rest.split_first_chunk::<8>()?;
            CrossCore::Stored {
                replay: u64::from_le_bytes(*replay),
                publication: Some(Publication::from_record(rest)),
            }
        }
        ANSWERED => {
            let (more, rest) = rest.split_first()?;
            CrossCore::Answered {
                replay: u64::from_le_bytes(*rest.first_chunk::<8>()?),
                more: *more != 0,
            }
        }
        SHARE => CrossCore::Share(ShareRecord::read(rest)?),
        _ => return None,
    })
}
