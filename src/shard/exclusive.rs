//! `$exclusive/<topic>`: a subscription that one client in the whole broker may have. Others get 0x97,
//! or 0x8F where exclusive subscriptions are off. An ordinary subscription to the same topic is not
//! concerned; the claim of a session that lives on without its client stays.
//!
//! The index thread decides between cores ([`crate::routing::exclusive`]), a core among its own
//! sessions. The subscription is made once the claim is granted, and SUBACK leaves when it is in force.
//! A session has one subscription to a topic, claimed or not; the claim ends with it. The life of a
//! topic on a core:
//!
//! ```text
//!          SUBSCRIBE          pulled           granted
//! unknown -----------> wanted ------> asked ------------> held
//!    ^                                  | refused           | its session leaves
//!    |<---------------------------------+                   v
//!    +<------------------ release pulled ---------------- leaving -- SUBSCRIBE --> held
//! ```
//!
//! A claimant that goes before the answer leaves the question open: the next one of this core takes
//! its place, or the topic is released when it is granted.

use std::collections::VecDeque;
use std::hash::BuildHasherDefault;

use ahash::AHasher;
use hashbrown::HashMap;

use crate::base::limits::EXCLUSIVE_TOPICS_MAX;
use crate::base::slab::{Key, Slab};
use crate::metrics::Counter;
use crate::mqtt::decode_subscribe::{SubscribeEntry, SubscribeOptions};
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::topic::{TopicFilter, is_shared};
use crate::routing::exclusive::ClaimToken;
use crate::routing::local::LocalDelta;
use crate::session::state::NONE;
use crate::shard::Shard;

/// What an exclusive filter begins with.
pub const EXCLUSIVE_PREFIX: &str = "$exclusive/";

/// The exclusive topics that sessions of this core hold or want.
#[derive(Default)]
pub struct ExclusiveTopics {
    topics: Slab<Topic>,
    by_text: HashMap<Box<str>, u32, BuildHasherDefault<AHasher>>,
    by_session: HashMap<u32, Vec<u32>, BuildHasherDefault<AHasher>>,
    /// Topics with something to tell the index thread, maybe.
    dirty: VecDeque<u32>,
    /// The text of the delta that was pulled last.
    pulled: Box<str>,
}

#[derive(Debug)]
struct Topic {
    text: Box<str>,
    state: State,
    /// Who holds or wants it; [`NONE`] if that session has gone.
    session: u32,
    /// SUBSCRIBEs that wait for the answer.
    waiters: Vec<ClaimWaiter>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Wanted,
    Asked,
    Held,
    Leaving,
}

/// One filter of a SUBSCRIBE that waits for a claim.
#[derive(Clone, Copy, Debug)]
pub struct ClaimWaiter {
    /// The SUBSCRIBE.
    pub suback: Key,
    /// The filter's place in it.
    pub position: usize,
    session: u32,
    options: SubscribeOptions,
    identifier: Option<u32>,
}

/// How a claim stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Claimed {
    Yes,
    No,
    /// The waiter is yielded with the answer.
    Pending,
}

impl ExclusiveTopics {
    /// Topics held or wanted.
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Whether no session of this core claims anything.
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }

    /// Whether the index thread may have to be told something.
    pub fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// A session wants a topic for itself.
    fn claim(&mut self, text: &str, session: u32, waiter: &ClaimWaiter) -> Claimed {
        let Some(&index) = self.by_text.get(text) else {
            return self.want(text, session, waiter);
        };
        let Some(topic) = self.topics.at_mut(index) else {
            return Claimed::No;
        };
        let claimed = match topic.state {
            _ if topic.session != NONE && topic.session != session => Claimed::No,
            State::Wanted | State::Asked => {
                topic.waiters.push(*waiter);
                Claimed::Pending
            }
            State::Held | State::Leaving => {
                topic.state = State::Held;
                Claimed::Yes
            }
        };
        if claimed != Claimed::No && topic.session == NONE {
            topic.session = session;
            self.by_session.entry(session).or_default().push(index);
        }
        claimed
    }

    fn want(&mut self, text: &str, session: u32, waiter: &ClaimWaiter) -> Claimed {
        if self.len() >= EXCLUSIVE_TOPICS_MAX {
            return Claimed::No;
        }
        let topic = Topic {
            text: text.into(),
            state: State::Wanted,
            session,
            waiters: vec![*waiter],
        };
        let index = self.topics.insert(topic).index;
        self.by_text.insert(text.into(), index);
        self.by_session.entry(session).or_default().push(index);
        self.dirty.push_back(index);
        Claimed::Pending
    }

    /// A session's subscription to a topic has ended.
    pub fn release(&mut self, text: &str, session: u32) {
        let Some(&index) = self.by_text.get(text) else {
            return;
        };
        if self.topics.at(index).is_none_or(|t| t.session != session) {
            return;
        }
        if let Some(own) = self.by_session.get_mut(&session) {
            own.retain(|other| *other != index);
            if own.is_empty() {
                self.by_session.remove(&session);
            }
        }
        self.leave(index);
    }

    /// A session has ended.
    pub fn release_all(&mut self, session: u32) {
        for index in self.by_session.remove(&session).unwrap_or_default() {
            self.leave(index);
        }
    }

    fn leave(&mut self, index: u32) {
        if let Some(topic) = self.topics.at_mut(index) {
            topic.session = NONE;
            if topic.state == State::Held {
                topic.state = State::Leaving;
                self.dirty.push_back(index);
            }
        }
    }

    /// The next delta for the index thread, which counts as sent.
    pub fn next_delta(&mut self) -> Option<LocalDelta<'_>> {
        while let Some(index) = self.dirty.pop_front() {
            let Some(topic) = self.topics.at_mut(index) else {
                continue;
            };
            match topic.state {
                State::Wanted => {
                    topic.state = State::Asked;
                    let token = ClaimToken(index);
                    let topic = &self.topics.at(index)?.text;
                    return Some(LocalDelta::Claim { token, topic });
                }
                State::Leaving => {
                    self.forget(index);
                    let topic = &self.pulled;
                    return Some(LocalDelta::Release { topic });
                }
                // Someone came back before the release was pulled.
                State::Asked | State::Held => {}
            }
        }
        None
    }

    /// The index thread has decided. Returns who waits, and the topic's text.
    fn answered(&mut self, token: ClaimToken, granted: bool) -> (Vec<ClaimWaiter>, Box<str>) {
        let index = token.0;
        let Some(topic) = self.topics.at_mut(index) else {
            debug_assert!(false, "an answer to a claim that nobody made");
            return Default::default();
        };
        let waiters = std::mem::take(&mut topic.waiters);
        let session = topic.session;
        if granted {
            topic.state = State::Held;
            let text = topic.text.clone();
            if session == NONE {
                self.leave(index);
            }
            return (waiters, text);
        }
        if let Some(own) = self.by_session.get_mut(&session) {
            own.retain(|other| *other != index);
            if own.is_empty() {
                self.by_session.remove(&session);
            }
        }
        self.forget(index);
        (waiters, std::mem::take(&mut self.pulled))
    }

    /// Takes a topic out; its text stays in `pulled`.
    fn forget(&mut self, index: u32) {
        if let Some(topic) = self.topics.remove_at(index) {
            self.by_text.remove(&topic.text);
            self.pulled = topic.text;
        }
    }
}

impl Shard {
    /// One exclusive filter of a SUBSCRIBE.
    pub(super) fn exclusive_subscribe(
        &mut self,
        session_index: u32,
        suback: Key,
        position: usize,
        entry: &SubscribeEntry<'_>,
        identifier: Option<u32>,
    ) -> ReasonCode {
        let topic = entry.filter.strip_prefix(EXCLUSIVE_PREFIX);
        let topic = topic.filter(|topic| !is_shared(topic) && TopicFilter::new(topic).is_ok());
        let (Some(topic), true) = (topic, self.clients.rules.addons.exclusive_subscription) else {
            return ReasonCode::TopicFilterInvalid;
        };
        let waiter = ClaimWaiter {
            suback,
            position,
            session: session_index,
            options: entry.options,
            identifier,
        };
        match self.exclusive.claim(topic, session_index, &waiter) {
            Claimed::Yes => self.subscribe_claimed(&waiter, topic),
            Claimed::No => self.exclusive_refused(),
            Claimed::Pending => {
                if let Some(pending) = self.subacks.get_mut(suback) {
                    pending.outstanding += 1;
                }
                ReasonCode::QuotaExceeded
            }
        }
    }

    /// The index thread has decided on a claim.
    pub(super) fn claim_answered(&mut self, token: ClaimToken, granted: bool) {
        let (waiters, topic) = self.exclusive.answered(token, granted);
        for waiter in waiters {
            let reason = if !granted {
                self.exclusive_refused()
            } else if self.exclusive.is_of(&topic, waiter.session) {
                self.subscribe_claimed(&waiter, &topic)
            } else {
                ReasonCode::UnspecifiedError // its session has gone
            };
            self.settle_position(waiter.suback, waiter.position, reason);
        }
    }

    fn subscribe_claimed(&mut self, waiter: &ClaimWaiter, topic: &str) -> ReasonCode {
        let entry = SubscribeEntry {
            filter: topic,
            options: waiter.options,
        };
        let (suback, position) = (waiter.suback, waiter.position);
        let identifier = waiter.identifier;
        let reason = self.subscribe_plain(waiter.session, suback, position, &entry, identifier);
        if reason.is_error() {
            self.exclusive.release(topic, waiter.session);
        }
        reason
    }

    fn exclusive_refused(&self) -> ReasonCode {
        self.clients.metrics.inc(Counter::ExclusiveRefused);
        ReasonCode::QuotaExceeded
    }
}

impl ExclusiveTopics {
    /// Whether a topic is a session's.
    fn is_of(&self, text: &str, session: u32) -> bool {
        let index = self.by_text.get(text);
        let topic = index.and_then(|index| self.topics.at(*index));
        topic.is_some_and(|topic| topic.session == session)
    }
}
