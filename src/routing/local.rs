//! A core's own index: filter id -> its own subscribers with their options.
//!
//! Owned by one core, never shared. The text of a filter is not kept here: a live one is found
//! through the shared index in both directions, and only while the index thread has not answered
//! yet the text lies in a small map of pending filters. The life of a filter on a core:
//!
//! ```text
//!            first SUBSCRIBE             Add pulled, answered
//! unknown ------------------> pending ------------------------> live
//!    ^                            | all left before the pull          | last one leaves
//!    |                            | and no SUBACK is owed             v
//!    +----------------------------+<-------- Remove pulled -------- leaving -- SUBSCRIBE --> live
//! ```
//!
//! Deltas are pulled ([`LocalIndex::next_delta`]) when the ring to the index thread has room; until
//! then they are one state a filter. A filter whose Remove was pulled is unknown at once; the next
//! SUBSCRIBE sends a new Add behind it, and the ring keeps the order. If all subscribers leave
//! while the answer is on its way, the Remove follows the answer, unless somebody comes meanwhile.
//!
//! Filter ids are addresses and are reused. Each live filter knows the epoch in which it was born
//! here; a message that was matched in an earlier epoch cannot mean it and is passed over
//! ([`LocalIndex::subscribers`]). 48 bits of it are kept: 89 years at 100,000 batches a second.
//!
//! A session's subscriptions are chained from a head that the session holds (`first_sub`,
//! [`NO_SUBSCRIPTION`] when there is none). SUBSCRIBE and UNSUBSCRIBE find an existing one in as
//! many steps as the smaller of two numbers, the session's subscriptions and the filter's
//! subscribers: for a filter of one's own it is one step, however many the session has.
//!
//! Measured with `cargo bench --bench index` (CPU time; a million subscriptions on one core): 47
//! bytes for a filter of one's own (28 and a slot), 36 for one of many subscribers of a filter; a new
//! filter 560 to 640 ns with its round through the shared index; joining a filter 30 ns, leaving it at
//! random 60 to 80; filter id to session at random 85 to 100 ns; a fan-out 0.4 to 0.8 ns a subscriber.

mod changes;
mod filters;
mod lists;
mod record;
mod slab;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
mod types;
mod walk;

use self::changes::Changes;
use self::filters::{Filters, Head};
use self::lists::{Lists, SESSIONS_MAX, SUBSCRIPTIONS_MAX};
use self::record::{NO_IDENTIFIER, Record, State};
use self::slab::Slab;
use super::reader::IndexReader;
use crate::base::ids::{Epoch, FilterId};

pub use self::changes::PENDING_FILTERS_MAX;
pub use self::record::Subscribers;
pub use self::types::{
    LocalDelta, PendingFilter, SubOptions, SubscribeOutcome, SubscribedFilter, Subscriber,
    Subscription, TooManyPending,
};
pub use self::walk::Placed;

/// The head of a session without subscriptions.
pub const NO_SUBSCRIPTION: u32 = u32::MAX;

/// The index of one core.
#[derive(Debug)]
pub struct LocalIndex {
    records: Slab<Record>,
    filters: Filters,
    lists: Lists,
    changes: Changes,
}

impl LocalIndex {
    /// An empty index. The seed must come from the system's random numbers.
    pub fn new(seed: [u64; 4]) -> Self {
        Self {
            records: Slab::default(),
            filters: Filters::new(),
            lists: Lists::default(),
            changes: Changes::new(seed),
        }
    }

    /// Subscribes a session to a valid filter, or replaces the options of its subscription. If the
    /// filter is not known on this core, `waiter` (the caller's, for the SUBACK) is yielded by
    /// [`Self::applied`]; the subscription itself is the session's at once.
    ///
    /// # Errors
    /// [`TooManyPending`]: nothing has changed.
    #[allow(clippy::too_many_arguments)] // what a SUBSCRIBE says, and its place
    pub fn subscribe(
        &mut self,
        reader: &IndexReader,
        session: u32,
        first_sub: &mut u32,
        filter: &str,
        options: SubOptions,
        subscription_identifier: Option<u32>,
        waiter: u64,
    ) -> Result<SubscribeOutcome, TooManyPending> {
        assert!(session < SESSIONS_MAX, "a core has at most 2^27 sessions");
        let identifier = subscription_identifier.unwrap_or(NO_IDENTIFIER);
        let record = Record {
            session,
            filter: 0,
            next_of_session: *first_sub,
            previous_of_session: NO_SUBSCRIPTION,
            at: 0,
            identifier,
            born_high: 0,
            options,
            state: State::Live,
        };
        let place = self.place_of(reader, filter).ok_or(TooManyPending)?;
        let known = self.existing(*first_sub, session, place);
        let existing = known.is_some();
        if let Some(number) = known {
            self.replace_options(number, options, identifier);
        } else {
            let number = self.insert(record, place);
            if *first_sub != NO_SUBSCRIPTION {
                self.records.get_mut(*first_sub).previous_of_session = number;
            }
            *first_sub = number;
        }
        let pending = match place {
            Place::Live(..) => None,
            Place::Pending(filter) => {
                self.changes.get_mut(filter).waiters.push(waiter);
                Some(filter)
            }
        };
        Ok(SubscribeOutcome { existing, pending })
    }

    /// Ends a session's subscription to a filter. False if it had none [MQTT-3.10.4].
    pub fn unsubscribe(
        &mut self,
        reader: &IndexReader,
        session: u32,
        first_sub: &mut u32,
        filter: &str,
    ) -> bool {
        let Some(place) = self.known_place(reader, filter) else {
            return false;
        };
        let Some(number) = self.existing(*first_sub, session, place) else {
            return false;
        };
        self.unchain(number, first_sub);
        self.detach(number);
        true
    }

    /// Whether a session has a subscription to a filter.
    pub fn is_subscribed(
        &self,
        reader: &IndexReader,
        session: u32,
        first_sub: u32,
        filter: &str,
    ) -> bool {
        let place = self.known_place(reader, filter);
        place.is_some_and(|place| self.existing(first_sub, session, place).is_some())
    }

    /// Ends all subscriptions of a session, whose head is then [`NO_SUBSCRIPTION`]. Waiters of its
    /// SUBSCRIBEs are yielded all the same.
    pub fn remove_session(&mut self, first_sub: &mut u32) {
        let mut number = std::mem::replace(first_sub, NO_SUBSCRIPTION);
        while number != NO_SUBSCRIPTION {
            let next = self.records.get(number).next_of_session;
            self.detach(number);
            number = next;
        }
    }

    /// The index thread has applied an `Add`, in force with `epoch`. Returns the waiters of the
    /// SUBSCRIBEs: their SUBACKs may leave.
    pub fn applied(&mut self, token: PendingFilter, filter: FilterId, epoch: Epoch) -> Vec<u64> {
        let pending = self.changes.end(token);
        for number in &pending.subscriptions {
            let record = self.records.get_mut(*number);
            record.state = State::Live;
            record.filter = filter.0;
            self.attach(*number, filter, epoch.0);
        }
        if pending.subscriptions.is_empty() {
            self.changes.leave(filter, epoch.0);
        }
        pending.waiters
    }

    /// The index thread had no memory for an `Add`. Returns the waiters, to be refused. The
    /// subscriptions are void; their records go with their sessions.
    pub fn refused(&mut self, token: PendingFilter) -> Vec<u64> {
        let pending = self.changes.end(token);
        for number in &pending.subscriptions {
            self.records.get_mut(*number).state = State::Refused;
        }
        pending.waiters
    }

    /// The next delta for the index thread. Pull only when there is room to send it.
    pub fn next_delta(&mut self) -> Option<LocalDelta<'_>> {
        self.changes.next()
    }

    /// This core's subscribers of a filter that a message matched in `message_epoch`. None if the
    /// filter is not known here, or the id is older than what it means now.
    #[inline]
    pub fn subscribers(&self, filter: FilterId, message_epoch: Epoch) -> Subscribers<'_> {
        let mut found = Subscribers::none(&self.records);
        match self.filters.get(filter) {
            Some(Head::One(number)) => {
                let record = self.records.get(number);
                if record.born() <= message_epoch.0 {
                    found.single = Some(record.entry(number));
                }
            }
            Some(Head::List(list)) if self.lists.born(list) <= message_epoch.0 => {
                let (first, rest) = self.lists.entries(list);
                found.current = first.iter();
                found.rest = rest.iter();
            }
            _ => {}
        }
        found
    }

    /// The subscriptions of a session.
    pub fn subscriptions(&self, first_sub: u32) -> impl Iterator<Item = Subscription<'_>> {
        let mut number = first_sub;
        std::iter::from_fn(move || {
            while number != NO_SUBSCRIPTION {
                let record = self.records.get(number);
                number = record.next_of_session;
                let filter = match record.state {
                    State::Live => SubscribedFilter::Live(FilterId(record.filter)),
                    State::Pending => {
                        SubscribedFilter::Pending(self.changes.text(PendingFilter(record.filter)))
                    }
                    State::Refused | State::Vacant => continue,
                };
                return Some(Subscription {
                    filter,
                    options: record.options,
                    subscription_identifier: record.identifier(),
                });
            }
            None
        })
    }

    /// Calls `each` with the text, options and identifier of each subscription of a session.
    pub fn for_each_subscription(
        &self,
        reader: &mut IndexReader,
        first_sub: u32,
        mut each: impl FnMut(&str, SubOptions, Option<u32>),
    ) {
        for subscription in self.subscriptions(first_sub) {
            let text = match subscription.filter {
                SubscribedFilter::Pending(text) => Some(text),
                SubscribedFilter::Live(filter) => reader.filter_text(filter),
            };
            debug_assert!(text.is_some(), "a live filter has its text");
            if let Some(text) = text {
                let identifier = subscription.subscription_identifier;
                each(text, subscription.options, identifier);
            }
        }
    }

    /// Subscriptions on this core, pending ones included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no subscription.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Filters in force on this core.
    pub fn filters_len(&self) -> usize {
        self.filters.len()
    }

    /// Filters that wait for the index thread's answer.
    pub fn pending_len(&self) -> usize {
        self.changes.pending_len()
    }

    /// Filters whose deltas have not been pulled (some may prove needless).
    pub fn dirty_len(&self) -> usize {
        self.changes.dirty_len()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.records.bytes() + self.filters.bytes() + self.lists.bytes() + self.changes.bytes()
    }

    /// The id and subscribers of a filter if it is in force here.
    fn live(&self, reader: &IndexReader, filter: &str) -> Option<(FilterId, Head)> {
        let id = reader.find(filter)?;
        self.filters.get(id).map(|head| (id, head))
    }

    /// Where the subscriptions to a filter are that is known here.
    fn known_place(&self, reader: &IndexReader, filter: &str) -> Option<Place> {
        if let Some(pending) = self.changes.find(filter) {
            return Some(Place::Pending(pending));
        }
        let (id, head) = self.live(reader, filter)?;
        Some(Place::Live(id, Some(head), 0))
    }

    /// Where a subscription to this filter goes; a filter that is new here begins to wait.
    fn place_of(&mut self, reader: &IndexReader, filter: &str) -> Option<Place> {
        if let Some(pending) = self.changes.find(filter) {
            return Some(Place::Pending(pending));
        }
        if let Some(id) = reader.find(filter) {
            if let Some(head) = self.filters.get(id) {
                return Some(Place::Live(id, Some(head), 0));
            }
            if let Some(born) = self.changes.come_back(id) {
                return Some(Place::Live(id, None, born));
            }
        }
        self.changes.begin(filter).map(Place::Pending)
    }

    /// The session's subscription in that place: by the session's chain or by the filter's
    /// subscribers, whichever ends first.
    fn existing(&self, first_sub: u32, session: u32, place: Place) -> Option<u32> {
        match place {
            Place::Live(_, None, _) => None,
            Place::Live(_, Some(Head::One(number)), _) => {
                (self.records.get(number).session == session).then_some(number)
            }
            Place::Live(id, Some(Head::List(list)), _) => {
                let (first, rest) = self.lists.entries(list);
                let entries = first.iter().chain(rest.iter().flatten());
                let numbers = entries.map(|entry| (entry.session(), entry.subscription()));
                self.meet(first_sub, session, (State::Live, id.0), numbers)
            }
            Place::Pending(filter) => {
                let numbers = self.changes.get(filter).subscriptions.iter();
                let numbers = numbers.map(|at| (self.records.get(*at).session, *at));
                self.meet(first_sub, session, (State::Pending, filter.0), numbers)
            }
        }
    }

    fn meet(
        &self,
        first_sub: u32,
        session: u32,
        wanted: (State, u32),
        mut others: impl Iterator<Item = (u32, u32)>,
    ) -> Option<u32> {
        let mut number = first_sub;
        while number != NO_SUBSCRIPTION {
            let record = self.records.get(number);
            if (record.state, record.filter) == wanted {
                return Some(number);
            }
            number = record.next_of_session;
            let (other, its_number) = others.next()?;
            if other == session {
                return Some(its_number);
            }
        }
        None
    }

    fn replace_options(&mut self, number: u32, options: SubOptions, identifier: u32) {
        let record = self.records.get_mut(number);
        record.options = options;
        record.identifier = identifier;
        let record = *record;
        if record.state != State::Live {
            return;
        }
        if let Some(Head::List(list)) = self.filters.get(FilterId(record.filter)) {
            self.lists.set(list, record.at, record.entry(number));
        }
    }

    fn insert(&mut self, mut record: Record, place: Place) -> u32 {
        match place {
            Place::Live(id, _, born) => {
                record.filter = id.0;
                let number = self.records.insert(record);
                self.attach(number, id, born);
                number
            }
            Place::Pending(filter) => {
                let waiting = &mut self.changes.get_mut(filter).subscriptions;
                record.state = State::Pending;
                record.filter = filter.0;
                record.at = slab::number_of(waiting.len());
                let number = self.records.insert(record);
                waiting.push(number);
                number
            }
        }
    }

    /// Makes a record a subscriber of a live filter; `born` counts if it is the first one.
    fn attach(&mut self, number: u32, filter: FilterId, born: u64) {
        assert!(
            number < SUBSCRIPTIONS_MAX,
            "a core has at most 2^30 subscriptions"
        );
        match self.filters.get(filter) {
            None => {
                self.records.get_mut(number).set_born(born);
                self.filters.set(filter, Head::One(number));
            }
            Some(Head::One(first)) => {
                let born = self.records.get(first).born();
                self.records.get_mut(first).at = 0;
                self.records.get_mut(number).at = 1;
                let entries = [first, number].map(|n| self.records.get(n).entry(n));
                let list = self.lists.create(born, entries);
                self.filters.set(filter, Head::List(list));
            }
            Some(Head::List(list)) => {
                let entry = self.records.get(number).entry(number);
                self.records.get_mut(number).at = self.lists.push(list, entry);
            }
        }
    }

    /// Takes a record out of its session's chain.
    fn unchain(&mut self, number: u32, first_sub: &mut u32) {
        let record = *self.records.get(number);
        let (previous, next) = (record.previous_of_session, record.next_of_session);
        if previous == NO_SUBSCRIPTION {
            *first_sub = next;
        } else {
            self.records.get_mut(previous).next_of_session = next;
        }
        if next != NO_SUBSCRIPTION {
            self.records.get_mut(next).previous_of_session = previous;
        }
    }

    /// Takes a record, which is unchained already, from its filter, and frees it.
    fn detach(&mut self, number: u32) {
        let record = *self.records.get(number);
        self.records.get_mut(number).state = State::Vacant;
        self.records.remove(number);
        match record.state {
            State::Refused | State::Vacant => {}
            State::Pending => {
                let filter = PendingFilter(record.filter);
                let waiting = &mut self.changes.get_mut(filter).subscriptions;
                waiting.swap_remove(record.at as usize);
                if let Some(moved) = waiting.get(record.at as usize) {
                    self.records.get_mut(*moved).at = record.at;
                }
            }
            State::Live => self.detach_live(record),
        }
    }

    fn detach_live(&mut self, record: Record) {
        let filter = FilterId(record.filter);
        match self.filters.get(filter) {
            None => debug_assert!(false, "a live subscription has its filter"),
            Some(Head::One(_)) => {
                self.filters.remove(filter);
                self.changes.leave(filter, record.born());
            }
            Some(Head::List(list)) => {
                if let Some(moved) = self.lists.swap_remove(list, record.at) {
                    self.records.get_mut(moved.subscription()).at = record.at;
                }
                if self.lists.len(list) == 1 {
                    self.end_list(filter, list);
                }
            }
        }
    }

    /// A list of one becomes a single subscriber again.
    fn end_list(&mut self, filter: FilterId, list: u32) {
        let (first, rest) = self.lists.entries(list);
        let last = first.iter().chain(rest.iter().flatten()).next();
        let Some(number) = last.map(|entry| entry.subscription()) else {
            return;
        };
        let born = self.lists.remove(list);
        self.records.get_mut(number).set_born(born);
        self.filters.set(filter, Head::One(number));
    }
}

/// Where a subscription goes: a live filter with its subscribers (or none and the birth of one
/// that comes back), or a pending one.
#[derive(Clone, Copy, Debug)]
enum Place {
    Live(FilterId, Option<Head>, u64),
    Pending(PendingFilter),
}
