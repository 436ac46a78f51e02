//! The subscriptions of a core by the numbers of their places, for lists that are asked for in pages.
//! A subscription stays at its place as long as it exists.

use crate::base::ids::FilterId;

use super::LocalIndex;
use super::filters::Head;
use super::record::State;
use super::types::{PendingFilter, SubOptions, SubscribedFilter};

/// What is at one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed<'a> {
    /// The session's number on this core.
    pub session: u32,
    /// Its filter.
    pub filter: SubscribedFilter<'a>,
    /// Its options.
    pub options: SubOptions,
    /// Its identifier, if it has one.
    pub identifier: Option<u32>,
    /// The place of the session's next subscription, or [`NO_SUBSCRIPTION`](super::NO_SUBSCRIPTION).
    pub next_of_session: u32,
    /// It is the first of its filter's subscriptions: exactly one of them is.
    pub is_first: bool,
}

impl LocalIndex {
    /// The places there are: all numbers below.
    pub fn places(&self) -> u32 {
        self.records.places()
    }

    /// The subscription at a place; nothing if there is none (any more) or it is void.
    pub fn at_place(&self, number: u32) -> Option<Placed<'_>> {
        if number >= self.places() {
            return None;
        }
        let record = self.records.get(number);
        let filter = match record.state {
            State::Live => SubscribedFilter::Live(FilterId(record.filter)),
            State::Pending => {
                SubscribedFilter::Pending(self.changes.text(PendingFilter(record.filter)))
            }
            State::Refused | State::Vacant => return None,
        };
        let is_first = match self.filters.get(FilterId(record.filter)) {
            _ if record.state != State::Live => false,
            Some(Head::One(first)) => first == number,
            Some(Head::List(_)) => record.at == 0,
            None => false,
        };
        Some(Placed {
            session: record.session,
            filter,
            options: record.options,
            identifier: record.identifier(),
            next_of_session: record.next_of_session,
            is_first,
        })
    }
}
