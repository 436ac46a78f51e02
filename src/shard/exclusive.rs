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

/// Cores, their rings and the index thread in one thread, any order of their steps.
#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]
mod tests {
    use super::*;
    use crate::base::ids::CoreId;
    use crate::routing::exclusive::Claims;

    const CORES: usize = 3;
    const SESSIONS: u32 = 3;
    const TOPICS: [&str; 2] = ["t", "u"];
    const SEEDS: u64 = 10_000;
    const STEPS: usize = 120;

    enum OnTheWay {
        Claim(ClaimToken, String),
        Release(String),
    }

    /// What a session thinks of a topic.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Mind {
        Nothing,
        Asked,
        Holds,
    }

    struct World {
        random: u64,
        cores: Vec<ExclusiveTopics>,
        claims: Claims,
        deltas: Vec<VecDeque<OnTheWay>>,
        answers: Vec<VecDeque<(ClaimToken, bool)>>,
        minds: Vec<[[Mind; TOPICS.len()]; SESSIONS as usize]>,
        granted: u64,
        refused: u64,
    }

    impl World {
        fn new(seed: u64) -> Self {
            Self {
                random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
                cores: (0..CORES).map(|_| ExclusiveTopics::default()).collect(),
                claims: Claims::default(),
                deltas: (0..CORES).map(|_| VecDeque::new()).collect(),
                answers: (0..CORES).map(|_| VecDeque::new()).collect(),
                minds: vec![[[Mind::Nothing; TOPICS.len()]; SESSIONS as usize]; CORES],
                granted: 0,
                refused: 0,
            }
        }

        fn below(&mut self, limit: usize) -> usize {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            (self.random >> 33) as usize % limit
        }

        fn step(&mut self) {
            let core = self.below(CORES);
            match self.below(8) {
                0 | 1 => self.subscribe(core),
                2 => self.unsubscribe(core),
                3 => self.end_session(core),
                4 => self.pull(core),
                5 | 6 => self.decide(core),
                _ => self.answer(core),
            }
            self.check();
        }

        fn subscribe(&mut self, core: usize) {
            let (session, topic) = (self.below(SESSIONS as usize), self.below(TOPICS.len()));
            let waiter = ClaimWaiter {
                suback: Key {
                    index: 0,
                    generation: 0,
                },
                position: topic,
                session: session as u32,
                options: SubscribeOptions::default(),
                identifier: None,
            };
            let claimed = self.cores[core].claim(TOPICS[topic], session as u32, &waiter);
            let mind = &mut self.minds[core][session][topic];
            *mind = match claimed {
                Claimed::Yes => Mind::Holds,
                Claimed::Pending => Mind::Asked,
                Claimed::No => {
                    assert_eq!(*mind, Mind::Nothing, "who has a claim is not refused");
                    self.refused += 1;
                    Mind::Nothing
                }
            };
        }

        fn unsubscribe(&mut self, core: usize) {
            let (session, topic) = (self.below(SESSIONS as usize), self.below(TOPICS.len()));
            // A client's UNSUBSCRIBE waits for the SUBACK before it.
            if self.minds[core][session][topic] != Mind::Asked {
                self.cores[core].release(TOPICS[topic], session as u32);
                self.minds[core][session][topic] = Mind::Nothing;
            }
        }

        fn end_session(&mut self, core: usize) {
            let session = self.below(SESSIONS as usize);
            self.cores[core].release_all(session as u32);
            self.minds[core][session] = [Mind::Nothing; TOPICS.len()];
        }

        fn pull(&mut self, core: usize) {
            let delta = match self.cores[core].next_delta() {
                Some(LocalDelta::Claim { token, topic }) => {
                    OnTheWay::Claim(token, topic.to_owned())
                }
                Some(LocalDelta::Release { topic }) => OnTheWay::Release(topic.to_owned()),
                Some(other) => panic!("{other:?}"),
                None => return,
            };
            self.deltas[core].push_back(delta);
        }

        fn decide(&mut self, core: usize) {
            let id = CoreId(core as u8);
            match self.deltas[core].pop_front() {
                Some(OnTheWay::Claim(token, topic)) => {
                    let granted = self.claims.claim(&topic, id);
                    self.answers[core].push_back((token, granted));
                }
                Some(OnTheWay::Release(topic)) => self.claims.release(&topic, id),
                None => {}
            }
        }

        fn answer(&mut self, core: usize) {
            let Some((token, granted)) = self.answers[core].pop_front() else {
                return;
            };
            let (waiters, topic) = self.cores[core].answered(token, granted);
            assert!(!waiters.is_empty(), "every claim was somebody's");
            for waiter in waiters {
                assert_eq!(TOPICS[waiter.position], &*topic);
                let is_of = self.cores[core].is_of(&topic, waiter.session);
                let mind = &mut self.minds[core][waiter.session as usize][waiter.position];
                if granted && is_of {
                    self.granted += u64::from(*mind != Mind::Holds);
                    *mind = Mind::Holds;
                } else if !granted {
                    self.refused += 1;
                    *mind = Mind::Nothing;
                }
            }
        }

        /// At most one session of all cores holds a topic, and the index thread knows its core.
        fn check(&self) {
            for (at, topic) in TOPICS.iter().enumerate() {
                let holds = |core: &usize| {
                    let sessions = self.minds[*core].iter();
                    sessions.filter(|minds| minds[at] == Mind::Holds).count()
                };
                let holders: Vec<usize> = (0..CORES).filter(|core| holds(core) > 0).collect();
                assert!(holders.len() <= 1, "{topic}: {holders:?}");
                for core in holders {
                    assert_eq!(holds(&core), 1, "{topic}");
                    assert!(self.cores[core].by_text.contains_key(*topic));
                }
            }
        }

        /// Everything on its way arrives.
        fn settle(&mut self) {
            for _ in 0..16 {
                for core in 0..CORES {
                    self.pull(core);
                    self.decide(core);
                    self.answer(core);
                    self.check();
                }
            }
            let asked = self.minds.iter().flatten().flatten();
            assert!(asked.clone().all(|mind| *mind != Mind::Asked), "no answer");
            let held = asked.filter(|mind| **mind == Mind::Holds).count();
            assert_eq!(held, self.claims.len(), "who has gone holds nothing");
            let known: usize = self.cores.iter().map(ExclusiveTopics::len).sum();
            assert_eq!(held, known);
        }
    }

    #[test]
    fn whatever_the_order_one_session_holds_a_topic() {
        let (mut granted, mut refused) = (0, 0);
        for seed in 1..=SEEDS {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
            }
            world.settle();
            granted += world.granted;
            refused += world.refused;
            // When all have gone, whoever comes gets it.
            for core in 0..CORES {
                for session in 0..SESSIONS {
                    world.cores[core].release_all(session);
                    world.minds[core][session as usize] = [Mind::Nothing; TOPICS.len()];
                }
            }
            world.settle();
            assert!(world.claims.is_empty(), "seed {seed}");
        }
        assert!(granted > SEEDS && refused > SEEDS, "{granted} {refused}");
    }

    #[test]
    fn two_cores_claim_at_once_and_exactly_one_wins() {
        for first in 0..2 {
            let mut world = World::new(1);
            let ask = |world: &mut World, core: usize| {
                let waiter = ClaimWaiter {
                    suback: Key {
                        index: 0,
                        generation: 0,
                    },
                    position: 0,
                    session: 0,
                    options: SubscribeOptions::default(),
                    identifier: None,
                };
                let claimed = world.cores[core].claim("t", 0, &waiter);
                assert_eq!(claimed, Claimed::Pending);
                world.minds[core][0][0] = Mind::Asked;
                world.pull(core);
            };
            ask(&mut world, 0);
            ask(&mut world, 1);
            world.decide(first);
            world.settle();
            assert_eq!(world.minds[first][0][0], Mind::Holds);
            assert_eq!(world.minds[1 - first][0][0], Mind::Nothing);
            // The winner's client is gone for good; the other one asks again.
            world.cores[first].release_all(0);
            world.minds[first][0][0] = Mind::Nothing;
            world.settle();
            ask(&mut world, 1 - first);
            world.settle();
            assert_eq!(world.minds[1 - first][0][0], Mind::Holds);
        }
    }
}
