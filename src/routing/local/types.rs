//! What a subscription says, and what the local index answers.

use crate::base::ids::FilterId;
use crate::routing::exclusive::ClaimToken;

/// Subscription options as in the packet [MQTT-3.8.3.1]: bits 0-1 the maximum QoS, 2 no local,
/// 3 retain as published, 4-5 retain handling.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct SubOptions(pub u8);

impl SubOptions {
    /// The options of one subscription; `qos` and `retain_handling` are 0 to 2.
    pub fn new(qos: u8, no_local: bool, retain_as_published: bool, retain_handling: u8) -> Self {
        let flags = u8::from(no_local) << 2 | u8::from(retain_as_published) << 3;
        Self(qos & 3 | flags | (retain_handling & 3) << 4)
    }

    /// The maximum QoS.
    pub fn qos(self) -> u8 {
        self.0 & 3
    }

    /// Not to be sent what the session itself published.
    pub fn no_local(self) -> bool {
        self.0 & 1 << 2 != 0
    }

    /// The retain flag is to be passed on.
    pub fn retain_as_published(self) -> bool {
        self.0 & 1 << 3 != 0
    }

    /// Which retained messages a SUBSCRIBE asks for: 0 all, 1 if the subscription is new, 2 none.
    pub fn retain_handling(self) -> u8 {
        self.0 >> 4 & 3
    }
}

/// One subscriber of a filter, as a fan-out sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscriber {
    /// The session's number on this core.
    pub session: u32,
    /// The options.
    pub options: SubOptions,
    /// The subscription identifier, if it has one.
    pub subscription_identifier: Option<u32>,
}

/// A filter whose id the index thread has not told yet; goes with the `Add` and its answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PendingFilter(pub u32);

/// A delta for the index thread; the caller adds its core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LocalDelta<'a> {
    /// Answer with [`applied`](super::LocalIndex::applied) or [`refused`](super::LocalIndex::refused).
    Add {
        /// To go with the answer.
        token: PendingFilter,
        /// The filter's text.
        filter: &'a str,
    },
    /// A session of this core wants a topic for itself; needs an answer.
    Claim {
        /// Goes with the answer.
        token: ClaimToken,
        /// The topic.
        topic: &'a str,
    },
    /// This core gives up a topic that it holds. Needs no answer.
    Release {
        /// The topic.
        topic: &'a str,
    },
    /// Needs no answer.
    Remove {
        /// The filter.
        filter: FilterId,
    },
}

/// What became of a SUBSCRIBE's filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscribeOutcome {
    /// The session had this subscription, whose options were replaced [MQTT-3.8.4-3].
    pub existing: bool,
    /// `None`: in force. Else the waiter is yielded when the filter is.
    pub pending: Option<PendingFilter>,
}

/// Too many filters wait for the index thread ([`PENDING_FILTERS_MAX`](super::PENDING_FILTERS_MAX)); answer "quota exceeded".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyPending;

/// The filter of one of a session's subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubscribedFilter<'a> {
    /// In force; the text is in the shared index.
    Live(FilterId),
    /// Waiting for the index thread.
    Pending(&'a str),
}

/// One of a session's subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscription<'a> {
    /// Its filter.
    pub filter: SubscribedFilter<'a>,
    /// Its options.
    pub options: SubOptions,
    /// Its identifier, if it has one.
    pub subscription_identifier: Option<u32>,
}
