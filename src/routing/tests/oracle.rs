//! Random changes of the index, compared with a list of filters and the naive matcher.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::base::core_set::CoreSet;
use crate::base::ids::{CoreId, FilterId};
use crate::routing::IndexFull;
use crate::routing::arena::Arena;
use crate::routing::delta::{Delta, Hit};
use crate::routing::reader::IndexReader;
use crate::routing::shape::SHAPES_MAX;
use crate::routing::shared::SharedIndex;
use crate::routing::topic_match;
use crate::routing::writer::IndexWriter;

const SEED: [u64; 4] = [11, 22, 33, 44];

/// The index beside its model.
struct Pair {
    writer: IndexWriter,
    reader: IndexReader,
    model: BTreeMap<String, (FilterId, CoreSet)>,
}

impl Pair {
    fn new() -> Self {
        Self::within(Arena::reserve().unwrap())
    }

    fn within(arena: Arena) -> Self {
        let (writer, mut readers, _) = SharedIndex::within(arena, 1, SEED);
        Self {
            writer,
            reader: readers.remove(0),
            model: BTreeMap::new(),
        }
    }

    fn add(&mut self, filter: &str, core: u8) {
        let core = CoreId(core);
        let applied = self.writer.apply(Delta::Add { filter, core }).unwrap();
        let known = self.model.entry(filter.to_owned());
        let (id, cores) = known.or_insert((applied.filter, CoreSet::EMPTY));
        assert_eq!(*id, applied.filter);
        assert_eq!(applied.changed, !cores.contains(core));
        cores.insert(core);
    }

    fn remove(&mut self, filter: &str, core: u8) {
        let core = CoreId(core);
        let Some((id, cores)) = self.model.get_mut(filter) else {
            return;
        };
        if !cores.contains(core) {
            return;
        }
        let delta = Delta::Remove { filter: *id, core };
        assert!(self.writer.apply(delta).unwrap().changed);
        cores.remove(core);
        if cores.is_empty() {
            self.model.remove(filter);
        }
    }

    fn turn(&mut self) {
        let epoch = self.writer.publish();
        assert_eq!(self.reader.pass(), epoch);
        self.writer.reclaim();
        assert_eq!(self.writer.retired_len(), 0);
    }

    fn check(&mut self, topic: &str) {
        let mut hits = Vec::new();
        self.reader.matches(topic, &mut hits);
        let mut found: Vec<(String, CoreSet)> = Vec::new();
        for Hit { filter, cores } in hits {
            let text = self.reader.filter_text(filter).unwrap().to_owned();
            found.push((text, cores));
        }
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let matching = self.model.iter();
        let expected: Vec<(String, CoreSet)> = matching
            .filter(|(filter, _)| topic_match::matches(filter, topic))
            .map(|(filter, (_, cores))| (filter.clone(), *cores))
            .collect();
        assert_eq!(found, expected, "topic {topic:?}");
    }

    fn check_all(&mut self, topics: &[String]) {
        assert_eq!(self.writer.len(), self.model.len());
        for (filter, (id, cores)) in self.model.clone() {
            assert_eq!(self.reader.find(&filter), Some(id));
            assert_eq!(self.reader.cores(id), cores);
        }
        self.reader.warm(topics.iter().map(String::as_str));
        for topic in topics {
            self.check(topic);
        }
    }
}

fn level() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("a".to_owned()),
        3 => Just("b".to_owned()),
        1 => Just(String::new()),
        1 => Just("$x".to_owned()),
        1 => Just("a-level-of-more-than-eight-bytes".to_owned()),
    ]
}

fn topic() -> impl Strategy<Value = String> {
    let levels = prop_oneof![
        9 => prop::collection::vec(level(), 1..6),
        1 => prop::collection::vec(level(), 30..36),
    ];
    levels
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a topic is not empty", |topic| !topic.is_empty())
}

/// A topic with some levels turned into `+` and perhaps its end into `#`.
fn filter() -> impl Strategy<Value = String> {
    (topic(), any::<u64>(), 0..3u8, any::<prop::sample::Index>()).prop_map(
        |(topic, plus, multi, cut)| {
            let mut levels: Vec<&str> = topic.split('/').collect();
            for (at, level) in levels.iter_mut().enumerate() {
                if plus >> at & 1 == 1 && plus >> 60 > 6 {
                    *level = "+";
                }
            }
            if multi == 0 {
                levels.truncate(cut.index(levels.len() + 1));
                levels.push("#");
            }
            levels.join("/")
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Add(prop::sample::Index, u8),
    Remove(prop::sample::Index, u8),
    Turn,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<prop::sample::Index>(), 0..63u8).prop_map(|(at, core)| Step::Add(at, core % 3)),
        5 => (any::<prop::sample::Index>(), 0..63u8).prop_map(|(at, core)| Step::Remove(at, core % 3)),
        1 => Just(Step::Turn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 200 }, ..ProptestConfig::default() })]

    #[test]
    fn random_changes_match_like_the_naive_list(
        filters in prop::collection::vec(filter(), 1..60),
        topics in prop::collection::vec(topic(), 1..12),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut pair = Pair::new();
        pair.reader.unpark();
        for step in steps {
            match step {
                Step::Add(at, core) => pair.add(&filters[at.index(filters.len())], core),
                Step::Remove(at, core) => pair.remove(&filters[at.index(filters.len())], core),
                Step::Turn => {
                    pair.turn();
                    pair.check_all(&topics);
                }
            }
        }
        pair.turn();
        pair.check_all(&topics);
        for filter in &filters {
            (0..3).for_each(|core| pair.remove(filter, core));
        }
        pair.turn();
        pair.check_all(&topics);
        prop_assert!(pair.writer.is_empty());
        prop_assert_eq!(pair.writer.overflow_len(), 0);
        prop_assert_eq!(pair.writer.shapes_len(), 0);
        prop_assert_eq!(pair.writer.edges_len(), 0);
        let bytes = pair.writer.bytes();
        prop_assert_eq!((bytes.filters, bytes.shapes, bytes.edges, bytes.retired), (0, 0, 0, 0));
    }

    /// All shapes of 7 levels: most overflow, and shapes come and go while filters of the same
    /// shape hang in the trie.
    #[test]
    fn more_shapes_than_allowed_go_to_the_trie(
        order in Just((0..128u32).collect::<Vec<_>>()).prop_shuffle(),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        multi in any::<bool>(),
    ) {
        let mut pair = Pair::new();
        pair.reader.unpark();
        let names = ["x", "y"];
        let filter = |plus: u32, name: &str| {
            let levels = (0..7).map(|at| if plus >> at & 1 == 1 { "+" } else { name });
            let end = if multi && plus.is_multiple_of(3) { "/#" } else { "" };
            levels.collect::<Vec<_>>().join("/") + end
        };
        for plus in &order {
            pair.add(&filter(*plus, names[*plus as usize % 2]), 1);
        }
        prop_assert!(pair.writer.shapes_len() <= SHAPES_MAX);
        prop_assert!(pair.writer.overflow_len() >= 127 - SHAPES_MAX);
        for at in removed {
            let plus = *at.get(&order);
            pair.remove(&filter(plus, names[plus as usize % 2]), 1);
        }
        for plus in &order {
            pair.add(&filter(*plus, names[(*plus as usize + 1) % 2]), 2);
        }
        pair.turn();
        let topics = ["x/x/x/x/x/x/x", "y/y/y/y/y/y/y", "x/y/x/y/x/y/x", "x/x/x/x/x/x/x/z", "$x/x/x/x/x/x/x"];
        pair.check_all(&topics.map(str::to_owned));
    }
}

#[test]
fn texts_of_every_length_are_kept_and_found() {
    let mut pair = Pair::new();
    pair.reader.unpark();
    let longest = if cfg!(miri) { 40 } else { 5000 };
    for len in (1..100u32).chain([longest - 1, longest, 65_535]) {
        if cfg!(miri) && len > longest {
            continue;
        }
        let text: String = (0..len)
            .map(|at| char::from_digit(at % 36, 36).unwrap())
            .collect();
        pair.add(&text, 0);
        pair.check(&text);
        pair.check(&(text[1..].to_owned() + "!"));
    }
    pair.check_all(&[]);
}

#[test]
fn one_filter_that_flaps_costs_no_memory() {
    let mut pair = Pair::new();
    pair.reader.unpark();
    for filter in ["flap/exact", "flap/+/shape", "stays"] {
        pair.add(filter, 0);
    }
    pair.turn();
    let before = pair.writer.bytes();
    for _ in 0..if cfg!(miri) { 50 } else { 20_000 } {
        for filter in ["flap/exact", "flap/+/shape"] {
            pair.remove(filter, 0);
            pair.add(filter, 0);
        }
        pair.turn();
    }
    let after = pair.writer.bytes();
    assert_eq!(after.slots, before.slots);
    assert!(after.free <= before.free + 1024, "{after:?}");
    pair.check_all(&["flap/exact".to_owned(), "flap/x/shape".to_owned()]);
}

#[test]
fn the_control_plane_is_a_core_and_a_reader_that_never_passes_holds_memory_back() {
    let mut pair = Pair::new();
    pair.reader.unpark();
    pair.add("a", 62);
    pair.check("a");
    pair.remove("a", 62);
    pair.writer.publish();
    pair.writer.reclaim();
    assert_eq!(pair.writer.retired_len(), 1);
    assert!(pair.writer.bytes().retired > 0 && !pair.writer.is_backlogged());
    pair.reader.park();
    assert_eq!(pair.writer.reclaim(), 1);
}

#[test]
fn a_wrong_id_gives_no_text_and_no_harm() {
    let mut pair = Pair::new();
    pair.reader.unpark();
    pair.add("some/filter", 0);
    assert_eq!(pair.reader.filter_text(FilterId(0)), None);
    for id in [3, 1000, u32::MAX] {
        pair.reader.filter_text(FilterId(id));
        pair.reader.cores(FilterId(id));
    }
}

/// Wildcards and exact filters, so that lists, tables and trie are each the one that fails.
#[test]
fn an_index_without_memory_refuses_and_keeps_what_it_has() {
    let filter = |n: u32| match n % 3 {
        0 => format!("exact/{n}"),
        1 => {
            let levels = (0..6).map(|at| if n >> at & 1 == 1 { "+" } else { "l" });
            format!("{n}/{}", levels.collect::<Vec<_>>().join("/"))
        }
        _ => format!("{}{n}/#", "+/".repeat((n % 20) as usize)),
    };
    for pages in (36..54).step_by(4) {
        let mut pair = Pair::within(Arena::with_words(pages * 512).unwrap());
        pair.reader.unpark();
        let mut refused = Vec::new();
        for n in 0..3000 {
            let text = filter(n);
            let core = CoreId(0);
            let delta = Delta::Add {
                filter: &text,
                core,
            };
            match pair.writer.apply(delta) {
                Ok(applied) => {
                    let cores = CoreSet::single(core);
                    pair.model.insert(text, (applied.filter, cores));
                }
                Err(IndexFull) => refused.push(text),
            }
            pair.turn();
        }
        pair.turn();
        let topics: Vec<String> = (0..40)
            .map(|n| filter(n).replace(['+', '#'], "x"))
            .collect();
        pair.check_all(&topics);
        assert!(!refused.is_empty(), "{pages} pages");
        assert!(pair.model.len() > 100, "{pages} pages");
        assert!(refused.iter().all(|text| pair.reader.find(text).is_none()));
        for text in pair.model.keys().cloned().collect::<Vec<_>>() {
            pair.remove(&text, 0);
        }
        pair.turn();
        pair.turn();
        assert_eq!((pair.writer.len(), pair.writer.edges_len()), (0, 0));
        pair.add("again", 0);
        pair.check_all(&["again".to_owned()]);
    }
}
