//! One subscription of one session, and how a fan-out walks those of a filter.

use super::lists::Entry;
use super::slab::Slab;
use super::types::{SubOptions, Subscriber};

/// No subscription identifier.
pub(super) const NO_IDENTIFIER: u32 = u32::MAX;
/// In an entry's flags: the subscription has an identifier.
pub(super) const HAS_IDENTIFIER: u8 = 1 << 6;
pub(super) const OPTION_BITS: u8 = HAS_IDENTIFIER - 1;

/// What the filter field of a record means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum State {
    /// A filter id.
    Live,
    /// A pending filter; `at` is the place among its subscriptions.
    Pending,
    /// Nothing: the index thread had no memory for it.
    Refused,
    /// Nothing: the record is free.
    Vacant,
}

/// One subscription of one session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) session: u32,
    pub(super) filter: u32,
    pub(super) next_of_session: u32,
    pub(super) previous_of_session: u32,
    /// The place in the filter's list, or the low half of the birth epoch if it is alone.
    pub(super) at: u32,
    pub(super) identifier: u32,
    pub(super) born_high: u16,
    pub(super) options: SubOptions,
    pub(super) state: State,
}

const _: () = assert!(size_of::<Record>() == 28);

impl Record {
    pub(super) fn entry(&self, number: u32) -> Entry {
        let identifier = self.identifier != NO_IDENTIFIER;
        let identifier = u8::from(identifier) * HAS_IDENTIFIER;
        let flags = (self.options.0 & OPTION_BITS) | identifier;
        Entry::new(number, self.session, flags)
    }

    pub(super) fn identifier(&self) -> Option<u32> {
        (self.identifier != NO_IDENTIFIER).then_some(self.identifier)
    }

    pub(super) fn born(&self) -> u64 {
        u64::from(self.born_high) << 32 | u64::from(self.at)
    }

    pub(super) fn set_born(&mut self, epoch: u64) {
        let [a, b, c, d, e, f, ..] = epoch.to_le_bytes();
        self.at = u32::from_le_bytes([a, b, c, d]);
        self.born_high = u16::from_le_bytes([e, f]);
    }
}

/// The subscribers of one filter. Folding (`for_each`) is the quickest way through.
#[derive(Clone, Debug)]
pub struct Subscribers<'a> {
    pub(super) single: Option<Entry>,
    pub(super) current: std::slice::Iter<'a, Entry>,
    pub(super) rest: std::slice::Iter<'a, Vec<Entry>>,
    records: &'a Slab<Record>,
}

impl<'a> Subscribers<'a> {
    #[inline]
    pub(super) fn none(records: &'a Slab<Record>) -> Self {
        Self {
            single: None,
            current: [].iter(),
            rest: [].iter(),
            records,
        }
    }

    #[inline]
    fn subscriber(records: &Slab<Record>, entry: Entry) -> Subscriber {
        let flags = entry.flags();
        let subscription_identifier = if flags & HAS_IDENTIFIER == 0 {
            None
        } else {
            records.get(entry.subscription()).identifier()
        };
        Subscriber {
            session: entry.session(),
            options: SubOptions(flags & OPTION_BITS),
            subscription_identifier,
        }
    }
}

impl Iterator for Subscribers<'_> {
    type Item = Subscriber;

    #[inline]
    fn next(&mut self) -> Option<Subscriber> {
        if let Some(entry) = self.single.take() {
            return Some(Self::subscriber(self.records, entry));
        }
        loop {
            if let Some(entry) = self.current.next() {
                return Some(Self::subscriber(self.records, *entry));
            }
            self.current = self.rest.next()?.iter();
        }
    }

    #[inline]
    fn fold<B, F: FnMut(B, Subscriber) -> B>(self, init: B, mut each: F) -> B {
        let records = self.records;
        let mut folded = init;
        if let Some(entry) = self.single {
            folded = each(folded, Self::subscriber(records, entry));
        }
        folded = self.current.fold(folded, |folded, entry| {
            each(folded, Self::subscriber(records, *entry))
        });
        for segment in self.rest {
            folded = segment.iter().fold(folded, |folded, entry| {
                each(folded, Self::subscriber(records, *entry))
            });
        }
        folded
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let rest: usize = self.rest.clone().map(Vec::len).sum();
        let len = usize::from(self.single.is_some()) + self.current.len() + rest;
        (len, Some(len))
    }
}

impl ExactSizeIterator for Subscribers<'_> {}
