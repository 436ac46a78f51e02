//! Stored messages for a new subscription, wherever they lie.
//!
//! The subscriber's core asks the cores that keep the topics of the filter, one after the other, for
//! as many messages as the session has room for, until each has no more.
//!
//! Between what is stored and what comes live runs a cut in time, so that nothing is missed and nothing
//! comes twice. The cut is the beginning of the first turn after the SUBACK that has another time.
//!
//! - What any core receives from then on is matched with the subscription and comes live: a stored copy is
//!   left out, whether the live one has come or not.
//! - What was received before the cut is everywhere before the keeper is asked. Every core has passed the
//!   epoch of the SUBSCRIBE and says that all it received up to the cut's millisecond is in the lanes
//!   (or it sleeps); the subscriber's core then empties its lanes once more, and so does the keeper
//!   before it answers. So a live copy of it has come first if there is one, and a stored message is
//!   left out when the same or a newer one of its topic has come since the SUBSCRIBE.
//!
//! Times of different cores are compared, which have one clock. When that is set back, messages with
//! times of the future are stored; what seems to be much later than now is not taken for one that comes
//! live.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault};

use ahash::AHasher;
use compact_str::CompactString;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::base::ids::{CoreId, Epoch};
use crate::base::limits::{
    REPLAY_AHEAD_US_MAX, REPLAY_CREDIT, REPLAY_NODES_PER_TURN, REPLAY_SEEN_MAX,
    REPLAYS_OF_SESSION_MAX, REPLAYS_PER_TURN,
};
use crate::base::slab::{Key, Slab};
use crate::base::time::Now;
use crate::metrics::Counter;
use crate::mqtt::message::{Message, Publication};
use crate::mqtt::topic::has_wildcard;
use crate::routing::retained::{Cursor, Progress, Stored};
use crate::session::queue::ShareTag;
use crate::shard::Shard;
use crate::shard::cross::{Question, stage_answered, stage_cancel, stage_question, stage_stored};
use crate::shard::fanout::{Fanout, Grant};
use crate::shard::registry::Registry;
use crate::shard::subscribe::WantedReplay;

/// A message in the store of retained messages.
#[derive(Debug)]
pub struct StoredMessage(pub Message);

impl Stored for StoredMessage {
    fn version(&self) -> (u64, u8) {
        stored_version(&self.0.view())
    }

    fn expires_us(&self) -> Option<u64> {
        self.0.view().expires_us.map(|at| at.get())
    }

    fn payload_bytes(&self) -> usize {
        self.0.view().payload.len()
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Which of two messages of a topic is the later one: by the time of their arrival, then by the core
/// to which they came.
pub fn stored_version(publication: &Publication<'_>) -> (u64, u8) {
    let core = u8::try_from(publication.publisher.0 >> 56).unwrap_or(u8::MAX);
    (publication.received_us, core)
}

/// One subscription that is being served with stored messages.
#[derive(Debug)]
struct Replay {
    session: u32,
    wanted: WantedReplay,
    /// When it was asked for, in the order of [`Replays::clock`].
    begun: u64,
    /// Every core must have settled this.
    epoch: Epoch,
    /// What is received from then on comes live, microseconds of UNIX time.
    cut_us: u64,
    /// The core being asked.
    keeper: CoreId,
    state: State,
}

/// The replays of one session: a few at a time, the others wait.
#[derive(Debug, Default)]
struct OfSession {
    running: SmallVec<[Key; 1]>,
    /// SUBSCRIBEs whose SUBACK has not left: their replays are to come, and live messages count already.
    announced: u32,
    /// By filter: who subscribes again while it waits is served once.
    waiting: BTreeMap<CompactString, (WantedReplay, u64)>,
    /// Topics of which a live retained message came meanwhile.
    seen_live: BTreeMap<Box<str>, SeenLive>,
    /// Replays that wait until the client has taken something.
    hungry: SmallVec<[Key; 1]>,
}

/// The newest live message of a topic.
#[derive(Clone, Copy, Debug)]
struct SeenLive {
    /// When it came, in the order of [`Replays::clock`].
    at: u64,
    version: (u64, u8),
    /// Hash of its payload: what one core received in one turn has one version.
    payload: u64,
}

impl SeenLive {
    /// Whether it is a stored message or newer. Of several with one version the one in the store is the
    /// last.
    fn covers(&self, stored: &Publication<'_>) -> bool {
        match self.version.cmp(&stored_version(stored)) {
            Ordering::Greater => true,
            Ordering::Equal => self.payload == payload_hash(stored),
            Ordering::Less => false,
        }
    }
}

fn payload_hash(publication: &Publication<'_>) -> u64 {
    BuildHasherDefault::<AHasher>::default().hash_one(publication.payload)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The turn in which the SUBACK left, which began then, must end.
    AwaitsCut { turn: u64, began: Now },
    /// Other cores may not know of the subscription yet, or may not have sent what they received up to
    /// the end of this millisecond.
    AwaitsOthers { cut_ms: u64 },
    /// The lanes have to be emptied once more after this turn.
    AwaitsLanes { turn: u64 },
    /// The keeper is to be asked, for the first time or for more.
    Ready { first: bool },
    /// The keeper answers.
    Asked,
}

/// Replays to sessions of this core, and questions of other cores (and this one) to its store.
#[derive(Default)]
pub struct Replays {
    running: Slab<Replay>,
    of_session: HashMap<u32, OfSession, BuildHasherDefault<AHasher>>,
    /// Replays whose keeper is to be asked.
    due: VecDeque<Key>,
    /// Counts subscriptions and live messages, to tell their order.
    clock: u64,
    cancels: Vec<(CoreId, u64)>,
    cursors: HashMap<(CoreId, u64), Cursor, BuildHasherDefault<AHasher>>,
    questions: VecDeque<Waiting>,
}

/// A question that is not wholly answered.
#[derive(Debug)]
struct Waiting {
    from: CoreId,
    replay: u64,
    credit: u16,
    /// The turn in which it was drained.
    turn: u64,
    /// Of a first question, until its search begins: what is stored before that is found.
    filter: Option<Box<str>>,
}

impl Replays {
    /// Whether a replay is to be driven on; the core looks again soon.
    pub fn is_idle(&self) -> bool {
        self.due.is_empty() && self.questions.is_empty() && self.cancels.is_empty()
    }

    /// Replays to this core's sessions and, of all cores, from this core's store.
    pub fn counts(&self) -> (usize, usize) {
        (self.running.len() as usize, self.cursors.len())
    }

    /// Whether a session of this core is being served.
    pub fn is_running(&self) -> bool {
        !self.of_session.is_empty()
    }

    /// A SUBSCRIBE that wants stored messages: what comes live from now on is newer than they are. Says
    /// when that was.
    pub fn announce(&mut self, session: u32) -> u64 {
        self.of_session.entry(session).or_default().announced += 1;
        self.clock += 1;
        self.clock
    }

    /// The replays of a SUBSCRIBE have begun; says whether the session has none.
    fn retract(&mut self, session: u32) -> bool {
        let Some(of_session) = self.of_session.get_mut(&session) else {
            return true;
        };
        of_session.announced -= 1;
        let last = of_session.announced == 0
            && of_session.running.is_empty()
            && of_session.waiting.is_empty();
        if last {
            self.of_session.remove(&session);
        }
        last
    }

    /// Gives up the replays of a session whose client has gone.
    pub fn abort_of(&mut self, session: u32, registry: &mut Registry) {
        let replaying = registry
            .at_mut(session)
            .is_some_and(|s| std::mem::take(&mut s.replaying));
        if !replaying {
            return;
        }
        let aborted = self.of_session.remove(&session).unwrap_or_default();
        for key in aborted.running {
            if let Some(replay) = self.running.remove(key) {
                self.cancels.push((replay.keeper, key.pack()));
            }
        }
    }

    /// Notes a live retained message that went to a session with running replays.
    pub fn note_live(&mut self, session: u32, publication: &Publication<'_>) {
        self.clock += 1;
        let Some(of_session) = self.of_session.get_mut(&session) else {
            return;
        };
        let topic = publication.topic;
        let seen = SeenLive {
            at: self.clock,
            version: stored_version(publication),
            payload: payload_hash(publication),
        };
        if let Some(newest) = of_session.seen_live.get_mut(topic) {
            if newest.version <= seen.version {
                *newest = seen;
            }
        } else if of_session.seen_live.len() < REPLAY_SEEN_MAX {
            of_session.seen_live.insert(topic.into(), seen);
        }
    }

    /// Whether a stored message is left out because the same or a newer one of its topic comes live.
    fn comes_live(&self, replay: &Replay, stored: &Publication<'_>, now_us: u64) -> bool {
        let latest_us = now_us.saturating_add(REPLAY_AHEAD_US_MAX);
        if stored.received_us >= replay.cut_us && stored.received_us <= latest_us {
            return true;
        }
        self.of_session
            .get(&replay.session)
            .and_then(|of_session| of_session.seen_live.get(stored.topic))
            .is_some_and(|seen| seen.at > replay.begun && seen.covers(stored))
    }

    /// Clients have taken something: what waited for it is looked at again.
    fn feed(&mut self, sessions: &mut Vec<u32>) {
        for session in sessions.drain(..) {
            if let Some(of_session) = self.of_session.get_mut(&session) {
                self.due.extend(of_session.hungry.drain(..));
            }
        }
    }

    /// A client has no room: its replay waits until it has taken something.
    fn starve(&mut self, session: u32, key: Key) {
        if let Some(of_session) = self.of_session.get_mut(&session) {
            of_session.hungry.push(key);
        }
    }

    fn start(&mut self, replay: Replay) {
        let session = replay.session;
        let key = self.running.insert(replay);
        self.of_session
            .entry(session)
            .or_default()
            .running
            .push(key);
        self.due.push_back(key);
    }

    /// The replays of a session that serve a filter; none that waits is left.
    fn of_filter(&mut self, session: u32, filter: &str) -> SmallVec<[Key; 1]> {
        let Some(of_session) = self.of_session.get_mut(&session) else {
            return SmallVec::new();
        };
        of_session.waiting.remove(filter);
        let serves = |key: &Key| {
            let replay = self.running.get(*key);
            replay.is_some_and(|replay| replay.wanted.filter == filter)
        };
        of_session.running.iter().copied().filter(serves).collect()
    }

    /// A replay is over. Yields the next of its session that waits; says whether it was the last.
    fn end(&mut self, key: Key) -> (Option<(WantedReplay, u64)>, bool) {
        let Some(replay) = self.running.remove(key) else {
            return (None, false);
        };
        let Some(of_session) = self.of_session.get_mut(&replay.session) else {
            return (None, true);
        };
        of_session.running.retain(|other| *other != key);
        of_session.hungry.retain(|other| *other != key);
        let next = of_session.waiting.pop_first().map(|(_, wanted)| wanted);
        let last = next.is_none() && of_session.running.is_empty() && of_session.announced == 0;
        if last {
            self.of_session.remove(&replay.session);
        }
        (next, last)
    }
}

impl Shard {
    /// Begins to serve the subscriptions of a SUBSCRIBE that has just been acknowledged; it was
    /// announced at `begun`.
    pub fn begin_replays(&mut self, session_index: u32, begun: u64, all: Vec<WantedReplay>) {
        for wanted in all {
            self.begin_replay(session_index, wanted, begun);
        }
        if self.replays.retract(session_index)
            && let Some(session) = self.clients.registry.at_mut(session_index)
        {
            session.replaying = false;
        }
    }

    fn begin_replay(&mut self, session_index: u32, wanted: WantedReplay, begun: u64) {
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return;
        };
        session.replaying = true;
        self.clients.metrics.inc(Counter::RetainedReplays);
        let of_session = self.replays.of_session.entry(session_index).or_default();
        if of_session.running.len() >= REPLAYS_OF_SESSION_MAX {
            let filter = wanted.filter.clone();
            of_session.waiting.insert(filter, (wanted, begun));
        } else {
            self.start_replay(session_index, wanted, begun);
        }
    }

    fn start_replay(&mut self, session: u32, wanted: WantedReplay, begun: u64) {
        let keeper = if has_wildcard(&wanted.filter) {
            CoreId(0)
        } else {
            self.homes.of_topic(&wanted.filter)
        };
        self.replays.start(Replay {
            session,
            wanted,
            begun,
            epoch: self.routes.index.epoch(),
            cut_us: u64::MAX,
            keeper,
            state: State::AwaitsCut {
                turn: self.outboxes.turn(),
                began: self.clients.now,
            },
        });
    }

    /// A subscription has ended: nothing that is stored follows [MQTT-3.10.4-1].
    pub fn stop_replays(&mut self, session_index: u32, filter: &str) {
        for key in self.replays.of_filter(session_index, filter) {
            if let Some(replay) = self.replays.running.get(key) {
                self.replays.cancels.push((replay.keeper, key.pack()));
            }
            self.end_replay(session_index, key);
        }
    }

    /// A replay is over: the next of its session begins.
    fn end_replay(&mut self, session_index: u32, key: Key) {
        let (next, last) = self.replays.end(key);
        if let Some((wanted, begun)) = next {
            self.start_replay(session_index, wanted, begun);
        } else if last && let Some(session) = self.clients.registry.at_mut(session_index) {
            session.replaying = false;
        }
    }

    /// Drives replays and answers on, a bounded step.
    pub fn advance_replays(&mut self) {
        self.replays.feed(&mut self.clients.replays_fed);
        if self.replays.is_idle() {
            return;
        }
        for (core, replay) in std::mem::take(&mut self.replays.cancels) {
            if core == self.clients.core {
                self.cancel_asked(core, replay);
            } else {
                stage_cancel(&mut self.outboxes, core, replay);
            }
        }
        for _ in 0..self.replays.due.len().min(REPLAYS_PER_TURN) {
            let Some(key) = self.replays.due.pop_front() else {
                break;
            };
            if !self.advance_replay(key) {
                self.replays.due.push_back(key);
            }
        }
        self.answer_questions();
    }

    /// Asks the keeper of a replay if that may be; says whether it need not be looked at again before
    /// there is an answer.
    fn advance_replay(&mut self, key: Key) -> bool {
        if !self.pass_cut(key) {
            return false;
        }
        let Some(replay) = self.replays.running.get_mut(key) else {
            return true;
        };
        let State::Ready { first } = replay.state else {
            return true;
        };
        let (session, keeper) = (replay.session, replay.keeper);
        let filter = if first {
            replay.wanted.filter.clone()
        } else {
            Default::default()
        };
        if !self.outboxes.has_room(keeper) {
            return false;
        }
        let credit = self.replay_credit(session);
        if credit == 0 {
            self.clients.starve_replay(session);
            self.replays.starve(session, key);
            return true;
        }
        if let Some(replay) = self.replays.running.get_mut(key) {
            replay.state = State::Asked;
        }
        let question = Question {
            replay: key.pack(),
            credit,
            filter: &filter,
        };
        if keeper == self.clients.core {
            self.asked(keeper, question);
        } else {
            stage_question(&mut self.outboxes, keeper, question);
        }
        true
    }

    /// Goes on until the keeper may be asked; says whether it may, or has been.
    fn pass_cut(&mut self, key: Key) -> bool {
        let Some(replay) = self.replays.running.get_mut(key) else {
            return true;
        };
        let turn = self.outboxes.turn();
        if let State::AwaitsCut { turn: asked, began } = replay.state {
            if asked == turn || began == self.clients.now {
                return false;
            }
            replay.cut_us = self.clients.now.unix_us;
            replay.state = State::AwaitsOthers {
                cut_ms: self.clients.now.ms,
            };
        }
        if let State::AwaitsOthers { cut_ms } = replay.state {
            let epochs = &self.routes.epochs;
            let own = self.clients.core;
            if !epochs.all_settled(replay.epoch) || !epochs.all_sent_through(own, cut_ms) {
                return false;
            }
            replay.state = State::AwaitsLanes { turn };
        }
        if let State::AwaitsLanes { turn: sent } = replay.state {
            if self.cores > 1 && sent >= self.lanes_emptied_turn {
                return false;
            }
            replay.state = State::Ready { first: true };
        }
        true
    }

    /// How many stored messages a session has room for: half of what its queues have left.
    fn replay_credit(&self, session_index: u32) -> u16 {
        let Some(session) = self.clients.registry.at(session_index) else {
            return 0;
        };
        let Some(connection) = self.clients.connections.at(session.connection) else {
            return 0;
        };
        if self.clients.out_bytes(connection) > self.clients.rules.max_out_queue_bytes / 2 {
            return 0;
        }
        let queued = session
            .traffic
            .as_ref()
            .map_or(0, |traffic| traffic.queue.len());
        let limit = match self.clients.rules.max_mqueue_len {
            0 => usize::from(REPLAY_CREDIT) * 2,
            limit => limit,
        };
        let room = limit.saturating_sub(queued).div_ceil(2);
        u16::try_from(room).unwrap_or(u16::MAX).min(REPLAY_CREDIT)
    }

    /// A core wants stored messages.
    pub fn asked(&mut self, from: CoreId, question: Question<'_>) {
        let filter = (!question.filter.is_empty()).then(|| question.filter.into());
        let turn = self.outboxes.turn();
        let (replay, credit) = (question.replay, question.credit);
        self.replays.questions.push_back(Waiting {
            from,
            replay,
            credit,
            turn,
            filter,
        });
    }

    /// A core gives a replay up.
    pub fn cancel_asked(&mut self, from: CoreId, replay: u64) {
        self.replays.cursors.remove(&(from, replay));
        self.replays
            .questions
            .retain(|q| q.from != from || q.replay != replay);
    }

    /// Answers questions within this turn's budget.
    fn answer_questions(&mut self) {
        let mut budget = REPLAY_NODES_PER_TURN;
        for _ in 0..self.replays.questions.len() {
            let Some(question) = self.replays.questions.pop_front() else {
                return;
            };
            let fresh = question.turn >= self.lanes_emptied_turn;
            let is_own = question.from == self.clients.core;
            if fresh || budget == 0 || !(is_own || self.outboxes.has_room(question.from)) {
                self.replays.questions.push_back(question);
                continue;
            }
            self.answer(question, &mut budget);
        }
    }

    fn answer(&mut self, mut question: Waiting, budget: &mut usize) {
        let name = (question.from, question.replay);
        let first = question.filter.take();
        let cursor = match first {
            Some(filter) => Some(self.routes.retained.query(&filter)),
            None => self.replays.cursors.remove(&name),
        };
        let Some(mut cursor) = cursor else {
            return self.answer_ends(question.from, question.replay, false);
        };
        let now_us = self.clients.now.unix_us;
        let mut found: Vec<Message> = Vec::new();
        let credit = usize::from(question.credit);
        let progress = cursor.next(&self.routes.retained, now_us, budget, |_, stored| {
            if found.len() == credit {
                return std::ops::ControlFlow::Break(());
            }
            found.push(stored.0.clone());
            std::ops::ControlFlow::Continue(())
        });
        for message in &found {
            self.answer_with(question.from, question.replay, &message.view());
            question.credit -= 1;
        }
        match progress {
            Progress::Done => self.answer_ends(question.from, question.replay, false),
            Progress::OutOfBudget => {
                self.replays.cursors.insert(name, cursor);
                self.replays.questions.push_back(question);
            }
            Progress::Blocked => {
                self.replays.cursors.insert(name, cursor);
                self.answer_ends(question.from, question.replay, true);
            }
        }
    }

    fn answer_with(&mut self, to: CoreId, replay: u64, stored: &Publication<'_>) {
        if to == self.clients.core {
            self.stored(replay, stored);
        } else {
            stage_stored(&mut self.outboxes, to, replay, stored);
        }
    }

    fn answer_ends(&mut self, to: CoreId, replay: u64, more: bool) {
        if to == self.clients.core {
            self.answered(replay, more);
        } else {
            stage_answered(&mut self.outboxes, to, replay, more);
        }
    }

    /// A stored message came for a replay of this core.
    pub fn stored(&mut self, replay: u64, publication: &Publication<'_>) {
        let Some(replay) = self.replays.running.get(Key::unpack(replay)) else {
            return;
        };
        let now_us = self.clients.now.unix_us;
        if self.replays.comes_live(replay, publication, now_us) {
            return;
        }
        let session = replay.session;
        let grant = Grant {
            qos: replay.wanted.qos,
            retain_as_published: true,
            identifiers: replay.wanted.identifier.into_iter().collect(),
            share: ShareTag::NONE,
        };
        let mut fanout = Fanout::replay(*publication);
        self.clients.deliver(session, &mut fanout, &grant);
        fanout.finish(&mut self.clients.budget);
    }

    /// A keeper has sent what was asked for.
    pub fn answered(&mut self, replay: u64, more: bool) {
        let key = Key::unpack(replay);
        let Some(running) = self.replays.running.get_mut(key) else {
            return;
        };
        if more {
            running.state = State::Ready { first: false };
            self.replays.due.push_back(key);
            return;
        }
        let next = CoreId(running.keeper.0 + 1);
        if has_wildcard(&running.wanted.filter) && next.0 < self.cores {
            running.keeper = next;
            running.state = State::Ready { first: true };
            self.replays.due.push_back(key);
            return;
        }
        let session = running.session;
        self.end_replay(session, key);
    }
}
