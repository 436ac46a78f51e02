//! The local index against a naive list, with an index thread that answers late.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::base::core_set::CoreSet;
use crate::base::ids::CoreId;
use crate::routing::delta::Delta;
use crate::routing::shared::SharedIndex;
use crate::routing::writer::IndexWriter;

const SEED: [u64; 4] = [4, 3, 2, 1];
const CORE: CoreId = CoreId(0);

enum Sent {
    Add(PendingFilter, String),
    Remove(FilterId),
}

/// One core and the index thread, with a ring each way.
struct Node {
    local: LocalIndex,
    reader: IndexReader,
    writer: IndexWriter,
    ring: VecDeque<Sent>,
    answers: VecDeque<(PendingFilter, FilterId, Epoch)>,
    sessions: Vec<u32>,
    acknowledged: Vec<u64>,
    deltas: usize,
}

impl Node {
    fn new(sessions: usize) -> Self {
        let (writer, mut readers, _) = SharedIndex::new(1, SEED).unwrap();
        let mut reader = readers.remove(0);
        reader.unpark();
        Self {
            local: LocalIndex::new(SEED),
            reader,
            writer,
            ring: VecDeque::new(),
            answers: VecDeque::new(),
            sessions: vec![NO_SUBSCRIPTION; sessions],
            acknowledged: Vec::new(),
            deltas: 0,
        }
    }

    fn subscribe(
        &mut self,
        session: u32,
        filter: &str,
        options: u8,
        waiter: u64,
    ) -> SubscribeOutcome {
        let head = &mut self.sessions[session as usize];
        let identifier = (options & 1 == 1).then_some(268_435_455 - u32::from(options));
        let options = SubOptions(options);
        self.local
            .subscribe(
                &self.reader,
                session,
                head,
                filter,
                options,
                identifier,
                waiter,
            )
            .unwrap()
    }

    fn unsubscribe(&mut self, session: u32, filter: &str) -> bool {
        let head = &mut self.sessions[session as usize];
        self.local.unsubscribe(&self.reader, session, head, filter)
    }

    fn remove_session(&mut self, session: u32) {
        self.local
            .remove_session(&mut self.sessions[session as usize]);
    }

    /// Sends up to `room` deltas.
    fn pull(&mut self, room: usize) {
        for _ in 0..room {
            let sent = match self.local.next_delta() {
                Some(LocalDelta::Add { token, filter }) => Sent::Add(token, filter.to_owned()),
                Some(LocalDelta::Remove { filter }) => Sent::Remove(filter),
                Some(LocalDelta::Claim { .. } | LocalDelta::Release { .. }) => {
                    panic!("a local index claims nothing")
                }
                None => return,
            };
            self.deltas += 1;
            self.ring.push_back(sent);
        }
    }

    /// The index thread takes up to `batch` deltas.
    fn apply(&mut self, batch: usize) {
        let mut done = Vec::new();
        for sent in self.ring.drain(..batch.min(self.ring.len())) {
            let delta = match &sent {
                Sent::Add(_, filter) => Delta::Add { filter, core: CORE },
                Sent::Remove(filter) => Delta::Remove {
                    filter: *filter,
                    core: CORE,
                },
            };
            let applied = self.writer.apply(delta).unwrap();
            assert!(applied.changed, "the core's deltas alternate");
            if let Sent::Add(token, _) = sent {
                done.push((token, applied.filter));
            }
        }
        let epoch = self.writer.publish();
        let answers = done.iter().map(|(token, filter)| (*token, *filter, epoch));
        self.answers.extend(answers);
        self.writer.reclaim();
    }

    fn take_answers(&mut self, most: usize) {
        for (token, filter, epoch) in self.answers.drain(..most.min(self.answers.len())) {
            let waiters = self.local.applied(token, filter, epoch);
            self.acknowledged.extend(waiters);
        }
        self.reader.pass();
    }

    fn settle(&mut self) {
        self.pull(usize::MAX);
        while !self.ring.is_empty() || !self.answers.is_empty() {
            self.apply(usize::MAX);
            self.take_answers(usize::MAX);
            self.pull(usize::MAX);
        }
        self.reader.pass();
    }

    /// The live subscribers of a filter, or none.
    fn subscribers(&self, filter: &str) -> Vec<Subscriber> {
        let Some(id) = self.reader.find(filter) else {
            return Vec::new();
        };
        let found = self.local.subscribers(id, self.reader.epoch());
        let len = found.len();
        let walked: Vec<_> = found.clone().collect();
        let mut folded = Vec::new();
        found.for_each(|subscriber| folded.push(subscriber));
        assert_eq!(walked, folded);
        assert_eq!(walked.len(), len);
        folded.sort_unstable_by_key(|subscriber| subscriber.session);
        folded
    }

    fn texts(&mut self, session: u32) -> Vec<(String, u8)> {
        let mut texts = Vec::new();
        let head = self.sessions[session as usize];
        self.local
            .for_each_subscription(&mut self.reader, head, |text, options, identifier| {
                assert_eq!(identifier.is_some(), options.0 & 1 == 1);
                texts.push((text.to_owned(), options.0));
            });
        texts.sort_unstable();
        texts
    }
}

#[test]
fn a_new_filter_waits_for_the_index_thread_and_a_known_one_does_not() {
    let mut node = Node::new(3);
    let first = node.subscribe(0, "a/+", 2, 100);
    assert!(!first.existing && first.pending.is_some());
    let second = node.subscribe(1, "a/+", 0, 101);
    assert_eq!(second.pending, first.pending, "joins the pending one");
    assert!(node.subscribe(0, "a/+", 1, 102).existing);
    assert_eq!(node.texts(0), [("a/+".to_owned(), 1)]);
    node.settle();
    assert_eq!(node.deltas, 1);
    assert_eq!(node.acknowledged, [100, 101, 102]);
    let third = node.subscribe(2, "a/+", 2, 103);
    assert_eq!(
        third,
        SubscribeOutcome {
            existing: false,
            pending: None
        }
    );
    let sessions: Vec<_> = node.subscribers("a/+").iter().map(|s| s.session).collect();
    assert_eq!(sessions, [0, 1, 2]);
    assert_eq!(
        node.subscribers("a/+")[0].subscription_identifier,
        Some(268_435_454)
    );
    assert!(node.unsubscribe(1, "a/+") && !node.unsubscribe(1, "a/+"));
    assert!(!node.unsubscribe(1, "never/seen"));
}

#[test]
fn a_filter_that_goes_before_its_add_was_pulled_is_added_for_the_acknowledgement_and_removed() {
    let mut node = Node::new(1);
    node.subscribe(0, "a", 0, 7);
    assert!(node.unsubscribe(0, "a"));
    assert!(node.local.is_empty());
    node.settle();
    assert_eq!((node.deltas, &node.acknowledged[..]), (2, &[7][..]));
    assert!(node.writer.is_empty());
}

#[test]
fn a_filter_that_goes_while_its_answer_is_on_the_way_is_removed_unless_someone_comes() {
    for comes_back in [false, true] {
        let mut node = Node::new(2);
        node.subscribe(0, "a", 0, 1);
        node.pull(1);
        node.remove_session(0);
        if comes_back {
            node.subscribe(1, "a", 0, 2);
        }
        node.settle();
        assert_eq!(node.deltas, if comes_back { 1 } else { 2 });
        assert_eq!(node.writer.len(), usize::from(comes_back));
        assert_eq!(node.subscribers("a").len(), usize::from(comes_back));
    }
}

#[test]
fn a_filter_that_flaps_between_two_pulls_costs_no_delta_and_one_place() {
    let mut node = Node::new(1);
    node.subscribe(0, "a", 0, 1);
    node.settle();
    for _ in 0..100 {
        assert!(node.unsubscribe(0, "a"));
        let again = node.subscribe(0, "a", 0, 2);
        assert_eq!(
            again,
            SubscribeOutcome {
                existing: false,
                pending: None
            }
        );
        assert_eq!(node.local.dirty_len(), 1);
    }
    node.settle();
    assert_eq!(node.deltas, 1);
    assert!(node.unsubscribe(0, "a"));
    node.pull(1);
    let pending = node.subscribe(0, "a", 0, 3).pending;
    assert!(pending.is_some(), "the Remove is on its way");
    node.settle();
    assert_eq!(node.deltas, 3);
    assert_eq!(node.subscribers("a").len(), 1);
}

#[test]
fn an_id_matched_before_its_filter_was_born_here_is_passed_over() {
    let mut node = Node::new(2);
    node.subscribe(0, "old", 0, 1);
    node.settle();
    let old = node.reader.find("old").unwrap();
    let matched = node.reader.epoch();
    assert!(node.unsubscribe(0, "old"));
    node.settle();
    node.writer.publish();
    node.reader.pass();
    node.writer.reclaim();
    for (session, len) in [(0, 1), (1, 2)] {
        node.subscribe(session, "new", 0, 2);
        node.settle();
        assert_eq!(node.reader.find("new"), Some(old), "the address is reused");
        assert_eq!(node.local.subscribers(old, matched).count(), 0);
        assert_eq!(
            node.local.subscribers(old, node.reader.epoch()).count(),
            len
        );
    }
    node.remove_session(0);
    assert_eq!(node.local.subscribers(old, matched).count(), 0);
    assert_eq!(node.subscribers("new").len(), 1);
}

#[test]
fn a_refused_filter_leaves_nothing_behind() {
    let mut node = Node::new(1);
    node.subscribe(0, "stays", 0, 1);
    node.settle();
    let token = node.subscribe(0, "refused", 0, 2).pending.unwrap();
    node.local.next_delta();
    assert_eq!(node.local.refused(token), [2]);
    assert_eq!(node.texts(0), [("stays".to_owned(), 0)]);
    assert!(!node.unsubscribe(0, "refused"));
    node.remove_session(0);
    node.settle();
    assert!(node.local.is_empty() && node.writer.is_empty());
}

#[test]
fn a_list_grows_to_many_segments_and_back() {
    let many = 10_000;
    let mut node = Node::new(many as usize);
    for session in 0..many {
        node.subscribe(session, "all", (session % 3) as u8, 0);
    }
    node.settle();
    assert_eq!(node.subscribers("all").len(), many as usize);
    for left in (0..many).rev() {
        let session = (left * 7919 + 13) % many;
        if session % 2 == 0 {
            assert!(node.unsubscribe(session, "all"));
        } else {
            node.remove_session(session);
        }
        if left.is_power_of_two() || left < 20 || left % 1000 == 0 {
            assert_eq!(node.subscribers("all").len(), left as usize);
        }
    }
    assert!(node.local.is_empty());
    node.settle();
    assert!(node.writer.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(u32, usize, u8),
    Unsubscribe(u32, usize),
    End(u32),
    Pull(usize),
    Apply(usize),
    Answers(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..24u32, 0..6usize, 0..3u8).prop_map(|(s, f, o)| Step::Subscribe(s, f, o)),
        6 => (0..24u32, 0..6usize).prop_map(|(s, f)| Step::Unsubscribe(s, f)),
        1 => (0..24u32).prop_map(Step::End),
        2 => (0..4usize).prop_map(Step::Pull),
        2 => (0..4usize).prop_map(Step::Apply),
        2 => (0..4usize).prop_map(Step::Answers),
    ]
}

const FILTERS: [&str; 6] = ["a", "a/b", "+/b", "a/#", "$x/+", "//"];

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 200 }, ..ProptestConfig::default() })]

    #[test]
    fn random_subscriptions_agree_with_a_naive_list(steps in prop::collection::vec(step(), 1..300)) {
        let mut node = Node::new(24);
        let mut model: BTreeMap<(u32, &str), u8> = BTreeMap::new();
        let mut owed = Vec::new();
        for (waiter, step) in (0u64..).zip(steps) {
            match step {
                Step::Subscribe(session, at, options) => {
                    let filter = FILTERS[at];
                    let known = model.insert((session, filter), options).is_some();
                    let outcome = node.subscribe(session, filter, options, waiter);
                    prop_assert_eq!(outcome.existing, known);
                    if outcome.pending.is_some() {
                        owed.push(waiter);
                    } else {
                        prop_assert!(node.subscribers(filter).iter().any(|s| s.session == session));
                    }
                }
                Step::Unsubscribe(session, at) => {
                    let known = model.remove(&(session, FILTERS[at])).is_some();
                    prop_assert_eq!(node.unsubscribe(session, FILTERS[at]), known);
                }
                Step::End(session) => {
                    model.retain(|(other, _), _| *other != session);
                    node.remove_session(session);
                }
                Step::Pull(room) => node.pull(room),
                Step::Apply(batch) => node.apply(batch),
                Step::Answers(most) => node.take_answers(most),
            }
            prop_assert!(node.local.dirty_len() <= 2 * FILTERS.len());
            prop_assert_eq!(node.local.len(), model.len());
            for session in 0..24 {
                let expected: Vec<_> = model.iter().filter(|((s, _), _)| *s == session)
                    .map(|((_, filter), options)| ((*filter).to_owned(), *options)).collect();
                prop_assert_eq!(node.texts(session), expected);
            }
        }
        node.settle();
        node.acknowledged.sort_unstable();
        prop_assert_eq!(&node.acknowledged, &owed);
        prop_assert_eq!((node.local.pending_len(), node.local.dirty_len()), (0, 0));
        let mut live = 0;
        for filter in FILTERS {
            let expected: Vec<_> = model.iter().filter(|((_, f), _)| *f == filter)
                .map(|((session, _), options)| (*session, *options)).collect();
            let found: Vec<_> = node.subscribers(filter).iter()
                .map(|s| (s.session, s.options.0)).collect();
            prop_assert_eq!(&found, &expected);
            let cores = node.reader.find(filter).map_or(CoreSet::EMPTY, |id| node.reader.cores(id));
            prop_assert_eq!(cores.contains(CORE), !expected.is_empty());
            live += usize::from(!expected.is_empty());
        }
        prop_assert_eq!(node.writer.len(), live);
        prop_assert_eq!(node.local.filters_len(), live);
    }
}
