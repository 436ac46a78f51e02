//! The retained store and its cursors against a naive map.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Value {
    version: Version,
    expires_us: Option<u64>,
    bytes: usize,
}

impl Stored for Value {
    fn version(&self) -> Version {
        self.version
    }
    fn expires_us(&self) -> Option<u64> {
        self.expires_us
    }
    fn payload_bytes(&self) -> usize {
        self.bytes
    }
    fn bytes(&self) -> usize {
        self.bytes
    }
}

const LIMITS: RetainedLimits = RetainedLimits {
    messages_max: 1_000_000,
    payload_bytes_max: 1_000,
    bytes_max: 1 << 30,
    topic_levels_max: 8,
};

fn value(received_us: u64) -> Value {
    Value {
        version: (received_us, 0),
        expires_us: None,
        bytes: 1,
    }
}

fn store() -> RetainedStore<Value> {
    RetainedStore::new(LIMITS, 7)
}

fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

fn replay(store: &RetainedStore<Value>, filter: &str, now_us: u64) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let mut budget = usize::MAX;
    let progress = store
        .query(filter)
        .next(store, now_us, &mut budget, |topic, value| {
            found.push((topic.to_owned(), value.clone()));
            ControlFlow::Continue(())
        });
    assert_eq!(progress, Progress::Done);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn topics(store: &RetainedStore<Value>, filter: &str) -> Vec<String> {
    replay(store, filter, 0)
        .into_iter()
        .map(|(topic, _)| topic)
        .collect()
}

/// Nodes visited by a whole replay, and matches.
fn cost(store: &RetainedStore<Value>, filter: &str) -> (usize, usize) {
    let mut budget = usize::MAX;
    let mut found = 0;
    store.query(filter).next(store, 0, &mut budget, |_, _| {
        found += 1;
        ControlFlow::Continue(())
    });
    (usize::MAX - budget, found)
}

#[test]
fn filters_find_their_topics() {
    let mut store = store();
    for topic in ["a", "a/b", "a/b/c", "/a", "a/", "$SYS/a", "b/b/c", "/"] {
        assert_eq!(store.put(topic, value(1)), Put::Stored);
    }
    assert_eq!(topics(&store, "a/#"), ["a", "a/", "a/b", "a/b/c"]);
    assert_eq!(
        topics(&store, "#"),
        ["/", "/a", "a", "a/", "a/b", "a/b/c", "b/b/c"]
    );
    assert_eq!(topics(&store, "+/+"), ["/", "/a", "a/", "a/b"]);
    assert_eq!(topics(&store, "+/b/c"), ["a/b/c", "b/b/c"]);
    assert_eq!(topics(&store, "$SYS/+"), ["$SYS/a"]);
    assert_eq!(topics(&store, "+/a"), ["/a"]);
    assert_eq!(topics(&store, "a/b"), ["a/b"]);
    assert_eq!(topics(&store, "a/x"), [""; 0]);
}

#[test]
fn the_later_version_stays() {
    let mut store = store();
    store.put("a", value(5));
    assert_eq!(store.put("a", value(4)), Put::Refused(Refusal::Older));
    assert_eq!(store.put("a", value(6)), Put::Replaced(value(5)));
    let other_core = Value {
        version: (6, 1),
        ..value(6)
    };
    assert_eq!(store.put("a", other_core.clone()), Put::Replaced(value(6)));
    assert_eq!(store.put("a", value(6)), Put::Refused(Refusal::Older));
    assert_eq!(store.remove("a", (6, 0)), None);
    assert_eq!(store.remove("a", (7, 0)), Some(other_core));
    assert!(store.is_empty());
}

#[test]
fn a_message_older_than_its_removal_does_not_come_back() {
    let mut store = store();
    store.put("a", value(5));
    assert!(store.remove("a", (7, 0)).is_some());
    assert_eq!(store.put("a", value(6)), Put::Refused(Refusal::Older));
    assert_eq!(store.put("a", value(8)), Put::Stored);
    // The removal came first and found nothing.
    assert_eq!(store.remove("b", (7, 0)), None);
    assert_eq!(store.put("b", value(6)), Put::Refused(Refusal::Older));
    assert_eq!(store.put("c", value(6)), Put::Stored);
}

#[test]
fn a_clock_that_was_set_back_does_not_lock_a_topic() {
    let hour_us = 3_600_000_000;
    let mut store = store();
    store.put("a", value(2 * hour_us));
    assert_eq!(
        store.put("a", value(hour_us)),
        Put::Replaced(value(2 * hour_us))
    );
    assert_eq!(store.remove("a", (5, 0)), Some(value(hour_us)));
    store.remove("b", (hour_us, 0));
    assert_eq!(store.put("b", value(5)), Put::Stored);
}

#[test]
fn limits_refuse_and_leave_what_is_there() {
    let mut store = RetainedStore::new(
        RetainedLimits {
            messages_max: 2,
            payload_bytes_max: 1000,
            bytes_max: 1700,
            topic_levels_max: 3,
        },
        1,
    );
    let sized = |bytes| Value { bytes, ..value(1) };
    assert_eq!(
        store.put("a", sized(1001)),
        Put::Refused(Refusal::PayloadTooLarge)
    );
    assert_eq!(
        store.put("a/b/c/d", sized(1)),
        Put::Refused(Refusal::TooManyLevels)
    );
    assert_eq!(store.put("a", sized(900)), Put::Stored);
    assert_eq!(
        store.put("b", sized(890)),
        Put::Refused(Refusal::TooManyBytes)
    );
    assert_eq!(store.put("b", sized(300)), Put::Stored);
    assert_eq!(
        store.put("c", sized(0)),
        Put::Refused(Refusal::TooManyMessages)
    );
    assert_eq!(store.put("a", sized(899)), Put::Replaced(sized(900)));
    assert_eq!(store.get("a", 0), Some(&sized(899)));
    // What is cleared makes room.
    assert!(store.remove("a", (9, 0)).is_some());
    assert_eq!(store.put("b", sized(900)), Put::Replaced(sized(300)));
}

#[test]
fn expired_messages_are_hidden_at_once_and_swept_later() {
    let mut store = store();
    for n in 0..100 {
        let expires_us = (n % 2 == 0).then_some(1_000 + n);
        store.put(
            &format!("t/{n}"),
            Value {
                expires_us,
                ..value(1)
            },
        );
    }
    assert!(!store.sweep(999, 10, |_, _| panic!("nothing has expired")));
    assert_eq!(replay(&store, "t/+", 1_050).len(), 100 - 26);
    assert_eq!(store.get("t/50", 1_050), None);
    let mut swept = Vec::new();
    let mut calls = 1;
    while store.sweep(1_050, 10, |topic, _| swept.push(topic.to_owned())) {
        calls += 1;
    }
    assert_eq!((swept.len(), store.len()), (26, 74));
    assert!(calls >= 10, "10 messages a call");
    assert!(!store.sweep(1_051, 10, |_, _| panic!("the next one expires at 1052")));
    while store.sweep(u64::MAX, 10, |_, _| {}) {}
    assert_eq!(store.len(), 50);
}

#[test]
fn cost_follows_the_matches_and_not_the_store() {
    let costs = [1_000, 100_000].map(|size| {
        let mut store = store();
        for n in 0..size / 10 {
            for leaf in 0..10 {
                store.put(&format!("site/{n}/sensor/{leaf}"), value(1));
            }
        }
        for n in 0..10 {
            store.put(&format!("site/{n}/alarm"), value(1));
        }
        let leaf_pattern = cost(&store, "site/17/sensor/+");
        assert_eq!(leaf_pattern.1, 10);
        let rare = cost(&store, "site/+/alarm");
        assert_eq!(rare.1, 10);
        let deep = cost(&store, "+/+/alarm/#");
        assert_eq!(deep.1, 10);
        let exact = cost(&store, "site/17/sensor/3");
        assert_eq!(exact, (1, 1));
        let absent = cost(&store, "+/+/nothing");
        assert_eq!(absent, (0, 0));
        [leaf_pattern.0, rare.0, deep.0]
    });
    assert_eq!(costs[0], costs[1], "visited nodes among 1,000 and 100,000");
    assert!(costs[0].iter().all(|&visited| visited <= 20), "{costs:?}");
}

#[test]
fn an_emptied_store_has_no_nodes_left() {
    let mut store = store();
    let topics: Vec<String> = (0..500).map(|n| format!("a/{n}/{}", n % 7)).collect();
    for topic in &topics {
        store.put(topic, value(1));
    }
    let bytes = store.bytes();
    for topic in &topics {
        assert!(store.remove(topic, (1, 0)).is_some());
    }
    assert_eq!(cost(&store, "#"), (1, 0));
    assert!(store.tree.name_key("a").is_none());
    for topic in &topics {
        store.put(topic, value(2));
    }
    assert!(
        store.bytes() <= bytes + store.removals.bytes(),
        "places are used again"
    );
}

#[test]
fn a_literal_whose_name_is_used_anew_matches_nothing_else() {
    let mut store = store();
    store.put("a/x", value(1));
    store.put("b/x", value(1));
    let mut cursor = store.query("+/x");
    let mut budget = 3;
    let mut first = Vec::new();
    cursor.next(&store, 0, &mut budget, |topic, _| {
        first.push(topic.to_owned());
        ControlFlow::Continue(())
    });
    assert_eq!(first.len(), 1);
    store.remove("a/x", (1, 0));
    store.remove("b/x", (1, 0));
    // Their names' places go to other texts.
    store.put("c/y", value(1));
    store.put("d/y", value(1));
    let progress = cursor.next(&store, 0, &mut usize::MAX.clone(), |topic, _| {
        panic!("{topic} does not match");
    });
    assert_eq!(progress, Progress::Done);
}

#[test]
fn an_anchor_that_goes_in_the_middle_does_not_cut_the_next_one() {
    let mut store = store();
    for n in 0..50 {
        store.put(&format!("site/{n}/temperature"), value(1));
    }
    let leaves = ["a", "b", "c"];
    for (site, leaf) in [0, 1]
        .iter()
        .flat_map(|site| leaves.map(|leaf| (site, leaf)))
    {
        store.put(&format!("site/{site}/alarm/{leaf}"), value(1));
    }
    let mut cursor = store.query("+/+/alarm/#");
    let mut offered = Vec::new();
    let mut budget = 3;
    let progress = cursor.next(&store, 0, &mut budget, |topic, _| {
        offered.push(topic.to_owned());
        ControlFlow::Continue(())
    });
    assert_eq!((progress, offered.len()), (Progress::OutOfBudget, 2));
    let gone = offered[0][..6].to_owned();
    for leaf in leaves {
        assert!(
            store
                .remove(&format!("{gone}/alarm/{leaf}"), (1, 0))
                .is_some()
        );
    }
    budget = usize::MAX;
    cursor.next(&store, 0, &mut budget, |topic, _| {
        assert!(!topic.starts_with(&gone));
        offered.push(topic.to_owned());
        ControlFlow::Continue(())
    });
    assert_eq!(offered.len(), 2 + leaves.len());
}

fn level() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a".to_owned(), "b".to_owned()]),
        1 => Just(String::new()),
        1 => Just("$s".to_owned()),
        3 => (0..40u8).prop_map(|n| n.to_string()),
    ]
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/"))
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![2 => level(), 2 => Just("+".to_owned())];
    (prop::collection::vec(level, 0..5), any::<bool>()).prop_filter_map(
        "a filter has a level",
        |(mut levels, open_end)| {
            if open_end {
                levels.push("#".to_owned());
            }
            (!levels.is_empty()).then(|| levels.join("/"))
        },
    )
}

#[derive(Clone, Debug)]
enum Change {
    Put {
        topic: String,
        received_us: u64,
        lives_us: Option<u64>,
    },
    Remove {
        nth: usize,
        received_us: u64,
    },
    Sweep {
        budget: usize,
    },
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (topic(), 0..50u64, prop::option::weighted(0.2, 0..200u64)).prop_map(
            |(topic, received_us, lives_us)| Change::Put { topic, received_us, lives_us }
        ),
        2 => (any::<usize>(), 0..50u64)
            .prop_map(|(nth, received_us)| Change::Remove { nth, received_us }),
        1 => (0..20usize).prop_map(|budget| Change::Sweep { budget }),
    ]
}

type Model = BTreeMap<String, Value>;

/// Does the same to both; gives the topic that was removed for good.
fn apply(
    store: &mut RetainedStore<Value>,
    model: &mut Model,
    now_us: u64,
    change: Change,
) -> BTreeSet<String> {
    let mut removed = BTreeSet::new();
    match change {
        Change::Put {
            topic,
            received_us,
            lives_us,
        } => {
            let expires_us = lives_us.map(|us| now_us + us);
            let new = Value {
                expires_us,
                ..value(received_us)
            };
            let expected = match model.get(&topic) {
                Some(old) if old.version > new.version => Put::Refused(Refusal::Older),
                None if store
                    .removals
                    .overtook(store.tree.hash(&topic), new.version) =>
                {
                    Put::Refused(Refusal::Older)
                }
                old => {
                    let put = old.cloned().map_or(Put::Stored, Put::Replaced);
                    model.insert(topic.clone(), new.clone());
                    put
                }
            };
            assert_eq!(store.put(&topic, new), expected);
        }
        Change::Remove { nth, received_us } => {
            let nth = nth.checked_rem(model.len()).unwrap_or(0);
            if let Some(topic) = model.keys().nth(nth).cloned() {
                let version = (received_us, 0);
                if model[&topic].version > version {
                    assert_eq!(store.remove(&topic, version), None);
                } else {
                    assert_eq!(store.remove(&topic, version), model.remove(&topic));
                    removed.insert(topic);
                }
            }
        }
        Change::Sweep { budget } => {
            store.sweep(now_us, budget, |topic, value| {
                assert!(value.expires_us.is_some_and(|at_us| at_us <= now_us));
                assert_eq!(model.remove(topic), Some(value));
                removed.insert(topic.to_owned());
            });
        }
    }
    removed
}

fn live(model: &Model, filter: &str, now_us: u64) -> Vec<(String, Value)> {
    model
        .iter()
        .filter(|(topic, value)| {
            matches(filter, topic) && value.expires_us.is_none_or(|at_us| at_us > now_us)
        })
        .map(|(topic, value)| (topic.clone(), value.clone()))
        .collect()
}

proptest! {
    #[test]
    fn finds_what_a_list_finds(
        changes in prop::collection::vec(change(), 1..150),
        filters in prop::collection::vec(filter(), 1..20),
    ) {
        let (mut store, mut model) = (store(), Model::new());
        for (now_us, change) in changes.into_iter().enumerate() {
            apply(&mut store, &mut model, now_us as u64, change);
            prop_assert_eq!(store.len() as usize, model.len());
        }
        let now_us = 150;
        for filter in filters {
            prop_assert_eq!(replay(&store, &filter, now_us), live(&model, &filter, now_us), "{}", filter);
        }
        for (topic, value) in &model {
            let live = value.expires_us.is_none_or(|at_us| at_us > now_us);
            prop_assert_eq!(store.get(topic, now_us), live.then_some(value));
        }
    }

    #[test]
    fn a_replay_among_changes_offers_what_stays_once(
        before in prop::collection::vec(change(), 1..100),
        filter in filter(),
        steps in prop::collection::vec(
            (0..6usize, any::<bool>(), prop::collection::vec(change(), 0..6)),
            1..40,
        ),
    ) {
        let (mut store, mut model) = (store(), Model::new());
        let mut now_us = 0;
        for change in before {
            now_us += 1;
            apply(&mut store, &mut model, now_us, change);
        }
        let mut cursor = store.query(&filter);
        // Topics that matched at the query and were never gone since.
        let mut stayed: BTreeSet<String> =
            live(&model, &filter, now_us).into_iter().map(|(topic, _)| topic).collect();
        let mut offered: BTreeMap<String, usize> = BTreeMap::new();
        let mut done = false;
        for (budget, take_all, changes) in steps {
            let mut left = budget;
            let mut refused = false;
            let progress = cursor.next(&store, now_us, &mut left, |topic, value| {
                assert!(!refused, "nothing is offered after a refusal");
                assert!(matches(&filter, topic), "{topic}");
                assert_eq!(model.get(topic), Some(value));
                refused = !take_all && topic.len() % 2 == 0 && !offered.contains_key(topic);
                if refused {
                    return ControlFlow::Break(());
                }
                *offered.entry(topic.to_owned()).or_default() += 1;
                ControlFlow::Continue(())
            });
            match progress {
                Progress::Done => done = true,
                Progress::OutOfBudget => prop_assert_eq!(left, 0),
                Progress::Blocked => prop_assert!(refused),
            }
            for change in changes {
                now_us += 1;
                for gone in apply(&mut store, &mut model, now_us, change) {
                    stayed.remove(&gone);
                }
                let expired = |topic: &String| {
                    model[topic].expires_us.is_some_and(|at_us| at_us <= now_us)
                };
                stayed.retain(|topic| !expired(topic) || offered.contains_key(topic));
            }
        }
        if !done {
            let progress = cursor.next(&store, now_us, &mut usize::MAX.clone(), |topic, _| {
                *offered.entry(topic.to_owned()).or_default() += 1;
                ControlFlow::Continue(())
            });
            prop_assert_eq!(progress, Progress::Done);
        }
        for topic in stayed {
            prop_assert_eq!(offered.get(&topic), Some(&1), "{}", topic);
        }
    }
}
